"""Rounding to cents by largest remainder: nobody is off by a cent, and the sum closes."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError
from wattle.ledger.statement import rounded

UNITS = st.sampled_from((Fraction(1, 10**7), Fraction(1, 3000), Fraction(1, 100), Fraction(1, 128), Fraction(7, 9)))
AMOUNTS = st.one_of(
    st.lists(st.integers(-(10**large), 10**large), min_size=1, max_size=12)
    for large in (12, 16)  # products of the latter need more than 64 bits
)


@given(AMOUNTS, UNITS)
def test_balanced_accounts_stay_balanced_and_close(amounts, unit):
    amounts.append(-sum(amounts))
    cents = rounded(np.array(amounts, np.int64), unit)
    assert cents.sum() == 0
    for amount, cent in zip(amounts, cents.tolist(), strict=True):
        assert abs(cent - amount * unit * 100) < 1


@given(AMOUNTS, UNITS, st.booleans())
def test_lines_of_a_bill_sum_to_its_printed_total(amounts, unit, up):
    exact = sum(amounts) * unit * 100
    total = -((-exact.numerator) // exact.denominator) if up else exact.numerator // exact.denominator
    lines = rounded(np.array(amounts, np.int64), unit, total)
    assert lines.sum() == total
    for amount, line in zip(amounts, lines.tolist(), strict=True):
        assert abs(line - amount * unit * 100) <= 1


@given(AMOUNTS, UNITS)
def test_rounding_keeps_the_order_of_fractions(amounts, unit):
    """Of two amounts in the same cent the one with the larger remainder is rounded up first."""
    exact = [amount * unit * 100 for amount in amounts]
    total = sum(value.numerator // value.denominator for value in exact) + len(amounts) // 2
    assume(all(value.denominator > 1 for value in exact))
    lines = rounded(np.array(amounts, np.int64), unit, total).tolist()
    raised = [(value - value.numerator // value.denominator, -row) for row, value in enumerate(exact)]
    up = {row for row, value in enumerate(exact) if lines[row] > value}
    assert up == {-row for _, row in sorted(raised, reverse=True)[: len(amounts) // 2]}


def test_ties_go_to_the_lowest_number():
    thirds = np.array([1, 1, 1, -3], np.int64)
    assert rounded(thirds, Fraction(1, 300)).tolist() == [1, 0, 0, -1]
    assert rounded(np.zeros(0, np.int64), Fraction(1, 300)).tolist() == []


def test_a_total_that_cannot_be_reached_is_refused():
    with pytest.raises(InvariantError, match="whole number of cents"):
        rounded(np.array([1], np.int64), Fraction(1, 300))
    for total in (-1, 5):
        with pytest.raises(InvariantError, match="cannot be rounded"):
            rounded(np.array([1, 1], np.int64), Fraction(1, 300), total)
