"""Nested markets: leftovers go up once, each level adds its fee, nothing is counted twice."""

import numpy as np
import pytest

import wattle.market.pools  # noqa: F401 (registers a rule that is named below)
from wattle.core.checks import InputError, InvariantError, Reject
from wattle.core.messages import Context, Tariff, unfilled
from wattle.core.tables import ANY_PRICE, FIRST_MEMBER, MARKET_OPERATOR
from wattle.market.auction_double import UniformAuction
from wattle.market.between_zones import parents_of
from wattle.market.nested import Nested
from wattle.testing import checks_always as always
from wattle.testing import checks_claimed as claimed
from wattle.testing.generators import book_of, part
from wattle.testing.trial import Trial, differs

LEVELS = "0:10,1:10,2:11,3:11,10:100,11:100"
THREE = Nested(levels=LEVELS, between_ticks=7, cells_ticks=4)


def in_zones(rows, zones):
    return book_of(rows).replace(zone=np.array(zones))


def test_without_levels_each_zone_is_by_itself():
    for case in part(2, 40, ["zones", "random"]):
        inner = Trial(UniformAuction(), case).outcome.clearing
        nested = Trial(Nested(), case).outcome.clearing
        assert nested.trades.quantity.sum() == inner.trades.quantity.sum()
        assert differs(inner, nested) in (None, "prices")


@pytest.mark.parametrize("inner", ["uniform-auction", "pay-as-bid-auction"])
def test_promises_hold_on_three_levels(inner):
    # `prices_within` looks at one zone alone; here a price may come from another zone.
    checks = [
        always.conserves,
        always.deterministic,
        always.row_order,
        always.whole_numbers,
        always.inputs_untouched,
        always.refused_whole,
        claimed.budget_balanced,
        claimed.individually_rational,
    ]
    rule = Nested(levels=LEVELS, inner=inner, between_ticks=7, cells_ticks=4)
    carried = 0
    for case in part(3, 40, ["zones", "some price takers", "ties", "single order", "empty"]):
        trial = Trial(rule, case)
        for check in checks:
            assert check(trial) is None, check.__name__
        trades = trial.outcome.clearing.trades
        carried += int((trades.buyer == MARKET_OPERATOR).sum())
    assert carried > 20


def test_the_operator_passes_on_what_he_takes():
    for case in part(4, 30, ["zones"]):
        trades = Trial(THREE, case).outcome.clearing.trades
        for interval in np.unique(trades.interval):
            here = trades.take(trades.interval == interval)
            taken = here.quantity[here.buyer == MARKET_OPERATOR].sum()
            assert taken == here.quantity[here.seller == MARKET_OPERATOR].sum()


def test_the_fee_is_the_gap_between_the_prices():
    book = in_zones([(8, 1, 5, 100), (9, -1, 5, 50)], [0, 2])
    _, clearing = THREE.step(None, book, Context())
    out, into = (clearing.trades.take(clearing.trades.buyer == who) for who in (MARKET_OPERATOR, 8))
    assert into.buy_price[0] - into.sell_price[0] == 11
    assert into.sell_price.tolist() == out.sell_price.tolist() == out.buy_price.tolist()
    assert clearing.report == {
        "traded_on_level_0_lots": 0.0,
        "traded_on_level_1_lots": 0.0,
        "traded_on_level_2_lots": 5.0,
    }


def test_a_fee_can_be_too_much():
    book = in_zones([(8, 1, 5, 60), (9, -1, 5, 50)], [0, 2])
    assert len(THREE.step(None, book, Context())[1].trades) == 0
    near = book.replace(zone=np.array([0, 1]))
    assert THREE.step(None, near, Context())[1].trades.quantity.sum() == 10  # 5 lots by way of the operator


def test_what_trades_below_does_not_appear_above():
    book = in_zones([(8, 1, 5, 100), (9, -1, 3, 50), (10, -1, 9, 40)], [0, 0, 1])
    _, clearing = THREE.step(None, book, Context())
    assert unfilled(book, clearing).tolist() == [0, 0, 7]
    members = clearing.trades.take(clearing.trades.buyer >= FIRST_MEMBER)
    assert members.quantity.sum() == 5


def test_no_zone_above_no_trade():
    book = in_zones([(8, 1, 5, 100), (9, -1, 5, 50)], [0, 7])
    assert len(THREE.step(None, book, Context())[1].trades) == 0


def lots_and_prices(clearing):
    """Return what a member buys or earns at: {(participant, side): (lots, prices)}."""
    found = {}
    trades = clearing.trades
    for who, side, price in ((trades.buyer, 1, trades.buy_price), (trades.seller, -1, trades.sell_price)):
        for member in set(who.tolist()) - {MARKET_OPERATOR}:
            mine = who == member
            found[member, side] = (int(trades.quantity[mine].sum()), sorted(set(price[mine].tolist())))
    return found


@pytest.mark.parametrize("fees", [(0, 0), (7, 4)])
def test_orders_meet_under_a_common_parent_whatever_the_depth(fees):
    # Zone 0 lies two steps below 100, zone 3 one step.
    rule = Nested("0:10,10:100,3:100", "uniform-auction", *fees)
    book = in_zones([(8, -1, 5, 10), (9, 1, 5, 30)], [0, 3])
    found = lots_and_prices(rule.step(None, book, Context())[1])
    # The seller pays his half of both steps, the buyer his half of one.
    low, high = 10 + sum(fees) // 2, 30 - (fees[0] - fees[0] // 2)
    price = (low + high) // 2
    assert found == {(9, 1): (5, [price + fees[0] - fees[0] // 2]), (8, -1): (5, [price - sum(fees) // 2])}


def test_a_parent_waits_for_its_deepest_child():
    # Zones 0 and 1 meet in 10 before zone 3 comes in at 100, although 3 is one step from there too.
    rule = Nested("0:10,1:10,10:100,3:100")
    book = in_zones([(8, -1, 5, 10), (9, 1, 5, 20), (10, 1, 9, 90)], [0, 1, 3])
    _, clearing = rule.step(None, book, Context())
    assert unfilled(book, clearing).tolist() == [0, 0, 9]
    assert clearing.report == {"traded_on_level_0_lots": 0, "traded_on_level_1_lots": 5, "traded_on_level_2_lots": 0}


def test_orders_in_a_parent_zone_take_part_in_its_market_and_pay_no_fee():
    # The buyer is at home in 10, the seller comes from below and bears his half of 6.
    book = in_zones([(8, -1, 5, 10), (9, 1, 5, 30)], [0, 10])
    _, clearing = Nested("0:10", between_ticks=6).step(None, book, Context())
    assert lots_and_prices(clearing) == {(8, -1): (5, [18]), (9, 1): (5, [21])}  # between 13 and 30
    assert (clearing.trades.buy_price - clearing.trades.sell_price).max() == 3
    # Two who are both at home there trade as in any zone.
    book = in_zones([(8, -1, 5, 10), (9, 1, 5, 30)], [10, 10])
    trades = Nested("0:10", between_ticks=6).step(None, book, Context())[1].trades
    assert (trades.buyer.tolist(), trades.seller.tolist(), trades.buy_price.tolist()) == ([9], [8], [20])
    # And what they leave goes up from there.
    book = in_zones([(8, -1, 5, 10), (9, 1, 5, 30)], [10, 11])
    _, clearing = Nested("0:10,10:100,11:100").step(None, book, Context())
    assert unfilled(book, clearing).tolist() == [0, 0]


def test_takers_without_a_price_at_home_find_one_above():
    book = in_zones([(8, -1, 5, -ANY_PRICE), (9, 1, 5, 30)], [0, 10])
    _, clearing = Nested("0:10").step(None, book, Context())
    assert lots_and_prices(clearing) == {(8, -1): (5, [30]), (9, 1): (5, [30])}
    alone = in_zones([(8, -1, 5, -ANY_PRICE), (9, 1, 5, ANY_PRICE)], [0, 10])
    assert Nested("0:10").step(None, alone, Context())[1].refused == Reject.NO_PRICE


@pytest.mark.parametrize("levels", ["0:10,10:2,1:2", "0:2,1:3", "0:1,1:3,2:3", "1:0,2:0,3:0"])
def test_promises_hold_with_unequal_depth_and_orders_in_parents(levels):
    rule = Nested(levels, between_ticks=7, cells_ticks=4)
    checks = [
        always.conserves, always.deterministic, always.row_order, always.whole_numbers, always.inputs_untouched,
        always.refused_whole, claimed.budget_balanced, claimed.individually_rational,
    ]  # fmt: skip
    carried = 0
    for case in part(3, 30, ["zones", "some price takers", "ties"]):
        trial = Trial(rule, case)
        for check in checks:
            assert check(trial) is None, check.__name__
        carried += int((trial.outcome.clearing.trades.buyer == MARKET_OPERATOR).sum())
    assert carried > 10


def test_price_takers_are_not_pushed_beyond_the_tariff():
    book = in_zones([(8, 1, 5, ANY_PRICE), (9, -1, 5, -ANY_PRICE)], [0, 2])
    _, clearing = THREE.step(None, book, Context(tariff=Tariff.flat(300, 60)))
    trades = clearing.trades
    assert trades.buy_price.max() <= 300
    assert trades.sell_price.min() >= 60
    assert len(THREE.step(None, book, Context(tariff=Tariff.flat(300, 295)))[1].trades) == 0


def test_a_refusal_of_the_inner_rule_is_handed_on():
    book = book_of([(8, 1, 5, 100), (9, -1, 5, 50)]).replace(partner=np.array([9, -1]))
    assert THREE.step(None, book, Context())[1].refused == Reject.PARTNER_NOT_SUPPORTED
    pool = Nested(inner="mid-market-rate", levels=LEVELS)
    assert pool.step(None, book_of([(8, 1, 5, 100)]), Context())[1].refused == Reject.NO_TARIFF


def test_a_pool_inside():
    book = in_zones([(8, 1, 5, ANY_PRICE), (9, -1, 3, -ANY_PRICE), (10, -1, 9, -ANY_PRICE)], [0, 0, 1])
    pool = Nested(inner="mid-market-rate", levels=LEVELS, between_ticks=20)
    _, clearing = pool.step(None, book, Context(tariff=Tariff.flat(300, 100)))
    assert unfilled(book, clearing).tolist() == [0, 0, 7]
    assert sorted(set(clearing.trades.sell_price.tolist())) == [190, 200]


@pytest.mark.parametrize(
    "bad",
    [
        {"levels": "1-2"},
        {"levels": "1:2,1:3"},
        {"levels": "1:2,2:3,3:4"},
        {"levels": "1:2,2:1"},
        {"between_ticks": -1},
        {"inner": "nested"},
    ],
)
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InvariantError):
        Nested(**bad)


def test_levels_are_read():
    assert parents_of("") == {}
    assert parents_of(" 1:10 , 2:10,") == {1: 10, 2: 10}


def test_an_unknown_inner_rule_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="uniform-auction"):
        Nested(inner="uniform-aution")


def test_an_inner_rule_that_asks_is_refused():
    import wattle.market.stackelberg  # noqa: F401

    with pytest.raises(InvariantError, match="asks its members"):
        Nested(inner="stackelberg").step(None, book_of([(8, 1, 5, 100), (9, -1, 5, 50)]), Context())
