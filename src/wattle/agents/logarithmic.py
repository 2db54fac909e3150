"""Members to whom a little energy is worth much and a lot not much more: logarithmic utility, answers in closed form.

A member who consumes c lots of what the market can move enjoys K ln(1 + c / u); u is the amount that stands for "1", so
that K has the unit of money. At price p he consumes what makes his last lot worth p,

    c(p) = K / p - u,   at least 0 and at most what he has or needs.

With a surplus E he keeps c(p) and sells E - c(p); with a need D he buys c(p) (Tushar et al. 2015, IEEE Transactions on
Industrial Electronics 62(4), where u is one unit of energy). K never leaves this file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattle.agents.cohort import View, orders_of, quotes_taken
from wattle.core.checks import ensure
from wattle.core.columns import F64, I32
from wattle.core.messages import Call, Tariff
from wattle.core.segments import cells
from wattle.core.tables import ANYONE, Orders


def consumed(price: float | F64, k: float | F64, unit: float | F64, most: float | F64) -> F64:
    """Return the lots that members with utility k ln(1 + c / unit) consume at a price, at least 0 and at most `most`.

    >>> consumed(np.array([50.0, 100.0, 400.0]), 2000.0, 10.0, 25.0).tolist()
    [25.0, 10.0, 0.0]
    """
    positive = np.maximum(np.asarray(price, np.float64), 1e-9)  # nobody stops short of `most` at a price of nought
    found: F64 = np.clip(k / positive - unit, 0.0, most)
    return found


@dataclass(frozen=True, eq=False)
class LogarithmicMembers:
    """Members with utility k ln(1 + c / unit) who open with what they would trade at most and answer quotes.

    `k` [N] is in cash (ticks x lots), `unit` [N] in lots. They open at the price at which the first lot changes hands:
    k / (unit + E) for one who has E lots to sell, rounded up to a tick; k / unit for a buyer, rounded down. Asked at
    prices, each takes the best quote that his first lot allows (of equals the first) and answers with what he then
    trades, to the nearest whole lot; the limit of such an order is the price that was quoted.

    Where there is a `tariff`, the utility is always an alternative: nobody buys above its retail price, which is to be
    given less the charges on local energy, and nobody sells below its feed-in price.
    """

    members: I32
    k: F64
    unit: F64
    tariff: Tariff | None = None

    def __post_init__(self) -> None:
        ensure(bool((self.k > 0).all()) and bool((self.unit > 0).all()), "k and unit of each member must be above 0")

    def respond(self, call: Call, view: View) -> Orders:
        """Open with limits, or answer the quotes of a round."""
        time, who, lots = cells(view.expected)
        buys, k, unit = lots > 0, self.k[who], self.unit[who]
        has = np.maximum(-lots, 0)
        first = np.where(buys, np.floor(k / unit), np.ceil(k / (unit + has))).astype(np.int64)
        if self.tariff is not None:
            retail, feed_in = self.tariff.at(time + np.int32(call.first))
            first = np.where(buys, np.minimum(first, retail), np.maximum(first, feed_in))
        if call.round == 0:
            return orders_of(call, self.members[who], time, lots, first, np.full(who.size, ANYONE, np.int32))
        price, partner, good = quotes_taken(call, self.members, view.expected, first)
        kept = np.rint(consumed(price.astype(np.float64), k, unit, np.abs(lots))).astype(np.int64)
        wanted = np.where(buys, kept, kept - has)
        rows = good & (wanted != 0)
        return orders_of(call, self.members[who[rows]], time[rows], wanted[rows], price[rows], partner[rows])
