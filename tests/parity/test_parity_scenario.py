"""One engine, four tenses: a scenario simulated, fed order by order, replayed and billed from files is one result."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from wattle.engine.events import Cleared, Event, OrdersSubmitted, ReadingsReceived
from wattle.engine.replay import replay
from wattle.runtime.compare import rules_of, run_rule
from wattle.runtime.folder import settle_folder
from wattle.runtime.journal import Journal, MemoryJournal, SqliteJournal, broken_entry
from wattle.runtime.simulate import cohort_of, start, world_events
from wattle.runtime.world import World, build_world
from wattle.scenario.build import product_of
from wattle.scenario.load import parse_scenario
from wattle.scenario.schema import Scenario

TARIFF = """
[tariff]
retail_per_kwh = "0.30"
feed_in_per_kwh = "0.08"
[[charge]]
name = "local network"
on = "local-kwh"
per_kwh = "0.04"
[[charge]]
name = "levy"
on = "utility-kwh"
per_kwh = "0.05"
payee = "state"
line = "levy"
"""
SCENARIO = f"""
title = "Parity"
seed = 3
{TARIFF}
[members]
source = "village"
homes = 20
days = 2
"""
PRODUCTS = {
    "auction": '[[product]]\nmechanism = "uniform-auction"\n',
    "auction, then pool": '[[product]]\nmechanism = "pay-as-bid-auction"\n[[product]]\nmechanism = "mid-market-rate"\n',
    "book on arrival, then key": (
        '[[product]]\nmechanism = "order-book"\nwhen = "on arrival"\n[[product]]\nmechanism = "dynamic-key"\n'
    ),
    "bill sharing": '[[product]]\nmechanism = "bill-sharing"\n',
    "gift": '[[product]]\nmechanism = "gift-key"\ngift_percent = 20\n[product.gift_to]\nhome-003 = 1\n',
}


def one_by_one(events: Iterator[Event]) -> Iterator[Event]:
    """Split every batch of orders and readings into single rows, as a live market would send them."""
    for event in events:
        if isinstance(event, OrdersSubmitted):
            for row in range(len(event.orders)):
                yield OrdersSubmitted(event.at_s, event.product, event.orders.take(slice(row, row + 1)))
        elif isinstance(event, ReadingsReceived):
            for row in range(len(event.readings)):
                yield ReadingsReceived(event.at_s, event.readings.take(slice(row, row + 1)), event.source)
        else:
            yield event


def recorded(journal: Journal, events: Iterator[Event]) -> Iterator[Event]:
    for event in events:
        journal.append(event)
        yield event


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(parse_scenario(SCENARIO, "parity.toml"), Path())


@pytest.mark.parametrize("products", PRODUCTS.values(), ids=PRODUCTS.keys())
def test_batch_single_and_replay_end_in_one_state(world: World, products: str, tmp_path: Path) -> None:
    scenario = parse_scenario(SCENARIO + products, "parity.toml")
    built = tuple(product_of(part, world.units, world.members, world.demand) for part in scenario.product)

    def events() -> Iterator[Event]:
        length = world.grid.count if not all(product.separable for product in built) else 96
        return world_events(world, built, cohort_of(world), length)

    engine = start(world, built, scenario.seed, 1 << 31)
    memory = MemoryJournal()
    for event in recorded(memory, events()):
        engine.handle(event)
    assert engine.sealed_until == world.grid.count

    single = start(world, built, scenario.seed, 1 << 31)
    count = 0
    for event in one_by_one(events()):
        single.handle(event)
        count += 1
    assert count > len(list(memory.entries()))

    stored = SqliteJournal(tmp_path / "journal.sqlite")
    for event in events():
        stored.append(event)
    stored.commit()
    stored.close()
    opened = SqliteJournal(tmp_path / "journal.sqlite")
    assert broken_entry(opened) is None
    again = replay(engine.rules, len(world.members), (entry.event() for entry in opened.entries()))
    opened.close()

    assert engine.state_hash() == single.state_hash() == again.state_hash()
    assert (engine.balance == again.balance).all()
    assert engine.balance.any()


def test_a_book_trades_the_same_on_arrival_and_at_gate_closure(world: World) -> None:
    seals = {}
    for when in ("on arrival", "at gate closure"):
        product = f'[[product]]\nmechanism = "order-book"\nwhen = "{when}"\n'
        scenario = parse_scenario(SCENARIO + product, "parity.toml")
        built = tuple(product_of(part, world.units, world.members, world.demand) for part in scenario.product)
        assert built[0].when == when
        engine = start(world, built, scenario.seed)
        traded = 0
        for event in world_events(world, built, cohort_of(world), 96):
            traded += sum(len(effect.trades) for effect in engine.handle(event) if isinstance(effect, Cleared))
        assert traded > 500
        seals[engine.head] = traded
    assert len(seals) == 1


def test_length_of_blocks_does_not_change_the_result(world: World) -> None:
    scenario = parse_scenario(SCENARIO + '[[product]]\nmechanism = "equal-fill"\n', "parity.toml")
    built = tuple(product_of(part, world.units, world.members, world.demand) for part in scenario.product)
    hashes = set()
    for length in (1, 7, 96, 192):
        engine = start(world, built, scenario.seed)
        for event in world_events(world, built, cohort_of(world), length):
            engine.handle(event)
        hashes.add(engine.state_hash())
    assert len(hashes) == 1


def meter_file(world: World) -> str:
    """Write the readings of a world as a grid operator would: one row for each quarter-hour, local time."""
    zone = ZoneInfo("Europe/Vienna")
    begin = datetime(2025, 6, 2, tzinfo=zone).astimezone(UTC)
    lines = ["time;" + ";".join(f"{name} kWh" for name in world.members)]
    for time in range(world.grid.count):
        moment = (begin + timedelta(seconds=900 * time)).astimezone(zone)
        cells = [f"{int(lots) / 1000:.3f}".replace(".", ",") for lots in world.net[time]]
        lines.append(f"{moment:%d.%m.%Y %H:%M};" + ";".join(cells))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("mechanism", ["dynamic-key", "fixed-key-rounds", "supply-demand-ratio", "bill-sharing"])
def test_simulated_bill_is_the_billed_bill(world: World, mechanism: str, tmp_path: Path) -> None:
    simulated = run_rule(world, *scenario_and_rule(mechanism)).result

    (tmp_path / "meters").mkdir()
    (tmp_path / "meters" / "june.csv").write_text(meter_file(world), encoding="utf-8")
    rows = ["member,meter", *(f"{name},{name}" for name in world.members)]
    (tmp_path / "members.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "community.toml").write_text(
        f'title = "Parity"\nseed = 3\n{TARIFF}\n[members]\nsource = "files"\n[meters]\n'
        f'timezone = "Europe/Vienna"\nstamp = "start"\n[[product]]\nmechanism = "{mechanism}"\n',
        encoding="utf-8",
    )
    folder, done, written = settle_folder(tmp_path, lambda *_: None)
    assert done.collector is not None
    assert written is not None
    billed = done.collector.bill_lines()
    for line, cash in simulated.lines.items():
        np.testing.assert_array_equal(billed[line], cash)
    with next(written.glob("2025*/summary.csv")).open(encoding="utf-8") as file:
        table: list[dict[str, Any]] = list(csv.DictReader(file))
    cents = {row["account"]: round(float(row["total EUR"]) * 100) for row in table}
    unit = float(world.units.cash) * 100
    for name, cash in zip(world.members, simulated.cost, strict=True):
        assert abs(cents[name] - int(cash) * unit) < 1
    assert sum(value for account, value in cents.items() if not account.startswith("sum")) == 0
    assert folder.engine.balance.sum(axis=1).tolist() == [0, 0]


def scenario_and_rule(mechanism: str) -> tuple[Scenario, Any]:
    scenario = parse_scenario(SCENARIO + f'[[product]]\nmechanism = "{mechanism}"\n', "parity.toml")
    return scenario, rules_of(scenario)[1]
