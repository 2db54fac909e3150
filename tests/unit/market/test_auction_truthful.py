"""Truthful auctions against plain-Python twins, the theorems that make them worth having, and what they cannot do."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders
from wattle.market.auction_truthful import HuangAuction, Muda, TradeReduction, VickreyClarkeGroves
from wattle.market.mechanism import MECHANISMS, Claim
from wattle.market.storage_auction import StorageAuction
from wattle.scenario.plugins import load_mechanisms
from wattle.testing.checks_claimed import surpluses
from wattle.testing.generators import Case, book_of
from wattle.testing.small_games import truthful, with_takers
from wattle.testing.trial import Trial

RULES = [TradeReduction(), HuangAuction(), Muda(), VickreyClarkeGroves()]
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)


def books(most_lots: int = 4, most: int = 9, members: int | None = None):
    """Draw books of one order a member, or of several orders of few members."""
    row = st.tuples(st.integers(8, 8 + (members or 0)), st.sampled_from([BUY, SELL]), st.integers(1, most_lots))
    rows = st.lists(st.tuples(row, st.integers(0, 12)), max_size=most)
    return rows.map(
        lambda rows: book_of(
            [
                (who if members else 8 + number, side, lots, limit)
                for number, ((who, side, lots), limit) in enumerate(rows)
            ]
        )
    )


def clear(rule, orders: Orders, tariff: Tariff | None = None, seed: int = 0):
    return rule.step(None, orders, Context(tariff, rng=np.random.default_rng(seed)))[1]


def single_lots(orders: Orders, but: int = -1) -> tuple[list[int], list[int]]:
    """Return the limits of all wanted lots, dearest first, and of all offered lots, cheapest first."""
    bids, asks = [], []
    for who, side, lots, limit in zip(*(c.tolist() for c in columns(orders)), strict=True):
        if who != but:
            (bids if side > 0 else asks).extend([limit] * lots)
    return sorted(bids, reverse=True), sorted(asks)


def columns(orders: Orders):
    return orders.participant, orders.side, orders.quantity, orders.limit


def best(orders: Orders, but: int = -1) -> int:
    bids, asks = single_lots(orders, but)
    return sum(bid - ask for bid, ask in zip(bids, asks, strict=False) if bid > ask)


def welfare(orders: Orders, trades) -> int:
    return int(((orders.limit[trades.buy_order] - orders.limit[trades.sell_order]) * trades.quantity).sum())


# --- McAfee ---


@given(orders=books())
def test_trade_reduction_is_mcafees_auction_of_single_lots(orders):
    bids, asks = single_lots(orders)
    traded = sum(bid >= ask for bid, ask in zip(bids, asks, strict=False))
    trades = clear(TradeReduction(), orders).trades
    if len(bids) > traded < len(asks) and traded:
        middle = (bids[traded] + asks[traded]) // 2
        if asks[traded - 1] <= middle <= bids[traded - 1]:
            assert trades.quantity.sum() == traded
            assert set(trades.buy_price.tolist()) == set(trades.sell_price.tolist()) == {middle}
            return
    assert trades.quantity.sum() == max(traded - 1, 0)
    assert set(trades.buy_price.tolist()) <= {bids[traded - 1]} if traded else len(trades) == 0
    assert set(trades.sell_price.tolist()) <= {asks[traded - 1]} if traded else True


@settings(max_examples=60)
@given(orders=books(most_lots=1, most=8))
def test_mcafee_is_truthful_for_members_of_one_lot(orders):
    assert truthful(Trial(TradeReduction(), Case("drawn", orders, None, 0))) is None


@given(orders=books())
def test_mcafee_loses_at_most_the_least_valuable_trade(orders):
    bids, asks = single_lots(orders)
    gains = [bid - ask for bid, ask in zip(bids, asks, strict=False) if bid >= ask]
    lost = best(orders) - welfare(orders, clear(TradeReduction(), orders).trades)
    assert 0 <= lost <= min(gains, default=0)


def test_a_member_of_two_lots_sets_his_own_price_in_a_trade_reduction():
    book = book_of([(8, BUY, 2, 20), (9, SELL, 1, 1), (10, SELL, 1, 2)])
    complaint = truthful(Trial(TradeReduction(), Case("by hand", book, None, 0)))
    assert "participant 8 gains" in complaint


# --- Huang, Scheller-Wolf and Sycara ---


def by_huang(orders: Orders) -> tuple[dict[int, int], tuple[int, int] | None]:
    """Return lots by order and the two prices, lot by lot."""
    merit = {
        side: sorted(
            np.flatnonzero(orders.side == side).tolist(), key=lambda row: (-side * int(orders.limit[row]), row)
        )
        for side in (BUY, SELL)
    }
    lots = {side: [row for row in merit[side] for _ in range(orders.quantity[row])] for side in merit}
    pairs = [
        (bid, ask) for bid, ask in zip(lots[BUY], lots[SELL], strict=False) if orders.limit[bid] >= orders.limit[ask]
    ]
    if not pairs:
        return {}, None
    last = dict(zip((BUY, SELL), pairs[-1], strict=True))
    stay = {side: merit[side][: merit[side].index(last[side])] for side in merit}
    fill = {row: int(orders.quantity[row]) for side in stay for row in stay[side]}
    totals = {side: sum(fill[row] for row in stay[side]) for side in stay}
    side = BUY if totals[BUY] > totals[SELL] else SELL
    excess = totals[side] - totals[-side]
    while excess:  # one lot from each in turn, lowest id first
        for row in sorted(row for row in stay[side] if fill[row]):
            if excess:
                fill[row] -= 1
                excess -= 1
    prices = int(orders.limit[last[BUY]]), int(orders.limit[last[SELL]])
    return {row: lots for row, lots in fill.items() if lots}, prices


@given(orders=books(most_lots=6, most=12))
def test_huang_auction_against_its_twin(orders):
    fill, prices = by_huang(orders)
    trades = clear(HuangAuction(), orders).trades
    found = dict.fromkeys(range(len(orders)), 0)
    for ids in (trades.buy_order, trades.sell_order):
        for row, lots in zip(ids.tolist(), trades.quantity.tolist(), strict=True):
            found[row] += lots
    assert sum(found.values()) == sum(fill.values())
    assert {row: lots for row, lots in found.items() if lots} == fill
    if prices is not None:
        assert set(trades.buy_price.tolist()) <= {prices[0]}
        assert set(trades.sell_price.tolist()) <= {prices[1]}


@pytest.mark.parametrize("rule", [Muda(), VickreyClarkeGroves()], ids=repr)
@settings(max_examples=40)
@given(orders=books(most_lots=3, most=7), seed=st.integers(0, 9))
def test_no_limit_and_no_smaller_quantity_beats_the_truth(rule, orders, seed):
    assert truthful(Trial(rule, Case("drawn", orders, None, seed))) is None


def gain(rule, orders: Orders, told: Orders, row: int, seed: int = 0) -> int:
    return surpluses(told, orders.limit, clear(rule, told, seed=seed))[int(orders.participant[row])]


@pytest.mark.parametrize("rule", [HuangAuction(), Muda(), VickreyClarkeGroves()], ids=repr)
@given(orders=books(most_lots=5), data=st.data())
def test_a_false_limit_never_pays(rule, orders, data):
    if len(orders) == 0:
        return
    row = data.draw(st.integers(0, len(orders) - 1))
    limit, seed = orders.limit.copy(), data.draw(st.integers(0, 9))
    limit[row] = data.draw(st.integers(-2, 15))
    assert gain(rule, orders, orders.replace(limit=limit), row, seed) <= gain(rule, orders, orders, row, seed)


def test_holding_back_lots_can_pay_in_the_huang_auction_and_not_in_the_others():
    book = book_of(
        [(8, BUY, 3, 10), (9, BUY, 1, 8), (10, BUY, 1, 5), (11, SELL, 3, 1), (12, SELL, 1, 2), (13, SELL, 1, 9)]
    )
    fewer = book.replace(quantity=np.array([2, 1, 1, 3, 1, 1]))
    assert gain(HuangAuction(), book, book, 0) == 3 * (10 - 8)
    assert gain(HuangAuction(), book, fewer, 0) == 2 * (10 - 5)
    assert Claim.TRUTHFUL not in MECHANISMS["huang-auction"].claims
    for seed in range(20):
        for rule in (Muda(), VickreyClarkeGroves()):
            assert gain(rule, book, fewer, 0, seed) <= gain(rule, book, book, 0, seed)


# --- MUDA ---


def half_of(who: int, seed: int) -> set[int]:
    """Return the members of the half of `who`: those who trade with him when they meet among unwilling others."""
    found = set()
    for other in set(range(8, 20)) - {who}:
        unwilling = [(30 + n, BUY if n % 2 else SELL, 1, 4 if n % 2 else 6) for n in range(40)]
        trades = clear(Muda(), book_of([(who, BUY, 1, 9), (other, SELL, 1, 1), *unwilling]), seed=seed).trades
        if ((trades.buyer == who) & (trades.seller == other)).any():
            found.add(other)
    return found


@given(orders=books(most=14), seed=st.integers(0, 200))
def test_halves_of_muda_trade_at_one_price_each_and_never_across(orders, seed):
    trades = clear(Muda(), orders, seed=seed).trades
    assert (trades.buy_price == trades.sell_price).all()
    linked: dict[int, int] = {}
    for buyer, seller, price in zip(trades.buyer, trades.seller, trades.buy_price, strict=True):
        for who in (int(buyer), int(seller)):
            assert linked.setdefault(who, int(price)) == price
    assert len(set(linked.values())) <= 2


def test_the_split_of_muda_is_the_same_whoever_else_is_there_and_about_even():
    book = book_of([(8 + n, BUY if n % 2 else SELL, 1, 10 if n % 2 else 5) for n in range(400)])
    sizes = []
    for seed in range(30):
        trades = clear(Muda(), book, seed=seed).trades
        sizes.append(int(trades.quantity.sum()))
    assert 160 < np.mean(sizes) < 200  # the most is 200; each half loses the difference of its two sides
    halves = {who: half_of(who, 3) | {who} for who in range(8, 20)}
    assert {frozenset(half) for half in halves.values()} == {frozenset(halves[8]), frozenset(range(8, 20)) - halves[8]}
    assert 0 < len(halves[8]) < 12


def test_muda_comes_close_to_the_best_in_a_large_market():
    rng = np.random.default_rng(5)
    rows = [(8 + n, 1 if n % 2 else -1, int(rng.integers(1, 5)), int(rng.integers(0, 1000))) for n in range(4000)]
    book = book_of(rows)
    assert welfare(book, clear(Muda(), book).trades) > 0.9 * best(book)


def test_muda_needs_chance():
    with pytest.raises(InvariantError, match="no chance"):
        Muda().step(None, book_of([(8, BUY, 1, 9)]), Context())


def test_a_half_without_a_price_keeps_the_other_from_trading():
    book = book_of([(8, BUY, 1, 9), (9, SELL, 1, 1)])
    for seed in range(10):  # together: the other half is empty; apart: nobody to trade with
        assert len(clear(Muda(), book, seed=seed).trades) == 0


def test_muda_is_truthful_for_members_on_one_side_only():
    # Member 9 buys and sells. If the price is below 7, only a false offer lets him use his own lot.
    book = book_of([(8, BUY, 2, 3), (9, BUY, 2, 8), (9, SELL, 1, 7)])
    false = book.replace(limit=np.array([3, 8, 0]))
    assert gain(Muda(), book, book, 2, seed=1) < gain(Muda(), book, false, 2, seed=1)
    assert truthful(Trial(Muda(), Case("by hand", book, None, 1))) is None  # it leaves out who has two orders
    assert "only buy or only sell" in Muda.__doc__


# --- Vickrey, Clarke and Groves ---


@given(orders=books(most_lots=5, most=10, members=3))
def test_everybody_pays_his_externality(orders):
    clearing = clear(VickreyClarkeGroves(), orders)
    gains, most = surpluses(orders, orders.limit, clearing), best(orders)
    assert welfare(orders, clearing.trades) == most
    for who in set(orders.participant.tolist()):
        assert gains[who] == most - best(orders, but=who)


@given(orders=books(most_lots=5, most=10, members=4))
def test_the_deficit_is_what_the_operator_pays_and_never_a_surplus(orders):
    clearing = clear(VickreyClarkeGroves(), orders)
    trades = clearing.trades
    deficit = int(((trades.sell_price - trades.buy_price) * trades.quantity).sum())
    assert (
        clearing.report["deficit"] == deficit == sum(surpluses(orders, orders.limit, clearing).values()) - best(orders)
    )
    assert (trades.sell_price >= trades.buy_price).all()


def test_a_step_curve_of_one_member_is_one_trader():
    together = book_of([(8, BUY, 1, 10), (8, BUY, 1, 7), (9, SELL, 1, 2), (10, SELL, 1, 4), (11, SELL, 1, 6)])
    trades = clear(VickreyClarkeGroves(), together).trades
    # Without member 8 nothing would trade: his two lots displace the two offers, 2 + 4.
    assert (trades.buy_price * trades.quantity).sum() == 2 + 4


def test_a_member_on_both_sides_is_one_trader():
    book = book_of([(8, BUY, 2, 10), (8, SELL, 1, 3), (9, SELL, 1, 2), (9, SELL, 1, 5), (10, BUY, 1, 4)])
    gains = surpluses(book, book.limit, clear(VickreyClarkeGroves(), book))
    assert gains[8] == best(book) - best(book, but=8)


# --- all of them ---


def test_nothing_that_is_registered_claims_the_impossible():
    load_mechanisms()
    impossible = {Claim.BUDGET_BALANCED, Claim.INDIVIDUALLY_RATIONAL, Claim.EFFICIENT, Claim.TRUTHFUL}
    assert [entry.name for entry in MECHANISMS if impossible <= entry.claims] == []


@each_rule
def test_a_partner_is_refused(rule):
    book = book_of([(8, BUY, 1, 9), (9, SELL, 1, 1)])
    assert clear(rule, book.replace(partner=np.array([9, -1]))).refused == Reject.PARTNER_NOT_SUPPORTED


@each_rule
@pytest.mark.parametrize("rows", [[], [(8, BUY, 3, 9)], [(8, SELL, 3, 9)], [(8, BUY, 1, 3), (9, SELL, 1, 4)]])
def test_nothing_trades_in_an_empty_or_one_sided_or_uncrossed_book(rule, rows):
    clearing = clear(rule, book_of(rows))
    assert len(clearing.trades) == len(clearing.prices) == 0
    assert clearing.unusable is None


@pytest.mark.parametrize("rule", [TradeReduction(), HuangAuction(), VickreyClarkeGroves()], ids=repr)
def test_takers_alone_cannot_form_a_price(rule):
    takers = book_of([(8, BUY, 2, ANY_PRICE), (9, SELL, 2, -ANY_PRICE)])
    code = Reject.NO_TARIFF if isinstance(rule, VickreyClarkeGroves) else Reject.NO_PRICE
    assert clear(rule, takers).refused == code
    assert clear(rule, takers, Tariff.flat(30, 8)).unusable is None


@pytest.mark.parametrize("limit", [3, 7])
def test_the_externality_beside_takers_needs_a_tariff(limit):
    # Without a tariff the seller would get whatever he names: nobody else in the book has a price.
    book = book_of([(8, SELL, 1, limit), (9, BUY, 1, ANY_PRICE)])
    refused = clear(VickreyClarkeGroves(), book)
    assert (refused.refused, len(refused.trades)) == (Reject.NO_TARIFF, 0)
    # With one the buyer is worth 30 to him, whatever he says.
    trades = clear(VickreyClarkeGroves(), book, Tariff.flat(30, 8)).trades
    assert trades.sell_price.tolist() == [30]


@pytest.mark.parametrize("rule", [Muda(), VickreyClarkeGroves()], ids=repr)
@settings(max_examples=40)
@given(orders=books(most_lots=3, most=6), seed=st.integers(0, 9))
def test_the_truth_is_best_beside_takers_too(rule, orders, seed):
    case = with_takers(Case("drawn", orders, None, seed))
    assert truthful(Trial(rule, case)) is None
    assert truthful(Trial(rule, replace(case, tariff=Tariff.flat(9, 2)))) is None


@settings(max_examples=40)
@given(orders=books(most_lots=1, most=7), seed=st.integers(0, 9))
def test_mcafee_is_truthful_beside_takers_too(orders, seed):
    assert truthful(Trial(TradeReduction(), with_takers(Case("drawn", orders, None, seed)))) is None


@pytest.mark.parametrize("rule", [HuangAuction(), StorageAuction(), StorageAuction("capacity")], ids=repr)
@settings(max_examples=60)
@given(orders=books(most_lots=5), data=st.data(), seed=st.integers(0, 9))
def test_a_false_limit_does_not_pay_beside_takers_in_the_huang_auction(rule, orders, data, seed):
    orders = with_takers(Case("drawn", orders, None, seed)).orders
    named = np.flatnonzero(np.abs(orders.limit) < ANY_PRICE)
    if named.size == 0:
        return
    row, limit = data.draw(st.sampled_from(named.tolist())), orders.limit.copy()
    limit[row] = data.draw(st.integers(-2, 15))
    assert gain(rule, orders, orders.replace(limit=limit), row) <= gain(rule, orders, orders, row)


def test_prices_stay_where_somebody_named_them():
    book = book_of([(8, BUY, 2, ANY_PRICE), (9, BUY, 2, ANY_PRICE), (10, SELL, 5, 7), (11, SELL, 1, -ANY_PRICE)])
    for rule in RULES:
        trades = clear(rule, book).trades
        assert set(trades.buy_price.tolist()) | set(trades.sell_price.tolist()) <= {7}


def test_sums_that_do_not_fit_are_refused():
    book = book_of([(8 + n, 1 - 2 * (n % 2), 1 << 48, 1 << 12) for n in range(8)])
    assert clear(VickreyClarkeGroves(), book).refused == Reject.TOO_LARGE


@each_rule
def test_many_intervals_and_zones_in_one_call(rule):
    rng = np.random.default_rng(3)
    rows = 600
    book = book_of(
        [(int(rng.integers(8, 40)), int(rng.choice([1, -1])), 3, int(rng.integers(0, 50))) for _ in range(rows)]
    )
    book = book.replace(interval=rng.integers(0, 9, rows), zone=rng.integers(0, 3, rows))
    whole = clear(rule, book)
    parts = [clear(rule, book.take((book.interval == i) & (book.zone == z))) for i in range(9) for z in range(3)]
    assert whole.trades == replace(whole, trades=type(whole.trades).concat(*(part.trades for part in parts))).trades
    assert whole.prices == type(whole.prices).concat(*(part.prices for part in parts))
