"""Whole lots: sums and bounds hold, largest remainders are rounded up, and the compiled kernel is its plain twin."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wattle.market.whole_lots import _whole_lots, whole_lots

rows = st.lists(st.tuples(st.floats(0, 1000), st.integers(0, 900)), min_size=1, max_size=12)


@given(st.lists(rows, min_size=1, max_size=4), st.data())
def test_sums_and_bounds_hold(groups, data):
    starts = np.cumsum([0, *(len(group) for group in groups)])
    most = np.array([bound for group in groups for _, bound in group])
    amount = np.minimum([each for group in groups for each, _ in group], most)
    room = np.add.reduceat(most, starts[:-1])
    total = np.array([data.draw(st.integers(0, int(each) + 3)) for each in room])
    lots = whole_lots(starts, amount, most, total)
    assert ((lots >= 0) & (lots <= most)).all()
    assert np.add.reduceat(lots, starts[:-1]).tolist() == np.minimum(total, room).tolist()
    plain = np.zeros_like(lots)
    _whole_lots.twin()(starts, amount, most, total, np.zeros_like(lots), plain)
    assert plain.tolist() == lots.tolist()


@given(st.lists(st.integers(0, 4000), min_size=1, max_size=12))
def test_nobody_is_a_lot_away_from_his_amount(quarters):
    amount = np.array(quarters) / 4
    total = np.array([int(np.floor(amount.sum()))])
    lots = whole_lots(np.array([0, amount.size]), amount, np.full(amount.size, 10_000), total)
    assert (np.abs(lots - amount) < 1).all()
    up = lots > amount
    if up.any() and (~up).any():  # who was rounded up had the larger remainders
        assert (amount[up] % 1).min() >= (amount[~up] % 1).max()


def test_amounts_of_the_largest_books_are_shared_to_the_last_lot():
    most = np.full(3, 1 << 48)
    lots = whole_lots(np.array([0, 3]), most / 3, most, np.array([(1 << 48) + 1]))
    assert lots.sum() == (1 << 48) + 1
