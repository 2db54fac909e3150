"""Continuous trading: whole blocks, single orders and a replay from SQLite end in one state.

Orders, cancellations and amendments for several intervals and zones come mixed. In one run each event holds all that
come in a row, in another each holds one row.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, ANYONE, FIRST_MEMBER, Orders, Readings, Trades
from wattle.engine import events as ev
from wattle.engine.engine import Engine, Rules
from wattle.engine.gate import Product
from wattle.engine.replay import replay
from wattle.market.mechanism import ARRIVAL, METERED
from wattle.market.order_book import OrderBook
from wattle.market.pools import MidMarketRate
from wattle.runtime.journal import SqliteJournal, broken_entry

MEMBERS, INTERVALS, ZONES = 6, 5, 2
RULES = {
    "plain": OrderBook(),
    "immediate": OrderBook(time_in_force="immediate-or-cancel"),
    "whole": OrderBook(time_in_force="fill-or-kill"),
    "resting is cancelled": OrderBook(self_trade="cancel-resting"),
    "with oneself": OrderBook(self_trade="allow"),
}
Message = tuple[str, tuple[int, ...]]


def rules_of(rule: OrderBook) -> Rules:
    return Rules((Product("book", rule, ARRIVAL), Product("pool", MidMarketRate(), METERED)), seed=3, zones=ZONES)


def messages(seed: int, count: int) -> list[Message]:
    """Rows of orders, ids to cancel, and amendments; some name orders that never were, or ask for too much."""
    rng = np.random.default_rng(seed)
    found: list[Message] = []
    sent = 0
    while len(found) < count:
        kind = rng.choice(["add", "add", "add", "cancel", "amend"])
        for _ in range(rng.integers(1, 6)):
            price = int(rng.integers(95, 106))
            if kind == "add":
                side = int(rng.choice([1, -1]))
                limit = side * ANY_PRICE if rng.random() < 0.1 else price
                where = int(rng.integers(0, INTERVALS)), int(rng.integers(0, ZONES))
                partner = FIRST_MEMBER if rng.random() < 0.03 else ANYONE
                lots = int(rng.integers(0, 20))  # 0 is refused
                found.append((kind, (*where, int(rng.integers(0, MEMBERS)) + FIRST_MEMBER, side, lots, limit, partner)))
                sent += 1
            else:
                row = (int(rng.integers(0, sent + 2)), int(rng.integers(0, 20)), price)
                found.append((kind, row if kind == "amend" else row[:1]))
    return found


def event_of(kind: str, rows: list[tuple[int, ...]]) -> ev.Event:
    columns = np.array(rows, np.int64).T
    if kind == "add":
        interval, zone, who, side, lots, limit, partner = columns
        return ev.OrdersSubmitted(0, "book", Orders(lots * 0, who, zone, interval, side, lots, limit, partner))
    ids, *wanted = (tuple(column.tolist()) for column in columns)
    return ev.OrdersAmended(0, "book", ids, *wanted) if kind == "amend" else ev.OrdersCancelled(0, "book", ids)


def trading(found: list[Message], together: bool) -> Iterator[ev.Event]:
    yield ev.MembersJoined(0, tuple(range(FIRST_MEMBER, FIRST_MEMBER + MEMBERS)))
    yield ev.TariffPublished(0, 0, np.full(INTERVALS, 104), np.full(INTERVALS, 96))
    yield ev.GateOpened(0, "book", 0, INTERVALS)
    for kind, run in groupby(found, key=lambda message: message[0]):
        rows = [row for _, row in run]
        for part in [rows] if together else [[row] for row in rows]:
            yield event_of(kind, part)


def delivery(seed: int, at_once: bool) -> Iterator[ev.Event]:
    yield ev.GateClosed(0, "book")
    energy = np.random.default_rng(seed).integers(-50, 50, (INTERVALS, MEMBERS))
    interval, who = np.indices(energy.shape)
    yield ev.ReadingsReceived(0, Readings(interval.ravel(), (who + FIRST_MEMBER).ravel(), energy.ravel()))
    if at_once:
        yield ev.IntervalsEnded(0, 0, INTERVALS)
    else:
        yield from (ev.IntervalsEnded(0, time, time + 1) for time in range(INTERVALS))


def fed(engine: Engine, events: Iterator[ev.Event]) -> list[ev.Effect]:
    return [effect for event in events for effect in engine.handle(event)]


def trades_of(effects: list[ev.Effect]) -> Trades:
    """All trades by book, in each in order of time."""
    found = Trades.concat(*(effect.trades for effect in effects if isinstance(effect, ev.Cleared)))
    return found.take(np.lexsort((found.zone, found.interval)))


def dropped(effects: list[ev.Effect]) -> dict[int, int]:
    found: dict[int, int] = {}
    for effect in effects:
        if isinstance(effect, ev.Dropped):
            for number, lots in zip(effect.ids.tolist(), effect.quantity.tolist(), strict=True):
                found[number] = found.get(number, 0) + lots
    return found


@pytest.mark.parametrize("name", RULES)
def test_batch_single_and_replay_end_in_one_state(name: str, tmp_path: Path) -> None:
    rules, found = rules_of(RULES[name]), messages(1, 400)
    batch, single = Engine(rules, MEMBERS), Engine(rules, MEMBERS)
    stored = SqliteJournal(tmp_path / "journal.sqlite")
    events = [*trading(found, together=True)]
    for event in events:
        stored.append(event)
    told = fed(batch, iter(events))
    apart = fed(single, trading(found, together=False))
    stored.commit()
    # The gate is still open: what rests, what was traded and who asked for what are the same by now.
    opened = SqliteJournal(tmp_path / "journal.sqlite")
    assert broken_entry(opened) is None
    again = replay(rules, MEMBERS, (entry.event() for entry in opened.entries()))
    opened.close()
    assert batch.state_hash() == single.state_hash() == again.state_hash()
    assert batch.resting("book") == single.resting("book") == again.resting("book")
    assert (len(batch.resting("book")) > 20) == (RULES[name].time_in_force == "good-until-gate")
    traded = trades_of(told)
    assert (len(traded) > 60) == (RULES[name].time_in_force == "good-until-gate")
    assert traded == trades_of(apart)
    assert dropped(told) == dropped(apart)

    for event in delivery(2, at_once=True):
        stored.append(event)
        batch.handle(event)
    stored.commit()
    fed(single, delivery(2, at_once=False))
    again = replay(rules, MEMBERS, (entry.event() for entry in stored.entries()))
    stored.close()
    assert batch.sealed_until == INTERVALS
    assert batch.state_hash() == single.state_hash() == again.state_hash()
    assert batch.head == single.head == again.head
    assert not batch.balance.sum(axis=1).any()


@settings(max_examples=40)
@given(seed=st.integers(0, 1 << 30), count=st.integers(1, 40), name=st.sampled_from(list(RULES)))
def test_small_markets_too(seed: int, count: int, name: str) -> None:
    rules, found = rules_of(RULES[name]), messages(seed, count)
    ends = [Engine(rules, MEMBERS) for _ in range(2)]
    for engine, together in zip(ends, (True, False), strict=True):
        fed(engine, trading(found, together))
    assert ends[0].state_hash() == ends[1].state_hash()
    for engine in ends:
        fed(engine, delivery(seed, at_once=True))
    assert ends[0].state_hash() == ends[1].state_hash()


@pytest.mark.parametrize("name", RULES)
def test_a_block_of_orders_trades_as_the_rule_alone_would(name: str) -> None:
    """What the engine does with a block on arrival is what one call of the rule at gate closure gives."""
    rows = [row for kind, row in messages(4, 300) if kind == "add" and row[4] > 0 and row[6] == ANYONE]
    event = event_of("add", rows)
    assert isinstance(event, ev.OrdersSubmitted)
    engine = Engine(rules_of(RULES[name]), MEMBERS)
    told = fed(engine, trading([("add", row) for row in rows], together=True))
    orders = event.orders.replace(id=np.arange(len(rows)))
    _, clearing = RULES[name].step(None, orders, Context(tariff=Tariff.flat(104, 96)))
    assert trades_of(told) == clearing.trades
    assert engine.resting("book") == clearing.resting
    (closed,) = [effect for effect in fed(engine, iter([ev.GateClosed(0, "book")])) if isinstance(effect, ev.Cleared)]
    assert closed.prices == clearing.prices


@pytest.mark.parametrize("kind", ["add", "cancel", "amend"])
def test_one_changed_number_changes_the_state(kind: str) -> None:
    rules, found = rules_of(OrderBook()), messages(5, 60)
    engine = Engine(rules, MEMBERS)
    fed(engine, trading(found, together=True))
    # An amendment or cancellation of an order that rests in the end or would do so without it.
    resting = set(engine.resting("book").id.tolist())
    changed = 0
    for place, (what, row) in enumerate(found):
        if what != kind:
            continue
        if kind == "cancel":
            other = (what, (next(iter(resting)),))
        else:
            position = 4 if kind == "add" else 1
            other = (what, (*row[:position], row[position] + 1, *row[position + 1 :]))
        different = Engine(rules, MEMBERS)
        fed(different, trading([*found[:place], other, *found[place + 1 :]], together=True))
        changed += different.state_hash() != engine.state_hash()
    assert changed > 0
