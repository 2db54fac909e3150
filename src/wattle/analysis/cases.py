"""Open a run or a settled folder as a case that can be explained."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from wattle.analysis.explain import Case
from wattle.core.checks import InputError
from wattle.core.units import decimal_text
from wattle.engine.engine import FOREVER
from wattle.engine.events import Effect, Event
from wattle.runtime.folder import COMMUNITY, JOURNAL, open_folder
from wattle.runtime.journal import SqliteJournal
from wattle.runtime.runfolder import MANIFEST, Run, open_run, rule_by_name
from wattle.runtime.simulate import replay_block, start
from wattle.scenario.village import load_village


def open_case(folder: Path, rule: str | None, trust: bool = False) -> Case:
    """Open what lies in a folder; a folder that is neither a run nor settled is refused."""
    if (folder / MANIFEST).is_file():
        return _run_case(open_run(folder, trust), rule)
    if (folder / JOURNAL).is_file():
        return _folder_case(folder)
    if (folder / COMMUNITY).is_file():
        raise InputError(f"{folder} is not settled yet; `wattle settle {folder}` does it")
    raise InputError(f"{folder} is neither a run (made by `wattle try` or `wattle run`) nor a settled folder")


def _run_case(run: Run, name: str | None) -> Case:
    rule, world = rule_by_name(run, name), run.world
    products = tuple(world.product(part) for part in rule.products)

    def source(interval: int, member: int) -> list[str]:
        lines = [f"source: readings.npy of the run, row {interval}, column {member} ({world.members[member]})"]
        part = run.scenario.members
        if part.source == "village":
            village = load_village(homes=part.homes, days=part.days, seed=part.seed)
            load, sun = int(village.load_wh[interval, member]), int(village.sun_wh[interval, member])
            net = int(village.net_wh[interval, member])
            battery = net - (load - sun)
            lines.append(f"behind the meter: load {load} Wh, sun {sun} Wh, battery {battery:+d} Wh = {net} Wh")
        return lines

    def seal(interval: int) -> str:
        seals = np.load(run.folder / "rules" / rule.slug / "seals.npy", mmap_mode="r")
        return bytes(seals[interval]).hex()

    others = tuple(each.name for each in run.rules if each.name != rule.name)
    told = partial(replay_block, world, products, run.scenario.seed)
    return Case(world, rule.name, rule.products, products, told, source, seal, others)


def _folder_case(path: Path) -> Case:
    folder, journal = open_folder(path)
    if journal is not None:
        journal.close()

    def told(interval: int) -> Iterator[tuple[Event, list[Effect]]]:
        engine, past = (
            start(folder.world, folder.products, folder.scenario.seed, FOREVER),
            SqliteJournal(path / JOURNAL),
        )
        try:
            for entry in past.entries():
                event = entry.event()
                yield event, engine.handle(event)
        finally:
            past.close()

    def source(interval: int, member: int) -> list[str]:
        found = []
        for part in folder.book.sources(interval, member):
            kwh = decimal_text(folder.units.kwh(part.energy))
            found.append(f"source: {part.file}, row {part.row}, column {part.column!r}, meter {part.meter}: {kwh} kWh")
        return found

    name = " + ".join(part.name or part.mechanism for part in folder.scenario.product) or "no community"
    return Case(
        folder.world,
        name,
        folder.scenario.product,
        folder.products,
        told,
        source,
        lambda interval: folder.engine.head.hex() + " (head of the chain)",
    )
