"""Running sums of postings: by period and code, and the money of each interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError
from wattle.ledger.accounts import BILL_LINE_OF, BOOKS, CODES, LOCAL, MONEY
from wattle.ledger.postings import Postings, balances, tally

ACCOUNTS, FIRST, COUNT = 11, 5, 6
rows = st.lists(
    st.tuples(
        st.integers(FIRST, FIRST + COUNT - 1),
        st.integers(0, ACCOUNTS - 1),
        st.integers(0, ACCOUNTS - 1),
        st.integers(0, 10**12),
        st.integers(0, BOOKS - 1),
        st.integers(1, CODES - 1),
    ),
    max_size=20,
)


def postings_of(table):
    columns = zip(*table, strict=True) if table else [()] * 6
    return Postings(*(np.array(column, np.int64) for column in columns))


@given(rows, rows, st.lists(st.integers(0, 2), min_size=COUNT, max_size=COUNT))
def test_sums_by_period_and_money_by_interval(one, other, periods):
    period, lines = np.array(periods, np.int64), np.zeros((3, BOOKS, CODES, ACCOUNTS), np.int64)
    cost = [tally(postings_of(part), FIRST, period, lines, ACCOUNTS) for part in (one, other)]
    both = postings_of(one + other)
    for number in range(3):
        mine = both.take(period[both.interval - FIRST] == number)
        assert np.array_equal(lines[number].sum(axis=1), balances(mine, ACCOUNTS))
        for code in range(CODES):
            assert np.array_equal(lines[number][:, code], balances(mine.take(mine.code == code), ACCOUNTS))
    for time in range(COUNT):
        mine = both.take(both.interval == FIRST + time)
        assert np.array_equal((cost[0] + cost[1])[time], balances(mine, ACCOUNTS)[MONEY])


@given(rows)
def test_each_book_sums_to_zero(table):
    found = balances(postings_of(table), ACCOUNTS)
    assert found.sum(axis=1).tolist() == [0, 0]


def test_sums_of_a_wrong_shape_or_in_pieces_are_refused():
    period, postings = np.zeros(COUNT, np.int64), postings_of([(FIRST, 8, 9, 5, MONEY, LOCAL)])
    with pytest.raises(InvariantError, match="wrong shape"):
        tally(postings, FIRST, period, np.zeros((1, BOOKS, CODES, ACCOUNTS + 1), np.int64), ACCOUNTS)
    with pytest.raises(InvariantError, match="one block of memory"):
        tally(postings, FIRST, period, np.zeros((1, BOOKS, CODES, 2 * ACCOUNTS), np.int64)[..., ::2], ACCOUNTS)
    with pytest.raises(InvariantError, match="one block of memory"):
        tally(postings, FIRST, period, np.zeros((ACCOUNTS, CODES, BOOKS, 1), np.int64).T, ACCOUNTS)


def test_each_code_has_a_line_on_the_bill():
    assert set(BILL_LINE_OF) == set(range(1, CODES))
