"""Intervals and seconds: half-open, exact, and parts of a grid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError
from wattle.core.timegrid import TimeGrid

grids = st.builds(TimeGrid, st.integers(-(10**10), 10**10), st.sampled_from((60, 900, 3600)), st.integers(0, 40_000))


@given(grids, st.integers(-100, 50_000), st.integers(0, 59))
def test_each_second_lies_in_one_interval(grid, interval, offset):
    start = grid.second(interval)
    assert grid.interval(start) == grid.interval(start + offset) == grid.interval(start + grid.step_s - 1) == interval
    assert grid.interval(start - 1) == interval - 1


@given(grids, st.data())
def test_a_part_is_numbered_from_zero_and_keeps_its_seconds(grid, data):
    first = data.draw(st.integers(0, grid.count))
    stop = data.draw(st.integers(first, grid.count))
    part = grid.part(first, stop)
    assert (part.second(0), part.stop_s, part.count) == (grid.second(first), grid.second(stop), stop - first)


def test_hours_and_end():
    grid = TimeGrid(1_700_000_000, 900, 96)
    assert grid.hours == 0.25
    assert grid.stop_s - grid.start_s == 86_400


@pytest.mark.parametrize(("step", "count"), [(0, 1), (-900, 1), (900, -1)])
def test_an_impossible_grid_is_refused(step, count):
    with pytest.raises(InvariantError):
        TimeGrid(0, step, count)


@pytest.mark.parametrize(("first", "stop"), [(-1, 2), (3, 2), (0, 5)])
def test_a_part_outside_is_refused(first, stop):
    with pytest.raises(InvariantError):
        TimeGrid(0, 900, 4).part(first, stop)
