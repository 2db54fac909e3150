"""Read an order book from a file or from Python data, strictly, and name every problem with its place.

Quantities and prices are decimals until they are whole lots and ticks; a number in a text never becomes a float. A book
is used as a whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from wattle.core.checks import InputError
from wattle.core.registry import nearest
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, FIRST_MEMBER, HOUSE_NAMES, SELL, Orders
from wattle.core.units import PRICE_MAX, QUANTITY_MAX, Units, decimal_text, exact
from wattle.runtime.booksource import ABSENT, OPTIONAL, REQUIRED, Table, read_table, shown

SHOWN_MAX = 20
INTERVAL_MAX = (1 << 31) - 1

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)


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
    return _book(read_table(source), units)


class _UnfitError(Exception):
    """A value that cannot be used; the text says what was expected."""


def _book(table: Table, units: Units) -> Book:
    problems: list[tuple[int, int, str]] = [(row, -1, text) for row, text in table.problems]
    broken = {row for row, _ in table.problems}
    numbers = _Numbers(units)

    def read(name: str, convert: Callable[[Any], Any], default: Any) -> list[Any]:
        if name not in table.columns:
            return [default] * table.rows
        place = (*REQUIRED, *OPTIONAL).index(name)
        found: list[Any] = []
        # The same text or number stands in many rows; True and 1 are equal, so each type has its own table.
        known: dict[type, dict[Any, Any]] = {str: {}, float: {}, int: {}}
        for row, value in enumerate(table.columns[name]):
            seen = known.get(type(value))
            try:
                if seen is None:
                    found.append(convert(value))
                else:
                    if value not in seen:
                        seen[value] = convert(value)
                    found.append(seen[value])
            except _UnfitError as expected:
                found.append(default)
                if row not in broken:
                    was = "is missing" if _empty(value) else f"is {shown(value)}"
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


def _told(table: Table, problems: list[tuple[int, int, str]]) -> str:
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
            raise _UnfitError("a number of kWh above 0, such as 2.5")
        return _whole(number * self._lots_per_kwh, value, self._lot, QUANTITY_MAX, f"at most {self._most_kwh} kWh")

    def ticks(self, value: Any) -> int | None:
        """Return whole ticks; None for a price taker."""
        if _empty(value) and value is not ABSENT:
            return None
        hint = ", as None (in pandas: a column of type Float64)" if isinstance(value, float) else ""
        number = _number(value, f"a price in ct/kWh, such as 12.5, or nothing for any price{hint}")
        most = f"at most {self._most_ct} ct/kWh"
        return _whole(number * self._ticks_per_ct, value, self._tick, PRICE_MAX, most)


def _whole(number: Fraction, value: Any, step: str, limit: int, most: str) -> int:
    if abs(number) > limit:
        raise _UnfitError(most)
    if number.denominator != 1:
        raise _UnfitError(step + ("; round it first" if isinstance(value, float) else ""))
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
        raise _UnfitError(expected)
    try:
        return exact(text)
    except InputError:
        raise _UnfitError(expected) from None


def _member(value: Any) -> str:
    name = _name(value, "the name of a member")
    if name in HOUSE_NAMES:
        raise _UnfitError("the name of a member; this one belongs to a house account")
    return name


def _name(value: Any, expected: str) -> str:
    if hasattr(value, "item") and hasattr(value, "dtype"):
        value = value.item()
    text = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not text:
        raise _UnfitError(expected)
    return text


def _side(value: Any) -> int:
    sides = {"buy": BUY, "sell": SELL}
    if not isinstance(value, str) or value.strip() not in sides:
        raise _UnfitError("buy or sell")
    return sides[value.strip()]


def _interval(value: Any) -> int:
    expected = f"a whole number from 0 to {INTERVAL_MAX}"
    number = _number(value, expected)
    if number.denominator != 1 or not 0 <= number <= INTERVAL_MAX:
        raise _UnfitError(expected)
    return int(number)


def _zone(value: Any) -> int | str:
    text = _name(value, "the name or number of a zone")
    return int(text) if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", text, re.ASCII) else text


def _partner(value: Any, members: Mapping[str, int]) -> int:
    if value is ABSENT or _empty(value) or (isinstance(value, float) and value != value):
        return ANYONE
    name = _name(value, "the name of a member, or nothing")
    if name not in members:
        raise _UnfitError(f"a member of this book, or nothing; {nearest(name, members)}")
    return members[name]


def _empty(value: Any) -> bool:
    return value is None or value is ABSENT or type(value).__name__ == "NAType" or str(value).strip() == ""
