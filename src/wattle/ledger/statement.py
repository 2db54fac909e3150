"""Bills: exact cash rounded to cents so that all accounts together still sum to zero.

Nothing is rounded before this point. Each total is floored to a cent and the missing cents go to the accounts with
the largest remainders (lowest number first), so no account is off by a cent or more and the sum stays exact. The lines
of a bill are rounded the same way against their own total.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import ensure


def rounded(amounts: NDArray[np.int64], unit: Fraction, total: int | None = None) -> NDArray[np.int64]:
    """Round amounts of cash to whole cents by largest remainder.

    Parameters
    ----------
    amounts : cash.
    unit : currency per unit of cash.
    total : cents that the result must sum to; default the exact sum, which must then be a whole number of cents.
    """
    cents = [Fraction(int(amount)) * unit * 100 for amount in amounts]
    exact = sum(cents, Fraction(0))
    if total is None:
        ensure(exact.denominator == 1, "the amounts do not sum to a whole number of cents")
        total = int(exact)
    floors = [cent.numerator // cent.denominator for cent in cents]
    missing = total - sum(floors)
    ensure(0 <= missing <= len(cents), "the amounts cannot be rounded to this total")
    order = sorted(range(len(cents)), key=lambda row: (floors[row] - cents[row], row))
    for row in order[:missing]:
        floors[row] += 1
    return np.array(floors, np.int64)
