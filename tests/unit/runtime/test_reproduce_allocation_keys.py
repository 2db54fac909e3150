"""Allocation keys and three kinds of fairness (Couraud et al. 2025)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from wattle.core.messages import Tariff
from wattle.runtime.price_taking import alone
from wattle.runtime.reproduce_allocation_keys import (
    AUCTION,
    FEED_IN,
    GLASS,
    HOMES,
    KEYS,
    OWN_PRICE,
    PRICE,
    PRIORITY,
    PRO_RATA,
    RETAIL,
    TARIFF,
    WITH_SUN,
    Community,
    contributions,
    draw,
    judge,
    least_first,
    survey,
)

SMALL = 20


def test_a_community_is_drawn_as_in_the_paper():
    one, same, other = (draw(np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert one.net.shape == (24 * 48, HOMES)
    assert ((one.net < 0).any(axis=0) == (np.arange(HOMES) < WITH_SUN)).all()
    assert (one.net == same.net).all()
    assert (one.net != other.net).any()
    assert one.buy.min() >= PRICE >= one.sell.max()  # all would trade at the price of the contract


def test_gains_by_hand():
    # One producer with 4 to spare, two consumers who want 6 and 2; the second bids more.
    community = Community(np.array([[-4, 6, 2]]), np.array([PRICE] * 2 + [PRICE + 9]), np.array([PRICE - 1] * 3))
    worth = int(TARIFF.retail[0]) - PRICE
    gain = {name: key(community).tolist() for name, key in KEYS.items()}
    assert gain[PRO_RATA] == [4 * worth, 3 * worth, worth]
    assert gain[GLASS] == gain[PRIORITY] != gain[PRO_RATA]
    assert gain[GLASS] == [4 * worth, 2 * worth, 2 * worth]
    assert gain[AUCTION] == [4 * worth, 2 * worth, 2 * worth]  # the better bid in full, the rest to the other
    assert sum(gain[OWN_PRICE]) == sum(gain[AUCTION])
    assert PRICE - int(TARIFF.feed_in[0]) == worth  # the middle


def test_who_gained_less_comes_first_the_next_day():
    net = np.zeros((96, 4), np.int64)
    net[0] = [-9, 1, 9, 9]
    net[48] = [-9, 6, 6, 6]
    worth = int(TARIFF.retail[0]) - PRICE
    community = Community(net, np.zeros(4, int), np.zeros(4, int))
    # Gains are 9, 1, 4, 4; the median is 4, so the three buyers come first, to one level.
    assert least_first(community)[1:].tolist() == [4 * worth, 7 * worth, 7 * worth]
    net[0] = [-9, 1, 3, 5]  # now 1 and 3 are in the lower half: 5 and 4 of the second day, the odd lot to the first
    assert least_first(community)[1:].tolist() == [(1 + 5) * worth, (3 + 4) * worth, 5 * worth]
    assert least_first(community, -1)[1:].tolist() == [(1 + 2) * worth, (3 + 1) * worth, (5 + 6) * worth]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(-9, 9), min_size=4, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(0, 20), min_size=8, max_size=8),
)
def test_a_contribution_is_the_welfare_that_leaves_with_a_member(net, limits):
    community = Community(np.array(net), np.array(limits[:4]), np.array(limits[4:]))
    whole = welfare(community, range(4))
    expected = [whole - welfare(community, [member for member in range(4) if member != left]) for left in range(4)]
    assert contributions(community) == pytest.approx(expected, abs=1e-6)


def welfare(community, members):
    """The same by linear programmes: the most that trade between these members is worth."""
    total = 0.0
    for row in community.net:
        buyers, sellers = ([m for m in members if sign * row[m] > 0] for sign in (1, -1))
        pairs = [(b, s) for b in buyers for s in sellers]
        if pairs:
            value = [float(community.sell[s] - community.buy[b]) for b, s in pairs]
            use = [[float(member in pair) for pair in pairs] for member in (*buyers, *sellers)]
            total -= linprog(value, use, [abs(row[member]) for member in (*buyers, *sellers)]).fun
    return total


def test_nobody_loses_and_all_keys_share_the_same_energy():
    community = draw(np.random.default_rng(8))
    gain = {name: key(community) for name, key in KEYS.items()}
    assert min(row.min() for row in gain.values()) >= 0
    assert len({int(row.sum()) for row in gain.values()}) == 1  # all bids cross, so the scarce side trades in full
    assert 0 < gain[PRO_RATA].sum() < alone(community.net, Tariff.flat(RETAIL, FEED_IN)).sum()


def test_a_small_survey_has_the_orders():
    rows = judge(survey(1, communities=SMALL))
    assert [row.what for row in rows if not row.passed] == []
    assert len(rows) == 7


def test_a_broken_rule_misses_the_bar():
    reversed_priority = {**KEYS, PRIORITY: lambda community: least_first(community, -1)}
    missed = {row.what for row in judge(survey(1, reversed_priority, SMALL)) if not row.passed}
    assert {"egalitarian (Jain)", "min-max", "  lead of priority over glass"} <= missed
    exchanged = {**KEYS, PRO_RATA: KEYS[GLASS], GLASS: KEYS[PRO_RATA]}
    missed = {row.what for row in judge(survey(1, exchanged, SMALL)) if not row.passed}
    assert {"egalitarian (Jain)", "meritocratic"} <= missed
