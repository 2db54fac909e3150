"""Read a scenario strictly: one message for each problem, naming file, key, value and what was expected."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from wattle.core.checks import InputError
from wattle.core.registry import nearest
from wattle.scenario.schema import Scenario


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file.

    Raises `InputError` with one line for each problem; nothing is repaired.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; name the scenario file in it") from None
    except UnicodeDecodeError as problem:
        raise InputError(f"{path}: is not a text file in UTF-8 (byte {problem.start})") from None
    except OSError as problem:
        raise InputError(f"{path}: cannot be read: {problem.strerror}") from None
    return parse_scenario(text, str(path))


def parse_scenario(text: str, name: str) -> Scenario:
    """Build a scenario from TOML text; `name` is the file's name in messages."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise InputError(f"{name}: is not valid TOML: {problem}") from None
    try:
        return Scenario.model_validate(data)
    except ValidationError as problem:
        lines = [f"{name}{_row(text, error['loc'])}: {_line(error, data)}" for error in problem.errors()]
        raise InputError("\n".join(lines)) from None


def _line(error: Any, data: dict[str, Any]) -> str:
    place = list(error["loc"])
    key = ".".join(str(part + 1) if isinstance(part, int) else part for part in place)
    value = _value(data, place)
    match error["type"]:
        case "missing":
            section = key.rpartition(".")[0] or "top level"
            return f"the key {place[-1]!r} is missing ({section}); {_described(place)}"
        case "extra_forbidden":
            known = _keys(place[:-1])
            return f"unknown key {key!r}; {nearest(str(place[-1]), known)}"
        case "literal_error":
            return f"{key} is {value!r}, expected {error['ctx']['expected']}"
        case "string_type":
            hint = f'; write decimals as text: {place[-1]} = "{value}"' if isinstance(value, (int, float)) else ""
            return f"{key} is {value!r}, expected a text{hint}"
        case "value_error":
            return f"{key} is {value!r}, {str(error['msg']).removeprefix('Value error, ')}"
        case _:
            wanted = str(error["msg"]).removeprefix("Input should be ").lower()
            return f"{key} is {value!r}, expected {wanted}"


def _row(text: str, place: tuple[Any, ...]) -> str:
    """Return ", line N" for the line on which a key (or the nearest table above it) stands, if it is found."""
    names = [part for part in place if not isinstance(part, int)]
    count = next((part for part in place if isinstance(part, int)), 0)
    table, seen, found = "", -1, 0
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+\s*([A-Za-z0-9_.-]+)\s*\]+", line)
        if header:
            table = header[1]
            seen += table == names[0] and line.strip().startswith("[[")
        here = table.split(".") if table else []
        if (here[:1] != names[:1] and table) or (here and "[[" in text and 0 <= seen != count):
            continue
        if header and here == names[: len(here)]:
            found = number
        key = re.match(r"\s*([A-Za-z0-9_-]+)\s*=", line)
        if key and [*here, key[1]] == names:
            return f", line {number}"
    return f", line {found}" if found else ""


def _value(data: Any, place: list[Any]) -> Any:
    for part in place:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _section(place: list[Any]) -> type[BaseModel]:
    section: type[BaseModel] = Scenario
    for part in place:
        if isinstance(part, int):
            continue
        annotation = section.model_fields[part].annotation
        for candidate in (annotation, *get_args(annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                section = candidate
                break
    return section


def _keys(place: list[Any]) -> list[str]:
    return list(_section(place).model_fields)


def _described(place: list[Any]) -> str:
    field = _section(place[:-1]).model_fields.get(str(place[-1]))
    return f"it says: {field.description}" if field is not None and field.description else "it is required"
