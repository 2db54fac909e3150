"""Grouped kernels against oracles in whole numbers and fractions."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.core.segments import apportion, grouped, hand_out, ordered, pair_groups, part_of, starts_of
from wattle.testing.generators import KINDS, books
from wattle.testing.strategies import order_books
from wattle.testing.trial import sorted_rows

LOTS = st.integers(0, 30) | st.integers(0, 1 << 48)


def largest_remainder(total, weights):
    """The textbook rule: floors first, then one lot each to the largest remainders, earlier rows first."""
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    exact = [Fraction(total * weight, whole) for weight in weights]
    shares = [value.numerator // value.denominator for value in exact]
    order = sorted(range(len(weights)), key=lambda row: (shares[row] - exact[row], row))
    for row in order[: total - sum(shares)]:
        shares[row] += 1
    return shares


@settings(max_examples=400)
@given(st.integers(0, 40) | st.integers(0, 1 << 48), st.lists(LOTS, min_size=1, max_size=12))
def test_apportion_is_the_largest_remainder_rule(total, weights):
    shares = apportion(total, np.array(weights, np.int64)).tolist()
    assert shares == largest_remainder(total, weights)
    if sum(weights):
        assert sum(shares) == total


@given(st.integers(0, 1 << 60), st.lists(st.integers(0, 1 << 40), min_size=1, max_size=6))
def test_apportion_shares_large_sums_of_money_by_energy(total, weights):
    assert apportion(total, np.array(weights, np.int64)).tolist() == largest_remainder(total, weights)


@given(st.integers(0, 2000), st.lists(st.integers(1, 3), min_size=500, max_size=700))
@settings(max_examples=15)
def test_apportion_finds_the_border_among_many_equal_remainders(total, weights):
    assert apportion(total, np.array(weights, np.int64)).tolist() == largest_remainder(total, weights)


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(0, 99))
def test_apportion_of_one_more_lot_takes_nothing_from_a_pool_of_equals(weights, total):
    """Equal weights never differ by more than one lot."""
    shares = apportion(total, np.array(weights, np.int64))
    for weight in set(weights):
        mine = shares[np.array(weights) == weight]
        assert mine.max() - mine.min() <= 1


@settings(max_examples=400)
@given(st.integers(0, 1 << 48), st.integers(0, 1 << 48), st.integers(1, 1 << 60))
def test_part_of_is_exact_division(total, weight, weights):
    if weight > weights:
        weight, weights = weights, weight
    assert part_of(total, weight, weights) == total * weight // weights


@given(st.lists(st.integers(-1, 50), min_size=1, max_size=30), st.integers(0, 30))
def test_hand_out_gives_one_lot_each_to_the_largest(remainders, missing):
    allowed = [row for row, value in enumerate(remainders) if value >= 0]
    missing = min(missing, len(allowed))
    shares = np.zeros(len(remainders), np.int64)
    hand_out(shares, np.array(remainders, np.int64), 51, missing)
    winners = sorted(allowed, key=lambda row: (-remainders[row], row))[:missing]
    assert np.flatnonzero(shares).tolist() == sorted(winners)
    assert shares.sum() == missing


@given(order_books(rows=20))
def test_grouping_sorts_rows_and_marks_where_groups_begin(book):
    sorted_book, starts = grouped(book)
    keys = list(zip(sorted_book.interval.tolist(), sorted_book.zone.tolist(), sorted_book.id.tolist(), strict=True))
    assert keys == sorted(keys)
    assert sorted_rows(sorted_book) == sorted_rows(book)
    changes = [row for row in range(1, len(keys)) if keys[row][:2] != keys[row - 1][:2]]
    assert starts.tolist() == ([0, *changes, len(keys)] if keys else [0])
    assert grouped(sorted_book)[0] is sorted_book  # nothing is copied when the order is right


@pytest.mark.parametrize("kind", list(KINDS))
def test_ordered_agrees_with_a_sort(kind):
    book = next(books(5, kind))
    keys = list(zip(book.interval.tolist(), book.zone.tolist(), book.id.tolist(), strict=True))
    assert ordered(book.interval, book.zone, book.id) == (keys == sorted(keys))


def test_starts_of_nothing():
    assert starts_of(np.zeros(0, np.int32), np.zeros(0, np.int32)).tolist() == [0]


@st.composite
def filled_groups(draw):
    """Sides and fills of some groups; bought equals sold in each."""
    sides, fills, starts = [], [], [0]
    for _ in range(draw(st.integers(0, 4))):
        bought = draw(st.lists(st.integers(0, 9), max_size=5))
        sold = draw(st.lists(st.integers(0, 9), max_size=5))
        gap = sum(bought) - sum(sold)
        (sold if gap > 0 else bought).append(abs(gap))
        rows = draw(st.permutations([(1, lots) for lots in bought] + [(-1, lots) for lots in sold]))
        sides += [side for side, _ in rows]
        fills += [lots for _, lots in rows]
        starts.append(len(sides))
    return np.array(starts, np.int64), np.array(sides, np.int8), np.array(fills, np.int64)


@given(filled_groups(), st.randoms(use_true_random=False))
def test_pairs_give_everybody_his_lots_in_order_of_merit(groups, random):
    starts, side, fill = groups
    merit = np.concatenate(
        [np.zeros(0, np.int64)] + [random.sample(range(a, b), b - a) for a, b in pairwise(starts.tolist())]
    ).astype(np.int64)
    room = np.count_nonzero(fill)
    buy, sell, lots = (np.full(room, -7, np.int64) for _ in range(3))
    pairs = pair_groups(starts, side, fill, merit, buy, sell, lots)
    buy, sell, lots = buy[:pairs], sell[:pairs], lots[:pairs]
    assert (lots > 0).all()
    for rows, sign in ((buy, 1), (sell, -1)):
        got = np.zeros(side.size, np.int64)
        np.add.at(got, rows, lots)
        assert got.tolist() == np.where(side == sign, fill, 0).tolist()
        place = np.empty(side.size, np.int64)
        place[merit] = np.arange(side.size)
        assert (np.diff(place[rows]) >= 0).all()  # nobody is served before one who has more merit
