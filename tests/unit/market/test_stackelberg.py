"""One leader: closed form, fine grids of deviations, checks that are reported, books that cannot be priced."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.agents.quadratic import answer
from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Clearing, Context, Tariff
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders
from wattle.market.stackelberg import Stackelberg
from wattle.testing.generators import Case, book_of
from wattle.testing.trial import Trial, plain_kernels, run

GOLDEN = Path(__file__).parents[2] / "golden" / "stackelberg-linear-quadratic"
LEADER = 8


def lots_at(price, followers, side):
    """Return what each follower (a, b, most) wants at a price, in whole lots."""
    quotes = np.array([float(price)])
    return [int(np.rint(answer(quotes, a, b, (0, most), side=side)[0])) for a, b, most in followers]


def played(rule, limit, lots, followers):
    """Let followers with quadratic curves answer; the leader stands behind his price with all his lots."""
    side = BUY if rule.leader == "seller" else SELL
    opening = [(LEADER, -side, lots, limit)]
    opening += [(LEADER + 1 + n, side, max(1, int(most)), round(b)) for n, (_, b, most) in enumerate(followers)]
    memory, reply = rule.step(None, book_of(opening), Context())
    for _ in range(1000):
        if isinstance(reply, Clearing):
            return reply, memory
        price = int(reply.quotes.price[0])
        wanted = lots_at(price, followers, side)
        rows = [(LEADER, -side, lots, limit)]
        rows += [(LEADER + 1 + n, side, each, round(followers[n][1])) for n, each in enumerate(wanted) if each > 0]
        memory, reply = rule.step(memory, book_of(rows), Context())
    raise AssertionError


def test_closed_form_of_linear_quadratic_followers():
    case, expected = (json.loads((GOLDEN / name).read_text()) for name in ("case.json", "expected.json"))
    followers = [(float(each["a"]), float(each["b"]), each["most"]) for each in case["followers"]]
    clearing, _ = played(Stackelberg(), case["leader"]["limit"], case["leader"]["lots"], followers)
    assert clearing.prices.price.tolist() == [expected["price_ticks"]]
    assert clearing.trades.quantity.tolist() == expected["lots"]
    assert clearing.report["leader_profit"] == expected["leader_profit"]
    assert clearing.report["unique"] == expected["unique"]
    assert clearing.report["deviation_gain"] == 0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("leader", ["seller", "buyer"])
def test_no_price_of_a_fine_grid_is_better_for_the_leader(seed, leader):
    rng = np.random.default_rng(seed)
    side = BUY if leader == "seller" else SELL
    limit = 1000 if leader == "seller" else 3000
    b = rng.uniform(2600, 3000, 6) if leader == "seller" else rng.uniform(1000, 1400, 6)
    followers = [(float(rng.uniform(0.5, 3)) / 1000, float(each), 10_000_000) for each in b]
    clearing, _ = played(Stackelberg(leader), limit, 100_000_000, followers)
    reached = clearing.report["leader_profit"]
    # The closed form for followers who all take part.
    alpha, beta = sum(b / a for a, b, _ in followers), sum(1 / a for a, *_ in followers)
    assert clearing.prices.price[0] == pytest.approx((limit + alpha / beta) / 2, abs=2)
    for price in range(1000, 3001):
        profit = side * (price - limit) * sum(lots_at(price, followers, side))
        # Whole lots make the profit jump by up to a lot's margin for each follower between neighbouring prices.
        assert profit <= reached + abs(price - limit) * len(followers) / 2
    assert clearing.report["unique"] == 1


def test_a_small_leader_shares_pro_rata():
    clearing, _ = played(Stackelberg(), 0, 30, [(1.0, 100.0, 100), (1.0, 100.0, 50)])
    assert clearing.trades.quantity.sum() == 30
    assert clearing.prices.price[0] >= 84  # together they want 200 - 2 p: 30 lots are wanted at 85
    assert abs(int(clearing.trades.quantity[0]) - int(clearing.trades.quantity[1])) <= 1


def test_the_higher_of_two_peaks_is_found():
    # A rich follower and a crowd of poor ones: profit peaks at 700 and, two thirds as high, at 82.
    followers = [(10.0, 1000.0, 30), (0.5, 150.0, 1000)]
    clearing, memory = played(Stackelberg(), 0, 5000, followers)
    fine = [price * sum(lots_at(price, followers, BUY)) for price in range(1001)]
    assert clearing.report["leader_profit"] == max(fine)
    assert clearing.report["unique"] == 1
    assert memory["profit_at"].shape == memory["tried"].shape


@pytest.mark.parametrize(("dear", "unique"), [(80, 1), (95, 0), (100, 0), (101, 0), (105, 1)])
def test_two_best_regions_are_reported(dear, unique):
    # 100 lots at 10 earn 1000, and so do 10 lots at 100; at 11 it is 110. A tick on each lot is the tolerance.
    book = book_of([(8, -1, 500, 0), (9, 1, 10, dear), (10, 1, 90, 10)])
    clearing = run(Stackelberg(), Case("", book, None, 0)).clearing
    assert clearing.report["unique"] == unique
    assert clearing.report["deviation_gain"] == 0


def best_of_all_prices(rows, side):
    """Try each follower's limit: between two of them the leader only loses by a worse price."""
    own = sorted((-side * limit, lots) for who, where, lots, limit in rows if (who, where) == (LEADER, side))
    others = [(-side * limit, lots) for who, where, lots, limit in rows if who != LEADER and where != side]
    best = 0
    for price, _ in others:
        left, won = sum(lots for limit, lots in others if limit >= price), 0
        for cost, lots in own:
            taken = min(left, lots) if cost <= price else 0
            won, left = won + taken * (price - cost), left - taken
        best = max(best, won)
    return best


ORDER = st.tuples(st.integers(1, 1000), st.integers(0, 3000))


@settings(max_examples=150, deadline=None)
@given(st.lists(ORDER, min_size=1, max_size=12), st.lists(ORDER, max_size=2), st.sampled_from([BUY, SELL]))
def test_no_price_at_all_is_better_in_books_of_limits(followers, more, side):
    rows = [(LEADER, side, 1500, 1500), *((LEADER, side, *each) for each in more)]
    rows += [(LEADER + 1 + n, -side, *each) for n, each in enumerate(followers)]
    leader = "seller" if side == SELL else "buyer"
    outcome = run(Stackelberg(leader), Case("", book_of(rows), None, 0))
    found = outcome.clearing
    best = best_of_all_prices(rows, side)
    assert found.report.get("leader_profit", 0) == best
    assert found.report.get("deviation_gain", 0) <= 1e-6 * best
    assert found.report.get("rounds", 0) <= 1 + 17 + 40
    limit = dict(zip(outcome.orders.id.tolist(), outcome.orders.limit.tolist(), strict=True))
    mine = found.trades.sell_order if side == SELL else found.trades.buy_order
    earned = [
        -side * (price - limit[order]) * lots
        for order, price, lots in zip(
            mine.tolist(), found.trades.buy_price.tolist(), found.trades.quantity.tolist(), strict=True
        )
    ]
    assert sum(earned) == best


def test_many_cheap_lots_below_one_dear_bid():
    case = Case("", book_of([(8, -1, 2000, 0), (9, 1, 1, 1000), (10, 1, 1000, 61)]), None, 0)
    report = run(Stackelberg(), case).clearing.report
    assert (report["leader_profit"], report["deviation_gain"], report["unique"]) == (61061, 0, 1)
    with plain_kernels():
        assert run(Stackelberg(), case).clearing.report == report


def test_the_bound_says_what_few_questions_leave_open():
    """Limits that the opening orders do not tell: the best price is 2900, and 43 questions need not find it."""
    followers = [(0.001, 100.0 * n, 50 * (30 - n) + 1000 * (n == 29)) for n in range(1, 30)]
    for grid in (3, 17, 100):
        clearing, _ = played(Stackelberg(grid=grid), 0, 100_000, followers)
        fine = max(price * sum(lots_at(price, followers, BUY)) for price in range(0, 3001))
        report = clearing.report
        assert report["rounds"] <= 1 + grid + 40
        assert report["leader_profit"] <= fine <= report["leader_profit"] + report["deviation_gain"]


def test_the_leaders_own_orders_on_the_other_side_stay_out():
    book = book_of([(8, -1, 10, 10), (8, 1, 5, 100), (9, 1, 4, 40)])
    clearing = run(Stackelberg(), Case("", book, None, 0)).clearing
    assert (clearing.trades.buyer.tolist(), clearing.trades.quantity.tolist()) == ([9], [4])
    assert clearing.trades.buy_price.tolist() == [40]
    assert clearing.report["leader_profit"] == 120
    # Nobody else could answer member 8, so he does not lead but follows.
    other = run(Stackelberg(), Case("", book_of([(8, -1, 10, 10), (8, 1, 5, 100), (9, -1, 4, 40)]), None, 0)).clearing
    assert (other.trades.seller.tolist(), other.trades.buyer.tolist()) == ([9], [8])
    alone = run(Stackelberg(), Case("", book_of([(8, -1, 10, 10), (8, 1, 5, 100)]), None, 0)).clearing
    assert len(alone.trades) == 0
    assert alone.unusable is None


def test_all_orders_of_the_leader_are_his_costs():
    book = book_of([(8, -1, 5, 10), (8, -1, 4, 12), (9, 1, 9, 40), (10, 1, 5, 45)])
    clearing = run(Stackelberg(), Case("", book, None, 0)).clearing
    assert set(clearing.trades.buy_price.tolist()) == {40}
    assert clearing.report["leader_profit"] == 5 * 30 + 4 * 28
    # The cheap lots are sold first, whichever order came first.
    dear_first = book_of([(8, -1, 6, 12), (8, -1, 4, 10), (9, 1, 5, 40)])
    outcome = run(Stackelberg(), Case("", dear_first, None, 0))
    trades = outcome.clearing.trades
    assert dict(zip(trades.sell_order.tolist(), trades.quantity.tolist(), strict=True)) == {
        int(outcome.orders.id[outcome.orders.limit == 10][0]): 4,
        int(outcome.orders.id[outcome.orders.limit == 12][0]): 1,
    }


def test_largest_seller_leads_and_the_others_wait():
    book = book_of([(8, -1, 5, 50), (9, -1, 20, 100), (10, 1, 6, 300), (11, 1, 6, 200)])
    trades = Trial(Stackelberg(), Case("by hand", book, None, 0)).outcome.clearing.trades
    assert trades.seller.tolist() == [9, 9]  # 12 lots x 100 of margin beats 6 x 200 by being nearer to the limit
    assert trades.quantity.tolist() == [6, 6]
    assert trades.buy_price.max() <= 200


def test_members_who_take_any_price():
    book = book_of([(8, -1, 5, -ANY_PRICE), (9, 1, 6, ANY_PRICE)])
    assert Stackelberg().step(None, book, Context())[1].refused == Reject.NO_PRICE
    case = Case("with a tariff", book, Tariff.flat(300, 60), 0)
    assert Trial(Stackelberg(), case).outcome.clearing.trades.buy_price.tolist() == [300]


def test_partners_and_lonely_sides():
    book = book_of([(8, -1, 5, 50), (9, 1, 20, 100)])
    named = book.replace(partner=np.array([9, -1]))
    assert Stackelberg().step(None, named, Context())[1].refused == Reject.PARTNER_NOT_SUPPORTED
    for empty in (Orders.empty(), book.take(slice(0, 1))):
        reply = Stackelberg().step(None, empty, Context())[1]
        assert reply.unusable is None
        assert len(reply.trades) == 0


@pytest.mark.parametrize("bad", [{"leader": "king"}, {"grid": 2}])
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InvariantError):
        Stackelberg(**bad)
