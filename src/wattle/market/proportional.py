"""Proportional allocation: each buyer names a sum of money and gets the part of the supply that it is of all money.

Theory: F. Kelly, Charging and rate control for elastic traffic, European Transactions on Telecommunications 8(1), 1997;
R. Johari and J. Tsitsiklis, Efficiency loss in a network resource allocation game, Mathematics of Operations Research
29(3), 2004; R. Johari, S. Mannor and J. Tsitsiklis, Efficiency loss in a network resource allocation game: the case of
elastic supply, IEEE Transactions on Automatic Control 50(11), 2005.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wattle.core.checks import Reject
from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import grouped, hand_out, part_of
from wattle.core.tables import ANY_PRICE, BUY, MARKET_OPERATOR, Orders, Prices, Transfers
from wattle.market.auction_double import has_partner
from wattle.market.auction_one_sided import deal, fits, with_tariff
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, MONEY, SEPARABLE, mechanism

LOCAL_ENERGY = 1
"""Code of the transfers that complete the price of local energy (see `ledger.accounts`)."""

_WEIGHT_MAX = 1 << 46


@mechanism(
    "proportional-allocation",
    claims={BUDGET_BALANCED, SEPARABLE, EXACT},
    source="Kelly 1997, Eur. Trans. Telecommunications 8(1); Johari and Tsitsiklis 2004, Math. of OR 29(3)",
    bids=MONEY,
)
@dataclass(frozen=True)
class ProportionalAllocation:
    """Buyers name money, not a price, and share the supply in proportion to it: price = all money / supply.

    **How an order is read.** A bid of q lots at limit l is the sum of money q x l, to be spent on whatever it buys, at
    most q lots. So the limit is no ceiling of the price: when money is scarce the bid buys more lots (up to q) for less
    each, when energy is scarce fewer lots for more each; but the sum is never exceeded. To name a pure sum of money w,
    ask for as many lots as are offered, at the limit w / lots. A bid without money (a limit of 0 or less) gets nothing.

    A buyer whose money would buy more than q lots gets q at the price and keeps the rest of his money. The price m
    solves: sum of min(q, w / m) over the bids = supply. Offers are served from the cheapest as far as the price covers
    their limits; the last one may sell a part, at its limit, and so may bids that together want less than is offered.

    Lots are rounded by largest remainders, and money is exact: trades stand at the price rounded down, and transfers
    through the market operator complete each buyer's payment to the sum that he named and hand it to the sellers by
    lots. A buyer of any price needs a tariff.

    If buyers take the price as given, the equilibrium is efficient (Kelly 1997; Johari and Tsitsiklis, theorem 1). If
    they see how their money moves it, at most a quarter of the best welfare is lost (ibid., theorem 3), provided that
    the supply is given, so that all that is offered is sold at any price. Where limits of offers stand in the way, more
    may be lost: 4 sqrt(2) - 5 of the best welfare is left, about 65.7 %, if the marginal cost of the supply is convex
    (Johari, Mannor and Tsitsiklis 2005). A single high step in the offers is not, and can cost nearly half.
    """

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Share the supply of every zone and interval."""
        if has_partner(orders):
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        book, starts = grouped(with_tariff(orders, context))
        if (book.limit == ANY_PRICE).any():
            return None, Clearing.refuse(Reject.NO_TARIFF)
        if not fits(book.take(book.limit > -ANY_PRICE)):
            return None, Clearing.refuse(Reject.TOO_LARGE)
        groups = starts.size - 1
        rank = np.lexsort((np.arange(len(book)), book.limit, np.repeat(np.arange(groups), np.diff(starts))))
        fill, pays = np.zeros(len(book), np.int64), np.zeros(len(book), np.int64)
        price = np.zeros(groups, np.int64)
        _share_by_money(starts, book.side, book.quantity, book.limit, rank, fill, pays, price)
        traded = np.add.reduceat(fill, starts[:-1]) > 0 if groups else np.zeros(0, bool)
        head = starts[:-1][traded]
        prices = Prices(book.interval[head], book.zone[head], price[traded])
        trades = deal(book, starts, fill, price, price)
        return None, Clearing(trades, prices, transfers=_completed(book, starts, fill, pays, price))


def _completed(book: Orders, starts: I64, fill: I64, pays: I64, price: I64) -> Transfers:
    """Return transfers from what the trades cost to what each bid pays, handed to the sellers by lots."""
    sizes = np.diff(starts)
    buys = book.side == BUY
    owes = np.where(buys, pays - np.repeat(price, sizes) * fill, 0)
    if len(book) == 0:
        return Transfers.empty()
    # In whole numbers of any size: the share of a seller is the growth of floor(money x lots so far / all lots).
    sold = np.where(buys, 0, fill)
    so_far = np.cumsum(sold)
    so_far = so_far - np.repeat((so_far - sold)[starts[:-1]], sizes)
    whole = np.repeat(np.maximum(np.add.reduceat(sold, starts[:-1]), 1), sizes).astype(object)
    money = np.repeat(np.add.reduceat(owes, starts[:-1]), sizes).astype(object)
    gets = money * so_far // whole - money * (so_far - sold) // whole
    owes = owes - gets.astype(np.int64)
    moved = np.flatnonzero(owes)
    operator, member = np.full(moved.size, MARKET_OPERATOR, np.int32), book.participant[moved]
    return Transfers(
        interval=book.interval[moved],
        payer=np.where(owes[moved] > 0, member, operator),
        payee=np.where(owes[moved] > 0, operator, member),
        amount=np.abs(owes[moved]),
        code=np.full(moved.size, LOCAL_ENERGY, np.int8),
    )


@kernel("i i r1 r8 r8 r8 f")
def _price_at(first: Any, stop: Any, side: Any, quantity: Any, limit: Any, rank: Any, supply: Any) -> Any:
    """Return the price at which all money of a group buys `supply`; 0 if every bid gets all that it wants."""
    money = 0.0
    for row in range(first, stop):
        if side[row] > 0 and limit[row] > 0:
            money += np.float64(quantity[row]) * np.float64(limit[row])
    place = stop - 1
    while place >= first:  # from the highest limit: these are the first to get all that they want
        row = rank[place]
        place -= 1
        if side[row] > 0 and limit[row] > 0:
            if supply <= 0.0 or np.float64(limit[row]) * supply < money:
                break
            supply -= np.float64(quantity[row])
            money -= np.float64(quantity[row]) * np.float64(limit[row])
    else:
        return 0.0
    return money / supply if supply > 0.0 else np.float64(limit[row])


@kernel("i i r1 r8 r8 f")
def _wanted_at(first: Any, stop: Any, side: Any, quantity: Any, limit: Any, price: Any) -> Any:
    """Return the lots, not rounded, that all money of a group buys at a price."""
    wanted = 0.0
    for row in range(first, stop):
        if side[row] > 0 and limit[row] > 0:
            if np.float64(limit[row]) >= price:
                wanted += np.float64(quantity[row])
            else:
                wanted += np.float64(quantity[row]) * np.float64(limit[row]) / price
    return wanted


@kernel("i i r1 r8 r8 r8 w8")
def _crossing(first: Any, stop: Any, side: Any, quantity: Any, limit: Any, rank: Any, lots: Any) -> Any:
    """Return the price at which the money of a group meets its offers; `lots[0]` gets the lots that trade."""
    count = 0
    asks, supply = np.empty(stop - first, np.int64), np.empty(stop - first, np.int64)
    for place in range(first, stop):
        row = rank[place]
        if side[row] < 0:
            asks[count] = row
            supply[count] = quantity[row] + (supply[count - 1] if count > 0 else 0)
            count += 1
    low, high = 0, count  # the first offer that the price does not reach when all offers up to it are sold
    while low < high:
        middle = (low + high) // 2
        price = _price_at(first, stop, side, quantity, limit, rank, np.float64(supply[middle]))
        if price < np.float64(limit[asks[middle]]) or price == 0.0:
            high = middle
        else:
            low = middle + 1
    sold = supply[low - 1] if low > 0 else 0
    price = _price_at(first, stop, side, quantity, limit, rank, np.float64(sold)) if low > 0 else -1.0
    if low < count and (low == 0 or price > np.float64(limit[asks[low]])):
        price = max(np.float64(limit[asks[low]]), 0.0)  # this offer sells a part, at its own limit
        wanted = _wanted_at(first, stop, side, quantity, limit, price)
        sold = max(sold, min(np.int64(np.floor(wanted)), supply[low]))
    lots[0] = sold
    return max(price, 0.0)


@kernel("r8 r1 r8 r8 r8 w8 w8 w8")
def _share_by_money(
    starts: Any, side: Any, quantity: Any, limit: Any, rank: Any, fill: Any, pays: Any, price: Any
) -> Any:  # fmt: skip
    """Fill the orders of each group by money; write fills, what each bid pays, and the price rounded down.

    `rank` holds the rows of each group by rising limit.
    """
    sold, unspent = np.zeros(1, np.int64), np.int64(0)
    for group in range(starts.size - 1):
        first, stop = starts[group], starts[group + 1]
        exact = _crossing(first, stop, side, quantity, limit, rank, sold)
        price[group] = np.int64(np.floor(exact))
        money, left = 0.0, sold[0]
        for row in range(first, stop):
            if side[row] > 0 and limit[row] > 0:
                if np.float64(limit[row]) >= exact:
                    fill[row] = min(quantity[row], left)
                    pays[row] = fill[row] * price[group]
                    left -= fill[row]
                else:
                    money += np.float64(quantity[row]) * np.float64(limit[row])
        shift = 0
        while money > _WEIGHT_MAX:
            money /= 2.0
            shift += 1
        weights, shares = np.zeros(stop - first, np.int64), np.zeros(stop - first, np.int64)
        remainders, whole, given = np.full(stop - first, -1, np.int64), np.int64(0), np.int64(0)
        for row in range(first, stop):
            if side[row] > 0 and limit[row] > 0 and np.float64(limit[row]) < exact:
                weights[row - first] = (quantity[row] * limit[row]) >> shift
                whole += weights[row - first]
        for place in range(stop - first):
            if weights[place] > 0:
                shares[place] = part_of(left, weights[place], whole)
                remainders[place] = left * weights[place] - shares[place] * whole
                given += shares[place]
        if whole > 0:
            hand_out(shares, remainders, whole, left - given)
        unspent = np.int64(0)
        for row in range(first, stop):
            if shares[row - first] > 0:
                fill[row] = min(shares[row - first], quantity[row])
                pays[row] = quantity[row] * limit[row]
            if side[row] > 0:
                unspent += fill[row]
        for place in range(first, stop):
            row = rank[place]
            if side[row] < 0:
                fill[row] = min(quantity[row], unspent)
                unspent -= fill[row]
