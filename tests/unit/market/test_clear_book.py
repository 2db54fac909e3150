"""The call auction kernels: counted and sorted against each other and against a book kept with loops."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.core.segments import grouped
from wattle.core.tables import ANY_PRICE
from wattle.core.units import PRICE_MAX
from wattle.market.clear_book import (
    _clear_counted,
    _clear_sorted,
    any_taker,
    clear_call,
    rank_rows,
)
from wattle.testing.generators import KINDS, books
from wattle.testing.strategies import order_books

QUICK_KINDS = [name for name in KINDS if name != "thousands of intervals"]


def naive(side, quantity, limit):
    """Match the dearest bid with the cheapest offer until they no longer cross; rows stand in order of id."""
    left = quantity.tolist()
    bids = sorted(np.flatnonzero(side > 0).tolist(), key=lambda row: (-limit[row], row))
    asks = sorted(np.flatnonzero(side < 0).tolist(), key=lambda row: (limit[row], row))
    last, volume, wait = (0, 0), 0, list(asks)
    for bid in bids:
        while wait and left[bid] and limit[bid] >= limit[wait[0]]:
            lots = min(left[bid], left[wait[0]])
            left[bid] -= lots
            left[wait[0]] -= lots
            volume += lots
            last = (int(limit[bid]), int(limit[wait[0]]))
            if left[wait[0]] == 0:
                wait.pop(0)
    fill = quantity - left
    if volume == 0:
        return fill.tolist(), [0, 0, 0, 0, 0]
    low = max([last[1]] + [int(limit[bid]) for bid in bids if left[bid]])
    high = min([last[0]] + [int(limit[ask]) for ask in asks if left[ask]])
    return fill.tolist(), [volume, low, high, *last]


def by_kernel(function, side, quantity, limit):
    rows = side.size
    fill, bounds = np.zeros(rows, np.int64), np.zeros(5, np.int64)
    if function is _clear_counted:
        bounds[1:3] = limit.min(), limit.max()
        width = int(limit.max() - limit.min()) + 1
        function(0, rows, side, quantity, limit, fill, np.empty(2 * width + 6, np.int64), bounds)
    else:
        spare = [np.empty(rows, np.int64) for _ in range(3)]
        function(0, rows, side, quantity, limit, fill, *spare, bounds)
    return fill.tolist(), known(bounds)


def known(bounds):
    """Without trade the other bounds say nothing."""
    return bounds.tolist() if bounds[0] else [0, 0, 0, 0, 0]


@pytest.mark.parametrize("function", [_clear_counted, _clear_sorted])
@settings(max_examples=200)
@given(book=order_books(rows=20, intervals=1, zones=1, takers=False, huge=True))
def test_both_ways_agree_with_the_naive_book(function, book):
    book, _ = grouped(book)
    if len(book):
        columns = (book.side, book.quantity, book.limit)
        assert by_kernel(function, *columns) == naive(*columns)


@settings(max_examples=30)
@given(st.data())
def test_both_ways_agree_on_more_rows_than_an_insertion_sort_takes(data):
    rows = data.draw(st.integers(49, 90))
    levels = data.draw(st.integers(0, 60))
    draw = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    side = draw.choice(np.array([1, -1], np.int8), rows)
    quantity, limit = draw.integers(1, 9, rows), draw.integers(-levels, levels + 1, rows)
    expected = naive(side, quantity, limit)
    assert by_kernel(_clear_counted, side, quantity, limit) == expected
    assert by_kernel(_clear_sorted, side, quantity, limit) == expected


@pytest.mark.parametrize("kind", QUICK_KINDS)
def test_all_groups_at_once_agree_with_the_naive_book(kind):
    stream = books(11, kind)
    for _ in range(3 if KINDS[kind].rare else 12):
        book, starts = grouped(next(stream))
        fill, bounds = clear_call(starts, book.side, book.quantity, book.limit)
        for group, (first, stop) in enumerate(pairwise(starts.tolist())):
            part = slice(first, stop)
            expected = naive(book.side[part], book.quantity[part], book.limit[part])
            assert (fill[part].tolist(), known(bounds[group])) == expected


def test_groups_of_both_ways_stand_side_by_side():
    """A counted group between two sorted ones, one with few orders and one with a wide range of prices."""
    draw = np.random.default_rng(4)
    narrow, wide = draw.integers(0, 50, 300), draw.integers(-PRICE_MAX, PRICE_MAX, 300)
    limit = np.concatenate((draw.integers(0, 50, 20), narrow, wide))
    side = draw.choice(np.array([1, -1], np.int8), limit.size)
    quantity = draw.integers(1, 9, limit.size)
    starts = np.array([0, 20, 320, 620])
    fill, bounds = clear_call(starts, side, quantity, limit)
    for group, (first, stop) in enumerate(pairwise(starts.tolist())):
        part = slice(first, stop)
        assert (fill[part].tolist(), known(bounds[group])) == naive(side[part], quantity[part], limit[part])


@given(order_books(rows=16, huge=True))
def test_bounds_hold_prices_that_support_the_result(book):
    """At any price between the bounds everyone who trades agrees and nobody who is left would gain."""
    book, starts = grouped(book)
    fill, bounds = clear_call(starts, book.side, book.quantity, book.limit)
    for group, (first, stop) in enumerate(pairwise(starts.tolist())):
        volume, low, high, last_bid, last_ask = bounds[group].tolist()
        part = slice(first, stop)
        side, limit, done = book.side[part], book.limit[part], fill[part]
        assert done[side > 0].sum() == done[side < 0].sum() == volume
        if volume:
            assert last_ask <= low <= high <= last_bid
            for price in (low, high):
                gain = side * (limit - price)
                assert (gain[done > 0] >= 0).all()
                assert (gain[done < book.quantity[part]] <= 0).all()


@given(st.lists(st.integers(0, 30) | st.integers(0, 1 << 38), max_size=120))
def test_ranks_are_a_stable_sort(keys):
    column = np.array(keys, np.int64)
    rank, spare = np.empty(column.size, np.int64), np.empty(column.size, np.int64)
    rank_rows(column, rank, spare, column.size)
    assert rank.tolist() == np.argsort(column, kind="stable").tolist()


@pytest.mark.parametrize("size", [0, 1, 48, 49, 3000])
@pytest.mark.parametrize("highest", [0, 1, 2047, 2048, (1 << 22) - 1, 1 << 22, PRICE_MAX, 1 << 62])
def test_radix_takes_as_many_digits_as_needed(size, highest):
    keys = np.random.default_rng(size).integers(0, highest, size, endpoint=True)
    keys[: size // 2] = highest
    rank, spare = np.empty(size, np.int64), np.empty(size, np.int64)
    rank_rows(keys, rank, spare, size)
    assert rank.tolist() == np.argsort(keys, kind="stable").tolist()


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ([], False),
        ([1, 2], False),
        ([1, ANY_PRICE], True),
        ([-ANY_PRICE], True),
        ([ANY_PRICE - 1, 1 - ANY_PRICE], False),
    ],
)
def test_price_takers_are_seen(limits, expected):
    assert any_taker(np.array(limits, np.int64), ANY_PRICE) == expected
