"""Peers trade when the grid asks them to: a price signal switches the members' own market on, interval by interval.

Off peak a central power station serves everybody at a flat price. A peak is dear for it, so it names a price so high
that members meet their needs among themselves (Tushar et al. 2020; survey Tushar et al. 2020, section III). Its cost of
serving the need D of a zone is linear up to the threshold K and quadratic above, and the signal is the cost of one lot
more:

    cost(D) = retail D + rise / (2 K) max(0, D - K)^2,      price(D) = retail + rise max(0, D - K) / K.

Who follows the signal? A member leaves the peers' market if the grid sells below, or buys above, the price there. So in
an interval that is switched on nobody wants to leave, alone or with others, if the peers' price lies between feed-in
and retail price, and the lowest grid price that keeps everybody in is the peers' price itself. `outside_tariff` in the
report counts the open markets in which it is not so.

**What is ours.** The order of moves, the switch and the two-part cost are the paper's idea; its equations were not at
hand, so the formula above is ours. The utility's tariff stays what members pay outside: the signal is an announcement,
and a real peak price belongs into the retail price of that interval, which `from_ticks` reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory, Tariff, unfilled
from wattle.core.segments import grouped
from wattle.core.tables import BUY, Orders, Prices
from wattle.core.units import PRICE_MAX
from wattle.market.inner_rule import built_inner, check_inner, cleared_at_once
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, INDIVIDUALLY_RATIONAL, SEPARABLE, mechanism
from wattle.market.share import totals


@mechanism(
    "grid-signal",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Tushar et al. 2020, IEEE Transactions on Smart Grid 11(2): grid influenced P2P trading (structure)",
)
@dataclass(frozen=True)
class GridSignal:
    """Peers trade only where the grid's price signal says so; in all other intervals the utility serves them.

    `peak_lots` is the need of a zone in one interval (all its bids) above which a lot costs the grid more than usual;
    `rise_ticks` is by how much more if the need is twice that. With `from_ticks` the market opens where the grid's
    price is at least that; without it, where the need is above `peak_lots` (0: wherever somebody needs energy).
    `inner` is the name of a rule that clears at once, with its default parameters.

    The rule keeps its claims with the inner rule that is the default; with another one it has those of them that this
    one has too.
    """

    inner: str = "uniform-auction"
    from_ticks: int = -1
    peak_lots: int = 0
    rise_ticks: int = 0

    def __post_init__(self) -> None:
        check_inner(self.inner, "grid-signal")
        ensure(self.from_ticks >= -1, f"from_ticks is {self.from_ticks}, expected 0 or more, or -1 for no price")
        for name in ("peak_lots", "rise_ticks"):
            ensure(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}, expected 0 or more")
        ensure(self.rise_ticks == 0 or self.peak_lots > 0, "rise_ticks needs peak_lots, the need above which it rises")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Switch each zone and interval on or off and clear those that are on."""
        if self.from_ticks >= 0 and context.tariff is None:
            return None, Clearing.refuse(Reject.NO_TARIFF)
        rule = built_inner(self.inner)
        book, starts = grouped(orders)
        need, _ = totals(starts, book.side, book.quantity)
        head = starts[:-1]
        if self.from_ticks >= 0 and context.tariff is not None:
            retail, _ = context.tariff.at(book.interval[head])
            on = grid_price(need, retail, self.peak_lots, self.rise_ticks) >= self.from_ticks
        else:
            on = need > self.peak_lots
        rows = np.repeat(on, np.diff(starts))
        inner = cleared_at_once(rule, book.take(rows), context, ("grid-signal", self.inner))
        if inner.unusable is not None:
            return None, Clearing.refuse(inner.unusable)
        left = need
        if len(book):
            left = np.add.reduceat(np.where(book.side == BUY, unfilled(book, inner), 0), head)
        report = {
            "intervals": float(np.unique(book.interval[head]).size),
            "intervals_open": float(np.unique(book.interval[head][on]).size),
            "markets_open": float(on.sum()),
            "returned_lots": float(book.quantity[~rows].sum()),
            "largest_need_lots": float(need.max(initial=0)),
            "largest_need_left_lots": float(left.max(initial=0)),
            "peak_cost_saved": float((self._peak_cost(need) - self._peak_cost(left)).sum()),
            "outside_tariff": float(_outside(inner.prices, context.tariff)),
        }
        return None, Clearing(inner.trades, inner.prices, inner.resting, inner.transfers, {**inner.report, **report})

    def _peak_cost(self, need: I64) -> NDArray[np.float64]:
        return peak_cost(need, self.peak_lots, self.rise_ticks)


def grid_price(need: I64, retail: I64, peak_lots: int, rise_ticks: int) -> I64:
    """Return what one lot more costs the grid in each zone and interval, in ticks, rounded down.

    >>> grid_price(np.array([80, 150]), np.array([300, 300]), peak_lots=100, rise_ticks=40).tolist()
    [300, 320]
    """
    over = np.maximum(0, need - peak_lots).astype(np.float64)
    rise = np.floor(np.minimum(over * rise_ticks / max(peak_lots, 1), float(PRICE_MAX)))
    price: I64 = retail + rise.astype(np.int64)
    return price


def peak_cost(need: I64, peak_lots: int, rise_ticks: int) -> NDArray[np.float64]:
    """Return what a need costs the grid beyond its retail price, in cash: the quadratic part of its cost.

    >>> peak_cost(np.array([80, 150]), peak_lots=100, rise_ticks=40).tolist()
    [0.0, 500.0]
    """
    over = np.maximum(0, need - peak_lots).astype(np.float64)
    return over * over * rise_ticks / (2.0 * max(peak_lots, 1))


def _outside(prices: Prices, tariff: Tariff | None) -> int:
    """Count the markets whose price lies outside the tariff, so that somebody would rather turn to the grid."""
    if tariff is None or len(prices) == 0:
        return 0
    retail, feed_in = tariff.at(prices.interval)
    return int(((prices.price > retail) | (prices.price < feed_in)).sum())
