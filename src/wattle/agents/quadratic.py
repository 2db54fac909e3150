"""Members with quadratic curves: what they want at quoted prices, in closed form; costs never leave this file.

A buyer's lot is worth b - a Q, a seller's costs b + a Q, where Q is all that he trades in an interval. Asked about
several partners at once he maximises his surplus less penalty / 2 times the squared change of each quantity. That
inertia makes a negotiation converge; it costs nothing at the end, when quantities no longer change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wattle.agents.cohort import FixedLimits, View
from wattle.core.columns import F64, I32, I64
from wattle.core.messages import Call
from wattle.core.segments import apportion
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
    cost, top = (quotes, b) if side == BUY else (-quotes, -b)
    least, most = bounds
    wanted = np.zeros(cost.size)
    if cost.size == 0:
        return wanted
    if penalty <= 0:
        best = int(np.argmin(cost))
        wanted[best] = min(max((top - cost[best]) / a, least), most)
        return wanted
    # Partner e is wanted as soon as the marginal value m is above `start[e]`; the sum of all is piecewise linear in m.
    start = cost - penalty * (np.zeros(cost.size) if previous is None else previous)
    marginal = _level(start, penalty, top / a, 1 / a)
    total = (top - marginal) / a
    if not least <= total <= most:
        marginal = _level(start, penalty, most if total > most else least, 0.0)
    found: F64 = np.maximum(0.0, (marginal - start) / penalty)
    return found


def _level(start: F64, penalty: float, level: float, slope: float) -> float:
    """Return m with sum(max(0, m - start)) / penalty = level - slope m."""
    order = np.sort(start)
    count = np.arange(1, order.size + 1)
    candidates = (level + np.cumsum(order) / penalty) / (count / penalty + slope)
    active = np.flatnonzero(candidates > order)
    if active.size:
        return float(candidates[active[-1]])
    return level / slope if slope else float(order[0])


def whole_lots(quantities: F64) -> I64:
    """Round quantities so that their sum is the rounded sum; the largest remainders are rounded up.

    >>> whole_lots(np.array([1.4, 1.4, 1.2])).tolist()
    [2, 1, 1]
    """
    return apportion(int(np.rint(quantities.sum())), np.rint(quantities * 1024).astype(np.int64))


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
        quotes, wanted = call.quotes, np.zeros(who.size, np.int64)
        mine = np.flatnonzero(np.isin(who, self.members))
        order = mine[np.lexsort((mine, who[mine], quotes.interval[mine]))]
        if order.size == 0:
            return wanted
        change = (np.diff(who[order]) != 0) | (np.diff(quotes.interval[order]) != 0)
        edges: NDArray[np.int64] = np.concatenate(([0], np.flatnonzero(change) + 1, [order.size]))
        for first, stop in pairwise(edges.tolist()):
            rows = order[first:stop]
            member = int(np.searchsorted(self.members, who[rows[0]]))
            most = max(0, side * int(view.expected[quotes.interval[rows[0]] - call.first, member]))
            price = quotes.price[rows].astype(np.float64) + side * self.charge_ticks
            top = float((self.buy if side == BUY else self.sell)[member])
            quantities = answer(
                price,
                float(self.a[member]),
                top,
                (0.0, float(most)),
                side=side,
                previous=before[rows].astype(np.float64),
                penalty=self.penalty,
            )
            wanted[rows] = whole_lots(quantities)
        return wanted
