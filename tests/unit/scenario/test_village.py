"""The sample village: shares, energy and correlation as its README says, and a part is cut out of the whole."""

import re
from datetime import UTC, datetime
from importlib.resources import files

import numpy as np
import pytest

from wattle.core.checks import InputError
from wattle.scenario import village as module
from wattle.scenario.village import JUNE_WEEK, load_grid, load_village

FOLDER = files("wattle") / "data" / "village"
README = (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def village():
    return load_village()


def correlation(columns: np.ndarray) -> float:
    """Return the mean over all pairs of columns."""
    matrix = np.corrcoef(columns.T.astype(np.float64))
    return float(matrix[np.triu_indices(len(matrix), 1)].mean())


def households(village) -> np.ndarray:
    return np.array([kind == "household" for kind in village.kinds])


def test_shape_and_time(village):
    assert datetime.fromtimestamp(village.start_s, UTC).isoformat() == "2015-12-31T23:00:00+00:00"
    assert village.step_s == 900
    for column in (village.load_wh, village.sun_wh, village.net_wh):
        assert column.shape == (366 * 96, 118)
        assert column.dtype == np.int32
        assert not column.flags.writeable
    assert village.load_wh.min() >= 0
    assert village.sun_wh.min() >= 0


def test_members(village):
    assert village.names[0] == "home-001"
    assert village.names[-1] == "trade-005"
    assert len(set(village.names)) == len(set(village.node.tolist())) == 118
    assert [village.kinds.count(kind) for kind in ("household", "farm", "trade")] == [113, 0, 5]
    assert [np.count_nonzero(x) for x in (village.pv_w, village.has_battery, village.heat_pump)] == [43, 16, 18]
    assert village.ev.sum() == 15  # 17 charging points, two members have two
    assert (village.pv_w[village.has_battery] > 0).all()
    assert ((village.sun_wh.sum(axis=0) > 0) == (village.pv_w > 0)).all()
    assert village.fleet.energy_wh_max.tolist() == village.battery_wh[village.has_battery].tolist()


def test_energy_of_the_year_is_that_of_the_data(village):
    """The sum over units of rated power times curve, to the Wh, added up here without the loader's own functions."""
    loads, pv = module._read_table("loads"), module._read_table("pv")
    names = sorted({*loads["profile"].tolist(), *pv["profile"].tolist()})
    hours = {name: int(curve.sum(dtype=np.int64)) / 40_000 for name, curve in module._read_curves(names).items()}
    for table, column in ((loads, village.load_wh), (pv, village.sun_wh)):
        energy_wh = dict.fromkeys(village.node.tolist(), 0)
        for node, name, peak_w in zip(table["node"], table["profile"], table["peak_w"], strict=True):
            energy_wh[int(node)] += round(peak_w * hours[str(name)])
        assert column.sum(axis=0, dtype=np.int64).tolist() == list(energy_wh.values())
    # SimBench itself, added up with its own tables in floats: 468.451 MWh of load, 165.231 MWh of PV plants.
    assert village.load_wh.sum(dtype=np.int64) == pytest.approx(468_451_266, rel=3e-5)
    plants = pv["node"][pv["origin"] == "plant"]
    assert village.sun_wh[:, np.isin(village.node, plants)].sum(dtype=np.int64) == pytest.approx(165_231_215, rel=3e-5)


def test_homes_differ_as_real_homes_do(village):
    measured = correlation(village.load_wh[:, households(village)])
    assert 0.2 <= measured <= 0.4
    assert f"**{measured:.2f}** with vehicles" in README
    people = households(village) & ~village.ev & ~village.heat_pump
    columns = village.load_wh[:, people].T
    assert len({column.tobytes() for column in columns}) == people.sum()


def test_the_sun_is_common(village):
    measured = correlation(village.sun_wh[:, village.pv_w > 0])
    assert f"between two plants is {measured:.2f}" in README
    assert measured > 0.9


def test_batteries_at_work(village):
    plain = village.load_wh.astype(np.int64) - village.sun_wh
    without = ~village.has_battery
    assert (village.net_wh[:, without] == plain[:, without]).all()
    before, after = plain[:, village.has_battery], village.net_wh[:, village.has_battery].astype(np.int64)
    moved = after - before
    assert (np.abs(after) <= np.abs(before) + 1).all()
    charged, discharged = moved.clip(min=0).sum(axis=0), -moved.clip(max=0).sum(axis=0)
    kept = charged * 0.95 - discharged / 0.95
    # What came in and did not come out is still there; meters round by less than 1 Wh a step.
    assert (kept > -100).all()
    assert (kept < village.fleet.energy_wh_max + 100).all()
    assert (charged > 50 * village.fleet.energy_wh_max).all()


def test_the_seed_decides(village):
    again, other = load_village(), load_village(seed=2)
    for name in ("load_wh", "sun_wh", "net_wh"):
        assert (getattr(again, name) == getattr(village, name)).all()
        assert (getattr(other, name) != getattr(village, name)).any()
    assert (other.load_wh.sum(axis=0) == village.load_wh.sum(axis=0)).all()
    assert load_village(20, 1, seed=2).names != load_village(20, 1, seed=1).names


@pytest.mark.parametrize("homes", [1, 8, 20, 59, 117])
@pytest.mark.parametrize("seed", [0, 1, 77])
def test_a_subset_has_the_shares_of_the_whole(village, homes, seed):
    part = load_village(homes, 1, seed)
    assert len(part.names) == len(set(part.names)) == homes
    for name in ("pv_w", "battery_wh"):
        share = np.count_nonzero(getattr(village, name)) / 118
        assert abs(np.count_nonzero(getattr(part, name)) - share * homes) < 1
    assert abs(part.kinds.count("trade") - 5 / 118 * homes) < 1
    for name in ("ev", "heat_pump"):
        assert abs(getattr(part, name).sum() - getattr(village, name).mean() * homes) < 4


def test_a_part_is_cut_out_of_the_whole(village):
    part = load_village(homes=20, days=7)
    assert part.start_s == village.start_s + JUNE_WEEK * 86_400
    assert datetime.fromtimestamp(part.start_s + 3600, UTC).strftime("%a %d %B") == "Mon 06 June"
    members = [village.names.index(name) for name in part.names]
    rows = slice(JUNE_WEEK * 96, (JUNE_WEEK + 7) * 96)
    for name in ("load_wh", "sun_wh", "net_wh"):
        assert (getattr(part, name) == getattr(village, name)[rows][:, members]).all()
    for name in ("node", "pv_w", "battery_wh", "has_battery", "ev", "heat_pump"):
        assert (getattr(part, name) == getattr(village, name)[members]).all()
    assert len(part.fleet) == part.has_battery.sum()


def test_spans():
    assert load_village(2, 300).start_s == module.FIRST_S + 66 * 86_400
    assert load_village(2, 1, first_day=365).start_s == module.FIRST_S + 365 * 86_400
    assert load_village(2, first_day=360).load_wh.shape == (6 * 96, 2)
    assert load_village(2, 366).start_s == module.FIRST_S


def test_the_default_week_is_sunny_and_mixed(village):
    daily = village.sun_wh.sum(axis=1).reshape(366, 96).sum(axis=1)
    week = daily[JUNE_WEEK : JUNE_WEEK + 7] / daily.max()
    assert week.max() > 0.9
    assert week.min() < 0.3
    assert 0.45 < week.mean() < 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"homes": 0}, "homes must be at least 1"),
        ({"homes": 119}, "118 members"),
        ({"days": 0}, "days must be 1 to 366"),
        ({"days": 8, "first_day": 360}, "days must be 1 to 6"),
        ({"first_day": 366}, "first_day"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        load_village(**arguments)


def test_day_kinds():
    kinds = module._day_kinds().reshape(-1)
    assert kinds[:5].tolist() == [2, 1, 2, 0, 0]  # New Year's Day is a Friday
    assert sorted(set(kinds.tolist())) == list(range(9))
    assert kinds[JUNE_WEEK : JUNE_WEEK + 7].tolist() == [3, 3, 3, 3, 3, 4, 5]


def test_the_grid_is_a_tree_with_all_that_a_power_flow_needs(village):
    grid = load_grid()
    assert grid.nodes["node"].tolist() == list(range(129))
    assert grid.nodes["nominal_v"].tolist() == [20_000] + [400] * 128
    low = [*grid.lines["to"].tolist(), *grid.transformers["to"].tolist()]
    high = [*grid.lines["from"].tolist(), *grid.transformers["from"].tolist()]
    assert len(low) == 128
    reached = {int(grid.sources["node"][0])}
    for _ in range(128):
        reached |= {b for a, b in zip(low + high, high + low, strict=True) if a in reached}
    assert reached == set(range(129))
    assert set(village.node.tolist()) < reached
    for name in ("length_m", "r_ohm_per_km", "x_ohm_per_km", "c_nf_per_km", "ampacity_a"):
        assert (grid.lines[name] > 0).all()
    (tap, kind, group) = (grid.transformers[name][0] for name in ("tap", "tap_kind", "vector_group"))
    assert (tap, kind, group) == (-1, "ratio", "Dyn5")


def test_data_is_small_and_says_where_it_comes_from():
    sizes = {path.name: len(path.read_bytes()) for path in FOLDER.iterdir()}
    assert sum(sizes.values()) < 2_000_000
    for word in (
        "ODbL-1.0",
        "DbCL",
        "SimBench",
        "University of Kassel",
        "Fraunhofer IEE",
        "RWTH Aachen",
        "TU Dortmund",
    ):
        assert word in README
    assert "10.3390/en13123290" in README
    assert "SPDX-License-Identifier: ODbL-1.0" in (FOLDER / "LICENSE-ODbL.txt").read_text(encoding="utf-8")
    for name in re.findall(r"`(\w+\.(?:csv|npz|txt))`", README):
        assert name in sizes


def test_curves_are_small_integers():
    with np.load(FOLDER / "profiles.npz") as stored:
        assert len(stored.files) == 24
        for name in stored.files:
            assert stored[name].dtype == np.int16
            assert stored[name].shape == (35_136,)
            assert stored[name].min() >= 0
            assert 1_000 < stored[name].max() <= 10_000
