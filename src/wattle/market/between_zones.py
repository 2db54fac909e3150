"""Trade between zones: which zone stands above which, what the way up costs, and who buys energy where it crosses.

Energy that leaves a zone passes through the market operator: he buys it in the seller's zone and sells it in the
buyer's, so every zone balances with him. The fee is the gap between the two prices of the buyer's leg.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import ensure
from wattle.core.columns import I32, I64
from wattle.core.messages import Context
from wattle.core.tables import ANY_PRICE, MARKET_OPERATOR, NO_ORDER, Orders, Trades


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


def zones_above(zone: NDArray[np.int32], parents: Mapping[int, int]) -> I32:
    """Return the parent of each zone [N], -1 where it has none."""
    values, place = np.unique(zone, return_inverse=True)
    above = np.array([parents.get(value, -1) for value in values.tolist()], np.int32)
    found: I32 = above[place] if zone.size else zone
    return found


def with_named_prices(orders: Orders, context: Context) -> Orders:
    """Return the orders with the utility's price as the limit of price takers: fees must not push them beyond it."""
    if context.tariff is None or len(orders) == 0:
        return orders
    retail, feed_in = context.tariff.at(orders.interval)
    limit = np.where(orders.limit == ANY_PRICE, retail, np.where(orders.limit == -ANY_PRICE, feed_in, orders.limit))
    return orders.replace(limit=limit)


_Fee = TypeVar("_Fee", int, NDArray[np.int64])


def halves(fee: _Fee) -> tuple[_Fee, _Fee]:
    """Return the buyer's and the seller's part of each fee; the odd tick is the buyer's."""
    return fee - fee // 2, fee // 2


def carried(trades: Trades, orders: Orders) -> Trades:
    """Return trades of a level above in the members' own zones, by way of the market operator where these differ."""
    buyer_zone, seller_zone = _zone_of(orders, trades.buy_order), _zone_of(orders, trades.sell_order)
    pays, earns = trades.buy_price, trades.sell_price
    same = buyer_zone == seller_zone
    inside = trades.replace(zone=buyer_zone).take(same)
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


def zone_by_zone(trades: list[Trades]) -> Trades:
    """Join trades and put them in order of interval and zone."""
    whole = Trades.concat(*trades)
    return whole.take(np.lexsort((whole.zone, whole.interval)))


def _zone_of(orders: Orders, ids: I64) -> I32:
    order = np.argsort(orders.id, kind="stable")
    found: I32 = orders.zone[order[np.searchsorted(orders.id[order], ids)]]
    return found
