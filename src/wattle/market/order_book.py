"""Continuous double auctions: orders meet as they arrive, best price first, at one price the oldest first.

The rules stand in `book_rules`. Here a mechanism runs one book for each zone and interval; orders arrive in the order
of their ids, and what rests is the memory that the next step begins with.

Theory: D. Friedman and J. Rust (eds.), *The Double Auction Market*, 1993. An order book is fair in time, not efficient:
a dear bid that comes first may use up an offer that a later one needed. The same trades in a call would be worth at
least as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory, unfilled
from wattle.core.segments import grouped, starts_of
from wattle.core.tables import ANY_PRICE, Orders, Prices, Trades
from wattle.market.auction_double import UniformAuction, has_partner, mean_prices
from wattle.market.book_batch import LEFT, PLACE, levels_of, match_groups
from wattle.market.book_rules import (
    ADD,
    AMEND,
    CANCEL,
    GOOD_UNTIL_GATE,
    IMMEDIATE_OR_CANCEL,
    SELF_TRADES,
    TIMES_IN_FORCE,
    Code,
    Messages,
    chosen,
)
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, INCREMENTAL, INDIVIDUALLY_RATIONAL, SEPARABLE, mechanism

_SOURCE = "Friedman and Rust 1993, The Double Auction Market; price-time priority as on any electronic exchange"


@mechanism(
    "order-book",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, INCREMENTAL, EXACT},
    source=_SOURCE,
)
@dataclass(frozen=True)
class OrderBook:
    """Trade on arrival, at the price of the order that was there first.

    `time_in_force` says what becomes of lots that find no partner at once: `good-until-gate` lets them rest,
    `immediate-or-cancel` drops them, `fill-or-kill` drops the whole order unless all of it can trade. A price taker
    sends a market order: it never rests, and where there is a tariff it does not go beyond the utility's price.
    `self_trade` says what happens where a member would meet himself: `cancel-incoming` drops the rest of the new
    order, `cancel-resting` takes out the old one, `allow` lets them trade.

    The published price is the mean price of the trades, weighted by energy.
    """

    time_in_force: str = "good-until-gate"
    self_trade: str = "cancel-incoming"

    def __post_init__(self) -> None:
        chosen(TIMES_IN_FORCE, self.time_in_force, "time_in_force")
        chosen(SELF_TRADES, self.self_trade, "self_trade")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[Memory | None, Clearing]:
        """Let the orders arrive one after the other, in the order of their ids."""
        if has_partner(orders):
            return memory, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        before = _book(memory)
        if _nothing_named(before, orders, context):
            return memory, Clearing.refuse(Reject.NO_PRICE)
        trades, resting = _continue(before, orders, context, self.time_in_force, self.self_trade)
        return {"book": resting}, Clearing(trades, mean_prices(trades), resting)

    def resting(self, memory: Memory | None) -> Orders:
        """Return the book: by interval and zone, bids from the dearest on, offers from the cheapest on, by queue."""
        return _book(memory)

    def amend(
        self, memory: Memory | None, change: Orders, context: Context
    ) -> tuple[Memory | None, Clearing, NDArray[np.bool_]]:
        """Let so many lots of orders rest at their new limits; 0 lots cancel. See `market.mechanism.Continuous`.

        Less at the same price keeps the place in the queue; more, or another price, goes to its end and may trade.
        """
        before = _book(memory)
        rank = np.argsort(before.id)
        place = np.searchsorted(before.id[rank], change.id)
        there = place < len(before)
        there[there] = before.id[rank[place[there]]] == change.id[there]
        known, change = there.copy(), change.take(there)
        trades, resting, done = _changed(before, change, rank[place[there]], SELF_TRADES[self.self_trade])
        known[there] = done
        return {"book": resting}, Clearing(trades, mean_prices(trades), resting), known

    def prices(self, trades: Trades) -> Prices:
        """Return the mean price of the trades, weighted by energy."""
        return mean_prices(trades)


@mechanism(
    "call-then-continuous",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Opening call as on stock and intraday power exchanges; Madhavan 1992, Journal of Finance 47(2)",
)
@dataclass(frozen=True)
class CallThenContinuous:
    """Collect the first orders for a call at one price; what it leaves opens an order book for the others.

    The first `call_orders` orders of each zone and interval take part in the call, or, if that is 0, the first
    `call_percent` of them, rounded up. `k_percent` places the price of the call, as in the uniform auction; who sent
    an order does not matter in the call, and where there is a tariff price takers alone can trade in it. Later steps go
    on with the order book. The other fields are those of the order book.
    """

    call_orders: int = 0
    call_percent: int = 50
    k_percent: int = 50
    time_in_force: str = "good-until-gate"
    self_trade: str = "cancel-incoming"

    def __post_init__(self) -> None:
        ensure(self.call_orders >= 0, f"call_orders is {self.call_orders}, expected 0 or more")
        ensure(0 <= self.call_percent <= 100, f"call_percent is {self.call_percent}, expected 0 to 100")
        UniformAuction(self.k_percent)  # these two refuse what is wrong
        OrderBook(self.time_in_force, self.self_trade)

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[Memory | None, Clearing]:
        """Call the first orders, then let the others arrive; with a memory, only the latter."""
        book = OrderBook(self.time_in_force, self.self_trade)
        if memory is not None or has_partner(orders):
            return book.step(memory, orders, context)
        if _nothing_named(Orders.empty(), orders, context):
            return memory, Clearing.refuse(Reject.NO_PRICE)
        orders, starts = grouped(orders)
        early = self._early(starts)
        first = orders.take(early)
        _, call = UniformAuction(self.k_percent).step(None, first, context)
        left = unfilled(first, call)
        opening = first.replace(quantity=left).take((left > 0) & (np.abs(first.limit) < ANY_PRICE))
        trades, resting = _continue(opening, orders.take(~early), context, self.time_in_force, self.self_trade)
        trades = Trades.concat(call.trades, trades)
        trades = trades.take(np.lexsort((trades.zone, trades.interval)))
        return {"book": resting}, Clearing(trades, mean_prices(trades), resting)

    def _early(self, starts: I64) -> NDArray[np.bool_]:
        size = np.diff(starts)
        count = np.full(size.size, self.call_orders) if self.call_orders else -(-size * self.call_percent // 100)
        place = np.arange(int(starts[-1])) - np.repeat(starts[:-1], size)
        early: NDArray[np.bool_] = place < np.repeat(count, size)
        return early


def _book(memory: Memory | None) -> Orders:
    book = memory.get("book") if isinstance(memory, Mapping) else None
    return book if isinstance(book, Orders) else Orders.empty()


def _nothing_named(before: Orders, orders: Orders, context: Context) -> bool:
    """Tell whether there are buyers and sellers, but none that names a price, nor a utility that would."""
    if context.tariff is not None:
        return False
    both = bool((orders.side > 0).any() and (orders.side < 0).any())
    return both and len(before) == 0 and bool((np.abs(orders.limit) == ANY_PRICE).all())


def _continue(
    before: Orders, orders: Orders, context: Context, time_in_force: str, self_trade: str
) -> tuple[Trades, Orders]:
    """Let orders arrive at the books of the intervals and zones; return the trades and what rests in the end."""
    orders, _ = grouped(orders)
    taker = np.abs(orders.limit) == ANY_PRICE
    limit, flag = orders.limit, TIMES_IN_FORCE[time_in_force]
    if context.tariff is not None and taker.any():
        retail, feed_in = context.tariff.at(orders.interval)
        limit = np.where(taker, np.where(orders.side > 0, retail, feed_in), limit)
    flags = np.full(len(orders), flag, np.int8)
    if flag == GOOD_UNTIL_GATE:
        flags[taker] = IMMEDIATE_OR_CANCEL
    book, bound = orders, limit
    if len(before):
        flags = np.concatenate((np.full(len(before), GOOD_UNTIL_GATE, np.int8), flags))
        book, bound = Orders.concat(before, orders), np.concatenate((before.limit, limit))
        rank = np.lexsort((book.zone, book.interval))  # stable: what rested stays in front
        book, bound, flags = book.take(rank), bound[rank], flags[rank]
    kind, slot = np.full(len(book), ADD, np.int8), np.arange(len(book))
    trades, resting, _ = _run(book, bound, kind, flags, slot, SELF_TRADES[self_trade])
    return trades, resting


def _changed(before: Orders, change: Orders, row: I64, self_trade: int) -> tuple[Trades, Orders, NDArray[np.bool_]]:
    """Amend the orders that stand in the given rows of the book, 0 lots cancel; tell which still rested by then."""
    book = Orders.concat(before, change)
    kind = np.concatenate((np.full(len(before), ADD), np.where(change.quantity > 0, AMEND, CANCEL))).astype(np.int8)
    rank = np.lexsort((book.zone, book.interval))  # stable: the book first, then its changes as they came
    new_row = np.empty(rank.size, np.int64)
    new_row[rank] = np.arange(rank.size)
    slot = new_row[np.concatenate((np.arange(len(before)), row))][rank]
    book, flags = book.take(rank), np.zeros(rank.size, np.int8)
    trades, resting, codes = _run(book, book.limit, kind[rank], flags, slot, self_trade)
    done = (codes != Code.UNKNOWN_ORDER) & (codes != Code.NOT_YOURS)
    return trades, resting, done[new_row[len(before) :]]


def _run(
    book: Orders, bound: I64, kind: NDArray[np.int8], flags: NDArray[np.int8], slot: I64, self_trade: int
) -> tuple[Trades, Orders, I64]:
    """Run messages through their books, sorted by interval and zone; return trades, what rests, and their codes."""
    level, price = levels_of(bound)
    messages = Messages(kind, book.id, book.participant, book.side, book.quantity, bound, flags)
    starts = starts_of(book.interval, book.zone)
    raw = match_groups(starts, messages, slot, len(book), level, price.size, self_trade)
    rest = raw.left[:, 0]
    resting = book.take(rest).replace(quantity=raw.nodes[rest, LEFT], limit=price[raw.nodes[rest, PLACE] >> 32])
    met = raw.met[:, raw.met[4] == 1]
    return _trades(book, met[0], met[1], met[2], price[met[3]]), resting, raw.answers[0]


def _trades(book: Orders, came: I64, rested: I64, lots: I64, price: I64) -> Trades:
    """Build trades from the rows of the orders that came and of those that rested."""
    bought = book.side[came] > 0
    buy, sell = np.where(bought, came, rested), np.where(bought, rested, came)
    return Trades(
        interval=book.interval[came],
        zone=book.zone[came],
        buyer=book.participant[buy],
        seller=book.participant[sell],
        buy_order=book.id[buy],
        sell_order=book.id[sell],
        quantity=lots,
        buy_price=price,
        sell_price=price,
    )
