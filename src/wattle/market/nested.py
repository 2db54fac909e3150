"""Markets inside markets: inside each zone first, then between zones, then between cells, a fee added at each step.

An inner rule clears every zone by itself. What is left over goes up once: the orders of all zones under one parent meet
there, again under the inner rule, and what is left after that meets once more at the parent's parent. Going up costs a
fee of that level, half from the buyer and half from the seller, so an order is cleared above with its limit less (or
plus) its part, and pays the price found there plus (less) it. A lot that is traded below never appears above.

Energy that leaves a zone passes through the market operator: he buys it in the seller's zone and sells it in the
buyer's, so every zone balances with him. The fee is the gap between the two prices of the buyer's leg.

Tushar et al. 2020, IEEE Transactions on Smart Grid 11(4) (nested and hybrid communities);
Long et al. 2018, Applied Energy 226, for the three levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import ensure
from wattle.core.columns import I32, I64
from wattle.core.messages import Clearing, Context, Memory, unfilled
from wattle.core.tables import ANY_PRICE, BUY, MARKET_OPERATOR, NO_ORDER, Orders, Prices, Trades, Transfers
from wattle.market import auction_double
from wattle.market.mechanism import BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, MECHANISMS, mechanism

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
        ensure(self.inner != "nested", "inner is 'nested', expected a rule that clears a zone")
        MECHANISMS[self.inner]  # an unknown name is refused here, with the nearest known one
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
        rule = MECHANISMS[self.inner].build()
        parents = parents_of(self.levels)
        trades, transfers, traded = [Trades.empty()], [Transfers.empty()], []
        priced, left = _named(orders, context) if parents else orders, orders.quantity
        zone, fee = orders.zone, 0
        for level, step_fee in enumerate((0, self.between_ticks, self.cells_ticks)):
            above = zone if level == 0 else _parent(zone, parents)
            rows = np.flatnonzero((left > 0) & (above >= 0))
            fee += step_fee
            if rows.size == 0:
                break
            buyer_fee, seller_fee = fee - fee // 2, fee // 2
            book = (orders if level == 0 else priced).take(rows).replace(quantity=left[rows], zone=above[rows])
            if level:
                shift = np.where(book.side == BUY, -buyer_fee, seller_fee)
                book = book.replace(limit=np.where(np.abs(book.limit) == ANY_PRICE, book.limit, book.limit + shift))
            _, answer = rule.step(None, book, context)
            ensure(isinstance(answer, Clearing), f"nested: {self.inner} asks its members again; choose another rule")
            assert isinstance(answer, Clearing)
            if answer.unusable is not None:
                if level == 0:
                    return None, Clearing.refuse(answer.unusable)
                traded.append(0)
            else:
                left = left.copy()
                left[rows] = unfilled(book, Clearing(answer.trades, Prices.empty()))
                found = answer.trades if level == 0 else _carried(answer.trades, orders, buyer_fee, seller_fee)
                traded.append(int(answer.trades.quantity.sum()))
                trades.append(found)
                transfers.append(answer.transfers)
            zone = above
        whole = Trades.concat(*trades)
        whole = whole.take(np.lexsort((whole.zone, whole.interval)))
        report = {f"traded_on_level_{level}_lots": float(lots) for level, lots in enumerate(traded)}
        prices = auction_double.mean_prices(whole)
        return None, Clearing(whole, prices, transfers=Transfers.concat(*transfers), report=report)


def parents_of(levels: str) -> Mapping[int, int]:
    """Read "zone:parent,zone:parent" into a mapping.

    >>> parents_of("1:10, 2:10")
    {1: 10, 2: 10}
    """
    found: dict[int, int] = {}
    for part in filter(None, (piece.strip() for piece in levels.split(","))):
        zone, colon, parent = (word.strip() for word in part.partition(":"))
        ensure(colon and zone.isdigit() and parent.isdigit(), f"levels: {part!r} is not zone:parent, such as 1:10")
        ensure(int(zone) not in found, f"levels: zone {zone} has two parents")
        found[int(zone)] = int(parent)
    return found


def _parent(zone: NDArray[np.int32], parents: Mapping[int, int]) -> I32:
    values, place = np.unique(zone, return_inverse=True)
    above = np.array([parents.get(value, -1) for value in values.tolist()], np.int32)
    found: I32 = above[place] if zone.size else zone
    return found


def _named(orders: Orders, context: Context) -> Orders:
    """Return the orders with the utility's price as the limit of price takers: fees must not push them beyond it."""
    if context.tariff is None or len(orders) == 0:
        return orders
    retail, feed_in = context.tariff.at(orders.interval)
    limit = np.where(orders.limit == ANY_PRICE, retail, np.where(orders.limit == -ANY_PRICE, feed_in, orders.limit))
    return orders.replace(limit=limit)


def _carried(trades: Trades, orders: Orders, buyer_fee: int, seller_fee: int) -> Trades:
    """Return trades of a level above in the members' own zones, by way of the market operator where these differ."""
    buyer_zone, seller_zone = _zone_of(orders, trades.buy_order), _zone_of(orders, trades.sell_order)
    pays, earns = trades.buy_price + buyer_fee, trades.sell_price - seller_fee
    same = buyer_zone == seller_zone
    inside = trades.replace(zone=buyer_zone, buy_price=pays, sell_price=earns).take(same)
    apart = np.flatnonzero(~same)
    house, none = np.full(apart.size, MARKET_OPERATOR, np.int32), np.full(apart.size, NO_ORDER, np.int64)
    moved = trades.take(apart)
    out = moved.replace(
        zone=seller_zone[apart], buyer=house, buy_order=none, buy_price=earns[apart], sell_price=earns[apart]
    )
    into = moved.replace(
        zone=buyer_zone[apart], seller=house, sell_order=none, buy_price=pays[apart], sell_price=earns[apart]
    )
    return Trades.concat(inside, out, into)


def _zone_of(orders: Orders, ids: I64) -> I32:
    order = np.argsort(orders.id, kind="stable")
    found: I32 = orders.zone[order[np.searchsorted(orders.id[order], ids)]]
    return found
