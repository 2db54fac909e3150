"""Grouped kernels: orders of many intervals and zones in one pass, and exact sharing of whole lots.

A group is one zone in one interval. All kernels get the rows of a group side by side, ordered by id; `starts[g]` to
`starts[g + 1]` are the rows of group g. Integers throughout.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.tables import Orders


def grouped(orders: Orders) -> tuple[Orders, I64]:
    """Return the orders sorted by interval, zone and id, and the start of each group (one more for the end)."""
    state = ordered(orders.interval, orders.zone, orders.id)
    if not state:
        orders = orders.take(np.lexsort((orders.id, orders.zone, orders.interval)))
    return orders, starts_of(orders.interval, orders.zone)


def starts_of(interval: NDArray[np.int32], zone: NDArray[np.int32]) -> I64:
    """Return the first row of each run of equal (interval, zone), and the number of rows at the end."""
    if interval.size == 0:
        return np.zeros(1, np.int64)
    change = (interval[1:] != interval[:-1]) | (zone[1:] != zone[:-1])
    return np.concatenate(([0], np.flatnonzero(change) + 1, [interval.size])).astype(np.int64)


@kernel("r4 r4 r8")
def ordered(interval: Any, zone: Any, order_id: Any) -> Any:
    """Tell whether the rows already stand in order of interval, zone and id."""
    for row in range(1, interval.size):
        if interval[row] < interval[row - 1]:
            return False
        if interval[row] == interval[row - 1]:
            if zone[row] < zone[row - 1]:
                return False
            if zone[row] == zone[row - 1] and order_id[row] <= order_id[row - 1]:
                return False
    return True


@kernel("i i i")
def part_of(total: Any, weight: Any, weights: Any) -> Any:
    """Return floor(total * weight / weights) without overflow, for factors up to 2**48 and `weights` up to 2**60.

    The quotient of floats is off by at most one; the remainder, taken modulo 2**64, tells which way.
    """
    quotient = np.int64(np.float64(total) * np.float64(weight) / np.float64(weights))
    rest = total * weight - quotient * weights
    while rest < 0:
        quotient -= 1
        rest += weights
    while rest >= weights:
        quotient += 1
        rest -= weights
    return quotient


@kernel("w8 w8 i i")
def hand_out(shares: Any, remainders: Any, whole: Any, missing: Any) -> Any:
    """Add one lot to each of the `missing` rows with the largest remainders (below `whole`); earlier rows win ties.

    Negative remainders take no part. Remainders are counted in 512 buckets; only the bucket in which the border
    lies is looked at more closely, so no sort is needed.
    """
    if missing <= 0:
        return
    counts = np.zeros(512, np.int64)
    scale = 511.0 / whole
    for row in range(remainders.size):
        if remainders[row] >= 0:
            counts[int(remainders[row] * scale)] += 1
    bucket, left = 511, missing
    while bucket > 0 and counts[bucket] < left:
        left -= counts[bucket]
        bucket -= 1
    near = np.empty(counts[bucket], np.int64)
    found = 0
    for row in range(remainders.size):
        if remainders[row] >= 0:
            place = int(remainders[row] * scale)
            if place > bucket:
                shares[row] += 1
            elif place == bucket:
                near[found] = row
                found += 1
    low, high = remainders[near[0]], remainders[near[0]]
    for index in range(found):
        low = min(low, remainders[near[index]])
        high = max(high, remainders[near[index]])
    while low < high:  # the largest threshold that at least `left` of the near rows reach
        middle = low + (high - low + 1) // 2
        reached = 0
        for index in range(found):
            if remainders[near[index]] >= middle:
                reached += 1
        if reached >= left:
            low = middle
        else:
            high = middle - 1
    for index in range(found):
        if remainders[near[index]] > low:
            shares[near[index]] += 1
            left -= 1
    for index in range(found):
        if left > 0 and remainders[near[index]] == low:
            shares[near[index]] += 1
            left -= 1


@kernel("i r8 w8 w8")
def apportion_rows(total: Any, weights: Any, shares: Any, remainders: Any) -> Any:
    """Share `total` lots by weight with largest remainders; shares sum to `total` exactly."""
    count = weights.size
    whole = np.int64(0)
    for row in range(count):
        whole += weights[row]
    given = np.int64(0)
    for row in range(count):
        shares[row] = 0
        remainders[row] = -1
        if whole > 0 and weights[row] > 0:
            share = part_of(total, weights[row], whole)
            shares[row] = share
            remainders[row] = total * weights[row] - share * whole
            given += share
    if whole > 0:
        hand_out(shares, remainders, whole, total - given)


def apportion(total: int, weights: NDArray[np.int64]) -> I64:
    """Return whole lots in proportion to the weights that sum to `total`; the largest remainders are rounded up.

    >>> apportion(10, np.array([1, 1, 1])).tolist()
    [4, 3, 3]
    """
    weights = np.ascontiguousarray(weights, np.int64)
    shares = np.zeros(weights.size, np.int64)
    apportion_rows(total, weights, shares, np.zeros(weights.size, np.int64))
    return shares


@kernel("r8 r1 r8 r8 w8 w8 w8")
def pair_groups(starts: Any, side: Any, fill: Any, merit: Any, buy_row: Any, sell_row: Any, lots: Any) -> Any:
    """Pair bought with sold lots inside each group, in the order of `merit` (rows of a group, bids and offers mixed).

    North-west corner rule: the first buyer takes from the first seller until one of them is done. Bought and sold
    lots of a group must be equal. Returns the number of pairs, at most filled rows - 1 for each group.
    """
    pairs = 0
    for group in range(starts.size - 1):
        stop = starts[group + 1]
        buy, sell = starts[group], starts[group]
        want, have = np.int64(0), np.int64(0)
        while True:
            while want == 0 and buy < stop:
                if side[merit[buy]] > 0:
                    want = fill[merit[buy]]
                buy += 1
            while have == 0 and sell < stop:
                if side[merit[sell]] < 0:
                    have = fill[merit[sell]]
                sell += 1
            if want == 0 or have == 0:
                break
            moved = min(want, have)
            buy_row[pairs] = merit[buy - 1]
            sell_row[pairs] = merit[sell - 1]
            lots[pairs] = moved
            pairs += 1
            want -= moved
            have -= moved
    return pairs


@kernel("r82 w4 w4 w8")
def _list_cells(dense: Any, time: Any, who: Any, lots: Any) -> Any:
    found = 0
    for row in range(dense.shape[0]):
        for column in range(dense.shape[1]):
            if dense[row, column] != 0:
                time[found] = row
                who[found] = column
                lots[found] = dense[row, column]
                found += 1
    return found


def cells(dense: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32], I64]:
    """Return row, column and value of all cells [T, N] that are not 0, row by row."""
    room = int(np.count_nonzero(dense))
    time, who, lots = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int64)
    _list_cells(np.ascontiguousarray(dense, np.int64), time, who, lots)
    return time, who, lots
