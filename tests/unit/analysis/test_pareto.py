"""The front of rules that are not beaten, against a search over all pairs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wattle.analysis.pareto import FAIRNESS, TIE, WELFARE, choices, front
from wattle.runtime.results import Index

grid = st.none() | st.integers(0, 6).map(float)


@given(st.lists(st.tuples(grid, grid), max_size=9))
def test_nobody_on_the_front_is_beaten_and_everybody_else_is(points):
    found = front([point[0] for point in points], [point[1] for point in points])
    whole = [point for point in points if None not in point]
    for (welfare, fairness), on_front in zip(points, found.tolist(), strict=True):
        if welfare is None or fairness is None:
            assert not on_front
            continue
        beaten = any(other[0] >= welfare and other[1] >= fairness and other != (welfare, fairness) for other in whole)
        assert on_front is not beaten


def test_a_hair_is_no_difference():
    assert front([100.0, 100.0 - TIE * 10], [0.2, 0.9]).tolist() == [False, True]
    assert front([100.0, 99.0], [0.2, 0.9]).tolist() == [True, True]
    assert front([], []).tolist() == []
    assert front([None, None], [1.0, None]).tolist() == [False, False]


def indices(welfare, **fairness):
    values = {WELFARE: welfare, **{key: fairness.get(key, 0.5) for key in FAIRNESS}}
    return {key: Index(key, key, value, "", "") for key, value in values.items()}


def test_choices_leave_the_reference_out_and_name_the_fairest_first():
    found = [indices(1e9, jain=1.0), indices(90.0, jain=0.2), indices(60.0, jain=0.8), indices(50.0, jain=0.7)]
    by_key = {choice.fairness: choice.rules for choice in choices(found)}
    assert by_key["jain"] == (2, 1)
    assert by_key["min_max"] == (1,)  # as even as all others, and more of it
    assert set(by_key) == set(FAIRNESS)
    assert np.isin(by_key["jain"], [1, 2, 3]).all()
