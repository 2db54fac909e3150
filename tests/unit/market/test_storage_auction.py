"""Shared storage: the pair at the border sets the prices, the burden is shared, and a false price never pays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context
from wattle.core.tables import BUY, SELL, Orders
from wattle.market.auction_truthful import HuangAuction
from wattle.market.storage_auction import StorageAuction
from wattle.testing.checks_claimed import surpluses
from wattle.testing.conformance import check_mechanism
from wattle.testing.generators import book_of

RULES = [StorageAuction(), StorageAuction("capacity")]
each_rule = pytest.mark.parametrize("rule", RULES, ids=repr)

books = st.lists(
    st.tuples(st.sampled_from([BUY, SELL]), st.integers(1, 9), st.integers(0, 15)), min_size=1, max_size=12
).map(lambda rows: book_of([(8 + n, *row) for n, row in enumerate(rows)]))


def clear(rule, orders: Orders):
    return rule.step(None, orders, Context())[1]


def sold(clearing) -> dict[int, int]:
    found: dict[int, int] = {}
    for who, lots in zip(clearing.trades.seller.tolist(), clearing.trades.quantity.tolist(), strict=True):
        found[who] = found.get(who, 0) + lots
    return found


# Three owners with 6, 2 and 4 units at 3, 4 and 5, a fourth at the border; two controllers and one at the border.
VILLAGE = book_of(
    [
        (8, SELL, 6, 3),
        (9, SELL, 2, 4),
        (10, SELL, 4, 5),
        (11, SELL, 9, 6),
        (12, BUY, 5, 20),
        (13, BUY, 1, 18),
        (14, BUY, 7, 9),
    ]
)


def test_equal_burden_by_hand():
    clearing = clear(StorageAuction(), VILLAGE)
    # 13 lots cross, the last of them between the owner at 6 and the controller at 9. 12 are offered, 6 wanted: each
    # owner bears 2 of the excess of 6.
    assert sold(clearing) == {8: 4, 10: 2}
    assert set(clearing.trades.buy_price.tolist()) == {9}
    assert set(clearing.trades.sell_price.tolist()) == {6}


def test_burden_in_proportion_to_capacity_by_hand():
    assert sold(clear(StorageAuction("capacity"), VILLAGE)) == {8: 3, 9: 1, 10: 2}


def test_controllers_bear_what_is_short():
    book = book_of([(8, BUY, 4, 20), (9, BUY, 2, 19), (10, BUY, 3, 8), (11, SELL, 4, 2), (12, SELL, 5, 3)])
    trades = clear(StorageAuction(), book).trades
    got = {who: int(trades.quantity[trades.buyer == who].sum()) for who in (8, 9, 10)}
    assert got == {8: 3, 9: 1, 10: 0}


@each_rule
@given(orders=books, data=st.data())
def test_random_misreports_of_the_price_never_pay(rule, orders, data):
    row, limit = data.draw(st.integers(0, len(orders) - 1)), orders.limit.copy()
    limit[row] = data.draw(st.integers(-2, 18))
    told = orders.replace(limit=limit)
    lied, honest = (surpluses(said, orders.limit, clear(rule, said))[8 + row] for said in (told, orders))
    assert lied <= honest


@each_rule
@given(orders=books)
def test_nobody_loses_by_taking_part_and_the_operator_neither(rule, orders):
    trades = clear(rule, orders).trades
    assert (trades.buy_price <= orders.limit[trades.buy_order]).all()
    assert (trades.sell_price >= orders.limit[trades.sell_order]).all()
    assert (trades.buy_price >= trades.sell_price).all()


@given(orders=books)
def test_with_an_equal_burden_it_is_the_huang_auction(orders):
    one, other = clear(StorageAuction(), orders), clear(HuangAuction(), orders)
    assert one.trades == other.trades
    assert one.prices == other.prices


@given(orders=books)
def test_all_forms_of_burden_allot_the_same_capacity(orders):
    equal, capacity = (clear(rule, orders).trades.quantity.sum() for rule in RULES)
    assert equal == capacity


@each_rule
def test_each_form_of_burden_passes_the_conformance_suite(rule):
    assert [result for result in check_mechanism(rule, seed=4, books=40) if not result.passed] == []


def test_what_cannot_be_priced_is_refused():
    with pytest.raises(InvariantError, match="burden is 'price'"):
        StorageAuction("price")
    book = book_of([(8, BUY, 1, 9), (9, SELL, 1, 1)])
    assert clear(StorageAuction(), book.replace(partner=np.array([9, -1]))).refused == Reject.PARTNER_NOT_SUPPORTED
    assert len(clear(StorageAuction(), Orders.empty()).trades) == 0
