"""Logarithmic members: closed form against a search over all quantities, and answers that fit the quotes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.agents.cohort import View
from wattle.agents.logarithmic import LogarithmicMembers, consumed
from wattle.core.checks import InvariantError
from wattle.core.messages import Call
from wattle.core.tables import ANYONE, BUY, SELL, Quotes

MEMBERS = np.array([8, 9, 10], np.int32)


def cohort(k=(90_000.0, 90_000.0, 90_000.0), unit=(100.0, 100.0, 100.0)):
    return LogarithmicMembers(MEMBERS, np.array(k), np.array(unit))


def quotes(*rows):
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Quotes(*columns)


def asked(price, *, buyer=20, seller=ANYONE):
    return Call("p", 0, 1, 1, quotes((0, 0, buyer, seller, price)))


@settings(max_examples=80)
@given(
    k=st.floats(1.0, 1e6),
    unit=st.floats(1.0, 1e3),
    most=st.integers(1, 400),
    price=st.integers(1, 1000),
    sells=st.booleans(),
)
def test_no_other_whole_quantity_is_better_by_more_than_rounding(k, unit, most, price, sells):
    """Surplus of each whole quantity by enumeration; the utility is concave, so rounding costs less than one step."""
    c = np.arange(most + 1)
    surplus = k * np.log(1 + c / unit) + (price * (most - c) if sells else -price * c)
    best = float(consumed(float(price), k, unit, float(most)))
    assert abs(best - int(np.argmax(surplus))) <= 1
    reached = surplus[int(np.rint(best))]
    fine = np.linspace(0, most, 2001)
    continuous = k * np.log(1 + fine / unit) + (price * (most - fine) if sells else -price * fine)
    at_best = k * np.log(1 + best / unit) + (price * (most - best) if sells else -price * best)
    assert at_best >= continuous.max() - 1e-6 * max(1.0, abs(continuous.max()))
    assert reached >= surplus.max() - k / (2 * unit) * (1 / unit)  # half a lot off, curvature at most k / unit^2


def test_they_open_at_the_price_of_the_first_lot():
    orders = cohort().respond(Call("p", 0, 1), View(np.array([[-900, 500, 0]])))
    assert orders.side.tolist() == [SELL, BUY]
    assert orders.quantity.tolist() == [900, 500]
    assert orders.limit.tolist() == [90, 900]  # 90000 / 1000 and 90000 / 100


def test_a_seller_keeps_what_is_worth_more_to_him():
    view = View(np.array([[-900, -900, -900]]))
    orders = cohort(k=(90_000.0, 180_000.0, 9_000_000.0)).respond(asked(200), view)
    assert orders.participant.tolist() == [8, 9]  # the third would sell from 9000 on
    assert orders.quantity.tolist() == [550, 100]  # 900 + 100 - 450 and 1000 - 900
    assert orders.limit.tolist() == [200, 200]
    assert orders.partner.tolist() == [20, 20]


def test_a_buyer_buys_up_to_his_need():
    view = View(np.array([[500, 200, 500]]))
    orders = cohort(unit=(100.0, 100.0, 1000.0)).respond(asked(200, buyer=ANYONE, seller=20), view)
    assert orders.participant.tolist() == [8, 9]  # to the third no lot is worth more than 90
    assert orders.quantity.tolist() == [350, 200]
    assert orders.side.tolist() == [BUY, BUY]


def test_the_best_quote_counts():
    call = Call("p", 0, 1, 1, quotes((0, 0, 20, ANYONE, 150), (0, 0, 21, ANYONE, 180), (0, 0, 22, ANYONE, 180)))
    orders = cohort().respond(call, View(np.array([[-900, 0, 0]])))
    assert orders.partner.tolist() == [21]
    assert orders.quantity.tolist() == [500]


def test_no_quote_that_is_good_enough_no_order():
    assert len(cohort().respond(asked(89), View(np.array([[-900, 0, 0]])))) == 0
    assert len(cohort().respond(asked(90), View(np.array([[-900, 0, 0]])))) == 0  # nought to the nearest lot
    assert cohort().respond(asked(91), View(np.array([[-900, 0, 0]]))).quantity.tolist() == [11]


def test_free_energy_is_taken_as_far_as_needed():
    assert consumed(0.0, 5.0, 10.0, 70.0) == 70.0
    assert consumed(-3.0, 5.0, 10.0, 70.0) == 70.0


@pytest.mark.parametrize("bad", [{"k": (0.0, 1.0, 1.0)}, {"unit": (1.0, -1.0, 1.0)}])
def test_bad_curves_are_refused(bad):
    with pytest.raises(InvariantError):
        cohort(**bad)
