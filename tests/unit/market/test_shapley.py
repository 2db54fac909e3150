"""The Shapley value against its axioms and its definition, its sampling error, and its limit for many members."""

from fractions import Fraction
from itertools import permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, ANYONE, Orders
from wattle.market.coalition import Game, all_values, blocking_coalition, coalition_values
from wattle.market.shapley import (
    REPEATS,
    AsymptoticShapley,
    Shapley,
    _added,
    _shapley_of_types,
    exact_shares,
    sampled_shares,
)
from wattle.testing.generators import book_of

RETAIL, FEED_IN = 30, 8
TARIFF = Tariff.flat(RETAIL, FEED_IN)
TABLES = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=n, max_size=n)
)


def game_of(table) -> Game:
    table = np.array(table, np.int64)
    return Game(np.arange(8, 8 + table.shape[0]), table)


def community(net) -> Game:
    net = np.asarray(net)
    return game_of(np.stack((np.maximum(net, 0), np.maximum(-net, 0)), axis=1))


def by_permutations(values) -> list[Fraction]:
    """Average what each member adds over all orders of joining."""
    n = len(values).bit_length() - 1
    sums = [0] * n
    for order in permutations(range(n)):
        bits = 0
        for i in order:
            sums[i] += int(values[bits | 1 << i]) - int(values[bits])
            bits |= 1 << i
    return [Fraction(total, factorial(n)) for total in sums]


def close(found, expected) -> bool:
    return np.allclose(found, [float(each) for each in expected], rtol=1e-12, atol=1e-9)


@given(TABLES)
def test_value_is_the_mean_over_all_orders_of_joining(table):
    game = game_of(table)
    assert close(exact_shares(game), by_permutations(all_values(game)))


@given(TABLES, st.permutations(range(5)))
def test_efficiency_symmetry_and_dummies(table, order):
    game = game_of([*table, table[0], [0, 0, 0]])  # a twin of the first and somebody without energy
    share = exact_shares(game)
    assert share.sum() == pytest.approx(game.worth, abs=1e-9)
    assert share[0] == pytest.approx(share[len(table)], abs=1e-9)
    assert share[-1] == 0
    order = [i for i in order if i < len(table)]
    assert close(exact_shares(game_of([table[i] for i in order])), exact_shares(game_of(table))[order])


@given(TABLES, TABLES)
def test_the_value_of_a_sum_is_the_sum_of_the_values(one, other):
    n = min(len(one), len(other))
    first, second = game_of(one[:n]), game_of(other[:n])
    both = by_permutations(all_values(first) + all_values(second))
    assert close(exact_shares(first) + exact_shares(second), both)


def test_sixteen_members_are_exact():
    game = community(np.random.default_rng(2).integers(-50, 50, 16))
    values, n = all_values(game), 16
    bits = np.arange(1 << n)
    size = np.array([int(b).bit_count() for b in bits])
    weight = np.array(
        [1 / (n * float(Fraction(factorial(n - 1), factorial(s) * factorial(n - 1 - s)))) for s in range(n)]
    )
    share = exact_shares(game)
    for i in range(n):
        without = bits[bits >> i & 1 == 0]
        added = values[without | 1 << i] - values[without]
        assert share[i] == pytest.approx((weight[size[without]] * added).sum(), rel=1e-10)


def test_many_equal_members_are_counted():
    # m sellers and n buyers of one lot: the closed form of Shapley and Shubik 1969.
    for sellers, buyers in ((1, 2), (2, 3), (7, 4), (30, 32), (100, 100)):
        share = exact_shares(community([-1] * sellers + [1] * buyers))
        added = Fraction(0)  # a seller adds a pair when more buyers than sellers stand before him
        for k in range(sellers):
            for j in range(k + 1, buyers + 1):
                ways = Fraction(choose(sellers - 1, k) * choose(buyers, j), choose(sellers + buyers - 1, k + j))
                added += ways / (sellers + buyers)
        assert close(share[:sellers], [added] * sellers)
        assert share.sum() == pytest.approx(min(sellers, buyers))


def choose(n, k):
    return factorial(n) // factorial(k) // factorial(n - k)


def test_too_many_different_members_are_not_listed():
    assert exact_shares(community(range(1, 18))).tolist() == [0] * 17  # nobody sells: nothing to list
    assert exact_shares(community([*range(1, 17), -5])) is None
    assert exact_shares(community([1, -1] * 600)) is None


def test_what_a_member_makes_by_himself_is_his():
    # 20 members who both buy and sell, equal beyond what they keep to themselves.
    rng = np.random.default_rng(3)
    own = rng.integers(0, 1000, 20)
    net = np.array([5, -4] * 10)
    table = np.stack((np.maximum(net, 0), np.maximum(-net, 0)), axis=1) + own[:, None]
    assert close(exact_shares(game_of(table)), exact_shares(community(net)) + own)
    share, error = sampled_shares(game_of(table), 256, np.random.default_rng(1))
    assert share.sum() == pytest.approx(own.sum() + 40)
    assert (error >= 0).all()


def test_the_stated_error_is_honest():
    scores, errors = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        game = community(rng.integers(-40, 40, 13))
        exact = exact_shares(game)
        if game.worth == 0:
            continue
        share, error = sampled_shares(game, 64 * REPEATS, rng)
        assert share.sum() == pytest.approx(game.worth)
        scores.append((share - exact)[error > 0] / error[error > 0])
        errors.append(np.abs(share - exact).max() / exact.mean())
    score = np.concatenate(scores)
    assert 0.8 < np.sqrt((score**2).mean()) < 1.3
    assert abs(score.mean()) < 0.1
    assert np.mean(errors) < 0.05


def test_sampling_keeps_symmetry_and_dummies():
    share, _ = sampled_shares(community([7, 7, 3, 0, -9, -9, 1]), 64, np.random.default_rng(0))
    assert share[0] == share[1]
    assert share[4] == share[5]
    assert share[3] == 0


def test_the_error_falls_with_the_root_of_the_samples():
    game = community(np.random.default_rng(5).integers(-50, 50, 200))
    few, many = (sampled_shares(game, n, np.random.default_rng(1))[1].mean() for n in (256, 256 * 64))
    assert many < few / 6


@settings(max_examples=10)
@given(st.integers(0, 99))
def test_kernels_and_twins_agree(seed):
    rng = np.random.default_rng(seed)
    gain, count = rng.integers(0, 99, (3, 2)), rng.integers(1, 4, 3)
    values = coalition_values(gain, count)
    assert np.array_equal(_shapley_of_types(values, count), _shapley_of_types.twin()(values, count))
    draw = rng.integers(0, 1 << 30, (32, 3), dtype=np.int32)
    level = rng.integers(0, 1 << 30, 32)
    assert np.array_equal(_added(gain, draw, level, 16), _added.twin()(gain, draw, level, 16))


# --- the rules ---


def day(members, intervals, seed=0) -> Orders:
    rng = np.random.default_rng(seed)
    net = rng.integers(1, 400, (intervals, members)) * rng.choice([1, -1], (intervals, members))
    interval, who = np.nonzero(net)
    side = np.sign(net[interval, who])
    rows = interval.size
    zone, partner = np.zeros(rows, int), np.full(rows, ANYONE)
    return Orders(np.arange(rows), who + 8, zone, interval, side, np.abs(net[interval, who]), side * ANY_PRICE, partner)


def test_samples_are_reported_and_the_same_again():
    book = day(40, 3)
    chances = [np.random.default_rng(seed) for seed in range(3)]  # the chance of the gate plays no part
    cleared = [
        Shapley(seed=seed).step(None, book, Context(tariff=TARIFF, rng=rng))[1]
        for seed, rng in zip((4, 4, 5), chances, strict=True)
    ]
    assert cleared[0].transfers == cleared[1].transfers
    assert cleared[0].transfers != cleared[2].transfers
    report = cleared[0].report
    assert report["groups sampled"] == 3
    assert 0 < report["standard error, % of mean share"] < report["largest standard error, % of mean share"] < 10
    alone = Shapley(seed=4).step(None, book.take(book.interval == 1), Context(tariff=TARIFF))
    whole = cleared[0].transfers
    assert whole.take(whole.interval == 1) == alone[1].transfers


def test_exact_groups_report_no_error():
    clearing = Shapley().step(None, day(6, 3), Context(tariff=TARIFF))[1]
    assert clearing.report == {"groups sampled": 0}


def test_samples_are_limited():
    for samples in (0, 33, -32, 1 << 21):
        with pytest.raises(InvariantError, match="samples"):
            Shapley(samples=samples)
    with pytest.raises(InvariantError, match="seed"):
        Shapley(seed=-1)
    for rule in (Shapley(), AsymptoticShapley()):
        assert rule.step(None, day(2, 1), Context())[1].refused == Reject.NO_TARIFF


def test_net_metering_leaves_nothing_to_share():
    clearing = Shapley().step(None, day(5, 2), Context(tariff=Tariff.flat(30, 30)))[1]
    assert len(clearing.transfers) == 0
    assert (clearing.trades.buy_price == 30).all()


def price(rows):
    return AsymptoticShapley().step(None, book_of(rows), Context(tariff=TARIFF))[1].prices.price.tolist()


def test_the_asymptotic_price_follows_the_shortage():
    buyer, seller = (8, 1, 6, ANY_PRICE), (9, -1, 6, -ANY_PRICE)
    assert price([buyer, seller, (10, -1, 1, -ANY_PRICE)]) == [FEED_IN]
    assert price([buyer, seller, (10, 1, 1, ANY_PRICE)]) == [RETAIL]
    assert price([buyer, seller]) == [(RETAIL + FEED_IN) // 2]
    assert price([buyer]) == []


@pytest.mark.parametrize(("net", "limit"), [([5, -2], 0), ([2, -5], 1), ([4, -4], 0.5)])
def test_the_value_of_many_copies_tends_to_the_asymptotic_price(net, limit):
    """`limit` is the part of the gain of a lot that goes to buyers."""
    distance = []
    for copies in (2, 16, 200):
        share = exact_shares(community(np.repeat(net, copies)))[::copies]
        wanted = [x * limit if x > 0 else -x * (1 - limit) for x in net]
        distance.append(np.abs(share - wanted).sum() / sum(wanted))
    assert distance[0] > distance[1] > distance[2] or max(distance) < 1e-9
    assert distance[2] < 0.03


@given(st.lists(st.integers(-9, 9).filter(bool), min_size=2, max_size=7))
def test_the_asymptotic_price_lies_in_the_core(net):
    game = community(net)
    demand, supply = game.gain.sum(axis=0)
    part = 0.5 if demand == supply else float(supply > demand)
    assert blocking_coalition(all_values(game), game.gain @ np.array([part, 1 - part])) is None
