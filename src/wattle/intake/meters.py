"""Meter files to readings. A reader for a format is one function, registered by name.

A further format is one more file `format_<name>.py` beside this one with a function under `@reader("<name>")`.
Whatever the format, the same checks follow: nothing twice, nothing missing, nothing made up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

import wattle.intake
from wattle.core.checks import InvariantError, ensure
from wattle.core.timegrid import TimeGrid
from wattle.intake.assemble import check_complete, check_unique, dense
from wattle.intake.csvtable import FileBytes, load_bytes
from wattle.intake.findings import Findings, suggest
from wattle.intake.readings import (
    FileSummary,
    Meter,
    MeterData,
    MeterRows,
    ReadingRows,
    Register,
    members_of,
    registers_of,
)
from wattle.intake.settings import MeterSettings
from wattle.intake.timestamps import local_text

INTERVALS_MAX = 4_000_000
"""Longest period: 100 years of quarter-hours. A year typed wrongly shows here."""
FILES_MAX = 10_000


@dataclass(frozen=True)
class Request:
    """What a reader is asked for. `complete`: the files hold whole periods, not single corrections."""

    meters: tuple[Meter, ...]
    registers: tuple[Register, ...]
    settings: MeterSettings
    complete: bool


@dataclass(frozen=True, eq=False)
class FileRows:
    """Readings [n] of one file: start of the interval in UTC seconds, register, signed lots, line, status."""

    start_s: NDArray[np.int64]
    register: NDArray[np.int32]
    value: NDArray[np.int64]
    row: NDArray[np.int32]
    status: NDArray[np.int8]
    summary: FileSummary


Reader = Callable[[FileBytes, Request, Findings], FileRows | None]
_READERS: dict[str, Reader] = {}


def reader(name: str) -> Callable[[Reader], Reader]:
    """Return a decorator that registers a function as the reader of a format."""

    def register(function: Reader) -> Reader:
        known = _READERS.get(name)
        ensure(known is None or known.__qualname__ == function.__qualname__, f"two readers want the name {name!r}")
        _READERS[name] = function
        return function

    return register


def readers() -> dict[str, Reader]:
    """Return all readers by name; files named `format_*.py` in this folder are found by themselves."""
    for module in iter_modules(wattle.intake.__path__, "wattle.intake."):
        if module.name.rpartition(".")[2].startswith("format_"):
            import_module(module.name)
    return dict(sorted(_READERS.items()))


@overload
def read_meter_files(
    paths: Sequence[str | Path],
    meters: Sequence[Meter],
    settings: MeterSettings,
    *,
    complete: Literal[True] = True,
    grid: TimeGrid | None = None,
) -> MeterData: ...


@overload
def read_meter_files(
    paths: Sequence[str | Path],
    meters: Sequence[Meter],
    settings: MeterSettings,
    *,
    complete: Literal[False],
    grid: TimeGrid | None = None,
) -> MeterRows: ...


def read_meter_files(
    paths: Sequence[str | Path],
    meters: Sequence[Meter],
    settings: MeterSettings,
    *,
    complete: bool = True,
    grid: TimeGrid | None = None,
) -> MeterData | MeterRows:
    """Read meter files; raise one `InputError` with everything that is wrong in all of them.

    With `complete`, every meter must have every interval of the period: of `grid`, or from the first to the last
    reading of any meter. Without, any readings are fine (corrections); they are numbered on `grid` if it is given
    and must lie within it.
    """
    findings = Findings()
    files = _read_files(paths, tuple(meters), settings, complete, findings)
    batch = None if findings.structural else _batch(files, tuple(meters), settings, grid, findings)
    order = None
    if batch is not None:
        order = check_unique(batch, findings)
        if complete:
            check_complete(batch, order, findings)
    findings.raise_if_any()
    if batch is None or order is None:
        raise InvariantError("no readings and no finding that says why")
    return dense(batch, order) if complete else batch


def _read_files(
    paths: Sequence[str | Path],
    meters: tuple[Meter, ...],
    settings: MeterSettings,
    complete: bool,
    findings: Findings,
) -> list[FileRows]:
    """Read each file with the reader that the settings name."""
    _check_request(paths, meters, settings, findings)
    if len(findings):
        return []
    read = readers()[settings.format]
    request = Request(meters, registers_of(meters), settings, complete)
    seen: dict[str, str] = {}
    files: list[FileRows] = []
    for path, name in zip(paths, _names(paths), strict=True):
        file = load_bytes(Path(path), name, findings)
        if file is None:
            continue
        if file.sha256 in seen:
            message = f"the file has the same content as {seen[file.sha256]}; leave one out"
            findings.add("file-repeated", message, file=name)
            continue
        seen[file.sha256] = name
        rows = read(file, request, findings)
        files += [rows] if rows is not None else []
    return files


def _check_request(
    paths: Sequence[str | Path], meters: Sequence[Meter], settings: MeterSettings, findings: Findings
) -> None:
    if not paths:
        findings.add("no-files", "no meter file was given; put the files in the meter folder")
    if len(paths) > FILES_MAX:
        findings.add("no-files", f"{len(paths):,} files are too many; join them", expected=f"at most {FILES_MAX:,}")
    if not meters:
        findings.add("no-meters", "no member has a meter; add meters to the members")
    for meter in {meter.id for meter in meters if [other.id for other in meters].count(meter.id) > 1}:
        findings.add("meter-repeated", "the meter belongs to one member only; delete one", value=meter)
    if settings.format not in readers():
        findings.add(
            "settings",
            "no reader has this name",
            column="format",
            value=settings.format,
            expected=suggest(settings.format, readers()),
        )


def _names(paths: Sequence[str | Path]) -> list[str]:
    """Return a short name for each file; files of one name keep the folder they stand in."""
    short = Counter(Path(path).name for path in paths)
    names = [Path(path).name if short[Path(path).name] == 1 else "/".join(Path(path).parts[-2:]) for path in paths]
    return names


def _batch(
    files: Sequence[FileRows],
    meters: tuple[Meter, ...],
    settings: MeterSettings,
    grid: TimeGrid | None,
    findings: Findings,
) -> MeterRows | None:
    """Number the intervals of all files alike and put their readings together."""
    if not files or not any(len(file.row) for file in files):
        return None
    step_s, zone = settings.step_s, settings.zone
    if grid is None:
        first = min(int(file.start_s.min()) for file in files if len(file.row))
        last = max(int(file.start_s.max()) for file in files if len(file.row))
        grid = TimeGrid(first, step_s, (last - first) // step_s + 1)
        if grid.count > INTERVALS_MAX:
            message = f"the readings span {local_text(first, zone)} to {local_text(last, zone)}; correct the wrong year"
            findings.add("outside-period", message, expected=f"at most {INTERVALS_MAX:,} intervals")
            return None
    elif grid.step_s != step_s:
        message = f"the period has intervals of {grid.step_s} s, the settings of {step_s} s; correct one"
        findings.add("settings", message, column="step_s", value=str(step_s), expected=str(grid.step_s))
        return None
    parts = [_rows(number, file, grid, settings, findings) for number, file in enumerate(files)]
    if findings.structural:
        return None
    return MeterRows(
        ReadingRows.concat(*parts), grid.start_s, step_s, grid.count, settings.timezone,
        members_of(meters), registers_of(meters), tuple(file.summary for file in files),
    )  # fmt: skip


def _rows(number: int, file: FileRows, grid: TimeGrid, settings: MeterSettings, findings: Findings) -> ReadingRows:
    """Number the readings of one file on the grid; refuse those that lie beside or outside it."""
    since = file.start_s - grid.start_s
    interval, beside = since // grid.step_s, since % grid.step_s != 0
    outside = (interval < 0) | (interval >= grid.count)
    message = "the interval lies outside the period; leave the row out or change the period"
    expected = f"{local_text(grid.start_s, settings.zone)} to before {local_text(grid.stop_s, settings.zone)}"
    _refuse_rows(file, outside, "outside-period", message, expected, settings, findings)
    message = "the interval begins between two intervals of the period; use a step that fits the clock change"
    _refuse_rows(file, beside & ~outside, "off-grid", message, "a shared grid of intervals", settings, findings)
    placed = np.where(outside, 0, interval).astype(np.int32)
    source = np.full(len(placed), number, np.int16)
    return ReadingRows(placed, file.register, file.value, source, file.row, file.status)


def _refuse_rows(
    file: FileRows, which: NDArray[np.bool_], code: str, message: str, expected: str,
    settings: MeterSettings, findings: Findings,
) -> None:  # fmt: skip
    places = np.flatnonzero(which)
    lines, first = np.unique(file.row[places], return_index=True)
    for line, place in list(zip(lines.tolist(), places[first].tolist(), strict=True))[
        : findings.room(code, len(lines))
    ]:
        value = local_text(int(file.start_s[place]), settings.zone)
        findings.add(code, message, file=file.summary.name, row=line, value=value, expected=expected)
