"""Members with quadratic curves: what they want at quoted prices, in closed form; costs never leave this file.

A buyer's lot is worth b - a Q, a seller's costs b + a Q, where Q is all that he trades in an interval. Asked about
several partners at once he maximises his surplus less penalty / 2 times the squared change of each quantity. That
inertia makes a negotiation converge; it costs nothing at the end, when quantities no longer change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wattle.agents.cohort import FixedLimits, View
from wattle.core.columns import F64, I32, I64
from wattle.core.compiled import kernel
from wattle.core.messages import Call
from wattle.core.segments import apportion_rows
from wattle.core.tables import BUY, SELL, Orders


def answer(
    quotes: F64,
    a: float,
    b: float,
    bounds: tuple[float, float],
    *,
    side: int = BUY,
    previous: F64 | None = None,
    penalty: float = 0.0,
) -> F64:
    """Return the quantity that one member wants from each partner at the quoted prices [P] in ticks.

    `bounds` are the least and the most that he trades in all. `quotes` are what he pays or earns, his own part of
    charges and premiums included. Without a penalty he takes everything at the best quote, the first of equals.

    >>> answer(np.array([20.0, 24.0]), a=2.0, b=60.0, bounds=(0.0, 100.0)).tolist()
    [20.0, 0.0]
    """
    before = np.zeros(quotes.size) if previous is None else previous
    wanted = np.zeros(quotes.size)
    _answer_one(
        np.ascontiguousarray(side * quotes), a, side * b, bounds[0], bounds[1], penalty,
        np.ascontiguousarray(before), np.zeros(quotes.size), wanted,
    )  # fmt: skip
    return wanted


@kernel("rf f f f f f rf wf wf")
def _answer_one(
    cost: Any, a: Any, top: Any, least: Any, most: Any, penalty: Any, previous: Any, start: Any, wanted: Any
) -> Any:
    """Fill `wanted` [P] with the quantities at marginal value m: (m - start) / penalty where that is positive.

    Partner e is wanted as soon as m is above `start[e]`; the sum of all is piecewise linear in m. `cost` and `top` are
    those of a buyer; for a seller both have the other sign. `start` is scratch.
    """
    size = cost.size
    if size == 0:
        return
    for row in range(size):
        wanted[row] = 0.0
        start[row] = cost[row] - penalty * previous[row]
    if penalty <= 0.0:
        best = 0
        for row in range(1, size):
            if cost[row] < cost[best]:
                best = row
        wanted[best] = min(max((top - cost[best]) / a, least), most)
        return
    order = np.sort(start)
    marginal = _level(order, penalty, top / a, 1.0 / a)
    total = (top - marginal) / a
    if total > most:
        marginal = _level(order, penalty, most, 0.0)
    elif total < least:
        marginal = _level(order, penalty, least, 0.0)
    for row in range(size):
        wanted[row] = max(0.0, (marginal - start[row]) / penalty)


@kernel("rf f f f")
def _level(order: Any, penalty: Any, level: Any, slope: Any) -> Any:
    """Return m with sum(max(0, m - order)) / penalty = level - slope m; `order` is sorted."""
    found = level / slope if slope > 0.0 else order[0]
    so_far = 0.0
    for row in range(order.size):
        so_far += order[row]
        candidate = (level + so_far / penalty) / ((row + 1) / penalty + slope)
        if candidate > order[row]:
            found = candidate
    return found


def whole_lots(quantities: F64) -> I64:
    """Round quantities so that their sum is the rounded sum; the largest remainders are rounded up.

    >>> whole_lots(np.array([1.4, 1.4, 1.2])).tolist()
    [2, 1, 1]
    """
    lots = np.zeros(quantities.size, np.int64)
    _round_one(np.ascontiguousarray(quantities), lots, np.zeros(quantities.size, np.int64), np.zeros_like(lots))
    return lots


@kernel("rf w8 w8 w8")
def _round_one(quantities: Any, lots: Any, weights: Any, remainders: Any) -> Any:
    total = 0.0
    for row in range(quantities.size):
        total += quantities[row]
        weights[row] = np.int64(np.rint(quantities[row] * 1024.0))
    apportion_rows(np.int64(np.rint(total)), weights, lots, remainders)


@kernel("r8 r8 rf rf rf rf rf i f wf w8")
def _answer_groups(
    rows: Any, starts: Any, price: Any, before: Any, a: Any, top: Any, most: Any, side: Any, penalty: Any,
    wanted: Any, lots: Any,
) -> Any:  # fmt: skip
    """Answer many members and intervals: group g has the quotes `rows[starts[g] : starts[g + 1]]`.

    `a`, `top` and `most` belong to the groups, `price` and `before` to the quotes; `lots` is filled by quote.
    """
    largest = 1
    for group in range(starts.size - 1):
        largest = max(largest, starts[group + 1] - starts[group])
    cost, previous, start = np.empty(largest), np.empty(largest), np.empty(largest)
    weights, remainders = np.empty(largest, np.int64), np.empty(largest, np.int64)
    whole = np.empty(largest, np.int64)
    for group in range(starts.size - 1):
        first, size = starts[group], starts[group + 1] - starts[group]
        for place in range(size):
            row = rows[first + place]
            cost[place] = side * price[row]
            previous[place] = before[row]
        _answer_one(
            cost[:size], a[group], side * top[group], 0.0, most[group], penalty, previous[:size], start[:size],
            wanted[:size],
        )  # fmt: skip
        _round_one(wanted[:size], whole[:size], weights[:size], remainders[:size])
        for place in range(size):
            lots[rows[first + place]] = whole[place]


@dataclass
class QuadraticMembers:
    """Members who buy what they expect to need and sell what they expect to spare, at quadratic value and cost.

    `a` is in ticks per lot squared, `buy` the value of the first lot bought, `sell` the cost of the first lot sold, in
    ticks [N]. They open with the most they would trade at that first value as their limit, and answer quotes
    for named pairs with what they want; `penalty` is that of the rule, `charge_ticks` their own part of a grid charge.
    What they answered last is kept for the next round. With `spread` they keep nothing: the penalty is then on the
    quantity itself, a taste for many partners.
    """

    members: I32
    a: F64
    buy: F64
    sell: F64
    penalty: float = 1.0
    charge_ticks: int = 0
    spread: bool = False
    _last: dict[str, tuple[I64, I64]] = field(default_factory=dict)

    def respond(self, call: Call, view: View) -> Orders:
        """Open with limits, or answer the quotes of a round."""
        if call.round == 0:
            self._last.pop(call.product, None)
            return self._open(call, view)
        quotes, rows = call.quotes, len(call.quotes)
        before = self._last.get(call.product, (np.zeros(rows, np.int64), np.zeros(rows, np.int64)))
        now = tuple(
            self._side(call, view, side, who, before[place])
            for place, (side, who) in enumerate(((BUY, quotes.buyer), (SELL, quotes.seller)))
        )
        if not self.spread:
            self._last[call.product] = (now[0], now[1])
        parts = []
        for side, who, other, lots in (
            (BUY, quotes.buyer, quotes.seller, now[0]),
            (SELL, quotes.seller, quotes.buyer, now[1]),
        ):
            wanted = np.flatnonzero(lots)
            place = np.searchsorted(self.members, who[wanted])
            limit = np.rint((self.buy if side == BUY else self.sell)[place])
            parts.append(
                Orders(
                    id=np.zeros(wanted.size, np.int64),
                    participant=who[wanted],
                    zone=quotes.zone[wanted],
                    interval=quotes.interval[wanted],
                    side=np.full(wanted.size, side, np.int8),
                    quantity=lots[wanted],
                    limit=limit.astype(np.int64),
                    partner=other[wanted],
                )
            )
        return Orders.concat(*parts)

    def _open(self, call: Call, view: View) -> Orders:
        buy, sell = (np.rint(value).astype(np.int64) for value in (self.buy, self.sell))
        return FixedLimits(self.members, buy, sell).respond(call, view)

    def _side(self, call: Call, view: View, side: int, who: I32, before: I64) -> I64:
        """Return the lots that the members want on this side of each quote."""
        quotes, lots = call.quotes, np.zeros(who.size, np.int64)
        mine = np.flatnonzero(np.isin(who, self.members))
        rows = mine[np.lexsort((mine, who[mine], quotes.interval[mine]))]
        if rows.size == 0:
            return lots
        change = (np.diff(who[rows]) != 0) | (np.diff(quotes.interval[rows]) != 0)
        starts = np.concatenate(([0], np.flatnonzero(change) + 1, [rows.size])).astype(np.int64)
        head = rows[starts[:-1]]
        member = np.searchsorted(self.members, who[head])
        expected = view.expected[quotes.interval[head] - call.first, member]
        _answer_groups(
            rows, starts, quotes.price + float(side * self.charge_ticks), before.astype(np.float64),
            np.asarray(self.a, np.float64)[member],
            np.asarray(self.buy if side == BUY else self.sell, np.float64)[member],
            np.maximum(0, side * expected).astype(np.float64), side, self.penalty,
            np.zeros(int(np.diff(starts).max())), lots,
        )  # fmt: skip
        return lots
