"""Batteries: limits, conservation, and a year's greedy rule against single steps and a case worked by hand."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wattle.assets.storage import Fleet, self_consumption, storage_limits, storage_step, stored_wh
from wattle.core.checks import InvariantError

share = st.floats(0, 1)
efficiency = st.floats(0.5, 1)


@st.composite
def fleets(draw, size=3):
    def column(values):
        return np.array([draw(values) for _ in range(size)], np.float64)

    watts = st.integers(0, 12_000)
    return Fleet(column(st.integers(0, 20_000)), column(watts), column(watts), column(efficiency), column(efficiency))


def battery(energy_wh=1000.0, charge_w=4000.0, discharge_w=2000.0, charge=0.8, discharge=0.5) -> Fleet:
    return Fleet(*(np.array([value]) for value in (energy_wh, charge_w, discharge_w, charge, discharge)))


def test_limits_by_power_room_and_content():
    fleet = battery()
    lowest, highest = storage_limits(fleet, [500], 0.25)
    assert (lowest.item(), highest.item()) == (-1000, 2500)  # 500 Wh × 0.5 out, 500 Wh ÷ 0.8 in, within a quarter-hour
    lowest, highest = storage_limits(fleet, [500], 0.01)
    assert (lowest.item(), highest.item()) == (-2000, 4000)
    assert storage_limits(fleet, [0], 1)[0] == 0
    assert storage_limits(fleet, [1000], 1)[1] == 0


def test_a_request_beyond_the_limit_is_cut_and_told():
    fleet = battery()
    energy_wh, done_w = storage_step(fleet, [500], [np.inf], 0.25)
    assert (energy_wh.item(), done_w.item()) == (1000, 2500)
    energy_wh, done_w = storage_step(fleet, [500], [-np.inf], 0.25)
    assert (energy_wh.item(), done_w.item()) == (0, -1000)
    energy_wh, done_w = storage_step(fleet, [500], [100], 0.25)
    assert (energy_wh.item(), done_w.item()) == (520, 100)


@given(fleets(), st.lists(share, min_size=3, max_size=3), st.lists(st.floats(-2e4, 2e4), min_size=3, max_size=3))
def test_a_step_conserves_energy_and_stays_inside(fleet, fill, power_w):
    before = fleet.energy_wh_max * fill
    lowest, highest = storage_limits(fleet, before, 0.25)
    after, done = storage_step(fleet, before, power_w, 0.25)
    assert ((lowest <= 0) & (highest >= 0)).all()
    assert ((done >= lowest) & (done <= highest)).all()
    assert ((after >= 0) & (after <= fleet.energy_wh_max)).all()
    free = (np.array(power_w) >= lowest) & (np.array(power_w) <= highest)
    assert (done == power_w)[free].all()
    at_meter = done * 0.25
    inside = np.where(done > 0, at_meter * fleet.charge_efficiency, at_meter / fleet.discharge_efficiency)
    assert after == pytest.approx(before + inside, abs=1e-6)


def test_a_step_works_for_many_states_at_once():
    fleet = battery()
    energy_wh, _ = storage_step(fleet, np.array([[0.0], [500.0]]), np.array([[100.0], [100.0]]), 1)
    assert energy_wh.tolist() == [[80.0], [580.0]]


def test_greedy_rule_worked_by_hand():
    """1,000 Wh, 4 kW in, 2 kW out, so 1,000 Wh in and 500 Wh out per quarter-hour; 80 % in, 50 % out."""
    net_wh = np.array([[100], [-1200], [-400], [300], [600], [-10]])
    # Empty: buy 100. Surplus 1200: 1000 go in (800 stored), 200 are sold. Room is 200, so 250 go in, 150 are sold.
    # Demand 300 takes 600. Demand 600: 400 left give 200, buy 400. Surplus 10 goes in (8 stored).
    assert stored_wh(battery(), net_wh)[:, 0].tolist() == [0, 0, 800, 1000, 400, 0, 8]
    assert self_consumption(battery(), net_wh)[:, 0].tolist() == [100, -200, -150, 0, 400, 0]


def test_a_full_battery_at_the_start():
    assert self_consumption(battery(), np.array([[300]]), start_wh=[1000]).tolist() == [[0]]
    assert self_consumption(battery(), np.array([[300]]), start_wh=[0]).tolist() == [[300]]


@given(fleets(), arrays(np.int32, (60, 3), elements=st.integers(-4000, 4000)))
def test_the_year_equals_single_steps_and_conserves_energy(fleet, net_wh):
    path = stored_wh(fleet, net_wh)
    grid_wh = self_consumption(fleet, net_wh)
    assert grid_wh.dtype == np.int64
    energy_wh, moved_wh = np.zeros(3), np.zeros((60, 3))
    for step, net in enumerate(net_wh):
        energy_wh, done_w = storage_step(fleet, energy_wh, -net * 4.0, 0.25)
        moved_wh[step] = done_w * 0.25
        assert path[step + 1] == pytest.approx(energy_wh, abs=1e-6)
    assert np.abs(np.cumsum(grid_wh - net_wh - moved_wh, axis=0)).max() <= 0.5 + 1e-5
    charged, discharged = moved_wh.clip(min=0).sum(axis=0), -moved_wh.clip(max=0).sum(axis=0)
    kept = charged * fleet.charge_efficiency - discharged / fleet.discharge_efficiency
    assert path[-1] == pytest.approx(kept, abs=1e-4)
    # The battery never buys or sells: the meter shows no more than the home alone would, and on the same side.
    assert (np.abs(grid_wh) <= np.abs(net_wh) + 1).all()
    assert (grid_wh * np.sign(net_wh) >= -1).all()


def test_a_home_served_in_full_reads_zero():
    """Losses leave odd fractions; a running total just at half a Wh must not flicker."""
    net_wh = np.array([[-855]] + [[1]] * 500)
    fleet = battery(10_000, 20_000, 20_000, 0.95, 0.95)
    assert self_consumption(fleet, net_wh)[:, 0].tolist() == [0] * 501
    half = battery(10_000, 2, 20_000, 1, 1)  # takes half a Wh per quarter-hour
    read = self_consumption(half, np.array([[-10]] * 3 + [[1]] * 1 + [[0]] * 50))[:, 0]
    assert read.tolist() == [-10, -9, -10, 0] + [0] * 50


def test_members_without_battery_or_nobody():
    net_wh = np.array([[5, -5]])
    none = Fleet(*np.zeros((3, 2)), *np.ones((2, 2)))
    assert self_consumption(none, net_wh).tolist() == [[5, -5]]
    assert self_consumption(Fleet.empty(), np.zeros((4, 0), int)).shape == (4, 0)


def test_a_year_of_sixteen_homes_needs_no_compiler():
    net_wh = (np.random.PCG64(1).random_raw(35_136 * 16) % np.uint64(4001)).astype(np.int64).reshape(-1, 16) - 2000
    fleet = battery(10_000).take(np.zeros(16, int))
    begin = time.perf_counter()
    self_consumption(fleet, net_wh)
    assert time.perf_counter() - begin < 2  # about 0.07 s alone; the rest is room for a busy machine


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("energy_wh_max", [-1.0], "energy_wh_max must be finite"),
        ("charge_w_max", [np.nan], "charge_w_max must be finite"),
        ("discharge_w_max", [np.inf], "discharge_w_max must be finite"),
        ("charge_efficiency", [0.0], "charge_efficiency must be above 0"),
        ("discharge_efficiency", [1.1], "discharge_efficiency must be above 0"),
        ("charge_efficiency", [0.9, 0.9], "2 rows"),
    ],
)
def test_a_wrong_battery_is_refused(column, value, message):
    with pytest.raises(InvariantError, match=message):
        battery().replace(**{column: np.array(value)})


def test_wrong_arguments_are_refused():
    fleet, one = battery(), np.array([[1]])
    for energy_wh in (-1, 1001, np.nan):
        with pytest.raises(InvariantError, match="between 0 and energy_wh_max"):
            storage_limits(fleet, [energy_wh], 1)
    with pytest.raises(InvariantError, match="hours"):
        storage_limits(fleet, [0], 0)
    with pytest.raises(InvariantError, match="not a number"):
        storage_step(fleet, [0], [np.nan], 1)
    with pytest.raises(InvariantError, match=r"\[T, 1\]"):
        self_consumption(fleet, np.array([1]))
    with pytest.raises(InvariantError, match="whole Wh"):
        self_consumption(fleet, one * 1.5)
