"""Answers of members with quadratic curves, against SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from wattle.agents.cohort import View
from wattle.agents.quadratic import QuadraticMembers, answer, whole_lots
from wattle.core.messages import Call
from wattle.core.tables import BUY, SELL, Quotes


def objective(wanted, cost, a, top, previous, penalty):
    total = wanted.sum()
    change = wanted - previous
    return -(top * total - a / 2 * total**2 - cost @ wanted - penalty / 2 * change @ change)


@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize("seed", range(12))
def test_answer_is_the_optimum(side, seed):
    rng = np.random.default_rng(seed)
    quotes, previous = rng.uniform(10, 40, 5), rng.uniform(0, 8, 5)
    a, b, penalty = rng.uniform(0.2, 2), rng.uniform(15, 45), rng.uniform(0.3, 3)
    least = float(rng.uniform(0, 10)) if seed % 3 == 0 else 0.0
    most = least + float(rng.uniform(1, 20))
    found = answer(quotes, a, b, (least, most), side=side, previous=previous, penalty=penalty)
    cost, top = (quotes, b) if side == BUY else (-quotes, -b)
    best = minimize(
        objective,
        np.full(5, (least + most) / 10),
        (cost, a, top, previous, penalty),
        "SLSQP",
        bounds=[(0, None)] * 5,
        constraints=[
            {"type": "ineq", "fun": lambda wanted: most - wanted.sum()},
            {"type": "ineq", "fun": lambda wanted: wanted.sum() - least},
        ],
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert (found >= 0).all()
    assert least - 1e-9 <= found.sum() <= most + 1e-9
    assert objective(found, cost, a, top, previous, penalty) <= best.fun + 1e-6


def test_without_inertia_the_best_quote_gets_all():
    quotes = np.array([30.0, 20.0, 20.0])
    assert answer(quotes, 1.0, 50.0, (0, 100)).tolist() == [0, 30, 0]
    assert answer(quotes, 1.0, 50.0, (0, 10)).tolist() == [0, 10, 0]
    assert answer(quotes, 1.0, 10.0, (0, 100), side=SELL).tolist() == [20, 0, 0]
    assert answer(quotes, 1.0, 10.0, (3, 100)).tolist() == [0, 3, 0]
    assert answer(np.zeros(0), 1.0, 50.0, (0, 100)).size == 0


def test_too_dear_is_not_wanted():
    assert answer(np.array([60.0, 70.0]), 1.0, 50.0, (0, 100), penalty=2.0).tolist() == [0, 0]


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1e6), max_size=8))
def test_whole_lots_sum_to_the_rounded_sum(quantities):
    lots = whole_lots(np.array(quantities))
    assert lots.sum() in (0, round(sum(quantities)))
    assert (np.abs(lots - np.array(quantities)) <= 1.01).all()


def members(**more):
    return QuadraticMembers(
        np.array([8, 9], np.int32), np.array([2.0, 1.0]), np.array([3000.0, 0.0]), np.array([0.0, 1500.0]), **more
    )


def test_cohort_opens_with_limits_and_answers_named_pairs():
    cohort, view = members(penalty=1.0), View(np.array([[700, -600]]))
    book = cohort.respond(Call("p", 4, 5), view)
    assert book.side.tolist() == [1, -1]
    assert book.quantity.tolist() == [700, 600]
    assert book.limit.tolist() == [3000, 1500]
    quotes = Quotes(np.array([4]), np.array([0]), np.array([8]), np.array([9]), np.array([2000]))
    first = cohort.respond(Call("p", 4, 5, 1, quotes), view)
    assert first.partner.tolist() == [9, 8]
    assert first.quantity.tolist() == [333, 250]  # (3000 - 2000) / (2 + 1), (2000 - 1500) / (1 + 1)
    for number in range(2, 40):
        last = cohort.respond(Call("p", 4, 5, number, quotes), view)
    assert last.quantity.tolist() == [500, 500]  # where inertia no longer counts
    cohort.respond(Call("p", 4, 5), view)
    assert cohort.respond(Call("p", 4, 5, 1, quotes), view) == first


def test_spread_members_keep_nothing():
    cohort, view = members(penalty=1.0, spread=True), View(np.array([[700, -600]]))
    quotes = Quotes(np.array([0]), np.array([0]), np.array([8]), np.array([9]), np.array([2000]))
    answers = [cohort.respond(Call("p", 0, 1, number, quotes), view) for number in (1, 2)]
    assert answers[0] == answers[1]


def test_strangers_quotes_are_not_answered():
    quotes = Quotes(np.array([0]), np.array([0]), np.array([18]), np.array([19]), np.array([2000]))
    assert len(members().respond(Call("p", 0, 1, 1, quotes), View(np.array([[700, -600]])))) == 0
