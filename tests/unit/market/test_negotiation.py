"""Bilateral negotiation: the rules by quotes, the direct solver, both against closed forms and the central optimum."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from wattle.agents.cohort import View
from wattle.agents.quadratic import QuadraticMembers
from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Call, Clearing, Context, Quote, Tariff
from wattle.core.tables import ANY_PRICE, Orders, Preferences, Profiles
from wattle.market.between_zones import halves
from wattle.market.negotiation import (
    BilateralAdmm,
    Curves,
    PriceAdjustment,
    pair_charges,
    premiums,
    solve_bilateral,
)
from wattle.market.negotiation_kernel import negotiate
from wattle.testing.generators import book_of

GOLDEN = Path(__file__).parents[2] / "golden" / "bilateral-two-agents"


def complete(buyers, sellers):
    return np.repeat(np.arange(buyers), sellers), np.tile(np.arange(sellers), buyers)


def market(buyers, sellers, degree=None, seed=1, charge=2.0):
    """Return curves, edges and costs of a random market."""
    rng = np.random.default_rng(seed)
    if degree is None:
        buyer, seller = complete(buyers, sellers)
    else:
        buyer = np.repeat(np.arange(buyers), degree)
        seller = np.concatenate([rng.choice(sellers, degree, replace=False) for _ in range(buyers)])
    worth = Curves(rng.uniform(0.02, 0.1, buyers), rng.uniform(10, 30, buyers), rng.uniform(50, 400, buyers))
    cost = Curves(rng.uniform(0.02, 0.1, sellers), rng.uniform(2, 12, sellers), rng.uniform(50, 400, sellers))
    grid, premium = rng.uniform(0, charge, buyer.size), rng.uniform(0, charge / 2, buyer.size)
    return worth, cost, buyer, seller, grid / 2 - premium, grid / 2


def central(worth, cost, buyer, seller, buyer_cost, seller_cost):
    """Return the optimum of the central quadratic programme; totals are bounded by an augmented Lagrangian."""
    edges, count = buyer.size, worth.b.size + cost.b.size
    member = np.concatenate((buyer, seller + worth.b.size))
    a, b = np.concatenate((worth.a, cost.a)), np.concatenate((worth.b, -cost.b))
    most = np.concatenate((worth.most, cost.most))
    charge, dual, weight = buyer_cost + seller_cost, np.zeros(count), 0.1

    def loss(x, dual):
        total = np.bincount(member, np.concatenate((x, x)), count)
        over = np.maximum(0, dual + weight * (total - most))
        value = charge @ x - (b * total - a / 2 * total**2).sum() + (over**2 - dual**2).sum() / 2 / weight
        slope = over - b + a * total
        return value, charge + slope[buyer] + slope[seller + worth.b.size]

    x = np.full(edges, 1.0)
    for _ in range(12):
        options = {"maxiter": 4000, "maxfun": 8000, "ftol": 1e-14, "gtol": 1e-7, "maxcor": 30}
        x = minimize(loss, x, (dual,), "L-BFGS-B", jac=True, bounds=[(0, None)] * edges, options=options).x
        total = np.bincount(member, np.concatenate((x, x)), count)
        dual = np.maximum(0, dual + weight * (total - most))
    return float((b * total - a / 2 * total**2).sum() - charge @ x)


# --- the direct solver ---


@pytest.mark.parametrize(("size", "degree"), [(3, None), (20, None), (40, 5), (100, 8)])
def test_within_a_thousandth_of_the_central_optimum(size, degree):
    game = market(size, size, degree)
    found, best = solve_bilateral(*game), central(*game)
    assert found.converged
    assert found.primal <= 1e-4
    assert found.dual <= 1e-4
    assert best * (1 - 1e-3) <= found.welfare <= best * (1 + 1e-5)
    assert found.gap <= 1e-3
    assert found.welfare / (1 - found.gap) >= best * (1 - 1e-5)  # the reported bound is one


def test_agreement_keeps_to_the_bounds_and_the_order_of_edges():
    worth, cost, buyer, seller, mine, theirs = market(12, 9, 4, seed=3)
    found = solve_bilateral(worth, cost, buyer, seller, mine, theirs, tolerance=1e-6, gap=1e-5)
    assert (np.bincount(buyer, found.quantity, 12) <= worth.most + 1e-9).all()
    assert (np.bincount(seller, found.quantity, 9) <= cost.most + 1e-9).all()
    mixed = np.random.default_rng(0).permutation(buyer.size)
    again = solve_bilateral(
        worth, cost, buyer[mixed], seller[mixed], mine[mixed], theirs[mixed], tolerance=1e-6, gap=1e-5
    )
    np.testing.assert_allclose(again.quantity, found.quantity[mixed])


def test_a_fifth_of_the_messages_lost_and_still_converging():
    game = market(30, 30, 6, seed=2)
    found = solve_bilateral(*game, lost_per_mille=200, seed=5)
    assert found.converged
    assert found.gap <= 1e-3
    assert found.welfare == pytest.approx(central(*game), rel=1e-3)
    again = solve_bilateral(*game, lost_per_mille=200, seed=5)
    assert (again.quantity == found.quantity).all()
    assert again.rounds == found.rounds
    assert solve_bilateral(*game, lost_per_mille=200, seed=6).rounds != found.rounds


def test_plain_twin_gives_the_same():
    game = market(4, 5, seed=4)
    fast = solve_bilateral(*game, lost_per_mille=100)
    plain = solve_bilateral(*game, lost_per_mille=100, step=negotiate.twin())
    assert fast.rounds == plain.rounds
    np.testing.assert_allclose(fast.quantity, plain.quantity, rtol=1e-9, atol=1e-9)


def test_no_partner_no_trade():
    worth, cost, *_ = market(3, 3)
    none, nothing = np.zeros(0, np.int64), np.zeros(0)
    found = solve_bilateral(worth, cost, none, none, nothing, nothing)
    assert found.quantity.size == 0
    assert found.welfare == 0


def test_rounds_end():
    assert not solve_bilateral(*market(10, 10), rounds_max=3).converged


def test_a_straight_curve_is_refused():
    worth, cost, *rest = market(2, 2)
    with pytest.raises(InvariantError, match="strictly convex"):
        solve_bilateral(Curves(np.zeros(2), worth.b, worth.most), cost, *rest)


# --- the rules, by quotes ---


def negotiated(rule, cohort, expected, context=None):
    """Let the members answer until the rule clears; return the last clearing and the number of rounds."""
    view, call, memory, number, context = View(np.array(expected)), Call("p", 0, 1), None, 0, context or Context()
    for _ in range(1000):
        orders = cohort.respond(call, view)
        orders = orders.replace(id=np.arange(number, number + len(orders)))
        number += len(orders)
        memory, reply = rule.step(memory, orders, context)
        if isinstance(reply, Clearing):
            return reply, call.round
        assert isinstance(reply, Quote)
        call = Call("p", 0, 1, reply.round, reply.quotes)
    raise AssertionError


def two_agents(case, charge, penalty=1.0, spread=False):
    one, other = case["buyer"], case["seller"]
    return QuadraticMembers(
        np.array([8, 9], np.int32),
        np.array([one["a"], other["a"]], float),
        np.array([one["b"], 0.0]),
        np.array([0.0, other["b"]]),
        penalty,
        charge // 2,
        spread,
    )


def test_two_agents_as_in_the_closed_form():
    case, expected = (json.loads((GOLDEN / name).read_text()) for name in ("case.json", "expected.json"))
    net = [[case["buyer"]["most"], -case["seller"]["most"]]]
    for charge, lots, price in zip(
        case["charge_ticks"], expected["quantity_lots"], expected["energy_price_ticks"], strict=True
    ):
        rule = BilateralAdmm(tolerance=1e-4, charge_ticks=charge)
        clearing, _ = negotiated(rule, two_agents(case, charge), net)
        assert clearing.trades.quantity.sum() == pytest.approx(lots, abs=1)
        curves = [
            Curves(*(np.array([float(case[who][key])]) for key in ("a", "b", "most")))
            for who in case
            if who in ("buyer", "seller")
        ]
        nought = np.zeros(1, np.int64)
        direct = solve_bilateral(*curves, nought, nought, *[np.array([charge / 2])] * 2, tolerance=1e-7, gap=1e-6)
        assert direct.quantity[0] == pytest.approx(lots, abs=0.01)
        if price is not None:
            assert clearing.report["settled"] == 1
            assert clearing.trades.buy_price.tolist() == pytest.approx([price + charge // 2], abs=2)
            assert clearing.trades.sell_price.tolist() == pytest.approx([price - charge // 2], abs=2)
            assert direct.price[0] == pytest.approx(price, abs=0.1)


def test_price_adjustment_finds_the_price_of_two_spread_agents():
    case = json.loads((GOLDEN / "case.json").read_text())
    clearing, rounds = negotiated(PriceAdjustment(), two_agents(case, 0, 1.0, spread=True), [[2000, -2000]])
    # A taste for spreading adds the penalty to both slopes: 3000 - 3 Q = 1500 + 2 Q.
    assert clearing.trades.quantity.sum() == pytest.approx(300, abs=2)
    assert clearing.trades.buy_price.tolist() == pytest.approx([2100], abs=5)
    assert rounds < 60


def crowd(members, seed=1, penalty=3.0):
    rng = np.random.default_rng(seed)
    net = rng.integers(200, 1500, (1, members)) * np.where(np.arange(members) % 2 == 0, 1, -1)
    a, buy, sell = rng.uniform(0.5, 2, members), rng.uniform(2000, 3000, members), rng.uniform(800, 1800, members)
    return QuadraticMembers(np.arange(8, 8 + members, dtype=np.int32), a, buy, sell, penalty), net


def welfare(cohort, clearing):
    size = 8 + cohort.members.size
    bought = np.bincount(clearing.trades.buyer, clearing.trades.quantity, size)[8:]
    sold = np.bincount(clearing.trades.seller, clearing.trades.quantity, size)[8:]
    worth = cohort.buy * bought - cohort.a / 2 * bought**2
    return float((worth - cohort.sell * sold - cohort.a / 2 * sold**2).sum())


def test_negotiation_by_quotes_comes_near_the_direct_solution():
    cohort, net = crowd(20)
    clearing, rounds = negotiated(BilateralAdmm(penalty=3.0), cohort, net)
    buys, sells = np.arange(0, 20, 2), np.arange(1, 20, 2)
    edges = complete(10, 10)
    curves = (
        Curves(cohort.a[buys], cohort.buy[buys], net[0, buys].astype(float)),
        Curves(cohort.a[sells], cohort.sell[sells], -net[0, sells].astype(float)),
    )
    best = solve_bilateral(*curves, *edges, np.zeros(100), np.zeros(100))
    assert clearing.report["settled"] == 1
    assert rounds < 100
    assert 0.99 * best.welfare <= welfare(cohort, clearing) <= 1.001 * best.welfare


def test_members_who_do_not_give_way_end_the_negotiation_all_the_same():
    book = book_of([(8, 1, 10, 300), (9, -1, 4, 100), (10, -1, 4, 120)])
    memory, reply = BilateralAdmm().step(None, book, Context())
    for _ in range(500):
        if isinstance(reply, Clearing):
            break
        quotes = reply.quotes
        both = Orders(
            np.arange(4),
            np.concatenate((quotes.buyer, quotes.seller)),
            np.zeros(4, np.int32),
            np.zeros(4, np.int32),
            np.array([1, 1, -1, -1]),
            np.array([10, 10, 4, 4]),
            np.array([300, 300, 100, 120]),
            np.concatenate((quotes.seller, quotes.buyer)),
        )
        memory, reply = BilateralAdmm().step(memory, both, Context())
    assert reply.trades.quantity.tolist() == [4, 4]


# --- partners, charges, preferences ---


def test_who_names_partners_is_asked_about_them_only():
    book = book_of([(8, 1, 10, 300), (9, 1, 10, 300), (10, -1, 4, 100), (11, -1, 4, 120)])
    _, asked = BilateralAdmm().step(None, book.replace(partner=np.array([10, -1, -1, 9])), Context())
    assert list(zip(asked.quotes.buyer.tolist(), asked.quotes.seller.tolist(), strict=True)) == [
        (8, 10),
        (9, 10),
        (9, 11),
    ]


def test_partners_are_bounded_and_evenly_spread():
    rows = [(8 + n, 1 if n < 30 else -1, 5, 200 if n < 30 else 100) for n in range(60)]
    _, asked = BilateralAdmm(partners_max=4).step(None, book_of(rows), Context())
    assert np.bincount(asked.quotes.buyer)[8:38].max() <= 4
    assert np.bincount(asked.quotes.seller)[38:].max() <= 4
    assert np.bincount(asked.quotes.seller)[38:].min() >= 1


def test_first_quote_lies_between_the_limits_and_heeds_preferences():
    book = book_of([(8, 1, 10, 300), (9, -1, 4, 100)])
    _, asked = BilateralAdmm().step(None, book, Context())
    assert asked.quotes.price.tolist() == [200]
    wants = Preferences(np.array([8]), np.array([9]), np.array([40]))
    _, asked = BilateralAdmm().step(None, book, Context(preferences=wants))
    assert asked.quotes.price.tolist() == [220]


def test_premiums_by_pair():
    said = Preferences(np.array([9, 8]), np.array([8, 10]), np.array([7, -3]))
    assert premiums(said, np.array([8, 9, 9, 8]), np.array([10, 8, 10, 9])).tolist() == [-3, 7, 0, 0]
    assert premiums(Preferences.empty(), np.array([8]), np.array([9])).tolist() == [0]


def test_grid_charges():
    nought = np.zeros(3, np.int8)
    places = Profiles(
        np.array([10, 8, 9]), np.array([0, 0, 3000]), np.array([900, 0, 4000]), nought, nought.astype(np.int32)
    )
    buyer, seller = np.array([8, 8]), np.array([9, 10])
    assert pair_charges("unique", 5, buyer, seller, Profiles.empty()).tolist() == [5, 5]
    assert pair_charges("distance", 10, buyer, seller, places).tolist() == [50, 9]
    assert pair_charges("zonal", 10, buyer, seller, places).tolist() == [70, 0]
    assert pair_charges("distance", 10, buyer, np.array([9, 11]), places) == Reject.UNKNOWN_MEMBER
    assert [part.tolist() for part in halves(np.array([5, 4, 0]))] == [[3, 2, 0], [2, 2, 0]]


def test_a_distance_without_places_is_refused_with_a_code():
    book = book_of([(8, 1, 10, 300), (9, -1, 4, 100)])
    _, reply = BilateralAdmm(charge_rule="distance", charge_ticks=10).step(None, book, Context())
    assert reply.refused == Reject.UNKNOWN_MEMBER


def test_nobody_names_a_price():
    book = book_of([(8, 1, 10, ANY_PRICE), (9, -1, 4, -ANY_PRICE)])
    assert BilateralAdmm().step(None, book, Context())[1].refused == Reject.NO_PRICE
    _, asked = BilateralAdmm().step(None, book, Context(tariff=Tariff.flat(300, 100)))
    assert asked.quotes.price.tolist() == [200]


def test_one_side_only_trades_nothing():
    memory, reply = BilateralAdmm().step(None, book_of([(8, 1, 10, 300)]), Context())
    assert memory is None
    assert reply.unusable is None
    assert len(reply.trades) == 0


@pytest.mark.parametrize("bad", [{"penalty": 0.0}, {"charge_rule": "magic"}, {"charge_ticks": -1}, {"rounds_max": 0}])
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InvariantError):
        BilateralAdmm(**bad)
