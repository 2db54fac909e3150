"""Traders for auctions: nobody sane quotes at a loss, each learns in the direction of its paper, all are pure."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.agents.strategies import (
    STRATEGIES,
    AdaptiveAggressive,
    AggressiveMind,
    GjerstadDickhaut,
    Heard,
    State,
    View,
    ZeroIntelligencePlus,
    ZipMind,
    _bent,
    _straight,
)

CAREFUL = [name for name in STRATEGIES if name != "zi-u"]
EMPTY = View(None, None, 200)
heard = st.builds(Heard, st.sampled_from((1, -1)), st.integers(1, 200), st.booleans(), st.booleans())


def rng(seed=1):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", CAREFUL)
@given(
    events=st.lists(heard, max_size=12),
    side=st.sampled_from((1, -1)),
    limit=st.integers(1, 200),
    bid=st.none() | st.integers(1, 100),
    ask=st.none() | st.integers(101, 200),
)
def test_no_quote_brings_a_loss_or_leaves_the_range(name, events, side, limit, bid, ask):
    strategy, chance = STRATEGIES[name], rng()
    state = strategy.begin(side, limit, chance)
    for event in events:
        state = strategy.learn(state, event, chance)
        price = strategy.quote(state, View(bid, ask, 200), chance)
        assert price is None or (side * (limit - price) >= 0 and 1 <= price <= 200)


@pytest.mark.parametrize("name", STRATEGIES)
def test_same_seed_same_quotes_and_inputs_untouched(name):
    def told():
        strategy, chance, prices = STRATEGIES[name], rng(7), []
        state = strategy.begin(-1, 80, chance)
        for event in (Heard(1, 100, True), Heard(-1, 120, False), Heard(1, 60, False), Heard(-1, 90, True)):
            before = pickle.dumps(state)
            later = strategy.learn(state, event, chance)
            assert pickle.dumps(state) == before
            state = later
            prices.append(strategy.quote(state, EMPTY, chance))
        return prices

    assert told() == told()


def test_zero_intelligence_draws_from_the_whole_range():
    chance = rng()
    bound = [STRATEGIES["zi-c"].quote(State(1, 50), EMPTY, chance) for _ in range(3000)]
    free = [STRATEGIES["zi-u"].quote(State(1, 50), EMPTY, chance) for _ in range(3000)]
    assert (min(bound), max(bound)) == (1, 50)
    assert (min(free), max(free)) == (1, 200)
    assert abs(np.mean(bound) - 25.5) < 1
    assert STRATEGIES["zi-c"].quote(State(-1, 201), EMPTY, chance) is None


def test_zip_starts_in_the_published_ranges():
    for side in (1, -1):
        for seed in range(50):
            mind = ZeroIntelligencePlus().begin(side, 100, rng(seed)).mind
            assert 0.05 <= -side * mind.margin <= 0.35
            assert 0.1 <= mind.rate <= 0.5
            assert 0 <= mind.momentum <= 0.1


@pytest.mark.parametrize(
    ("side", "event", "moves"),
    [
        (-1, Heard(1, 150, True), +1),  # somebody sold dearer: ask for more
        (-1, Heard(1, 90, True), -1),  # a bid was taken that I would not have got: ask for less
        (-1, Heard(-1, 90, False), -1),  # even a cheaper offer was refused: ask for less
        (-1, Heard(-1, 90, False, active=False), 0),  # who has nothing left does not lower
        (-1, Heard(1, 90, False), 0),  # a refused bid tells a seller nothing
        (1, Heard(-1, 60, True), -1),  # somebody bought cheaper: bid less
        (1, Heard(-1, 140, True), +1),
        (1, Heard(1, 140, False), +1),
    ],
)
def test_zip_moves_its_price_as_in_the_paper(side, event, moves):
    strategy = ZeroIntelligencePlus()
    limit = 80 if side < 0 else 160
    state = State(side, limit, ZipMind(margin=0.5 if side < 0 else -0.25, rate=0.3, momentum=0.0))
    later = strategy.learn(state, event, rng())
    assert np.sign(limit * (1 + later.mind.margin) - 120) == moves


def test_widrow_hoff_closes_the_stated_part_of_the_gap():
    strategy = ZeroIntelligencePlus(relative=0.0, absolute=0.0)
    state = State(-1, 100, ZipMind(margin=0.2, rate=0.25, momentum=0.0))
    assert strategy.learn(state, Heard(1, 160, True), rng()).mind.margin == pytest.approx(0.3)
    moving = State(-1, 100, ZipMind(margin=0.2, rate=0.25, momentum=0.1, push=4.0))
    assert strategy.learn(moving, Heard(1, 160, True), rng()).mind.margin == pytest.approx(0.2 + (0.4 + 9) / 100)


def test_gjerstad_dickhaut_by_hand():
    # Bids at 50 refused, at 60 taken: at 50 the belief is 0 of 1, at 60 it is 1; between lies a straight line.
    # (limit - b) (b - 50) / 10 for a limit of 100 grows up to 60, and above 60 the gain only falls.
    mind = (Heard(1, 50, False), Heard(1, 60, True))
    assert GjerstadDickhaut().quote(State(1, 100, mind), EMPTY, rng()) == 60
    assert GjerstadDickhaut().quote(State(1, 100, mind), View(None, 55, 200), rng()) == 55  # an offer lies ready


def test_gjerstad_dickhaut_forgets_all_but_the_last_trades():
    strategy = GjerstadDickhaut(memory=2)
    state = strategy.begin(1, 100, rng())
    for price in (10, 20, 30, 40):
        state = strategy.learn(state, Heard(1, price, False), rng())
        state = strategy.learn(state, Heard(1, price + 5, True), rng())
    assert [each.price for each in state.mind] == [30, 35, 40, 45]


@pytest.mark.parametrize("side", [1, -1])
def test_adaptive_aggressive_targets(side):
    strategy, limit = AdaptiveAggressive(), 100 + 50 * side
    state = State(side, limit, AggressiveMind(prices=(100,)))
    targets = [strategy._target(state, part, 200) for part in (-1.0, 0.0, 1.0)]
    assert targets == pytest.approx([0 if side > 0 else 200, 100, limit])
    beyond = State(side, 100 - 20 * side, AggressiveMind(prices=(100,)))
    assert strategy._target(beyond, 1.0, 200) == beyond.limit  # cannot trade at equilibrium: aims at the limit


@given(st.floats(0, 1), st.floats(-8, 2))
def test_the_bend_of_the_target_is_undone(part, shape):
    assert _straight(_bent(part, shape), shape) == pytest.approx(part, abs=1e-6)


def test_adaptive_aggressive_grows_bold_when_it_is_passed_over():
    strategy = AdaptiveAggressive()
    state = State(1, 150, AggressiveMind(prices=(100,)))
    bold = strategy.learn(state, Heard(1, 120, False), rng()).mind.aggressiveness
    patient = strategy.learn(state, Heard(-1, 80, True), rng()).mind.aggressiveness
    assert patient < 0 < bold
