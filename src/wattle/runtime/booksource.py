"""Where an order book comes from: a CSV or JSON file, or Python data; all become columns of values as given.

A number in a text stays a text and a JSON number a decimal, so nothing passes through a float on its way.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from wattle.core.checks import InputError
from wattle.core.registry import nearest

REQUIRED = ("member", "side", "quantity_kwh", "limit_ct_per_kwh")
OPTIONAL = ("interval", "zone", "partner")

ABSENT = object()
"""Stands where an object has no such key."""


@dataclass(frozen=True)
class Table:
    """Columns as given; `place(row)` says where a row stands, `lead` what stands before it in a message."""

    columns: Mapping[str, Sequence[Any]]
    rows: int
    place: Callable[[int], str]
    lead: str = ""
    problems: tuple[tuple[int, str], ...] = ()


def read_table(source: Any) -> Table:
    """Return the columns of a path, a list of dicts, a dict of lists or a data frame of any library."""
    if isinstance(source, (str, PathLike)):
        return _file(Path(fspath(source)))
    if isinstance(source, Mapping):
        return _lists(source)
    if hasattr(source, "columns") and hasattr(source, "__getitem__"):  # a data frame, whichever library made it
        return _frame(source)
    if isinstance(source, (list, tuple)):
        return _objects(source, "")
    kind = type(source).__name__
    raise InputError(f"orders: given as {kind}, expected a path, a list of dicts, a dict of lists or a data frame")


def _file(path: Path) -> Table:
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


def _csv(text: str, path: Path) -> Table:
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
    return Table(table, len(records), lambda row: f"line {lines[row]}", f"{path}, ", tuple(problems))


def _header(cells: list[str], place: str) -> list[str]:
    if len(cells) == 1 and re.search(r"[;\t|]", cells[0]):
        raise InputError(f"{place}: {cells[0]!r} is one column; expected a comma between columns")
    _check_columns(cells, place)
    return cells


def _json(text: str, path: Path) -> Table:
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


def _objects(rows: Sequence[Any], lead: str) -> Table:
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(f"{lead}orders[{number}]: is {shown(row)}, expected an object with {', '.join(REQUIRED)}")
    known = (*REQUIRED, *OPTIONAL)
    problems = [
        (number, f"unknown key {key!r}; {nearest(str(key), known)}")
        for number, row in enumerate(rows)
        for key in row
        if key not in known
    ]
    names = [*REQUIRED, *(name for name in OPTIONAL if any(name in row for row in rows))]
    columns = {name: [row.get(name, ABSENT) for row in rows] for name in names}
    return Table(columns, len(rows), lambda row: f"orders[{row}]", lead, tuple(problems))


def _frame(frame: Any) -> Table:
    names = [str(name) for name in frame.columns]
    _check_columns(names, "orders")
    return _lists({name: frame[name] for name in names})


def _lists(columns: Mapping[str, Any]) -> Table:
    _check_columns([str(name) for name in columns], "orders")
    found: dict[str, Sequence[Any]] = {}
    for name, values in columns.items():
        if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            raise InputError(f"orders, {name}: is {shown(values)}, expected a list")
        found[name] = _listed(values)
    lengths = {name: len(values) for name, values in found.items()}
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"orders: the columns differ in length: {sizes}")
    return Table(found, next(iter(lengths.values())), lambda row: f"orders[{row}]")


def _listed(values: Any) -> list[Any]:
    found = values.tolist() if hasattr(values, "tolist") else list(values)
    if str(getattr(values, "dtype", "float")).startswith("float"):
        return found
    # pandas writes NaN for a missing text; in a column of floats it may also be a result, which is no price.
    return [None if isinstance(value, float) and value != value else value for value in found]


def _check_columns(names: list[str], place: str) -> None:
    known = (*REQUIRED, *OPTIONAL)
    problems = [f"unknown column {name!r}; {nearest(name, known)}" for name in names if name not in known]
    problems += [f"the column {name!r} stands twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    problems += [f"the column {name!r} is missing" for name in REQUIRED if name not in names]
    if problems:
        raise InputError("\n".join(f"{place}: {problem}" for problem in problems))


def shown(value: Any) -> str:
    """Write a value as it is shown in a message."""
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
