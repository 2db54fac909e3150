"""The assignment auction against SciPy's Hungarian method, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders, Preferences
from wattle.market.assignment_auction import (
    PAIRS_MAX,
    AssignmentAuction,
    _bid_until_assigned,
    assign,
    assign_naively,
    benefits,
)
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, INDIVIDUALLY_RATIONAL, SEPARABLE
from wattle.testing.conformance import checks_for, judge
from wattle.testing.generators import Case, book_of
from wattle.testing.trial import Trial

rows = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 40), st.integers(1, 9), st.integers(0, 40)), max_size=7)


def book(pairs):
    """One bid and one offer for each (lots, bid, lots, offer)."""
    bids = [(8 + place, BUY, pair[0], pair[1]) for place, pair in enumerate(pairs)]
    asks = [(50 + place, SELL, pair[2], pair[3]) for place, pair in enumerate(pairs)]
    return book_of(bids + asks)


def clear(orders, **more):
    return AssignmentAuction(**more.pop("rule", {})).step(None, orders, Context(**more))[1]


def best(benefit):
    first, second = linear_sum_assignment(benefit.astype(float), maximize=True)
    return int(benefit[first, second].sum())


tables = st.integers(1, 9).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 50), min_size=n, max_size=n), min_size=n, max_size=n).map(np.array)
)


@given(benefit=tables)
def test_the_sum_of_benefits_is_the_largest(benefit):
    chosen, _ = assign(benefit)
    assert sorted(chosen.tolist()) == list(range(len(benefit)))
    assert benefit[np.arange(len(benefit)), chosen].sum() == best(benefit)


@given(benefit=tables)
def test_the_naive_auction_is_right_where_it_ends(benefit):
    chosen, bids = assign_naively(benefit)
    if bids >= 0:
        assert sorted(chosen.tolist()) == list(range(len(benefit)))
        assert benefit[np.arange(len(benefit)), chosen].sum() == best(benefit)


def test_large_tables_and_large_numbers():
    rng = np.random.default_rng(5)
    benefit = rng.integers(0, 1 << 30, (120, 120))
    chosen, bids = assign(benefit)
    assert benefit[np.arange(120), chosen].sum() == best(benefit)
    assert bids < 120 * 120
    assert sorted(assign(np.ones((60, 60), np.int64))[0].tolist()) == list(range(60))


def test_the_naive_auction_goes_round_in_circles_where_epsilon_does_not():
    # Three buyers, two good sellers, all alike: bids that raise no price go on for ever (Bertsekas 1988).
    benefit = np.array([[9, 9, 0]] * 3)
    assert assign_naively(benefit)[1] == -1
    assert benefit[np.arange(3), assign(benefit)[0]].sum() == 18
    assert assign_naively(np.array([[9, 4], [7, 6]]))[1] == 2  # both want different sellers: one bid each
    orders = book([(1, 12, 1, 3)] * 2 + [(1, 12, 1, 12)])
    naive, scaled = (clear(orders, rule={"method": method}) for method in ("naive", "scaled"))
    assert (naive.report["circles"], scaled.report["circles"]) == (1, 0)
    assert naive.trades == scaled.trades


def test_the_plain_twin_does_the_same():
    benefit = np.random.default_rng(1).integers(0, 99, (6, 6))
    results = []
    for run in (_bid_until_assigned, _bid_until_assigned.twin()):
        chosen, owner, price = np.full(6, -1), np.full(6, -1), np.zeros(6, np.int64)
        results.append((run(benefit, chosen, owner, price, 3, 10_000), chosen.tolist(), owner.tolist(), price.tolist()))
    assert results[0] == results[1]


@given(pairs=rows, k=st.integers(0, 100))
def test_pairs_gain_the_most_and_prices_lie_between_the_limits(pairs, k):
    orders = book(pairs)
    trades = clear(orders, rule={"k_percent": k}).trades
    bids, asks = np.arange(len(pairs)), np.arange(len(pairs)) + len(pairs)
    gained = ((orders.limit[trades.buy_order] - orders.limit[trades.sell_order]) * trades.quantity).sum()
    assert gained == (best(benefits(orders, bids, asks, Preferences.empty())[0].astype(np.int64)) if pairs else 0)
    assert len(set(trades.buy_order.tolist())) == len(set(trades.sell_order.tolist())) == len(trades)
    assert (trades.buy_price == trades.sell_price).all()
    assert (trades.buy_price <= orders.limit[trades.buy_order]).all()
    assert (trades.buy_price >= orders.limit[trades.sell_order]).all()


groups = st.lists(rows.filter(len), min_size=1, max_size=3)


@given(parts=groups, seed=st.integers(0, 9))
def test_books_with_equal_numbers_keep_the_claims(parts, seed):
    """Most generated books of the conformance suite are refused, so the checks are run on even ones here."""
    books = [book(part) for part in parts]
    first = np.cumsum([0, *map(len, books[:-1])])
    orders = Orders.concat(
        *(each.replace(id=each.id + first[n], interval=np.full(len(each), n)) for n, each in enumerate(books))
    )
    for method in ("scaled", "naive"):
        trial = Trial(AssignmentAuction(method=method), Case("even", orders, None, seed))
        for check in checks_for({BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT}):
            assert judge(check.test, trial) is None


def test_two_homes_and_two_roofs_by_hand():
    # 8 with 50: a gap of 10 on 4 lots is 40, with 51: 12 on 2 is 24; 9 with 50: 5 on 2 is 10, with 51: 7 on 2 is 14.
    orders = book_of([(8, BUY, 4, 20), (9, BUY, 2, 15), (50, SELL, 4, 10), (51, SELL, 2, 8)])
    trades = clear(orders).trades
    assert list(zip(trades.buyer, trades.seller, trades.quantity, trades.buy_price, strict=True)) == [
        (8, 50, 4, 15),
        (9, 51, 2, 11),
    ]
    likes = Preferences(np.array([9]), np.array([50]), np.array([30]))
    liked = clear(orders, preferences=likes).trades
    assert list(zip(liked.buyer.tolist(), liked.seller.tolist(), strict=True)) == [(8, 51), (9, 50)]
    named = orders.replace(partner=[51, -1, -1, -1])
    assert set(
        zip(*(column.tolist() for column in (clear(named).trades.buyer, clear(named).trades.seller)), strict=True)
    ) == {
        (8, 51),
        (9, 50),
    }


def test_what_it_refuses():
    assert clear(book_of([(8, BUY, 1, 9), (9, SELL, 1, 1), (10, SELL, 1, 1)])).refused == Reject.UNEQUAL_NUMBERS
    even = book([(1, 9, 1, 1)])
    odd = Orders.concat(even, even.take(slice(0, 1)).replace(id=[7], interval=[1]))
    assert clear(odd).refused == Reject.UNEQUAL_NUMBERS  # of any interval: every lot comes back
    takers = book_of([(8, BUY, 1, ANY_PRICE), (9, SELL, 1, 1)])
    assert clear(takers).refused == Reject.NO_TARIFF
    assert clear(takers, tariff=Tariff.flat(30, 8)).trades.buy_price.tolist() == [15]
    assert clear(book([(1 << 48, 1 << 20, 1 << 48, 0)])).refused == Reject.TOO_LARGE
    many = book([(1, 2, 1, 1)] * (PAIRS_MAX + 1))
    assert clear(many).refused == Reject.TOO_MANY_MEMBERS
    assert clear(book_of([(8, BUY, 1, 9)])).refused == Reject.ONE_SIDED
    with pytest.raises(InvariantError, match="k_percent is 101"):
        AssignmentAuction(101)
    with pytest.raises(InvariantError, match="method is 'fast'"):
        AssignmentAuction(method="fast")
