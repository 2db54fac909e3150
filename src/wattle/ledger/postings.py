"""Double entry: what one account owes another has, so each book sums to zero at any moment.

A posting moves `amount` (lots in the energy book, cash in the money book) from the credited to the debited account.
In the energy book the debited account received energy; in the money book the debited account must pay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import ensure
from wattle.core.columns import I8, I32, I64, Columns
from wattle.core.compiled import kernel
from wattle.ledger.accounts import BOOKS, CODES


@dataclass(frozen=True, eq=False)
class Postings(Columns):
    """Postings are never changed; a correction is a new posting."""

    interval: I32
    debit: I32
    credit: I32
    amount: I64
    book: I8
    code: I8


@kernel("r4 r4 r4 r8 r1 r1 i r8 w8 w82")
def _tally(
    interval: Any,
    debit: Any,
    credit: Any,
    amount: Any,
    book: Any,
    code: Any,
    first: Any,
    period: Any,
    lines: Any,
    cost: Any,
) -> Any:
    """Add postings to `lines` (flat: period, book, code, account) and to the money of each interval and account."""
    accounts = cost.shape[1]
    for row in range(interval.size):
        time = interval[row] - first
        place = ((period[time] * 2 + book[row]) * 9 + code[row]) * accounts
        lines[place + debit[row]] += amount[row]
        lines[place + credit[row]] -= amount[row]
        if book[row] == 1:
            cost[time, debit[row]] += amount[row]
            cost[time, credit[row]] -= amount[row]


def tally(
    postings: Postings, first: int, period: NDArray[np.int64], lines: NDArray[np.int64], accounts: int
) -> NDArray[np.int64]:
    """Add postings to running sums and return the money of each interval and account.

    Parameters
    ----------
    first : number of the first interval; `period[t]` is the statement period of interval `first + t`.
    lines : [periods, BOOKS, CODES, accounts], changed in place.

    Returns cash [T, accounts]; positive must be paid.
    """
    ensure(lines.shape[1:] == (BOOKS, CODES, accounts), "the sums have the wrong shape")
    cost = np.zeros((period.size, accounts), np.int64)
    ensure(lines.flags.c_contiguous, "the sums must be one block of memory")
    flat = lines.reshape(-1)
    _tally(
        postings.interval, postings.debit, postings.credit, postings.amount, postings.book, postings.code,
        first, period, flat, cost,
    )  # fmt: skip
    return cost


def balances(postings: Postings, accounts: int) -> NDArray[np.int64]:
    """Return the balance of each account in each book [BOOKS, accounts]; each row sums to zero."""
    found = np.zeros((BOOKS, accounts), np.int64)
    np.add.at(found, (postings.book, postings.debit), postings.amount)
    np.subtract.at(found, (postings.book, postings.credit), postings.amount)
    return found
