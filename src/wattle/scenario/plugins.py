"""Find market rules and give them their parameters.

wattle's own rules are found by a scan of `wattle.market`, those of installed packages by entry points of the group
`wattle.mechanisms`, a stranger's by the path of his file. All register in the same place, so nothing else can tell
them apart. Parameters come as texts or TOML values and are converted strictly: what does not fit is refused.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
import sys
import zlib
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from importlib.metadata import entry_points
from math import isfinite, lcm
from os import PathLike, fspath
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from wattle.core.checks import InputError, InvariantError
from wattle.core.registry import Entry, nearest
from wattle.core.units import CASH_MAX, CASH_ORDER_MAX, PRICE_MAX, QUANTITY_MAX, Units, decimal_text, exact
from wattle.market.mechanism import MECHANISMS

GROUP = "wattle.mechanisms"
"""Entry point group under which a package publishes its rules."""

_TICKS, _PER_KWH, _CT = "_ticks", "_per_kwh", "_ct_per_kwh"
_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)


@cache
def load_mechanisms() -> None:
    """Register wattle's own rules and those of installed packages; the second call does nothing."""
    import wattle.market

    for module in pkgutil.iter_modules(wattle.market.__path__):
        importlib.import_module(f"wattle.market.{module.name}")
    for point in entry_points(group=GROUP):
        package = point.dist.name if point.dist is not None else point.value
        try:
            point.load()
        except Exception as problem:
            raise InputError(
                f"the market rule {point.name!r} of the package {package} cannot be loaded: "
                f"{type(problem).__name__}: {problem}; repair or uninstall {package}"
            ) from problem


def find_mechanism(name: str | PathLike[str]) -> Entry:
    """Return one rule by its name, by the path of its file, or by `file.py:name` if the file holds several."""
    found = find_mechanisms(name)
    if len(found) > 1:
        names = ", ".join(f"{name}:{entry.name}" for entry in found)
        raise InputError(f"{name}: holds {len(found)} rules; choose one: {names}")
    return found[0]


def find_mechanisms(name: str | PathLike[str]) -> list[Entry]:
    """Return the rule of a name, or all rules of a file."""
    load_mechanisms()
    text = fspath(name)
    path, _, wanted = text.partition(".py:")
    if wanted:
        entries = {entry.name: entry for entry in load_file(path + ".py")}
        if wanted not in entries:
            raise InputError(f"{path}.py: holds no rule {wanted!r}; {nearest(wanted, entries)}")
        return [entries[wanted]]
    if text.endswith(".py") or not isinstance(name, str):
        return load_file(text)
    return [MECHANISMS[text]]


def load_file(path: str | PathLike[str]) -> list[Entry]:
    """Run a Python file and return the rules that it registers; it may be loaded again after a change.

    A rule in a file may not take the name of a rule that is there already.
    """
    load_mechanisms()
    file = Path(path)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "there is no such file"
        raise InputError(f"{path}: {what}; expected a Python file")
    key, content = str(file.resolve()), file.read_bytes()
    if key in _LOADED and _LOADED[key][0] == content:  # threads that run rules side by side must not load it again
        return _LOADED[key][1]
    there = next((module for module in list(sys.modules.values()) if _is_at(module, file)), None)
    if there is not None and not there.__name__.startswith(_FILE_MODULE):
        found = _of_module(there.__name__)
    else:
        found = _run_file(file)
    if not found:
        raise InputError(f"{path}: registers no market rule; put wattle.market.mechanism.mechanism above a class")
    _LOADED[key] = (content, found)
    return found


_LOADED: dict[str, tuple[bytes, list[Entry]]] = {}


_FILE_MODULE = "wattle_rule_file_"


def _run_file(file: Path) -> list[Entry]:
    name = f"{_FILE_MODULE}{zlib.crc32(str(file.resolve()).encode()):08x}"
    registered = MECHANISMS._entries
    before = {key: entry for key, entry in registered.items() if entry.cls.__module__ != name}
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file}: is not a Python file")
    registered.clear()
    registered.update(before)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and type hints look their module up
    try:
        spec.loader.exec_module(module)
        taken = [
            key
            for key, entry in before.items()
            if registered[key] is not entry and not entry.cls.__module__.startswith(_FILE_MODULE)  # a newer file wins
        ]
        if taken:
            raise InvariantError(f"the name {taken[0]!r} is taken by another rule; choose a name of its own")
    except (Exception, SystemExit) as problem:
        registered.clear()
        registered.update(before)
        del sys.modules[name]
        kind = "" if isinstance(problem, (InvariantError, InputError)) else f"{type(problem).__name__}: "
        raise InputError(f"{file}{_line(problem, file)}: cannot be loaded: {kind}{problem}") from problem
    return _of_module(name)


def _is_at(module: Any, file: Path) -> bool:
    place = getattr(module, "__file__", None)
    return isinstance(place, str) and Path(place).name == file.name and Path(place).resolve() == file.resolve()


def _of_module(name: str) -> list[Entry]:
    return [entry for entry in MECHANISMS if entry.cls.__module__ == name]


def _line(problem: BaseException, file: Path) -> str:
    line, trace = None, problem.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == file.resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(problem, SyntaxError) and Path(problem.filename or "").resolve() == file.resolve():
        line = problem.lineno
    return f", line {line}" if line else ""


def mechanism_parameters(
    entry: Entry, settings: Mapping[str, Any], units: Units, member_ids: Mapping[str, int]
) -> dict[str, Any]:
    """Turn the settings of a rule, given as texts or TOML values, into its fields, and try them.

    A field `price_ticks` is set by `price_per_kwh` (currency) or `price_ct_per_kwh` (hundredths of it). A field that
    maps participants to whole numbers (a key's shares, ranks) is set by "A:50,B:30" or by a table of member names;
    decimal weights are multiplied until they are whole. Whatever does not fit is an `InputError`.
    """
    keys, fields = setting_keys(entry), entry.parameters
    try:
        hints = get_type_hints(entry.cls)
    except NameError as problem:
        raise InputError(f"{entry.name}: the type of a field cannot be found: {problem}") from None
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in keys:
            raise InputError(f"{entry.name}: there is no parameter {key!r}; {_hint(key, keys, fields)}")
        field, place = keys[key], f"{entry.name}: {key}"
        if field in found:
            raise InputError(f"{place}: this price is given twice, in currency and in ct; keep one of the two")
        if key == field:
            found[field] = _converted(value, hints[field], member_ids, place)
        else:
            found[field] = _ticks(value, units, place, in_ct=key.endswith(_CT), default=fields[field])
    missing = [_named(field, keys) for field, default in fields.items() if default is ... and field not in found]
    if missing:
        raise InputError(f"{entry.name}: needs the parameter {missing[0]}")
    try:
        entry.build(found)
    except (InvariantError, ValueError, TypeError) as problem:
        raise InputError(f"{entry.name}: {problem}") from problem
    return found


def setting_keys(entry: Entry) -> dict[str, str]:
    """Return the names under which the fields of a rule are set, and the field of each."""
    keys: dict[str, str] = {}
    for field in entry.parameters:
        if field.endswith(_TICKS):
            stem = field.removesuffix(_TICKS)
            keys[stem + _CT] = field
            keys[stem + _PER_KWH] = field
        else:
            keys[field] = field
    return keys


def _named(field: str, keys: Mapping[str, str]) -> str:
    return " or ".join(key for key, target in keys.items() if target == field)


def _hint(key: str, keys: Mapping[str, str], fields: Mapping[str, Any]) -> str:
    if key in fields:
        return f"ticks depend on the units; write {_named(key, keys)}"
    return nearest(key, keys) if keys else "it has none"


def _ticks(value: Any, units: Units, place: str, *, in_ct: bool, default: Any) -> int:
    whole = _number(value, place) / units.tick_per_kwh / (100 if in_ct else 1)
    if whole.denominator != 1:
        tick = decimal_text(units.tick_per_kwh * (100 if in_ct else 1))
        raise InputError(f"{place} is {value!r}, expected a multiple of {tick} (a tick)")
    ticks = int(whole)
    if abs(ticks) > PRICE_MAX:
        raise InputError(f"{place} is {value!r}, expected a price of at most {PRICE_MAX} ticks")
    if ticks < 0 and isinstance(default, int) and default < 0:
        # Such a rule takes a negative number of ticks as "no price given".
        raise InputError(f"{place} is {value!r}, expected 0 or more")
    return ticks


def _converted(value: Any, hint: Any, member_ids: Mapping[str, int], place: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        kinds = [kind for kind in inner if kind is not NoneType]
        if len(kinds) == 1:
            return _converted(value, kinds[0], member_ids, place)
    if origin is Literal:
        choices = {str(choice): choice for choice in inner}
        if str(value) not in choices:
            raise InputError(f"{place} is {value!r}, expected one of {', '.join(choices)}")
        return choices[str(value)]
    if isinstance(origin, type) and issubclass(origin, Mapping) and inner == (int, int):
        return _by_member(value, member_ids, place)
    if hint is str:
        if not isinstance(value, str):
            raise InputError(f"{place} is {value!r}, expected a text")
        return value
    if hint is bool:
        return _truth(value, place)
    if hint is int:
        return _whole(value, place)
    if hint is float:
        number = float(_number(value, place))
        if not isfinite(number):
            raise InputError(f"{place} is {value!r}, expected a finite number")
        return number
    raise InputError(f"{place}: a field of type {hint} cannot be set here; build the rule in Python")


def _whole(value: Any, place: str) -> int:
    number = int(value) if isinstance(value, str) and _WHOLE.fullmatch(value.strip()) and len(value) < 30 else value
    if not isinstance(number, int) or isinstance(number, bool) or abs(number) > CASH_MAX:
        raise InputError(f"{place} is {value!r}, expected a whole number")
    return number


def _truth(value: Any, place: str) -> bool:
    words = {"true": True, "false": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip() in words:
        return words[value.strip()]
    raise InputError(f"{place} is {value!r}, expected true or false")


def _number(value: Any, place: str) -> Fraction:
    try:
        return exact(value)
    except InputError:
        raise InputError(f"{place} is {value!r}, expected a number such as 50 or 33.3") from None


def _by_member(value: Any, member_ids: Mapping[str, int], place: str) -> dict[int, int]:
    """Return whole numbers by participant from "A:50,B:30" or from a table by name."""
    pairs = list(value.items()) if isinstance(value, Mapping) else _pairs(value, place)
    weights = {}
    for name, given in pairs:
        if name not in member_ids:
            raise InputError(f"{place}: no member is called {name!r}; {nearest(str(name), member_ids)}")
        if name in weights:
            raise InputError(f"{place}: {name} is given twice")
        weights[name] = _number(given, f"{place}: {name}")
        if weights[name] < 0:
            raise InputError(f"{place}: {name} is {given!r}, expected 0 or more")
    scale = lcm(*(weight.denominator for weight in weights.values()))
    whole = {member_ids[name]: int(weight * scale) for name, weight in weights.items()}
    if max(whole.values(), default=0) > QUANTITY_MAX or sum(whole.values()) > CASH_ORDER_MAX:
        raise InputError(f"{place}: the weights have too many digits to be counted exactly; write fewer")
    return whole


def _pairs(value: Any, place: str) -> list[tuple[str, str]]:
    shape = f"{place} is {value!r}, expected members and numbers such as A:50,B:30"
    if not isinstance(value, str):
        raise InputError(shape)
    pairs = []
    for part in value.split(","):
        name, colon, number = part.rpartition(":")
        if not colon or not name.strip() or not number.strip():
            raise InputError(shape)
        pairs.append((name.strip(), number.strip()))
    return pairs
