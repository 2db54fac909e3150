"""Periodic double auctions: one call for each zone and interval, all of them cleared in one pass.

Bids are sorted down, offers up; where the curves cross, the largest volume trades. The three rules share that
allocation and differ in the price: one price for all (uniform), a price for each pair (pay-as-bid), or the mean of
the last bid and the last offer that trade (average).

A price taker can always turn to the utility, so its price is his limit where there is a tariff. Where there is none,
takers are served first and trade at prices that others in their group name; takers alone cannot form a price.

Theory: D. Friedman and J. Rust (eds.), *The Double Auction Market*, 1993. A plain double auction is **not** proof
against misreports: a marginal trader may move the price by his limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import grouped, pair_groups
from wattle.core.tables import ANY_PRICE, ANYONE, Orders, Prices, Trades
from wattle.market.clear_book import any_taker, clear_call
from wattle.market.mechanism import (
    BUDGET_BALANCED,
    EFFICIENT,
    EXACT,
    INDIVIDUALLY_RATIONAL,
    SEPARABLE,
    UNIFORM_PRICE,
    mechanism,
)
from wattle.market.pair_book import trades_at_one_price, trades_pair_by_pair

_SOURCE = (
    "Friedman and Rust 1993, The Double Auction Market; "
    "Tushar et al. 2020, IEEE Transactions on Smart Grid 11(4), section V-B"
)


@mechanism(
    "uniform-auction",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, EFFICIENT, UNIFORM_PRICE, SEPARABLE, EXACT},
    source=_SOURCE,
)
@dataclass(frozen=True)
class UniformAuction:
    """One price for everybody, where the curves of bids and offers cross.

    Any price between the best unfilled and the worst filled order supports the result; `k_percent` chooses the place
    in that interval: price = low + k (high - low), rounded down to a tick. 0 favours buyers, 100 sellers.
    """

    k_percent: int = 50

    def __post_init__(self) -> None:
        _check_percent(self.k_percent)

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Clear every zone and interval at one price each."""
        if has_partner(orders):
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        call = _called(orders, context)
        low, high = call.bounds[:, 1], call.bounds[:, 2]
        return None, _one_price(call, low + (high - low) * self.k_percent // 100)


@mechanism(
    "average-price-auction",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, EFFICIENT, SEPARABLE, EXACT},
    source="Wang et al. 2019, Applied Sciences 9(8), reference 90: price = mean of the marginal bid and offer",
)
@dataclass(frozen=True)
class AveragePriceAuction:
    """One price: the mean of the last bid and the last offer that trade, rounded down to a tick.

    Unlike the uniform rule the mean may lie outside the supporting interval, so an unfilled order can be better than
    the price.
    """

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Clear every zone and interval at its mean price."""
        if has_partner(orders):
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        call = _called(orders, context)
        return None, _one_price(call, (call.bounds[:, 3] + call.bounds[:, 4]) // 2)


@mechanism(
    "pay-as-bid-auction",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, EFFICIENT, SEPARABLE, EXACT},
    source=_SOURCE,
)
@dataclass(frozen=True)
class PayAsBidAuction:
    """Each pair trades at its own price between offer and bid; the dearest bid meets the cheapest offer.

    price = offer + k (bid - offer), rounded down to a tick; `k_percent` = 100 is plain pay-as-bid, 0 pay-as-offer.
    """

    k_percent: int = 50

    def __post_init__(self) -> None:
        _check_percent(self.k_percent)

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Clear every zone and interval pair by pair."""
        if has_partner(orders):
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        call = _called(orders, context)
        trades, prices = trades_pair_by_pair(call.book, call.starts, call.fill, call.bounds, self.k_percent)
        return None, Clearing(trades, mean_prices(trades) if prices is None else prices, refused=call.refused)


def has_partner(orders: Orders) -> bool:
    """Tell whether any order names the only counterparty that it accepts."""
    return bool((orders.partner != ANYONE).any())


def paired(book: Orders, starts: I64, fill: I64, merit: I64) -> tuple[I64, I64, I64]:
    """Return buying row, selling row and lots of each pair; see `segments.pair_groups`."""
    room = int(np.count_nonzero(fill))
    buy, sell, lots = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    pairs = pair_groups(starts, book.side, fill, merit, buy, sell, lots)
    return buy[:pairs], sell[:pairs], lots[:pairs]


def trades_of(book: Orders, buy: I64, sell: I64, lots: I64, price: I64) -> Trades:
    """Build trades from pairs of rows at one price a pair."""
    return Trades(
        interval=book.interval[buy],
        zone=book.zone[buy],
        buyer=book.participant[buy],
        seller=book.participant[sell],
        buy_order=book.id[buy],
        sell_order=book.id[sell],
        quantity=lots,
        buy_price=price,
        sell_price=price,
    )


def mean_prices(trades: Trades) -> Prices:
    """Return the energy-weighted mean buying price of each zone and interval, rounded down to a tick.

    `trades` must stand in order of interval and zone.
    """
    change = np.ones(len(trades), bool)
    change[1:] = (trades.interval[1:] != trades.interval[:-1]) | (trades.zone[1:] != trades.zone[:-1])
    first = np.flatnonzero(change)
    if first.size == 0:
        return Prices.empty()
    quantity, price = trades.quantity, trades.buy_price
    if float(quantity.max()) * float(np.abs(price).max()) * len(trades) >= 2.0**62:
        quantity, price = quantity.astype(object), price.astype(object)  # the sums need more than 64 bits
    mean = np.add.reduceat(quantity * price, first) // np.add.reduceat(quantity, first)
    return Prices(trades.interval[first], trades.zone[first], mean.astype(np.int64))


@dataclass(frozen=True, eq=False)
class _Call:
    """Call auctions after matching: grouped book, filled lots, bounds of `clear_groups`; whether takers take part."""

    book: Orders
    starts: I64
    fill: I64
    bounds: NDArray[np.int64]
    takers: bool = False
    refused: Reject | None = None


def _called(orders: Orders, context: Context) -> _Call:
    book, starts = grouped(orders)
    takers = bool(any_taker(book.limit, ANY_PRICE))
    if takers and context.tariff is not None:
        retail, feed_in = context.tariff.at(book.interval)
        limit = np.where(book.limit == ANY_PRICE, retail, np.where(book.limit == -ANY_PRICE, feed_in, book.limit))
        book, takers = book.replace(limit=limit), False
    fill, bounds = clear_call(starts, book.side, book.quantity, book.limit)
    if not takers:
        return _Call(book, starts, fill, bounds)
    # A bound that a taker sets is drawn back to the nearest price that somebody names.
    named = np.abs(book.limit) < ANY_PRICE
    lowest = np.minimum.reduceat(np.where(named, book.limit, ANY_PRICE), starts[:-1])
    highest = np.maximum.reduceat(np.where(named, book.limit, -ANY_PRICE), starts[:-1])
    bounds[:, 1:3] = np.clip(bounds[:, 1:3], lowest[:, None], highest[:, None])
    bounds[:, 3] = np.where(bounds[:, 3] == ANY_PRICE, bounds[:, 2], bounds[:, 3])
    bounds[:, 4] = np.where(bounds[:, 4] == -ANY_PRICE, bounds[:, 1], bounds[:, 4])
    unpriced = lowest > highest
    wanted = bool(bounds[unpriced, 0].any())
    bounds[unpriced] = 0
    fill[np.repeat(unpriced, np.diff(starts))] = 0
    refused = Reject.NO_PRICE if wanted and not fill.any() else None
    return _Call(book, starts, fill, bounds, takers, refused)


def _one_price(call: _Call, price: I64) -> Clearing:
    # With one price it does not matter who is paired with whom; the order of ids is the quickest.
    trades = trades_at_one_price(call.book, call.starts, call.fill, np.ascontiguousarray(price))
    traded = np.flatnonzero(call.bounds[:, 0] > 0)
    head = call.starts[:-1][traded]
    prices = Prices(call.book.interval[head], call.book.zone[head], price[traded])
    return Clearing(trades, prices, refused=call.refused)


def _check_percent(k_percent: int) -> None:
    ensure(isinstance(k_percent, int) and 0 <= k_percent <= 100, f"k_percent is {k_percent!r}, expected 0 to 100")
