"""One leader: closed form, fine grids of deviations, checks that are reported, books that cannot be priced."""

import json
from pathlib import Path

import numpy as np
import pytest

from wattle.agents.quadratic import answer
from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Clearing, Context, Tariff
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders
from wattle.market.stackelberg import Stackelberg
from wattle.testing.generators import Case, book_of
from wattle.testing.trial import Trial

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


def test_two_peaks_are_reported():
    # A rich follower and a crowd of poor ones: profit peaks twice.
    followers = [(10.0, 1000.0, 30), (0.5, 150.0, 1000)]
    clearing, memory = played(Stackelberg(grid=40), 0, 5000, followers)
    assert clearing.report["unique"] == 0
    fine = [price * sum(lots_at(price, followers, BUY)) for price in range(1001)]
    assert clearing.report["leader_profit"] >= 0.999 * max(fine)
    assert memory["profits"].shape == memory["prices"].shape


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
