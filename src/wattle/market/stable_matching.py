"""Deferred acceptance with quantities: a matching that no buyer and seller would both rather leave for each other.

One side proposes its lots to the best partner on its list, the other holds the best it was offered and sends the rest
on to their next choice, until nothing moves. With quantities a few lots can be sent around a ring of members as often
as there are lots; such a ring is turned in one go until one of its pairs is empty, so the work depends on the number
of pairs and not on quantities.

Theory: D. Gale and L. Shapley, "College admissions and the stability of marriage", American Mathematical Monthly 69
(1962); quantities: M. Baïou and M. Balinski, "The stable allocation (or ordinal transportation) problem",
Mathematics of Operations Research 27 (2002).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import grouped
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders
from wattle.market.auction_double import mean_prices, trades_of
from wattle.market.clear_book import rank_rows
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, INDIVIDUALLY_RATIONAL, SEPARABLE, mechanism
from wattle.market.preference_lists import (
    AT,
    LENGTH,
    LIMIT,
    SIDE,
    Faces,
    RankWeights,
    cost,
    faces,
    list_length,
    present_choice,
    price_between,
)


@mechanism(
    "deferred-acceptance",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Gale and Shapley 1962, American Mathematical Monthly 69; Baïou and Balinski 2002, Math. Oper. Res. 27",
)
@dataclass(frozen=True)
class DeferredAcceptance:
    """A stable matching: no buyer and seller who may trade would both rather have more of each other.

    A pair trades at its own price, offer + k (bid - offer), and each side ranks the other by that price, by
    `per_km_ticks` for each kilometre, and by its premium for the partner; equal ones by order id. Of all stable
    matchings the side that is `proposing` ("buyers" or "sellers") gets the one that is best for each of its orders.
    """

    proposing: str = "buyers"
    k_percent: int = 50
    per_km_ticks: int = 0

    def __post_init__(self) -> None:
        ensure(
            self.proposing in ("buyers", "sellers"), f'proposing is {self.proposing!r}, expected "buyers" or "sellers"'
        )
        ensure(0 <= self.k_percent <= 100, f"k_percent is {self.k_percent!r}, expected 0 to 100")
        _ = RankWeights(per_km_ticks=self.per_km_ticks)

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Match every zone and interval."""
        book, starts = grouped(orders)
        facing = faces(book, context, RankWeights(per_km_ticks=self.per_km_ticks), self.k_percent)
        if nobody_names_a_price(book, facing):
            return None, Clearing.refuse(Reject.NO_PRICE)
        side = BUY if self.proposing == "buyers" else SELL
        pairs = _match_groups(facing.facts, facing.wishes, facing.terms, starts, book.quantity, side)
        first, second, lots = pairs.T
        buy, sell = (first, second) if side == BUY else (second, first)
        return None, paired_off(book, facing, buy, sell, lots)


def nobody_names_a_price(book: Orders, facing: Faces) -> bool:
    """Tell whether both sides are there, and all of them take any price."""
    taking = np.abs(facing.facts[:, LIMIT]) == ANY_PRICE
    return bool(taking.all() and (book.side == BUY).any() and (book.side == SELL).any())


def paired_off(book: Orders, facing: Faces, buy: I64, sell: I64, lots: I64) -> Clearing:
    """Return the trades of pairs of rows, each at the price between its limits, in the order of rows."""
    rank = np.lexsort((sell, buy))
    buy, sell, lots = buy[rank], sell[rank], lots[rank]
    price = np.empty(buy.size, np.int64)
    _price_pairs(facing.facts, facing.terms, buy, sell, price)
    trades = trades_of(book, buy, sell, lots, price)
    return Clearing(trades, mean_prices(trades))


@kernel("r82 r8 r8 r8 w8")
def _price_pairs(facts: Any, terms: Any, buy: Any, sell: Any, price: Any) -> Any:
    for pair in range(buy.size):
        price[pair] = price_between(facts[buy[pair], LIMIT], facts[sell[pair], LIMIT], terms[1], 1)


# --- deferred acceptance in one group ---
#
# Proposers and receivers are numbered from 0 in the order of their rows. `props` has a row for each proposer, `recvs`
# one for each receiver, `nodes` one for each pair that holds lots; the nodes of a receiver are a chain, worst first.

ROW, WANT, OWN_NODE = range(3, 6)
"""Columns of `props` after those of a list: row of the book, lots not placed, and the node of the pair with the present
target (-1: none yet)."""

ROOM, HEAD, MARK = range(3)
"""Columns of `recvs` before `ROW`: free lots, node of the worst proposer held, place on the path that is traced."""

PROP, LOTS, COST, NEXT = range(4)
"""Columns of `nodes`; COST is what the proposer is to the receiver, and unused nodes are chained too."""

TO_ROOM, TO_NOBODY = -1, -2
"""How a path ends; a number from 0 is the place where it closes into a ring."""


@kernel("r82 r82 r8 r8 r8 i")
def _match_groups(facts: Any, wishes: Any, terms: Any, starts: Any, quantity: Any, side: Any) -> Any:
    """Return [proposer's row, receiver's row, lots] of all pairs."""
    found = np.empty((quantity.size + 1, 3), np.int64)
    pairs = 0
    for group in range(starts.size - 1):
        first, stop = starts[group], starts[group + 1]
        mine, theirs = 0, 0
        for row in range(first, stop):
            if facts[row, SIDE] == side:
                mine += 1
            else:
                theirs += 1
        if mine == 0 or theirs == 0:
            continue
        props, recvs = np.full((mine, 6), -1), np.full((theirs, 4), -1)
        mine, theirs = 0, 0
        for row in range(first, stop):
            if facts[row, SIDE] == side:
                props[mine, ROW], props[mine, WANT] = row, quantity[row]
                mine += 1
            else:
                recvs[theirs, ROW], recvs[theirs, ROOM] = row, quantity[row]
                theirs += 1
        nodes = _match_group(facts, wishes, terms, props, recvs)
        for receiver in range(theirs):
            node = recvs[receiver, HEAD]
            while node >= 0:
                if pairs == found.shape[0]:
                    more = np.empty((2 * pairs, 3), np.int64)
                    more[:pairs] = found
                    found = more
                found[pairs, 0] = props[nodes[node, PROP], ROW]
                found[pairs, 1] = recvs[receiver, ROW]
                found[pairs, 2] = nodes[node, LOTS]
                pairs += 1
                node = nodes[node, NEXT]
    return found[:pairs].copy()


@kernel("r82 r82 r8 w82 w82")
def _match_group(facts: Any, wishes: Any, terms: Any, props: Any, recvs: Any) -> Any:
    """Place all lots of all proposers; return the nodes."""
    count, others = props.shape[0], recvs.shape[0]
    lists, rows = np.empty((count, list_length(count, others)), np.int32), recvs[:, ROW].copy()
    scratch = np.empty((4, others), np.int64)
    path, arrival = np.empty(others, np.int64), np.empty(others + 1, np.int64)
    nodes = _grown(np.empty((0, 4), np.int64), count + 2 * others)
    free = np.zeros(2, np.int64)  # first unused node, number of unused nodes
    free[1] = nodes.shape[0]
    # The result is the same in any order; the best limits first means fewer rejections.
    keys, turn, spare = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    low = np.int64(ANY_PRICE)
    for place in range(count):
        keys[place] = -facts[props[place, ROW], LIMIT] * facts[props[place, ROW], SIDE]
        low = min(low, keys[place])
    for place in range(count):
        keys[place] -= low
    rank_rows(keys, turn, spare, count)
    for place in range(count):
        who = turn[place]
        while props[who, WANT] > 0:
            steps, end = _trace(facts, wishes, terms, rows, props, recvs, lists, nodes, scratch, path, arrival, who)
            if steps == 0:
                break
            if free[1] < steps:
                free[0], free[1] = nodes.shape[0], nodes.shape[0] + steps
                nodes = _grown(nodes, nodes.shape[0] + steps)
            _push(facts, wishes, terms, props, recvs, nodes, free, path, arrival, who, steps, end)
    return nodes


@kernel("r82 i")
def _grown(nodes: Any, more: Any) -> Any:
    """Return the nodes and `more` unused ones behind them, chained."""
    size = nodes.shape[0]
    grown = np.empty((size + more, 4), np.int64)
    grown[:size] = nodes
    for node in range(size, size + more):
        grown[node, NEXT] = node + 1
    return grown


@kernel("r82 r82 r8 r8 w82 w82 w42 r82 w82 w8 w8 i")
def _trace(
    facts: Any, wishes: Any, terms: Any, rows: Any, props: Any, recvs: Any, lists: Any, nodes: Any, scratch: Any,
    path: Any, arrival: Any, start: Any,
) -> Any:  # fmt: skip
    """Follow a proposal: who is displaced proposes to his next choice, and so on; return steps and how the path ends.

    Step i is the proposal of `arrival[i]` to `path[i]`, which displaces the worst proposer held there. Whoever is
    rejected on the way moves on in his list for good.
    """
    steps, end, who = 0, TO_NOBODY, start
    while True:
        receiver = present_choice(facts, wishes, terms, rows, props[who, ROW], who, props, lists, scratch)
        if receiver < 0:
            break
        if recvs[receiver, ROOM] > 0:
            path[steps], arrival[steps] = receiver, who
            steps += 1
            end = TO_ROOM
            break
        worst = recvs[receiver, HEAD]
        other = nodes[worst, PROP]
        liked = cost(facts, wishes, terms, recvs[receiver, ROW], props[who, ROW])
        if liked > nodes[worst, COST] or (liked == nodes[worst, COST] and who >= other):
            props[who, AT] += 1
            props[who, OWN_NODE] = -1
            continue
        arrival[steps] = who
        if recvs[receiver, MARK] >= 0:
            end = recvs[receiver, MARK]
            break
        path[steps], recvs[receiver, MARK] = receiver, steps
        steps += 1
        if props[other, AT] < props[other, LENGTH] and lists[other, props[other, AT]] == receiver:
            props[other, AT] += 1
            props[other, OWN_NODE] = -1
        who = other
    for step in range(steps):
        recvs[path[step], MARK] = -1
    return steps, end


@kernel("r82 r82 r8 w82 w82 w82 w8 r8 w8 i i i")
def _push(
    facts: Any, wishes: Any, terms: Any, props: Any, recvs: Any, nodes: Any, free: Any, path: Any, arrival: Any,
    who: Any, steps: Any, end: Any,
) -> Any:  # fmt: skip
    """Move as many lots along a traced path as every step allows; on a ring, until one of its pairs is empty."""
    ring = end >= 0
    first, displacing = max(end, 0), steps - int(end == TO_ROOM)
    moved = nodes[recvs[path[first], HEAD], LOTS] if ring else props[who, WANT]
    for step in range(first, displacing):
        moved = min(moved, nodes[recvs[path[step], HEAD], LOTS])
    if end == TO_ROOM:
        moved = min(moved, recvs[path[steps - 1], ROOM])
        recvs[path[steps - 1], ROOM] -= moved
    if ring:
        arrival[first] = arrival[steps]
    else:
        props[who, WANT] -= moved
    for step in range(first, displacing):
        head = recvs[path[step], HEAD]
        nodes[head, LOTS] -= moved
        if nodes[head, LOTS] == 0:
            recvs[path[step], HEAD] = nodes[head, NEXT]
            nodes[head, NEXT] = free[0]
            free[0] = head
            free[1] += 1
    for step in range(first, steps):
        _hold(facts, wishes, terms, props, recvs, nodes, free, path[step], arrival[step], moved)


@kernel("r82 r82 r8 w82 w82 w82 w8 i i i")
def _hold(
    facts: Any, wishes: Any, terms: Any, props: Any, recvs: Any, nodes: Any, free: Any, receiver: Any, who: Any,
    lots: Any,
) -> Any:  # fmt: skip
    """Let a receiver hold lots of a proposer, in the place that he has in the receiver's order."""
    if props[who, OWN_NODE] >= 0:
        nodes[props[who, OWN_NODE], LOTS] += lots
        return
    liked = cost(facts, wishes, terms, recvs[receiver, ROW], props[who, ROW])
    node = free[0]
    free[0] = nodes[node, NEXT]
    free[1] -= 1
    before, after = np.int64(-1), recvs[receiver, HEAD]
    while after >= 0 and (nodes[after, COST] > liked or (nodes[after, COST] == liked and nodes[after, PROP] > who)):
        before, after = after, nodes[after, NEXT]
    nodes[node, PROP], nodes[node, LOTS], nodes[node, COST], nodes[node, NEXT] = who, lots, liked, after
    if before < 0:
        recvs[receiver, HEAD] = node
    else:
        nodes[before, NEXT] = node
    props[who, OWN_NODE] = node
