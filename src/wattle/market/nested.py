"""Markets inside markets: inside each zone first, then between zones, then between cells, a fee added at each step.

An inner rule clears every zone by itself. What is left over goes up once: the orders of all zones under one parent meet
there, again under the inner rule, and what is left after that meets once more at the parent's parent. A parent waits
until all zones below it have cleared, however many steps lie under each of them, and orders that are placed in its own
zone take part in that one market.

Going up costs a fee of that level, half from the buyer and half from the seller, each for the steps that his order has
taken. So an order is cleared above with its limit less (or plus) its part, and pays the price found there plus (less)
it; who is at home there pays nothing. A lot that is traded below never appears above.

Energy that leaves a zone passes through the market operator, see `between_zones`.

Tushar et al. 2020, IEEE Transactions on Smart Grid 11(4) (nested and hybrid communities);
Long et al. 2018, Applied Energy 226, for the three levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory, unfilled
from wattle.core.tables import ANY_PRICE, BUY, Orders, Prices, Trades, Transfers
from wattle.market import auction_double
from wattle.market.between_zones import carried, halves, parents_of, with_named_prices, zone_by_zone, zones_above
from wattle.market.inner_rule import built_inner, check_inner, cleared_at_once
from wattle.market.mechanism import BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, mechanism

LEVELS_MAX = 3


@mechanism(
    "nested",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL},
    source="Long et al. 2018, Applied Energy 226: hybrid and nested communities",
)
@dataclass(frozen=True)
class Nested:
    """An inner rule zone by zone; leftovers meet once in the zone above, and once more above that, with a fee each.

    `levels` names the parent of each zone: "1:10,2:10,3:11,10:100,11:100" puts the microgrids 1 and 2 into cell 10, 3
    into cell 11, both cells into 100. A zone without a parent stays by itself. `inner` is the name of a rule that
    clears at once, with its default parameters. `between_ticks` is the fee of the first step up, `cells_ticks` that of
    the second, which comes on top; buyer and seller each pay half of it for their own steps.

    The rule keeps its claims with the inner rule that is the default; with another one it has those of them that this
    one has too.
    """

    levels: str = ""
    inner: str = "uniform-auction"
    between_ticks: int = 0
    cells_ticks: int = 0

    def __post_init__(self) -> None:
        check_inner(self.inner, "nested")
        for name in ("between_ticks", "cells_ticks"):
            ensure(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}, expected 0 or more")
        parents = parents_of(self.levels)
        for zone in parents:
            above = [zone]
            while above[-1] in parents:
                above.append(parents[above[-1]])
                ensure(len(above) <= LEVELS_MAX, f"levels: zone {zone} has more than {LEVELS_MAX - 1} zones above it")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Clear each zone as soon as all zones below it have cleared, with what these have left."""
        rule, parents = built_inner(self.inner), parents_of(self.levels)
        height, fees = heights_of(parents), np.cumsum([0, self.between_ticks, self.cells_ticks])
        priced = with_named_prices(orders, context) if parents else orders
        at, left, steps = orders.zone.copy(), orders.quantity.copy(), np.zeros(len(orders), np.int64)
        trades, transfers, traded, refusals = [Trades.empty()], [Transfers.empty()], {}, list[Reject]()
        for level in range(LEVELS_MAX):
            rows = np.flatnonzero((left > 0) & (at >= 0) & (_height_of(at, height) == level))
            if rows.size == 0:
                continue
            home, fee = steps[rows] == 0, fees[steps[rows]]
            limit = np.where(home, orders.limit[rows], limits_with_fees(priced.take(rows), fee))
            book = orders.take(rows).replace(quantity=left[rows], zone=at[rows], limit=limit)
            answer = cleared_at_once(rule, book, context, ("nested", self.inner))
            traded[level] = 0
            if answer.unusable is None:
                left[rows] = unfilled(book, Clearing(answer.trades, Prices.empty()))
                traded[level] = int(answer.trades.quantity.sum())
                trades.append(answer.trades if home.all() else carried_home(answer.trades, orders.take(rows), fee))
                transfers.append(answer.transfers)
            elif home.any() and answer.unusable != Reject.NO_PRICE:  # takers may find a price above
                return None, Clearing.refuse(answer.unusable)
            else:
                refusals.append(answer.unusable)
            at[rows] = zones_above(at[rows], parents)
            steps[rows] += 1
        if refusals and not any(traded.values()):
            return None, Clearing.refuse(refusals[0])
        whole = zone_by_zone(trades)
        report = {f"traded_on_level_{level}_lots": float(lots) for level, lots in traded.items()}
        prices = auction_double.mean_prices(whole)
        return None, Clearing(whole, prices, transfers=Transfers.concat(*transfers), report=report)


def heights_of(parents: Mapping[int, int]) -> dict[int, int]:
    """Return of each zone that is named the largest number of steps up to it from a zone below.

    >>> heights_of({0: 10, 10: 100, 3: 100})
    {0: 0, 10: 1, 100: 2, 3: 0}
    """
    height = dict.fromkeys((zone for pair in parents.items() for zone in pair), 0)
    for zone in parents:
        steps = 0
        while zone in parents:
            zone, steps = parents[zone], steps + 1
            height[zone] = max(height[zone], steps)
    return height


def limits_with_fees(orders: Orders, fee: I64) -> I64:
    """Return the limits with which orders meet above: less (buyers) or plus (sellers) their part of their fee [N]."""
    buyer_fee, seller_fee = halves(fee)
    shifted = orders.limit + np.where(orders.side == BUY, -buyer_fee, seller_fee)
    return np.where(np.abs(orders.limit) == ANY_PRICE, orders.limit, shifted)


def carried_home(trades: Trades, orders: Orders, fee: I64) -> Trades:
    """Return trades of a market above in the members' own zones and at their own prices; `fee` [N] is that of orders.

    See `between_zones.carried`; here the two sides may have taken different numbers of steps.
    """
    rank = np.argsort(orders.id, kind="stable")
    bought, sold = (fee[rank[np.searchsorted(orders.id[rank], ids)]] for ids in (trades.buy_order, trades.sell_order))
    pays, earns = trades.buy_price + halves(bought)[0], trades.sell_price - halves(sold)[1]
    return carried(trades.replace(buy_price=pays, sell_price=earns), orders)


def _height_of(zone: NDArray[np.int32], height: Mapping[int, int]) -> I64:
    values, place = np.unique(zone, return_inverse=True)
    found = np.array([height.get(value, 0) for value in values.tolist()], np.int64)
    return found[place]
