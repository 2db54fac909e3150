"""Markets inside markets: inside each zone first, then between zones, then between cells, a fee added at each step.

An inner rule clears every zone by itself. What is left over goes up once: the orders of all zones under one parent meet
there, again under the inner rule, and what is left after that meets once more at the parent's parent. Going up costs a
fee of that level, half from the buyer and half from the seller, so an order is cleared above with its limit less (or
plus) its part, and pays the price found there plus (less) it. A lot that is traded below never appears above.

Energy that leaves a zone passes through the market operator, see `between_zones`.

Tushar et al. 2020, IEEE Transactions on Smart Grid 11(4) (nested and hybrid communities);
Long et al. 2018, Applied Energy 226, for the three levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattle.core.checks import ensure
from wattle.core.messages import Clearing, Context, Memory, unfilled
from wattle.core.tables import Orders, Prices, Trades, Transfers
from wattle.market import auction_double
from wattle.market.between_zones import carried, parents_of, with_fee, with_named_prices, zone_by_zone, zones_above
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
    the second, which comes on top.
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
        """Clear each zone, then what is left one level up, then what is still left at the top."""
        rule = built_inner(self.inner)
        parents = parents_of(self.levels)
        trades, transfers, traded = [Trades.empty()], [Transfers.empty()], []
        priced, left = with_named_prices(orders, context) if parents else orders, orders.quantity
        zone, fee = orders.zone, 0
        for level, step_fee in enumerate((0, self.between_ticks, self.cells_ticks)):
            above = zone if level == 0 else zones_above(zone, parents)
            rows = np.flatnonzero((left > 0) & (above >= 0))
            fee += step_fee
            if rows.size == 0:
                break
            book = (orders if level == 0 else priced).take(rows).replace(quantity=left[rows], zone=above[rows])
            if level:
                book = with_fee(book, fee)
            answer = cleared_at_once(rule, book, context, ("nested", self.inner))
            if answer.unusable is not None:
                if level == 0:
                    return None, Clearing.refuse(answer.unusable)
                traded.append(0)
            else:
                left = left.copy()
                left[rows] = unfilled(book, Clearing(answer.trades, Prices.empty()))
                found = answer.trades if level == 0 else carried(answer.trades, orders, fee)
                traded.append(int(answer.trades.quantity.sum()))
                trades.append(found)
                transfers.append(answer.transfers)
            zone = above
        whole = zone_by_zone(trades)
        report = {f"traded_on_level_{level}_lots": float(lots) for level, lots in enumerate(traded)}
        prices = auction_double.mean_prices(whole)
        return None, Clearing(whole, prices, transfers=Transfers.concat(*transfers), report=report)
