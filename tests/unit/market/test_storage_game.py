"""The day-ahead game through the engine: closed forms, its clearing against brute force, what the utility trades."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.agents.cohort import FixedLimits, View
from wattle.agents.storage_game import Devices, StorageGameMembers, at_rest, safe_inertia
from wattle.assets.storage import Fleet
from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Clearing, Context, Tariff
from wattle.core.tables import ANY_PRICE, BUY, FIRST_MEMBER, NO_ORDER, SELL, UTILITY, Orders
from wattle.engine.engine import Engine, Rules
from wattle.engine.events import MembersJoined
from wattle.engine.gate import Product
from wattle.market.mechanism import GATE
from wattle.market.storage_game import StorageGame, rests
from wattle.runtime.rounds import run_rounds
from wattle.testing.generators import Case, book_of
from wattle.testing.strategies import order_books, tariffs
from wattle.testing.trial import Trial

GOLDEN = Path(__file__).parents[2] / "golden"
CASES = ("storage-game-one-battery", "storage-game-two-batteries", "storage-game-generator")
FINE = {"inner": 0.1, "tolerance": 1e-5}


def owners(active, grid):
    """Return the members of a golden case, with an inertia that is safe for them and one passive load."""
    batteries = [each.get("battery", {"room": 0, "rate": 0, "start": 0}) for each in active]
    makers = [each.get("generator", {"most": 0, "budget": 0, "cost_ticks": 0}) for each in active]
    room, rate, start = (np.array([each[name] for each in batteries], float) for name in ("room", "rate", "start"))
    most, budget, cost = (np.array([each[name] for each in makers], float) for name in ("most", "budget", "cost_ticks"))
    one, nought = np.ones(len(active)), np.zeros(len(active))
    who = np.arange(FIRST_MEMBER, FIRST_MEMBER + len(active), dtype=np.int32)
    return StorageGameMembers(
        who,
        Fleet(room, rate, rate, one, one),
        Devices(one, start, nought, most, budget, cost, nought),
        np.array([float(grid)]),
        safe_inertia(np.array([float(grid)]), len(active)),
        **FINE,
    )


def played(rule, members, need, passive):
    """Run the gate with one passive member more; return the clearing."""
    last = int(members.members[-1]) + 1
    crowd = FixedLimits(np.array([last], np.int32), np.array([ANY_PRICE]), np.array([-ANY_PRICE]))
    count = last - FIRST_MEMBER + 1
    engine = Engine(Rules((Product("game", rule, GATE, separable=False),)), members=count)
    engine.handle(MembersJoined(0, tuple(range(FIRST_MEMBER, last + 1))))
    views = [View(np.array(need).T), View(np.array(passive)[:, None])]
    return run_rounds(engine, "game", 0, len(passive), [members, crowd], views)[-1]


def net_of(cleared, who, slots):
    trades, net = cleared.trades, np.zeros(slots, np.int64)
    for side, name in ((1, "buyer"), (-1, "seller")):
        mine = getattr(trades, name) == who
        np.add.at(net, trades.interval[mine], side * trades.quantity[mine])
    return net


@pytest.mark.parametrize("name", CASES)
def test_closed_forms(name):
    case, expected = (json.loads((GOLDEN / name / part).read_text()) for part in ("case.json", "expected.json"))
    members = owners(case["active"], case["grid_ticks"])
    cleared = played(
        StorageGame(case["grid_ticks"], **FINE), members, [each["need"] for each in case["active"]], case["passive"]
    )
    assert cleared.report["settled"] == 1
    slots = len(case["passive"])
    for who, lots in zip(members.members, expected["net_lots"], strict=True):
        assert net_of(cleared, who, slots) == pytest.approx(lots, abs=20)  # of 100,000
    assert -net_of(cleared, UTILITY, slots) == pytest.approx(expected["load_lots"], abs=20)
    assert cleared.prices.price == pytest.approx(expected["price_ticks"], abs=20 * case["grid_ticks"])
    assert (cleared.prices.price == case["grid_ticks"] * -net_of(cleared, UTILITY, slots)).all()


@pytest.mark.parametrize("count", [1, 3, 8])
def test_many_batteries_level_more_and_never_all(count):
    # N users level N / (N + 1) of the difference between two slots of passive load.
    gap = 30_000 * (count + 1)
    battery = {"need": [10**6] * 2, "battery": {"room": 4 * 10**6, "rate": 4 * 10**6, "start": 0.5}}
    members = owners([battery] * count, 100)
    cleared = played(StorageGame(100, **FINE), members, [battery["need"]] * count, [0, gap])
    load = -net_of(cleared, UTILITY, 2)
    assert load[1] - load[0] == pytest.approx(30_000, rel=0.02)
    assert cleared.report["settled"] == 1


def test_surplus_goes_to_neighbours_first_and_money_adds_up():
    book = book_of([(8, BUY, 50, ANY_PRICE), (9, SELL, 30, -ANY_PRICE), (10, BUY, 5, ANY_PRICE)])
    cleared = Trial(StorageGame(2.0), Case("by hand", book, None, 0)).outcome.clearing
    trades = cleared.trades
    assert cleared.prices.price.tolist() == [50]  # K x (55 - 30)
    assert trades.quantity[trades.seller == 9].sum() == 30
    assert trades.quantity[trades.seller == UTILITY].sum() == 25
    assert (trades.sell_order[trades.seller == UTILITY] == NO_ORDER).all()
    assert (trades.buy_price == trades.sell_price).all()
    earned = (trades.quantity * trades.sell_price)[trades.seller == UTILITY].sum()
    assert cleared.report["grid_cost"] == earned == 2 * 25**2


def test_too_much_sun_has_a_negative_price():
    book = book_of([(8, BUY, 10, ANY_PRICE), (9, SELL, 30, -ANY_PRICE)])
    trades = Trial(StorageGame(2.0), Case("by hand", book, None, 0)).outcome.clearing.trades
    assert trades.quantity[trades.buyer == UTILITY].tolist() == [20]
    assert set(trades.buy_price.tolist()) == {-40}
    # With a tariff the seller would rather feed in: he sells to his neighbour only, at a price of nobody's load.
    case = Case("by hand", book, Tariff.flat(300, 0), 0)
    trades = Trial(StorageGame(2.0), case).outcome.clearing.trades
    assert trades.quantity.tolist() == [10]
    assert trades.buy_price.tolist() == [0]


def test_nobody_pays_the_utility_more_than_its_tariff():
    book = book_of([(8, BUY, 100, ANY_PRICE), (9, BUY, 100, ANY_PRICE)])
    cleared = Trial(StorageGame(3.0), Case("by hand", book, Tariff.flat(300, 60), 0)).outcome.clearing
    assert cleared.prices.price.tolist() == [300]
    assert cleared.trades.quantity.tolist() == [100]  # 300 = 3 x 100; the rest stays with the utility's tariff
    assert cleared.trades.buyer.tolist() == [8]


def crossing(rows, k):
    """Brute force: every price and load with demand between its two sides there and load next to price / K."""
    found = set()
    prices = range(-600, 601)
    for price in prices:
        least = sum(side * lots for side, lots, limit in rows if (limit > price if side > 0 else limit <= price))
        most = sum(side * lots for side, lots, limit in rows if (limit >= price if side > 0 else limit < price))
        for load in range(least, most + 1):
            # On the supply curve, up to the rounding of a price or, where a limit sets it, of a lot.
            if abs(price - k * load) <= (0.5 if least == most else max(0.5, k / 2)):
                found.add((price, load))
    return found


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from((BUY, SELL)), st.integers(1, 9), st.integers(-20, 60)), max_size=6),
    k=st.sampled_from((0.25, 1.0, 1.5, 7.0)),
)
def test_price_is_where_demand_meets_the_grid(rows, k):
    book = book_of([(FIRST_MEMBER + n, *row) for n, row in enumerate(rows)])
    first = StorageGame(k).step(None, book, Context())[1]
    if isinstance(first, Clearing):
        assert not rows
        return
    cleared = Trial(StorageGame(k), Case("drawn", book, None, 0)).outcome.clearing
    trades = cleared.trades
    load = int(trades.quantity[trades.seller == UTILITY].sum() - trades.quantity[trades.buyer == UTILITY].sum())
    price = int(first.quotes.price[0])
    assert (price, load) in crossing(rows, k)
    assert cleared.prices.price.tolist() in ([], [price])


@settings(max_examples=60, deadline=None)
@given(book=order_books(), tariff=tariffs())
def test_members_with_limits_need_one_round(book, tariff):
    outcome = Trial(StorageGame(), Case("drawn", book, tariff, 0)).outcome
    assert outcome.rounds == (1 if len(book) else 0)
    if len(book):
        assert outcome.clearing.report["settled"] == 1


def test_refusals():
    named = book_of([(8, BUY, 5, 50), (9, SELL, 5, 10)]).replace(partner=np.array([9, -1]))
    assert StorageGame().step(None, named, Context())[1].refused == Reject.PARTNER_NOT_SUPPORTED
    huge = book_of([(8, BUY, 1 << 48, ANY_PRICE)])
    assert StorageGame().step(None, huge, Context())[1].refused == Reject.TOO_LARGE
    assert StorageGame().step(None, Orders.empty(), Context())[1].refused == Reject.EMPTY_BOOK


@pytest.mark.parametrize(
    "bad",
    [{"grid_ticks": 0}, {"day_factor": -1}, {"tolerance": 0}, {"inner": 1.0}, {"rounds_max": 0},
     {"day_first": 5, "day_stop": 3}, {"day_stop": 25}],
)  # fmt: skip
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InvariantError):
        StorageGame(**bad)


@given(
    prices=st.lists(st.tuples(*[st.integers(-1000, 100_000)] * 3), min_size=1, max_size=5),
    inner=st.sampled_from((0.0, 0.3, 0.9)),
    tolerance=st.sampled_from((1e-4, 1e-2, 0.5)),
    floor=st.sampled_from((0.1, 20.0, 2000.0)),
    waited=st.integers(0, 20),
)
def test_rule_and_members_agree_when_prices_rest(prices, inner, tolerance, floor, waited):
    now, before, resting = np.array(prices, np.int64).T
    theirs = at_rest(now.astype(float), before.astype(float), resting.astype(float), inner, tolerance, floor, waited)
    assert rests(now, before, resting, inner, tolerance, floor, waited) == theirs


def test_rounds_are_bounded_where_members_answer_wildly():
    # Without enough inertia everybody runs to the cheapest slot at once, for ever.
    battery = {"need": [100, 100], "battery": {"room": 400, "rate": 400, "start": 0.5}}
    members = owners([battery] * 40, 100)
    members.inertia = 1.0
    rule = StorageGame(100, rounds_max=30, **FINE)
    cleared = played(rule, members, [battery["need"]] * 40, [100, 400])
    assert cleared.report["settled"] == 0
    assert cleared.report["rounds"] == 30
    assert len(cleared.trades)
