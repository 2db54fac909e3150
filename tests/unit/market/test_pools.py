"""Community pools against sharing and prices in exact fractions, and cases worked by hand."""

from fractions import Fraction
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import Reject
from wattle.core.messages import Context, Tariff, unfilled
from wattle.core.tables import ANY_PRICE, BUY, COMMUNITY_FUND, SELL, Orders
from wattle.market.pools import BILL_SHARING, BillSharing, MidMarketRate, SupplyDemandRatio
from wattle.testing.generators import book_of

RETAIL, FEED_IN = 300, 80
TARIFF = Tariff.flat(RETAIL, FEED_IN)
POOLS = [MidMarketRate(), SupplyDemandRatio(), BillSharing()]


def orders_of(rows: list[tuple[int, int, int, int | None]]) -> Orders:
    """Build a book from (participant, side, lots, limit); None takes any price."""
    return book_of([(who, side, lots, side * ANY_PRICE if limit is None else limit) for who, side, lots, limit in rows])


LOTS = st.integers(1, 1000)
MEMBERS = st.integers(8, 12)
SIDES = st.sampled_from([BUY, SELL])
TAKERS = st.lists(st.tuples(MEMBERS, SIDES, LOTS, st.none()), max_size=10)
ANY_LIMIT = st.one_of(st.none(), st.integers(60, 320))
MIXED = st.lists(st.tuples(MEMBERS, SIDES, LOTS, ANY_LIMIT), max_size=10)


def by_largest_remainder(total: int, weights: list[int]) -> list[int]:
    whole = sum(weights)
    exact = [Fraction(total * weight, whole) for weight in weights]
    lots = [share.numerator // share.denominator for share in exact]
    for row in sorted(range(len(weights)), key=lambda row: (lots[row] - exact[row], row))[: total - sum(lots)]:
        lots[row] += 1
    return lots


def mid_market(wanted: int, offered: int) -> int:
    return (RETAIL + FEED_IN) // 2


def scarcity(wanted: int, offered: int) -> int:
    ratio = min(Fraction(offered, max(wanted, 1)), Fraction(1))
    exact = Fraction(RETAIL * FEED_IN) / ((RETAIL - FEED_IN) * ratio + FEED_IN)
    return round(exact)


def pooled(rows, price_of):
    """Return lots filled by row and the price; rows whose limit forbids the price leave, again and again."""
    inside = list(range(len(rows)))
    while True:
        total = {side: sum(rows[row][2] for row in inside if rows[row][1] == side) for side in (BUY, SELL)}
        price = price_of(total[BUY], total[SELL])
        willing = [row for row in inside if rows[row][3] is None or rows[row][1] * (rows[row][3] - price) >= 0]
        if willing == inside:
            break
        inside = willing
    traded = min(total.values())
    filled = [0] * len(rows)
    for side in (BUY, SELL):
        mine = [row for row in inside if rows[row][1] == side]
        if mine:
            for row, lots in zip(mine, by_largest_remainder(traded, [rows[row][2] for row in mine]), strict=True):
                filled[row] = lots
    return filled, price if traded else None


@pytest.mark.parametrize(("rule", "price_of"), [(MidMarketRate(), mid_market), (SupplyDemandRatio(), scarcity)])
@given(rows=st.one_of(TAKERS, MIXED))
def test_pool_is_shared_pro_rata_at_its_price(rule, price_of, rows):
    orders = orders_of(rows)
    _, clearing = rule.step(None, orders, Context(TARIFF))
    filled, price = pooled(rows, price_of)
    assert (orders.quantity - unfilled(orders, clearing)).tolist() == filled
    assert clearing.prices.price.tolist() == ([] if price is None else [price])
    assert set(clearing.trades.buy_price.tolist()) == set(clearing.trades.sell_price.tolist()) <= {price}


@given(
    wanted=st.integers(1, 10**9),
    offered=st.integers(1, 10**9),
    feed_in=st.integers(0, 10**6),
    gap=st.integers(0, 10**6),
)
def test_scarcity_price_is_the_formula_and_lies_between_the_utilitys_prices(wanted, offered, feed_in, gap):
    retail = feed_in + gap
    orders = orders_of([(8, BUY, wanted, None), (9, SELL, offered, None)])
    _, clearing = SupplyDemandRatio().step(None, orders, Context(Tariff.flat(retail, feed_in)))
    ratio = min(Fraction(offered, wanted), Fraction(1))
    divisor = gap * ratio + feed_in
    exact = Fraction(feed_in * retail) / divisor if divisor else Fraction(0)
    price = int(clearing.prices.price[0])
    assert abs(price - exact) <= Fraction(501, 1000)
    assert feed_in <= price <= retail


@given(
    lots=st.lists(st.integers(0, 100), min_size=2, max_size=2),
    more=st.integers(1, 50),
)
def test_prices_do_not_rise_with_supply(lots, more):
    wanted, offered = lots[0] + 1, lots[1] + 1
    for rule in (MidMarketRate(), SupplyDemandRatio()):
        prices = []
        for supply in (offered, offered + more):
            orders = orders_of([(8, BUY, wanted, None), (9, SELL, supply, None)])
            prices.append(int(rule.step(None, orders, Context(TARIFF))[1].prices.price[0]))
        assert prices[1] <= prices[0]


# --- bill sharing ---


def bills(rows, intervals) -> tuple[dict[int, Fraction], int]:
    """Return what each member pays in exact fractions of cash, and what the utility gets, from totals alone."""
    bought, sold = dict.fromkeys(range(8, 13), 0), dict.fromkeys(range(8, 13), 0)
    imports = exports = 0
    book = sorted(zip(intervals, rows, strict=True), key=lambda pair: pair[0])
    for _, group in groupby(book, key=lambda pair: pair[0]):
        net = 0
        for _, (who, side, lots, _) in group:
            (bought if side == BUY else sold)[who] += lots
            net += side * lots
        imports, exports = imports + max(net, 0), exports + max(-net, 0)
    all_bought, all_sold = sum(bought.values()) or 1, sum(sold.values()) or 1
    cost, income = imports * RETAIL, exports * FEED_IN
    return {
        who: Fraction(cost * bought[who], all_bought) - Fraction(income * sold[who], all_sold) for who in bought
    }, cost - income


@given(rows=TAKERS, data=st.data())
def test_bill_sharing_shares_one_bill(rows, data):
    intervals = sorted(data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows))))
    orders = orders_of(rows).replace(interval=np.array(intervals, np.int32))
    _, clearing = BillSharing().step(None, orders, Context(TARIFF))
    assert not clearing.trades.buy_price.any()
    left = unfilled(orders, clearing)
    pays = dict.fromkeys([*range(8, 13), COMMUNITY_FUND], 0)
    for who, side, lots in zip(orders.participant.tolist(), orders.side.tolist(), left.tolist(), strict=True):
        pays[who] += lots * (RETAIL if side == BUY else -FEED_IN)
    transfers = clearing.transfers
    for payer, payee, amount in zip(
        *(x.tolist() for x in (transfers.payer, transfers.payee, transfers.amount)), strict=True
    ):
        pays[payer] += amount
        pays[payee] -= amount
    assert set(transfers.code.tolist()) <= {BILL_SHARING}
    assert (transfers.amount > 0).all()
    expected, total = bills(rows, intervals)
    assert pays.pop(COMMUNITY_FUND) == 0
    assert sum(pays.values()) == total
    assert all(abs(pays[who] - expected[who]) < 2 for who in pays)  # one unit of cash for each of the two shares


def test_bill_sharing_leaves_out_who_would_not_trade_with_the_utility():
    rows = [(8, BUY, 10, None), (9, BUY, 10, RETAIL - 1), (10, SELL, 4, None), (11, SELL, 4, FEED_IN + 1)]
    orders = orders_of(rows)
    _, clearing = BillSharing().step(None, orders, Context(TARIFF))
    assert (orders.quantity - unfilled(orders, clearing)).tolist() == [4, 0, 4, 0]
    assert len(clearing.transfers) == 0  # one buyer alone pays his own import


# --- by hand ---


def test_mid_market_rate_is_rounded_down_to_a_tick():
    orders = orders_of([(8, BUY, 1, None), (9, SELL, 1, None)])
    for retail, feed_in, price in ((301, 80, 190), (0, -5, -3), (7, 7, 7)):
        _, clearing = MidMarketRate().step(None, orders, Context(Tariff.flat(retail, feed_in)))
        assert clearing.trades.buy_price.tolist() == [price]


def test_scarcity_price_of_a_worthless_feed_in_is_nothing():
    orders = orders_of([(8, BUY, 2, None), (9, SELL, 1, None)])
    _, clearing = SupplyDemandRatio().step(None, orders, Context(Tariff.flat(300, 0)))
    assert clearing.trades.buy_price.tolist() == [0]


@pytest.mark.parametrize("offered", [1, 10, 99, 100, 1000])
def test_scarcity_does_not_raise_the_price_at_a_feed_in_of_nothing_or_less(offered):
    orders = orders_of([(8, BUY, 100, None), (9, SELL, offered, None)])
    for feed_in, prices in ((0, {0}), (-50, {0, -50})):
        _, clearing = SupplyDemandRatio().step(None, orders, Context(Tariff.flat(300, feed_in)))
        assert set(clearing.trades.buy_price.tolist()) <= prices
    assert "needs a feed-in price above 0" in SupplyDemandRatio.__doc__


@pytest.mark.filterwarnings("error")
def test_a_divisor_next_to_nothing_is_drawn_back_to_the_tariff():
    lots = 1 << 46
    orders = orders_of([(8, BUY, 2 * lots, None), (9, SELL, lots + 1, None)])
    _, clearing = SupplyDemandRatio().step(None, orders, Context(Tariff.flat(1 << 36, -(1 << 36))))
    assert set(clearing.trades.buy_price.tolist()) == {-(1 << 36)}


def test_each_interval_has_its_own_tariff():
    orders = orders_of([(8, BUY, 1, None), (9, SELL, 1, None)] * 2).replace(interval=[5, 5, 6, 6])
    tariff = Tariff(5, np.array([300, 200]), np.array([100, 100]))
    _, clearing = MidMarketRate().step(None, orders, Context(tariff))
    assert clearing.prices.price.tolist() == [200, 150]


@pytest.mark.parametrize("rule", POOLS, ids=repr)
def test_pools_need_a_tariff_and_nobody_named(rule):
    orders = orders_of([(8, BUY, 1, None), (9, SELL, 1, None)])
    assert rule.step(None, orders, Context())[1].refused == Reject.NO_TARIFF
    named = orders.replace(partner=[9, -1])
    assert rule.step(None, named, Context(TARIFF))[1].refused == Reject.PARTNER_NOT_SUPPORTED


@pytest.mark.parametrize("rule", POOLS, ids=repr)
def test_empty_and_one_sided_books(rule):
    for rows in ([], [(8, BUY, 2, None)], [(8, SELL, 2, None), (9, SELL, 2, 100)]):
        _, clearing = rule.step(None, orders_of(rows), Context(TARIFF))
        code = Reject.ONE_SIDED if rows else Reject.EMPTY_BOOK
        assert (len(clearing.trades), len(clearing.prices), clearing.refused) == (0, 0, code)
