"""Tariffs by interval, and the lots of each order that a clearing leaves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Clearing, Tariff, unfilled
from wattle.core.tables import Orders, Prices, Trades
from wattle.testing.generators import book_of


def trades(*rows):
    """Rows of buying order, selling order, quantity."""
    size = len(rows)
    bought, sold, lots = np.array(rows, np.int64).reshape(-1, 3).T
    nought, who = np.zeros(size, np.int32), np.full(size, 8, np.int32)
    return Trades(nought, nought, who, who, bought, sold, lots, nought, nought)


@given(st.integers(-5, 5), st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=9))
def test_a_tariff_answers_for_its_own_intervals(first, rows):
    feed_in = np.array([low for low, _ in rows], np.int64)
    tariff = Tariff(first, feed_in + [gap for _, gap in rows], feed_in)
    for place, (low, gap) in enumerate(rows):
        retail, feed = tariff.at(np.array([first + place], np.int32))
        assert (retail[0], feed[0]) == (low + gap, low)
    assert tariff.covers(first, first + len(rows))
    assert not tariff.covers(first - 1, first)
    assert not tariff.covers(first, first + len(rows) + 1)
    for outside in (first - 1, first + len(rows)):
        with pytest.raises(InvariantError, match="no tariff"):
            tariff.at(np.array([outside], np.int32))


def test_a_tariff_of_one_interval_holds_always():
    retail, feed_in = Tariff.flat(300, 60).at(np.array([-3, 0, 10**6], np.int32))
    assert (retail.tolist(), feed_in.tolist()) == ([300] * 3, [60] * 3)
    assert Tariff.flat(300, 60).covers(5, 10**6)


def test_an_impossible_tariff_is_refused():
    with pytest.raises(InvariantError, match="below the feed-in price"):
        Tariff.flat(60, 300)
    with pytest.raises(InvariantError, match="differ in length"):
        Tariff(0, np.array([1, 2]), np.array([1]))


def test_unfilled_lots_are_what_neither_traded_nor_rests():
    book = book_of([(8, 1, 10, 200), (9, -1, 4, 100), (10, -1, 3, 100)]).take(np.array([2, 0, 1]))
    resting = book.take(slice(1, 2)).replace(quantity=np.array([2]))
    clearing = Clearing(trades((0, 1, 4), (0, -1, 1)), Prices.empty(), resting)
    assert unfilled(book, clearing).tolist() == [3, 3, 0]
    assert unfilled(book, Clearing.refuse(Reject.NO_PRICE)).tolist() == [3, 10, 4]
    assert unfilled(Orders.empty(), Clearing.refuse(Reject.NO_PRICE)).tolist() == []


@pytest.mark.parametrize("stranger", [5, 99])
def test_a_trade_of_an_unknown_order_is_found(stranger):
    book = book_of([(8, 1, 10, 200), (9, -1, 4, 100)]).replace(id=np.array([3, 7]))
    with pytest.raises(InvariantError, match="not in the book"):
        unfilled(book, Clearing(trades((3, stranger, 1)), Prices.empty()))
