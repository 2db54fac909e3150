"""Claims that need small games, claims about time, and rules that ask back: who keeps them and who does not."""

from dataclasses import dataclass

import numpy as np
from broken_rules import OwnPrices, Plain, cleared, worth

from wattle.core.checks import Reject
from wattle.core.messages import Clearing, Context, Quote
from wattle.core.registry import Entry
from wattle.core.tables import ANY_PRICE, Orders, Prices, Quotes
from wattle.market.auction_double import UniformAuction
from wattle.market.mechanism import Claim, nobody_to_trade_with
from wattle.market.pools import MidMarketRate
from wattle.testing.conformance import check_mechanism
from wattle.testing.generators import Case, book_of
from wattle.testing.trial import Trial


@dataclass(frozen=True)
class PostedPrice(Plain):
    """Everybody trades at the posted price or not at all; first come, first served. Proof against misreports."""

    posted: int = 180

    def group(self, book, context):
        limit = worth(book, context)
        willing = np.where(book.side > 0, limit >= self.posted, limit <= self.posted)
        return super().group(book.replace(limit=np.full(len(book), self.posted)).take(willing), Context())


@dataclass(frozen=True)
class ContinuousBook(Plain):
    """Match each order on arrival at the price of the order that waits; what is left of it waits too."""

    def step(self, memory, orders, context):
        if (orders.partner >= 0).any():
            return memory, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        waiting = [] if memory is None else [list(row) for row in zip(*memory["book"].arrays(), strict=True)]
        rows = []
        for new in sorted((list(row) for row in zip(*orders.arrays(), strict=True)), key=lambda row: row[0]):
            crossing = [w for w in waiting if w[2:4] == new[2:4] and w[4] == -new[4] and new[4] * (new[6] - w[6]) >= 0]
            for old in sorted(crossing, key=lambda row: (new[4] * row[6], row[0])):
                lots, price = min(new[5], old[5]), old[6] if abs(old[6]) < ANY_PRICE else new[6]
                if lots > 0 and abs(price) < ANY_PRICE:
                    buy, sell = (new, old) if new[4] > 0 else (old, new)
                    rows.append((new[3], new[2], buy[1], sell[1], buy[0], sell[0], lots, price, price))
                    new[5] -= lots
                    old[5] -= lots
            waiting = [row for row in [*waiting, new] if row[5] > 0]
        resting = Orders(*(np.array(c, np.int64) for c in zip(*waiting, strict=True))) if waiting else Orders.empty()
        trades = cleared(rows).trades
        why = None if len(orders) or memory else nobody_to_trade_with(orders)
        return {"book": resting}, Clearing(trades, Prices.empty(), resting, refused=why)


@dataclass(frozen=True)
class Haggles(Plain):
    """Ask at a rising price until no more is wanted than offered, then let the shorter side trade."""

    def step(self, memory, orders, context):
        if (orders.partner >= 0).any() and memory is None:
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        price = 0 if memory is None else memory["price"] + 25
        places = sorted(set(zip(orders.interval.tolist(), orders.zone.tolist(), strict=True)))
        wanted = orders.quantity[orders.side > 0].sum()
        if memory is not None and (wanted <= orders.quantity[orders.side < 0].sum() or price > 500):
            at_price = orders.replace(limit=np.full(len(orders), memory["price"]), partner=np.full(len(orders), -1))
            return memory, Plain().step(None, at_price, Context())[1]
        nobody = np.full(len(places), -1)
        interval, zone = (np.array(column, np.int64) for column in (zip(*places, strict=True) if places else ((), ())))
        return {"price": price}, Quote(Quotes(interval, zone, nobody, nobody, nobody + 1 + price), price // 25)


def failed(cls, *claims, books=80):
    return [r.name for r in check_mechanism(Entry("rule", cls, frozenset(claims)), books=books) if not r.passed]


def test_a_posted_price_is_truthful_and_an_auction_is_not():
    assert failed(PostedPrice, Claim.TRUTHFUL, Claim.BUDGET_BALANCED, Claim.INDIVIDUALLY_RATIONAL) == []
    assert failed(Plain, Claim.TRUTHFUL) == [Claim.TRUTHFUL]
    assert failed(OwnPrices, Claim.TRUTHFUL) == [Claim.TRUTHFUL]


def test_an_equilibrium_is_in_the_core_and_a_pool_is_not():
    assert failed(UniformAuction, Claim.IN_CORE) == []
    assert failed(MidMarketRate, Claim.IN_CORE) == [Claim.IN_CORE]
    assert failed(PostedPrice, Claim.IN_CORE) == [Claim.IN_CORE]


def test_a_continuous_book_is_incremental_and_an_auction_is_not():
    assert failed(ContinuousBook, Claim.INCREMENTAL, Claim.INDIVIDUALLY_RATIONAL, books=20) == []
    assert failed(Plain, Claim.INCREMENTAL) == [Claim.INCREMENTAL]


def test_quotes_are_answered_until_the_rule_clears():
    assert failed(Haggles, Claim.BUDGET_BALANCED, Claim.INDIVIDUALLY_RATIONAL, books=20) == []
    book = book_of([(8, 1, 10, 200), (9, 1, 10, 120), (10, -1, 10, 60)])
    outcome = Trial(Haggles(), Case("by hand", book, None, 0)).outcome
    assert outcome.rounds == 6  # 0, 25, ... 125; at 125 the second buyer has gone
    assert outcome.clearing.trades.buy_price.tolist() == [125]
    assert outcome.clearing.trades.buyer.tolist() == [8]
