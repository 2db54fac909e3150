"""Real amounts become whole lots that sum to a given total, and no order gets more than it has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.segments import hand_out

FRACTION = 1 << 30
"""Into how many parts a lot is cut when the remainders of two orders are compared."""


def whole_lots(starts: I64, amount: NDArray[np.float64], most: I64, total: I64) -> I64:
    """Return for each row its amount as whole lots; the rows of group g sum to `total[g]`, or to all they may have.

    `amount` and `most` are [N], `total` is [G]; a row never gets more than `most`. Amounts are rounded down, and the
    lots still missing go to the largest remainders, earlier rows first. If the amounts do not sum to about `total`,
    what is missing fills up the first rows, and what is too much is taken from the last.

    >>> whole_lots(np.array([0, 3]), np.array([1.5, 2.25, 0.25]), np.array([9, 9, 9]), np.array([4])).tolist()
    [2, 2, 0]
    """
    lots = np.zeros(amount.size, np.int64)
    _whole_lots(starts, np.ascontiguousarray(amount, np.float64), most, total, np.zeros(amount.size, np.int64), lots)
    return lots


@kernel("r8 rf r8 r8 w8 w8")
def _whole_lots(starts: Any, amount: Any, most: Any, total: Any, remainders: Any, lots: Any) -> Any:
    for group in range(starts.size - 1):
        first, stop = starts[group], starts[group + 1]
        given, open_rows = np.int64(0), np.int64(0)
        for row in range(first, stop):
            whole = np.floor(max(0.0, amount[row]))
            lots[row] = most[row] if whole >= most[row] else np.int64(whole)
            remainders[row] = -1
            if lots[row] < most[row] and amount[row] > whole:
                remainders[row] = np.int64((amount[row] - whole) * FRACTION)
                open_rows += 1
            given += lots[row]
        missing = min(total[group] - given, open_rows)
        if missing > 0:
            hand_out(lots[first:stop], remainders[first:stop], np.int64(FRACTION), missing)
            given += missing
        for row in range(first, stop):
            more = min(total[group] - given, most[row] - lots[row])
            if more > 0:
                lots[row] += more
                given += more
        for row in range(stop - 1, first - 1, -1):
            less = min(given - total[group], lots[row])
            if less > 0:
                lots[row] -= less
                given -= less
