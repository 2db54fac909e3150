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
    price = unit * 100
    largest = max(int(amounts.max(initial=0)), -int(amounts.min(initial=0)))
    fits = largest * price.numerator * max(amounts.size, 1) < 1 << 62
    shares = amounts.astype(np.int64 if fits else object) * price.numerator  # in parts of a cent
    floors, rest = shares // price.denominator, shares % price.denominator
    if total is None:
        total, part = divmod(int(shares.sum()), price.denominator)
        ensure(part == 0, "the amounts do not sum to a whole number of cents")
    missing = total - int(floors.sum())
    ensure(0 <= missing <= amounts.size, "the amounts cannot be rounded to this total")
    floors[np.argsort(-rest, kind="stable")[:missing]] += 1
    return floors.astype(np.int64)
