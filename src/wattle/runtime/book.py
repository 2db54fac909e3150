"""Read an order book from a file or from Python data, strictly, and name every problem with its place.

Quantities and prices are decimals until they are whole lots and ticks; a number in a text never becomes a float. A book
is used as a whole or not at all.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from wattle.core.checks import InputError
from wattle.core.registry import nearest
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, FIRST_MEMBER, HOUSE_NAMES, SELL, Orders
from wattle.core.units import PRICE_MAX, QUANTITY_MAX, Units, decimal_text, exact

REQUIRED = ("member", "side", "quantity_kwh", "limit_ct_per_kwh")
OPTIONAL = ("interval", "zone", "partner")
SHOWN_MAX = 20
INTERVAL_MAX = (1 << 31) - 1

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_ABSENT = object()


@dataclass(frozen=True, eq=False)
class Book:
    """Orders with the names that people gave: ids are row numbers from 0, members stand in order of appearance."""

    orders: Orders
    members: tuple[str, ...]
    zones: tuple[int | str, ...]

    @property
    def ids(self) -> dict[str, int]:
        """Participant number of each member."""
        return {name: FIRST_MEMBER + number for number, name in enumerate(self.members)}

    def name(self, participant: int) -> str:
        """Return the name of a member or house account."""
        return self.members[participant - FIRST_MEMBER] if participant >= FIRST_MEMBER else HOUSE_NAMES[participant]


def read_book(source: Any, units: Units) -> Book:
    """Read a book from the path of a CSV or JSON file, a list of dicts, a dict of lists or a data frame.

    Columns are `member`, `side` (buy or sell), `quantity_kwh`, `limit_ct_per_kwh` (hundredths of the currency; nothing
    takes any price) and, if wanted, `interval`, `zone`, `partner`. Raises one `InputError` for all problems.
    """
    return _book(_rows_from(source), units)


@dataclass(frozen=True)
class _Table:
    """Columns as given; `place(row)` says where a row stands, `lead` what stands before it in a message."""

    columns: dict[str, Sequence[Any]]
    rows: int
    place: Callable[[int], str]
    lead: str = ""
    problems: tuple[tuple[int, str], ...] = ()


class _Refused(Exception):
    """A value that cannot be used; the text says what was expected."""


# --- from a source to columns ---


def _rows_from(source: Any) -> _Table:
    if isinstance(source, (str, PathLike)):
        return _file(Path(fspath(source)))
    if isinstance(source, Mapping):
        return _lists(source)
    if hasattr(source, "columns") and hasattr(source, "__getitem__"):  # a data frame, whichever library made it
        return _frame(source)
    if isinstance(source, (list, tuple)):
        return _objects(source, "")
    kind = type(source).__name__
    raise InputError(f"orders: is a {kind}, expected a path, a list of dicts, a dict of lists or a data frame")


def _file(path: Path) -> _Table:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, expected a CSV or JSON file") from None
    except OSError as problem:
        raise InputError(f"{path}: cannot be read: {problem.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise InputError(f"{path}: is not a text file in UTF-8 (byte {problem.start})") from None
    if "\0" in text:
        raise InputError(f"{path}: is not a text file (byte {data.index(0)} is zero)")
    if not text.strip():
        raise InputError(f"{path}: is empty, expected a line with the columns {', '.join(REQUIRED)}")
    suffix = path.suffix.lower()
    if suffix == ".json" or (suffix != ".csv" and text.lstrip()[0] in "[{"):
        return _json(text, path)
    return _csv(text, path)


def _csv(text: str, path: Path) -> _Table:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    header: list[str] | None = None
    records, lines, problems = [], [], []
    line = 1
    try:
        for record in reader:
            first, line = line, reader.line_num + 1
            cells = [cell.strip() for cell in record]
            if cells in ([], [""]):
                continue
            if header is None:
                header = _header(cells, f"{path}, line {first}")
                continue
            lines.append(first)
            if len(cells) != len(header):
                problems.append((len(lines) - 1, f"{len(cells)} cells, the header has {len(header)} columns"))
                cells = [""] * len(header)
            records.append(cells)
    except csv.Error as problem:
        raise InputError(f"{path}, line {reader.line_num}: is not valid CSV: {problem}") from None
    columns: Iterable[Sequence[Any]] = zip(*records, strict=True) if records else [() for _ in header or ()]
    table = dict(zip(header or (), columns, strict=True))
    return _Table(table, len(records), lambda row: f"line {lines[row]}", f"{path}, ", tuple(problems))


def _header(cells: list[str], place: str) -> list[str]:
    if len(cells) == 1 and re.search(r"[;\t|]", cells[0]):
        raise InputError(f"{place}: {cells[0]!r} is one column; expected a comma between columns")
    _check_columns(cells, place)
    return cells


def _json(text: str, path: Path) -> _Table:
    try:
        data = json.loads(
            text, parse_float=Decimal, parse_constant=str, object_pairs_hook=lambda pairs: _object(pairs, path)
        )
    except json.JSONDecodeError as problem:
        place = f"{path}, line {problem.lineno}, column {problem.colno}"
        raise InputError(f"{place}: is not valid JSON: {problem.msg}") from None
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{path}: is not valid JSON: {problem}") from None
    if isinstance(data, dict):
        for key in data:
            if key != "orders":
                raise InputError(f"{path}: unknown key {key!r}; expected a list of orders, or {{'orders': [...]}}")
        data = data.get("orders")
    if not isinstance(data, list):
        raise InputError(f"{path}: expected a list of orders, or an object with the key 'orders'")
    return _objects(data, f"{path}, ")


def _object(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InputError(f"{path}: an object has the key {key!r} twice")
        found[key] = value
    return found


def _objects(rows: Sequence[Any], lead: str) -> _Table:
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(f"{lead}orders[{number}]: is {_shown(row)}, expected an object with {', '.join(REQUIRED)}")
    known = (*REQUIRED, *OPTIONAL)
    problems = [
        (number, f"unknown key {key!r}; {nearest(str(key), known)}")
        for number, row in enumerate(rows)
        for key in row
        if key not in known
    ]
    names = [*REQUIRED, *(name for name in OPTIONAL if any(name in row for row in rows))]
    columns = {name: [row.get(name, _ABSENT) for row in rows] for name in names}
    return _Table(columns, len(rows), lambda row: f"orders[{row}]", lead, tuple(problems))


def _frame(frame: Any) -> _Table:
    names = [str(name) for name in frame.columns]
    _check_columns(names, "orders")
    return _lists({name: frame[name] for name in names})


def _lists(columns: Mapping[str, Any]) -> _Table:
    _check_columns([str(name) for name in columns], "orders")
    found: dict[str, Sequence[Any]] = {}
    for name, values in columns.items():
        if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            raise InputError(f"orders, {name}: is {_shown(values)}, expected a list")
        found[name] = values.tolist() if hasattr(values, "tolist") else list(values)
    lengths = {name: len(values) for name, values in found.items()}
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"orders: the columns differ in length: {sizes}")
    return _Table(found, next(iter(lengths.values())), lambda row: f"orders[{row}]")


def _check_columns(names: list[str], place: str) -> None:
    known = (*REQUIRED, *OPTIONAL)
    problems = [f"unknown column {name!r}; {nearest(name, known)}" for name in names if name not in known]
    problems += [f"the column {name!r} stands twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    problems += [f"the column {name!r} is missing" for name in REQUIRED if name not in names]
    if problems:
        raise InputError("\n".join(f"{place}: {problem}" for problem in problems))


# --- from columns to orders ---


def _book(table: _Table, units: Units) -> Book:
    problems: list[tuple[int, int, str]] = [(row, -1, text) for row, text in table.problems]
    broken = {row for row, _ in table.problems}
    numbers = _Numbers(units)

    def read(name: str, convert: Callable[[Any], Any], default: Any) -> list[Any]:
        if name not in table.columns:
            return [default] * table.rows
        place = (*REQUIRED, *OPTIONAL).index(name)
        found, seen = [], dict[str, Any]()
        for row, value in enumerate(table.columns[name]):
            try:
                if type(value) is str:
                    if value not in seen:
                        seen[value] = convert(value)
                    found.append(seen[value])
                else:
                    found.append(convert(value))
            except _Refused as expected:
                found.append(default)
                if row not in broken:
                    was = "is missing" if _empty(value) else f"is {_shown(value)}"
                    problems.append((row, place, f"{name} {was}, expected {expected}"))
        return found

    names = read("member", _member, "")
    side = read("side", _side, 0)
    quantity = read("quantity_kwh", numbers.lots, 1)
    limit = read("limit_ct_per_kwh", numbers.ticks, 0)
    interval = read("interval", _interval, 0)
    zone = read("zone", _zone, 0)
    members = {name: FIRST_MEMBER + number for number, name in enumerate(dict.fromkeys(filter(None, names)))}
    partner = read("partner", lambda value: _partner(value, members), ANYONE)
    problems += [
        (row, len(REQUIRED) + 2, f"partner is {name!r}, the member himself; expected another member")
        for row, (name, other) in enumerate(zip(names, partner, strict=True))
        if other != ANYONE and members.get(name) == other
    ]
    if problems:
        raise InputError(_told(table, sorted(problems)))
    if any(isinstance(label, str) for label in zone):
        zone = [str(label) for label in zone]
    zones = {label: number for number, label in enumerate(dict.fromkeys(zone))}
    sides = np.array(side, np.int8)
    taker = np.array([ticks is None for ticks in limit], bool)
    orders = Orders(
        id=np.arange(table.rows),
        participant=np.array([members[name] for name in names], np.int32),
        zone=np.array([zones[label] for label in zone], np.int32),
        interval=np.array(interval, np.int32),
        side=sides,
        quantity=np.array(quantity, np.int64),
        limit=np.where(taker, sides * np.int64(ANY_PRICE), np.array([ticks or 0 for ticks in limit], np.int64)),
        partner=np.array(partner, np.int32),
    )
    return Book(orders, tuple(members), tuple(zones))


def _told(table: _Table, problems: list[tuple[int, int, str]]) -> str:
    lines = [f"{table.lead}{table.place(row)}: {text}" for row, _, text in problems[:SHOWN_MAX]]
    if len(problems) > SHOWN_MAX:
        lines.append(f"and {len(problems) - SHOWN_MAX} more")
    return "\n".join(lines)


class _Numbers:
    """Lots and ticks from decimals, in the units of a book."""

    def __init__(self, units: Units) -> None:
        self._lots_per_kwh = 1000 / units.lot_wh
        self._ticks_per_ct = 1 / (100 * units.tick_per_kwh)
        self._lot = f"a multiple of {decimal_text(units.lot_wh / 1000)} kWh, the size of a lot"
        self._tick = f"a multiple of {decimal_text(units.tick_per_kwh * 100)} ct/kWh, the size of a tick"
        self._most_kwh = decimal_text(QUANTITY_MAX * units.lot_wh / 1000)
        self._most_ct = decimal_text(PRICE_MAX * units.tick_per_kwh * 100)

    def lots(self, value: Any) -> int:
        """Return whole lots."""
        number = _number(value, "a number of kWh above 0, such as 2.5")
        if number <= 0:
            raise _Refused("a number of kWh above 0, such as 2.5")
        return _whole(number * self._lots_per_kwh, value, self._lot, QUANTITY_MAX, f"at most {self._most_kwh} kWh")

    def ticks(self, value: Any) -> int | None:
        """Return whole ticks; None for a price taker."""
        if _empty(value) and value is not _ABSENT:
            return None
        hint = "; write None for any price" if isinstance(value, float) else ""
        number = _number(value, f"a price in ct/kWh, such as 12.5, or nothing for any price{hint}")
        most = f"at most {self._most_ct} ct/kWh"
        return _whole(number * self._ticks_per_ct, value, self._tick, PRICE_MAX, most)


def _whole(number: Fraction, value: Any, step: str, limit: int, most: str) -> int:
    if abs(number) > limit:
        raise _Refused(most)
    if number.denominator != 1:
        raise _Refused(step + ("; round it first" if isinstance(value, float) else ""))
    return int(number)


def _number(value: Any, expected: str) -> Fraction:
    if hasattr(value, "item") and hasattr(value, "dtype"):  # a NumPy scalar
        value = value.item()
    if isinstance(value, int) and not isinstance(value, bool):
        return Fraction(value)
    if isinstance(value, float):
        value = repr(value)
    text = str(value).strip() if isinstance(value, (str, Decimal)) else ""
    if not _DECIMAL.fullmatch(text):
        raise _Refused(expected)
    try:
        return exact(text)
    except InputError:
        raise _Refused(expected) from None


def _member(value: Any) -> str:
    name = _name(value, "the name of a member")
    if name in HOUSE_NAMES:
        raise _Refused("the name of a member; this one belongs to a house account")
    return name


def _name(value: Any, expected: str) -> str:
    if hasattr(value, "item") and hasattr(value, "dtype"):
        value = value.item()
    text = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not text:
        raise _Refused(expected)
    return text


def _side(value: Any) -> int:
    sides = {"buy": BUY, "sell": SELL}
    if not isinstance(value, str) or value.strip() not in sides:
        raise _Refused("buy or sell")
    return sides[value.strip()]


def _interval(value: Any) -> int:
    expected = f"a whole number from 0 to {INTERVAL_MAX}"
    number = _number(value, expected)
    if number.denominator != 1 or not 0 <= number <= INTERVAL_MAX:
        raise _Refused(expected)
    return int(number)


def _zone(value: Any) -> int | str:
    text = _name(value, "the name or number of a zone")
    return int(text) if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", text, re.ASCII) else text


def _partner(value: Any, members: Mapping[str, int]) -> int:
    if value is _ABSENT or _empty(value) or (isinstance(value, float) and value != value):
        return ANYONE
    name = _name(value, "the name of a member, or nothing")
    if name not in members:
        raise _Refused(f"a member of this book, or nothing; {nearest(name, members)}")
    return members[name]


def _empty(value: Any) -> bool:
    return value is None or value is _ABSENT or type(value).__name__ == "NAType" or str(value).strip() == ""


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
