"""Members who take any price: what a rule makes each of them pay, and what it would charge for a little more."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Tariff, unfilled
from wattle.core.segments import cells
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, FIRST_MEMBER, Orders
from wattle.market.mechanism import Mechanism

Lots = NDArray[np.int64]
Floats = NDArray[np.float64]


def book_of(net: Lots) -> Orders:
    """Return one order for each member and interval of the net energy [T, N] in lots; column n is member 8 + n."""
    time, who, lots = cells(net)
    buys = lots > 0
    return Orders(
        id=np.arange(time.size),
        participant=who + np.int32(FIRST_MEMBER),
        zone=np.zeros(time.size, np.int32),
        interval=time,
        side=np.where(buys, np.int8(1), np.int8(-1)),
        quantity=np.abs(lots),
        limit=np.where(buys, ANY_PRICE, -ANY_PRICE),
        partner=np.full(time.size, ANYONE, np.int32),
    )


def alone(net: Lots, tariff: Tariff) -> I64:
    """Return what each member pays the utility without a community, [N] in cash."""
    retail, feed_in = (prices[:, None] for prices in tariff.at(np.arange(net.shape[0], dtype=np.int32)))
    paid: I64 = np.where(net > 0, net * retail, net * feed_in).sum(axis=0)
    return paid


def bills(rule: Mechanism, net: Lots, tariff: Tariff, orders: Orders | None = None) -> I64:
    """Return what each member pays under a rule, [N] in cash: his trades, his transfers, the rest from the utility.

    `orders` replaces the book of price takers, for rules that need limits.
    """
    book = book_of(net) if orders is None else orders
    clearing = cleared(rule, book, tariff)
    trades, transfers = clearing.trades, clearing.transfers
    paid = np.zeros(FIRST_MEMBER + net.shape[1], np.int64)
    np.add.at(paid, trades.buyer, trades.quantity * trades.buy_price)
    np.subtract.at(paid, trades.seller, trades.quantity * trades.sell_price)
    np.add.at(paid, transfers.payer, transfers.amount)
    np.subtract.at(paid, transfers.payee, transfers.amount)
    retail, feed_in = tariff.at(book.interval)
    left = unfilled(book, clearing)
    np.add.at(paid, book.participant, np.where(book.side == BUY, left * retail, -left * feed_in))
    return paid[FIRST_MEMBER:]


def cleared(rule: Mechanism, book: Orders, tariff: Tariff) -> Clearing:
    """Return the clearing of one book by a rule that asks nobody again."""
    _, answer = rule.step(None, book, Context(tariff=tariff))
    ensure(isinstance(answer, Clearing), f"{rule} asks its members again")
    clearing = cast(Clearing, answer)
    ensure(clearing.unusable is None, f"{rule} refuses the book: {clearing.unusable}")
    return clearing


def prices_of(rule: Mechanism, net: Lots, tariff: Tariff, probe: int = 1000) -> tuple[Floats, Floats]:
    """Return what the rule charges a buyer and gives a seller in each interval, [T] and [T] in ticks.

    In each interval two more members take part, who buy and sell `probe` lots and nothing else; their bills are the
    prices. So any rule can be asked, also one that settles by transfers, and there is a price where nobody trades.
    """
    count = net.shape[0]
    more = np.eye(count, dtype=np.int64) * probe
    paid = bills(rule, np.hstack([net, more, -more]), tariff)[net.shape[1] :] / probe
    return paid[:count], -paid[count:]
