"""Check a run: every file against its hash, every seal, price and sum against a new computation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from wattle.core.checks import InputError, WattleError
from wattle.core.timegrid import TimeGrid
from wattle.runtime.compare import Finished, Rule
from wattle.runtime.parallel import run_side_by_side
from wattle.runtime.runfolder import Run, open_run, read_manifest


@dataclass(frozen=True)
class Problem:
    """Something in a run that is not as it was: the file, the first interval concerned, and what is wrong."""

    file: str
    interval: int | None
    text: str


def verify_run(
    folder: Path, progress: Callable[[str, int, int], None] | None = None, trust: bool = False
) -> list[Problem]:
    """Return every problem of a run; an empty list means that all of it stands as it was computed."""
    try:
        manifest = read_manifest(folder)
    except InputError as problem:
        return [Problem("manifest.json", 0, str(problem))]
    if not trust and any(".py" in part["mechanism"] for rule in manifest["rules"] for part in rule["mechanisms"]):
        open_run(folder)  # says what --trust is for
    changed = [name for name in manifest["files"] if _hash(folder / name) != manifest["files"][name]]
    changed += [name for name in _strangers(folder, manifest["files"]) if name != "manifest.json"]
    found: list[Problem] = []
    try:
        run = open_run(folder, trust)
        for done, rule, noted in zip(
            run_side_by_side(run.world, run.scenario, run.rules, progress), run.rules, manifest["rules"], strict=True
        ):
            assert isinstance(done, Finished)  # nothing is left out here
            found += _compared(run, rule, noted, done)
    except (WattleError, ValueError, KeyError, EOFError, OSError) as problem:
        found.append(Problem(", ".join(changed) or "run", 0, f"cannot be computed again: {problem}"))
    named = {problem.file for problem in found}
    for name in changed:
        if name not in named:
            first = min((each.interval for each in found if each.interval is not None), default=0)
            last = manifest["intervals"] - 1
            text = f"was changed after the run; it covers intervals 0 to {last}"
            found.append(Problem(name, first, text))
    return found


def when(run_start: TimeGrid, timezone: str, interval: int) -> str:
    """Return the local time at which an interval begins."""
    moment = datetime.fromtimestamp(run_start.second(interval), ZoneInfo(timezone))
    return moment.strftime("%Y-%m-%d %H:%M")


def _compared(run: Run, rule: Rule, noted: dict[str, Any], finished: Finished) -> list[Problem]:
    found: list[Problem] = []
    place = f"rules/{rule.slug}"
    for name, mine in (("seals.npy", finished.collector.seals), ("price.npy", finished.result.price)):
        stored = np.load(BytesIO((run.folder / place / name).read_bytes()))
        if stored.shape != mine.shape or stored.dtype != mine.dtype:
            found.append(Problem(f"{place}/{name}", 0, "does not hold one row for each interval"))
            continue
        differs = (stored != mine).reshape(mine.shape[0], -1).any(axis=1)
        if differs.any():
            first = int(np.flatnonzero(differs)[0])
            moment = when(run.world.grid, run.world.timezone, first)
            text = f"{rule.name}: interval {first} ({moment}) does not match what its readings and rule give"
            found.append(Problem(f"{place}/{name}", first, text))
    if finished.result.state_hash != noted["state_hash"] and not found:
        found.append(Problem("manifest.json", 0, f"{rule.name}: the final state hash does not match"))
    if finished.result.energy_error or finished.result.money_error:
        found.append(Problem(place, 0, f"{rule.name}: energy and money do not close"))
    return found


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "missing"


def _strangers(folder: Path, known: dict[str, str]) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() not in known and path.name != "manifest.json"
    ]


@dataclass(frozen=True)
class Report:
    """The outcome of a check."""

    problems: list[Problem]
    summary: str


def verify_folder(folder: Path, progress: Callable[[str, int, int], None] | None = None, trust: bool = False) -> Report:
    """Check a run or a settled folder, whichever lies there."""
    from wattle.runtime.verify_folder import verify_settled

    if (folder / "journal.sqlite").is_file() and not (folder / "manifest.json").is_file():
        return Report(*verify_settled(folder, progress))
    if not (folder / "manifest.json").is_file():
        raise InputError(
            f"{folder} is neither a run (made by `wattle try` or `wattle run`) nor a folder that was settled"
        )
    problems = verify_run(folder, progress, trust)
    if problems:
        return Report(problems, "")
    manifest = read_manifest(folder)
    rules, count = len(manifest["rules"]), manifest["intervals"]
    return Report(
        [],
        f"{folder}: {rules} rules, {count:,} intervals, {manifest['members']} members computed again: "
        "every file, seal, price and sum is as it was; energy and money close exactly",
    )
