"""Settle a folder of meter files: members.csv, meter files and a one-page community.toml become statements.

The folder's journal is the truth. The first round settles everything; a later round takes the files that are new:
readings of settled intervals are corrections and give difference statements, later intervals are settled as usual.
Nothing is written before everything is computed, and a settled file must stay as it is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from wattle.core.checks import REASONS, InputError, ensure
from wattle.core.columns import I64
from wattle.core.messages import Tariff
from wattle.core.tables import FIRST_MEMBER, SOURCES, Profiles, Readings
from wattle.core.units import Units
from wattle.engine.engine import Engine
from wattle.engine.events import (
    Effect,
    Event,
    IntervalsEnded,
    ReadingsReceived,
    Rejected,
    Settled,
    TariffPublished,
)
from wattle.engine.gate import Product
from wattle.engine.replay import replay
from wattle.intake.members import Member
from wattle.ledger.accounts import BOOKS, CODES
from wattle.ledger.postings import tally
from wattle.runtime.collect import Collector
from wattle.runtime.journal import SqliteJournal, broken_entry
from wattle.runtime.meterbook import MeterBook, first_round, meter_files
from wattle.runtime.simulate import block_events, block_length, cohort_of, months, opening_events, start
from wattle.runtime.world import World, limits_of
from wattle.scenario.build import charges_of, preferences_of, tariff_of, units_of
from wattle.scenario.load import load_scenario
from wattle.scenario.schema import Scenario

COMMUNITY = "community.toml"
JOURNAL = "journal.sqlite"
SEAL = "journal.sha256"
STATEMENTS = "statements"

Progress = Callable[[str, int, int], None]


@dataclass(eq=False)
class Folder:
    """An opened folder: its rules, its readings, and the engine as the journal leaves it."""

    path: Path
    scenario: Scenario
    units: Units
    book: MeterBook
    world: World
    products: tuple[Product, ...]
    engine: Engine
    rounds: list[list[dict[str, str]]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Round:
    """What one call of `settle` brought: sums of the new intervals and differences of corrected ones."""

    first: int  # first new interval
    collector: Collector | None
    differences: np.ndarray[Any, np.dtype[np.int64]]  # [months, BOOKS, CODES, accounts]
    corrected: I64  # intervals that were settled again


def files_world(scenario: Scenario, path: Path) -> World:
    """Read the user's own members and meter files as the world of a simulation."""
    units = units_of(scenario)
    rounds = [meter_files(scenario, path)]
    if (path / JOURNAL).is_file():  # a settled folder: later rounds correct earlier ones
        journal = SqliteJournal(path / JOURNAL)
        rounds = [[path / part["file"] for part in files] for files in journal.noted("rounds")]
        journal.close()
    book = first_round(scenario, units, path, rounds[0])
    for files in rounds[1:]:
        book.add(path, files)
    return world_of(scenario, units, book)


def world_of(scenario: Scenario, units: Units, book: MeterBook) -> World:
    """Return the world of a meter book. Behind the meter nothing is known: demand is what was drawn."""
    charges = charges_of(scenario, units)
    drawn, fed = book.one_way(1), book.one_way(-1)
    members = book.members.members
    return World(
        grid=book.grid,
        timezone=book.settings.timezone,
        units=units,
        members=book.members.ids,
        kinds=("member",) * len(members),
        facts={"sun": tuple(bool(flag) for flag in fed.sum(axis=0) > 0)},
        net=book.net,
        load=drawn.sum(axis=1),
        sun=fed.sum(axis=1),
        demand=drawn.sum(axis=0),
        generation=fed.sum(axis=0),
        tariff=tariff_of(scenario, units, book.grid.count),
        charges=charges,
        limits=_limits(scenario, units, charges, book),
        curve=scenario.limits.curve,
        profiles=_profiles(book.members.members),
        preferences=preferences_of(scenario, units, book.members.ids),
        listed={
            "shares": {each.id: each.share for each in members if each.share is not None},
            "ranks": {each.id: each.priority for each in members if each.priority is not None},
        },
    )


def _profiles(members: tuple[Member, ...]) -> Profiles:
    """Return place and source of members who have a place; all of them deliver what they promise."""
    if any(each.east_m is None or each.north_m is None for each in members):
        return Profiles.empty()  # the reader has seen to it that nobody has a place then
    return Profiles.from_lists(
        {
            "participant": [FIRST_MEMBER + number for number in range(len(members))],
            "east_m": [each.east_m for each in members],
            "north_m": [each.north_m for each in members],
            "source": [SOURCES.index(each.source or SOURCES[0]) for each in members],
            "reliability": [1000] * len(members),
        }
    )


def _limits(scenario: Scenario, units: Units, charges: Any, book: MeterBook) -> dict[str, I64]:
    found = limits_of(scenario, units, charges, len(book.members.members))
    for number, member in enumerate(book.members.members):
        for side, cents in (("buy", member.limit_buy_ct), ("sell", member.limit_sell_ct)):
            if cents is not None:
                found[side] = found[side].copy()
                found[side][number] = units.ticks_from_price(cents / 100)
    return found


def open_folder(path: Path) -> tuple[Folder, SqliteJournal | None]:
    """Read a folder and replay its journal; without a journal the first round of files is read, nothing is settled."""
    if not (path / COMMUNITY).is_file():
        raise InputError(f"{path} has no {COMMUNITY}; `wattle new {path}` writes one to start from")
    scenario = load_scenario(path / COMMUNITY)
    if scenario.members.source != "files":
        raise InputError(f'{path / COMMUNITY}: members.source is "village", expected "files" to settle meter files')
    units = units_of(scenario)
    if not (path / JOURNAL).is_file():
        return _opened(path, scenario, units, first_round(scenario, units, path, meter_files(scenario, path))), None
    journal = SqliteJournal(path / JOURNAL)
    _check_unchanged(path, journal)
    rounds: list[list[dict[str, str]]] = journal.noted("rounds")
    book = first_round(scenario, units, path, [path / part["file"] for part in rounds[0]])
    for files in rounds[1:]:
        book.add(path, [path / part["file"] for part in files])
    folder = _opened(path, scenario, units, book)
    folder.rounds = rounds
    events = (entry.event() for entry in journal.entries())
    folder.engine = replay(folder.engine.rules, len(folder.world.members), events)
    return folder, journal


def _opened(path: Path, scenario: Scenario, units: Units, book: MeterBook) -> Folder:
    world = world_of(scenario, units, book)
    for part in scenario.product:
        for key, value in part.parameters().items():
            if value == "by demand":
                raise InputError(
                    f'{path / COMMUNITY}: {part.mechanism}.{key} is "by demand", which would change with each round; '
                    'expected "equal", "from members" or a table of members'
                )
    products = tuple(world.product(part) for part in scenario.product)
    engine = start(world, products, scenario.seed, correctable=1 << 31)
    return Folder(path, scenario, units, book, world, products, engine)


def _check_unchanged(path: Path, journal: SqliteJournal) -> None:
    broken = broken_entry(journal)
    if broken is not None:
        raise InputError(f"{path / JOURNAL}: entry {broken[0].seq} ({broken[0].kind}): {broken[1]}; restore a backup")
    fixed: dict[str, str] = journal.noted("fixed")
    for name, sha256 in fixed.items():
        if hash_of(path / name) != sha256:
            raise InputError(
                f"{path / name} was changed after the first settlement, which rests on it. Restore it, or settle a "
                "new folder with the new rules"
            )
    for number, files in enumerate(journal.noted("rounds"), 1):
        for part in files:
            if hash_of(path / part["file"]) != part["sha256"]:
                raise InputError(
                    f"{path / part['file']} is missing or was changed after it was settled in round {number}. "
                    "Restore it and put corrected readings into a new file"
                )


def settle_folder(path: Path, progress: Progress) -> tuple[Folder, Round, Path | None]:
    """Settle what is new in a folder and write statements; returns the folder of the new statements.

    Raises `InputError` with every problem found; then nothing is written.
    """
    progress("reading", 0, 1)
    folder, journal = open_folder(path)
    known = {part["file"] for files in folder.rounds for part in files}
    paths = [each for each in meter_files(folder.scenario, path) if _name(path, each) not in known]
    heard: list[Effect] = []  # effects of the last event, for members who are asked again
    events: Iterator[Event]
    if journal is None:
        events, settled = _first_events(folder, heard), 0
        changed: tuple[I64, I64] = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    elif not paths:
        journal.close()
        nothing = np.zeros((1, BOOKS, CODES, folder.engine.accounts), np.int64)
        return folder, Round(folder.book.grid.count, None, nothing, np.zeros(0, np.int64)), None
    else:
        journal.close()
        settled = folder.book.grid.count
        changed = folder.book.add(path, paths)
        folder.world = world_of(folder.scenario, folder.units, folder.book)
        events = chain(_correction(folder, changed), _more_events(folder, settled, heard))
    done, told = _apply(folder, events, heard, settled, changed[0], progress)
    folder.rounds.append([{"file": _name(path, each), "sha256": hash_of(each)} for each in paths])
    return folder, done, _write(folder, done, told)


def _first_events(folder: Folder, heard: list[Effect]) -> Iterator[Event]:
    yield from opening_events(folder.world)
    yield from _blocks(folder, 0, heard)


def _more_events(folder: Folder, settled: int, heard: list[Effect]) -> Iterator[Event]:
    world = folder.world
    if world.grid.count == settled:
        return
    tariff = Tariff(settled, world.tariff.retail[settled:], world.tariff.feed_in[settled:])
    moment = world.grid.second(settled)
    yield TariffPublished(moment, settled, tariff.retail, tariff.feed_in)
    yield from _blocks(folder, settled, heard)


def _blocks(folder: Folder, first: int, heard: list[Effect]) -> Iterator[Event]:
    """Yield the events of all intervals from `first` on; a metered rule that looks across them gets whole months."""
    world = folder.world
    number, _ = months(world.grid, world.timezone)
    edges = [first, *(np.flatnonzero(np.diff(number[first:])) + first + 1).tolist(), world.grid.count]
    length = block_length(world.grid, len(world.members), folder.products)
    for start_at, stop in pairwise(edges):
        for begin in range(start_at, stop, length):
            net = world.net[begin : min(begin + length, stop)]
            yield from block_events(world, folder.products, cohort_of(world), net, begin, heard)


def _correction(folder: Folder, changed: tuple[I64, I64]) -> list[Event]:
    time, who = changed
    if time.size == 0:
        return []
    readings = Readings(
        time.astype(np.int32), (who + FIRST_MEMBER).astype(np.int32), folder.world.net[time, who].astype(np.int64)
    )
    return [ReadingsReceived(folder.world.grid.stop_s, readings, "correction")]


def _apply(
    folder: Folder, events: Iterator[Event], heard: list[Effect], settled: int, corrected: I64, progress: Progress
) -> tuple[Round, list[Event]]:
    """Tell the engine all events; return what came of them, and the events for the journal."""
    world, engine = folder.world, folder.engine
    number, names = months(world.grid, world.timezone)
    fresh = number[settled:]
    collector = Collector(fresh, engine.accounts, settled) if fresh.size else None
    differences = np.zeros((len(names), BOOKS, CODES, engine.accounts), np.int64)
    told: list[Event] = []
    for event in events:
        told.append(event)
        effects = engine.handle(event)
        heard[:] = effects
        for effect in effects:
            if isinstance(effect, Rejected):
                raise InputError(f"the engine refused a {type(event).__name__}: {REASONS[effect.codes[0]]}")
            if isinstance(effect, Settled) and effect.revision:
                span = number[effect.first : effect.stop]
                tally(effect.postings, effect.first, span, differences, engine.accounts)
        if collector is not None:
            collector.take([effect for effect in effects if not _is_correction(effect)])
        if isinstance(event, IntervalsEnded):
            progress("settling", event.stop - settled, world.grid.count - settled)
    if collector is not None and collector.refused is not None:
        raise InputError(f"{COMMUNITY}: {REASONS[collector.refused]}")
    ensure(not differences.sum(axis=3).any(), "the differences do not sum to zero")
    return Round(settled, collector, differences, np.unique(corrected)), told


def _is_correction(effect: Effect) -> bool:
    return bool(getattr(effect, "revision", 0))


def _write(folder: Folder, done: Round, events: list[Event]) -> Path:
    """Write statements and journal beside the old ones, then put both in place."""
    from wattle.runtime.statements import statement_files

    path, number = folder.path, len(folder.rounds)
    new_journal, new_files = path / f"{JOURNAL}.new", path / f"{STATEMENTS}.new"
    for leftover in (new_journal, new_files):
        shutil.rmtree(leftover, ignore_errors=True)
        leftover.unlink(missing_ok=True)
    files = statement_files(folder, done, number)
    target = path / STATEMENTS / f"round-{number:03d}"
    if target.exists():
        raise InputError(f"{target} is in the way: it is not part of the journal. Move it away and settle again")
    for name, data in files.items():
        place = new_files / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    if (path / JOURNAL).is_file():
        shutil.copyfile(path / JOURNAL, new_journal)
    journal = SqliteJournal(new_journal)
    for event in events:
        journal.append(event)
    outputs: dict[str, str] = journal.noted("outputs") or {}
    prefix = f"{STATEMENTS}/{target.name}"
    outputs.update({f"{prefix}/{name}": hashlib.sha256(data).hexdigest() for name, data in files.items()})
    journal.note("rounds", folder.rounds)
    journal.note("outputs", outputs)
    journal.note("state_hash", folder.engine.state_hash())
    if number == 1:
        names = (COMMUNITY, folder.scenario.members.list)
        journal.note("fixed", {name: hash_of(path / name) for name in names})
    journal.commit()
    journal.close()
    target.parent.mkdir(exist_ok=True)
    new_files.rename(target)
    os.replace(new_journal, path / JOURNAL)
    (path / SEAL).write_text(hash_of(path / JOURNAL) + "\n", encoding="ascii")
    return target


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file, or "missing"."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "missing"


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
