"""Plans of a day against linear programmes and SciPy, and the equilibrium of the game against its potential."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from wattle.agents.cohort import View
from wattle.agents.storage_game import (
    WAIT_MAX,
    Devices,
    StorageGameMembers,
    device_table,
    no_batteries,
    safe_inertia,
)
from wattle.agents.storage_plan import (
    BUDGET,
    BUDGET_TOLERANCE,
    CHARGE,
    COST,
    DISCHARGE,
    INTO,
    KEEPS,
    MOST,
    OUT,
    ROOM,
    SLACK,
    SLOPE,
    START,
    plan_members,
)
from wattle.assets.storage import Fleet, storage_step
from wattle.core.checks import InvariantError
from wattle.core.messages import Call, Clearing, Context
from wattle.core.tables import ANY_PRICE, Quotes
from wattle.market.storage_game import StorageGame


def constraints(device, slots):
    """Return A, b, bounds of the plans x = (g, u, v) slot by slot that a device can keep: A x <= b."""
    stored = np.zeros((slots, 3 * slots))
    for h in range(slots):
        for k in range(h + 1):
            stored[h, 3 * k + 1 : 3 * k + 3] = (
                device[KEEPS] ** (h - k) * device[INTO],
                -(device[KEEPS] ** (h - k)) * device[OUT],
            )
    left = device[START] * device[KEEPS] ** np.arange(1, slots + 1)
    low, high = np.zeros(slots), np.full(slots, device[ROOM])
    low[-1], high[-1] = max(0, device[START] - device[SLACK]), min(device[ROOM], device[START] + device[SLACK])
    made = np.zeros((1, 3 * slots))
    made[0, ::3] = 1
    rows = np.concatenate((stored, -stored, made))
    return rows, np.concatenate((high - left, left - low, [device[BUDGET]])), [
        (0, most) for _ in range(slots) for most in (device[MOST], device[CHARGE], device[DISCHARGE])
    ]  # fmt: skip


def drawn(seed, slots):
    """Draw a day: marginal prices, K, need, a device, inertia and centroid; many numbers lie at the edges."""
    rng = np.random.default_rng(seed)
    room = rng.choice([0.0, 4.0, 20.0])
    keeps, into, out = rng.choice([1.0, 0.98, 0.9]), rng.choice([1.0, 0.9, 0.7]), rng.choice([1.0, 1.1, 1.4])
    start = rng.choice([0, 0.25, 0.5, 1]) * room
    most = rng.choice([0.0, 2.0, 6.0])
    device = np.zeros(12)
    device[[COST, SLOPE]] = rng.choice([0.0, 10, 30]), rng.choice([0, 0.5])
    device[[MOST, BUDGET]] = most, rng.choice([0.3, 0.8, 2]) * most * slots
    if room > 0:
        device[[CHARGE, DISCHARGE]] = max(rng.choice([3.0, 10]), (1 - keeps) * start / into), rng.choice([0, 2.0, 50])
    device[[INTO, OUT, KEEPS, ROOM, START, SLACK]] = into, out, keeps, room, start, rng.choice([0, 0.1]) * room
    used = rng.random(3) < 0.6
    centroid = rng.random((slots, 3)) * used * device[[MOST, CHARGE, DISCHARGE]]
    return (
        rng.uniform(-5, 60, slots), rng.uniform(0.05, 2, slots), rng.uniform(-2, 15, slots), device,
        float(rng.choice([0.1, 1, 10, 50])), centroid,
    )  # fmt: skip


def planned(a, grid, need, device, inertia, centroid, run=plan_members):
    plan = np.zeros((need.size, 3))
    run(a[None].copy(), grid, need[None].copy(), device[None].copy(), inertia, centroid, plan, np.zeros(1))
    return plan


def slope_of(x, a, grid, need, device, inertia, centroid):
    """Return the gradient of a member's cost in all his decisions, [T, 3]."""
    price = a + 2 * grid * (need - x[:, 0] + x[:, 1] - x[:, 2])
    own = np.stack((device[COST] + device[SLOPE] * x[:, 0] - price, price, -price), axis=1)
    return own + inertia * (x - centroid)


def cost_of(x, a, grid, need, device, inertia, centroid):
    load = need - x[:, 0] + x[:, 1] - x[:, 2]
    own = (a + grid * load) @ load + device[COST] * x[:, 0].sum() + device[SLOPE] / 2 * (x[:, 0] ** 2).sum()
    return own + inertia / 2 * ((x - centroid) ** 2).sum()


@settings(max_examples=250, deadline=None)
@given(seed=st.integers(0, 10**6), slots=st.integers(1, 24))
@example(seed=6, slots=3)
def test_a_plan_is_feasible_and_no_direction_is_better(seed, slots):
    # First-order conditions: over the feasible set the gradient at the plan is smallest at the plan itself.
    day = drawn(seed, slots)
    device, plan = day[3], planned(*day)
    rows, most, bounds = constraints(device, slots)
    assert (rows @ plan.ravel() <= most + 1e-7).all()
    assert (plan >= 0).all()
    assert (plan.reshape(-1, 3) <= np.array([device[MOST], device[CHARGE], device[DISCHARGE]])).all()
    slope = slope_of(plan, *day).ravel()
    best = linprog(slope, rows, most, bounds=bounds, method="highs")
    assert best.status == 0
    size = np.abs(slope) @ np.abs(plan.ravel()) + 1
    assert slope @ plan.ravel() <= best.fun + (1e-6 + 10 * BUDGET_TOLERANCE) * size


@pytest.mark.parametrize("seed", range(25))
def test_a_plan_costs_no_more_than_scipys(seed):
    day = drawn(seed, 4)
    rows, most, bounds = constraints(day[3], 4)
    best = minimize(
        lambda x: cost_of(x.reshape(-1, 3), *day), day[5].ravel(), method="SLSQP", bounds=bounds,
        jac=lambda x: slope_of(x.reshape(-1, 3), *day).ravel(),
        constraints=[{"type": "ineq", "fun": lambda x: most - rows @ x, "jac": lambda _: -rows}],
        options={"ftol": 1e-12, "maxiter": 500},
    )  # fmt: skip
    if (most - rows @ best.x).min() >= -1e-8:  # else SciPy has cheated
        assert cost_of(planned(*day), *day) <= best.fun + 1e-5 * (1 + abs(best.fun))
        if best.success:
            assert planned(*day) == pytest.approx(best.x.reshape(-1, 3), abs=0.05)


@pytest.mark.parametrize("seed", range(12))
def test_machine_code_and_plain_python_agree(seed):
    day = drawn(seed, 6)
    assert planned(*day) == pytest.approx(planned(*day, run=plan_members.twin()), abs=1e-9)


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 10**6), slots=st.integers(1, 24), other=st.integers(0, 10**6))
def test_who_pays_more_takes_less(seed, slots, other):
    # Best answers are monotone: the change of loads never goes along with the change of prices, summed over users too.
    a, *rest = drawn(seed, slots)
    dearer = a + np.random.default_rng(other).uniform(-20, 20, slots)
    one, two = planned(a, *rest), planned(dearer, *rest)
    change = (two - one) @ np.array([-1.0, 1.0, -1.0])
    assert (dearer - a) @ change <= 1e-6 * (1 + np.abs(change).max())


def crowd(seed, count=6, slots=8, share=1.0):
    """Return members with batteries, generators, both or (beyond `share`) nothing, and what they need in lots."""
    rng = np.random.default_rng(seed)
    grid = np.where(np.arange(slots) < slots // 3, 2.0, 3.0)
    kind, one = np.arange(count) % 3, np.ones(count)
    active = np.arange(count) < share * count
    room = np.where((kind != 1) & active, 4e6, 0.0)
    fleet = Fleet(room, room / 4, room / 2, 0.9 * one, one / 1.1)
    make = np.where((kind != 0) & active, 4e5, 0.0)
    devices = Devices(
        0.99 * one, 0.25 * one, 0.02 * one, make, 0.6 * slots * make, rng.uniform(2e6, 9e6, count), 2.0 * one
    )
    need = rng.integers(2 * 10**5, 9 * 10**5, (slots, count)) + 4 * 10**5 * (np.arange(slots)[:, None] >= slots // 2)
    return grid, fleet, devices, need


def settled(grid, fleet, devices, need, boost=1.0, tolerance=1e-5):
    """Play the game to the end; return net loads [T, N], plans [3, T, N], and the report."""
    slots, count = need.shape
    members = StorageGameMembers(
        np.arange(8, 8 + count, dtype=np.int32), fleet, devices, grid, boost * safe_inertia(grid, count), 0.3, tolerance
    )
    rule = StorageGame(2.0, 1.5, slots // 3, slots, slots, inner=0.3, tolerance=tolerance, rounds_max=1000)
    assert rule.grid(np.arange(slots)).tolist() == grid.tolist()
    memory, call = None, Call("game", 0, slots)
    while True:
        orders = members.respond(call, View(need))
        memory, reply = rule.step(memory, orders.replace(id=np.arange(len(orders))), Context())
        if isinstance(reply, Clearing):
            break
        call = Call("game", 0, slots, reply.round, reply.quotes)
    net = np.zeros((slots, count), np.int64)
    net[orders.interval, orders.participant - 8] = orders.side * orders.quantity
    return net, members.plan("game"), reply.report


def potential_slope(x, grid, need, table):
    """Return the gradient of the game's potential, one block [T, 3] a user; x is [N, T, 3].

    A user's marginal cost K_h (L_h + l_n) is the derivative of sum_h K_h / 2 (L_h^2 + sum_n l_n^2): an exact potential.
    """
    loads = need.T - x[:, :, 0] + x[:, :, 1] - x[:, :, 2]
    price = grid * (loads.sum(axis=0) + loads)
    made = table[:, COST, None] + table[:, SLOPE, None] * x[:, :, 0]
    return np.stack((made - price, price, -price), axis=2)


@pytest.mark.parametrize("seed", range(4))
def test_the_rounds_end_at_the_equilibrium(seed):
    grid, fleet, devices, need = crowd(seed)
    net, plan, report = settled(grid, fleet, devices, need)
    assert report["settled"] == 1
    table, x = device_table(fleet, devices, 1.0, 1.0), plan.transpose(2, 1, 0)
    assert np.abs(np.cumsum(net - need - (plan[1] - plan[2] - plan[0]), axis=0)).max() < 1.0
    slope, bills = potential_slope(x, grid, need, table), grid @ (net.sum(axis=1)[:, None] * net)
    for n in range(len(fleet)):
        # The variational inequality: no plan of his own lowers a user's cost, others as they are.
        rows, most, bounds = constraints(table[n], len(grid))
        best = linprog(slope[n].ravel(), rows, most, bounds=bounds, method="highs")
        assert slope[n].ravel() @ x[n].ravel() - best.fun <= 2e-3 * bills[n]


def test_the_potential_solved_by_scipy_has_the_same_loads():
    grid, fleet, devices, need = crowd(5, count=3, slots=5)
    net, _, report = settled(grid, fleet, devices, need)
    table, size = device_table(fleet, devices, 1.0, 1.0), 15
    blocks = [constraints(row, 5) for row in table]
    rows, most = np.zeros((11 * 3, 3 * size)), np.concatenate([block[1] for block in blocks])
    for n, (block, _, _) in enumerate(blocks):
        rows[11 * n : 11 * n + 11, size * n : size * n + size] = block
    scale = 1e6

    def cost(x):
        y = scale * x.reshape(3, 5, 3)
        loads = need.T - y[:, :, 0] + y[:, :, 1] - y[:, :, 2]
        game = (grid / 2 * (loads.sum(axis=0) ** 2 + (loads**2).sum(axis=0))).sum()
        return (game + (table[:, COST] @ y[:, :, 0]).sum() + (table[:, SLOPE] @ y[:, :, 0] ** 2).sum() / 2) / 1e12

    best = minimize(
        cost, np.zeros(3 * size) + 0.05, method="SLSQP",
        jac=lambda x: potential_slope(scale * x.reshape(3, 5, 3), grid, need, table).ravel() * scale / 1e12,
        bounds=[(low / scale, high / scale) for block in blocks for low, high in block[2]],
        constraints=[{"type": "ineq", "fun": lambda x: most / scale - rows @ x, "jac": lambda _: -rows}],
        options={"ftol": 1e-14, "maxiter": 2000},
    )  # fmt: skip
    assert report["settled"] == 1
    y = scale * best.x.reshape(3, 5, 3)
    loads = need.T - y[:, :, 0] + y[:, :, 1] - y[:, :, 2]
    assert np.abs(net.T - loads).max() <= 5000  # of 200,000 and more


def test_the_equilibrium_does_not_depend_on_how_it_is_found():
    # The potential is strictly convex in all loads, so there is one equilibrium, whatever the inertia.
    game = crowd(3, count=9)
    (one, _, first), (two, _, second) = settled(*game), settled(*game, boost=2.5)
    assert first["settled"] == second["settled"] == 1
    assert first["rounds"] != second["rounds"]
    assert one == pytest.approx(two, abs=0.01 * game[3].max())
    assert one.sum(axis=1) == pytest.approx(two.sum(axis=1), rel=2e-3)


def test_everybody_gains_and_the_passive_too():
    grid, fleet, devices, need = crowd(2, count=40, slots=24, share=0.5)
    net, plan, report = settled(grid, fleet, devices, need, tolerance=1e-4)
    assert report["settled"] == 1
    load, before = net.sum(axis=1), need.sum(axis=1)
    paid = grid @ (load[:, None] * net) + devices.cost_ticks * plan[0].sum(axis=0) + (plan[0] ** 2).sum(axis=0)
    would = grid @ (before[:, None] * need)
    assert (paid < would).all()
    assert (net[:, 20:] == need[:, 20:]).all()
    assert load.max() / load.mean() < before.max() / before.mean()
    assert paid[:20].sum() / would[:20].sum() < paid[20:].sum() / would[20:].sum()


def test_plans_can_be_driven_by_the_battery_of_the_simulation():
    grid, fleet, devices, need = crowd(1, count=6, slots=24)
    lossless = Devices(*(np.ones(6) if name == "keeps" else getattr(devices, name) for name in vars(devices)))
    _, plan, _ = settled(grid, fleet, lossless, need, tolerance=1e-3)
    energy = lossless.start_share * fleet.energy_wh_max
    for charge, discharge in zip(plan[1], plan[2], strict=True):
        assert np.minimum(charge, discharge).max() <= 1  # never both at once while prices are above nought
        energy, done = storage_step(fleet, energy, charge - discharge, 1.0)
        assert done == pytest.approx(charge - discharge, abs=1)
    assert energy == pytest.approx(lossless.start_share * fleet.energy_wh_max, abs=0.021 * 4e6)


@pytest.mark.parametrize(("inertia", "inner"), [(100.0, 0.3), (0.01, 0.0)])
def test_centroids_move_in_the_rounds_that_the_rule_counts(inertia, inner):
    # Both look at published prices only; with little inertia prices swing, and the wait ends the rest.
    grid, fleet, devices, need = crowd(4)
    members = StorageGameMembers(np.arange(8, 14, dtype=np.int32), fleet, devices, grid, inertia, inner, 1e-5)
    rule = StorageGame(2.0, 1.5, 2, 8, 8, inner=inner, tolerance=1e-5)
    memory, call, moved = None, Call("game", 0, 8), []
    for number in range(40):
        orders = members.respond(call, View(need))
        if number >= 2:  # the quote of the first round is where centroids stand at first
            moved.append((memory["moves"], memory["waited"]))
            assert members._known["game"].waited == memory["waited"]
        memory, reply = rule.step(memory, orders.replace(id=np.arange(len(orders))), Context())
        if isinstance(reply, Clearing):
            break
        call = Call("game", 0, 8, reply.round, reply.quotes)
    assert moved[-1][0] >= 2
    if inner == 0.0:
        assert max(waited for _, waited in moved) == WAIT_MAX - 1


def test_only_net_loads_are_told():
    grid, fleet, devices, need = crowd(0)
    members = StorageGameMembers(np.arange(8, 14, dtype=np.int32), fleet, devices, grid, 10.0)
    opening = members.respond(Call("game", 0, 8), View(need))
    assert set(np.abs(opening.limit)) == {ANY_PRICE}
    idle = members.plan("game")
    assert (idle[[0, 2]] == 0).all()
    quotes = Quotes(np.arange(8), np.zeros(8, int), np.full(8, -1), np.full(8, -1), np.full(8, 10_000))
    orders = members.respond(Call("game", 0, 8, 1, quotes), View(need))
    assert orders.quantity.dtype == np.int64
    assert not np.array_equal(orders.quantity, opening.quantity)
    elsewhere = quotes.replace(zone=np.ones(8, int))  # prices of another zone are none of theirs
    again = members.respond(Call("game", 0, 8, 2, elsewhere), View(need))
    assert len(again)


def test_members_without_devices_need_what_they_need():
    count, need = 3, np.array([[5, 0, -2], [7, 1, 0]])
    members = StorageGameMembers(
        np.arange(8, 8 + count, dtype=np.int32), no_batteries(count), Devices.none(count), np.ones(1), 5.0
    )
    for call in (Call("game", 0, 2), Call("game", 0, 2, 1)):
        orders = members.respond(call, View(need))
        assert orders.participant.tolist() == [8, 10, 8, 9]
        assert (orders.side * orders.quantity).tolist() == [5, -2, 7, 1]


@pytest.mark.parametrize(
    ("column", "value"),
    [("keeps", 0.0), ("keeps", 1.1), ("start_share", 2.0), ("slack_share", -0.1), ("cost_ticks", -1.0),
     ("power_w_max", np.inf)],
)  # fmt: skip
def test_impossible_devices_are_refused(column, value):
    with pytest.raises(InvariantError, match=column):
        Devices.none(1).replace(**{column: np.array([value])})


def test_a_battery_that_leaks_more_than_it_takes_is_refused():
    one = np.ones(1)
    weak = Fleet(1000 * one, 10 * one, 10 * one, one, one)
    with pytest.raises(InvariantError, match="leaks"):
        device_table(weak, Devices.none(1).replace(keeps=0.5 * one), 1.0, 1.0)
    for bad in ({"inertia": 0.0}, {"grid": np.zeros(1)}, {"fleet": no_batteries(2)}):
        given_ = {"fleet": weak, "grid": one, "inertia": 1.0} | bad
        with pytest.raises(InvariantError):
            StorageGameMembers(np.array([8], np.int32), devices=Devices.none(1), **given_)
