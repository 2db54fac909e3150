"""Double auctions against an auction of single lots in plain Python, a linear programme, and cases worked by hand."""

from fractions import Fraction
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff, unfilled
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders
from wattle.market.auction_double import AveragePriceAuction, PayAsBidAuction, UniformAuction
from wattle.testing.generators import book_of

RULES = [UniformAuction(), UniformAuction(0), UniformAuction(100), AveragePriceAuction(), PayAsBidAuction()]
NAMED = st.integers(0, 12)
TARIFF = Tariff.flat(9, 2)


def orders_of(rows: list[tuple[int, int, int, int | None]]) -> Orders:
    """Build a book from (participant, side, lots, limit); None takes any price."""
    return book_of([(who, side, lots, side * ANY_PRICE if limit is None else limit) for who, side, lots, limit in rows])


def books(limits, most: int = 12):
    row = st.tuples(st.integers(8, 12), st.sampled_from([BUY, SELL]), st.integers(1, 5), limits)
    return st.lists(row, max_size=most).map(orders_of)


def clear(rule, orders: Orders, tariff: Tariff | None = None):
    _, clearing = rule.step(None, orders, Context(tariff))
    return clearing


# --- an auction of single lots ---


def worth(orders: Orders, row: int, tariff: Tariff | None) -> float:
    limit = int(orders.limit[row])
    if abs(limit) < ANY_PRICE:
        return limit
    if tariff is None:
        return inf if limit > 0 else -inf
    return int(tariff.retail[0] if limit > 0 else tariff.feed_in[0])


def by_single_lots(orders: Orders, tariff: Tariff | None):
    """Return lots filled by order, and lowest price, highest price, last bid, last offer (None if nothing trades)."""
    lots = {BUY: [], SELL: []}
    for row in range(len(orders)):
        lots[orders.side[row]] += [(worth(orders, row, tariff), int(orders.id[row]))] * int(orders.quantity[row])
    bids = sorted(lots[BUY], key=lambda lot: (-lot[0], lot[1]))
    offers = sorted(lots[SELL])
    count = sum(1 for bid, offer in zip(bids, offers, strict=False) if bid[0] >= offer[0])
    named = [worth(orders, row, tariff) for row in range(len(orders))]
    named = [value for value in named if abs(value) < inf]
    if count == 0 or not named:
        return [0] * len(orders), None

    def drawn_back(value: float) -> int:
        return int(min(max(value, min(named)), max(named)))

    low, high = offers[count - 1][0], bids[count - 1][0]
    last_bid, last_offer = high, low
    if count < len(bids):
        low = max(low, bids[count][0])
    if count < len(offers):
        high = min(high, offers[count][0])
    low, high = drawn_back(low), drawn_back(high)
    prices = (low, high, high if last_bid == inf else last_bid, low if last_offer == -inf else last_offer)
    taken = [lot[1] for lot in bids[:count] + offers[:count]]
    return [taken.count(int(order)) for order in orders.id], prices


TARIFFS = st.sampled_from([None, TARIFF])
ALL_LIMITS = st.one_of(NAMED, st.none())


@pytest.mark.parametrize("rule", RULES, ids=repr)
@given(orders=books(ALL_LIMITS), tariff=TARIFFS)
def test_fills_are_those_of_single_lots(rule, orders, tariff):
    filled, _ = by_single_lots(orders, tariff)
    assert (orders.quantity - unfilled(orders, clear(rule, orders, tariff))).tolist() == filled


@pytest.mark.parametrize("k", [0, 37, 50, 100])
@given(orders=books(ALL_LIMITS), tariff=TARIFFS)
def test_uniform_price(k, orders, tariff):
    _, bounds = by_single_lots(orders, tariff)
    clearing = clear(UniformAuction(k), orders, tariff)
    if bounds is None:
        assert len(clearing.trades) == len(clearing.prices) == 0
        return
    price = bounds[0] + (bounds[1] - bounds[0]) * k // 100
    assert clearing.prices.price.tolist() == [price]
    assert set(clearing.trades.buy_price.tolist()) == set(clearing.trades.sell_price.tolist()) == {price}


@given(orders=books(ALL_LIMITS), tariff=TARIFFS)
def test_average_price(orders, tariff):
    _, bounds = by_single_lots(orders, tariff)
    prices = clear(AveragePriceAuction(), orders, tariff).prices.price.tolist()
    assert prices == ([] if bounds is None else [(bounds[2] + bounds[3]) // 2])


@given(orders=books(NAMED))
def test_pay_as_bid_pairs_the_dearest_bid_with_the_cheapest_offer(orders):
    bids, offers = (
        sorted(
            (side * -int(orders.limit[row]), int(orders.id[row]))
            for row in range(len(orders))
            if orders.side[row] == side
            for _ in range(orders.quantity[row])
        )
        for side in (BUY, SELL)
    )
    expected: dict[tuple[int, int, int], int] = {}
    for (bid, buyer), (offer, seller) in zip(bids, offers, strict=False):
        if -bid >= offer:
            key = (buyer, seller, (offer - bid) // 2)
            expected[key] = expected.get(key, 0) + 1
    trades = clear(PayAsBidAuction(), orders).trades
    found = zip(trades.buy_order, trades.sell_order, trades.buy_price, trades.quantity, strict=True)
    assert {(int(buy), int(sell), int(price)): int(lots) for buy, sell, price, lots in found} == expected


@given(orders=books(NAMED, most=8).filter(len))
def test_welfare_is_that_of_a_linear_programme(orders):
    buyers, sellers = np.flatnonzero(orders.side == BUY), np.flatnonzero(orders.side == SELL)
    pairs = [(buyer, seller) for buyer in buyers for seller in sellers]
    best = Fraction(0)
    if pairs:
        gain = [int(orders.limit[buyer] - orders.limit[seller]) for buyer, seller in pairs]
        rows = np.array([[row in pair for pair in pairs] for row in range(len(orders))], float)
        best = round(-linprog(-np.array(gain), A_ub=rows, b_ub=orders.quantity).fun)
    for rule in RULES:
        trades = clear(rule, orders).trades
        gain = orders.limit[trades.buy_order] - orders.limit[trades.sell_order]
        assert int((gain * trades.quantity).sum()) == best


@pytest.mark.parametrize("rule", RULES, ids=repr)
@given(orders=books(ALL_LIMITS, most=20), tariff=TARIFFS, data=st.data())
def test_all_intervals_at_once_give_the_same_as_one_by_one(rule, orders, tariff, data):
    intervals = data.draw(st.lists(st.integers(0, 3), min_size=len(orders), max_size=len(orders)))
    zones = data.draw(st.lists(st.integers(0, 1), min_size=len(orders), max_size=len(orders)))
    orders = orders.replace(interval=np.array(intervals, np.int32), zone=np.array(zones, np.int32))
    whole = clear(rule, orders, tariff)
    for interval in range(4):
        for zone in range(2):
            alone = clear(rule, orders.take((orders.interval == interval) & (orders.zone == zone)), tariff)
            assert whole.trades.take((whole.trades.interval == interval) & (whole.trades.zone == zone)) == alone.trades
            assert whole.prices.take((whole.prices.interval == interval) & (whole.prices.zone == zone)) == alone.prices


# --- by hand ---


def test_equal_limits_are_served_by_id_and_only_the_marginal_order_is_cut():
    orders = orders_of([(8, SELL, 3, 5), (9, BUY, 2, 5), (10, BUY, 2, 5), (11, BUY, 2, 5)])
    trades = clear(UniformAuction(), orders).trades
    assert dict(zip(trades.buyer.tolist(), trades.quantity.tolist(), strict=True)) == {9: 2, 10: 1}
    backwards = clear(UniformAuction(), orders.take(np.array([3, 2, 1, 0]))).trades
    assert sorted(zip(backwards.buyer, backwards.quantity, strict=True)) == [(9, 2), (10, 1)]


def test_a_price_between_two_ticks_is_rounded_down_also_below_zero():
    assert clear(UniformAuction(), orders_of([(8, SELL, 1, 4), (9, BUY, 1, 7)])).prices.price.tolist() == [5]
    assert clear(UniformAuction(), orders_of([(8, SELL, 1, -7), (9, BUY, 1, -4)])).prices.price.tolist() == [-6]


def test_the_average_price_may_lie_outside_of_the_supporting_prices():
    # Bids 20 and 19 for one lot each, offers 2 and 3: one lot of each trades if the second pair does not cross.
    orders = orders_of([(8, SELL, 1, 2), (9, BUY, 1, 20), (10, BUY, 1, 19)])
    assert clear(UniformAuction(0), orders).prices.price.tolist() == [19]
    assert clear(AveragePriceAuction(), orders).prices.price.tolist() == [11]


def test_a_price_taker_with_a_tariff_bids_the_utilitys_price():
    taker_buys = orders_of([(8, SELL, 1, 4), (9, BUY, 1, None)])
    assert clear(UniformAuction(), taker_buys, TARIFF).prices.price.tolist() == [6]  # between 4 and 9
    too_dear = orders_of([(8, SELL, 1, 10), (9, BUY, 1, None), (10, BUY, 1, 11)])
    assert clear(UniformAuction(), too_dear, TARIFF).trades.buyer.tolist() == [10]
    only_takers = orders_of([(8, SELL, 1, None), (9, BUY, 1, None)])
    assert clear(UniformAuction(), only_takers, TARIFF).prices.price.tolist() == [5]  # between 2 and 9
    assert clear(PayAsBidAuction(100), only_takers, TARIFF).trades.buy_price.tolist() == [9]


def test_a_price_taker_without_a_tariff_comes_first_and_pays_what_others_name():
    orders = orders_of([(8, SELL, 1, 4), (9, BUY, 1, 7), (10, BUY, 1, None)])
    trades = clear(UniformAuction(), orders).trades
    assert (trades.buyer.tolist(), trades.buy_price.tolist()) == ([10], [7])  # 9 would pay 7, so less is not supported
    alone = orders_of([(8, SELL, 1, 4), (10, BUY, 1, None)])
    assert clear(UniformAuction(100), alone).prices.price.tolist() == [4]
    assert clear(PayAsBidAuction(100), alone).trades.buy_price.tolist() == [4]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_takers_alone_form_no_price(rule):
    takers = orders_of([(8, SELL, 1, None), (9, BUY, 1, None)])
    assert clear(rule, takers).refused == Reject.NO_PRICE
    assert clear(rule, orders_of([(9, BUY, 1, None)])).unusable is None  # nobody to trade with anyway
    # Another interval has prices: there trade goes on, and the takers' lots stay unfilled.
    priced = orders_of([(8, SELL, 1, 3), (9, BUY, 1, 5)]).replace(id=[2, 3], interval=[1, 1])
    both = clear(rule, Orders.concat(takers, priced))
    assert (both.refused, both.trades.interval.tolist()) == (None, [1])


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_empty_one_sided_and_partner_books(rule):
    for orders in (Orders.empty(), orders_of([(8, BUY, 2, 5)]), orders_of([(8, SELL, 2, 5), (9, SELL, 1, 5)])):
        clearing = clear(rule, orders)
        code = Reject.ONE_SIDED if len(orders) else Reject.EMPTY_BOOK
        assert (len(clearing.trades), len(clearing.prices), clearing.refused) == (0, 0, code)
    named = orders_of([(8, SELL, 1, 2), (9, BUY, 1, 5)]).replace(partner=[9, -1])
    assert clear(rule, named).refused == Reject.PARTNER_NOT_SUPPORTED


@pytest.mark.parametrize("k", [-1, 101, 0.5])
def test_a_wrong_percentage_is_refused(k):
    for rule in (UniformAuction, PayAsBidAuction):
        with pytest.raises(InvariantError, match="expected 0 to 100"):
            rule(k)
