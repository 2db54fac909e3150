"""The meters of a settled folder: members, and each reading with the file and row that it came from.

Files are read again whenever the folder is settled, explained or verified; their hashes stand in the journal, so a file
that was changed after it was settled is noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import InputError
from wattle.core.timegrid import TimeGrid
from wattle.core.units import Units
from wattle.intake.assemble import assemble
from wattle.intake.members import Members, read_members
from wattle.intake.meters import read_meter_files
from wattle.intake.readings import FileSummary, MeterData, MeterRows, Source
from wattle.intake.settings import MeterSettings
from wattle.scenario.schema import Scenario


@dataclass(eq=False)
class MeterBook:
    """Readings of all registers [T, M] with the file and line of each; grows by rounds of files."""

    members: Members
    settings: MeterSettings
    grid: TimeGrid
    data: MeterData
    files: list[str]
    value: NDArray[np.int64]
    file: NDArray[np.int16]
    row: NDArray[np.int32]
    columns: list[dict[str, str]]
    summaries: list[FileSummary]

    @property
    def net(self) -> NDArray[np.int64]:
        """Net energy of each member [T, N] in lots, positive is consumption."""
        found = np.zeros((self.value.shape[0], len(self.data.members)), np.int64)
        for place, register in enumerate(self.data.registers):
            found[:, register.member] += self.value[:, place]
        return found

    def one_way(self, sign: int) -> NDArray[np.int64]:
        """Return consumption (+1) or feed-in (-1) of each member [T, N], both 0 or more."""
        found = np.zeros((self.value.shape[0], len(self.data.members)), np.int64)
        for place, register in enumerate(self.data.registers):
            found[:, register.member] += np.maximum(sign * self.value[:, place], 0)
        return found

    def sources(self, interval: int, member: int) -> tuple[Source, ...]:
        """Return the readings that make up a member's energy in an interval."""
        return tuple(
            Source(
                register.meter,
                self.files[number],
                int(self.row[interval, place]),
                self.columns[number][register.meter],
                "",
                int(self.value[interval, place]),
            )
            for place, register in enumerate(self.data.registers)
            if register.member == member
            for number in [int(self.file[interval, place])]
        )

    def add(self, folder: Path, paths: Sequence[Path]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Take a later round of files: corrections of known intervals and complete new intervals.

        Returns interval and member of each corrected net reading that changed.
        """
        rows = read_meter_files(list(paths), _meters(self.members), self.settings, complete=False)
        shift, beside = divmod(rows.start_s - self.grid.start_s, self.grid.step_s)
        if beside:
            raise InputError(f"{rows.summaries[0].name}: its intervals do not fit those that are settled already")
        interval = rows.rows.interval.astype(np.int64) + shift
        if (interval < 0).any():
            raise InputError(
                f"{rows.summaries[0].name}: holds readings before {rows.local(-shift)}, the start of the settled time"
            )
        before = self.net
        late = interval < self.grid.count
        if not late.all():
            self._extend(rows, interval, ~late)
        offset = len(self.files)
        self.files += [summary.name for summary in rows.summaries]
        self.columns += [dict(summary.columns) for summary in rows.summaries]
        self.summaries += rows.summaries
        if not late.all():
            self.file[self.grid.count :] += offset
            self.grid = TimeGrid(self.grid.start_s, self.grid.step_s, self.value.shape[0])
        part = rows.rows.take(late)
        self.value[interval[late], part.register] = part.value
        self.file[interval[late], part.register] = part.file + offset
        self.row[interval[late], part.register] = part.row
        time, who = np.nonzero(self.net[: before.shape[0]] != before)
        return time.astype(np.int64), who.astype(np.int64)

    def _extend(self, rows: MeterRows, interval: NDArray[np.int64], new: NDArray[np.bool_]) -> None:
        part = rows.rows.take(new)
        numbered = part.replace(interval=(interval[new] - self.grid.count).astype(np.int32))
        count = int(numbered.interval.max()) + 1
        batch = replace(rows, rows=numbered, start_s=self.grid.second(self.grid.count), count=count)
        data = assemble(batch)
        self.value = np.concatenate((self.value, data.register_energy))
        self.file = np.concatenate((self.file, data.source_file))
        self.row = np.concatenate((self.row, data.source_row))


def first_round(scenario: Scenario, units: Units, folder: Path, paths: Sequence[Path]) -> MeterBook:
    """Read members and the first round of meter files; every meter must have every interval."""
    members = read_members(folder / scenario.members.list)
    settings = settings_of(scenario, units)
    data = read_meter_files(list(paths), _meters(members), settings)
    return MeterBook(
        members,
        settings,
        data.grid,
        data,
        [summary.name for summary in data.summaries],
        data.register_energy.copy(),
        data.source_file.copy(),
        data.source_row.copy(),
        [dict(summary.columns) for summary in data.summaries],
        list(data.summaries),
    )


def settings_of(scenario: Scenario, units: Units) -> MeterSettings:
    """Return how the meter files are written."""
    part = scenario.meters
    if part is None:
        raise InputError("the section [meters] is missing; it says how to read the meter files")
    options: dict[str, Any] = part.model_dump()
    return MeterSettings(lot_wh=units.lot_wh, **options)


def meter_files(scenario: Scenario, folder: Path) -> list[Path]:
    """Return the meter files of a folder by name; none at all is an error."""
    found = sorted(path for path in folder.glob(scenario.members.meters) if path.is_file())
    if not found:
        raise InputError(f"{folder}: no meter file matches {scenario.members.meters!r}; put the CSV files there")
    return found


def _meters(members: Members) -> list[Any]:
    return list(members.meters)
