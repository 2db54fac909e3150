"""One-sided auctions: payments against plain-Python twins, and who has a reason to tell the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders
from wattle.market.auction_one_sided import DiscriminatoryAuction, ReverseAuction, VickreyAuction
from wattle.testing.checks_claimed import surpluses
from wattle.testing.conformance import check_mechanism
from wattle.testing.generators import book_of

RULES = [
    VickreyAuction(), VickreyAuction("uniform"), DiscriminatoryAuction(),
    ReverseAuction(), ReverseAuction("first-rejected"), ReverseAuction("pay-as-offer"),
]  # fmt: skip
FOR_THE_TRUTH = [VickreyAuction(), VickreyAuction("uniform"), ReverseAuction("first-rejected")]
each_rule = pytest.mark.parametrize("rule", RULES, ids=repr)


def clear(rule, orders: Orders, tariff: Tariff | None = None):
    return rule.step(None, orders, Context(tariff))[1]


def sale(lots: int, reserve: int, bids) -> Orders:
    return book_of([(8, SELL, lots, reserve), *((9 + n, BUY, q, limit) for n, (q, limit) in enumerate(bids))])


def call(lots: int, cap: int, offers) -> Orders:
    return book_of([(8, BUY, lots, cap), *((9 + n, SELL, q, limit) for n, (q, limit) in enumerate(offers))])


ACTIVE = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 12)), max_size=7)
books = st.lists(
    st.tuples(st.integers(8, 12), st.sampled_from([BUY, SELL]), st.integers(1, 5), st.integers(0, 12)), max_size=12
).map(book_of)


def lots_of(orders: Orders, side: int, but: int = -1) -> list[int]:
    rows = [row for row in range(len(orders)) if orders.side[row] == side and orders.participant[row] != but]
    return sorted((int(orders.limit[row]) for row in rows for _ in range(orders.quantity[row])), reverse=side == BUY)


def best(orders: Orders, but: int = -1) -> int:
    """Return the largest welfare without the bids of a member; his offers stay."""
    return sum(
        bid - ask for bid, ask in zip(lots_of(orders, BUY, but), lots_of(orders, SELL), strict=False) if bid > ask
    )


@given(orders=books)
def test_a_vickrey_buyer_gains_what_his_bids_add(orders):
    trades = clear(VickreyAuction(), orders).trades
    saved = (orders.limit[trades.buy_order] - trades.buy_price) * trades.quantity
    for who in set(orders.participant.tolist()):
        assert saved[trades.buyer == who].sum() == best(orders) - best(orders, who)


@given(lots=st.integers(1, 9), reserve=st.integers(0, 8), bids=ACTIVE, data=st.data())
def test_no_vickrey_buyer_gains_by_another_bid_or_fewer_lots(lots, reserve, bids, data):
    if not bids:
        return
    book = sale(lots, reserve, bids)
    row = data.draw(st.integers(1, len(bids)))
    limit, quantity = book.limit.copy(), book.quantity.copy()
    limit[row] = data.draw(st.integers(-1, 14))
    quantity[row] = data.draw(st.integers(1, int(quantity[row])))
    told = book.replace(limit=limit, quantity=quantity)
    lied, honest = (surpluses(said, book.limit, clear(VickreyAuction(), said))[8 + row] for said in (told, book))
    assert lied <= honest


def test_a_vickrey_seller_may_gain_by_a_false_reserve():
    assert clear(VickreyAuction(), sale(1, 0, [(1, 25), (1, 20)])).trades.buy_price.tolist() == [20]
    assert clear(VickreyAuction(), sale(1, 24, [(1, 25), (1, 20)])).trades.buy_price.tolist() == [24]


@pytest.mark.parametrize("limit", [3, 9])
def test_a_bid_that_meets_takers_only_is_not_paid_at_its_own_limit(limit):
    # Without a tariff he would pay what he bids, so a low bid would pay.
    book = book_of([(8, BUY, 1, limit), (9, SELL, 1, -ANY_PRICE)])
    for rule in FOR_THE_TRUTH[:2]:
        assert clear(rule, book).refused == Reject.NO_TARIFF
        assert clear(rule, book, Tariff.flat(30, 2)).trades.buy_price.tolist() == [2]
    offer = book_of([(8, SELL, 1, limit), (9, BUY, 1, ANY_PRICE)])
    assert clear(ReverseAuction("first-rejected"), offer).refused == Reject.NO_TARIFF
    assert clear(ReverseAuction("first-rejected"), offer, Tariff.flat(30, 2)).trades.buy_price.tolist() == [30]
    # Payments that nobody calls truthful need no tariff.
    for word in ("uniform", "pay-as-offer"):
        assert clear(ReverseAuction(word), offer).trades.buy_price.tolist() == [limit]


def test_prices_of_displaced_lots_by_hand():
    # Krishna's rule: three lots, bids 10 10 (Ann), 9 (Ben), 8 (Cleo), 5 (Dan), reserve 2.
    trades = clear(VickreyAuction(), sale(3, 2, [(2, 10), (1, 9), (1, 8), (1, 5)])).trades
    paid = {who: sorted(np.repeat(trades.buy_price, trades.quantity)[
        np.repeat(trades.buyer, trades.quantity) == who].tolist()) for who in (9, 10)}  # fmt: skip
    assert paid == {9: [5, 8], 10: [8]}
    # With nobody left to displace, the reserve is paid.
    alone = clear(VickreyAuction(), sale(3, 2, [(2, 10), (1, 9)])).trades
    assert set(alone.buy_price.tolist()) == {2}


@given(orders=books)
def test_uniform_vickrey_price_is_the_best_losing_value(orders):
    bids, asks = lots_of(orders, BUY), lots_of(orders, SELL)
    traded = sum(bid >= ask for bid, ask in zip(bids, asks, strict=False))
    trades = clear(VickreyAuction("uniform"), orders).trades
    assert trades.quantity.sum() == traded
    if traded:
        assert set(trades.buy_price.tolist()) == {max([asks[traded - 1], *bids[traded:]])}
    assert (trades.buy_price == trades.sell_price).all()


@given(lots=st.integers(1, 9), reserve=st.integers(0, 8), bids=ACTIVE)
def test_a_generalized_vickrey_buyer_never_pays_more_than_the_uniform_price(lots, reserve, bids):
    book = sale(lots, reserve, bids)
    most = clear(VickreyAuction("uniform"), book).trades.buy_price.max(initial=0)
    assert (clear(VickreyAuction(), book).trades.buy_price <= most).all()


@given(orders=books)
def test_discriminatory_buyers_pay_their_bids(orders):
    trades = clear(DiscriminatoryAuction(), orders).trades
    assert (trades.buy_price == orders.limit[trades.buy_order]).all()
    assert (trades.sell_price == trades.buy_price).all()


@given(lots=st.integers(1, 9), cap=st.integers(3, 12), offers=ACTIVE)
def test_reverse_auction_prices(lots, cap, offers):
    book = call(lots, cap, offers)
    asks = lots_of(book, SELL)
    won = [ask for ask in asks[:lots] if ask <= cap]
    found = {word: clear(ReverseAuction(word), book).trades for word in ("uniform", "first-rejected", "pay-as-offer")}
    for trades in found.values():
        assert trades.quantity.sum() == len(won)
    if won:
        assert set(found["uniform"].buy_price.tolist()) == {won[-1]}
        assert set(found["first-rejected"].sell_price.tolist()) == {min([cap, *asks[len(won) :]])}
    own = found["pay-as-offer"]
    assert (own.buy_price == book.limit[own.sell_order]).all()


@given(lots=st.integers(1, 6), cap=st.integers(3, 12), limits=st.lists(st.integers(0, 12), min_size=1), data=st.data())
def test_no_seller_of_one_lot_gains_by_a_false_offer_at_the_first_rejected_price(lots, cap, limits, data):
    book = call(lots, cap, [(1, limit) for limit in limits])
    row = data.draw(st.integers(1, len(limits)))
    limit = book.limit.copy()
    limit[row] = data.draw(st.integers(-1, 14))
    told = book.replace(limit=limit)
    rule = ReverseAuction("first-rejected")
    lied, honest = (surpluses(said, book.limit, clear(rule, said))[8 + row] for said in (told, book))
    assert lied <= honest


@each_rule
def test_each_form_of_payment_passes_the_conformance_suite(rule):
    assert [result for result in check_mechanism(rule, seed=4, books=40) if not result.passed] == []


@each_rule
def test_partners_and_takers_alone_are_refused(rule):
    book = book_of([(8, BUY, 1, 9), (9, SELL, 1, 1)])
    assert clear(rule, book.replace(partner=np.array([9, -1]))).refused == Reject.PARTNER_NOT_SUPPORTED
    takers = book_of([(8, BUY, 2, ANY_PRICE), (9, SELL, 2, -ANY_PRICE)])
    assert clear(rule, takers).refused == (Reject.NO_TARIFF if rule in FOR_THE_TRUTH else Reject.NO_PRICE)
    at_tariff = clear(rule, takers, Tariff.flat(30, 8)).trades
    assert set(at_tariff.buy_price.tolist()) <= {8, 30}
    assert at_tariff.quantity.sum() == 2


@pytest.mark.parametrize("rule", [VickreyAuction, ReverseAuction])
def test_an_unknown_payment_is_refused(rule):
    with pytest.raises(InvariantError, match="expected one of"):
        rule(payment="most")


def test_sums_that_do_not_fit_are_refused():
    book = book_of([(8 + n, 1 - 2 * (n % 2), 1 << 48, 1 << 12) for n in range(8)])
    assert clear(VickreyAuction(), book).refused == Reject.TOO_LARGE
