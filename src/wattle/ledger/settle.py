"""From trades and transfers to postings, and from two settlements of one interval to their difference.

Settlement of an interval is a pure function of its trades, readings and rules. A late reading is therefore no special
case: settle again, subtract, post the difference. Only accounts whose result changes see one, and it sums to zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wattle.core.checks import ensure
from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.tables import MARKET_OPERATOR, UTILITY, Trades, Transfers
from wattle.ledger.accounts import BOOKS, CODES, ENERGY, LOCAL, MONEY, SPREAD, UTILITY_ENERGY
from wattle.ledger.postings import Postings


def settle(trades: Trades, transfers: Transfers) -> Postings:
    """Post energy and money of each trade and the money of each transfer; exact, nothing is rounded.

    The seller gets the selling price from the buyer; a gap between the two prices goes to the market operator.
    """
    return settle_all((trades, transfers))


def settle_all(*parts: tuple[Trades, Transfers]) -> Postings:
    """Post several lots of trades and transfers into one table; see `settle`."""
    rows = 0
    for trades, transfers in parts:
        for price in (trades.buy_price, trades.sell_price):
            ensure(_fits(trades.quantity, price), "quantity times price does not fit into 64 bits")
        rows += 2 * len(trades) + int(np.count_nonzero(trades.buy_price != trades.sell_price)) + len(transfers)
    interval, debit, credit = np.empty(rows, np.int32), np.empty(rows, np.int32), np.empty(rows, np.int32)
    amount, book, code = np.empty(rows, np.int64), np.empty(rows, np.int8), np.empty(rows, np.int8)
    place = 0
    for trades, transfers in parts:
        place = _post(
            trades.interval, trades.buyer, trades.seller, trades.quantity, trades.buy_price, trades.sell_price,
            place, interval, debit, credit, amount, book, code,
        )  # fmt: skip
        span = slice(place, place + len(transfers))
        interval[span], debit[span], credit[span] = transfers.interval, transfers.payer, transfers.payee
        amount[span], book[span], code[span] = transfers.amount, MONEY, transfers.code
        place += len(transfers)
    ensure(place == rows, "a posting was lost")
    return Postings(interval, debit, credit, amount, book, code)


@kernel("r4 r4 r4 r8 r8 r8 i w4 w4 w4 w8 w1 w1")
def _post(
    time: Any, buyer: Any, seller: Any, quantity: Any, buy_price: Any, sell_price: Any, place: Any,
    interval: Any, debit: Any, credit: Any, amount: Any, book: Any, code: Any,
) -> Any:  # fmt: skip
    for row in range(time.size):
        kind = UTILITY_ENERGY if buyer[row] == UTILITY or seller[row] == UTILITY else LOCAL
        for entry in range(2):
            interval[place], debit[place], credit[place] = time[row], buyer[row], seller[row]
            amount[place] = quantity[row] if entry == ENERGY else quantity[row] * sell_price[row]
            book[place], code[place] = entry, kind
            place += 1
        gap = (buy_price[row] - sell_price[row]) * quantity[row]
        if gap != 0:
            interval[place], amount[place], book[place], code[place] = time[row], abs(gap), MONEY, SPREAD
            debit[place] = buyer[row] if gap > 0 else MARKET_OPERATOR
            credit[place] = MARKET_OPERATOR if gap > 0 else buyer[row]
            place += 1
    return place


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
