"""Games with shared constraints: published game, closed forms, optimality conditions, SciPy, grids; and the rule."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Limits, Tariff
from wattle.core.tables import ANY_PRICE, Orders
from wattle.market.concave_game import QuadraticGame, deviation_gain, extragradient, relaxation
from wattle.market.generalised_nash import GeneralisedNash, cournot, read_curve
from wattle.testing.generators import book_of, books
from wattle.testing.strategies import order_books
from wattle.testing.trial import plain_kernels

GOLDEN = Path(__file__).parents[2] / "golden" / "generalised-nash-river-basin"
BOTH = pytest.mark.parametrize("solve", [relaxation, extragradient])


def river_basin():
    case = json.loads((GOLDEN / "case.json").read_text())
    slope, bend = case["price"]["slope"], 2 * np.array(case["cost_slope_half"])
    matrix = np.full((3, 3), slope) + np.diag(slope + bend)
    rows = np.array(case["decay"]) * np.array(case["emission"])
    linear = case["price"]["height"] - np.array(case["cost"])
    return QuadraticGame.dense(linear, matrix, rows=rows, caps=np.array(case["caps"]))


def random_game(seed):
    """A game with H + H' positive definite, not symmetric, and one or two shared constraints, most of which bind."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 8))
    turn = rng.normal(size=(size, size))
    root = rng.normal(size=(size, size))
    matrix = root @ root.T / size + (turn - turn.T) / 2 + 0.5 * np.eye(size)
    rows = rng.uniform(0, 1, (int(rng.integers(1, 3)), size))
    caps = rng.uniform(0.2, 1.5, rows.shape[0])
    return QuadraticGame.dense(rng.uniform(0.5, 3, size), matrix, rng.uniform(0.5, 3, size), rows, caps)


def conditions(game, x, multiplier):
    """How far x is from Rosen's conditions: gradient = shadow prices inside, right signs at bounds and constraints."""
    pull = game.marginal(x) - game.rows.T @ multiplier
    inside = (x > 1e-7) & (x < game.upper - 1e-7)
    wrong = np.where(inside, np.abs(pull), np.where(x <= 1e-7, np.maximum(pull, 0), np.maximum(-pull, 0)))
    spare = game.caps - game.rows @ x
    return max(wrong.max(), np.maximum(-spare, 0).max(initial=0), (multiplier * np.abs(spare)).max(initial=0))


# --- the solvers ---


@BOTH
def test_river_basin(solve):
    game, expected = river_basin(), json.loads((GOLDEN / "expected.json").read_text())
    found = solve(game)
    assert found.quantity == pytest.approx(expected["quantity"], abs=5e-4)
    assert game.rows @ found.quantity == pytest.approx(expected["pollution"], abs=5e-3)
    assert found.multiplier == pytest.approx(expected["multiplier"], abs=5e-4)
    assert deviation_gain(game, found.quantity).max() <= 1e-9
    # Second way: only the first station binds, so four linear equations hold.
    matrix = game.left @ game.right.T + np.diag(game.own)
    system = np.block([[matrix, game.rows[0][:, None]], [game.rows[0][None, :], np.zeros((1, 1))]])
    exact = np.linalg.solve(system, np.append(game.linear, game.caps[0]))
    assert found.quantity == pytest.approx(exact[:3], rel=1e-6)
    assert found.multiplier[0] == pytest.approx(exact[3], rel=1e-6)


def test_another_equilibrium_of_the_river_basin_is_not_the_normalised_one():
    game, expected = river_basin(), json.loads((GOLDEN / "expected.json").read_text())
    other = np.array(expected["other_equilibrium"])
    assert deviation_gain(game, other).max() <= 1e-4  # nobody gains by moving alone ...
    prices = game.marginal(other) / game.rows[0]
    assert prices == pytest.approx(expected["other_multipliers"], abs=1e-3)
    assert np.ptp(prices) > 1  # ... but the river costs each of them something else
    assert abs(other - relaxation(game).quantity).max() > 9


@pytest.mark.parametrize("seed", range(40))
def test_both_methods_agree_and_meet_the_conditions(seed):
    game = random_game(seed)
    one, other = relaxation(game), extragradient(game)
    assert one.quantity == pytest.approx(other.quantity, rel=1e-4, abs=1e-6)
    assert one.multiplier == pytest.approx(other.multiplier, rel=1e-3, abs=1e-4)
    for found in (one, other):
        assert conditions(game, found.quantity, found.multiplier) <= 1e-5
        assert deviation_gain(game, found.quantity).max() <= 1e-6
        assert found.gap <= 1e-6


@pytest.mark.parametrize("seed", range(10))
def test_a_game_with_a_potential_is_an_optimisation(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 6))
    root = rng.normal(size=(size, size))
    matrix, linear = root @ root.T + np.eye(size), rng.uniform(1, 5, size)
    rows, caps = rng.uniform(0, 1, (2, size)), rng.uniform(0.3, 1, 2)
    game = QuadraticGame.dense(linear, matrix, np.full(size, 2.0), rows, caps)
    best = minimize(
        lambda x: x @ matrix @ x / 2 - linear @ x,
        np.zeros(size),
        jac=lambda x: matrix @ x - linear,
        bounds=[(0, 2)] * size,
        constraints={"type": "ineq", "fun": lambda x: caps - rows @ x, "jac": lambda x: -rows},
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    for solve in (relaxation, extragradient):
        assert solve(game).quantity == pytest.approx(best.x, abs=1e-5)


@BOTH
@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_symmetric_cournot(solve, count):
    game = cournot(100.0, 0.5, np.full(count, 10.0), np.zeros(count), np.full(count, 1e6))
    assert solve(game).quantity == pytest.approx(np.full(count, 90 / (0.5 * (count + 1))), rel=1e-6)


@BOTH
def test_cournot_with_unequal_and_rising_costs(solve):
    cost, slope, height = np.array([10.0, 15.0, 22.0]), 2.0, 80.0
    # x_i = (A - c_i - B X) / B with X = (n A - sum of c) / (B (n + 1))
    total = (3 * height - cost.sum()) / (slope * 4)
    game = cournot(height, slope, cost, np.zeros(3), np.full(3, 1e3))
    assert solve(game).quantity == pytest.approx((height - cost - slope * total) / slope, rel=1e-6)
    bend = np.array([1.0, 0.0, 4.0])
    matrix = slope * (np.ones((3, 3)) + np.eye(3)) + np.diag(bend)
    game = cournot(height, slope, cost, bend, np.full(3, 1e3))
    assert solve(game).quantity == pytest.approx(np.linalg.solve(matrix, height - cost), rel=1e-6)


@BOTH
@pytest.mark.parametrize("count", [2, 3, 30])
def test_a_shared_cap_has_one_price_for_all(solve, count):
    height, slope, cap = 100.0, 1.0, 12.0
    cost = np.linspace(8, 8.4, count)
    price = height - slope * cap - (slope * cap + cost.sum()) / count
    game = cournot(height, slope, cost, np.zeros(count), np.full(count, 50.0), cap)
    found = solve(game)
    expected = (height - slope * cap - cost - price) / slope
    assert found.quantity.sum() == pytest.approx(cap, rel=1e-7)
    assert found.quantity == pytest.approx(np.maximum(expected, 0), rel=1e-4, abs=1e-6)
    assert found.multiplier == pytest.approx([price], rel=1e-5)


@pytest.mark.parametrize("seed", range(10))
def test_gain_of_the_best_deviation_is_that_of_a_fine_grid(seed):
    game = random_game(seed)
    rng = np.random.default_rng(seed)
    x = relaxation(game).quantity * rng.uniform(0.2, 1.0)  # some point of the set, not an equilibrium
    gain = deviation_gain(game, x)
    assert gain.max() > 1e-3
    matrix = game.left @ game.right.T
    for i in range(x.size):
        best = 0.0
        for y in np.linspace(0, game.upper[i], 4001):
            moved = x.copy()
            moved[i] = y
            if (game.rows @ moved <= game.caps).all():
                change = game.marginal(x)[i] * (y - x[i]) - matrix[i, i] * (y - x[i]) ** 2 / 2
                best = max(best, change)
        assert gain[i] == pytest.approx(best, abs=2e-3)
        assert gain[i] >= best - 1e-9


def test_several_starting_sizes_and_few_rounds_are_reported():
    game = random_game(3)
    for solve in (relaxation, extragradient):
        short = solve(game, rounds_max=2)
        assert short.iterations == 2
        assert short.residual > solve(game).residual
        assert short.gap > 0


def test_plain_kernels_give_the_same():
    game = random_game(5)
    fast = [solve(game, tolerance=1e-6).quantity for solve in (relaxation, extragradient)]
    with plain_kernels():
        slow = [solve(game, tolerance=1e-6).quantity for solve in (relaxation, extragradient)]
    for one, other in zip(fast, slow, strict=True):
        assert one == pytest.approx(other, rel=1e-12)


@BOTH
def test_a_small_cap_on_a_curve_that_is_all_but_flat(solve):
    # Nearly straight payoffs: between two neighbouring floats of the shadow price lies all that the cap lets through.
    game = cournot(400.0, 1e-13, np.array([60.0, 60.0]), np.zeros(2), np.full(2, 1e14), 7.0)
    found = solve(game)
    assert found.quantity.sum() == pytest.approx(7, rel=1e-9)
    assert found.multiplier == pytest.approx([340], rel=1e-9)


def test_games_that_are_not_concave_are_refused():
    with pytest.raises(InvariantError):
        QuadraticGame.dense(np.ones(2), np.array([[0.0, 1.0], [1.0, 1.0]]))
    with pytest.raises(InvariantError):
        QuadraticGame.dense(np.ones(1), np.ones((1, 1)), rows=np.ones((1, 1)), caps=np.array([-1.0]))


# --- the demand curve ---


@given(st.lists(st.tuples(st.integers(-50, 400), st.integers(1, 30)), min_size=2, max_size=8))
def test_curve_is_the_least_squares_line_through_the_stairs(steps):
    limit, lots = (np.array(column) for column in zip(*steps, strict=True))
    found = read_curve(limit, lots)
    if np.ptp(limit) == 0:
        assert found is None
        return
    order = np.argsort(limit)
    fine = 400  # samples in the middle of a 400th of a lot
    stairs = np.repeat(limit[order], lots[order] * fine)
    slope, start = np.polyfit((np.arange(stairs.size) + 0.5) / fine, stairs, 1)
    assert found == pytest.approx((start, slope), rel=1e-3, abs=1e-3)
    assert found[1] > 0


# --- the rule ---


STAIRS = [(20 + n, 1, 1000, limit) for n, limit in enumerate((3200, 2800, 2400, 2000, 1600))]
DUOPOLY = [*STAIRS, (8, -1, 5000, 400), (9, -1, 5000, 1000)]


def clear(rows, context=None, **parameters):
    return GeneralisedNash(**parameters).step(None, book_of(rows), context or Context())[1]


def sold(clearing, *members):
    trades = clearing.trades
    return [int(trades.quantity[trades.seller == member].sum()) for member in members]


@pytest.mark.parametrize("method", ["variational", "relaxation"])
def test_cap_of_the_rule_and_of_the_zone(method):
    free = clear(DUOPOLY, method=method)
    assert sold(free, 8, 9) == [3090, 1528]
    capped = clear(DUOPOLY, method=method, cap_lots=2000)
    assert sold(capped, 8, 9) == [1781, 219]
    assert capped.report["cap_price"] == pytest.approx(1508, rel=1e-5)
    zone = clear(DUOPOLY, Context(limits=Limits({0: 2000})), method=method)
    assert zone.trades == capped.trades
    tighter = clear(DUOPOLY, Context(limits=Limits({0: 2000, 1: 3})), method=method, cap_lots=1000)
    assert tighter.trades.quantity.sum() == 1000
    assert clear(DUOPOLY, Context(limits=Limits({1: 3})), method=method).trades == free.trades
    assert len(clear(DUOPOLY, Context(limits=Limits({0: 0})), method=method).trades) == 0


@settings(max_examples=60)
@given(order_books(rows=14, intervals=2, zones=2, takers=False), st.integers(0, 60))
def test_methods_trade_the_same(book, cap):
    book = book.replace(quantity=book.quantity * 1000)
    one, other = (
        GeneralisedNash(method=method, cap_lots=cap * 1000).step(None, book, Context())[1]
        for method in ("variational", "relaxation")
    )
    assert one.refused == other.refused
    if one.refused is not None or not one.report["games"]:
        return
    for clearing in (one, other):
        assert clearing.report["residual"] <= 1e-4
        assert clearing.report["deviation_gain"] <= 1e-3 * (1 + float((book.quantity * np.abs(book.limit)).sum()))
        lots = np.zeros((2, 2), np.int64)
        np.add.at(lots, (clearing.trades.interval, clearing.trades.zone), clearing.trades.quantity)
        assert cap == 0 or lots.max() <= cap * 1000
    assert one.trades.quantity.sum() == pytest.approx(other.trades.quantity.sum(), rel=1e-4, abs=4)


def test_buyers_play_the_same_game_in_the_mirror():
    top = 4000
    mirror = [(who, -side, lots, top - limit) for who, side, lots, limit in DUOPOLY]
    ours, theirs = clear(DUOPOLY), clear(mirror, players="buyers")
    assert theirs.prices.price.tolist() == [top - int(ours.prices.price[0])]
    trades = theirs.trades
    assert [int(trades.quantity[trades.buyer == who].sum()) for who in (8, 9)] == sold(ours, 8, 9)


def test_market_power_is_what_it_is_said_to_be():
    alone = clear([*STAIRS, (8, -1, 9000, 400)])
    many = clear([*STAIRS, *((30 + n, -1, 9000, 400) for n in range(30))])
    assert alone.prices.price[0] > clear([*STAIRS, (8, -1, 9000, 400), (9, -1, 9000, 400)]).prices.price[0]
    assert alone.prices.price[0] == pytest.approx((3360 + 400) / 2, abs=1)
    # The stairs end at 1600; what 30 sellers would sell below it stays untraded only where nobody bids.
    assert many.prices.price[0] < 600
    assert many.trades.quantity.sum() == 5000
    assert many.report["cut_lots"] > 0


def test_cost_slope_and_offers_at_several_prices():
    steep = clear(DUOPOLY, cost_slope=1.0)
    matrix = 0.384 * (np.ones((2, 2)) + np.eye(2)) + np.eye(2)
    expected = np.linalg.solve(matrix, [3360 - 400, 3360 - 1000])
    # 2472 lots at 2411 ticks, where the stairs hold 2000 only: the bid that takes the last one is worth 2400.
    assert sold(steep, 8, 9) == pytest.approx(expected, abs=1)
    assert steep.prices.price.tolist() == [2400]
    assert steep.report["below_line_ticks"] == 11
    assert steep.report["cut_lots"] == pytest.approx(0, abs=1)
    # Offers at 200 and 600 are read as the rising line 100 + 0.3 n.
    steps = clear([*STAIRS, (8, -1, 1000, 200), (8, -1, 1000, 600), (9, -1, 5000, 1000)])
    start, slope = read_curve(np.array([200, 600]), np.array([1000, 1000]))
    matrix = 0.384 * (np.ones((2, 2)) + np.eye(2)) + np.diag([slope, 0])
    free = np.linalg.solve(matrix, [3360 - start, 3360 - 1000])
    assert free[0] > 2000  # more than the member has, so the other one answers to his 2000 lots
    lots = np.array([2000, (3360 - 1000 - 0.384 * 2000) / (2 * 0.384)])
    # 4073 lots at 1796, where the stairs hold 4000: the last 73 are worth 1600.
    assert sold(steps, 8, 9) == pytest.approx(lots, abs=1)
    assert steps.prices.price.tolist() == [1600]


def test_nobody_trades_against_his_limit_and_dear_bids_come_first():
    clearing = clear([(20, 1, 100, 3000), (21, 1, 100, 2000), (22, 1, 100, 500), (8, -1, 150, 100), (9, -1, 90, 900)])
    trades = clearing.trades
    assert (trades.buy_price == trades.sell_price).all()
    filled = [int(trades.quantity[trades.buyer == who].sum()) for who in (20, 21, 22)]
    assert filled[0] >= filled[1] >= filled[2]


# --- the stairs are not the line ---


@pytest.mark.parametrize("turned", [False, True])
def test_the_first_lots_find_buyers_though_the_line_starts_above_the_dearest_bid(turned):
    rows = [(8, -1, 100, 19), (9, 1, 50, 20), (10, 1, 50, 10)]  # the line starts at 22.5 and falls 0.15 a lot
    if turned:
        rows = [(who, -side, lots, 30 - limit) for who, side, lots, limit in rows]
    clearing = clear(rows, players="buyers" if turned else "sellers")
    assert clearing.trades.quantity.tolist() == [12]  # (22.5 - 19) / 0.3 = 11.7
    assert clearing.trades.buy_price.tolist() == [10 if turned else 20]
    assert clearing.report["below_line_ticks"] == 1


@pytest.mark.parametrize("cap", [1, 5, 10, 16, 50, 60])
def test_a_cap_is_filled_however_small_it_is(cap):
    bids = [(20 + n, 1, 10, 20 if n < 5 else 10) for n in range(10)]
    clearing = clear([(8, -1, 100, 1), (9, -1, 100, 1), *bids], cap_lots=cap)
    assert clearing.trades.quantity.sum() == cap
    line = round(22.5 - 0.15 * cap)
    assert set(clearing.trades.buy_price.tolist()) == {min(line, 20 if cap <= 50 else 10)}
    assert clearing.report["cut_lots"] == pytest.approx(0, abs=1e-6)


def test_a_price_below_all_costs_is_not_taken():
    # The game sells 51.1 lots at 14.8; lot 51 is worth 10 only, less than the sellers' 11: they sell 50 to the others.
    bids = [(20 + n, 1, 10, 20 if n < 5 else 10) for n in range(10)]
    clearing = clear([(8, -1, 100, 11), (9, -1, 100, 11), *bids])
    assert clearing.trades.quantity.sum() == 50
    assert set(clearing.trades.buy_price.tolist()) == {15}


@settings(max_examples=60)
@given(order_books(rows=10, intervals=1, zones=1, takers=False))
def test_what_one_seller_sells_in_the_game_trades_if_a_bid_is_worth_his_cost(book):
    offers = book.side < 0
    if not offers.any():
        return
    seller = 8 + 0 * book.participant
    book = book.replace(participant=np.where(offers, seller, 20).astype(np.int32), quantity=book.quantity * 1000)
    clearing = GeneralisedNash().step(None, book, Context())[1]
    if clearing.refused is not None or not clearing.report["games"]:
        return
    dearest, cheapest = book.limit[~offers].max(), book.limit[offers].min()
    if dearest < cheapest:
        assert len(clearing.trades) == 0
    elif np.ptp(book.limit[offers]) == 0 and len(clearing.trades) == 0:
        assert clearing.report["cut_lots"] <= 1  # the line itself is too low for him


def test_players_own_orders_on_the_other_side_stay_out():
    rows = [(8, -1, 10, 10), (8, 1, 5, 100), (9, 1, 4, 40), (10, 1, 4, 35)]
    clearing = clear(rows)
    assert clearing.trades.buyer.tolist() == [9, 10]
    assert clearing.trades.quantity.tolist() == clear([rows[0], *rows[2:]]).trades.quantity.tolist()
    mirror = [(who, -side, lots, 110 - limit) for who, side, lots, limit in rows]
    assert clear(mirror, players="buyers").trades.seller.tolist() == [9, 10]
    assert len(clear(rows[:2]).trades) == 0


def test_books_without_a_curve_are_refused():
    flat = [(20, 1, 10, 300), (21, 1, 20, 300), (8, -1, 30, 100)]
    assert clear(flat).refused == Reject.NO_CURVE
    assert clear([(20, 1, 10, ANY_PRICE), (8, -1, 30, -ANY_PRICE)]).refused == Reject.NO_PRICE
    takers = [(20, 1, 1000, ANY_PRICE), (21, 1, 1000, 200), (8, -1, 3000, -ANY_PRICE)]
    assert clear(takers).refused == Reject.NO_CURVE  # any price is read as 200 here
    assert len(clear(takers, Context(tariff=Tariff.flat(300, 60))).trades) > 0
    named = book_of(DUOPOLY).replace(partner=np.array([8, -1, -1, -1, -1, -1, -1]))
    assert GeneralisedNash().step(None, named, Context())[1].refused == Reject.PARTNER_NOT_SUPPORTED
    for lonely, code in ((Orders.empty(), Reject.EMPTY_BOOK), (book_of(STAIRS), Reject.ONE_SIDED)):
        assert GeneralisedNash().step(None, lonely, Context())[1].refused == code


def test_many_games_at_once():
    book = next(books(5, "zones"))
    clearing = GeneralisedNash().step(None, book, Context(tariff=Tariff.flat(300, 60)))[1]
    assert clearing.report["games"] > 1
    assert clearing.report["residual"] <= 1e-8


@pytest.mark.parametrize(
    "bad",
    [
        {"players": "all"},
        {"method": "luck"},
        {"cap_lots": -1},
        {"cost_slope": -0.1},
        {"tolerance": 0},
        {"rounds_max": 0},
    ],
)
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InvariantError):
        GeneralisedNash(**bad)
