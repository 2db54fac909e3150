"""A community manager plans for all: the largest welfare with the utility as one more trader, and what is fair.

The utility stands in the same call auction as the members: it offers any amount at the retail price and bids for any
amount at the feed-in price. That plan is the optimum of the manager's linear programme, with one local price in each
zone and interval. Fairness terms change the programme (Moret and Pinson 2019, energy collectives):

- autonomy: each lot exchanged with the outside counts `autonomy_ticks` dearer than it is;
- peak share: the largest import of a zone over all intervals of the gate costs `peak_ticks` a lot. Interval by interval
  that is a bound on imports, and the bound is right where the members would pay just `peak_ticks` in all intervals
  together for one lot more, which bisection finds exactly;
- import price: how the residual import is split, which decides what a member's energy costs on average. Pro rata to
  what each buys in the plan (all pay the same mix), or in part as equal amounts.

Only local energy is traded here. What the plan imports or exports stays with the member to whom the split gives it, and
the utility's backstop settles it at the tariff.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import grouped, starts_of
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, SELL, UTILITY, Orders, Prices
from wattle.market.auction_double import has_partner, paired, trades_of
from wattle.market.clear_book import clear_call
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, INDIVIDUALLY_RATIONAL, mechanism
from wattle.market.share import by_rank, pro_rata, totals


@mechanism(
    "community-manager",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, EXACT},
    source="Moret and Pinson 2019, IEEE Transactions on Power Systems 34(5), energy collectives",
)
@dataclass(frozen=True)
class CommunityManager:
    """Largest welfare with the utility as a trader at retail and feed-in price; residual import and export are split.

    `autonomy_ticks` makes each lot from or to the outside so much dearer, `peak_ticks` is what a lot of the largest
    import over all intervals costs. `equal_percent` of the residual is split in equal amounts among those who buy (or
    sell) in the plan, the rest pro rata to what they buy (or sell). `k_percent` places the local price between its
    bounds, as in the uniform auction.
    """

    autonomy_ticks: int = 0
    peak_ticks: int = 0
    equal_percent: int = 0
    k_percent: int = 50

    def __post_init__(self) -> None:
        for name in ("autonomy_ticks", "peak_ticks"):
            ensure(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}, expected 0 or more")
        for name in ("equal_percent", "k_percent"):
            ensure(0 <= getattr(self, name) <= 100, f"{name} is {getattr(self, name)}, expected 0 to 100")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Plan all intervals, split what is exchanged with the utility, trade the rest locally."""
        if context.tariff is None:
            return None, Clearing.refuse(Reject.NO_TARIFF)
        if has_partner(orders):
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        if len(orders) == 0:
            return None, Clearing(trades_of(orders, *(np.zeros(0, np.int64),) * 4), Prices.empty())
        plan = _Plan.of(orders, context, self.autonomy_ticks)
        bound, residual = _peaks(plan, self.peak_ticks)
        fill, bounds = plan.cleared(bound)
        members = plan.book.participant != UTILITY
        book, lots = plan.book.take(members), fill[members]
        starts = starts_of(book.interval, book.zone)
        local, wanted, offered = _split(book, starts, lots, self.equal_percent)
        price = bounds[:, 1] + (bounds[:, 2] - bounds[:, 1]) * self.k_percent // 100
        buy, sell, moved = paired(book, starts, local, np.arange(len(book)))
        trades = trades_of(book, buy, sell, moved, np.repeat(price, np.diff(starts))[buy])
        head = starts[:-1][np.minimum(wanted, offered) > 0]
        where = np.flatnonzero(np.minimum(wanted, offered) > 0)
        imported = np.maximum(wanted - offered, 0)
        report = {
            "import_lots": float(imported.sum()),
            "export_lots": float(np.maximum(offered - wanted, 0).sum()),
            "largest_import_lots": float(imported.max()),
            "autonomy": float(1 - imported.sum() / max(1, wanted.sum())),
            "residual": float(residual),
        }
        return None, Clearing(trades, Prices(book.interval[head], book.zone[head], price[where]), report=report)


@dataclass(frozen=True, eq=False)
class _Plan:
    """The book with the utility's orders in each group; `asks` are the rows of its offers."""

    book: Orders
    starts: I64
    asks: I64
    retail: I64  # [G] what an imported lot counts

    @classmethod
    def of(cls, orders: Orders, context: Context, autonomy: int) -> _Plan:
        tariff = context.tariff
        ensure(tariff is not None, "a plan needs a tariff")
        assert tariff is not None
        retail, feed_in = tariff.at(orders.interval)
        taken = np.where(orders.limit == ANY_PRICE, retail, orders.limit)
        named, starts = grouped(orders.replace(limit=np.where(taken == -ANY_PRICE, feed_in, taken)))
        head = starts[:-1]
        retail, feed_in = tariff.at(named.interval[head])
        wanted, offered = totals(starts, named.side, named.quantity)
        count, last = head.size, int(named.id.max()) + 1
        # Behind all members at equal prices; as much as anybody could want.
        utility = [
            Orders(
                id=np.arange(last + place * count, last + (place + 1) * count),
                participant=np.full(count, UTILITY, np.int32),
                zone=named.zone[head],
                interval=named.interval[head],
                side=np.full(count, side, np.int8),
                quantity=lots,
                limit=price,
                partner=np.full(count, ANYONE, np.int32),
            )
            for place, (side, lots, price) in enumerate(
                ((SELL, wanted, retail + autonomy), (BUY, offered, feed_in - autonomy))
            )
        ]
        book, starts = grouped(Orders.concat(named, *utility))
        asks = np.flatnonzero((book.participant == UTILITY) & (book.side == SELL))
        return cls(book, starts, asks, retail + autonomy)

    def cleared(self, bound: I64) -> tuple[I64, NDArray[np.int64]]:
        """Return fills and price bounds when each group imports at most `bound` lots [G]."""
        lots = self.book.quantity.copy()
        lots[self.asks] = np.minimum(lots[self.asks], bound)
        return clear_call(self.starts, self.book.side, lots, self.book.limit)


def _peaks(plan: _Plan, peak_ticks: int) -> tuple[I64, int]:
    """Return the bound on imports of each group, and by how much the price of a lot of peak misses `peak_ticks`.

    The bound of a zone is the smallest at which one lot more is worth at most `peak_ticks`, all intervals together.
    """
    most = plan.book.quantity[plan.asks]
    if peak_ticks == 0:
        return most, 0
    zones, zone = np.unique(plan.book.zone[plan.asks], return_inverse=True)

    def worth(bound: I64) -> I64:
        _, bounds = plan.cleared(bound[zone])
        # Where nothing trades nobody wants what the utility offers, unless the bound is what keeps it away.
        price = np.where(bounds[:, 0] > 0, bounds[:, 1], _best_bid(plan))
        above = np.maximum(0, price - plan.retail)
        found = np.zeros(zones.size, np.int64)
        np.add.at(found, zone, above)
        return found

    low, high = np.zeros(zones.size, np.int64), np.zeros(zones.size, np.int64)
    np.maximum.at(high, zone, most)
    while (low < high).any():
        middle = (low + high) // 2
        enough = worth(middle) <= peak_ticks
        high, low = np.where(enough, middle, high), np.where(enough, low, np.minimum(middle + 1, high))
    over = np.maximum(0, worth(high) - peak_ticks)
    under = np.where(high > 0, np.maximum(0, peak_ticks - worth(np.maximum(high - 1, 0))), 0)
    return np.minimum(most, high[zone]), int((over + under).max(initial=0))


def _best_bid(plan: _Plan) -> I64:
    limit = np.where(plan.book.side == BUY, plan.book.limit, -ANY_PRICE)
    best: I64 = np.maximum.reduceat(limit, plan.starts[:-1])
    return best


def _split(book: Orders, starts: I64, lots: I64, equal_percent: int) -> tuple[I64, I64, I64]:
    """Return the lots that each order trades locally, and the lots bought and sold in the plan of each group."""
    wanted, offered = totals(starts, book.side, lots)
    local = lots.copy()
    for side, residual in ((BUY, np.maximum(wanted - offered, 0)), (SELL, np.maximum(offered - wanted, 0))):
        outside = np.zeros(len(book), np.int64)
        if equal_percent:
            direction = book.side * np.int8(side)
            level = np.zeros(len(book), np.int64)
            by_rank(starts, direction, lots, level, 1, residual * equal_percent // 100, outside)
        dealt = np.add.reduceat(outside, starts[:-1])
        rest = np.zeros(len(book), np.int64)
        pro_rata(starts, book.side, lots - outside, side, residual - dealt, rest)
        local -= outside + rest
    return local, wanted, offered
