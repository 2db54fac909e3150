"""One engine for what if, now and again: batches, single orders and a replay of the journal end in one state.

A market with an auction before delivery and a pool after it, over a day. `test_parity_scenario.py` holds the same for
whole runs with their files.
"""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.core.tables import ANYONE, COMMUNITY_FUND, FIRST_MEMBER, GRID_OPERATOR, Orders, Readings
from wattle.engine import events as ev
from wattle.engine.engine import Engine, Rules
from wattle.engine.gate import Product
from wattle.engine.replay import replay
from wattle.ledger.accounts import NETWORK, PLATFORM
from wattle.ledger.fees import LOCAL_KWH, UTILITY_KWH, Charge
from wattle.market.auction_double import AveragePriceAuction, PayAsBidAuction, UniformAuction
from wattle.market.keys import EqualFill
from wattle.market.mechanism import GATE, METERED
from wattle.market.pools import BillSharing, MidMarketRate, SupplyDemandRatio

MEMBERS = 6
CHARGES = (
    Charge("local", LOCAL_KWH, 15, GRID_OPERATOR, NETWORK),
    Charge("network", UTILITY_KWH, 80, GRID_OPERATOR, NETWORK),
    Charge("platform", LOCAL_KWH, 1, COMMUNITY_FUND, PLATFORM),
)
PAIRS = [
    (UniformAuction(), MidMarketRate()),
    (PayAsBidAuction(k_percent=30), SupplyDemandRatio()),
    (AveragePriceAuction(), EqualFill()),
    (UniformAuction(k_percent=0), BillSharing()),
]


def rules_of(auction, pool):
    separable = not isinstance(pool, BillSharing)
    return Rules((Product("auction", auction, GATE), Product("pool", pool, METERED, separable=separable)), CHARGES, 3)


def day(seed, intervals, per_interval):
    """Orders and readings of a day; orders stand in order of interval."""
    rng = np.random.default_rng(seed)
    size = intervals * per_interval
    nought = np.zeros(size, np.int64)
    side = rng.choice(np.array([1, -1]), size)
    limits = rng.integers(10, 40, size) * 10
    interval = np.repeat(np.arange(intervals), per_interval)
    who = rng.integers(FIRST_MEMBER, FIRST_MEMBER + MEMBERS, size)
    orders = Orders(nought, who, nought, interval, side, rng.integers(1, 900, size), limits, nought + ANYONE)
    energy = rng.integers(-900, 900, intervals * MEMBERS)
    members = np.tile(np.arange(FIRST_MEMBER, FIRST_MEMBER + MEMBERS), intervals)
    return orders, Readings(np.repeat(np.arange(intervals), MEMBERS), members, energy)


def opening(intervals):
    retail = np.arange(intervals, dtype=np.int64) % 50 + 300
    yield ev.MembersJoined(0, tuple(range(FIRST_MEMBER, FIRST_MEMBER + MEMBERS)))
    yield ev.TariffPublished(0, 0, retail, retail - 230)


def in_batches(orders, readings, intervals):
    yield from opening(intervals)
    yield ev.GateOpened(0, "auction", 0, intervals)
    yield ev.OrdersSubmitted(0, "auction", orders)
    yield ev.GateClosed(0, "auction")
    yield ev.ReadingsReceived(0, readings)
    yield ev.IntervalsEnded(0, 0, intervals)


def one_at_a_time(orders, readings, intervals):
    yield from opening(intervals)
    yield ev.GateOpened(0, "auction", 0, intervals)
    for row in range(len(orders)):
        yield ev.OrdersSubmitted(0, "auction", orders.take(slice(row, row + 1)))
    yield ev.GateClosed(0, "auction")
    for time in range(intervals):
        for row in np.flatnonzero(readings.interval == time):
            yield ev.ReadingsReceived(0, readings.take(slice(row, row + 1)))
        if time % 7 != 0 or time == intervals - 1:  # sometimes two intervals end together
            yield ev.IntervalsEnded(0, time - (time % 7 == 1), time + 1)


def live(orders, readings, intervals):
    """A gate for each interval, readings in any order, as they come in operation."""
    yield from opening(intervals)
    for time in range(intervals):
        yield ev.GateOpened(0, "auction", time, time + 1)
        yield ev.OrdersSubmitted(0, "auction", orders.take(orders.interval == time))
        yield ev.GateClosed(0, "auction")
        mine = readings.take(readings.interval == time)
        yield ev.ReadingsReceived(0, mine.take(np.random.default_rng(time).permutation(len(mine))))
        yield ev.IntervalsEnded(0, time, time + 1)


def run(rules, events):
    """Return the engine and its journal as text."""
    engine, journal = Engine(rules, MEMBERS), []
    for event in events:
        journal.append(json.dumps([type(event).__name__, event.payload()]))
        assert not any(isinstance(effect, ev.Rejected) for effect in engine.handle(event))
    return engine, journal


def again(rules, journal):
    return replay(rules, MEMBERS, (ev.event_from(kind, payload) for kind, payload in map(json.loads, journal)))


@pytest.mark.parametrize(("auction", "pool"), PAIRS, ids=lambda rule: type(rule).__name__)
def test_batch_single_and_replay_end_in_one_state(auction, pool):
    rules, intervals = rules_of(auction, pool), 96
    orders, readings = day(1, intervals, 20)
    separable = all(product.separable for product in rules.products)
    batch, journal = run(rules, in_batches(orders, readings, intervals))
    assert np.abs(batch.balance).sum() > 0
    assert again(rules, journal).state_hash() == batch.state_hash()
    single, journal = run(rules, one_at_a_time(orders, readings, intervals))
    assert again(rules, journal).state_hash() == single.state_hash()
    assert (single.state_hash() == batch.state_hash()) == separable  # bills are shared over what ends together
    assert single.next_order == batch.next_order == len(orders)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1 << 30),
    intervals=st.integers(1, 9),
    per_interval=st.integers(0, 6),
    pair=st.sampled_from(PAIRS[:3]),
)
def test_small_markets_too(seed, intervals, per_interval, pair):
    rules = rules_of(*pair)
    orders, readings = day(seed, intervals, per_interval)
    ends = [run(rules, way(orders, readings, intervals))[0] for way in (in_batches, one_at_a_time)]
    assert ends[0].state_hash() == ends[1].state_hash()
    now = run(rules, live(orders, readings, intervals))[0]
    assert now.head == ends[0].head  # other gates, but the same seals of the same content
    assert np.array_equal(now.balance, ends[0].balance)


@pytest.mark.parametrize(("auction", "pool"), PAIRS, ids=lambda rule: type(rule).__name__)
def test_a_corrected_past_is_replayed_too(auction, pool):
    rules, intervals = rules_of(auction, pool), 12
    orders, readings = day(2, intervals, 10)
    late = readings.take(np.array([3, 40])).replace(energy=np.array([500, -500]))
    events = [*in_batches(orders, readings, intervals), ev.ReadingsReceived(0, late)]
    engine, journal = run(rules, events)
    assert again(rules, journal).state_hash() == engine.state_hash()
    assert again(rules, journal[:-1]).state_hash() != engine.state_hash()


@pytest.mark.parametrize("row", range(7))
def test_one_changed_number_in_the_journal_changes_the_state(row):
    rules, intervals = rules_of(*PAIRS[0]), 4
    engine, journal = run(rules, in_batches(*day(3, intervals, 10), intervals))
    assert len(journal) == 7
    kind, payload = json.loads(journal[row])
    match kind:
        case "MembersJoined":
            payload["participants"].append(FIRST_MEMBER)  # joins twice: the same members, the same state
        case "TariffPublished":
            payload["retail"][2] += 1
        case "GateOpened":
            payload["stop"] -= 1
        case "OrdersSubmitted":
            payload["orders"]["quantity"][5] += 1
        case "ReadingsReceived":
            payload["readings"]["energy"][7] += 1
        case "IntervalsEnded":
            payload["stop"] -= 1
        case "GateClosed":
            payload["product"] = "pool"
    changed = [*journal[:row], json.dumps([kind, payload]), *journal[row + 1 :]]
    assert (again(rules, changed).state_hash() == engine.state_hash()) == (kind == "MembersJoined")
