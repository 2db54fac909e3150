"""Search for the best price of a leader whose followers want less the better his price is for him: branch and bound.

Prices stand in the leader's own direction: p rises with what a lot brings him (a buyer's price has the other sign), and
his orders are costs c per lot, the lowest first. At price p he gives at most what his orders with c <= p hold, so for d
lots wanted he wins

    G(p, d) = sum over his orders with c <= p, cheapest first, up to d lots in all, of (p - c),

which rises in p and in d. What followers want, D(p), falls in p (they want no more at a worse price). So of all prices
strictly between two that were asked, p1 < p2, none brings more than the **bound** G(p2 - 1, D(p1)). The next price is

1. a *hint*: a limit that followers opened with, the most promising first;
2. while fewer than `grid` prices were asked, inside the widest gap that may still hold a better price;
3. inside the gaps next to the best price, until both are closed: the top is then known to the tick;
4. inside the gap with the largest bound, until no bound is above the best profit by more than a millionth of it.

The end of a gap at which even D(p1) lots would not beat the best profit is left out. A gap that starts at a hint, where
just those lots were wanted that the opening orders promised, is cut at its lower end (limits are likely to be all there
is to know: then one answer closes the gap), any other in the middle.

Land and Doig 1960, Econometrica 28(3) (branch and bound). All numbers of a group stand in a row: `count[g]` prices were
tried, `tried[g]` ascending, with `lots[g]` wanted and `profit[g]` in ticks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wattle.core.compiled import kernel

NO_GAP = -1
"""The number of the gap where no gap is left to look into; gap k lies below price number k."""

CLOSED = 1.0 + 1e-6
"""A gap is closed if its bound is at most so many times the best profit."""

EXACT = 1.0 + 1e-12
"""The same for rounding errors of floats only."""


@kernel("i f r8 r8 i i")
def worth(price: Any, wanted: Any, cost: Any, have: Any, first: Any, stop: Any) -> Any:
    """Return G(p, d): what the leader wins if `wanted` lots are wanted; his orders are rows `first` to `stop`."""
    left, won = wanted, 0.0
    for row in range(first, stop):
        if cost[row] > price or left <= 0.0:
            break
        taken = min(left, float(have[row]))
        won += taken * float(price - cost[row])
        left -= taken
    return won


@kernel("r8 r8 r8 r8 r8 r8 w82 w82 w8")
def open_hints(
    starts: Any, limit: Any, lots: Any, own: Any, cost: Any, have: Any, hint: Any, promised: Any, hints: Any
) -> Any:
    """List the followers' limits by what the leader would win there if the opening orders were all that is wanted.

    Rows of group g are `starts[g]` to `starts[g + 1]`, the highest limit first; his orders `own[g]` to `own[g + 1]`.
    """
    most = hint.shape[1]
    promise = np.zeros(most + 1)
    for group in range(hints.size):
        wanted, found = np.int64(0), 0
        for row in range(starts[group], starts[group + 1]):
            wanted += lots[row]
            if row + 1 < starts[group + 1] and limit[row + 1] == limit[row]:
                continue
            won = worth(limit[row], float(wanted), cost, have, own[group], own[group + 1])
            place = found
            while place > 0 and promise[place - 1] <= won:  # of equals the one nearest the leader's limit
                if place < most:
                    promise[place] = promise[place - 1]
                    hint[group, place] = hint[group, place - 1]
                    promised[group, place] = promised[group, place - 1]
                place -= 1
            if place < most:
                promise[place], hint[group, place], promised[group, place] = won, limit[row], wanted
                found = min(found + 1, most)
        hints[group] = found


@kernel("r8 r8 r8 r8 r8 w8 w82 w82 wf2")
def note(
    asked: Any, wanted: Any, own: Any, cost: Any, have: Any, count: Any, tried: Any, lots: Any, profit: Any
) -> Any:
    """Write what was wanted at the price that was asked in each group; a price that is asked again counts anew."""
    for group in range(count.size):
        place = 0
        while place < count[group] and tried[group, place] < asked[group]:
            place += 1
        if place == count[group] or tried[group, place] != asked[group]:
            for other in range(count[group], place, -1):
                tried[group, other] = tried[group, other - 1]
                lots[group, other] = lots[group, other - 1]
                profit[group, other] = profit[group, other - 1]
            count[group] += 1
        tried[group, place], lots[group, place] = asked[group], wanted[group]
        found = worth(asked[group], float(wanted[group]), cost, have, own[group], own[group + 1])
        profit[group, place] = found


@kernel("i i rf2")
def best_of(group: Any, count: Any, profit: Any) -> Any:
    """Return the place of the best price; of several the one nearest the leader's limit."""
    best = 0
    for place in range(1, count):
        if profit[group, place] > profit[group, best]:
            best = place
    return best


@kernel("i i f r8 r8 i i")
def spare_of(price: Any, wanted: Any, profit: Any, cost: Any, have: Any, first: Any, stop: Any) -> Any:
    """Return a tick on each lot that trades at this price, or 1e-6 of the profit if that is more."""
    traded = 0.0
    for row in range(first, stop):
        if cost[row] <= price:
            traded += float(have[row])
    return max(min(traded, float(wanted)), 1e-6 * profit)


@kernel("i i i r8 r8 r82 r82 r8 r8 r8")
def bound_of(
    group: Any, gap: Any, count: Any, low: Any, high: Any, tried: Any, lots: Any, own: Any, cost: Any, have: Any
) -> Any:
    """Return the most that a price in this gap can bring, -1 if there is no price in it."""
    start = tried[group, gap - 1] + 1 if gap > 0 else low[group]
    end = tried[group, gap] - 1 if gap < count else high[group]
    if start > end:
        return -1.0
    wanted = float(lots[group, gap - 1]) if gap > 0 else np.inf
    return worth(end, wanted, cost, have, own[group], own[group + 1])


@kernel("i i f r8 r8 r8 r82 r82 r8 r8 r8 r82 r82 r8")
def cut(
    group: Any, gap: Any, best: Any, low: Any, high: Any, count: Any, tried: Any, lots: Any,
    own: Any, cost: Any, have: Any, hint: Any, promised: Any, hints: Any,
) -> Any:  # fmt: skip
    """Return the price to ask in a gap whose bound is above the best profit."""
    start = tried[group, gap - 1] + 1 if gap > 0 else low[group]
    end = tried[group, gap] - 1 if gap < count[group] else high[group]
    wanted = float(lots[group, gap - 1]) if gap > 0 else np.inf
    last = end
    while start < last:  # the lowest price that could beat the best if no less were wanted than at the lower end
        middle = start + (last - start) // 2
        if worth(middle, wanted, cost, have, own[group], own[group + 1]) > best:
            last = middle
        else:
            start = middle + 1
    if gap == 0 and hints[group] > 0:
        return start
    for place in range(hints[group] if gap > 0 else 0):
        if hint[group, place] == tried[group, gap - 1] and promised[group, place] == lots[group, gap - 1]:
            return start
    return start + (end - start) // 2


@kernel("i i r8 r8 r8 r82 r82 rf2 r8 r8 r8 r82 r8")
def hinted(
    group: Any, count: Any, low: Any, high: Any, hints: Any, tried: Any, lots: Any, profit: Any,
    own: Any, cost: Any, have: Any, hint: Any, used: Any,
) -> Any:  # fmt: skip
    """Return the number of the next hint that may be better than all that was tried, or the number of hints."""
    best = profit[group, best_of(group, count, profit)]
    for number in range(used[group], hints[group]):
        gap = 0
        while gap < count and tried[group, gap] < hint[group, number]:
            gap += 1
        if gap < count and tried[group, gap] == hint[group, number]:
            continue
        before = float(lots[group, gap - 1]) if gap > 0 else np.inf
        if worth(hint[group, number], before, cost, have, own[group], own[group + 1]) > best:
            return number
    return hints[group]


@kernel("i i i r8 r8 r8 r82 r82 rf2 r8 r8 r8")
def gap_to_ask(
    group: Any, number: Any, grid: Any, low: Any, high: Any, count: Any, tried: Any, lots: Any, profit: Any,
    own: Any, cost: Any, have: Any,
) -> Any:  # fmt: skip
    """Return the gap to look into (2. to 4. above), or NO_GAP."""
    tries = count[group]
    best = best_of(group, tries, profit)
    most = profit[group, best]
    top, widest, chosen, wide = most * CLOSED, 0, NO_GAP, NO_GAP
    near, size = NO_GAP, 0
    for gap in range(tries + 1):
        bound = bound_of(group, gap, tries, low, high, tried, lots, own, cost, have)
        if bound <= most * EXACT:
            continue
        start = tried[group, gap - 1] + 1 if gap > 0 else low[group]
        end = tried[group, gap] - 1 if gap < tries else high[group]
        if best <= gap <= best + 1 and end - start + 1 > size:
            near, size = gap, end - start + 1
        if bound > most * CLOSED and end - start + 1 > widest:
            wide, widest = gap, end - start + 1
        if bound > top:
            chosen, top = gap, bound
    if number < grid and wide != NO_GAP:
        return wide
    return near if near != NO_GAP else chosen


@kernel("i i r8 r8 r8 r82 r82 rf2 r8 r8 r8 r82 r82 r8 w8 w8")
def next_prices(
    number: Any, grid: Any, low: Any, high: Any, count: Any, tried: Any, lots: Any, profit: Any,
    own: Any, cost: Any, have: Any, hint: Any, promised: Any, hints: Any, used: Any, asked: Any,
) -> Any:  # fmt: skip
    """Write the next price of each group, its best one if all is known; return how many groups are still open."""
    still = 0
    for group in range(count.size):
        if number < grid:
            used[group] = hinted(
                group, count[group], low, high, hints, tried, lots, profit, own, cost, have, hint, used
            )
            if used[group] < hints[group]:
                asked[group] = hint[group, used[group]]
                used[group] += 1
                still += 1
                continue
        best = best_of(group, count[group], profit)
        gap = gap_to_ask(group, number, grid, low, high, count, tried, lots, profit, own, cost, have)
        if gap == NO_GAP:
            asked[group] = tried[group, best]
            continue
        still += 1
        most = profit[group, best]
        asked[group] = cut(group, gap, most, low, high, count, tried, lots, own, cost, have, hint, promised, hints)
    return still


@kernel("r8 r8 r8 r82 r82 rf2 r8 r8 r8 wf wf w8")
def verdict(
    low: Any, high: Any, count: Any, tried: Any, lots: Any, profit: Any,
    own: Any, cost: Any, have: Any, most: Any, gain: Any, regions: Any,
) -> Any:  # fmt: skip
    """Write the best profit of each group, what other prices could still bring on top, and how many regions are best.

    Prices within a tick on each lot of the best profit count; they are one region unless a price between them falls by
    twice as much.
    """
    for group in range(count.size):
        tries = count[group]
        best = best_of(group, tries, profit)
        most[group], gain[group], regions[group] = profit[group, best], 0.0, 0
        for gap in range(tries + 1):
            bound = bound_of(group, gap, tries, low, high, tried, lots, own, cost, have)
            if bound > most[group] * EXACT:
                gain[group] = max(gain[group], bound - most[group])
        spare = spare_of(tried[group, best], lots[group, best], most[group], cost, have, own[group], own[group + 1])
        inside = False
        for place in range(tries):
            if profit[group, place] >= most[group] - spare:
                if not inside:
                    regions[group] += 1
                inside = True
            elif profit[group, place] < most[group] - 2.0 * spare:
                inside = False
