"""Diversified members: the same quarter-hours in another order, energy kept, chance from the seed alone."""

import hashlib
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.assets.profile import like_days, load_members, scaled_members, sun_members, swap_days, whole_wh
from wattle.core.checks import InvariantError

DAYS = 56
KIND = np.maximum(np.arange(DAYS) % 7 - 4, 0)  # five workdays, Saturday, Sunday


def bits(seed: int, count: int) -> np.ndarray:
    return np.random.PCG64(seed).random_raw(count)


def curves(count: int = 3, days: int = DAYS, per_day: int = 96) -> np.ndarray:
    """Uneven curves, the rows of a column all different where it matters: tens to ten thousand."""
    return (bits(99, days * per_day * count) % np.uint64(10_000)).astype(np.int16).reshape(-1, count)


def test_groups_of_like_days_span_at_most_the_reach():
    like = like_days(KIND, 14)
    assert like.order.tolist() == sorted(range(DAYS), key=lambda day: (KIND[day], day))
    assert dict(zip(like.kind.tolist(), like.size.tolist(), strict=True)) == {0: 11, 1: 3, 2: 3}


@given(st.integers(0, 2**32), st.integers(0, 20))
def test_days_swap_only_with_like_days_within_reach(seed, reach):
    source = swap_days(like_days(KIND, reach), bits(seed, DAYS + 1))
    assert sorted(source.tolist()) == list(range(DAYS))
    assert (KIND[source] == KIND).all()
    assert np.abs(source - np.arange(DAYS)).max() <= reach


def test_every_like_day_within_reach_is_drawn():
    drawn = {int(swap_days(like_days(KIND, 14), bits(seed, DAYS + 1))[27]) for seed in range(100)}  # a Sunday
    assert drawn == {13, 20, 27, 34, 41}


def test_a_member_uses_every_step_of_the_curve_once():
    base = curves()
    year = base.sum(axis=0, dtype=np.int64)
    made = load_members(base, like_days(KIND, 14), np.array([0, 2, 2]), year[[0, 2, 2]], np.array([5, 6, 7]), 1)
    assert made.dtype == np.int32
    assert made.shape == (DAYS * 96, 3)
    for member, column in enumerate((0, 2, 2)):
        assert sorted(made[:, member].tolist()) == sorted(base[:, column].tolist())
    assert (made[:, 1] != made[:, 2]).mean() > 0.9


def test_a_day_turns_by_at_most_an_hour():
    base = np.zeros((DAYS * 96, 1), np.int16)
    base[52::96] = 1  # one at one o'clock, every day
    made = load_members(base, like_days(KIND, 14), np.zeros(20, int), np.full(20, DAYS), np.arange(20), 3)
    steps = np.nonzero(made.T)[1].reshape(20, DAYS) - 96 * np.arange(DAYS)
    assert set(np.unique(steps - 52)) == set(range(-4, 5))
    assert (
        np.ptp(steps, axis=1).max() == 4
    )  # a member's habit is the same every day, the rest is half an hour either way


def test_hourly_curves_work_and_stay_in_their_hour():
    base = curves(1, per_day=24)
    made = load_members(base, like_days(np.arange(DAYS), 0), np.array([0]), base.sum(0, dtype=int), np.array([1]), 1)
    assert (made == base).all()


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=50), st.integers(0, 2**31 - 1))
def test_whole_wh_keeps_energy_and_shape(values, energy_wh):
    curve = np.array(values, np.int16)
    if not curve.any():
        curve[0] = 1
    made = whole_wh(curve, energy_wh)
    assert made.sum(dtype=np.int64) == energy_wh
    assert (made >= 0).all()
    assert np.abs(made - curve * (energy_wh / int(curve.sum(dtype=np.int64)))).max() <= 1 + 1e-6


def test_sun_keeps_energy_and_weather():
    light = np.clip(np.sin((np.arange(96) - 24) / 48 * np.pi), 0, None)
    weather = 1 + bits(5, DAYS) % np.uint64(9)
    base = np.rint(np.outer(weather, 1000 * light)).astype(np.int16).reshape(-1, 1)
    base = np.hstack([np.roll(base, -4), base, np.roll(base, 4)])
    made = sun_members(base, np.arange(30) % 3, np.full(30, 900_000), np.arange(30), 1)
    assert (made.sum(axis=0) == 900_000).all()
    assert (made >= 0).all()
    daily = made.reshape(DAYS, 96, 30).sum(axis=1)
    assert np.corrcoef(daily.T).min() > 0.999  # no day has changed its place
    assert len({column.tobytes() for column in made.T}) == 30
    night = np.r_[0:18, 80:96]
    assert not made.reshape(DAYS, 96, 30)[:, night].any()


def test_one_curve_alone_has_no_other_roof():
    base = curves(1)
    made = sun_members(base, np.zeros(2, int), np.array([0, 1000]), np.arange(2), 1)
    assert made.sum(axis=0).tolist() == [0, 1000]


def test_chance_is_the_same_everywhere():
    """Raw bits and integers: this hash must hold on every machine and every NumPy version."""
    base = curves()
    load = load_members(base, like_days(KIND, 14), np.array([1]), np.array([654_321]), np.array([9]), 2)
    sun = sun_members(base, np.array([1]), np.array([654_321]), np.array([9]), 2)
    text = hashlib.sha256(np.ascontiguousarray(np.hstack([load, sun]), "<i4").tobytes()).hexdigest()
    assert text[:16] == "53a1f8a8ed6aaee2"


def test_a_member_does_not_depend_on_the_others():
    base, like = curves(), like_days(KIND, 14)
    column, energy_wh, unit = np.arange(70) % 3, 1000 * np.arange(70), np.arange(70) + 4
    every = load_members(base, like, column, energy_wh, unit, 1)
    some = load_members(base, like, column[60:67], energy_wh[60:67], unit[60:67], 1)
    assert (every[:, 60:67] == some).all()
    assert (load_members(base, like, column, energy_wh, unit, 2) != every).any()
    assert load_members(base, like, column[:0], energy_wh[:0], unit[:0], 1).shape == (DAYS * 96, 0)


def test_a_thousand_members_of_a_year_are_quick():
    base, kind = curves(5, 365), np.maximum(np.arange(365) % 7 - 4, 0)
    begin = time.perf_counter()
    made = scaled_members(base, kind, 1000, seed=1)
    took_s = time.perf_counter() - begin
    assert made.shape == (35_040, 1000)
    assert made.flags.c_contiguous
    energy_wh = made.sum(axis=0)
    assert energy_wh.min() >= 1_500_000
    assert energy_wh.max() <= 6_000_000
    assert np.unique(energy_wh).size > 990
    assert took_s < 5  # about 0.8 s alone; the rest is room for a busy machine


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curves": curves()[:-1]}, "not 56 days"),
        ({"curves": curves().astype(float)}, "must be integers"),
        ({"curves": -curves()}, "must not be negative"),
        ({"column": np.array([3])}, "column must be 0 to 2"),
        ({"energy_wh": np.array([1, 2])}, "differ in length"),
        ({"energy_wh": np.array([-1])}, "energy must be between 0"),
        ({"unit": np.array([-1])}, "0 or more"),
        ({"seed": -1}, "0 or more"),
    ],
)
def test_wrong_input_is_refused(change, message):
    good = {
        "curves": curves(), "like": like_days(KIND, 14), "column": np.array([0]),
        "energy_wh": np.array([1000]), "unit": np.array([0]), "seed": 1,
    }  # fmt: skip
    with pytest.raises(InvariantError, match=message):
        load_members(**(good | change))


def test_wrong_days_and_curves_are_refused():
    with pytest.raises(InvariantError, match="non-empty"):
        like_days(np.zeros(0, int), 14)
    with pytest.raises(InvariantError, match="reach_days"):
        like_days(KIND, -1)
    with pytest.raises(InvariantError, match="57 raw numbers"):
        swap_days(like_days(KIND, 14), bits(1, 3))
    with pytest.raises(InvariantError, match="curve of zeros"):
        whole_wh(np.zeros(3, int), 1)
    with pytest.raises(InvariantError, match="count"):
        scaled_members(curves(), KIND, 0, 1)
