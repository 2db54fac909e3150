"""A negotiation over rounds: batches, single orders and a replay of the journal end in one state."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

from wattle.agents.cohort import View
from wattle.agents.quadratic import QuadraticMembers
from wattle.core.tables import FIRST_MEMBER, Readings
from wattle.engine.engine import Engine, Rules
from wattle.engine.events import (
    Cleared,
    Effect,
    Event,
    IntervalsEnded,
    MembersJoined,
    OrdersSubmitted,
    ReadingsReceived,
    TariffPublished,
)
from wattle.engine.gate import Product
from wattle.engine.replay import replay
from wattle.market.mechanism import GATE
from wattle.market.negotiation import BilateralAdmm, PriceAdjustment
from wattle.runtime.journal import MemoryJournal
from wattle.runtime.rounds import negotiators, round_events, run_rounds

MEMBERS, INTERVALS = 12, 4
RULES = {"admm": BilateralAdmm(penalty=3.0), "price adjustment": PriceAdjustment()}


def cohorts() -> list[QuadraticMembers]:
    """Two cohorts, made anew for each run because they remember their last answers."""
    rng = np.random.default_rng(7)
    a, buy, sell = rng.uniform(0.5, 2, MEMBERS), rng.uniform(2000, 3000, MEMBERS), rng.uniform(800, 1800, MEMBERS)
    who = np.arange(FIRST_MEMBER, FIRST_MEMBER + MEMBERS, dtype=np.int32)
    half = MEMBERS // 2
    return [
        QuadraticMembers(who[part], a[part], buy[part], sell[part], 3.0) for part in (slice(0, half), slice(half, None))
    ]


def expected() -> np.ndarray:
    rng = np.random.default_rng(8)
    return rng.integers(200, 1500, (INTERVALS, MEMBERS)) * np.where(rng.random((INTERVALS, MEMBERS)) < 0.5, 1, -1)


def whole_run(product: str, answered: list[Effect]) -> Iterator[Event]:
    net, half = expected(), MEMBERS // 2
    yield MembersJoined(0, tuple(range(FIRST_MEMBER, FIRST_MEMBER + MEMBERS)))
    yield TariffPublished(0, 0, np.full(INTERVALS, 3000), np.full(INTERVALS, 800))
    views = [View(net[:, :half]), View(net[:, half:])]
    yield from round_events(product, 0, INTERVALS, cohorts(), views, answered)
    interval = np.repeat(np.arange(INTERVALS, dtype=np.int32), MEMBERS)
    who = np.tile(np.arange(FIRST_MEMBER, FIRST_MEMBER + MEMBERS, dtype=np.int32), INTERVALS)
    yield ReadingsReceived(1, Readings(interval, who, net.reshape(-1)))
    yield IntervalsEnded(1, 0, INTERVALS)


def fed(rules: Rules, split: Any, journal: MemoryJournal | None = None) -> tuple[Engine, list[Effect]]:
    engine, answered, seen = Engine(rules, MEMBERS), [], []
    for event in whole_run(rules.products[0].name, answered):
        for part in split(event):
            if journal is not None:
                journal.append(part)
            effects = engine.handle(part)
            answered.extend(effects)
            seen.extend(effects)
    return engine, seen


def one_by_one(event: Event) -> list[Event]:
    if not isinstance(event, OrdersSubmitted):
        return [event]
    rows = range(len(event.orders))
    return [OrdersSubmitted(event.at_s, event.product, event.orders.take(slice(row, row + 1))) for row in rows]


@pytest.mark.parametrize("name", RULES)
def test_batch_single_and_replay_end_in_one_state(name: str) -> None:
    rules = Rules((Product("negotiation", RULES[name], GATE, separable=False),), seed=3)
    journal = MemoryJournal()
    batch, seen = fed(rules, lambda event: [event], journal)
    single, _ = fed(rules, one_by_one)
    again = replay(rules, MEMBERS, (entry.event() for entry in journal.entries()))
    assert batch.sealed_until == INTERVALS
    assert batch.state_hash() == single.state_hash() == again.state_hash()
    cleared = next(effect for effect in seen if isinstance(effect, Cleared))
    assert cleared.report["rounds"] > 3
    assert len(cleared.trades) > INTERVALS
    assert (batch.balance.sum(axis=1) == 0).all()


def test_run_rounds_is_the_same_gate() -> None:
    rules = Rules((Product("negotiation", RULES["admm"], GATE, separable=False),), seed=3)
    _, seen = fed(rules, lambda event: [event])
    engine = Engine(rules, MEMBERS)
    engine.handle(MembersJoined(0, tuple(range(FIRST_MEMBER, FIRST_MEMBER + MEMBERS))))
    engine.handle(TariffPublished(0, 0, np.full(INTERVALS, 3000), np.full(INTERVALS, 800)))
    half, net = MEMBERS // 2, expected()
    found = run_rounds(engine, "negotiation", 0, INTERVALS, cohorts(), [View(net[:, :half]), View(net[:, half:])])
    one, other = (next(each for each in effects if isinstance(each, Cleared)) for effects in (seen, found))
    assert one.trades == other.trades
    assert one.report == other.report


def test_a_gate_in_the_middle_of_its_rounds_has_one_state_too() -> None:
    rules = Rules((Product("negotiation", RULES["admm"], GATE, separable=False),), seed=3)
    hashes = []
    for split in (lambda event: [event], one_by_one):
        engine, answered = Engine(rules, MEMBERS), []
        for event in islice(whole_run("negotiation", answered), 12):
            for part in split(event):
                answered.extend(engine.handle(part))
        hashes.append(engine.state_hash())
    assert hashes[0] == hashes[1]


def test_members_with_limits_can_negotiate() -> None:
    rules = Rules((Product("negotiation", BilateralAdmm(penalty=3.0), GATE, separable=False),), seed=3)
    engine = Engine(rules, MEMBERS)
    who = np.arange(FIRST_MEMBER, FIRST_MEMBER + MEMBERS, dtype=np.int32)
    engine.handle(MembersJoined(0, tuple(who.tolist())))
    limits = np.where(np.arange(MEMBERS) % 2 == 0, 2800, 900)
    net = np.where(np.arange(MEMBERS) % 2 == 0, 700, -600)[None, :]
    cohort = negotiators(who, limits, limits, np.full(MEMBERS, 700), penalty=3.0)
    cleared = run_rounds(engine, "negotiation", 0, 1, [cohort], [View(net)])[-1]
    assert isinstance(cleared, Cleared)
    assert cleared.report["settled"] == 1
    assert cleared.trades.quantity.sum() > 1000
    assert 900 < cleared.prices.price[0] < 2800
