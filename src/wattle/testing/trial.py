"""One rule on one book: run it to the end, quotes included, and compare results.

A rule that asks back gets answers from members who tell the truth: each order takes the best quote that its limit
allows, with all its lots.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from sys import modules
from typing import Any

import numpy as np

from wattle.core.checks import ensure
from wattle.core.columns import I64, Columns
from wattle.core.compiled import Kernel
from wattle.core.messages import Clearing, Memory, Quote
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders, Quotes
from wattle.market.mechanism import LIMITS, MECHANISMS, Mechanism
from wattle.testing.generators import Case

ROUNDS_MAX = 1000
"""As many rounds as an engine allows a product that says nothing else."""

CELLS_MAX = 200_000
"""So many pairs of an order and a quote are looked at together."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a run ended; `orders` are those of the last round, which the clearing names."""

    orders: Orders
    clearing: Clearing
    memory: Memory | None
    rounds: int = 0


@dataclass(frozen=True)
class Trial:
    """A rule and a book, run when first asked."""

    rule: Mechanism
    case: Case

    @cached_property
    def _result(self) -> Outcome | Exception:
        try:
            return run(self.rule, self.case)
        except Exception as error:  # the rule may be a stranger's
            return error

    @property
    def outcome(self) -> Outcome:
        """The result of the run; what the rule raises is raised again each time that it is asked for."""
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    @property
    def bids(self) -> str:
        """How the rule reads its orders, as it is registered."""
        return next((entry.bids for entry in MECHANISMS if entry.cls is type(self.rule)), LIMITS)

    def again(self, orders: Orders | None = None) -> Outcome:
        """Run the rule anew, with the same or other orders."""
        return run(self.rule, self.case if orders is None else replace(self.case, orders=orders))


def run(rule: Mechanism, case: Case, memory: Memory | None = None) -> Outcome:
    """Step the rule until it clears; each quote is answered truthfully."""
    context, orders = case.context(), case.orders
    for number in range(ROUNDS_MAX + 1):
        memory, answer = rule.step(memory, orders, context)
        if isinstance(answer, Clearing):
            return Outcome(orders, answer, memory, number)
        ensure(isinstance(answer, Quote), f"step answered with {type(answer).__name__}, expected Clearing or Quote")
        orders = answers(case, answer.quotes, first_id=int(orders.id.max(initial=0)) + 1)
    ensure(False, f"the rule still asks after {ROUNDS_MAX} rounds")
    raise AssertionError


def answers(case: Case, quotes: Quotes, first_id: int) -> Orders:
    """Return each order at its best quote, if it is worth that; ids go on from `first_id` in the order of ids."""
    orders = case.orders
    if len(quotes) == 0 or len(orders) == 0:
        return Orders.empty()
    quotes = quotes.take(np.argsort(quotes.interval, kind="stable"))
    first, stop = (np.searchsorted(quotes.interval, orders.interval, side) for side in ("left", "right"))
    best = np.full(len(orders), -1)
    rows = np.argsort(first, kind="stable")
    for part in np.array_split(rows, -(-rows.size * len(quotes) // CELLS_MAX)):
        best[part] = _best_quotes(orders, part, quotes, slice(first[part].min(initial=0), stop[part].max(initial=0)))
    rank = np.argsort(orders.id, kind="stable")
    there = rank[best[rank] >= 0]
    fits = orders.side[there] * (values(case, orders)[there] - quotes.price[best[there]]) >= 0
    there = there[fits]
    chosen = best[there]
    partner = np.where(orders.side[there] == BUY, quotes.seller[chosen], quotes.buyer[chosen])
    return orders.take(there).replace(id=first_id + np.arange(there.size), partner=partner)


def _best_quotes(orders: Orders, rows: I64, quotes: Quotes, here: slice) -> I64:
    """Return the best quote for each row of the orders among the quotes `here`; -1 where none is for it."""
    side, who, partner, interval, zone = (
        column[rows, None] for column in (orders.side, orders.participant, orders.partner, orders.interval, orders.zone)
    )
    asked = np.where(side == BUY, quotes.buyer[here], quotes.seller[here])
    other = np.where(side == BUY, quotes.seller[here], quotes.buyer[here])
    mine = (quotes.interval[here] == interval) & (quotes.zone[here] == zone) & ((asked == who) | (asked == -1))
    mine &= (partner == -1) | (other == partner) | (other == -1)
    if mine.size == 0:
        return np.full(rows.size, -1)
    place = np.argmin(np.where(mine, side * quotes.price[here], np.iinfo(np.int64).max), axis=1)
    return np.where(mine[np.arange(rows.size), place], here.start + place, -1)


def values(case: Case, orders: Orders) -> I64:
    """Return what a lot is worth to each order: its limit; to a price taker the utility's price where there is one."""
    if case.tariff is None or len(orders) == 0:
        return orders.limit
    retail, feed_in = case.tariff.at(orders.interval)
    limit = np.where((orders.side == BUY) & (orders.limit == ANY_PRICE), retail, orders.limit)
    return np.where((orders.side == SELL) & (orders.limit == -ANY_PRICE), feed_in, limit)


def rows_of(orders: Orders, ids: I64) -> I64:
    """Return the row of each order id, -1 where there is none."""
    if len(orders) == 0:
        return np.full(ids.size, -1, np.int64)
    rank = np.argsort(orders.id, kind="stable")
    place = np.minimum(np.searchsorted(orders.id[rank], ids), len(orders) - 1)
    return np.where(orders.id[rank[place]] == ids, rank[place], -1)


def sorted_rows(table: Columns) -> list[tuple[int, ...]]:
    """Return the rows of a table in one fixed order."""
    return sorted(zip(*(column.tolist() for column in table.arrays()), strict=True))


def differs(one: Clearing, other: Clearing, *, in_order: bool = False) -> str | None:
    """Say which table of two clearings differs, or None; the order of rows counts only if `in_order`."""
    for name in ("trades", "prices", "transfers", "resting"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs if in_order else sorted_rows(mine) != sorted_rows(theirs):
            return name
    return "the refusal" if one.refused != other.refused else None


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Within this block all kernels run as plain Python instead of machine code."""
    found = {id(value): value for module in list(modules.values()) for value in _kernels_in(module)}
    before = {number: kernel._fast for number, kernel in found.items()}
    try:
        for kernel in found.values():
            kernel._fast = kernel.twin()
        with np.errstate(over="ignore"):  # kernels count modulo 2**64 on purpose
            yield
    finally:
        for number, kernel in found.items():
            kernel._fast = before[number]


def _kernels_in(module: Any) -> list[Kernel]:
    names = getattr(module, "__dict__", {})
    return [value for value in list(names.values()) if isinstance(value, Kernel)]
