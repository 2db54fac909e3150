"""Auctions that do not reward a false limit: trade reduction, split markets, and payment by externality.

In a plain double auction the last order that trades sets the price, so its owner may gain by naming another limit.
These rules take the price from somebody who does not trade at it. That costs something: a lost trade, a random
split, or money from the market operator. R. Myerson and M. Satterthwaite (Journal of Economic Theory 29, 1983) proved
that no rule has everything: efficient, truthful, individually rational and without a subsidy.

A price taker's limit is the utility's price where there is a tariff, else just beyond all limits in his group (then
`vickrey-clarke-groves` refuses him, because his lots have no worth to pay for).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import grouped
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders, Prices
from wattle.market.auction_double import has_partner, mean_prices, trades_of
from wattle.market.auction_one_sided import (
    Call,
    called,
    deal,
    displaced,
    fits,
    named_limits,
    overlaid,
    owners,
    priced_lots,
    with_tariff,
)
from wattle.market.chance import drawn
from wattle.market.clear_book import clear_call
from wattle.market.mechanism import (
    BUDGET_BALANCED,
    EFFICIENT,
    EXACT,
    INDIVIDUALLY_RATIONAL,
    SEPARABLE,
    TRUTHFUL,
    mechanism,
)
from wattle.market.share import by_rank, totals, willing


@mechanism(
    "trade-reduction",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="McAfee 1992, A dominant strategy double auction, Journal of Economic Theory 56(2), 434-450",
)
@dataclass(frozen=True)
class TradeReduction:
    """The first pair that does not trade sets the price, or the last pair that could trade gives way.

    McAfee's auction of single units; here a unit is a lot. With k lots traded at best, and bids b and offers s in
    merit order, the price is (b[k+1] + s[k+1]) / 2, rounded down, if all k bids and offers accept it. Else k - 1 lots
    trade, buyers pay b[k], sellers get s[k], and the market operator keeps the gap.

    For members who want one lot each no misreport pays, and at most the least valuable trade is lost. A member of
    several lots can set his own price, so the rule does not claim to be truthful for all books.
    """

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Clear every zone and interval by McAfee's rule."""
        call = called(orders, context)
        if isinstance(call, Reject):
            return None, Clearing.refuse(call)
        if len(call.book) == 0:
            return None, call.deal(call.lowest, call.lowest)
        next_bid, next_ask = call.best_left()
        last_bid, last_ask = call.bounds[:, 3], call.bounds[:, 4]
        middle = (next_bid + next_ask) // 2
        known = (next_bid > -2 * ANY_PRICE) & (next_ask < 2 * ANY_PRICE)
        whole = known & (last_ask <= middle) & (middle <= last_bid)
        fill = call.fill.copy()
        reduced = ~whole & (call.bounds[:, 0] > 0)
        for side in (BUY, SELL):
            fill[call.last_filled(side)[reduced]] -= 1
        return None, call.deal(np.where(whole, middle, last_bid), np.where(whole, middle, last_ask), fill)


@mechanism(
    "huang-auction",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Huang, Scheller-Wolf, Sycara 2002, Design of a multi-unit double auction e-market, Comput. Intell. 18(4)",
)
@dataclass(frozen=True)
class HuangAuction:
    """The last bid and the last offer that could trade stand aside and set the two prices of all others.

    Trade reduction for orders of many lots. Where the bids that remain want more than the offers that remain have,
    or the other way round, the longer side bears the difference in equal parts, each at most his order; odd lots fall
    on the lowest ids. The market operator keeps the gap of the two prices.

    No member with one order gains by a false limit. He may gain by holding back lots, which moves the border to
    somebody else; so the rule does not claim to be truthful.
    """

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Clear every zone and interval without its marginal orders."""
        call = called(orders, context)
        if isinstance(call, Reject):
            return None, Clearing.refuse(call)
        return None, without_marginal(call, equal=True)


def without_marginal(call: Call, *, equal: bool) -> Clearing:
    """Trade all that stands before the marginal bid and offer, at their limits.

    The longer side bears the excess in `equal` parts, or else in proportion to its lots.
    """
    if len(call.book) == 0:
        return call.deal(call.lowest, call.lowest)
    fill = call.fill.copy()
    for side in (BUY, SELL):
        marginal = call.last_filled(side)
        fill[marginal[marginal >= 0]] = 0
    wanted, offered = totals(call.starts, call.book.side, fill)
    longer = call.each(np.sign(wanted - offered))
    bears = ((call.book.side == longer) & (fill > 0)).astype(np.int8)
    burden, same_rank = np.zeros_like(fill), np.zeros_like(fill)
    by_rank(call.starts, bears, fill, same_rank, int(equal), np.abs(wanted - offered), burden)
    return call.deal(call.bounds[:, 3], call.bounds[:, 4], fill - burden)


@mechanism(
    "muda",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, TRUTHFUL, SEPARABLE, EXACT},
    source="Segal-Halevi, Hassidim, Aumann 2018, MUDA: a truthful multi-unit double-auction mechanism, AAAI 32",
)
@dataclass(frozen=True)
class Muda:
    """Members are split by chance into two halves, and each half trades at the price of the other.

    Nobody can move the price that he gets. In each half the longer side is served in an order drawn by lot (the
    paper's MUDA-lottery), the shorter side in full. The price of a half is the middle of its supporting interval; a
    half in which nothing trades has the middle between its best bid and best offer, or the one of them that exists.
    A half without orders has no price, and then the other half does not trade.

    The truth is best for members who only buy or only sell, as every agent of the paper does. Who does both in one zone
    and interval may gain by a false limit, because he then trades with himself.

    All money goes from buyers to sellers. What is lost are trades between members of different halves; the paper bounds
    that loss, and it vanishes as markets grow.
    """

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Split and clear every zone and interval."""
        if has_partner(orders):
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        ensure(context.rng is not None, "muda: the context brings no chance")
        assert context.rng is not None
        # One number from the generator; all else follows from it and the member, whoever else is in the book.
        salt = int(context.rng.integers(1 << 62))
        book, starts = grouped(with_tariff(orders, context))
        half = drawn(book, salt, 1) >> np.uint64(63)
        key = 2 * np.repeat(np.arange(starts.size - 1), np.diff(starts)) + half.astype(np.int64)
        rank = np.argsort(key, kind="stable")
        book, key = book.take(rank), key[rank]
        names, first = np.unique(key, return_index=True)
        starts = np.append(first, len(book)).astype(np.int64)
        own, known = _half_prices(book, starts)
        other = np.searchsorted(names, names ^ 1)
        found = (other < names.size) & (names.take(other, mode="clip") == names ^ 1)
        price = own.take(other, mode="clip")
        priced = found & known.take(other, mode="clip")
        fill = _by_lot(book, starts, price, priced, drawn(book, salt, 2))
        trades = deal(book, starts, fill, price, price)
        return None, Clearing(trades, mean_prices(trades))


def _half_prices(book: Orders, starts: I64) -> tuple[I64, NDArray[np.bool_]]:
    limit, lowest, highest = named_limits(book, starts)
    book = book.replace(limit=limit)
    fill, bounds = clear_call(starts, book.side, book.quantity, limit)
    if len(book) == 0:
        return lowest, lowest > highest
    low, high = Call(book, starts, fill, bounds, lowest, highest).best_left()
    low, high = np.where(low == -2 * ANY_PRICE, high, low), np.where(high == 2 * ANY_PRICE, low, high)
    traded = bounds[:, 0] > 0
    middle = np.where(traded, bounds[:, 1] + bounds[:, 2], low + high) // 2
    return np.clip(middle, lowest, np.maximum(lowest, highest)), lowest <= highest


def _by_lot(book: Orders, starts: I64, price: I64, priced: NDArray[np.bool_], lot: NDArray[np.uint64]) -> I64:
    """Return fills at a given price: the shorter side in full, the longer one in the order of `lot`."""
    fill = np.zeros(len(book), np.int64)
    if len(book) == 0:
        return fill
    sizes = np.diff(starts)
    takes = np.where(willing(book, np.repeat(price, sizes)) & np.repeat(priced, sizes), book.quantity, 0)
    volume = np.repeat(np.minimum(*totals(starts, book.side, takes)), sizes)
    part = 2 * np.repeat(np.arange(sizes.size), sizes) + (book.side == BUY)
    rank = np.lexsort((book.id, lot, part))
    sorted_part, lots = part[rank], takes[rank]
    before = np.cumsum(lots) - lots
    head = np.searchsorted(sorted_part, sorted_part)
    fill[rank] = np.clip(volume[rank] - (before - before[head]), 0, lots)
    return fill


@mechanism(
    "vickrey-clarke-groves",
    claims={INDIVIDUALLY_RATIONAL, EFFICIENT, TRUTHFUL, SEPARABLE, EXACT},
    source="Vickrey 1961; Clarke 1971, Public Choice 11; Groves 1973, Econometrica 41; Krishna 2010",
)
@dataclass(frozen=True)
class VickreyClarkeGroves:
    """Everybody trades as is best for all, and pays or gets what his taking part costs or brings the others.

    A buyer of q lots pays the q best values that others would have had for them: losing bids, or offers that then need
    not deliver. A seller of q lots gets the q cheapest ways in which the others could replace him. That is welfare
    of the others without him less their welfare with him (Krishna 2010, section 5.3). Buyers so pay less than
    sellers get, and the market operator pays the difference: `report` names it as `deficit`, in cash (lots x ticks).

    Each lot has the price of the order that it displaces, so one member may hold trades at several prices, and the
    buying price of a trade is at most its selling price. Lots that a member sells to himself stand at the middle of
    the supporting interval, which is also the published price. All orders of a member in a zone and interval count
    together. Orders at any price need a tariff: without one nobody knows what their lots are worth to the others.
    """

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Clear every zone and interval and price each lot by what it displaces."""
        call = called(orders, context, worth_needed=True)
        if isinstance(call, Reject):
            return None, Clearing.refuse(call)
        if not fits(call.book):
            return None, Clearing.refuse(Reject.TOO_LARGE)
        middle = np.clip((call.bounds[:, 1] + call.bounds[:, 2]) // 2, call.lowest, call.highest)
        buy, buy_price, bought = _externality_lots(call, BUY, middle)
        sell, sell_price, sold = _externality_lots(call, SELL, middle)
        left, right, lots = overlaid(bought, sold)
        trades = trades_of(call.book, buy[left], sell[right], lots, buy_price[left])
        trades = trades.replace(sell_price=sell_price[right])
        head = call.starts[:-1][call.bounds[:, 0] > 0]
        prices = Prices(call.book.interval[head], call.book.zone[head], middle[call.bounds[:, 0] > 0])
        deficit = ((trades.sell_price - trades.buy_price) * lots).astype(float).sum()
        return None, Clearing(trades, prices, report={"deficit": float(deficit)})


def _externality_lots(call: Call, side: int, middle: I64) -> tuple[I64, I64, I64]:
    """Return row, price and lots of all that a side trades.

    With a buyer gone, lots come free: the dearest losing bids take them, or the dearest offers need not deliver. With a
    seller gone, lots are missing: the cheapest losing offers replace them, or the lowest bids go without.
    """
    book, fill = call.book, call.fill
    owner, group = owners(call)
    mine = book.side == side
    traded, against = np.zeros(group.size, np.int64), np.zeros(group.size, np.int64)
    np.add.at(traded, owner[mine], fill[mine])
    np.add.at(against, owner[~mine], fill[~mine])
    with_himself = np.minimum(traded, against)
    spare = np.where(mine, book.quantity - fill, fill)
    by, row, lots = displaced(call, owner, group, traded - with_himself, spare, dearest=side == BUY)
    price = np.clip(book.limit[row], call.lowest[group[by]], call.highest[group[by]])
    both = np.flatnonzero(with_himself)
    by, lots = np.concatenate((by, both)), np.concatenate((lots, with_himself[both]))
    return priced_lots(call, owner, side, by, np.concatenate((price, middle[group[both]])), lots)
