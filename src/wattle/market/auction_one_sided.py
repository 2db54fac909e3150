"""One-sided auctions: many buyers bid for what is on offer, or many sellers bid down for one call.

The passive side names reserves and is not expected to play; who trades is decided as in a double auction, so that
welfare is the largest possible. The rules differ in what the active side pays or earns. Several offers (or calls) are
pooled, each with its own reserve.

A price taker's limit is the utility's price where there is a tariff, else just beyond all limits in his group. Beyond
them there is no price, so an order that meets such takers only is cleared at its own limit, and a false one would pay.
The payments that are made for the truth (`vickrey`, and `reverse-auction` at the first rejected offer) therefore refuse
price takers where there is no tariff.
Theory: W. Vickrey, Counterspeculation, auctions, and competitive sealed tenders, Journal of Finance 16, 1961;
V. Krishna, *Auction Theory*, 2nd edition 2010, chapter 12 (multiunit auctions).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import grouped, starts_of
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders, Trades
from wattle.market.auction_double import PayAsBidAuction, has_partner, mean_prices, paired, trades_of
from wattle.market.clear_book import any_taker, clear_call
from wattle.market.mechanism import BUDGET_BALANCED, EFFICIENT, EXACT, INDIVIDUALLY_RATIONAL, SEPARABLE, mechanism

_CLAIMS = {BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, EFFICIENT, SEPARABLE, EXACT}
_CASH_MAX = 2.0**62
NOBODY = -1


@mechanism(
    "vickrey", claims=_CLAIMS, source="Vickrey 1961, Journal of Finance 16; Krishna 2010, Auction Theory, section 12.1"
)
@dataclass(frozen=True)
class VickreyAuction:
    """Buyers compete for what is offered, and each pays for the bids that he displaces, not his own.

    `payment` "generalized": whoever wins q lots pays the q best values that the others would have had for them, that is
    their highest losing bids, or the sellers' reserves where those are higher. A member's bids count as one demand
    curve; no buyer gains by bidding anything but his worth, while a seller might gain by a false reserve. `payment`
    "uniform": all pay the highest losing bid or the last reserve (the (k+1)-price), proof against misreports only for
    buyers of a single lot.

    Each lot keeps the price of the order that it displaces, so a buyer may hold trades at several prices. The dearest
    go to the offers with the highest reserve, which is why no seller gets less than his reserve. Orders at any price
    need a tariff: without one they are worth nothing that could be displaced.
    """

    payment: str = "generalized"

    def __post_init__(self) -> None:
        _check_word("payment", self.payment, ("generalized", "uniform"))

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Sell what is offered in every zone and interval."""
        call = called(orders, context, worth_needed=True)
        if isinstance(call, Reject):
            return None, Clearing.refuse(call)
        if self.payment == "uniform":
            return None, call.deal(call.bounds[:, 1], call.bounds[:, 1])
        if not fits(call.book):
            return None, Clearing.refuse(Reject.TOO_LARGE)
        trades = _at_displaced(call)
        return None, Clearing(trades, mean_prices(trades))


@mechanism(
    "discriminatory", claims=_CLAIMS, source="Krishna 2010, Auction Theory, section 12.1 (discriminatory auction)"
)
@dataclass(frozen=True)
class DiscriminatoryAuction:
    """Buyers compete for what is offered, and each pays his own bid.

    It is the pay-as-bid double auction with all of the gap given to the seller. A buyer does well to bid below his
    worth.
    """

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Sell what is offered in every zone and interval."""
        return PayAsBidAuction(k_percent=100).step(memory, orders, context)


@mechanism("reverse-auction", claims=_CLAIMS, source="Jogunola et al. 2017, Energies 10(12), reference 33")
@dataclass(frozen=True)
class ReverseAuction:
    """One buyer calls for energy, many sellers bid each other down, and the cheapest offers win.

    The bid names the quantity called and the highest price; several calls are pooled. `payment` "uniform": all get the
    dearest accepted offer. "first-rejected": all get the cheapest rejected offer, at most the limit of the last call
    that is served; then no seller of a single lot gains by a false offer, and orders at any price need a tariff.
    "pay-as-offer": each gets his own offer.
    """

    payment: str = "uniform"

    def __post_init__(self) -> None:
        _check_word("payment", self.payment, ("uniform", "first-rejected", "pay-as-offer"))

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Buy what is called in every zone and interval."""
        if self.payment == "pay-as-offer":
            return PayAsBidAuction(k_percent=0).step(memory, orders, context)
        call = called(orders, context, worth_needed=self.payment == "first-rejected")
        if isinstance(call, Reject):
            return None, Clearing.refuse(call)
        price = call.bounds[:, 4 if self.payment == "uniform" else 2]
        return None, call.deal(price, price)


# --- what this family has in common ---


@dataclass(frozen=True, eq=False)
class Call:
    """Groups with all limits named, matched to the largest volume.

    `bounds` [G, 5] are those of `clear_book.clear_groups`; `lowest` and `highest` [G] the limits that somebody named.
    """

    book: Orders
    starts: I64
    fill: I64
    bounds: NDArray[np.int64]
    lowest: I64
    highest: I64

    def each(self, group_value: NDArray[Any]) -> NDArray[Any]:
        """Return the value of its group for each order."""
        return np.repeat(group_value, np.diff(self.starts))

    def best_left(self) -> tuple[I64, I64]:
        """Return the best unfilled bid and offer of each group; -+`ANY_PRICE` x 2 where all are filled."""
        left, limit = self.fill < self.book.quantity, self.book.limit
        bids = np.where(left & (self.book.side == BUY), limit, -2 * ANY_PRICE)
        asks = np.where(left & (self.book.side == SELL), limit, 2 * ANY_PRICE)
        return np.maximum.reduceat(bids, self.starts[:-1]), np.minimum.reduceat(asks, self.starts[:-1])

    def last_filled(self, side: int) -> I64:
        """Return the row of the last order of a side that trades in each group, -1 where nothing trades."""
        last = self.each(self.bounds[:, 3 if side == BUY else 4])
        mine = (self.book.side == side) & (self.fill > 0) & (self.book.limit == last)
        return np.maximum.reduceat(np.where(mine, np.arange(len(self.book)), -1), self.starts[:-1])

    def deal(self, buy_price: I64, sell_price: I64, fill: I64 | None = None) -> Clearing:
        """Pair the fills (those of the call, or others) at two prices a group, drawn back to what was named."""
        fill = self.fill if fill is None else fill
        buy_price, sell_price = (np.clip(price, self.lowest, self.highest) for price in (buy_price, sell_price))
        trades = deal(self.book, self.starts, fill, buy_price, sell_price)
        return Clearing(trades, mean_prices(trades))


def called(orders: Orders, context: Context, *, worth_needed: bool = False) -> Call | Reject:
    """Match the orders of each group by their limits; a book that no rule of this family can price is refused.

    With `worth_needed` so is one in which a lot of a price taker has no worth: he needs a tariff.
    """
    if has_partner(orders):
        return Reject.PARTNER_NOT_SUPPORTED
    if worth_needed and context.tariff is None and any_taker(orders.limit, ANY_PRICE):
        return Reject.NO_TARIFF
    book, starts = grouped(with_tariff(orders, context))
    limit, lowest, highest = named_limits(book, starts)
    priced = lowest <= highest
    if not priced.all():  # takers alone cannot form a price
        stay = np.repeat(priced, np.diff(starts))
        book, limit, lowest, highest = book.take(stay), limit[stay], lowest[priced], highest[priced]
        starts = starts_of(book.interval, book.zone)
    book = book.replace(limit=limit)
    fill, bounds = clear_call(starts, book.side, book.quantity, book.limit)
    if not priced.all() and not fill.any():
        return Reject.NO_PRICE
    return Call(book, starts, fill, bounds, lowest, highest)


def with_tariff(orders: Orders, context: Context) -> Orders:
    """Return the orders with the utility's prices as limits of price takers, where there is a tariff."""
    if context.tariff is None or not any_taker(orders.limit, ANY_PRICE):
        return orders
    retail, feed_in = context.tariff.at(orders.interval)
    limit = np.where(orders.limit == ANY_PRICE, retail, np.where(orders.limit == -ANY_PRICE, feed_in, orders.limit))
    return orders.replace(limit=limit)


def named_limits(book: Orders, starts: I64) -> tuple[I64, I64, I64]:
    """Return limits with takers one tick beyond what their group names, and lowest and highest of what it names.

    Where nobody names a price, lowest is above highest.
    """
    if len(book) == 0:
        return book.limit, np.zeros(0, np.int64), np.zeros(0, np.int64)
    named = np.abs(book.limit) < ANY_PRICE
    lowest = np.minimum.reduceat(np.where(named, book.limit, ANY_PRICE), starts[:-1])
    highest = np.maximum.reduceat(np.where(named, book.limit, -ANY_PRICE), starts[:-1])
    sizes = np.diff(starts)
    beyond = np.where(book.side == BUY, np.repeat(highest, sizes) + 1, np.repeat(lowest, sizes) - 1)
    return np.where(named, book.limit, beyond), lowest, highest


def fits(book: Orders) -> bool:
    """Tell whether sums of money and of energy over the book fit into 64 bits."""
    lots = book.quantity.astype(float)
    return float((lots * np.maximum(np.abs(book.limit), 1)).sum()) < _CASH_MAX


def deal(book: Orders, starts: I64, fill: I64, buy_price: I64, sell_price: I64) -> Trades:
    """Pair filled orders of each group; buyers pay and sellers get their group's price."""
    buy, sell, lots = paired(book, starts, fill, np.arange(len(book)))
    sizes = np.diff(starts)
    trades = trades_of(book, buy, sell, lots, np.repeat(buy_price, sizes)[buy])
    return trades.replace(sell_price=np.repeat(sell_price, sizes)[sell])


def owners(call: Call) -> tuple[I64, I64]:
    """Return the number of (group, participant) of each order, and the group of each number."""
    group, width = call.each(np.arange(call.starts.size - 1)), int(call.book.participant.max(initial=0)) + 1
    key, number = np.unique(group * width + call.book.participant, return_inverse=True)
    return number.astype(np.int64), (key // width).astype(np.int64)


def displaced(call: Call, owner: I64, group: I64, need: I64, amount: I64, *, dearest: bool) -> tuple[I64, I64, I64]:
    """Return owner, row and lots of what each owner displaces: `need` lots of others, dearest or cheapest first.

    `amount` are the lots that each row has to give, `owner` the number of its owner (`NOBODY`: open to all).
    """
    rows = np.flatnonzero(amount > 0)
    row_group = call.each(np.arange(call.starts.size - 1))[rows]
    worth = call.book.limit[rows]
    rank = np.lexsort((rows, -worth if dearest else worth, row_group))
    rows, row_group = rows[rank], row_group[rank]
    heads = np.searchsorted(row_group, np.arange(call.starts.size))
    first, stop = heads[group], heads[group + 1]
    lots, whose = amount[rows], owner[rows]
    nothing = np.empty(0, np.int64)
    count = _displace(need, first, stop, lots, whose, nothing, nothing.copy(), nothing.copy())
    by, place, moved = (np.empty(count, np.int64) for _ in range(3))
    _displace(need, first, stop, lots, whose, by, place, moved)
    return by, rows[place], moved


@kernel("r8 r8 r8 r8 r8 w8 w8 w8")
def _displace(
    need: Any, first: Any, stop: Any, amount: Any, owner: Any, by: Any, place: Any, lots: Any
) -> Any:  # fmt: skip
    """For each owner walk the list of his group, past his own rows, until his need is met; count, then write."""
    found = 0
    for number in range(need.size):
        left = need[number]
        row = first[number]
        while left > 0 and row < stop[number]:
            if owner[row] != number:
                if found < by.size:
                    by[found] = number
                    place[found] = row
                    lots[found] = min(left, amount[row])
                left -= min(left, amount[row])
                found += 1
            row += 1
    return found


def _at_displaced(call: Call) -> Trades:
    book, fill = call.book, call.fill
    bids = book.side == BUY
    owner, group = owners(call)
    need = np.zeros(group.size, np.int64)
    np.add.at(need, owner[bids], fill[bids])
    losing = np.where(bids, book.quantity - fill, fill)
    by, row, lots = displaced(call, np.where(bids, owner, NOBODY), group, need, losing, dearest=True)
    price = np.clip(book.limit[row], call.lowest[group[by]], call.highest[group[by]])
    # The dearest prices meet the highest reserves.
    buy, price, lots = priced_lots(call, owner, BUY, by, price, lots)
    rank = np.lexsort((-price, group[owner[buy]]))
    sold = np.flatnonzero(~bids & (fill > 0))
    sold = sold[np.lexsort((-book.limit[sold], group[owner[sold]]))]
    left, right, lots = overlaid(lots[rank], fill[sold])
    return trades_of(book, buy[rank][left], sold[right], lots, price[rank][left])


def priced_lots(call: Call, owner: I64, side: int, by: I64, price: I64, lots: I64) -> tuple[I64, I64, I64]:
    """Give the lots that owners trade at several prices to their orders; return row, price and lots by owner."""
    rank = np.argsort(by, kind="stable")
    rows = np.flatnonzero((call.book.side == side) & (call.fill > 0))
    rows = rows[np.argsort(owner[rows], kind="stable")]
    left, right, moved = overlaid(lots[rank], call.fill[rows])
    return rows[right], price[rank][left], moved


def overlaid(one: I64, other: I64) -> tuple[I64, I64, I64]:
    """Cut two rows of blocks of the same length at all their edges; return both block numbers and the length."""
    ends, other_ends = np.cumsum(one), np.cumsum(other)
    edges = np.union1d(ends, other_ends)
    return np.searchsorted(ends, edges), np.searchsorted(other_ends, edges), np.diff(edges, prepend=0)


def _check_word(field: str, word: str, known: tuple[str, ...]) -> None:
    ensure(word in known, f"{field} is {word!r}, expected one of {', '.join(known)}")
