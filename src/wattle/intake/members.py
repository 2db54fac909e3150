"""The members of a community: who they are and which meters are theirs.

One row per member in a CSV file. A member has a consumption meter, a feed-in meter or both, or one meter that counts
both ways. A column that is not known stops the reading: a typing error must not switch a rule off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from wattle.core.tables import SOURCES
from wattle.intake.csvtable import CsvTable, load_bytes, read_table
from wattle.intake.findings import Findings, InputError, suggest
from wattle.intake.readings import Kind, Meter

_NUMBER = re.compile(r"[+-]?[0-9]{1,15}([.,][0-9]{1,15})?")
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")

METRES = "whole metres such as -250"
PLACE_M = 10_000_000
"""No two members of a community are further apart than a quarter of the earth is round."""

METER_COLUMNS: dict[str, Kind] = {
    "consumption_meter": "consumption",
    "feed_in_meter": "feed-in",
    "meter": "signed",
}
COLUMNS: dict[str, str] = {
    "member": "short name of the member, unique",
    "name": "full name for statements",
    "consumption_meter": "meter that counts what the member draws",
    "feed_in_meter": "meter that counts what the member feeds in",
    "meter": "one meter that counts both ways; consumption positive",
    "share": "weight in a fixed key, 0 or more",
    "priority": "rank in a priority key, 1 is served first",
    "limit_buy_ct": "highest price the member pays for local energy, ct/kWh",
    "limit_sell_ct": "lowest price the member takes for local energy, ct/kWh",
    "east_m": "where the member lives: metres east of a point that is the same for all",
    "north_m": "metres north of that point",
    "source": f"what the member feeds in comes from: {', '.join(SOURCES[1:])}; empty: unknown",
}
"""Every column that members.csv may have, with its meaning. Only `member` and one meter column are needed."""


@dataclass(frozen=True)
class Member:
    """A row of members.csv; None where a cell is empty or its column is absent. Limits in ct/kWh, exact."""

    id: str
    name: str
    meters: tuple[Meter, ...]
    share: Fraction | None = None
    priority: int | None = None
    limit_buy_ct: Fraction | None = None
    limit_sell_ct: Fraction | None = None
    row: int = 0
    east_m: int | None = None
    north_m: int | None = None
    source: str | None = None


@dataclass(frozen=True)
class Members:
    """All members in the order of the file."""

    members: tuple[Member, ...]
    file: str
    sha256: str

    @property
    def meters(self) -> tuple[Meter, ...]:
        """All meters, member after member."""
        return tuple(meter for member in self.members for meter in member.meters)

    @property
    def ids(self) -> tuple[str, ...]:
        """The short names of the members."""
        return tuple(member.id for member in self.members)


def read_members(path: str | Path) -> Members:
    """Read members.csv; raise one `InputError` with everything that is wrong in it."""
    findings = Findings()
    file = load_bytes(Path(path), Path(path).name, findings)
    table = read_table(file, None, findings) if file is not None else None
    if file is None or table is None or len(findings):
        raise InputError(findings.items, findings.more)
    places = _columns(table, findings)
    findings.raise_if_any()
    rows = [_Row(table, places, line, findings) for line in range(len(table.row))]
    members = tuple(_member(row) for row in rows)
    _refuse_repeated(rows, members, findings)
    _refuse_without_place(rows, members)
    findings.raise_if_any()
    return Members(members, file.name, file.sha256)


def _columns(table: CsvTable, findings: Findings) -> dict[str, int]:
    """Return the place of each column; refuse columns that are not known and miss those that are needed."""
    places = {name: place for place, name in enumerate(table.header)}
    for name in places:
        if name not in COLUMNS:
            findings.add(
                "column-unknown",
                "no such column is known; rename or delete it",
                file=table.name,
                row=table.header_row,
                column=name,
                value=name,
                expected=suggest(name, COLUMNS),
            )
    if "member" not in places:
        message = "the column member is missing; it holds a short unique name for each member"
        findings.add("column-missing", message, file=table.name, row=table.header_row, column="member")
    if not set(METER_COLUMNS) & set(places):
        message = "no column holds a meter; add consumption_meter and feed_in_meter, or meter for two-way meters"
        findings.add("column-missing", message, file=table.name, row=table.header_row, column="meter")
    return places


@dataclass(frozen=True)
class _Row:
    """One row of the file, and where what is wrong with it goes."""

    table: CsvTable
    places: Mapping[str, int]
    line: int
    findings: Findings

    def text(self, column: str) -> str:
        """Return the text of a cell, "" if the column is absent."""
        return self.table.text(self.line, self.places[column]) if column in self.places else ""

    def refuse(self, code: str, message: str, column: str, expected: str) -> None:
        """Add a finding about a cell of this row."""
        self.findings.add(
            code,
            message,
            file=self.table.name,
            row=int(self.table.row[self.line]),
            column=column,
            value=self.text(column),
            expected=expected,
        )

    def number(self, column: str, expected: str, fits: Callable[[Fraction], bool]) -> Fraction | None:
        """Return the exact number in a cell, None if it is empty."""
        text = self.text(column)
        if not text:
            return None
        if not _NUMBER.fullmatch(text):
            self.refuse("value-not-number", "this is not a plain number", column, expected)
            return None
        if _GROUPED.fullmatch(text):
            message = (
                "this may be a decimal or a whole number with its thousands parted; write it with a point or whole"
            )
            self.refuse("value-separators", message, column, expected)
            return None
        number = Fraction(text.replace(",", "."))
        if not fits(number):
            code = "value-negative" if number < 0 else "value-not-number"
            self.refuse(code, "this number cannot be used here", column, expected)
            return None
        return number

    def whole(self, column: str, expected: str, least: int, most: int) -> int | None:
        """Return the whole number in a cell, None if it is empty."""
        number = self.number(column, expected, lambda number: number.denominator == 1 and least <= number <= most)
        return None if number is None else int(number)


def _member(row: _Row) -> Member:
    """Return the member of a row; what is wrong with it goes to the findings."""
    member = row.text("member")
    if not member:
        row.refuse("value-empty", "the member has no short name; write one", "member", "a short unique name")
    meters = tuple(Meter(row.text(column), member, kind) for column, kind in METER_COLUMNS.items() if row.text(column))
    if not meters:
        column = next(column for column in METER_COLUMNS if column in row.places)
        row.refuse("meter-missing", f"member {member} has no meter; write its id", column, "the id of a meter")
    elif len(meters) > 1 and any(meter.kind == "signed" for meter in meters):
        message = f"member {member} has a two-way meter beside a one-way meter; keep one kind"
        row.refuse("meter-conflict", message, "meter", "either meter, or consumption_meter and feed_in_meter")
    price = "ct/kWh as a decimal such as 12.5"
    priority = row.whole("priority", "a whole number from 1", 1, 10**15)
    return Member(
        member,
        row.text("name") or member,
        meters,
        row.number("share", "a number of 0 or more", lambda number: number >= 0),
        priority,
        row.number("limit_buy_ct", price, _any),
        row.number("limit_sell_ct", price, _any),
        int(row.table.row[row.line]),
        row.whole("east_m", METRES, -PLACE_M, PLACE_M),
        row.whole("north_m", METRES, -PLACE_M, PLACE_M),
        _source(row),
    )


def _source(row: _Row) -> str | None:
    text = row.text("source")
    if text and text not in SOURCES[1:]:
        row.refuse("source-unknown", "no such source is known", "source", suggest(text, SOURCES[1:]))
    return text or None


def _any(number: Fraction) -> bool:
    return True


def _refuse_repeated(rows: list[_Row], members: tuple[Member, ...], findings: Findings) -> None:
    """Refuse members and meters that stand in two places."""
    first_member: dict[str, int] = {}
    first_meter: dict[str, int] = {}
    columns = {kind: column for column, kind in METER_COLUMNS.items()}
    for row, member in zip(rows, members, strict=True):
        if member.id and first_member.setdefault(member.id, member.row) != member.row:
            message = f"the member also stands in row {first_member[member.id]}; rename one, or put its meters together"
            row.refuse("member-repeated", message, "member", "each member once")
        for meter in member.meters:
            if meter.id in first_meter:
                message = f"the meter also stands in row {first_meter[meter.id]}; a meter belongs to one member"
                row.refuse("meter-repeated", message, columns[meter.kind], "each meter once")
            first_meter.setdefault(meter.id, member.row)


def _refuse_without_place(rows: list[_Row], members: tuple[Member, ...]) -> None:
    """Refuse members without a place beside others who have one, and sources without places.

    A rule that looks at distances needs all of them; a place that is taken for nought would be a neighbour of everyone.
    """
    if all(member.east_m is None and member.north_m is None and member.source is None for member in members):
        return
    for row, member in zip(rows, members, strict=True):
        for column in ("east_m", "north_m"):
            if getattr(member, column) is None and not row.text(column):
                message = f"{column} of member {member.id} is missing; give every member a place, or none, nor sources"
                row.refuse("place-missing", message, column, METRES)
