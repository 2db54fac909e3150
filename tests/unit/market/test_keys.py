"""Allocation keys against sharing in exact fractions, and cases worked by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff, unfilled
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders
from wattle.market.keys import DynamicKey, EqualFill, FixedKey, FixedKeyRounds, GiftKey, PriorityKey
from wattle.testing.generators import book_of

SELLER = 50
KEYS = [FixedKey(), FixedKeyRounds(), DynamicKey(), EqualFill(), PriorityKey(), GiftKey()]


def pool(supply: int, demands: list[int]) -> Orders:
    """Build a book of price takers: one seller, and a buyer 8, 9, ... for each demand."""
    rows = [(SELLER, SELL, supply, -ANY_PRICE)] if supply else []
    return book_of(rows + [(8 + place, BUY, lots, ANY_PRICE) for place, lots in enumerate(demands)])


def shared(rule, supply: int, demands: list[int], tariff: Tariff | None = None) -> list[int]:
    orders = pool(supply, demands)
    _, clearing = rule.step(None, orders, Context(tariff))
    bought = orders.quantity - unfilled(orders, clearing)
    return [int(bought[orders.participant == 8 + place].sum()) for place in range(len(demands))]


# --- sharing in exact fractions ---


def by_largest_remainder(total: int, weights: list[int]) -> list[int]:
    whole = sum(weights)
    exact = [Fraction(total * weight, whole) if whole else Fraction(0) for weight in weights]
    lots = [share.numerator // share.denominator for share in exact]
    missing = (total - sum(lots)) if whole else 0
    order = sorted((row for row in range(len(weights)) if weights[row]), key=lambda row: (lots[row] - exact[row], row))
    for row in order[:missing]:
        lots[row] += 1
    return lots


def in_rounds(supply: Fraction, demands: list[int], weights: list[int]) -> list[Fraction]:
    """Share until supply or demand is exhausted: all unsatisfied get by weight; who is full leaves."""
    got = [Fraction(0)] * len(demands)
    while supply > 0:
        open_rows = [row for row in range(len(demands)) if weights[row] and got[row] < demands[row]]
        if not open_rows:
            break
        whole = sum(weights[row] for row in open_rows)
        step = min((demands[row] - got[row]) / Fraction(weights[row]) for row in open_rows)
        step = min(step, supply / whole)
        for row in open_rows:
            got[row] += step * weights[row]
        supply -= step * whole
    return got


DEMANDS = st.lists(st.integers(1, 1000), min_size=1, max_size=8)


@given(supply=st.integers(0, 3000), demands=DEMANDS)
def test_dynamic_key_is_pro_rata_to_demand(supply, demands):
    traded = min(supply, sum(demands))
    assert shared(DynamicKey(), supply, demands) == by_largest_remainder(traded, demands)


@given(supply=st.integers(0, 3000), demands=DEMANDS, data=st.data())
def test_fixed_key_is_the_smaller_of_share_and_demand(supply, demands, data):
    weights = data.draw(st.lists(st.integers(0, 100), min_size=len(demands), max_size=len(demands)))
    absent = data.draw(st.integers(0, 50))
    shares = {8 + place: weight for place, weight in enumerate(weights)} | {40: absent}
    lots = by_largest_remainder(supply, [*weights, absent])[:-1]
    if sum(weights) + absent:
        assert shared(FixedKey(shares), supply, demands) == [min(a, b) for a, b in zip(lots, demands, strict=True)]


@given(supply=st.integers(0, 3000), demands=DEMANDS, data=st.data())
def test_rounds_end_where_exact_sharing_ends(supply, demands, data):
    weights = data.draw(st.lists(st.integers(0, 100), min_size=len(demands), max_size=len(demands)).filter(any))
    shares = {8 + place: weight for place, weight in enumerate(weights)}
    found = shared(FixedKeyRounds(shares), supply, demands)
    exact = in_rounds(Fraction(supply), demands, weights)
    # Whole lots are shared in each round, so a member may be off by a lot for each round.
    assert all(abs(lots - share) <= len(demands) for lots, share in zip(found, exact, strict=True))
    assert sum(found) == sum(exact)
    assert all(lots <= demand for lots, demand in zip(found, demands, strict=True))


@given(supply=st.integers(0, 3000), demands=DEMANDS)
def test_equal_fill_reaches_one_level(supply, demands):
    found = shared(EqualFill(), supply, demands)
    assert sum(found) == min(supply, sum(demands))
    level = max(found)
    # Who has less than the others by more than a lot has all that he wants.
    assert all(lots >= level - 1 or lots == demand for lots, demand in zip(found, demands, strict=True))


@given(supply=st.integers(0, 3000), demands=DEMANDS, data=st.data())
def test_priority_serves_rank_after_rank(supply, demands, data):
    ranks = data.draw(st.lists(st.integers(0, 3), min_size=len(demands), max_size=len(demands)))
    expected, left = [0] * len(demands), supply
    for rank in range(4):
        rows = [row for row in range(len(demands)) if ranks[row] == rank]
        want = sum(demands[row] for row in rows)
        for row, lots in zip(rows, by_largest_remainder(min(left, want), [demands[row] for row in rows]), strict=True):
            expected[row] = lots
        left -= min(left, want)
    assert shared(PriorityKey({8 + row: rank for row, rank in enumerate(ranks)}), supply, demands) == expected


@given(supply=st.integers(0, 3000), demands=DEMANDS, percent=st.integers(0, 100))
def test_gift_is_given_first_and_its_receivers_buy_last(supply, demands, percent):
    gift = min(supply * percent // 100, demands[0])
    left = supply - gift
    paying = demands[1:]
    bought = by_largest_remainder(min(left, sum(paying)), paying)
    rest = min(left - sum(bought), demands[0] - gift)
    assert shared(GiftKey({8: 1}, percent), supply, demands) == [gift + rest, *bought]


@pytest.mark.parametrize("rule", KEYS, ids=repr)
@given(supplies=st.lists(st.integers(1, 500), max_size=4), demands=st.lists(st.integers(1, 500), max_size=6))
def test_sellers_are_served_pro_rata_and_every_lot_is_accounted_for(rule, supplies, demands):
    rows = [(SELLER + place, SELL, lots, -ANY_PRICE) for place, lots in enumerate(supplies)]
    orders = book_of(rows + [(8 + place, BUY, lots, ANY_PRICE) for place, lots in enumerate(demands)])
    _, clearing = rule.step(None, orders, Context())
    filled = orders.quantity - unfilled(orders, clearing)
    sold = filled[orders.side == SELL].tolist()
    assert sum(sold) == filled[orders.side == BUY].sum()
    assert sold == by_largest_remainder(sum(sold), supplies)


@pytest.mark.parametrize("rule", KEYS, ids=repr)
@given(supply=st.integers(1, 300), demands=st.lists(st.integers(1, 100), min_size=1, max_size=4), data=st.data())
def test_a_member_with_several_orders_gets_what_he_would_get_with_one(rule, supply, demands, data):
    parts = [data.draw(st.integers(1, lots)) for lots in demands]
    rows = [(SELLER, SELL, supply, -ANY_PRICE)]
    rows += [(8 + place, BUY, part, ANY_PRICE) for place, part in enumerate(parts)]
    rows += [
        (8 + place, BUY, lots - part, ANY_PRICE)
        for place, (lots, part) in enumerate(zip(demands, parts, strict=True))
        if lots > part
    ]
    orders = book_of(rows)
    _, clearing = rule.step(None, orders, Context())
    bought = orders.quantity - unfilled(orders, clearing)
    mine = [int(bought[orders.participant == 8 + place].sum()) for place in range(len(demands))]
    assert mine == shared(rule, supply, demands)


# --- by hand ---


def test_without_shares_all_who_want_energy_weigh_the_same():
    assert shared(FixedKey(), 9, [1, 10, 10]) == [1, 3, 3]
    assert shared(FixedKeyRounds(), 9, [1, 10, 10]) == [1, 4, 4]
    assert shared(FixedKeyRounds(rounds_max=1), 9, [1, 10, 10]) == [1, 3, 3]


def test_who_is_in_the_key_but_wants_nothing_keeps_his_share_in_the_first_round():
    key = {8: 50, 9: 30, 40: 20}
    assert shared(FixedKey(key), 10, [9, 9]) == [5, 3]
    assert shared(FixedKeyRounds(key), 8, [9, 9]) == [5, 3]


def test_who_is_not_in_the_key_gets_nothing():
    assert shared(FixedKey({8: 1}), 10, [4, 4]) == [4, 0]
    assert shared(FixedKeyRounds({8: 1}), 10, [4, 4]) == [4, 0]


def test_who_has_no_rank_comes_last():
    assert shared(PriorityKey({9: 0}), 5, [4, 4]) == [1, 4]
    assert shared(PriorityKey({8: 0, 9: 0, 10: 0}, within="level"), 6, [4, 2, 1]) == [3, 2, 1]


@pytest.mark.parametrize("rule", [DynamicKey, EqualFill, FixedKey, PriorityKey])
def test_the_price_is_given_or_in_the_middle_or_nought(rule):
    orders, tariff = pool(4, [4]), Tariff.flat(30, 9)
    for price_ticks, seen, expected in (
        (-1, tariff, 19),
        (-1, None, 0),
        (0, tariff, 0),
        (12, None, 12),
        (12, tariff, 12),
    ):
        _, clearing = rule(price_ticks=price_ticks).step(None, orders, Context(seen))
        assert clearing.trades.buy_price.tolist() == clearing.trades.sell_price.tolist() == [expected]
        assert clearing.prices.price.tolist() == [expected]


def test_the_gift_is_free_and_the_published_price_is_the_mean():
    orders = pool(8, [2, 6])
    _, clearing = GiftKey({8: 1}, 25, price_ticks=12).step(None, orders, Context())
    assert sorted(zip(clearing.trades.buyer, clearing.trades.buy_price, clearing.trades.quantity, strict=True)) == [
        (8, 0, 2),
        (9, 12, 6),
    ]
    assert clearing.prices.price.tolist() == [9]


def test_limits_that_forbid_the_price_stand_aside():
    orders = book_of([(SELLER, SELL, 4, 5), (51, SELL, 4, 15), (8, BUY, 4, 11), (9, BUY, 4, 9)])
    _, clearing = DynamicKey(price_ticks=10).step(None, orders, Context())
    assert (clearing.trades.buyer.tolist(), clearing.trades.seller.tolist()) == ([8], [SELLER])


@pytest.mark.parametrize("rule", KEYS, ids=repr)
def test_empty_one_sided_and_partner_books(rule):
    for orders in (Orders.empty(), pool(5, []), pool(0, [4])):
        _, clearing = rule.step(None, orders, Context())
        code = Reject.ONE_SIDED if len(orders) else Reject.EMPTY_BOOK
        assert (len(clearing.trades), clearing.refused) == (0, code)
    _, clearing = rule.step(None, pool(5, [4]).replace(partner=[8, -1]), Context())
    assert clearing.refused == Reject.PARTNER_NOT_SUPPORTED


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FixedKeyRounds(rounds_max=-1), "rounds_max is -1"),
        (lambda: PriorityKey(within="size"), "within is 'size'"),
        (lambda: GiftKey(gift_percent=101), "gift_percent is 101"),
        (lambda: shared(FixedKey({8: -1}), 1, [1]), "negative weight"),
    ],
)
def test_wrong_parameters_are_refused(make, words):
    with pytest.raises(InvariantError, match=words):
        make()


@given(supply=st.integers(1, 2**40), demands=st.lists(st.integers(1, 2**40), min_size=1, max_size=5))
def test_large_pools_are_shared_exactly(supply, demands):
    traded = min(supply, sum(demands))
    assert shared(DynamicKey(), supply, demands) == by_largest_remainder(traded, demands)
    assert sum(shared(EqualFill(), supply, demands)) == traded
    assert np.all(np.array(shared(FixedKey(), supply, demands)) <= demands)
