"""Community pools: local energy is shared pro rata and priced by one rule; the utility takes what is left.

Published *buying* prices of pools (mid-market rate, supply-demand ratio) are the mean of what a buyer pays inside and
outside the pool. They need no formula here: they come out as the average of the buyer's trades.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wattle.core.checks import Reject
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import apportion, grouped, starts_of
from wattle.core.tables import BUY, COMMUNITY_FUND, SELL, Orders, Prices, Transfers
from wattle.market.auction_double import has_partner, mean_prices, paired, trades_of
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, INDIVIDUALLY_RATIONAL, METERED, SEPARABLE, mechanism
from wattle.market.share import pro_rata, totals, willing

BILL_SHARING = 7
"""Code of the transfers by which bill sharing evens out bills."""

PriceRule = Callable[[I64, I64, I64, I64], I64]
"""Lots wanted, lots offered, retail and feed-in price of each group -> local price in ticks."""


@mechanism(
    "mid-market-rate",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Tushar et al. 2020, IEEE Transactions on Smart Grid 11(4), reference 3; "
    "Long et al. 2017, doi:10.1109/PESGM.2017.8274546",
    when=METERED,
)
@dataclass(frozen=True)
class MidMarketRate:
    """Local energy costs the mean of retail and feed-in price, rounded down to a tick."""

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Share each interval's local energy pro rata at the mid-market rate."""
        return None, clear_pool(orders, context, lambda wanted, offered, retail, feed_in: (retail + feed_in) // 2)


@mechanism(
    "supply-demand-ratio",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Liu et al. 2017, IEEE Transactions on Power Systems 32(5), equations 8 to 10; "
    "Jogunola et al. 2017, Energies 10(12), reference 78",
    when=METERED,
)
@dataclass(frozen=True)
class SupplyDemandRatio:
    """The scarcer local energy is, the closer its price to the retail price, if the feed-in price is above 0.

    price = f r / ((r - f) SDR + f) with SDR = min(1, offered / wanted), retail r and feed-in f.

    The formula needs a feed-in price above 0. At 0 the price is 0 however scarce energy is (if there is any), and a
    little above 0 it stays low until almost nothing is offered. Below 0 it does not rise with scarcity either: the
    price is the feed-in price, or 0 where the divisor is not above 0. That is a property of the paper's formula; take
    `mid-market-rate` under such a tariff.
    """

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Share each interval's local energy pro rata at the scarcity price."""
        return None, clear_pool(orders, context, _scarcity_price)


def _scarcity_price(wanted: I64, offered: I64, retail: I64, feed_in: I64) -> I64:
    # Only + - * / on floats: the same bits on every machine.
    ratio = np.minimum(offered / np.maximum(wanted, 1), 1.0)
    divisor = (retail - feed_in) * ratio + feed_in
    price = np.divide(feed_in * retail.astype(float), divisor, out=np.zeros(ratio.size), where=divisor > 0)
    # Below a feed-in of 0 the divisor can be next to nothing, so drawn back before it becomes a whole number.
    ticks: I64 = np.rint(np.clip(price, feed_in, retail)).astype(np.int64)
    return ticks


@mechanism(
    "bill-sharing",
    claims={BUDGET_BALANCED, EXACT},
    source="Long et al. 2017, doi:10.1109/PESGM.2017.8274546; Zhou et al. 2018, Applied Energy 222",
    when=METERED,
)
@dataclass(frozen=True)
class BillSharing:
    """The community pays one bill to the utility; buyers share its cost, sellers its income.

    Local energy is free. Over all intervals of the gate the cost of imports is shared in proportion to each member's
    purchases, the income of exports in proportion to his surplus. A seller may earn less than alone. Orders whose limit
    forbids the utility's price stand aside.
    """

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Share local energy at price 0 and even out the bills of the whole gate by transfers."""
        if context.tariff is None:
            return None, Clearing.refuse(Reject.NO_TARIFF)
        if has_partner(orders):
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        retail, feed_in = context.tariff.at(orders.interval)
        # Who would not trade with the utility has no part in the bill.
        book, starts = grouped(orders.take(willing(orders, np.where(orders.side == BUY, retail, feed_in))))
        wanted, offered = totals(starts, book.side, book.quantity)
        clearing = _share(book, starts, np.minimum(wanted, offered), np.zeros(starts.size - 1, np.int64))
        if len(book) == 0:
            return None, clearing
        filled = _filled(book, clearing)
        retail, feed_in = context.tariff.at(book.interval)
        rest = book.quantity - filled
        return None, Clearing(
            clearing.trades,
            clearing.prices,
            transfers=Transfers.concat(
                _even_out(book, book.side == BUY, rest * retail),
                _even_out(book, book.side == SELL, -(rest * feed_in)),
            ),
        )


def clear_pool(orders: Orders, context: Context, rule: PriceRule) -> Clearing:
    """Share local energy pro rata at one price a group; orders whose limit forbids the price stand aside.

    Standing aside changes the ratio and so the price; the loop ends because orders only ever leave.
    """
    if context.tariff is None:
        return Clearing.refuse(Reject.NO_TARIFF)
    if has_partner(orders):
        return Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
    book, starts = grouped(orders)
    while True:
        if len(book) == 0:
            return Clearing(trades_of(book, *(np.zeros(0, np.int64),) * 4), Prices.empty())
        wanted, offered = totals(starts, book.side, book.quantity)
        price = rule(wanted, offered, *context.tariff.at(book.interval[starts[:-1]]))
        stay = willing(book, np.repeat(price, np.diff(starts)))
        if stay.all():
            return _share(book, starts, np.minimum(wanted, offered), price)
        book = book.take(stay)
        starts = starts_of(book.interval, book.zone)


def _share(book: Orders, starts: I64, volume: I64, price: I64) -> Clearing:
    fill = np.zeros(len(book), np.int64)
    pro_rata(starts, book.side, book.quantity, BUY, volume, fill)
    pro_rata(starts, book.side, book.quantity, SELL, volume, fill)
    return deal(book, starts, fill, price)


def deal(book: Orders, starts: I64, fill: I64, price: I64) -> Clearing:
    """Pair filled orders at one price a group."""
    buy, sell, lots = paired(book, starts, fill, np.arange(len(book)))
    trades = trades_of(book, buy, sell, lots, np.repeat(price, np.diff(starts))[buy])
    return Clearing(trades, mean_prices(trades))


def _filled(book: Orders, clearing: Clearing) -> I64:
    rank = np.argsort(book.id, kind="stable")
    filled = np.zeros(len(book), np.int64)
    for ids in (clearing.trades.buy_order, clearing.trades.sell_order):
        np.add.at(filled, rank[np.searchsorted(book.id[rank], ids)], clearing.trades.quantity)
    return filled


def _even_out(book: Orders, rows: I64, alone: I64) -> Transfers:
    """Return the transfers that turn what each member pays the utility into his share by quantity."""
    members, number = np.unique(book.participant[rows], return_inverse=True)
    quantity, paid = np.zeros(members.size, np.int64), np.zeros(members.size, np.int64)
    np.add.at(quantity, number, book.quantity[rows])
    np.add.at(paid, number, alone[rows])
    whole = int(paid.sum())
    share = apportion(abs(whole), quantity) * (1 if whole >= 0 else -1)
    owes = share - paid
    moved = np.flatnonzero(owes)
    last = int(book.interval.max()) if len(book) else 0
    fund = np.full(moved.size, COMMUNITY_FUND, np.int32)
    return Transfers(
        interval=np.full(moved.size, last, np.int32),
        payer=np.where(owes[moved] > 0, members[moved], fund).astype(np.int32),
        payee=np.where(owes[moved] > 0, fund, members[moved]).astype(np.int32),
        amount=np.abs(owes[moved]),
        code=np.full(moved.size, BILL_SHARING, np.int8),
    )
