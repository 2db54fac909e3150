"""Numbers: every cell against exact fractions, rounding against its promises."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.units import QUANTITY_MAX
from wattle.intake.values import Numbers, carry_remainders, choose_mark, read_numbers, scale, whole_lots

PLAIN = re.compile(r"[+-]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)", re.ASCII)


def read(texts: list[str]) -> Numbers:
    blob = ";".join(texts).encode() + b"\n"
    ends = np.cumsum([len(text.encode()) + 1 for text in texts]) - 1
    starts = np.concatenate(([0], ends[:-1] + 1))
    return read_numbers(np.frombuffer(blob, np.uint8), starts.astype(np.int32), ends.astype(np.int32))


def exact(numbers: Numbers, cell: int) -> Fraction:
    return Fraction(int(numbers.mantissa[cell]), 10 ** int(numbers.decimals[cell]))


decimals = st.from_regex(r"[+-]?[0-9]{0,24}[.,]?[0-9]{0,14}", fullmatch=True)
junk = st.text(st.characters(codec="utf-8", exclude_characters=";\n"), max_size=45)


@given(st.lists(decimals | junk, min_size=1, max_size=30))
def test_all_cells_against_fractions(texts: list[str]) -> None:
    numbers = read(texts)
    for cell, text in enumerate(texts):
        digits = re.sub(r"[^0-9]", "", text).lstrip("0")
        plain = PLAIN.fullmatch(text) is not None and len(text) <= 40 and len(digits) <= 18
        if numbers.ok[cell] or plain:
            assert PLAIN.fullmatch(text), text
            assert numbers.ok[cell] or not plain, text
            assert exact(numbers, cell) == Fraction(re.sub(r"[.,]$", "", text.replace(",", ".")) or "0"), text
            found = re.search("[.,]", text)
            assert numbers.mark[cell] == (ord(found[0]) if found else 0)


@pytest.mark.parametrize(
    "text", ["", "-", "+", ".", "1.2.3", "1,2.3", "--1", "1-", "1e3", "0x1", "1_0", " 1", "½", "−1"]
)
def test_not_a_number(text: str) -> None:
    assert not read([text]).ok[0]


@pytest.mark.parametrize(("text", "grouped"), [
    ("1.234", True), ("12,345", True), ("123.456", True), ("-1.234", True), ("0.234", False), ("01.234", False),
    ("1234.567", False), ("1.23", False), ("1.2345", False), (".234", False), ("1234", False),
])  # fmt: skip
def test_what_could_be_thousands(text: str, grouped: bool) -> None:
    assert bool(read([text]).grouped[0]) is grouped


@pytest.mark.parametrize(("texts", "separator", "mark"), [
    (["1", "2"], ";", ""),
    (["1.5", "2"], ";", "."),
    (["1,5", "2"], ";", ","),
    (["1,5", "2.5"], ";", None),
    (["1.250", "2.500"], ";", None),
    (["1,250", "2,500"], ";", None),
    (["1.250", "2.500"], ",", "."),  # cells parted by commas: the point cannot part thousands as well
    (["1,250", "2,500"], ",", None),  # quoted
    (["1.250", "0.500"], ";", "."),
    (["1.250", "x.y"], ";", None),
])  # fmt: skip
def test_mark_is_chosen_only_if_one_is_left(texts: list[str], separator: str, mark: str | None) -> None:
    assert choose_mark(read(texts), None, separator).mark == mark


values = st.tuples(st.integers(-(10**17), 10**17), st.integers(0, 20))
ratios = st.fractions(min_value=Fraction(1, 1000), max_value=10**6, max_denominator=3600)


def numbers_of(cells: list[tuple[int, int]]) -> Numbers:
    mantissa, places = (np.array(column) for column in zip(*cells, strict=True))
    zero = np.zeros(len(cells), np.uint8)
    return Numbers(mantissa.astype(np.int64), places.astype(np.int16), zero, zero == 0, zero == 1)


@given(st.lists(values, min_size=1, max_size=20), st.lists(ratios, min_size=1, max_size=3), st.data())
def test_lots_against_fractions(cells: list[tuple[int, int]], units: list[Fraction], data: st.DataObject) -> None:
    """Also where the numbers do not fit into 64 bits on the way."""
    group = data.draw(st.lists(st.integers(0, len(units) - 1), min_size=len(cells), max_size=len(cells)))
    lots, whole = whole_lots(scale(numbers_of(cells), np.array(group, np.int32), units))
    for cell, (mantissa, places) in enumerate(cells):
        truth = Fraction(mantissa, 10**places) * units[group[cell]]
        assert bool(whole[cell]) is (truth.denominator == 1)
        floor = truth.numerator // truth.denominator
        assert lots[cell] == max(-QUANTITY_MAX - 1, min(QUANTITY_MAX + 1, floor))


@given(st.data())
def test_carried_remainders(data: st.DataObject) -> None:
    """Each value is off by less than a lot and keeps its sign; each day and register is off by half a lot at most."""
    count = data.draw(st.integers(1, 40))
    many = {"min_size": count, "max_size": count}
    mantissa = data.draw(st.lists(st.integers(-(10**6), 10**6), **many))
    register = np.array(data.draw(st.lists(st.integers(0, 2), **many)), np.int32)
    day = np.array(data.draw(st.lists(st.integers(0, 2), **many)), np.int64)
    time = np.array(data.draw(st.permutations(range(count))), np.int64)
    ratio = data.draw(ratios)
    scaled = scale(numbers_of([(m, 3) for m in mantissa]), np.zeros(count, np.int32), [ratio], count)
    lots = carry_remainders(scaled, register, day, time)
    truth = [Fraction(m, 1000) * ratio for m in mantissa]
    for cell in range(count):
        assert abs(int(lots[cell]) - truth[cell]) < 1
        assert int(lots[cell]) * truth[cell] >= 0
    for key in set(zip(register.tolist(), day.tolist(), strict=True)):
        cells = [k for k in range(count) if (register[k], day[k]) == key]
        assert abs(int(lots[cells].sum()) - sum(truth[k] for k in cells)) <= Fraction(1, 2)


def test_carried_remainders_by_hand() -> None:
    """Four times 0.25 lots: the second sum, 0.5, is rounded up, the others follow; the day keeps its one lot."""
    scaled = scale(numbers_of([(25, 2)] * 4), np.zeros(4, np.int32), [Fraction(1)], 4)
    same = np.zeros(4, np.int32)
    assert carry_remainders(scaled, same, same.astype(np.int64), np.arange(4)).tolist() == [0, 1, 0, 0]
    two_days = np.array([0, 0, 1, 1])
    assert carry_remainders(scaled, same, two_days, np.arange(4)).tolist() == [0, 1, 0, 1]
    assert carry_remainders(scaled, same, same.astype(np.int64), np.array([3, 2, 1, 0])).tolist() == [0, 0, 1, 0]
    two_meters = np.array([0, 1, 0, 1], np.int32)
    assert carry_remainders(scaled, two_meters, same.astype(np.int64), np.arange(4)).tolist() == [0, 0, 1, 1]
