"""The day of Atzeni et al. again: its rows, and the money behind them."""

import numpy as np
import pytest

from wattle.runtime.reproduce import find_reproduction
from wattle.runtime.reproduce_storage_game import SLOTS, _drawn_need, _played


def test_every_row_reaches_its_bar():
    rows = find_reproduction("atzeni-2013").run(2)
    assert len(rows) == 8
    assert [row.what for row in rows if not row.passed] == []


def test_users_pay_what_the_grid_and_their_generators_cost():
    day = _played(60, 30, 4)
    assert day.report["settled"] == 1
    need = _drawn_need(60, 4)
    assert (day.load[0] == need.sum(axis=1)).all()
    grid = day.load[0] @ (np.where(np.arange(SLOTS) >= 8, 1.5, 1.0) * day.load[0])
    ticks = day.cost[0].sum() / grid  # K by night, from the bills before
    after = (ticks * np.where(np.arange(SLOTS) >= 8, 1.5, 1.0) * day.load[1] ** 2).sum()
    assert day.report["grid_cost"] == pytest.approx(after)
    produced = day.cost[1].sum() - day.report["grid_cost"]
    made = need.sum() - day.load[1].sum()  # less what batteries lose
    assert 0 < made < produced / 390_000 * 1.0001
    assert day.peak(1) < day.peak(0)
    assert (day.cost[1] < day.cost[0]).all()
