"""Nash bargaining against its closed form, its axioms and the product that it makes as large as possible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE
from wattle.market.bargaining import NashBargaining
from wattle.testing.checks_claimed import surpluses
from wattle.testing.generators import Case, book_of
from wattle.testing.trial import values

RETAIL, FEED_IN = 3000, 800
TARIFF = Tariff.flat(RETAIL, FEED_IN)
NETS = st.lists(st.integers(-50, 50).filter(bool), min_size=2, max_size=7)


def gains(net, weights=None):
    """Return what each member gains over the utility's tariff."""
    rows = [(8 + i, 1 if x > 0 else -1, abs(x), ANY_PRICE if x > 0 else -ANY_PRICE) for i, x in enumerate(net)]
    case = Case("metered", book_of(rows), TARIFF, 0)
    clearing = NashBargaining(weights or {}).step(None, case.orders, case.context())[1]
    found = surpluses(case.orders, values(case, case.orders), clearing)
    return np.array([found[8 + i] for i in range(len(net))])


def joint(net):
    return (RETAIL - FEED_IN) * min(sum(x for x in net if x > 0), -sum(x for x in net if x < 0))


@given(NETS)
def test_equal_power_means_equal_gains(net):
    found = gains(net)
    assert found.sum() == joint(net)
    assert np.ptp(found) <= 1


@given(NETS, st.lists(st.integers(0, 9), min_size=7, max_size=7))
def test_gains_stand_in_the_ratio_of_the_weights(net, weights):
    weights = np.array(weights[: len(net)])
    found = gains(net, {8 + i: int(weight) for i, weight in enumerate(weights)})
    whole = weights if weights.any() else np.ones(len(net))
    assert np.abs(found - joint(net) * whole / whole.sum()).max() < 1.001


@given(NETS, st.lists(st.integers(1, 5), min_size=7, max_size=7), st.data())
def test_no_other_division_has_a_larger_product(net, weights, data):
    if joint(net) == 0:
        return
    weights = np.array(weights[: len(net)])
    found = gains(net, {8 + i: int(weight) for i, weight in enumerate(weights)}) / joint(net)
    other = np.array(data.draw(st.lists(st.floats(0.01, 1), min_size=len(net), max_size=len(net))))
    other /= other.sum()
    assert (weights * np.log(other)).sum() <= (weights * np.log(found)).sum() + 1e-3


def test_who_is_not_named_has_weight_one():
    assert gains([10, -10], {8: 3}).tolist() == [16500, 5500]
    assert gains([10, -10], {9: 0}).tolist() == [22000, 0]
    assert gains([10, -10], {77: 5}).tolist() == [11000, 11000]


def test_what_one_has_alone_comes_first():
    rows = [(8, 1, 5, ANY_PRICE), (8, -1, 4, -ANY_PRICE), (9, -1, 6, -ANY_PRICE)]
    case = Case("both sides", book_of(rows), TARIFF, 0)
    clearing = NashBargaining().step(None, case.orders, case.context())[1]
    found = surpluses(case.orders, values(case, case.orders), clearing)
    assert (found[8], found[9]) == (4 * 2200 + 1100, 1100)


def test_bad_weights_and_books():
    with pytest.raises(InvariantError, match="weight -1"):
        NashBargaining({8: -1})
    with pytest.raises(InvariantError, match="expected 0 to"):
        NashBargaining({8: 1 << 40})
    book = book_of([(8, 1, 1, ANY_PRICE)])
    assert NashBargaining().step(None, book, Context())[1].refused == Reject.NO_TARIFF
