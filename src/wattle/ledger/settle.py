"""From trades and transfers to postings, and from two settlements of one interval to their difference.

Settlement of an interval is a pure function of its trades, readings and rules. A late reading is therefore no special
case: settle again, subtract, post the difference. Only accounts whose result changes see one, and it sums to zero.
"""

from __future__ import annotations

import numpy as np

from wattle.core.checks import ensure
from wattle.core.columns import I64
from wattle.core.tables import MARKET_OPERATOR, UTILITY, Trades, Transfers
from wattle.ledger.accounts import BOOKS, CODES, ENERGY, LOCAL, MONEY, SPREAD, UTILITY_ENERGY
from wattle.ledger.postings import Postings


def settle(trades: Trades, transfers: Transfers) -> Postings:
    """Post energy and money of each trade and the money of each transfer; exact, nothing is rounded.

    The seller gets the selling price from the buyer; a gap between the two prices goes to the market operator.
    """
    for price in (trades.buy_price, trades.sell_price):
        ensure(_fits(trades.quantity, price), "quantity times price does not fit into 64 bits")
    utility = (trades.buyer == UTILITY) | (trades.seller == UTILITY)
    code = np.where(utility, np.int8(UTILITY_ENERGY), np.int8(LOCAL))
    rows = len(trades)
    gap = np.flatnonzero(trades.buy_price != trades.sell_price)
    spread = (trades.buy_price[gap] - trades.sell_price[gap]) * trades.quantity[gap]
    buys, operator = trades.buyer[gap], np.full(gap.size, MARKET_OPERATOR, np.int32)
    return Postings(
        interval=np.concatenate((trades.interval, trades.interval, trades.interval[gap], transfers.interval)),
        debit=np.concatenate((trades.buyer, trades.buyer, np.where(spread > 0, buys, operator), transfers.payer)),
        credit=np.concatenate((trades.seller, trades.seller, np.where(spread > 0, operator, buys), transfers.payee)),
        amount=np.concatenate(
            (trades.quantity, trades.quantity * trades.sell_price, np.abs(spread), transfers.amount)
        ),
        book=np.concatenate(
            (np.full(rows, ENERGY, np.int8), np.full(rows + gap.size + len(transfers), MONEY, np.int8))
        ),
        code=np.concatenate((code, code, np.full(gap.size, SPREAD, np.int8), transfers.code)),
    )


def difference(old: Postings, new: Postings, accounts: int) -> Postings:
    """Return the postings that turn `old` into `new`, netted for each interval, account, book and code.

    Positive and negative differences of one interval, book and code are paired in the order of accounts; they sum to
    zero because both settlements do.
    """
    interval = np.concatenate((old.interval, new.interval))
    number, place = np.unique(interval, return_inverse=True)
    net = np.zeros((number.size, BOOKS, CODES, accounts), np.int64)
    split = len(old)
    for part, where, sign in ((old, place[:split], -1), (new, place[split:], 1)):
        np.add.at(net, (where, part.book, part.code, part.debit), sign * part.amount)
        np.add.at(net, (where, part.book, part.code, part.credit), -sign * part.amount)
    parts = [Postings.empty()]
    for time, book, code in zip(*np.nonzero(np.abs(net).sum(axis=3)), strict=True):
        parts.append(_pair(net[time, book, code], int(number[time]), int(book), int(code)))
    return Postings.concat(*parts)


def _pair(net: I64, interval: int, book: int, code: int) -> Postings:
    owes, gets = np.flatnonzero(net > 0), np.flatnonzero(net < 0)
    ensure(int(net.sum()) == 0, "a difference of two settlements does not sum to zero")
    # North-west corner rule on cumulated amounts.
    edge_owes, edge_gets = np.cumsum(net[owes]), np.cumsum(-net[gets])
    edges = np.union1d(edge_owes, edge_gets)
    rows = edges.size
    return Postings(
        interval=np.full(rows, interval, np.int32),
        debit=owes[np.searchsorted(edge_owes, edges)].astype(np.int32),
        credit=gets[np.searchsorted(edge_gets, edges)].astype(np.int32),
        amount=np.diff(edges, prepend=0),
        book=np.full(rows, book, np.int8),
        code=np.full(rows, code, np.int8),
    )


def _fits(quantity: I64, price: I64) -> bool:
    if quantity.size == 0:
        return True
    return float(np.abs(quantity).max()) * float(np.abs(price).max()) < 2.0**62
