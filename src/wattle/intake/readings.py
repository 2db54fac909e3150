"""What comes out of meter files: readings in whole lots that know the file and row they came from.

Positive is consumption, here as everywhere: the readings of a feed-in meter are negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from wattle.core.columns import I8, I32, I64, Columns
from wattle.core.timegrid import TimeGrid
from wattle.intake.timestamps import local_text

I16 = Annotated[NDArray[np.int16], np.int16]
Kind = Literal["consumption", "feed-in", "signed"]

NOT_STATED, MEASURED, ESTIMATED, SUBSTITUTE = range(4)
STATUS_NAMES = ("not stated", "measured", "estimated", "substitute")

BOTH_WAYS, CONSUMPTION, FEED_IN = 0, 1, -1
"""Sign of a register: what it counts."""


@dataclass(frozen=True)
class Meter:
    """A meter and the member it belongs to. A "signed" meter counts both ways, consumption positive."""

    id: str
    member: str
    kind: Kind = "signed"


@dataclass(frozen=True)
class Register:
    """One series of readings of a meter. `member` is an index into the members.

    `sign` says what it counts: 1 consumption, -1 feed-in, 0 both ways. A signed meter whose files name a direction
    has a register for each.
    """

    meter: str
    member: int
    sign: int


def members_of(meters: Sequence[Meter]) -> tuple[str, ...]:
    """Return the members in the order in which their first meter stands."""
    return tuple(dict.fromkeys(meter.member for meter in meters))


def registers_of(meters: Sequence[Meter]) -> tuple[Register, ...]:
    """Return every register that files may hold readings of, in the order of the meters."""
    place = {member: index for index, member in enumerate(members_of(meters))}
    signs = {"consumption": (CONSUMPTION,), "feed-in": (FEED_IN,), "signed": (BOTH_WAYS, CONSUMPTION, FEED_IN)}
    return tuple(Register(meter.id, place[meter.member], sign) for meter in meters for sign in signs[meter.kind])


@dataclass(frozen=True)
class FileSummary:
    """What was found in one file, for the person who settles: nothing is taken for granted unseen.

    `first` and `last` are the local times at which the first and the last interval start. `columns` maps each meter
    to the column of its values. `rounded` counts values that were not whole lots (see `MeterSettings.rounding`).
    """

    name: str
    sha256: str
    format: str
    layout: str
    encoding: str
    separator: str
    decimal: str
    unit: str
    rows: int
    meters: tuple[str, ...]
    first: str
    last: str
    columns: Mapping[str, str] = field(default_factory=dict)
    date_order: str = ""
    rounded: int = 0
    estimated: int = 0
    substitute: int = 0
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        decimal = f"decimal {self.decimal!r}" if self.decimal else "whole numbers"
        facts = [
            f"{self.layout} layout",
            self.encoding,
            f"cells parted by {self.separator!r}",
            decimal,
            self.unit,
            *([f"dates in the order {self.date_order}"] if self.date_order else []),
            f"{self.rows:,} rows",
            f"{len(self.meters)} meter{'s' if len(self.meters) != 1 else ''}",
            f"{self.first} to {self.last}",
        ]
        counts = {
            "values rounded, remainders carried on": self.rounded,
            "estimated": self.estimated,
            "substitute": self.substitute,
        }
        facts += [f"{count:,} {what}" for what, count in counts.items() if count]
        return f"{self.name}: {', '.join([*facts, *self.notes])}"


@dataclass(frozen=True, eq=False)
class ReadingRows(Columns):
    """Readings, one per row, in no particular order.

    `interval` counts from the start of the batch. `register` and `file` are indices into its registers and
    summaries. `value` is in signed lots, positive is consumption. `row` is the line in the file, counted from 1.
    `status` is an index into `STATUS_NAMES`.
    """

    interval: I32
    register: I32
    value: I64
    file: I16
    row: I32
    status: I8


def registers_in(register: NDArray[np.int32]) -> list[int]:
    """Return the distinct registers of many readings, sorted."""
    present: list[int] = np.flatnonzero(np.bincount(register)).tolist()
    return present


@dataclass(frozen=True, eq=False)
class MeterRows:
    """Readings of any meters and intervals, such as corrections, with what their numbers mean."""

    rows: ReadingRows
    start_s: int
    step_s: int
    count: int
    timezone: str
    members: tuple[str, ...]
    registers: tuple[Register, ...]
    summaries: tuple[FileSummary, ...]

    @property
    def grid(self) -> TimeGrid:
        """The intervals that the rows are numbered on."""
        return TimeGrid(self.start_s, self.step_s, self.count)

    def local(self, interval: int) -> str:
        """Return the local time at which an interval starts."""
        return local_text(self.grid.second(interval), ZoneInfo(self.timezone))


@dataclass(frozen=True)
class Source:
    """Where a reading stands: file, line counted from 1, column; `energy` in signed lots."""

    meter: str
    file: str
    row: int
    column: str
    status: str
    energy: int


@dataclass(frozen=True, eq=False)
class MeterData:
    """Complete readings of a period: T intervals, N members, M registers.

    `energy` [T, N] is the net energy of each member in lots, positive is consumption. `consumption` and `feed_in`
    [T, N] are >= 0 and `energy` is their difference. `register_energy` [T, M] are the readings themselves, signed;
    `source_file`, `source_row` and `status` [T, M] say where each stands and how it came about.
    """

    start_s: int
    step_s: int
    count: int
    timezone: str
    members: tuple[str, ...]
    registers: tuple[Register, ...]
    register_energy: NDArray[np.int64]
    source_file: NDArray[np.int16]
    source_row: NDArray[np.int32]
    status: NDArray[np.int8]
    energy: NDArray[np.int64]
    consumption: NDArray[np.int64]
    feed_in: NDArray[np.int64]
    summaries: tuple[FileSummary, ...]

    @property
    def grid(self) -> TimeGrid:
        """The intervals of the period."""
        return TimeGrid(self.start_s, self.step_s, self.count)

    @property
    def source(self) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        """File index and row [T, M] of every reading."""
        return self.source_file, self.source_row

    def sources(self, interval: int, member: int) -> tuple[Source, ...]:
        """Return the readings that make up a member's energy in an interval."""
        return tuple(
            Source(
                register.meter,
                summary.name,
                int(self.source_row[interval, place]),
                summary.columns[register.meter],
                STATUS_NAMES[self.status[interval, place]],
                int(self.register_energy[interval, place]),
            )
            for place, register in enumerate(self.registers)
            if register.member == member
            for summary in [self.summaries[self.source_file[interval, place]]]
        )
