"""The nucleolus against published games, closed forms, Kohlberg's criterion and linear programmes of SciPy."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE
from wattle.market.coalition import Game, all_values, blocking_coalition, payoffs_of_all, pool_of
from wattle.market.nucleolus import Nucleolus, closed_form, least_core, nucleolus, nucleolus_of
from wattle.market.shapley import AsymptoticShapley
from wattle.testing.conformance import shown
from wattle.testing.generators import book_of, part
from wattle.testing.small_games import in_core
from wattle.testing.trial import Trial

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
TARIFF = Tariff.flat(30, 8)


def table(worth, n):
    """Return the worth of all coalitions from a function of the members inside."""
    return np.array([worth([i for i in range(n) if bits >> i & 1]) for bits in range(1 << n)], float)


def community(net) -> Game:
    net = np.asarray(net)
    return Game(np.arange(8, 8 + net.size), np.stack((np.maximum(net, 0), np.maximum(-net, 0)), axis=1))


def by_programmes(values):
    """Return the prenucleolus by the textbook: after each programme fix every coalition whose excess cannot fall."""
    n = len(values).bit_length() - 1
    holds = np.array([[bits >> i & 1 for i in range(n)] for bits in range(1 << n)], float)
    fixed, excess = [(1 << n) - 1], [0.0]
    free = list(range(1, (1 << n) - 1))
    bounds = [(None, None)] * (n + 1)
    while np.linalg.matrix_rank(holds[fixed]) < n:
        equal = np.hstack((holds[fixed], np.zeros((len(fixed), 1))))
        right = values[fixed] - excess
        rows = -np.hstack((holds[free], np.ones((len(free), 1))))
        least = linprog([0] * n + [1], rows, -values[free], equal, right, bounds)
        assert least.success
        level = least.fun
        settled = []
        for bits in free:  # can this coalition have less than the level while no other has more?
            limit = np.hstack((-holds[free], np.zeros((len(free), 1))))
            most = linprog([*-holds[bits], 0], limit, level - values[free] + 1e-10, equal, right, bounds)
            if values[bits] + most.fun > level - 1e-7:
                settled.append(bits)
        assert settled
        fixed, excess = fixed + settled, [*excess, *([level] * len(settled))]
        free = [
            bits for bits in free if np.linalg.matrix_rank(holds[[*fixed, bits]]) > np.linalg.matrix_rank(holds[fixed])
        ]
        if not free:
            break
    return np.linalg.lstsq(holds[fixed], values[fixed] - excess, rcond=None)[0]


def test_the_talmud():
    folder = GOLDEN / "talmud-three-creditors"
    game = json.loads((folder / "game.json").read_text(encoding="utf-8"))
    wanted = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["nucleolus"]
    claims = np.array(game["claims"])
    for estate, shares in zip(game["estates"], wanted, strict=True):
        values = table(lambda s, left=estate: max(0, left - claims.sum() + claims[s].sum()), 3)
        assert np.allclose(nucleolus(values), shares, atol=1e-6)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6), st.floats(0, 1))
def test_bankruptcy_follows_the_rule_of_the_contested_garment(claims, part):
    """Aumann and Maschler 1985: equal awards up to half of each claim, beyond that equal losses."""
    claims = np.array(claims, float)
    estate = part * claims.sum()
    values = table(lambda s: max(0.0, estate - claims.sum() + claims[s].sum()), claims.size)
    if estate <= claims.sum() / 2:
        wanted = level(claims / 2, estate)
    else:
        wanted = claims - level(claims / 2, claims.sum() - estate)
    assert np.allclose(nucleolus(values), wanted, atol=1e-6 * max(estate, 1))


def level(caps, amount):
    """Fill to one level: min(cap, height) with the height at which it sums to the amount."""
    low, high = 0.0, caps.max()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(caps, middle).sum() < amount else (low, middle)
    return np.minimum(caps, high)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 30), min_size=16, max_size=16), st.integers(2, 4))
def test_any_game_agrees_with_scipy(values, n):
    values = np.array([0, *values[1 : 1 << n]], float)
    assert np.allclose(nucleolus(values), by_programmes(values), atol=1e-5)


@settings(max_examples=25)
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=5))
def test_communities_agree_with_scipy(net):
    game = community(net)
    values = all_values(game).astype(float)
    expected = by_programmes(values)
    assert np.allclose(nucleolus(values), expected, atol=1e-5)
    assert np.allclose(nucleolus_of(game), expected, atol=1e-5)


@given(st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=1, max_size=7))
def test_communities_with_limits_are_in_the_core(gain):
    game = Game(np.arange(len(gain)), np.array(gain))
    share = nucleolus_of(game)
    assert share.sum() == pytest.approx(game.worth, abs=1e-6)
    assert blocking_coalition(all_values(game), share, 1e-6) is None
    assert np.allclose(share, nucleolus(all_values(game)), atol=1e-6)


@pytest.mark.parametrize("rule", [Nucleolus(), AsymptoticShapley()], ids=["nucleolus", "asymptotic"])
def test_cleared_books_are_in_the_core(rule):
    """The check behind the claim IN_CORE, on books without named partners; those are refused."""
    for case in part(3, 200, ["small", "price takers", "member on both sides", "tiny quantities", "ties"]):
        trial = Trial(rule, case)
        if trial.outcome.clearing.refused is None:
            complaint = in_core(trial)
            assert complaint is None, f"{complaint}\n{shown(case)}"


def test_assignment_games():
    # Two traders divide their gain equally; the owner of the scarce glove gets all of it.
    assert np.allclose(nucleolus(all_values(community([1, -1]))), [0.5, 0.5])
    assert np.allclose(nucleolus(all_values(community([1, 1, -1]))), [0, 0, 1])
    # Boehm-Bawerk's horse market, one lot each: in the core all trade at one price between the best that stays out
    # and the worst that comes in, here 26 to 27, and the nucleolus takes its middle (Nunez and Rafels 2005).
    bids, asks = np.array([30, 28, 26]), np.array([10, 11, 27])
    rows = [(8 + i, 1, 1, bid) for i, bid in enumerate(bids)] + [(20 + i, -1, 1, ask) for i, ask in enumerate(asks)]
    game = pool_of(book_of(rows), Context()).games[0]
    assert np.allclose(nucleolus_of(game), [30 - 26.5, 28 - 26.5, 0, 26.5 - 10, 26.5 - 11, 0])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 30))
def test_one_seller_shares_half_with_whoever_is_needed(demand, supply):
    """A big boss game (Muto et al. 1988): each buyer gets half of what the community loses without him."""
    total = sum(demand)
    needed = [min(total, supply) - min(total - each, supply) for each in demand]
    share = nucleolus_of(community([*demand, -supply]))
    assert np.allclose(share[:-1], np.array(needed) / 2, atol=1e-6)


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=7))
def test_closed_forms_are_those_of_the_programmes(net):
    net = [*net, -sum(net)] if len(net) % 2 else net  # half of them in balance
    game = community(net)
    found = closed_form(game)
    if found is not None:
        assert np.allclose(found, nucleolus(all_values(game)), atol=1e-6)
    if sum(net) == 0:
        assert np.allclose(nucleolus_of(game), np.abs(net) / 2)


def test_equal_members_are_counted():
    net = [5, 5, 5, 5, -3, -3, -9]
    assert np.allclose(nucleolus_of(community(net)), nucleolus(all_values(community(net))), atol=1e-6)
    many = nucleolus_of(community([4] * 30 + [-7] * 17 + [0] * 40))
    assert many.sum() == pytest.approx(119)
    assert np.ptp(many[:30]) == 0


def test_sealed_by_kohlberg():
    """The coalitions of the largest excess, and so on downwards, are balanced: no shift of money helps them all."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.integers(0, 40, 16).astype(float)
        values[0] = 0
        share = nucleolus(values)
        excess = (values - payoffs_of_all(share))[1:-1]
        holds = np.array([[bits >> i & 1 for i in range(4)] for bits in range(1, 15)], float)
        for bound in np.unique(excess.round(6)):
            top = holds[excess > bound - 1e-5]
            # max t: weights >= t with sum of weights x coalition = everybody
            rows = np.vstack((top.T,))
            weights = linprog(
                [0] * len(top) + [-1],
                np.hstack((-np.eye(len(top)), np.ones((len(top), 1)))),
                np.zeros(len(top)),
                np.hstack((rows, np.zeros((4, 1)))),
                np.ones(4),
                [(0, None)] * len(top) + [(0, 1)],
            )
            assert weights.success
            assert -weights.fun > 1e-6


def test_the_least_core_of_a_game_without_a_core():
    majority = table(lambda s: float(len(s) >= 2), 3)
    epsilon, share = least_core(majority)
    assert epsilon == pytest.approx(1 / 3)
    assert np.allclose(share, 1 / 3)
    assert blocking_coalition(majority, share) is not None
    assert blocking_coalition(majority, share, epsilon + 1e-9) is None


@given(st.lists(st.integers(0, 20), min_size=16, max_size=16))
def test_the_least_core_agrees_with_scipy(values):
    values = np.array([0, *values[1:]], float)
    holds = np.array([[bits >> i & 1 for i in range(4)] for bits in range(16)], float)
    rows = -np.hstack((holds[1:-1], np.ones((14, 1))))
    least = linprog([0] * 4 + [1], rows, -values[1:-1], [[1] * 4 + [0]], [values[-1]], [(None, None)] * 5)
    epsilon, share = least_core(values)
    assert epsilon == pytest.approx(least.fun, abs=1e-6)
    assert blocking_coalition(values, share, epsilon + 1e-6) is None


def test_sizes_that_cannot_be():
    with pytest.raises(InvariantError, match="power of two"):
        nucleolus(np.zeros(7))
    with pytest.raises(InvariantError, match="expected 1 to 12"):
        nucleolus(np.zeros(1 << 13))
    with pytest.raises(InvariantError, match="one member alone"):
        least_core(np.zeros(2))
    assert nucleolus(np.array([0.0, 3.0])).tolist() == [3.0]
    assert nucleolus(np.zeros(8)).tolist() == [0, 0, 0]


def test_twelve_members_are_solved_and_thirteen_refused():
    net = [3, 5, 7, 11, 13, 17, 90, -19, -23, -29, -31, -40]
    share = nucleolus_of(community(net))
    assert blocking_coalition(all_values(community(net)), share, 1e-6) is None
    net = [*net, 41]
    rows = [(8 + i, 1 if x > 0 else -1, abs(x), ANY_PRICE if x > 0 else -ANY_PRICE) for i, x in enumerate(net)]
    assert Nucleolus().step(None, book_of(rows), Context(tariff=TARIFF))[1].refused == Reject.TOO_MANY_MEMBERS
    rows[-1] = (8 + 12, 1, 400, ANY_PRICE)  # without the last and largest there would not be enough
    rows += [(30, 1, 400, ANY_PRICE)]  # now nobody is needed
    clearing = Nucleolus().step(None, book_of(rows), Context(tariff=TARIFF))[1]
    assert clearing.refused is None
    assert clearing.transfers.amount[clearing.transfers.payee >= 8].sum() == 142 * 11
