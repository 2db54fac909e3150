"""Counting clear: fills and price bounds of many call auctions in one pass over the orders.

Limits are integers, so a small price range is counted, not sorted; a wide range is sorted by radix. Cost per order
is the same for ten orders and for ten million.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.columns import I64
from wattle.core.compiled import kernel


@kernel("r8 w8 w8 i")
def rank_rows(keys: Any, rank: Any, spare: Any, count: Any) -> Any:
    """Write into `rank` the places 0 ... count - 1 in order of their keys (>= 0); equal keys keep their order."""
    for place in range(count):
        rank[place] = place
    if count <= 48:
        for place in range(1, count):
            row, slot = rank[place], place - 1
            while slot >= 0 and keys[rank[slot]] > keys[row]:
                rank[slot + 1] = rank[slot]
                slot -= 1
            rank[slot + 1] = row
        return
    high = np.int64(0)
    for place in range(count):
        high = max(high, keys[place])
    shift = 0
    while shift < 63 and (high >> shift) > 0:
        heads = np.zeros(2049, np.int64)
        for place in range(count):
            heads[((keys[rank[place]] >> shift) & 2047) + 1] += 1
        for digit in range(2048):
            heads[digit + 1] += heads[digit]
        for place in range(count):
            digit = (keys[rank[place]] >> shift) & 2047
            spare[heads[digit]] = rank[place]
            heads[digit] += 1
        for place in range(count):
            rank[place] = spare[place]
        shift += 11


@kernel("i i r1 r8 r8 w8 w8 w8")
def _clear_counted(
    first: Any, stop: Any, side: Any, quantity: Any, limit: Any, fill: Any, levels: Any, bounds: Any
) -> Any:
    """Clear one group by counting lots at each price level; bounds get volume, low, high, last bid, last ask.

    They bring the lowest limit in the second place and the highest in the third.
    """
    low, width = bounds[1], bounds[2] - bounds[1] + 1
    demand, supply = levels[:width], levels[width : 2 * width]
    levels[: 2 * width] = 0
    for row in range(first, stop):
        levels[(limit[row] - low) + (0 if side[row] > 0 else width)] += quantity[row]
    _cross_levels(demand, supply, low, bounds)
    if bounds[0] == 0:
        return
    last_bid, last_ask = bounds[3] - low, bounds[4] - low
    bid_room, ask_room = bounds[0], bounds[0]
    for level in range(last_bid + 1, width):
        bid_room -= demand[level]
    for level in range(last_ask):
        ask_room -= supply[level]
    for row in range(first, stop):
        # How far the limit is better than that of the last order of its side; the sides are mixed, so no branches.
        level = limit[row] - low
        better = level - last_bid if side[row] > 0 else last_ask - level
        fill[row] = quantity[row] if better > 0 else 0
        if better == 0:
            if side[row] > 0:
                fill[row] = min(quantity[row], bid_room)
                bid_room -= fill[row]
            else:
                fill[row] = min(quantity[row], ask_room)
                ask_room -= fill[row]


@kernel("w8 w8 i w8")
def _cross_levels(demand: Any, supply: Any, low: Any, bounds: Any) -> Any:
    """Walk bids down and offers up until they cross; write the bounds, see `clear_groups`."""
    width = demand.size
    bid, ask = width - 1, np.int64(0)
    bid_left, ask_left, volume = demand[bid], supply[ask], np.int64(0)
    last_bid, last_ask = np.int64(-1), np.int64(-1)
    while True:
        while bid_left == 0 and bid > 0:
            bid -= 1
            bid_left = demand[bid]
        while ask_left == 0 and ask < width - 1:
            ask += 1
            ask_left = supply[ask]
        if bid < ask or bid_left == 0 or ask_left == 0:
            break
        moved = min(bid_left, ask_left)
        volume += moved
        bid_left -= moved
        ask_left -= moved
        last_bid, last_ask = bid, ask
    bounds[0] = volume
    # The best bid and offer that are left over bound the price from below and above.
    lower, upper = last_ask, last_bid
    if bid_left > 0:
        lower = max(lower, bid)
    if ask_left > 0:
        upper = min(upper, ask)
    bounds[1], bounds[2] = low + lower, low + upper
    bounds[3], bounds[4] = low + last_bid, low + last_ask


@kernel("i i i r1 r8 w8 w8")
def _next_offer(ask: Any, first: Any, count: Any, side: Any, quantity: Any, fill: Any, rank: Any) -> Any:
    """Return the place in the ranking of the next offer that has lots left, or `count`."""
    while ask < count and (side[first + rank[ask]] > 0 or fill[first + rank[ask]] == quantity[first + rank[ask]]):
        ask += 1
    return ask


@kernel("i i r1 r8 r8 w8 w8 w8 w8 w8")
def _clear_sorted(
    first: Any, stop: Any, side: Any, quantity: Any, limit: Any, fill: Any,
    keys: Any, rank: Any, spare: Any, bounds: Any,
) -> Any:  # fmt: skip
    """Clear one group by sorting its limits; for few orders or a wide range of prices."""
    count = stop - first
    low = limit[first]
    for row in range(first, stop):
        low = min(low, limit[row])
    for place in range(count):
        keys[place] = limit[first + place] - low
    rank_rows(keys, rank, spare, count)
    # Offers stand in the right order; bids are read from the end, where equal limits stand last id first, so each
    # run of equal bids is served from its own beginning.
    ask, volume = np.int64(0), np.int64(0)
    last_bid, last_ask = np.int64(-1), np.int64(-1)
    run_stop = count
    best_left, full = np.int64(-1), False
    while run_stop > 0:
        run = run_stop - 1
        while run > 0 and keys[rank[run - 1]] == keys[rank[run_stop - 1]]:
            run -= 1
        level = keys[rank[run]]
        for place in range(run, run_stop):
            row = first + rank[place]
            if side[row] <= 0:
                continue
            while fill[row] < quantity[row]:
                ask = _next_offer(ask, first, count, side, quantity, fill, rank)
                if ask == count or keys[rank[ask]] > level:
                    full = True
                    break
                offer = first + rank[ask]
                moved = min(quantity[row] - fill[row], quantity[offer] - fill[offer])
                fill[row] += moved
                fill[offer] += moved
                volume += moved
                last_bid, last_ask = level, keys[rank[ask]]
            if full:
                best_left = level
                break
        if full:
            break
        run_stop = run
    bounds[0] = volume
    if volume == 0:
        bounds[1], bounds[2] = 0, 0
        return
    ask = _next_offer(ask, first, count, side, quantity, fill, rank)
    lower, upper = last_ask, last_bid
    if best_left >= 0:
        lower = max(lower, best_left)
    if ask < count:
        upper = min(upper, keys[rank[ask]])
    bounds[1], bounds[2] = low + lower, low + upper
    bounds[3], bounds[4] = low + last_bid, low + last_ask


@kernel("r8 r1 r8 r8 w8 w82")
def clear_groups(starts: Any, side: Any, quantity: Any, limit: Any, fill: Any, bounds: Any) -> Any:
    """Clear each group to the largest volume that limits allow; time priority at the margin.

    Writes the filled lots of each order and, for each group, volume, lowest and highest supporting price (ticks),
    and the limits of the last bid and offer that trade. Rows of a group must stand in order of id.
    """
    largest, widest = 1, 1
    for group in range(starts.size - 1):
        first, stop = starts[group], starts[group + 1]
        low, high = limit[first], limit[first]
        for row in range(first, stop):
            low = min(low, limit[row])
            high = max(high, limit[row])
        count, width = stop - first, high - low + 1
        # The choice and the range stand in the bounds until the group is cleared.
        bounds[group, 1], bounds[group, 2] = low, high
        if count > 48 and width <= max(8 * count, 4096) and width <= 1 << 18:
            bounds[group, 0] = 1
            widest = max(widest, width)
        else:
            bounds[group, 0] = 0
            largest = max(largest, count)
    levels = np.empty(2 * widest, np.int64)
    keys, rank, spare = np.empty(largest, np.int64), np.empty(largest, np.int64), np.empty(largest, np.int64)
    for group in range(starts.size - 1):
        first, stop = starts[group], starts[group + 1]
        if bounds[group, 0] == 1:
            _clear_counted(first, stop, side, quantity, limit, fill, levels, bounds[group])
        else:
            _clear_sorted(first, stop, side, quantity, limit, fill, keys, rank, spare, bounds[group])


@kernel("r8 i")
def any_taker(limit: Any, any_price: Any) -> Any:
    """Tell whether any limit is that of a price taker."""
    for row in range(limit.size):  # noqa: SIM110 (a compiled loop)
        if limit[row] == any_price or limit[row] == -any_price:
            return True
    return False


def clear_call(starts: I64, side: NDArray[np.int8], quantity: I64, limit: I64) -> tuple[I64, NDArray[np.int64]]:
    """Return the fill of each order and the bounds [G, 5] of each group; see `clear_groups`."""
    fill = np.zeros(side.size, np.int64)
    bounds = np.zeros((starts.size - 1, 5), np.int64)
    clear_groups(starts, side, quantity, limit, fill, bounds)
    return fill, bounds
