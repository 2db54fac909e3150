"""The cells of a CSV table as readings that are still text: which register, which status, where in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattle.intake.csvtable import CsvTable
from wattle.intake.findings import Findings, suggest
from wattle.intake.layouts import Layout
from wattle.intake.meters import Request
from wattle.intake.readings import BOTH_WAYS, CONSUMPTION, ESTIMATED, FEED_IN, MEASURED, NOT_STATED, SUBSTITUTE

DIRECTIONS = {"consumption": CONSUMPTION, "feed-in": FEED_IN}
STATUSES = {"measured": MEASURED, "estimated": ESTIMATED, "substitute": SUBSTITUTE}
NOWHERE = -1
"""Register of a reading that cannot be placed; `findings` say why."""


@dataclass(frozen=True, eq=False)
class Cells:
    """The values of a file [n], one reading each.

    `line` counts rows of data from 0, `column` is an index into `Layout.values`, `start` and `end` are offsets of
    the text.
    """

    line: NDArray[np.int32]
    column: NDArray[np.int32]
    register: NDArray[np.int32]
    status: NDArray[np.int8]
    start: NDArray[np.int32]
    end: NDArray[np.int32]


def find_cells(table: CsvTable, layout: Layout, request: Request, findings: Findings) -> Cells:
    """Return the value cells of a table of either layout."""
    if layout.meter is None:
        return _wide(table, layout, request)
    return _long(table, layout, layout.meter, request, findings)


def _wide(table: CsvTable, layout: Layout, request: Request) -> Cells:
    """Return all value cells, meter after meter."""
    numbers = _register_numbers(request)
    signs = {meter.id: _usual_sign(meter.kind) for meter in request.meters}
    meters = [column.meter or "" for column in layout.values]
    register = np.array([numbers[meter, signs[meter]] for meter in meters], np.int32)
    places = [column.place for column in layout.values]
    rows, columns = len(table.row), len(places)
    return Cells(
        np.tile(np.arange(rows, dtype=np.int32), columns),
        np.repeat(np.arange(columns, dtype=np.int32), rows),
        np.repeat(register, rows),
        np.full(rows * columns, NOT_STATED, np.int8),
        table.start.T[places].ravel(),
        table.end.T[places].ravel(),
    )


def _long(table: CsvTable, layout: Layout, meter_column: int, request: Request, findings: Findings) -> Cells:
    """Return the value cell of each row with the register that meter and direction name."""
    rows, place = len(table.row), layout.values[0].place
    sign, status = np.zeros(rows, np.int64), np.full(rows, NOT_STATED, np.int64)
    if layout.status is not None:
        status = _words(table, layout.status, STATUSES, "status-unknown", findings)
    ids, meter = table.codes(meter_column)
    _refuse_meters(table, meter_column, request, ids, meter, findings)
    if layout.direction is not None:
        sign = _words(table, layout.direction, DIRECTIONS, "direction-unknown", findings)
    register = _lookup(ids, request, layout.direction is not None)[meter, sign]  # sign -1 is the last column
    if layout.direction is not None:
        known = np.array([_kind(request, word) is not None for word in ids], np.bool_)[meter]
        lost = np.flatnonzero(known & (sign != 0) & (register == NOWHERE))
        for line in lost[: findings.room("direction-conflict", len(lost))].tolist():
            findings.add(
                "direction-conflict",
                "the meter does not count in this direction; correct the row or the members",
                file=table.name,
                row=int(table.row[line]),
                column=table.header[layout.direction],
                value=table.text(line, layout.direction),
                expected=str(_kind(request, ids[meter[line]])),
            )
    start, end = table.start[:, place], table.end[:, place]
    line, column = np.arange(rows, dtype=np.int32), np.zeros(rows, np.int32)
    return Cells(line, column, register, status.astype(np.int8), start, end)


def _usual_sign(kind: str) -> int:
    return DIRECTIONS.get(kind, BOTH_WAYS)


def _kind(request: Request, meter_id: str) -> str | None:
    return next((meter.kind for meter in request.meters if meter.id == meter_id), None)


def _register_numbers(request: Request) -> dict[tuple[str, int], int]:
    return {(register.meter, register.sign): number for number, register in enumerate(request.registers)}


def _lookup(ids: Sequence[str], request: Request, with_direction: bool) -> NDArray[np.int32]:
    """Return the register for each meter and sign [ids, 3]; column 0 is a row without direction."""
    numbers = _register_numbers(request)
    lookup = np.full((len(ids), 3), NOWHERE, np.int32)
    kinds = {meter.id: meter.kind for meter in request.meters}
    for place, meter_id in enumerate(ids):
        if meter_id in kinds and not with_direction:
            lookup[place, 0] = numbers[meter_id, _usual_sign(kinds[meter_id])]
        elif meter_id in kinds:
            for sign in (CONSUMPTION, FEED_IN):
                lookup[place, sign] = numbers.get((meter_id, sign), NOWHERE)
    return lookup


def _first_rows(code: NDArray[np.int32]) -> list[tuple[int, int, int]]:
    """Return each number in a column of codes with the first row that has it and how many have it."""
    numbers, first, counts = np.unique(code, return_index=True, return_counts=True)
    return list(zip(numbers.tolist(), first.tolist(), counts.tolist(), strict=True))


def _words(
    table: CsvTable, column: int, meanings: Mapping[str, int], code: str, findings: Findings
) -> NDArray[np.int64]:
    """Return the meaning of each word of a column [R], 0 for an unknown word."""
    words, word = table.codes(column)
    known = [meanings.get(text.casefold().replace("_", "-")) for text in words]
    for place, first, rows in _first_rows(word):
        if known[place] is None:
            message = f"no such word is known in {rows:,} row{'s' if rows > 1 else ''}; write one of these"
            findings.add(
                code,
                message,
                file=table.name,
                row=int(table.row[first]),
                column=table.header[column],
                value=words[place],
                expected=", ".join(meanings),
            )
    return np.array([meaning or 0 for meaning in known], np.int64)[word]


def _refuse_meters(
    table: CsvTable, column: int, request: Request, ids: Sequence[str], meter: NDArray[np.int32], findings: Findings
) -> None:
    """Report each meter that no member has, with the nearest one that a member has."""
    known = {meter.id for meter in request.meters}
    for place, first, rows in _first_rows(meter):
        meter_id = ids[place]
        if meter_id not in known:
            message = f"no member has this meter ({rows:,} row{'s' if rows > 1 else ''}); "
            findings.add(
                "meter-unknown",
                message + "correct it or add the meter to the members",
                file=table.name,
                row=int(table.row[first]),
                column=table.header[column],
                value=meter_id,
                expected="" if findings.full else suggest(meter_id, sorted(known)),
            )
