"""The order book in batches: many messages, and many books, in one compiled pass.

Prices become dense levels beforehand: by their distance from the lowest if the span is small, by rank otherwise.
Orders of a level form a linked list. A book is never crossed, so one array of levels serves both sides: what lies at
or below the best bid are bids, all else are offers. The next filled level is found through counts of filled levels in
blocks of 64 and of 4,096.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import ensure
from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.tables import ANY_PRICE
from wattle.core.units import PRICE_MAX, QUANTITY_MAX
from wattle.market.book_rules import (
    ADD,
    AMEND,
    CANCEL,
    CANCEL_INCOMING,
    FILL_OR_KILL,
    GOOD_UNTIL_GATE,
    Code,
    Matches,
    Messages,
    Outcomes,
)

ALLOW = 0  # a plain integer like those above, for the kernels
DONE, KILLED, EXPIRED, SELF_TRADE = int(Code.DONE), int(Code.KILLED), int(Code.EXPIRED), int(Code.SELF_TRADE)
UNKNOWN_ORDER, NOT_YOURS = int(Code.UNKNOWN_ORDER), int(Code.NOT_YOURS)
DUPLICATE, BAD_MESSAGE = int(Code.DUPLICATE), int(Code.BAD_MESSAGE)

LEFT, NEXT, PREV, PLACE = 0, 1, 2, 3  # columns of a node: one order; LEFT is 0 unless it rests
OWNER = (1 << 32) - 1  # PLACE holds the level above 32 bits of owner, so that a node is half a cache line
BID, ASK, FOUND, POLICY = 0, 1, 2, 3  # the state: best levels, matches so far, rule on self-trades
BUY_ANY, SELL_ANY, NO_LEVEL = -1, -2, -3  # instead of a level
DENSE_MAX = 1 << 20


@dataclass(frozen=True, eq=False)
class Matched:
    """All that a batch led to; `resting` are adds that rebuild the book, each queue in its order."""

    outcomes: Outcomes
    matches: Matches
    resting: Messages


@dataclass(frozen=True, eq=False)
class Raw:
    """What the kernel wrote. Orders go by slot, prices by level."""

    answers: NDArray[np.int64]  # [4, messages]: columns of `Outcomes`
    met: NDArray[np.int64]  # [5, matches]: columns of `Matches`
    nodes: NDArray[np.int64]  # [slots, 4]
    left: NDArray[np.int64]  # [resting, 2]: slot and side


def match(messages: Messages, self_trade: int = CANCEL_INCOMING, resting: Messages | None = None) -> Matched:
    """Run all messages through one book, which begins with what rested before."""
    before = 0 if resting is None else len(resting)
    if resting is not None:
        messages = Messages.concat(resting, messages)
    slot, ids = _dense(messages.id)
    level, price = levels_of(messages.limit)
    starts = np.array([0, len(messages)], np.int64)
    raw = match_groups(starts, messages, slot, ids.size, level, price.size, self_trade)
    ensure(raw.met.shape[1] == 0 or int(raw.met[0, 0]) >= before, "the orders of a resting book trade with each other")
    rest, side = raw.nodes[raw.left[:, 0]], raw.left[:, 1]
    book = Messages(
        kind=np.full(side.size, ADD, np.int8),
        id=ids[raw.left[:, 0]],
        participant=rest[:, PLACE].astype(np.int32),
        side=side.astype(np.int8),
        quantity=rest[:, LEFT],
        limit=price[rest[:, PLACE] >> 32],
        flags=np.full(side.size, GOOD_UNTIL_GATE, np.int8),
    )
    code, *lots = raw.answers[:, before:]
    row, other, moved, at, traded = raw.met
    matches = Matches(row - before if before else row, ids[other], moved, price[at], traded.astype(np.int8))
    return Matched(Outcomes(code.astype(np.int8), *lots), matches, book)


def match_groups(
    starts: I64, messages: Messages, slot: I64, slots: int, level: I64, levels: int, self_trade: int
) -> Raw:
    """Run the messages of many books; `starts` are their first rows. A slot belongs to one book only."""
    rows = len(messages)
    answers, met = np.zeros((4, rows), np.int64), np.empty((5, 2 * rows), np.int64)
    nodes, left, state = np.zeros((slots, 4), np.int64), np.empty((slots, 2), np.int64), np.zeros(4, np.int64)
    state[POLICY] = self_trade
    queues = np.full((levels, 2), -1, np.int64)
    counts = np.zeros((2, (levels >> 6) + 1), np.int64)
    resting = _match(
        starts, messages.kind, slot, messages.participant, messages.side, messages.quantity, level, messages.flags,
        nodes, queues, counts, state, answers, met, left,
    )  # fmt: skip
    return Raw(answers, met[:, : state[FOUND]], nodes, left[:resting])


def levels_of(limit: I64) -> tuple[I64, I64]:
    """Return the level of each limit and the price of each level; `BUY_ANY`, `SELL_ANY`, `NO_LEVEL` for the others."""
    low, high = int(limit.min(initial=0)), int(limit.max(initial=0))
    given, named, taker = limit, None, limit
    if low < -PRICE_MAX or high > PRICE_MAX:
        named = (limit >= -PRICE_MAX) & (limit <= PRICE_MAX)
        taker = np.where(limit == ANY_PRICE, BUY_ANY, np.where(limit == -ANY_PRICE, SELL_ANY, NO_LEVEL))
        given = limit[named]
        low, high = int(given.min(initial=0)), int(given.max(initial=0))
    if high - low < min(DENSE_MAX, 64 * given.size + 4096):
        price = np.arange(low, high + 1)
        return limit - low if named is None else np.where(named, limit - low, taker), price
    price, rank = np.unique(given, return_inverse=True)
    if named is None:
        return rank.astype(np.int64), price
    taker[named] = rank
    return taker, price


def _dense(ids: I64) -> tuple[I64, I64]:
    """Number the ids from 0 on, by distance from the lowest if that is small, else by rank; return numbers and ids."""
    low, high = int(ids.min(initial=0)), int(ids.max(initial=0))
    if high - low < 2 * ids.size + 1024:
        return ids - low if low else ids, np.arange(low, high + 1)
    known, rank = np.unique(ids, return_inverse=True)
    return rank.astype(np.int64), known


@kernel("r82 r82 i")
def _below(queues: Any, counts: Any, level: Any) -> Any:
    """Return the next filled level below, or -1."""
    level -= 1
    while level >= 0:
        if counts[1, level >> 12] == 0:
            level = ((level >> 12) << 12) - 1
        elif counts[0, level >> 6] == 0:
            level = ((level >> 6) << 6) - 1
        elif queues[level, 0] >= 0:
            return level
        else:
            level -= 1
    return np.int64(-1)


@kernel("r82 r82 i")
def _above(queues: Any, counts: Any, level: Any) -> Any:
    """Return the next filled level above, or the number of levels."""
    level += 1
    while level < queues.shape[0]:
        if counts[1, level >> 12] == 0:
            level = ((level >> 12) + 1) << 12
        elif counts[0, level >> 6] == 0:
            level = ((level >> 6) + 1) << 6
        elif queues[level, 0] >= 0:
            return level
        else:
            level += 1
    return np.int64(queues.shape[0])


@kernel("w82 w82 w82 w8 i i i i i")
def _append(
    nodes: Any, queues: Any, counts: Any, state: Any, slot: Any, owner: Any, side: Any, lots: Any, level: Any
) -> Any:
    """Put an order at the end of the queue of its level."""
    last = queues[level, 1]
    nodes[slot, LEFT], nodes[slot, NEXT], nodes[slot, PREV] = lots, -1, last
    nodes[slot, PLACE] = (level << 32) | owner
    queues[level, 1] = slot
    if last >= 0:
        nodes[last, NEXT] = slot
        return
    queues[level, 0] = slot
    counts[0, level >> 6] += 1
    counts[1, level >> 12] += 1
    if side > 0:
        state[BID] = max(state[BID], level)
    else:
        state[ASK] = min(state[ASK], level)


@kernel("w82 w82 w82 w8 i")
def _remove(nodes: Any, queues: Any, counts: Any, state: Any, slot: Any) -> Any:
    """Take an order out of its queue, wherever it stands there."""
    before, after, level = nodes[slot, PREV], nodes[slot, NEXT], nodes[slot, PLACE] >> 32
    nodes[slot, LEFT] = 0
    if after >= 0:
        nodes[after, PREV] = before
    else:
        queues[level, 1] = before
    if before >= 0:
        nodes[before, NEXT] = after
        return
    queues[level, 0] = after
    if after < 0:
        _emptied(queues, counts, state, level)


@kernel("w82 w82 w8 i")
def _emptied(queues: Any, counts: Any, state: Any, level: Any) -> Any:
    """Count a level as empty; if it was the best, find the next one."""
    queues[level, 1] = -1
    counts[0, level >> 6] -= 1
    counts[1, level >> 12] -= 1
    if level == state[BID]:
        state[BID] = _below(queues, counts, level)
    elif level == state[ASK]:
        state[ASK] = _above(queues, counts, level)


@kernel("r82 r82 r82 r8 i i i i")
def _can_fill(
    nodes: Any, queues: Any, counts: Any, state: Any, owner: Any, side: Any, quantity: Any, level: Any
) -> Any:
    """Tell whether the book could fill an order whole, self-trade prevention included."""
    at = state[ASK] if side > 0 else state[BID]
    if level < 0:  # a market order
        level = queues.shape[0] - 1 if side > 0 else np.int64(0)
    while quantity > 0:
        if (side > 0 and at > level) or (side < 0 and at < level):
            return False
        slot = queues[at, 0]
        while slot >= 0 and quantity > 0:
            if state[POLICY] == ALLOW or (nodes[slot, PLACE] & OWNER) != owner:
                quantity -= nodes[slot, LEFT]
            elif state[POLICY] == CANCEL_INCOMING:
                return False
            slot = nodes[slot, NEXT]
        at = _above(queues, counts, at) if side > 0 else _below(queues, counts, at)
    return True


@kernel("w82 w82 w82 w8 w82 i i i i i i i i")
def _prepare(
    nodes: Any, queues: Any, counts: Any, state: Any, answers: Any,
    row: Any, kind: Any, slot: Any, owner: Any, side: Any, lots: Any, level: Any, flags: Any,
) -> Any:  # fmt: skip
    """Handle all but limit orders that rest or expire. Return 0 if that is all, else how the order enters the book.

    +1 or -1: as a bid or an offer that may rest; +2 or -2: as one that never rests.
    """
    left, at = nodes[slot, LEFT], nodes[slot, PLACE] >> 32
    code, dropped, enters = BAD_MESSAGE, max(lots, 0), np.int64(0)
    known = kind in (CANCEL, AMEND)
    if known:
        side = np.int64(1) if at <= state[BID] else np.int64(-1)
    possible = (level >= 0 or level == (BUY_ANY if side > 0 else SELL_ANY)) and 1 <= lots <= QUANTITY_MAX
    if known:
        if left == 0 or (nodes[slot, PLACE] & OWNER) != owner:
            code, dropped = UNKNOWN_ORDER if left == 0 else NOT_YOURS, dropped if kind == AMEND else np.int64(0)
        elif kind == CANCEL:
            code, dropped = DONE, left
            _remove(nodes, queues, counts, state, slot)
        elif possible and level == at and lots <= left:
            code, dropped = DONE, np.int64(0)
            answers[2, row] = lots
            nodes[slot, LEFT] = lots
        elif possible:
            _remove(nodes, queues, counts, state, slot)
            enters = side if level >= 0 else 2 * side
    elif kind == ADD and possible and side * side == 1 and 0 <= flags <= FILL_OR_KILL:
        if left > 0:
            code = DUPLICATE
        elif flags == FILL_OR_KILL and not _can_fill(nodes, queues, counts, state, owner, side, lots, level):
            code = KILLED
        else:
            enters = side if level >= 0 and flags == GOOD_UNTIL_GATE else 2 * side
    if enters == 0:
        answers[0, row] = code
        answers[3, row] = dropped
    return enters


@kernel("w82 w82 w82 w8 w82 i")
def _empty(nodes: Any, queues: Any, counts: Any, state: Any, left: Any, found: Any) -> Any:
    """List what rests, best prices first, and leave the levels as if nothing had happened."""
    for side in (1, -1):
        level = state[BID] if side > 0 else state[ASK]
        while 0 <= level < queues.shape[0]:
            slot = queues[level, 0]
            while slot >= 0:
                left[found, 0] = slot
                left[found, 1] = side
                found += 1
                slot = nodes[slot, NEXT]
            queues[level, 0] = -1
            queues[level, 1] = -1
            counts[0, level >> 6] -= 1
            counts[1, level >> 12] -= 1
            level = _below(queues, counts, level) if side > 0 else _above(queues, counts, level)
    return found


@kernel("r8 r1 r8 r4 r1 r8 r8 r1 w82 w82 w82 w8 w82 w82 w82")
def _match(
    starts: Any, kind: Any, slots: Any, participant: Any, sides: Any, quantity: Any, levels: Any, flags: Any,
    nodes: Any, queues: Any, counts: Any, state: Any, answers: Any, met: Any, left: Any,
) -> Any:  # fmt: skip
    """Run every message of every book through the rules; return how many orders rest."""
    resting, found = np.int64(0), np.int64(0)
    for group in range(starts.size - 1):
        state[BID], state[ASK] = -1, queues.shape[0]
        for row in range(starts[group], starts[group + 1]):
            slot, level, lots, side = slots[row], levels[row], quantity[row], np.int64(sides[row])
            owner, how, stop = np.int64(participant[row]) & OWNER, np.int64(flags[row]), EXPIRED
            enters = side * (1 + how)  # as `_prepare` would say of a plain order
            odd = kind[row] != ADD or how < 0 or how >= FILL_OR_KILL or level < 0 or nodes[slot, LEFT] > 0
            if odd or lots < 1 or lots > QUANTITY_MAX or side * side != 1:
                what = np.int64(kind[row])
                enters = _prepare(nodes, queues, counts, state, answers, row, what, slot, owner, side, lots, level, how)
                if enters == 0:
                    continue
                side = np.int64(1) if enters > 0 else np.int64(-1)
                level = level if level >= 0 else queues.shape[0] - 1 if side > 0 else np.int64(0)
            best = ASK if side > 0 else BID
            at, whole = state[best], lots
            while lots > 0 and side * (level - at) >= 0:
                other = queues[at, 0]
                have = nodes[other, LEFT]
                moved, traded = min(lots, have), 1
                if state[POLICY] != ALLOW and (nodes[other, PLACE] & OWNER) == owner:
                    if state[POLICY] == CANCEL_INCOMING:
                        enters, stop = np.int64(2), SELF_TRADE
                        break
                    moved, traded = have, 0
                met[0, found], met[1, found], met[2, found] = row, other, moved
                met[3, found], met[4, found] = at, traded
                found += 1
                lots -= moved * traded
                nodes[other, LEFT] = have - moved
                if moved == have:
                    after = nodes[other, NEXT]
                    queues[at, 0] = after
                    if after >= 0:
                        nodes[after, PREV] = -1
                    else:
                        _emptied(queues, counts, state, at)
                        at = state[best]
            answers[1, row] = whole - lots
            if lots > 0 and enters * enters == 1:
                answers[2, row] = lots
                _append(nodes, queues, counts, state, slot, owner, side, lots, level)
            elif lots > 0:
                answers[0, row], answers[3, row] = stop, lots
        resting = _empty(nodes, queues, counts, state, left, resting)
    state[FOUND] = found
    return resting
