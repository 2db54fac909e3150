"""The indices: the fixtures of the mission's table, cases worked by hand, and a whole comparison worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.analysis import fairness, formulas
from wattle.analysis.catalogue import CATALOGUE, HEADLINE
from wattle.analysis.metrics import by_key, indices
from wattle.core.timegrid import TimeGrid
from wattle.core.units import Units
from wattle.runtime.results import BILL_LINES, Comparison, RuleResult

# --- energy and power ---


def test_self_sufficiency():
    assert formulas.self_sufficiency(10, 4) == pytest.approx(0.6)
    assert formulas.self_sufficiency([6, 4], [4, 0]) == pytest.approx(0.6)
    assert formulas.self_sufficiency(0, 0) is None


def test_self_consumption():
    assert formulas.self_consumption(8, 2) == pytest.approx(0.75)
    assert formulas.self_consumption([0, 0], [0, 0]) is None


def test_shared_energy():
    assert formulas.shared_energy([6], [7]) == 6
    assert formulas.shared_energy([[4, 2], [0, 1]], [[7, 0], [3, 2]]) == 6 + 1


def test_energy_balance():
    assert formulas.energy_balance([1, -1], [2, -2]) == pytest.approx(0.5)
    assert formulas.energy_balance([0], [0]) is None


def test_peaks():
    assert formulas.peak_to_average([1, 2, 3]) == pytest.approx(1.5)
    assert formulas.peak_to_average([0, 0]) is None
    assert formulas.peak_change([4, 9], [12, 3]) == pytest.approx(0.75)
    assert formulas.peak_change([], []) is None


@pytest.mark.parametrize(("power", "flat"), [([5, 5, 5], 1), ([6, 0, 0], 1 / 3), ([3, 1], 0.75)])
def test_power_flatness(power, flat):
    assert formulas.power_flatness(power) == pytest.approx(flat)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_power_flatness_stays_between_nothing_and_one(power):
    flat = formulas.power_flatness(power)
    assert flat is None or 0 <= flat <= 1 + 1e-9


# --- market ---


def test_welfare_of_the_textbook_auction():
    # asks 8, 12, 18 and bids 25, 20, 14 of 2 kWh each: two of each trade
    assert formulas.social_welfare([25, 20], [2, 2], [8, 12], [2, 2]) == 50
    assert formulas.social_welfare([25], [2], [8], [2], losses=4) == 30


def test_efficiency():
    assert formulas.allocative_efficiency(50, 50) == 1
    assert formulas.allocative_efficiency(40, 50) == pytest.approx(0.8)
    assert formulas.allocative_efficiency(0, 0) is None


def test_liquidity_spread_and_concentration():
    assert formulas.liquidity(3, 6) == 0.5
    assert formulas.spread([10, math.nan, 12], [14, 20, 14]) == pytest.approx(3)
    assert formulas.spread([math.nan], [3]) is None
    assert formulas.concentration([5, 5]) == pytest.approx(0.5)
    assert formulas.concentration([3, 1]) == pytest.approx(10 / 16)
    assert formulas.concentration([0, 0]) is None


def test_prices():
    assert formulas.mean_price([10, 20], [3, 1]) == pytest.approx(12.5)
    assert formulas.mean_price([10], [0]) is None
    assert formulas.price_dispersion([10, 20], [1, 1]) == pytest.approx(5)
    assert formulas.price_dispersion([10, 99], [2, 0]) == 0
    assert formulas.smith_alpha([9, 11], 10) == pytest.approx(0.1)
    assert formulas.price_position([19], [6], [30], [8]) == pytest.approx(0.5)


# --- grid ---


def test_losses():
    assert formulas.losses([0.5], [[20.0], [0.0]], hours=1) == pytest.approx(0.2)
    # 0.1 ohm, 100 A, a quarter-hour, three conductors: 3 x 1 kW x 0.25 h
    assert formulas.losses([0.1], [[100.0]], hours=0.25, conductors=3) == pytest.approx(0.75)


def test_voltages():
    found = formulas.voltage_violations([[1.0, 0.88], [1.12, 0.95]], hours=0.25)
    assert (found.count, found.minutes) == (2, 30)
    assert found.depth_pu_h == pytest.approx((0.02 + 0.02) * 0.25)
    assert found.worst_week == pytest.approx(0.5)
    assert formulas.voltage_violations([[1.1, 0.9]], hours=1).count == 0


def test_a_bad_week_is_not_hidden_by_a_good_one():
    voltage = np.ones((2 * 168, 1))
    voltage[168:178] = 1.2
    assert formulas.voltage_violations(voltage, hours=1).worst_week == pytest.approx(158 / 168)


def test_congestion():
    assert formulas.overload_hours([[0.5, 1.2], [0.9, 1.0]], hours=0.25) == 0.25
    assert formulas.reverse_flow([3, -2, -1]) == 3
    assert formulas.curtailment([5, 4], [5, 3]) == 1


# --- money and fairness ---


def test_savings():
    assert fairness.gains([100, 50], [90, 55]).tolist() == [10, -5]
    assert fairness.cost_saving(200, 150) == pytest.approx(0.25)
    assert fairness.cost_saving(-10, -20) is None
    assert fairness.value_tapping(100, 85, 80) == pytest.approx(0.75)
    assert fairness.value_tapping(100, 100, 100) is None


def test_willingness_counts_who_is_not_worse_off_to_the_last_unit():
    before, after = np.array([10**12] * 4), np.array([10**12 - 1, 10**12, 10**12 + 1, 0])
    assert fairness.participation_willingness(before, after) == 0.75
    assert fairness.losers_share(before, after) == 0.25


@pytest.mark.parametrize(
    ("gain", "jain", "equal", "ends"),
    [
        ([1, 0, 0, 0], 0.25, 0.25, 0),
        ([5, 5, 5], 1, 1, 1),
        ([2, 8, 4], 14**2 / (3 * 84), 1 - 12 * 2 / (2 * 9 * (14 / 3)), 0.25),
        ([4, 4, -100], 2 / 3, 2 / 3, 0),  # who loses counts as one who gains nothing, however much he loses
    ],
)
def test_fairness(gain, jain, equal, ends):
    assert fairness.jain(gain) == pytest.approx(jain)
    assert fairness.equality(gain) == pytest.approx(equal)
    assert fairness.min_max(gain) == pytest.approx(ends)


def test_nothing_gained_is_nothing_divided():
    for gain in ([0, 0], [-1, -2], []):
        assert fairness.jain(gain) is None
        assert fairness.equality(gain) is None
        assert fairness.min_max(gain) is None


amounts = st.lists(st.integers(-1000, 1000), min_size=1, max_size=20)


@given(amounts, st.integers(1, 50))
def test_fairness_has_no_unit_and_no_order(gain, factor):
    values = np.array(gain, float)
    for index in (fairness.jain, fairness.equality, fairness.min_max):
        first = index(values)
        assert first is None or -1e-9 <= first <= 1 + 1e-9
        for other in (values * factor, values[::-1]):
            again = index(other)
            assert (first is None) == (again is None)
            assert first is None or again == pytest.approx(first)


@given(amounts)
def test_gini_is_the_mean_difference(gain):
    values = np.maximum(np.array(gain, float), 0)
    found = fairness.gini(values)
    if values.sum() > 0:
        slow = np.abs(values[:, None] - values[None, :]).sum() / (2 * values.size**2 * values.mean())
        assert found == pytest.approx(slow, abs=1e-9)
    else:
        assert found is None


def test_quality_of_experience():
    assert fairness.quality_of_experience([20, 20], 8, 30) == 1
    assert fairness.quality_of_experience([8, 30], 8, 30) == pytest.approx(0)
    assert fairness.quality_of_experience([], 8, 30) is None


def test_merit():
    assert fairness.meritocratic([1, 2, 3], [10, 20, 30]) == 1
    assert fairness.meritocratic([3, 2, 1], [10, 20, 30]) == -1
    assert fairness.meritocratic([1, 1], [10, 20]) is None
    assert fairness.meritocratic([1], [10]) is None


# --- a comparison worked by hand ---
# Two members, two hours; a lot is 1 kWh, a tick 1 ct/kWh, cash is counted in ct. A has sun: load 1, 2; sun 7, 0.
# B has load 7, 3. Retail 30, feed-in 8. The mid-market rate is 19, so that both gain 6 x 11 = 66 ct.


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def by_hand() -> Comparison:
    def rule(name, price, shared, imported, exported, bought, sold, from_utility, to_utility, cost):
        lines = {key: ints(0, 0) for key, _ in BILL_LINES} | {"utility": ints(*cost)}
        return RuleResult(
            rule=name, mechanism="", parameters={}, summary="", price=ints(*price), shared=ints(*shared),
            imported=ints(*imported), exported=ints(*exported), bought=ints(*bought), sold=ints(*sold),
            from_utility=ints(*from_utility), to_utility=ints(*to_utility), lines=lines, cost=ints(*cost),
            cost_by_month=ints(*cost)[None, :], energy_error=0, money_error=0, state_hash="",
        )  # fmt: skip

    alone = rule("alone", (-1, -1), (0, 0), (7, 5), (6, 0), (0, 0), (0, 0), (2, 10), (6, 0), (12, 300))
    middle = rule("middle", (19, -1), (6, 0), (1, 5), (0, 0), (0, 6), (6, 0), (2, 4), (0, 0), (-54, 234))
    return Comparison(
        title="by hand", grid=TimeGrid(0, 3600, 2), timezone="UTC", units=Units.parse("1000", "0.01"),
        members=("A", "B"), kinds=("household", "household"), facts={"sun": (True, False)}, demand=ints(3, 10),
        generation=ints(7, 0), load=ints(8, 5), sun=ints(7, 0), retail=ints(30, 30), feed_in=ints(8, 8),
        rules=(alone, middle),
    )  # fmt: skip


EXPECTED = {
    "saving_total": 1.32,
    "saving_share": 100 * 132 / 312,
    "saving_median": 0.66,
    "saving_worst": 0.66,
    "losers_share": 0,
    "participation_willingness": 100,
    "jain": 1,
    "min_max": 1,
    "equality": 1,
    "quality_of_experience": 1,  # only B only buys
    "meritocratic": None,  # both gain the same
    "self_sufficiency": 100 * (13 - 6) / 13,
    "self_consumption": 100,
    "shared_energy": 6,
    "energy_balance": 100 * (1 - 6 / 18),
    "reverse_flow": 0,
    "peak_import_kw": 5,
    "peak_export_kw": 0,
    "peak_change": 100 * 5 / 7,
    "peak_to_average": 5 / 3,
    "power_flatness": 1 - 4 / 12,
    "mean_local_price": 19,
    "price_dispersion": 0,
    "price_position": 50,
    "liquidity": 100,
    "concentration": 1,
    "spread": None,
    "value_tapping": 100,
    "social_welfare": 1.32,
    "allocative_efficiency": 100,
    "losses": None,
    "voltage_violations": None,
    "overload_hours": None,
    "curtailment": None,
    "closing_error": 0,
}


def test_all_indices_of_a_rule():
    comparison = by_hand()
    found = by_key(indices(comparison, comparison.rules[1]))
    values = {key: None if index.value is None else pytest.approx(index.value) for key, index in found.items()}
    assert values == EXPECTED
    assert list(found) == list(CATALOGUE)


def test_the_reference_saves_nothing():
    comparison = by_hand()
    found = by_key(indices(comparison, comparison.rules[0]))
    assert found["saving_total"].value == 0
    assert found["losers_share"].value == 0
    assert found["jain"].value is None
    assert "Nobody gains" in found["jain"].note
    assert found["mean_local_price"].value is None
    assert found["self_sufficiency"].value == pytest.approx(100 * (13 - 12) / 13)


def test_every_index_says_how_it_came_about():
    comparison = by_hand()
    for index in indices(comparison, comparison.rules[1]):
        assert index.formula, index.key
        assert index.inputs if index.value is not None else index.note, index.key
    assert {column.key for column in HEADLINE} <= set(CATALOGUE)


def test_inputs_give_the_value():
    comparison = by_hand()
    found = by_key(indices(comparison, comparison.rules[1]))
    bills = found["saving_total"].inputs
    before, after = bills["all bills without a community [EUR]"], bills["all bills under this rule [EUR]"]
    assert found["saving_total"].value == pytest.approx(before - after)
    energy = found["self_sufficiency"].inputs
    demand, imported = energy["consumption before own sun D [kWh]"], energy["bought from the utility I [kWh]"]
    assert found["self_sufficiency"].value == pytest.approx(100 * (demand - imported) / demand)


def test_a_loss_and_an_open_book_are_seen():
    comparison = by_hand()
    bad = replace(comparison.rules[1], cost=ints(13, 234), energy_error=-2, money_error=5)
    found = by_key(indices(comparison, bad))
    assert found["losers_share"].value == 50
    assert found["saving_worst"].value == pytest.approx(-0.01)
    assert "A" in found["saving_worst"].note
    assert found["min_max"].value == 0
    assert found["closing_error"].value == 7


def test_the_currency_is_the_run_s_own():
    comparison = replace(by_hand(), units=Units.parse("1000", "0.01", "CHF"))
    found = by_key(indices(comparison, comparison.rules[1]))
    assert found["saving_total"].unit == "CHF"
    assert found["jain"].unit == ""


def test_a_village_gives_all_headline_values(village):
    for rule in village.rules[1:]:
        found = by_key(rule.indices)
        for column in HEADLINE:
            assert found[column.key].value is not None, (rule.rule, column.key)
        assert found["closing_error"].value == 0
        assert 0 <= found["jain"].value <= 1
