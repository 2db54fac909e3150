"""Trades written in one pass: against a sort and the north-west corner rule, and against averages of whole numbers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.core.messages import Context
from wattle.core.segments import grouped
from wattle.core.tables import ANY_PRICE, ANYONE, Orders, Trades
from wattle.core.units import PRICE_MAX, QUANTITY_MAX
from wattle.market import pair_book
from wattle.market.auction_double import PayAsBidAuction, paired, trades_of
from wattle.market.clear_book import clear_call
from wattle.market.pair_book import pair_orders, trades_at_one_price, trades_pair_by_pair
from wattle.testing.generators import KINDS, books
from wattle.testing.strategies import order_books

QUICK_KINDS = [name for name in KINDS if name != "thousands of intervals"]


def one_group(side, quantity, limit, interval=0):
    size, nought = len(side), np.zeros(len(side), np.int64)
    who = np.arange(size) % 7 + 8
    return Orders(np.arange(size) * 3, who, nought, nought + interval, side, quantity, limit, nought + ANYONE)


def by_sort(book, starts, fill, bounds, k_percent):
    """The same trades from a sort, the corner rule of `segments` and gathered columns."""
    group = np.repeat(np.arange(starts.size - 1), np.diff(starts))
    merit = np.lexsort((book.id, -book.side * book.limit, group))
    buy, sell, lots = paired(book, starts, fill, merit)
    bid, ask = book.limit[buy], book.limit[sell]
    bid = np.where(bid == ANY_PRICE, bounds[group[buy], 2], bid)
    ask = np.where(ask == -ANY_PRICE, bounds[group[sell], 1], ask)
    return trades_of(book, buy, sell, lots, ask + (bid - ask) * k_percent // 100)


def exact_means(trades):
    """Mean price of each zone and interval, in fractions, rounded down."""
    rows = zip(*(column.tolist() for column in trades.arrays()), strict=True)
    sums = {}
    for interval, zone, _, _, _, _, lots, price, _ in rows:
        paid, moved = sums.get((interval, zone), (0, 0))
        sums[interval, zone] = paid + lots * price, moved + lots
    return [(*key, Fraction(paid, moved).__floor__()) for key, (paid, moved) in sums.items()]


def check(book, k_percent):
    book, starts = grouped(book)
    fill, bounds = clear_call(starts, book.side, book.quantity, book.limit)
    bounds[:, 1:3] = np.clip(bounds[:, 1:3], -PRICE_MAX, PRICE_MAX)
    trades, prices = trades_pair_by_pair(book, starts, fill, bounds, k_percent)
    assert trades == by_sort(book, starts, fill, bounds, k_percent)
    if prices is not None:
        assert list(zip(*(column.tolist() for column in prices.arrays()), strict=True)) == exact_means(trades)
    price = np.arange(starts.size - 1) * 5 - 7
    buy, sell, lots = paired(book, starts, fill, np.arange(len(book)))
    expected = trades_of(book, buy, sell, lots, np.repeat(price, np.diff(starts))[buy])
    assert trades_at_one_price(book, starts, fill, price) == expected
    return trades


@pytest.mark.parametrize("kind", QUICK_KINDS)
def test_every_kind_of_book(kind):
    stream = books(12, kind)
    for number in range(2 if KINDS[kind].rare else 8):
        check(next(stream), (0, 50, 100, 33)[number % 4])


@given(order_books(rows=20, huge=True), st.integers(0, 100))
def test_small_books_with_ties_takers_and_huge_numbers(book, k_percent):
    check(book, k_percent)


@settings(max_examples=40)
@given(st.data())
def test_counted_groups_beside_ranked_ones(data):
    """Groups of both ways, with a few levels and ties, and with a range too wide to count."""
    draw = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    parts = []
    for number in range(data.draw(st.integers(1, 4))):
        size = data.draw(st.sampled_from([1, 5, 48, 60, 140, 300]))
        wide = data.draw(st.sampled_from([3, 40, 5_000, PRICE_MAX]))
        side = draw.choice(np.array([1, -1], np.int8), size)
        parts.append(one_group(side, draw.integers(1, 9, size), draw.integers(-wide, wide, size), number))
    check(Orders.concat(*parts), data.draw(st.integers(0, 100)))


def test_a_counted_group_has_filled_and_unfilled_rows_on_both_sides():
    draw = np.random.default_rng(2)
    side = draw.choice(np.array([1, -1], np.int8), 400)
    trades = check(one_group(side, draw.integers(1, 9, 400), draw.integers(0, 90, 400)), 50)
    assert 100 < len(trades) < 399


def test_one_row_more_than_needed_takes_what_is_not_filled():
    """All rows are filled: nothing is left for the spare row, and nothing is written over."""
    side = np.array([1, -1] * 40, np.int8)
    trades = check(one_group(side, np.full(80, 3), np.where(side > 0, 9, 2)), 50)
    assert trades.quantity.tolist() == [3] * 40


def test_sums_of_money_that_need_more_than_64_bits_give_the_mean_all_the_same():
    side = np.array([1, -1] * 30, np.int8)
    lots, limit = np.full(60, QUANTITY_MAX), np.where(side > 0, PRICE_MAX, PRICE_MAX - 8)
    book, starts = grouped(one_group(side, lots, limit))
    fill, bounds = clear_call(starts, book.side, book.quantity, book.limit)
    assert trades_pair_by_pair(book, starts, fill, bounds, 50)[1] is None
    _, clearing = PayAsBidAuction().step(None, book, Context())
    assert clearing.prices.price.tolist() == [PRICE_MAX - 4]


def test_nothing_filled_gives_nothing():
    book, starts = grouped(one_group(np.array([1, -1], np.int8), np.array([4, 4]), np.array([1, 2])))
    fill, bounds = clear_call(starts, book.side, book.quantity, book.limit)
    trades, prices = trades_pair_by_pair(book, starts, fill, bounds, 50)
    assert trades == Trades.empty()
    assert len(prices) == 0
    assert trades_at_one_price(Orders.empty(), np.zeros(1, np.int64), fill[:0], fill[:0]) == Trades.empty()


def test_the_plain_twin_writes_the_same(monkeypatch):
    """Two groups, one counted and one ranked."""
    draw = np.random.default_rng(9)
    side = draw.choice(np.array([1, -1], np.int8), 150)
    limit = np.concatenate((draw.integers(0, 60, 130), draw.integers(-PRICE_MAX, PRICE_MAX, 20)))
    book = one_group(side, draw.integers(1, 9, 150), limit)
    book, starts = grouped(book.replace(interval=np.repeat([0, 1], [130, 20])))
    fill, bounds = clear_call(starts, book.side, book.quantity, book.limit)
    assert (np.add.reduceat(fill > 0, starts[:-1]) > [48, 2]).all()
    fast = trades_pair_by_pair(book, starts, fill, bounds, 40)[0]
    monkeypatch.setattr(pair_book, "pair_orders", pair_orders.twin())
    assert trades_pair_by_pair(book, starts, fill, bounds, 40)[0] == fast
