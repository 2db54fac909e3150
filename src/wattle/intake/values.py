"""Decimal texts to whole lots, exactly: no float takes part.

Every cell is read as an integer and a number of decimals, all cells at once, one character position after the other.
What a cell means follows only then, when the decimal mark of the file is known.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.units import QUANTITY_MAX

CELL_MAX = 40
"""Longest text that is read as a number."""

_BLOCK = 1 << 16  # cells at a time: the work stays in the cache
_MANTISSA_MAX = ((1 << 63) - 10) // 10
_DOT, _COMMA, _PLUS, _MINUS, _ZERO = b".,+-0"


@dataclass(frozen=True, eq=False)
class Numbers:
    """Cells [n] as mantissa / 10**decimals.

    `mark` is the byte of the decimal mark found, 0 if there is none. `ok` says that the text has the form of a
    number with one mark at most. `grouped` says that the mark could also part the thousands, as in 1.234.
    """

    mantissa: NDArray[np.int64]
    decimals: NDArray[np.int16]
    mark: NDArray[np.uint8]
    ok: NDArray[np.bool_]
    grouped: NDArray[np.bool_]


def read_numbers(octets: NDArray[np.uint8], start: NDArray[np.int32], end: NDArray[np.int32]) -> Numbers:
    """Read the cells between the offsets `start` and `end` [n]."""
    parts = [
        _read_block(octets, start[low : low + _BLOCK], end[low : low + _BLOCK]) for low in range(0, len(start), _BLOCK)
    ] or [_read_block(octets, start, end)]
    return Numbers(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _read_block(
    octets: NDArray[np.uint8], start: NDArray[np.int32], end: NDArray[np.int32]
) -> tuple[NDArray[Any], ...]:
    length, offset = end - start, start.astype(np.intp)
    bad = (length == 0) | (length > CELL_MAX)
    mantissa = np.zeros(len(start), np.int64)
    decimals, digits, marks = (np.zeros(len(start), np.int16) for _ in range(3))
    mark = np.zeros(len(start), np.uint8)
    minus = np.zeros(len(start), np.bool_)
    for place in range(min(int(length.max(initial=0)), CELL_MAX)):
        octet = octets.take(offset + place, mode="clip")
        inside = length > place
        digit = octet - np.uint8(_ZERO)  # wraps: anything but a digit is above 9
        is_digit = (digit < 10) & inside
        is_mark = ((octet == _DOT) | (octet == _COMMA)) & inside
        other = inside & ~(is_digit | is_mark)
        if place == 0:
            minus = other & (octet == _MINUS)
            other &= ~minus & (octet != _PLUS)
        bad |= other | (is_digit & (mantissa > _MANTISSA_MAX))
        mantissa = np.where(is_digit, mantissa * 10 + digit, mantissa)
        decimals += is_digit & (marks > 0)
        digits += is_digit
        if is_mark.any():
            marks += is_mark
            mark = np.where(is_mark, octet, mark)
    ok = ~bad & (digits > 0) & (marks <= 1)
    before = np.clip(digits - decimals, 0, 4)
    leading = np.array([0, 1, 10, 100, 1000])[before]
    grouped = (mark > 0) & (decimals == 3) & (before >= 1) & (before <= 3) & (mantissa // 1000 >= leading)
    return np.where(minus, -mantissa, mantissa), decimals, mark, ok, grouped


@dataclass(frozen=True)
class MarkChoice:
    """The decimal mark of a file ("" if no number has one), or the cells that leave it open."""

    mark: str | None
    examples: tuple[int, ...] = ()


def choose_mark(numbers: Numbers, mark: str | None, separator: str) -> MarkChoice:
    """Return the decimal mark that is left when every other reading is impossible."""
    if mark is not None:
        return MarkChoice(mark)
    found = [(byte, np.flatnonzero(numbers.ok & (numbers.mark == byte))) for byte in (_DOT, _COMMA)]
    found = [(byte, cells) for byte, cells in found if len(cells)]
    if not found:
        return MarkChoice("")
    if len(found) == 2:
        return MarkChoice(None, tuple(int(cells[0]) for _, cells in found))
    byte, cells = found[0]
    # Where cells are parted by commas, the point is the decimal mark. Elsewhere 1.234 may be 1234.
    if bool(numbers.grouped[cells].all()) and not (separator == "," and byte == _DOT):
        return MarkChoice(None, (int(cells[0]),))
    return MarkChoice(chr(byte))


@dataclass(frozen=True, eq=False)
class Scaled:
    """Exact lots [n] as numerator / denominator; `numerator` is int64, or object if that does not hold it."""

    numerator: NDArray[Any]
    denominator: int


def scale(numbers: Numbers, group: NDArray[np.int32], lots_per_unit: list[Fraction], rows_summed: int = 1) -> Scaled:
    """Return the values in lots. `group` [n] says which entry of `lots_per_unit` holds for a cell.

    `rows_summed` numerators can be added up without overflow.
    """
    depth = int(numbers.decimals.max(initial=0))
    present = np.bincount(numbers.decimals, minlength=depth + 1) > 0
    ratios = [[lots / 10**places for places in range(depth + 1)] for lots in lots_per_unit]
    used = [ratio for row in ratios for ratio, there in zip(row, present, strict=True) if there]
    denominator = math.lcm(*(ratio.denominator for ratio in used))
    weights = [
        [int(ratio * denominator) if there else 0 for ratio, there in zip(row, present, strict=True)] for row in ratios
    ]
    peak = int(np.abs(numbers.mantissa).max(initial=0))
    fits = peak * max(max(row) for row in weights) * rows_summed * 4 < 1 << 63 and denominator < 1 << 61
    table = np.array(weights, np.int64 if fits else object)
    mantissa: NDArray[Any] = numbers.mantissa if fits else numbers.mantissa.astype(object)
    if len(used) == 1:
        return Scaled(mantissa * max(max(row) for row in weights), denominator)
    return Scaled(mantissa * table[group, numbers.decimals], denominator)


def whole_lots(scaled: Scaled) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return whole lots [n] and whether each value was one; lots beyond the limit become the limit plus one."""
    if scaled.denominator == 1:
        lots, whole = scaled.numerator, np.ones(len(scaled.numerator), np.bool_)
    else:
        lots = scaled.numerator // scaled.denominator
        whole = np.asarray(lots * scaled.denominator == scaled.numerator, np.bool_)
    return _capped(lots), whole


def carry_remainders(
    scaled: Scaled, register: NDArray[Any], day: NDArray[np.int64], order_s: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return whole lots [n]: what is left of a value goes to the next one of the same register and local day.

    The first k values of a day together are rounded to the nearest lot, for each k, and a value gets the difference
    of two such sums. So each value is off by less than a lot, keeps its sign, and the sum of a day is kept to half
    a lot: exactly, if it is whole.
    """
    order = np.lexsort((order_s, day, register))
    numerator = scaled.numerator[order]
    if len(numerator) == 0:
        return np.zeros(0, np.int64)
    first = np.concatenate(([True], (np.diff(register[order]) != 0) | (np.diff(day[order]) != 0)))
    starts = np.flatnonzero(first)
    total = np.cumsum(numerator)
    before = (total - numerator)[starts]
    within = total - np.repeat(before, np.diff(np.append(starts, len(order))))
    rounded = (2 * within + scaled.denominator) // (2 * scaled.denominator)
    previous = np.concatenate((rounded[:1] * 0, rounded[:-1]))
    previous[first] = 0
    lots = np.empty_like(rounded)
    lots[order] = rounded - previous
    return _capped(lots)


def _capped(lots: NDArray[Any]) -> NDArray[np.int64]:
    """Return int64 lots; what lies beyond the limit becomes the limit plus one, to be refused later."""
    limit = QUANTITY_MAX + 1
    if lots.dtype == object:
        lots = np.array([max(-limit, min(limit, int(value))) for value in lots], np.int64)
    whole = np.asarray(lots, np.int64)
    if whole.size and (whole.min() < -limit or whole.max() > limit):
        whole = np.clip(whole, -limit, limit)
    return whole


_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity|∞|1\.#\w+|#\w+[!?/]*\w*)", re.IGNORECASE)


def refusal(text: str, mark: str) -> tuple[str, str]:
    """Return finding code and message for a cell that is not a number with the decimal mark `mark`."""
    if len(text) > 2 * CELL_MAX:
        return "value-not-number", "this is not a number"
    if not text:
        return "value-empty", "the cell is empty; a missing value must not be made up, ask for it"
    if _NOT_FINITE.fullmatch(text):
        return "value-not-finite", "the value is not a finite number; ask for the reading"
    body = text.lstrip("+-")
    if re.fullmatch(r"[0-9.,'\u2019\u00a0\u202f ]+", body) and re.search("[0-9]", body):
        marks = set(re.findall(r"[^0-9]", body))
        if marks - {mark} or body.count(mark or ".") > 1:
            return "value-separators", "the number holds a mark that is not the decimal mark; write it without"
    if re.fullmatch(r"[0-9]*[.,]?[0-9]*", body) and re.search("[0-9]", body):
        return "value-too-large", "the number has more digits than can be kept"
    return "value-not-number", "this is not a number"
