"""A shared facility buys from the homes around it first, at the best price for itself, and the rest from the grid.

Three parties (Tushar et al. 2015): homes with a surplus, a facility that all share (lift, lights, pumps) and that
generates nothing, and the grid. The facility leads by naming a price p; each home answers with what it then sells; the
grid delivers what is missing at the retail price r. The facility wants its whole need Q at least cost:

    cost(p) = p s(p) + r (Q - s(p)),   s(p) what the homes sell at p, at most Q.

A home with E lots to spare that keeps E - e of them enjoys K ln(1 + E - e) + p e, so it sells e = E + 1 - K / p, as far
as that lies between 0 and E. Where all homes sell a part and Q is not met,

    cost(p) = r Q - (r - p) (sum of (E + 1) - sum of K / p),

which is strictly convex, and the only equilibrium is p* = sqrt(r sum of K / sum of (E + 1)). A facility that needs less
than the homes would sell at p* stops at the price at which they sell just Q.

The rule knows no home's K: it asks, like `stackelberg`, whose search it uses with the facility as a buyer whose limit
is the retail price. A home can always sell to the grid, so no price below the feed-in price is named. `deviation_gain`
bounds what any other price could still save; with homes that enter one after the other the cost may have several low
points, and `unique` is 0 in the report if more than one of them is best.

**The rest from the grid** is not traded here. It is returned, and the utility takes it like what is left of any member:
at retail, in the settlement of the interval. So charges, and what is consumed beyond the order, are counted once and by
one hand. `cost` in the report holds both parts, at prices net of charges as rules see them; it is never above
`cost_from_grid_only`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from wattle.core.checks import Reject, ensure
from wattle.core.messages import Clearing, Context, Memory, Quote
from wattle.core.segments import grouped
from wattle.core.tables import BUY, Orders
from wattle.market.auction_double import has_partner
from wattle.market.between_zones import with_named_prices
from wattle.market.mechanism import ANSWERS, BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, mechanism
from wattle.market.own_orders import owned
from wattle.market.share import merged, weights_of
from wattle.market.stackelberg import State, leaders, next_quote, quoted, traded


@mechanism(
    "shared-facility",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL},
    source="Tushar et al. 2015, IEEE Transactions on Industrial Electronics 62(4): three-party energy management",
    bids=ANSWERS,
)
@dataclass(frozen=True)
class SharedFacility:
    """A facility buys local surplus at the price that makes its bill smallest, and the rest from the utility at retail.

    `facilities` names it: "Hall:1"; of several in one zone the one with the largest number leads there. Without a name
    it is the largest buyer of each zone and interval. All other buyers are served by the utility. `grid` is how many
    prices are asked before the search narrows; at most 40 more follow. Of several best prices that were asked the
    highest is taken, which the homes like best.
    A facility may name a limit below retail; then what it does not get locally stays unbought (of several limits the
    lowest counts).
    """

    facilities: Mapping[int, int] = field(default_factory=dict)
    grid: int = 33

    def __post_init__(self) -> None:
        ensure(3 <= self.grid <= 400, f"grid is {self.grid}, expected 3 to 400")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[Memory | None, Clearing | Quote]:
        """Ask the next price of each facility, or buy at the best."""
        if context.tariff is None:
            return None, Clearing.refuse(Reject.NO_TARIFF)
        if memory is None:
            if has_partner(orders):
                return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
            found = leaders(self._players(orders, context), context, BUY, self.grid)
            if isinstance(found, Clearing):
                return None, found
            return found, quoted(found, BUY)
        state: State = dict(memory)
        if not state["last"]:
            return state, next_quote(state, orders, BUY, self.grid)
        clearing = traded(state, orders, BUY)
        return state, replace(clearing, report=_bill(state, clearing, context))

    def _players(self, orders: Orders, context: Context) -> Orders:
        """Return one order of the facility of each zone and interval, with its whole need, and the offers of homes.

        Limits are what the grid leaves of them: nobody buys locally above retail or sells locally below feed-in.
        """
        ensure(context.tariff is not None, "a facility compares with the tariff")
        assert context.tariff is not None
        retail, feed_in = context.tariff.at(orders.interval)
        orders = with_named_prices(orders, context)
        worth = np.where(orders.side == BUY, np.minimum(orders.limit, retail), np.maximum(orders.limit, feed_in))
        orders = orders.replace(limit=worth)
        rank = weights_of(self.facilities, orders.participant, 0)
        buys = orders.side == BUY
        buyers = orders.take(buys & ((rank > 0) | (not self.facilities)))
        if len(buyers) == 0:
            return Orders.empty()
        needs = _one_each(buyers)
        rank = weights_of(self.facilities, needs.participant, 0)
        order = np.lexsort((needs.id, -needs.quantity, -rank, needs.zone, needs.interval))
        first = np.ones(order.size, bool)
        here = needs.take(order)
        first[1:] = (np.diff(here.interval) != 0) | (np.diff(here.zone) != 0)
        facility = here.take(first)
        homes = orders.take(~buys)
        own = owned(homes, facility.interval, facility.zone, facility.participant)
        return Orders.concat(facility, homes.take(~own))


def _one_each(buyers: Orders) -> Orders:
    """Return one order for each member, zone and interval, with the lowest of his limits."""
    book, starts = grouped(buyers)
    joined = merged(book, starts)
    if joined is None:
        return book
    needs, row_of = joined
    lowest = np.full(len(needs), np.iinfo(np.int64).max)
    np.minimum.at(lowest, row_of, book.limit)
    return needs.replace(limit=lowest)


def _bill(state: State, clearing: Clearing, context: Context) -> dict[str, float]:
    """Say what the facilities pay: for local energy, for the rest at retail, and had they bought all at retail."""
    ensure(context.tariff is not None, "a facility compares with the tariff")
    assert context.tariff is not None
    retail, _ = context.tariff.at(state["interval"].astype(np.int32))
    trades = clearing.trades
    local = float((trades.quantity.astype(float) * trades.buy_price).sum())
    need = np.add.reduceat(state["have"], state["own"][:-1])
    at_retail = float((need.astype(float) * retail).sum())
    spared, _ = context.tariff.at(trades.interval)
    saved = float((trades.quantity.astype(float) * (spared - trades.buy_price)).sum())
    return {
        **{name: clearing.report[name] for name in ("rounds", "unique", "deviation_gain")},
        "facilities": float(state["leader"].size),
        "local_lots": float(trades.quantity.sum()),
        "grid_lots": float(need.sum() - trades.quantity.sum()),
        "local_cost": local,
        "cost": at_retail - saved,
        "cost_from_grid_only": at_retail,
    }
