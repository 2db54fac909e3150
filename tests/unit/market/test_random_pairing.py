"""Random pairing: everybody who may trade does, at the middle; chance is fair and belongs to the member."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff, unfilled
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, SELL
from wattle.market.chance import drawn
from wattle.market.random_pairing import RandomPairing
from wattle.testing.generators import book_of
from wattle.testing.strategies import order_books


def cleared(book, seed=0, tariff=None):
    return RandomPairing().step(None, book, Context(tariff, rng=np.random.default_rng(seed)))[1]


@given(book=order_books(takers=False, partners=True, members=6), seed=st.integers(0, 1000))
def test_pairs_trade_at_the_middle_until_nobody_may(book, seed):
    clearing = cleared(book, seed)
    row_of = {int(number): row for row, number in enumerate(book.id)}
    columns = (clearing.trades.buy_order, clearing.trades.sell_order, clearing.trades.buy_price)
    for buy, sell, price in zip(*(column.tolist() for column in columns), strict=True):
        bid, ask = int(book.limit[row_of[buy]]), int(book.limit[row_of[sell]])
        assert ask <= price <= bid
        assert price == (bid + ask) // 2
    left = book.take(unfilled(book, clearing) > 0)
    orders = [dict(zip(left.to_lists(), row, strict=True)) for row in zip(*left.to_lists().values(), strict=True)]
    for bid in (order for order in orders if order["side"] == BUY):
        for offer in (order for order in orders if order["side"] == SELL):
            same = all(bid[name] == offer[name] for name in ("interval", "zone"))
            named = bid["partner"] in (ANYONE, offer["participant"]) and offer["partner"] in (
                ANYONE,
                bid["participant"],
            )
            assert not (
                same and named and bid["participant"] != offer["participant"] and bid["limit"] >= offer["limit"]
            )


def test_every_pairing_is_as_likely_as_another():
    book = book_of([(8, BUY, 1, 200), (9, BUY, 1, 200), (10, BUY, 1, 200), (11, SELL, 1, 100), (12, SELL, 1, 100)])
    pairings = Counter()
    for seed in range(3000):
        trades = cleared(book, seed).trades
        pairings[tuple(sorted(zip(trades.buyer.tolist(), trades.seller.tolist(), strict=True)))] += 1
    assert len(pairings) == 6
    assert max(abs(count - 500) for count in pairings.values()) < 90  # four standard deviations of 20


def test_chance_belongs_to_the_member_and_not_to_his_row_or_the_ids():
    book = book_of([(8 + place, (BUY, SELL)[place % 2], 3, 150) for place in range(20)])
    some = book.take(np.arange(20) >= 10)
    assert cleared(book.take(np.arange(20)[::-1]), 5).trades == cleared(book, 5).trades
    later = cleared(book.replace(id=book.id + 1000), 5).trades
    assert (later.buyer.tolist(), later.seller.tolist()) == tuple(
        getattr(cleared(book, 5).trades, name).tolist() for name in ("buyer", "seller")
    )
    apart = cleared(some.replace(interval=np.ones(10, int)), 5).trades
    both = cleared(book.replace(interval=np.repeat((0, 1), 10)), 5).trades
    assert both.take(both.interval == 1) == apart


def test_members_places_uses_and_salts_give_other_numbers():
    book = book_of([(8 + place, BUY, 1, 150) for place in range(500)])
    book = book.replace(interval=np.arange(500) % 3, zone=np.arange(500) % 2)
    later = book.replace(interval=book.interval + 3)
    numbers = [drawn(each, salt, use) for each in (book, later) for salt in (0, 1, (1 << 63) - 1) for use in (0, 1)]
    assert np.unique(np.concatenate(numbers)).size == 6000


def test_price_takers_alone_form_no_price():
    book = book_of([(8, BUY, 5, ANY_PRICE), (9, SELL, 5, -ANY_PRICE)])
    assert cleared(book).refused == Reject.NO_PRICE
    assert cleared(book, tariff=Tariff.flat(300, 100)).trades.buy_price.tolist() == [200]


def test_without_chance_it_stops():
    with pytest.raises(InvariantError, match="source of chance"):
        RandomPairing().step(None, book_of([(8, BUY, 5, 10)]), Context())
