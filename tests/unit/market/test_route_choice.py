"""Inside or outside: flags and prices decide, no lot is traded twice, and the limits are rules that are known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wattle.market.stackelberg  # noqa: F401 (registers a rule that is named below)
from wattle.core.checks import InputError, InvariantError, Reject
from wattle.core.messages import Context, Tariff, unfilled
from wattle.core.tables import ANY_PRICE, BUY, MARKET_OPERATOR, Orders
from wattle.market.auction_double import UniformAuction
from wattle.market.nested import Nested
from wattle.market.route_choice import BY_PRICE, INSIDE, OUTSIDE, RouteChoice
from wattle.testing import checks_always as always
from wattle.testing import checks_claimed as claimed
from wattle.testing.generators import book_of, part
from wattle.testing.strategies import order_books, tariffs
from wattle.testing.trial import Trial, differs, sorted_rows

LEVELS = "0:10,1:10,2:11,3:11"
NEVER = 1 << 45
MEMBERS = range(8, 21)


def in_zones(rows, zones):
    return book_of(rows).replace(zone=np.array(zones))


def trades_by_order(orders, clearing):
    """Return the lots of each order inside, and by way of the operator."""
    inside, outside = np.zeros(len(orders), np.int64), np.zeros(len(orders), np.int64)
    trades = clearing.trades
    for ids, other in ((trades.buy_order, trades.seller), (trades.sell_order, trades.buyer)):
        for order_id, who, lots in zip(ids.tolist(), other.tolist(), trades.quantity.tolist(), strict=True):
            if order_id >= 0:
                table = outside if who == MARKET_OPERATOR else inside
                table[np.flatnonzero(orders.id == order_id)[0]] += lots
    return inside, outside


# --- the limits ---


@pytest.mark.parametrize("fee", [0, 7, 40])
def test_with_a_threshold_beyond_all_prices_it_is_nested_with_one_level(fee):
    outside = 0
    for case in part(5, 40, ["zones", "some price takers", "ties", "shuffled rows"]):
        nested = Trial(Nested(levels=LEVELS, between_ticks=fee), case).outcome.clearing
        chosen = Trial(RouteChoice(levels=LEVELS, fee_ticks=fee, outside_ticks=NEVER), case).outcome
        if nested.refused is not None or chosen.clearing.refused is not None:
            continue
        stay = chosen.clearing.report["orders_gone_outside"] == 0
        if stay:  # where a community has no price of its own, its members go outside at any threshold
            assert differs(nested, chosen.clearing) is None
            outside += int(chosen.clearing.report["traded_outside_lots"])
    assert outside > 20


def test_all_inside_is_the_inner_rule_zone_by_zone():
    rule = RouteChoice(levels=LEVELS, routes=dict.fromkeys(MEMBERS, INSIDE))
    for case in part(6, 40, ["zones", "some price takers", "random"]):
        inner, found = Trial(UniformAuction(), case).outcome.clearing, Trial(rule, case).outcome.clearing
        assert sorted_rows(inner.trades) == sorted_rows(found.trades)


def test_all_outside_is_the_inner_rule_in_one_zone_with_the_fee_in_the_limits():
    rule, traded = RouteChoice(levels=LEVELS, routes=dict.fromkeys(MEMBERS, OUTSIDE), fee_ticks=10), 0
    for case in part(7, 40, ["zones", "random"]):
        orders = case.orders
        moved = orders.replace(zone=10 + orders.zone // 2, limit=orders.limit - 5 * orders.side)
        _, joint = UniformAuction().step(None, moved, Context(tariff=None))
        found = Trial(rule, case).outcome.clearing
        assert unfilled(orders, found).tolist() == unfilled(moved, joint).tolist()
        traded += int(joint.trades.quantity.sum())
        pays = sorted(zip(found.trades.buy_order.tolist(), found.trades.buy_price.tolist(), strict=True))
        expected = sorted(
            {(i, p + 5) for i, p in zip(joint.trades.buy_order.tolist(), joint.trades.buy_price.tolist(), strict=True)}
        )
        assert sorted({pair for pair in pays if pair[0] >= 0}) == expected
    assert traded > 100


# --- the choice, a second way ---


def plain_choice(orders, rule, tariff):
    """Return lots of each order inside and outside, from a plain reading of the rule, order by order."""
    parents = {int(pair.split(":")[0]): int(pair.split(":")[1]) for pair in rule.levels.split(",")}
    auction, context = UniformAuction(), Context(tariff=tariff)
    above = [parents.get(int(zone), -1) for zone in orders.zone]
    route = [
        rule.routes.get(int(who), BY_PRICE) if up >= 0 else INSIDE
        for who, up in zip(orders.participant, above, strict=True)
    ]
    half = {1: rule.fee_ticks - rule.fee_ticks // 2, -1: rule.fee_ticks // 2}
    limits = []
    for row in range(len(orders)):
        limit, side = int(orders.limit[row]), int(orders.side[row])
        if abs(limit) == ANY_PRICE and tariff is not None:
            retail, feed_in = tariff.at(orders.interval[row : row + 1])
            limit = int(retail[0] if side == BUY else feed_in[0])
        limits.append(limit if abs(limit) == ANY_PRICE else limit - side * half[side])

    def run(rows, lots, away):
        rows = np.array(rows, np.int64)
        book = orders.take(rows).replace(quantity=np.array([lots[row] for row in rows], np.int64))
        if away:
            book = book.replace(
                limit=np.array([limits[row] for row in rows]), zone=np.array([above[row] for row in rows])
            )
        _, answer = auction.step(None, book, context)
        given = book.quantity - unfilled(book, answer)
        prices = {(i, z): p for i, z, p in zip(*(c.tolist() for c in answer.prices.arrays()), strict=True)}
        return dict(zip(rows.tolist(), given.tolist(), strict=True)), prices

    full, rows = orders.quantity.tolist(), range(len(orders))
    _, here = run([row for row in rows if route[row] != OUTSIDE], full, False)
    _, there = run([row for row in rows if route[row] != INSIDE], full, True)
    goes = []
    for row in rows:
        inside = here.get((int(orders.interval[row]), int(orders.zone[row])))
        outside = there.get((int(orders.interval[row]), above[row]))
        side = int(orders.side[row])
        better = outside is not None and (
            inside is None or side * (inside - (outside + side * half[side])) > rule.outside_ticks
        )
        goes.append(route[row] == OUTSIDE or (route[row] == BY_PRICE and better))
    home, _ = run([row for row in rows if not goes[row]], full, False)
    left = [full[row] - home.get(row, 0) for row in rows]
    away, _ = run([row for row in rows if route[row] != INSIDE and left[row] > 0], left, True)
    return [home.get(row, 0) for row in rows], [away.get(row, 0) for row in rows]


routes = st.dictionaries(st.integers(8, 12), st.sampled_from((BY_PRICE, INSIDE, OUTSIDE)))


@settings(max_examples=120)
@given(
    book=order_books(zones=3, intervals=2),
    tariff=tariffs(),
    routes=routes,
    fee=st.integers(0, 60),
    threshold=st.integers(0, 80),
)
def test_a_plain_reading_of_the_rule_gives_the_same_lots(book, tariff, routes, fee, threshold):
    rule = RouteChoice(levels="0:10,1:10", routes=routes, fee_ticks=fee, outside_ticks=threshold)
    _, clearing = rule.step(None, book, Context(tariff=tariff))
    home, away = plain_choice(book, rule, tariff)
    assert (book.quantity - unfilled(book, clearing)).tolist() == [a + b for a, b in zip(home, away, strict=True)]
    if clearing.refused is None and len(clearing.trades):
        assert clearing.report["traded_inside_lots"] * 2 == sum(home)
        assert clearing.report["traded_outside_lots"] * 2 == sum(away)


def test_promises_hold_on_zones_with_an_outside_market():
    checks = [
        always.conserves,  # no lot is traded twice
        always.deterministic,
        always.row_order,
        always.whole_numbers,
        always.inputs_untouched,
        always.refused_whole,
        claimed.budget_balanced,
        claimed.individually_rational,
        claimed.separable,
        claimed.exact,
    ]
    carried, both = 0, 0
    for threshold in (0, 60):
        rule = RouteChoice(levels=LEVELS, routes={8: INSIDE, 9: OUTSIDE}, fee_ticks=7, outside_ticks=threshold)
        for case in part(3, 40, ["zones", "some price takers", "ties", "single order", "shuffled rows"]):
            trial = Trial(rule, case)
            for check in checks:
                assert check(trial) is None, check.__name__
            clearing = trial.outcome.clearing
            inside, outside = trades_by_order(case.orders, clearing)
            assert not outside[case.orders.participant == 8].any()
            carried += int(outside.sum() > 0)
            both += int(((inside > 0) & (outside > 0)).any())
            trades = clearing.trades
            for interval in np.unique(trades.interval):
                here = trades.take(trades.interval == interval)
                bought = here.quantity[here.buyer == MARKET_OPERATOR].sum()
                assert bought == here.quantity[here.seller == MARKET_OPERATOR].sum()
    assert carried > 20
    assert both > 5


def test_a_home_trades_with_its_community_and_with_a_peer_elsewhere():
    book = in_zones([(8, 1, 5, 300), (9, -1, 3, 100), (10, -1, 6, 120)], [0, 0, 1])
    _, clearing = RouteChoice(levels="0:10,1:10", fee_ticks=20, outside_ticks=200).step(None, book, Context())
    inside, outside = trades_by_order(book, clearing)
    assert inside.tolist() == [3, 3, 0]
    assert outside.tolist() == [2, 0, 2]


def test_the_threshold_switches_the_route():
    book = in_zones([(8, 1, 5, 300), (9, -1, 3, 100), (10, -1, 6, 120)], [0, 0, 1])
    # Inside 8 pays 300, outside 130 + 10: a gain of 160.
    gone = [
        RouteChoice(levels="0:10,1:10", fee_ticks=20, outside_ticks=ticks).step(None, book, Context())[1].report
        for ticks in (159, 160)
    ]
    assert [report["orders_gone_outside"] for report in gone] == [2, 1]  # 10 has nobody at home and always goes
    assert [report["traded_inside_lots"] for report in gone] == [0, 3]


def test_a_choice_that_prices_overtake_is_reported():
    # 9 leaves a dear community for a cheap market outside. Without him it is cheap at home: 120 against 150.
    rows = [(8, 1, 4, 300), (9, 1, 5, 290), (10, -1, 5, 120), (11, -1, 6, 100), (12, 1, 4, 150)]
    book = in_zones(rows, [0, 0, 0, 1, 2])
    levels = "0:10,1:10,2:10"
    _, clearing = RouteChoice(levels=levels, routes={8: INSIDE}).step(None, book, Context())
    inside, outside = trades_by_order(book, clearing)
    assert outside.tolist() == [0, 4, 0, 6, 2]
    assert inside.tolist() == [4, 1, 5, 0, 0]  # 9 and 10 meet outside for a lot; it needs no operator
    assert clearing.trades.buy_price[clearing.trades.buyer == 9].tolist() == [150, 150]
    assert clearing.report["would_switch"] == 2  # 9, and 10 who stayed for the price of 290
    _, calm = RouteChoice(levels=levels, routes={8: INSIDE}, outside_ticks=30).step(None, book, Context())
    assert calm.report["would_switch"] == 0


@pytest.mark.parametrize("route", [BY_PRICE, INSIDE, OUTSIDE])
def test_members_in_the_zone_of_the_outside_market_trade_there(route):
    book = in_zones([(8, -1, 5, 10), (9, 1, 5, 30)], [0, 10])
    _, clearing = RouteChoice(levels="0:10", fee_ticks=6, routes={9: route}).step(None, book, Context())
    assert unfilled(book, clearing).tolist() == [0, 0]
    trades = clearing.trades
    assert trades.sell_price[trades.seller == 8].tolist() == [18]  # between 13 and 30, less his half of the fee
    assert trades.buy_price[trades.buyer == 9].tolist() == [21]
    home = RouteChoice(levels="0:10", fee_ticks=6).step(
        None, in_zones([(8, -1, 5, 10), (9, 1, 5, 30)], [10, 10]), Context()
    )
    assert home[1].trades.buy_price.tolist() == home[1].trades.sell_price.tolist() == [20]


@pytest.mark.parametrize("fee", [0, 7])
def test_it_is_nested_with_one_level_also_with_members_in_the_outside_zone(fee):
    levels, carried = "0:2,1:2", 0
    for case in part(5, 40, ["zones"]):
        case = replace(case, orders=case.orders.replace(interval=0 * case.orders.interval))
        nested = Trial(Nested(levels=levels, between_ticks=fee), case).outcome.clearing
        chosen = Trial(RouteChoice(levels=levels, fee_ticks=fee, outside_ticks=NEVER), case).outcome.clearing
        if chosen.refused is None and chosen.report["orders_gone_outside"] == 0:
            assert differs(nested, chosen) is None
            carried += int((chosen.trades.buyer == MARKET_OPERATOR).sum())
    assert carried > 10


def test_refusals():
    rule = RouteChoice(levels=LEVELS)
    named = book_of([(8, 1, 5, 100), (9, -1, 5, 50)]).replace(partner=np.array([9, -1]))
    assert rule.step(None, named, Context())[1].refused == Reject.PARTNER_NOT_SUPPORTED
    assert rule.step(None, Orders.empty(), Context())[1].refused == Reject.EMPTY_BOOK
    takers = in_zones([(8, 1, 5, ANY_PRICE), (9, -1, 5, -ANY_PRICE)], [0, 1])
    assert rule.step(None, takers, Context())[1].refused == Reject.NO_PRICE
    with_tariff = RouteChoice(levels=LEVELS, fee_ticks=20).step(None, takers, Context(tariff=Tariff.flat(300, 100)))[1]
    assert with_tariff.trades.buy_price.max() <= 300
    assert with_tariff.trades.sell_price.min() >= 100
    # Takers at home form no price, but a price outside is enough.
    mixed = in_zones([(8, 1, 5, ANY_PRICE), (9, -1, 5, -ANY_PRICE), (10, -1, 9, 90)], [0, 0, 1])
    assert rule.step(None, mixed, Context())[1].refused is None


@pytest.mark.parametrize(
    "bad",
    [
        {"levels": "1-2"},
        {"levels": "1:2,2:3"},
        {"fee_ticks": -1},
        {"outside_ticks": -1},
        {"routes": {8: 3}},
        {"inner": "route-choice"},
    ],
)
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InvariantError):
        RouteChoice(**bad)


def test_inner_rules_that_are_unknown_or_ask():
    with pytest.raises(InputError, match="uniform-auction"):
        RouteChoice(inner="uniform-aution")
    with pytest.raises(InvariantError, match="asks its members"):
        RouteChoice(inner="stackelberg").step(None, book_of([(8, 1, 5, 100), (9, -1, 5, 50)]), Context())
