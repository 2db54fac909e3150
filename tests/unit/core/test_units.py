"""Decimals to lots and ticks and back: exact or refused."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InputError
from wattle.core.units import Units, decimal_text, exact

UNITS = Units.parse("1", "0.0001")
whole = st.integers(-(10**15), 10**15)


@given(whole)
def test_lots_and_ticks_come_back(number):
    assert UNITS.lots_from_kwh(decimal_text(UNITS.kwh(number))) == number
    assert UNITS.ticks_from_price(decimal_text(UNITS.price(number))) == number


@given(whole, st.integers(0, 8))
def test_decimal_text_is_what_decimal_writes(number, digits):
    value = Fraction(number, 10**digits)
    assert Fraction(decimal_text(value)) == value
    assert decimal_text(value, digits) == f"{Decimal(number).scaleb(-digits):.{digits}f}"


@given(st.fractions(-1000, 1000), st.integers(0, 4))
def test_rounded_text_is_off_by_half_a_digit_at_most(value, digits):
    text = decimal_text(value, digits)
    assert abs(Fraction(text) - value) <= Fraction(1, 2 * 10**digits)
    assert not text.startswith("-0") or Fraction(text) != 0


def test_a_third_has_no_finite_form():
    with pytest.raises(InputError, match="no finite decimal form"):
        decimal_text(Fraction(1, 3))


@pytest.mark.parametrize("text", ["", "nan", "inf", "-Infinity", "12,5", "five", "0x10", "1/3", True, None, "1e999999"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(InputError):
        exact(text)


@pytest.mark.parametrize(
    ("text", "value"), [("0.25", Fraction(1, 4)), (" -3 ", -3), ("1e-3", Fraction(1, 1000)), (7, 7)]
)
def test_numbers_are_exact(text, value):
    assert exact(text) == value


def test_between_two_lots_or_ticks_is_refused_never_rounded():
    with pytest.raises(InputError, match=r"0.0005 kWh is not a whole number of lots of 1 Wh"):
        UNITS.lots_from_kwh("0.0005")
    with pytest.raises(InputError, match=r"not a whole number of ticks of 0.0001 EUR/kWh"):
        UNITS.ticks_from_price("0.28505")


@pytest.mark.parametrize(("lot", "tick"), [("0", "1"), ("-1", "1"), ("1", "0"), ("1", "-0.1")])
def test_sizes_must_be_above_zero(lot, tick):
    with pytest.raises(InputError, match="above 0"):
        Units.parse(lot, tick)


def test_cash_is_lots_times_ticks():
    assert UNITS.cash == Fraction(1, 10**7)
    assert UNITS.money(250 * 2850) == UNITS.kwh(250) * UNITS.price(2850) == Fraction("0.07125")
    minute = Units.parse("0.001", "0.0001", "CHF")
    assert (minute.lots_from_kwh("0.00167"), minute.currency) == (1670, "CHF")
    lots, ticks = np.array([0, 250]), np.array([1, 2850])
    assert UNITS.kwh_float(lots).tolist() == [0, 0.25]
    assert UNITS.price_float(ticks).tolist() == pytest.approx([0.0001, 0.285])
    assert UNITS.money_float(lots * ticks).tolist() == pytest.approx([0, 0.07125])
