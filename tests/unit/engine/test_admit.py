"""Orders at the door: each code is reached, and the first reason counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import Reject
from wattle.core.tables import ANY_PRICE, ANYONE, Orders
from wattle.core.units import CASH_ORDER_MAX, PRICE_MAX, QUANTITY_MAX
from wattle.engine.gate import Gate, Product, admit
from wattle.market.auction_double import UniformAuction
from wattle.market.mechanism import GATE

PRODUCT = Product("p", UniformAuction(), GATE, cap=500, floor=-20)
OPEN_GATE = Gate(0, first=4, stop=8)
ACTIVE = np.array([0] * 8 + [1, 1, 0, 1], bool)  # participant 10 has left
ZONES = 2
GOOD = {"participant": 8, "zone": 0, "interval": 4, "side": 1, "quantity": 5, "limit": 100, "partner": ANYONE}


def book(**changes):
    row = {"id": 0, **GOOD, **changes}
    return Orders(**{name: np.array([value]) for name, value in row.items()})


def code(product=PRODUCT, **changes):
    (found,) = admit(book(**changes), product, OPEN_GATE, ACTIVE, ZONES)
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"participant": 11, "interval": 7, "zone": 1, "side": -1, "limit": -20},
        {"limit": 500},
        {"limit": ANY_PRICE},
        {"side": -1, "limit": -ANY_PRICE},
        {"quantity": 1},
        {"quantity": QUANTITY_MAX},
        {"partner": 9},
    ],
)
def test_good_orders_pass(changes):
    assert code(**changes) == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"participant": 10}, Reject.UNKNOWN_MEMBER),
        ({"participant": 12}, Reject.UNKNOWN_MEMBER),
        ({"participant": 0}, Reject.UNKNOWN_MEMBER),
        ({"participant": -1}, Reject.UNKNOWN_MEMBER),
        ({"interval": 3}, Reject.WRONG_INTERVAL),
        ({"interval": 8}, Reject.WRONG_INTERVAL),
        ({"zone": 2}, Reject.UNKNOWN_ZONE),
        ({"zone": -1}, Reject.UNKNOWN_ZONE),
        ({"side": 0}, Reject.WRONG_SIDE),
        ({"side": 2}, Reject.WRONG_SIDE),
        ({"quantity": 0}, Reject.BAD_QUANTITY),
        ({"quantity": -5}, Reject.BAD_QUANTITY),
        ({"quantity": QUANTITY_MAX + 1}, Reject.BAD_QUANTITY),
        ({"quantity": -(1 << 63)}, Reject.BAD_QUANTITY),
        ({"limit": 501}, Reject.BAD_LIMIT),
        ({"limit": -21}, Reject.BAD_LIMIT),
        ({"limit": -ANY_PRICE}, Reject.BAD_LIMIT),
        ({"side": -1, "limit": ANY_PRICE}, Reject.BAD_LIMIT),
        ({"limit": -(1 << 63)}, Reject.BAD_LIMIT),
        ({"partner": 10}, Reject.UNKNOWN_PARTNER),
        ({"partner": 99}, Reject.UNKNOWN_PARTNER),
        ({"partner": 0}, Reject.UNKNOWN_PARTNER),
        ({"partner": -2}, Reject.UNKNOWN_PARTNER),
    ],
)
def test_each_reason_is_reached(changes, reason):
    assert code(**changes) == reason


def test_what_cannot_be_paid_for_in_64_bits_is_too_large():
    free = Product("p", UniformAuction(), GATE)
    most = CASH_ORDER_MAX // PRICE_MAX
    assert code(free, quantity=most, limit=PRICE_MAX) == 0
    assert code(free, quantity=most + 1, limit=PRICE_MAX) == Reject.TOO_LARGE
    assert code(free, quantity=most + 1, limit=-PRICE_MAX) == Reject.TOO_LARGE
    # A price taker's worst case is the product's own cap.
    assert code(free, quantity=most + 1, limit=ANY_PRICE) == Reject.TOO_LARGE
    assert code(PRODUCT, quantity=most + 1, limit=ANY_PRICE) == 0


WILD = {
    "participant": st.integers(-1, 12),
    "interval": st.integers(3, 8),
    "zone": st.integers(-1, 2),
    "side": st.integers(-2, 2),
    "quantity": st.sampled_from((0, 1, 5, QUANTITY_MAX, QUANTITY_MAX + 1)),
    "limit": st.sampled_from((-ANY_PRICE, -21, -20, 0, 500, 501, ANY_PRICE)),
    "partner": st.integers(-2, 12),
}


def slow(row):
    """Return the first reason in the order in which an order is read."""
    member = {8, 9, 11}
    taker = row["limit"] == row["side"] * ANY_PRICE
    for good, reason in (
        (row["participant"] in member, Reject.UNKNOWN_MEMBER),
        (4 <= row["interval"] < 8, Reject.WRONG_INTERVAL),
        (0 <= row["zone"] < ZONES, Reject.UNKNOWN_ZONE),
        (row["side"] in (1, -1), Reject.WRONG_SIDE),
        (1 <= row["quantity"] <= QUANTITY_MAX, Reject.BAD_QUANTITY),
        (row["partner"] in {ANYONE, *member}, Reject.UNKNOWN_PARTNER),
        (taker or -20 <= row["limit"] <= 500, Reject.BAD_LIMIT),
    ):
        if not good:
            return reason
    return 0


@given(st.lists(st.fixed_dictionaries({name: st.just(GOOD[name]) | WILD[name] for name in WILD}), max_size=12))
def test_many_orders_get_the_codes_of_each_alone(rows):
    table = {name: np.array([row[name] for row in rows], np.int64) for name in WILD}
    found = admit(Orders(id=np.arange(len(rows)), **table), PRODUCT, OPEN_GATE, ACTIVE, ZONES)
    assert found.tolist() == [slow(row) for row in rows]
