"""Sharing one pool of energy exactly: pro rata, by fixed weights in rounds, by level, or by rank.

Kernels work on grouped rows (see `core.segments`) and on whole lots. The sold side is always served pro rata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import ensure
from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.segments import hand_out, part_of
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders


def totals(starts: I64, side: NDArray[np.int8], quantity: I64) -> tuple[I64, I64]:
    """Return the lots wanted and offered in each group."""
    if side.size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    wanted = np.add.reduceat(np.where(side > 0, quantity, 0), starts[:-1])
    offered = np.add.reduceat(np.where(side < 0, quantity, 0), starts[:-1])
    return wanted, offered


@kernel("r8 r1 r8 i r8 w8")
def pro_rata(starts: Any, side: Any, quantity: Any, wanted_side: Any, total: Any, fill: Any) -> Any:
    """Fill the orders of one side in proportion to their quantity, `total[g]` lots in group g, largest remainders."""
    largest = 1
    for group in range(starts.size - 1):
        largest = max(largest, starts[group + 1] - starts[group])
    remainders = np.empty(largest, np.int64)
    for group in range(starts.size - 1):
        first, stop = starts[group], starts[group + 1]
        whole = np.int64(0)
        for row in range(first, stop):
            if side[row] == wanted_side:
                whole += quantity[row]
        if whole == 0:
            continue
        given = np.int64(0)
        for row in range(first, stop):
            remainders[row - first] = -1
            if side[row] == wanted_side:
                if total[group] == whole:
                    fill[row] = quantity[row]
                else:
                    fill[row] = part_of(total[group], quantity[row], whole)
                    remainders[row - first] = total[group] * quantity[row] - fill[row] * whole
                given += fill[row]
        hand_out(fill[first:stop], remainders[: stop - first], whole, total[group] - given)


@kernel("i w8 w8 w8 w8 w8 i i i")
def _one_pool(
    supply: Any, demand: Any, weight: Any, fill: Any, spare: Any, remainders: Any, whole: Any, rounds: Any, absent: Any
) -> Any:
    """Share one pool by weight in rounds, each row capped by its demand; returns the lots that nobody took.

    Round 1 counts the weight of members who are absent; later rounds share the rest among the unsatisfied. `rounds`
    0 goes on until the pool or the demand is exhausted. The last place of the arrays stands for the absent.
    """
    count = demand.size - 1
    weight[count] = absent
    left, done = supply, 0
    while left > 0 and whole > 0 and (rounds == 0 or done < rounds):
        given, capped = np.int64(0), False
        for row in range(count + 1):
            spare[row] = 0
            remainders[row] = -1
            if weight[row] > 0:
                spare[row] = part_of(left, weight[row], whole)
                remainders[row] = left * weight[row] - spare[row] * whole
                given += spare[row]
        for row in range(count):
            if weight[row] > 0 and spare[row] >= demand[row] - fill[row]:
                capped = True
        # Where rounds go on, odd lots wait for the last one; else they would add up with whoever comes first.
        if rounds > 0 or (not capped and absent == 0):
            hand_out(spare, remainders, whole, left - given)
        taken = np.int64(0)
        for row in range(count):
            if weight[row] > 0:
                room = demand[row] - fill[row]
                moved = min(spare[row], room)
                fill[row] += moved
                taken += moved
                if moved == room:
                    whole -= weight[row]
                    weight[row] = 0
        whole -= weight[count]
        weight[count] = 0
        left -= taken
        done += 1
        if not capped and absent == 0:
            break
        absent = np.int64(0)
    return left


@kernel("r8 r1 r8 r8 i r8 i w8")
def by_weight(
    starts: Any, side: Any, quantity: Any, weight: Any, key_weight: Any, supply: Any, rounds: Any, fill: Any
) -> Any:
    """Fill bids from `supply[g]` by the weight of their rows, in `rounds` rounds (0: until exhausted).

    `key_weight` is the weight of the whole key; what the bids of a group do not hold of it belongs to absent members.
    A `key_weight` of 0 means that only the bids present count.
    """
    largest = 1
    for group in range(starts.size - 1):
        largest = max(largest, starts[group + 1] - starts[group] + 1)
    demand, weights, filled = np.empty(largest, np.int64), np.empty(largest, np.int64), np.empty(largest, np.int64)
    spare, remainders = np.empty(largest, np.int64), np.empty(largest, np.int64)
    rows = np.empty(largest, np.int64)
    for group in range(starts.size - 1):
        if supply[group] <= 0:
            continue
        count, present = 0, np.int64(0)
        for row in range(starts[group], starts[group + 1]):
            if side[row] > 0:
                rows[count] = row
                demand[count] = quantity[row]
                weights[count] = weight[row]
                filled[count] = 0
                present += weight[row]
                count += 1
        demand[count] = 0
        filled[count] = 0
        whole = max(key_weight, present)
        size = count + 1
        _one_pool(
            supply[group], demand[:size], weights[:size], filled[:size], spare[:size], remainders[:size],
            whole, rounds, whole - present,
        )  # fmt: skip
        for place in range(count):
            fill[rows[place]] = filled[place]


@kernel("r8 r1 r8 r8 i r8 w8")
def by_rank(starts: Any, side: Any, quantity: Any, rank: Any, level: Any, supply: Any, fill: Any) -> Any:
    """Fill bids from `supply[g]` rank by rank, lowest first; within a rank to one level (1) or pro rata (0)."""
    largest = 1
    for group in range(starts.size - 1):
        largest = max(largest, starts[group + 1] - starts[group] + 1)
    demand, weights, filled = np.empty(largest, np.int64), np.empty(largest, np.int64), np.empty(largest, np.int64)
    spare, remainders = np.empty(largest, np.int64), np.empty(largest, np.int64)
    rows = np.empty(largest, np.int64)
    for group in range(starts.size - 1):
        left, served = supply[group], np.int64(-1)
        while left > 0:
            now = np.int64(-1)
            for row in range(starts[group], starts[group + 1]):
                if side[row] > 0 and rank[row] > served and (now < 0 or rank[row] < now):
                    now = rank[row]
            if now < 0:
                break
            count, whole = 0, np.int64(0)
            for row in range(starts[group], starts[group + 1]):
                if side[row] > 0 and rank[row] == now:
                    rows[count] = row
                    demand[count] = quantity[row]
                    weights[count] = 1 if level == 1 else quantity[row]
                    filled[count] = 0
                    whole += weights[count]
                    count += 1
            demand[count] = 0
            filled[count] = 0
            size = count + 1
            left = _one_pool(
                left, demand[:size], weights[:size], filled[:size], spare[:size], remainders[:size], whole, 0, 0
            )
            for place in range(count):
                fill[rows[place]] = filled[place]
            served = now


@kernel("r8 r1 r4 w8")
def _twins(starts: Any, side: Any, participant: Any, seen: Any) -> Any:
    """Tell whether a participant has two orders on one side of one group; `seen` is filled with -1 before."""
    for group in range(starts.size - 1):
        for row in range(starts[group], starts[group + 1]):
            place = 2 * participant[row] + (1 if side[row] > 0 else 0)
            if seen[place] == group:
                return True
            seen[place] = group
    return False


def merged(book: Orders, starts: I64) -> tuple[Orders, I64] | None:
    """Return the book with one order for each member and side of a group, and the merged row of each order.

    None if every member has one order a side already, which is the usual case. The first id of a member counts.
    """
    if len(book) == 0:
        return None
    seen = np.full(2 * int(book.participant.max()) + 2, -1, np.int64)
    if not _twins(starts, book.side, book.participant, seen):
        return None
    group = np.repeat(np.arange(starts.size - 1), np.diff(starts))
    order = np.lexsort((book.id, book.participant, book.side, group))
    change = np.ones(len(book), bool)
    for column in (group, book.side, book.participant):
        change[1:] &= column[order][1:] == column[order][:-1]
    change[1:] = ~change[1:]
    change[0] = True
    head = order[change]
    number = np.cumsum(change) - 1
    lots = np.add.reduceat(book.quantity[order], np.flatnonzero(change))
    # Merged rows stand in the order of their first ids, group by group.
    place = np.lexsort((book.id[head], group[head]))
    row_of = np.empty(len(book), np.int64)
    back = np.empty(head.size, np.int64)
    back[place] = np.arange(head.size)
    row_of[order] = back[number]
    return book.take(head[place]).replace(quantity=lots[place]), row_of


@kernel("r8 r8 r8 w8 w8")
def spread(row_of: Any, quantity: Any, merged_fill: Any, left: Any, fill: Any) -> Any:
    """Give the lots of each merged row to its orders in the order of their ids; `left` is a scratch copy."""
    for row in range(merged_fill.size):
        left[row] = merged_fill[row]
    for row in range(row_of.size):
        moved = min(quantity[row], left[row_of[row]])
        fill[row] = moved
        left[row_of[row]] -= moved


def weights_of(shares: Mapping[int, int], participant: NDArray[np.int32], default: int) -> I64:
    """Return the weight (or rank) that a key gives to each participant."""
    size = max([int(participant.max(initial=0)), *shares]) + 1
    table = np.full(size, default, np.int64)
    for member, weight in shares.items():
        ensure(weight >= 0, f"the key gives participant {member} the negative weight {weight}")
        table[member] = weight
    return table[participant]


def willing(book: Orders, price: I64) -> NDArray[np.bool_]:
    """Tell for each order whether its limit allows the price of its row; price takers always do."""
    buys = (book.side == BUY) & ((book.limit >= price) | (book.limit == ANY_PRICE))
    sells = (book.side == SELL) & ((book.limit <= price) | (book.limit == -ANY_PRICE))
    agreed: NDArray[np.bool_] = buys | sells
    return agreed
