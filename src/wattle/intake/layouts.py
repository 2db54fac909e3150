"""What the columns of a meter file mean: read from the header, never from their order alone.

Wide: a time column and a column per meter. Long: time, meter, value, and optionally direction and status.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, get_args

from wattle.intake.csvtable import CsvTable
from wattle.intake.findings import Findings, suggest
from wattle.intake.readings import Meter
from wattle.intake.settings import MeterSettings, Unit
from wattle.intake.timestamps import read_stamps

START_NAMES = ("start", "from", "interval_start")
END_NAMES = ("end", "to", "interval_end")
TIME_NAMES = ("timestamp", "time", "datetime", "date_time", *START_NAMES, *END_NAMES)
METER_NAMES = ("meter", "meter_id", "metering_point")
VALUE_NAMES = ("value", "energy", "power")
LONG_NAMES = {"direction": "direction", "status": "status"}

_UNITS = {unit.casefold(): unit for unit in get_args(Unit)}
_NAME_MAX = 200  # characters of a column name in which a unit is looked for
_OTHER_UNITS = ("mwh", "gwh", "mw", "gw", "kvarh", "varh", "kvar", "kva", "m3")
_WITH_UNIT = re.compile(r"(?P<name>.*?)(?:[\s_,-]*[\[(]\s*|[\s_-]+)(?P<unit>[A-Za-z][A-Za-z0-9]{0,4})\s*[\])]?")


@dataclass(frozen=True)
class ValueColumn:
    """A column of values: its place, its unit, and its meter (None: another column names it)."""

    place: int
    name: str
    unit: Unit
    meter: str | None


@dataclass(frozen=True)
class Layout:
    """Places of the columns of a file."""

    name: str
    time: int
    values: tuple[ValueColumn, ...]
    meter: int | None = None
    direction: int | None = None
    status: int | None = None


@dataclass(frozen=True)
class _Name:
    """A header cell taken apart: `key` for comparison, `unit` as written after the name ("" if none)."""

    text: str
    bare: str
    key: str
    unit: str


def find_layout(table: CsvTable, meters: Sequence[Meter], settings: MeterSettings, findings: Findings) -> Layout | None:
    """Return what the columns mean; None if `findings` says why that is not certain."""
    before = len(findings)
    if _is_data(table, settings):
        message = "the first row holds data; put a row with column names above it"
        findings.add("header-missing", message, file=table.name, row=table.header_row, value=table.header[0])
        return None
    known = {meter.id for meter in meters}
    names = [_take_apart(text, known) for text in table.header]
    if any(name.key in METER_NAMES for name in names):
        layout = _long(table, names, settings, findings)
    else:
        layout = _wide(table, names, known, settings, findings)
    if layout is not None:
        _check_stamp(table, names[layout.time], settings, findings)
    return layout if len(findings) == before else None


def _is_data(table: CsvTable, settings: MeterSettings) -> bool:
    """Return whether a cell of the first row is a time, as in a file without a header."""
    stamps = read_stamps(table.header, settings)
    return bool(stamps.ok.any()) or any(problem.code != "timestamp" for problem in stamps.problems)


def _take_apart(text: str, known: set[str]) -> _Name:
    bare, unit = text, ""
    if text not in known and len(text) <= _NAME_MAX and (found := _WITH_UNIT.fullmatch(text)):
        word = found["unit"].casefold()
        if found["name"] and (word in _UNITS or word in _OTHER_UNITS):
            bare, unit = found["name"].strip(), found["unit"]
    return _Name(text, bare, re.sub(r"[\s-]+", "_", bare.casefold()), unit)


def _wide(
    table: CsvTable, names: Sequence[_Name], known: set[str], settings: MeterSettings, findings: Findings
) -> Layout | None:
    others = [place for place, name in enumerate(names) if name.bare not in known]
    named = [place for place in others if names[place].key in TIME_NAMES]
    if len(named) > 1:
        both = " and ".join(repr(names[place].text) for place in named)
        message = f"{both} both name a time column; keep the one that the setting stamp describes"
        _header(findings, table, "column-repeated", message, names[named[1]].text, "one time column")
        return None
    if not named and others[:1] != [0]:
        message = "no column holds the time; name one of them timestamp"
        _header(findings, table, "column-missing", message, "timestamp", "a time column", value=table.header[0])
        return None
    time = named[0] if named else 0
    columns: list[ValueColumn] = []
    without_unit: list[_Name] = []
    seen: dict[str, str] = {}
    for place, name in enumerate(names):
        if place == time:
            continue
        if name.bare not in known:
            message = "no member has this meter; correct the column name or add the meter to the members"
            _header(
                findings, table, "meter-unknown", message, name.text, _nearest(name.bare, known, findings), name.bare
            )
        elif name.bare in seen:
            message = f"the meter {name.bare} also stands in column {seen[name.bare]!r}; delete one"
            _header(findings, table, "column-repeated", message, name.text, "one column per meter", name.bare)
        elif not name.unit and settings.unit is None:
            without_unit.append(name)
        elif unit := _unit(table, name, settings, findings):
            columns.append(ValueColumn(place, name.text, unit, name.bare))
        seen.setdefault(name.bare, name.text)
    if not seen:
        message = "no column holds a meter; is the setting separator right?"
        _header(findings, table, "column-missing", message, "", "a column for each meter", value=names[0].text)
    if without_unit:  # one finding for all of them
        _unit(table, without_unit[0], settings, findings)
    return Layout("wide", time, tuple(columns))


def _nearest(word: str, known: set[str], findings: Findings) -> str:
    return "" if findings.full else suggest(word, sorted(known))


def _long(table: CsvTable, names: Sequence[_Name], settings: MeterSettings, findings: Findings) -> Layout | None:
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        groups = {"time": TIME_NAMES, "meter": METER_NAMES, "value": VALUE_NAMES}
        role = next((role for role, words in groups.items() if name.key in words), LONG_NAMES.get(name.key))
        if role is None:
            valid = ["timestamp", "meter", "value", *LONG_NAMES]
            message = "no such column is known in a file with a meter column; delete or rename it"
            _header(findings, table, "column-unknown", message, name.text, suggest(name.bare, valid), name.text)
        elif role in places:
            message = f"columns {names[places[role]].text!r} and {name.text!r} both hold the {role}; delete one"
            _header(findings, table, "column-repeated", message, name.text, f"one {role} column", name.text)
        else:
            places[role] = place
    for role, example in (("time", "timestamp"), ("value", "value")):
        if role not in places:
            message = f"no column holds the {role}; name it {example}"
            _header(findings, table, "column-missing", message, example, "timestamp, meter, value")
    if not {"time", "meter", "value"} <= set(places):
        return None
    value = names[places["value"]]
    unit = _unit(table, value, settings, findings)
    if unit is None:
        return None
    column = ValueColumn(places["value"], value.text, unit, None)
    return Layout(
        "long", places["time"], (column,), places["meter"], places.get("direction"), places.get("status")
    )  # fmt: skip


def _unit(table: CsvTable, name: _Name, settings: MeterSettings, findings: Findings) -> Unit | None:
    """Return the unit of a column: from its name or from the settings, which must not disagree."""
    words = ", ".join(get_args(Unit))
    written = _UNITS.get(name.unit.casefold())
    if name.unit and written is None:
        message = f"the unit {name.unit} cannot be read; convert the values"
        _header(findings, table, "unit-unknown", message, name.text, words, name.unit)
    elif written is None and settings.unit is None:
        message = 'neither the column name nor the settings say the unit; write unit = "kWh" (or Wh, kW, W)'
        _header(findings, table, "unit-unknown", message + " in the section [meters]", name.text, words)
    elif written and settings.unit and written != settings.unit:
        message = f'the column name says {written}, the settings say unit = "{settings.unit}"; correct one'
        _header(findings, table, "unit-conflict", message, name.text, settings.unit, written)
    else:
        return cast(Unit, written or settings.unit)
    return None


def _check_stamp(table: CsvTable, name: _Name, settings: MeterSettings, findings: Findings) -> None:
    said = "start" if name.key in START_NAMES else "end" if name.key in END_NAMES else settings.stamp
    if said != settings.stamp:
        message = f'the column name says {said}, the settings say stamp = "{settings.stamp}"; correct one'
        _header(findings, table, "stamp-conflict", message, name.text, settings.stamp, name.text)


def _header(
    findings: Findings, table: CsvTable, code: str, message: str, column: str, expected: str, value: str = ""
) -> None:
    findings.add(
        code, message, file=table.name, row=table.header_row, column=column, value=value, expected=expected
    )  # fmt: skip
