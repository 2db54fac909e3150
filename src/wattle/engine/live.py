"""Trading on arrival: the rule of an open gate is called for each batch of orders, and keeps its book in the gate.

Orders of one event count as if they came one after the other. Nothing here looks into the memory of a rule; what rests
is asked of the rule itself (`market.mechanism.Continuous`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I8, I32, I64, Columns
from wattle.core.messages import Clearing, Context, Memory, unfilled
from wattle.core.tables import ANY_PRICE, Orders, Prices, Trades, Transfers
from wattle.engine.gate import Gate, Product, admit
from wattle.market.mechanism import Continuous, nobody_to_trade_with


@dataclass(frozen=True, eq=False)
class Depth(Columns):
    """The price levels of a book: bids from the dearest on, then offers from the cheapest on."""

    interval: I32
    zone: I32
    side: I8  # +1 bids, -1 offers
    price: I64  # ticks
    quantity: I64  # lots that rest
    orders: I64  # how many orders they belong to


@dataclass(frozen=True, eq=False)
class Step:
    """What an event in a trading gate led to: a code for each row (0: done), what was traded, lots that dropped out."""

    codes: NDArray[np.int64]
    clearing: Clearing
    ids: I64
    dropped: I64


def arrive(gate: Gate, product: Product, orders: Orders, context: Context) -> Step:
    """Hand orders to the rule; the gate keeps its memory, the orders it took and what they traded.

    A batch that the rule cannot use as a whole is handed over order by order, so that only those are refused which it
    cannot use alone.
    """
    rule, codes = _rule(product), np.zeros(len(orders), np.int64)
    before = rule.resting(gate.memory)
    memory, answer = _step(rule, gate, orders, context)
    found = [answer]
    if answer.unusable is None:
        gate.memory = memory
    else:
        found = []
        for row in range(len(orders)):
            memory, answer = _step(rule, gate, orders.take(slice(row, row + 1)), context)
            if answer.unusable is None:
                gate.memory = memory
                found.append(answer)
            else:
                codes[row] = answer.unusable
    taken = orders.take(codes == 0)
    if len(taken):
        gate.parts.append(taken)
    return _kept(gate, rule, Orders.concat(before, taken), codes, found)


def change(
    gate: Gate, product: Product, ids: I64, wanted: tuple[I64, I64] | None, context: Context, active: NDArray[np.bool_],
    zones: int,
) -> Step:  # fmt: skip
    """Amend resting orders to the `wanted` lots and limits, or cancel them (None)."""
    steps = []
    for part in _distinct(ids):
        now = None if wanted is None else (wanted[0][part], wanted[1][part])
        steps.append(_change(gate, product, ids[part], now, context, active, zones))
    trades = Trades.concat(*(step.clearing.trades for step in steps))
    transfers = Transfers.concat(*(step.clearing.transfers for step in steps))
    columns = ([getattr(step, name) for step in steps] for name in ("codes", "ids", "dropped"))
    codes, gone, lots = (np.concatenate([ids[:0], *column]) for column in columns)
    return Step(codes, Clearing(trades, Prices.empty(), transfers=transfers), gone, lots)


def _change(
    gate: Gate, product: Product, ids: I64, wanted: tuple[I64, I64] | None, context: Context, active: NDArray[np.bool_],
    zones: int,
) -> Step:  # fmt: skip
    """Change orders, each of which is named once."""
    rule, codes = _rule(product), np.full(ids.size, Reject.UNKNOWN_ORDER, np.int64)
    before = rule.resting(gate.memory)
    rows, known = _places(before.id, ids)
    asked = before.take(rows)
    if wanted is None:
        asked, codes[known] = asked.replace(quantity=np.zeros(rows.size, np.int64)), 0
    else:
        asked = asked.replace(quantity=wanted[0][known], limit=wanted[1][known])
        code = admit(asked, product, gate, active, zones)
        code[(code == 0) & (np.abs(asked.limit) == ANY_PRICE)] = Reject.BAD_LIMIT  # what rests has a price
        asked, codes[known] = asked.take(code == 0), code
    if len(asked) == 0:
        return Step(codes, Clearing(Trades.empty(), Prices.empty()), ids[:0], ids[:0])
    gate.memory, answer, done = rule.amend(gate.memory, asked, context)
    codes[np.flatnonzero(codes == 0)[~done]] = Reject.UNKNOWN_ORDER  # traded or dropped by a row before
    asked = asked.take(done)
    held = before
    if wanted is not None:
        # The book accounts for what an order asks for now, and the seals of its interval cover that like a new order.
        quantity = before.quantity.copy()
        quantity[_places(before.id, asked.id)[0]] = asked.quantity
        held = before.replace(quantity=quantity)
        if len(asked):
            gate.parts.append(asked)
    return _kept(gate, rule, held, codes, [answer])


def close(gate: Gate, product: Product) -> tuple[Clearing, Step]:
    """End the gate: return what its interval remembers of it, and the orders that expire."""
    rule = _rule(product)
    trades, transfers = gate.traded()
    resting = rule.resting(gate.memory)
    refused = None if len(trades) else nobody_to_trade_with(gate.book())
    whole = Clearing(trades, rule.prices(trades), transfers=transfers, refused=refused)
    last = replace(whole, trades=Trades.empty(), transfers=Transfers.empty())
    return whole, Step(np.zeros(0, np.int64), last, resting.id, resting.quantity)


def depth_of(book: Orders) -> Depth:
    """Return the price levels of resting orders."""
    if len(book) == 0:
        return Depth.empty()
    book = book.take(np.lexsort((-book.side * book.limit, -book.side, book.zone, book.interval)))
    new = np.ones(len(book), bool)
    new[1:] = False
    for column in (book.interval, book.zone, book.side, book.limit):
        new[1:] |= column[1:] != column[:-1]
    first = np.flatnonzero(new)
    return Depth(
        book.interval[first],
        book.zone[first],
        book.side[first],
        book.limit[first],
        np.add.reduceat(book.quantity, first),
        np.diff(np.append(first, len(book))),
    )


def resting(gate: Gate, product: Product) -> Orders:
    """Return the orders that rest in a trading gate, each queue in its order."""
    return _rule(product).resting(gate.memory)


def _rule(product: Product) -> Continuous:
    return cast(Continuous, product.mechanism)


def _step(rule: Continuous, gate: Gate, orders: Orders, context: Context) -> tuple[Memory | None, Clearing]:
    memory, answer = rule.step(gate.memory, orders, context)
    ensure(isinstance(answer, Clearing), "a rule on arrival asks for answers; only clearing is possible then")
    return memory, cast(Clearing, answer)


def _kept(gate: Gate, rule: Continuous, held: Orders, codes: NDArray[np.int64], found: list[Clearing]) -> Step:
    """Keep the trades in the gate; count which of the lots held before and during the event are gone after it."""
    trades = Trades.concat(*(each.trades for each in found))
    transfers = Transfers.concat(*(each.transfers for each in found))
    clearing = Clearing(trades, Prices.empty(), rule.resting(gate.memory), transfers)
    if len(trades) or len(transfers):
        gate.done.append(Clearing(trades, Prices.empty(), transfers=transfers))
    if held.quantity.sum() == 2 * trades.quantity.sum() + clearing.resting.quantity.sum():
        return Step(codes, clearing, held.id[:0], held.quantity[:0])  # the usual case, without a look at each order
    lost = unfilled(held, clearing)
    ensure(bool((lost >= 0).all()), "a book has more lots than were ordered")
    return Step(codes, clearing, held.id[lost > 0], lost[lost > 0])


def _places(known: I64, ids: I64) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the rows of those ids that are known, and which ones are."""
    rank = np.argsort(known)
    place = np.searchsorted(known, ids, sorter=rank)
    there = place < known.size
    there[there] = known[rank[place[there]]] == ids[there]
    return rank[place[there]], there


def _distinct(ids: I64) -> Iterator[slice]:
    """Cut rows into runs in which each id stands once, for what is asked second refers to what the first led to."""
    if np.unique(ids).size == ids.size:
        yield slice(0, ids.size)
        return
    first, seen = 0, set[int]()
    for row, each in enumerate(ids.tolist()):
        if each in seen:
            yield slice(first, row)
            first, seen = row, set()
        seen.add(each)
    yield slice(first, ids.size)
