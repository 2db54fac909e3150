"""A shared facility: closed form, fine grids of prices, who leads, and that settlement brings the rest."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from wattle.agents.cohort import FixedLimits, View
from wattle.agents.logarithmic import LogarithmicMembers, consumed
from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Call, Clearing, Context, Tariff
from wattle.core.tables import ANY_PRICE, BUY, FIRST_MEMBER, SELL, UTILITY, Orders, Readings
from wattle.engine.engine import Engine, Rules
from wattle.engine.events import Cleared, IntervalsEnded, MembersJoined, ReadingsReceived, TariffPublished
from wattle.engine.gate import Product
from wattle.market.facility import SharedFacility
from wattle.market.mechanism import GATE
from wattle.runtime.rounds import run_rounds
from wattle.testing.generators import Case, book_of
from wattle.testing.trial import Trial

GOLDEN = Path(__file__).parents[2] / "golden"
HALL = FIRST_MEMBER


def sold(price, k, unit, surplus):
    """Return what each home sells at a price, in whole lots, from the closed form of its own problem."""
    kept = np.rint(consumed(float(price), k, unit, surplus)).astype(np.int64)
    return np.where(k / (unit + surplus) <= price, surplus - kept, 0)


def played(need, k, unit, surplus, tariff, rule=None):
    """Let homes with logarithmic utility answer the facility, who takes any price."""
    rule, context = rule or SharedFacility(), Context(tariff=tariff)
    who = np.arange(HALL + 1, HALL + 1 + k.size, dtype=np.int32)
    homes, view = LogarithmicMembers(who, k, unit), View(-surplus[None, :])
    hall = book_of([(HALL, BUY, need, ANY_PRICE)])
    call, memory = Call("p", 0, 1), None
    for number in range(1, 1000):
        answers = homes.respond(call, view)
        book = Orders.concat(hall, answers.replace(id=1 + np.arange(len(answers))))
        memory, reply = rule.step(memory, book, context)
        if isinstance(reply, Clearing):
            return reply
        call = Call("p", 0, 1, number, reply.quotes)
    raise AssertionError


# --- the equilibrium ---


@pytest.mark.parametrize("name", ["shared-facility-two-homes", "shared-facility-small-need"])
def test_closed_form_of_homes_with_logarithmic_utility(name):
    case, expected = (json.loads((GOLDEN / name / f"{file}.json").read_text()) for file in ("case", "expected"))
    k, unit, surplus = (np.array([home[key] for home in case["homes"]]) for key in ("k", "unit", "surplus"))
    clearing = played(case["need"], k * 1.0, unit * 1.0, surplus, Tariff.flat(case["retail"], case["feed_in"]))
    assert clearing.prices.price.tolist() == [expected["price_ticks"]]
    assert clearing.trades.quantity.tolist() == expected["lots"]
    for figure in ("grid_lots", "cost", "cost_from_grid_only", "unique"):
        assert clearing.report[figure] == expected[figure]
    assert clearing.report["deviation_gain"] == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), homes=st.integers(1, 6))
def test_the_closed_form_a_search_and_the_rule_agree(seed, homes):
    """Homes that all sell a part: p* = sqrt(r sum K / sum (E + u)); SciPy minimises the same cost; the rule asks."""
    rng = np.random.default_rng(seed)
    surplus, unit, retail = rng.integers(200_000, 400_000, homes), np.full(homes, 10_000.0), 4000
    k = (
        400.0 * (surplus + unit) * rng.uniform(0.9, 1.1, homes)
    )  # first lots are sold from about 400 on, all before 4000 k
    need = int(surplus.sum()) * 2
    closed = float(np.sqrt(retail * k.sum() / (surplus + unit).sum()))
    assert (consumed(closed, k, unit, surplus) > 0).all()
    assert (consumed(closed, k, unit, surplus) < surplus).all()

    def cost(price):
        local = (surplus - consumed(price, k, unit, surplus)).sum()
        return price * local + retail * (need - local)

    searched = minimize_scalar(cost, bounds=(400, retail), method="bounded", options={"xatol": 1e-6})
    assert searched.x == pytest.approx(closed, abs=0.5)
    clearing = played(need, k, unit, surplus, Tariff.flat(retail, 60))
    assert clearing.prices.price[0] == pytest.approx(closed, abs=2)
    assert clearing.report["cost"] == pytest.approx(searched.fun, rel=1e-6)
    assert clearing.report["unique"] == 1


def test_no_price_is_better_for_the_facility_and_it_never_pays_more_than_retail():
    """All prices of a fine grid, with homes that enter one by one, sell all they have, or are more than enough."""
    small = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        homes = int(rng.integers(1, 8))
        surplus, unit = rng.integers(50, 3000, homes), rng.uniform(20, 300, homes)
        k = rng.uniform(30, 500, homes) * (surplus + unit)
        need, retail = int(rng.integers(200, 6000)), 400
        clearing = played(need, k, unit, surplus, Tariff.flat(retail, 60))
        report, best = clearing.report, need * retail
        for price in range(60, retail + 1):
            local = min(need, int(sold(price, k, unit, surplus).sum()))
            best = min(best, price * local + retail * (need - local))
        if len(clearing.trades) == 0:
            assert best == need * retail
            continue
        assert best == report["cost"] <= report["cost_from_grid_only"] == need * retail
        assert report["deviation_gain"] <= 1e-6 * best
        small += report["grid_lots"] == 0
    assert small > 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 1000)), min_size=1, max_size=10), st.integers(1, 3000))
def test_no_price_at_all_is_better_with_fixed_limits(homes, need):
    book = book_of([(8, BUY, need, ANY_PRICE), *((9 + n, SELL, *each) for n, each in enumerate(homes))])
    report = Trial(SharedFacility(), Case("", book, Tariff.flat(1000, 0), 0)).outcome.clearing.report
    bills = [
        need * 1000 - (1000 - price) * min(need, sum(lots for lots, limit in homes if limit <= price))
        for _, price in homes
    ]
    assert report["cost"] == min(bills)
    assert report["deviation_gain"] <= 1e-6 * min(bills)


def test_many_dear_lots_behind_one_that_is_given_away():
    book = book_of([(8, BUY, 2000, ANY_PRICE), (9, SELL, 1, 0), (10, SELL, 1000, 970)])
    report = Trial(SharedFacility(), Case("by hand", book, Tariff.flat(1000, 0), 0)).outcome.clearing.report
    assert (report["cost"], report["deviation_gain"], report["unique"]) == (1_969_970, 0, 1)


def test_two_prices_that_are_best_are_reported():
    # 10 lots at 0 save 10 x 300, 30 lots at 200 save 30 x 100; between them it is less.
    book = book_of([(8, BUY, 50, ANY_PRICE), (9, SELL, 10, 0), (10, SELL, 20, 200)])
    clearing = Trial(SharedFacility(), Case("by hand", book, Tariff.flat(300, 0), 0)).outcome.clearing
    assert clearing.report["unique"] == 0
    assert set(clearing.trades.buy_price.tolist()) == {200}  # the one that the homes like best


def test_the_price_is_never_below_feed_in():
    # Homes that would sell below feed-in can sell to the grid instead.
    book = book_of([(8, BUY, 10, ANY_PRICE), (9, SELL, 4, 20), (10, SELL, 4, -ANY_PRICE)])
    clearing = Trial(SharedFacility(), Case("by hand", book, Tariff.flat(300, 60), 0)).outcome.clearing
    assert clearing.prices.price.tolist() == [60]
    assert clearing.trades.quantity.tolist() == [4, 4]
    assert clearing.report["cost"] == 8 * 60 + 2 * 300


def test_homes_with_fixed_limits_the_facility_buys_step_by_step():
    # 5 lots from 100 on, 5 more from 180 on: 10 x 300 - ... 5 x 200 saved at 100, 10 x 120 saved at 180.
    book = book_of([(8, BUY, 10, ANY_PRICE), (9, SELL, 5, 100), (10, SELL, 5, 180)])
    clearing = Trial(SharedFacility(grid=201), Case("by hand", book, Tariff.flat(300, 60), 0)).outcome.clearing
    assert clearing.prices.price.tolist() == [180]
    assert clearing.report["cost"] == 1800


# --- who leads ---


def in_zones(rows, zones):
    return book_of(rows).replace(zone=np.array(zones))


def test_the_named_facility_leads_and_other_buyers_wait():
    book = book_of([(8, BUY, 20, ANY_PRICE), (9, BUY, 5, ANY_PRICE), (10, SELL, 9, 100)])
    case = Case("by hand", book, Tariff.flat(300, 60), 0)
    largest = Trial(SharedFacility(), case).outcome.clearing.trades
    named = Trial(SharedFacility(facilities={9: 1}), case).outcome.clearing.trades
    assert (largest.buyer.tolist(), largest.quantity.tolist()) == ([8], [9])
    assert (named.buyer.tolist(), named.quantity.tolist()) == ([9], [5])
    assert len(Trial(SharedFacility(facilities={9: 1, 8: 2}), case).outcome.clearing.trades) == 1
    nobody = Trial(SharedFacility(facilities={10: 1, 30: 4}), case).outcome.clearing
    assert len(nobody.trades) == 0
    assert nobody.unusable is None


def test_each_zone_has_its_facility():
    book = in_zones([(8, BUY, 20, ANY_PRICE), (10, SELL, 9, 100), (9, BUY, 7, 250), (11, SELL, 9, 120)], [0, 0, 1, 1])
    trades = Trial(
        SharedFacility(facilities={8: 1, 9: 1}), Case("z", book, Tariff.flat(300, 60), 0)
    ).outcome.clearing.trades
    assert trades.buyer.tolist() == [8, 9]
    assert trades.quantity.tolist() == [9, 7]
    assert trades.buy_price[0] in (100, 101)


def test_all_orders_of_the_facility_are_one_need_and_it_does_not_sell_to_itself():
    book = book_of([(8, BUY, 4, ANY_PRICE), (8, BUY, 5, 250), (8, SELL, 5, 70), (9, BUY, 6, 300), (10, SELL, 20, 100)])
    clearing = Trial(SharedFacility(), Case("by hand", book, Tariff.flat(300, 60), 0)).outcome.clearing
    assert clearing.trades.seller.tolist() == [10, 10]
    assert clearing.trades.quantity.sum() == 9


def test_nothing_local_is_bought_above_retail_or_where_feed_in_is_better():
    dear = book_of([(8, BUY, 10, 400), (9, SELL, 5, 320)])
    assert len(Trial(SharedFacility(), Case("dear", dear, Tariff.flat(300, 60), 0)).outcome.clearing.trades) == 0
    modest = book_of([(8, BUY, 10, 50), (9, SELL, 5, 20)])
    assert len(Trial(SharedFacility(), Case("modest", modest, Tariff.flat(300, 60), 0)).outcome.clearing.trades) == 0


def test_refusals():
    book, context = book_of([(8, BUY, 10, 200), (9, SELL, 5, 100)]), Context(tariff=Tariff.flat(300, 60))
    assert SharedFacility().step(None, book, Context())[1].refused == Reject.NO_TARIFF
    named = book.replace(partner=np.array([9, -1]))
    assert SharedFacility().step(None, named, context)[1].refused == Reject.PARTNER_NOT_SUPPORTED
    assert SharedFacility().step(None, Orders.empty(), context)[1].refused == Reject.EMPTY_BOOK
    assert SharedFacility().step(None, book.take(slice(0, 1)), context)[1].refused == Reject.ONE_SIDED
    with pytest.raises(InvariantError):
        SharedFacility(grid=2)


# --- the rest from the grid ---


def test_settlement_delivers_the_rest_at_retail():
    """The whole engine: the facility's account after settlement is the cost that the rule reports."""
    k, unit, surplus = np.array([100_000.0, 200_000.0]), np.array([100.0, 100.0]), np.array([900, 1900])
    need, retail, feed_in = 2500, 400, 60
    engine = Engine(Rules((Product("hall", SharedFacility(), GATE, separable=False),), seed=1), 3)
    engine.handle(MembersJoined(0, (HALL, HALL + 1, HALL + 2)))
    engine.handle(TariffPublished(0, 0, np.array([retail]), np.array([feed_in])))
    facility = FixedLimits(np.array([HALL], np.int32), np.array([ANY_PRICE]), np.array([-ANY_PRICE]))
    homes = LogarithmicMembers(np.array([HALL + 1, HALL + 2], np.int32), k, unit)
    views = [View(np.array([[need]])), View(-surplus[None, :])]
    effects = run_rounds(engine, "hall", 0, 1, [facility, homes], views)
    report = next(effect for effect in effects if isinstance(effect, Cleared)).report
    assert report["cost"] == 700_000
    # Homes then use what they kept; the facility uses what it ordered.
    members = np.arange(HALL, HALL + 3, dtype=np.int32)
    engine.handle(ReadingsReceived(1, Readings(np.zeros(3, np.int32), members, np.array([need, -500, -1000]))))
    engine.handle(IntervalsEnded(1, 0, 1))
    paid = engine.balance[1]
    assert paid[HALL] == 700_000
    assert paid[UTILITY] == -400_000
    assert paid[HALL + 1] == -500 * 200
