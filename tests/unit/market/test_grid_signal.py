"""Peers switched on by the grid: which intervals are open, what a peak costs, and that nobody wants to leave."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import wattle.market.pools
import wattle.market.stackelberg  # noqa: F401 (both register rules that are named below)
from wattle.core.checks import InputError, InvariantError, Reject
from wattle.core.messages import Context, Tariff, unfilled
from wattle.core.tables import ANY_PRICE, Orders
from wattle.market.auction_double import UniformAuction
from wattle.market.grid_signal import GridSignal, grid_price, peak_cost
from wattle.testing import checks_always as always
from wattle.testing import checks_claimed as claimed
from wattle.testing.generators import Case, book_of, part
from wattle.testing.strategies import order_books, tariffs
from wattle.testing.trial import Trial, differs

PEAK = GridSignal(peak_lots=40, rise_ticks=100, from_ticks=320)


def in_intervals(rows, intervals):
    return book_of(rows).replace(interval=np.array(intervals))


# --- the switch ---


def test_by_default_it_is_the_inner_rule():
    for case in part(2, 60):
        assert differs(Trial(UniformAuction(), case).outcome.clearing, Trial(GridSignal(), case).outcome.clearing) in (
            None,
            "the refusal",  # a part of the book may have sellers only
        )


@settings(max_examples=80)
@given(
    book=order_books(), tariff=tariffs(), peak=st.integers(0, 40), rise=st.integers(0, 300), start=st.integers(-1, 500)
)
def test_open_markets_clear_as_if_they_were_alone_and_closed_ones_return_every_lot(book, tariff, peak, rise, start):
    rule = GridSignal(peak_lots=peak, rise_ticks=rise if peak else 0, from_ticks=start)
    _, clearing = rule.step(None, book, Context(tariff=tariff))
    if start >= 0 and tariff is None:
        assert clearing.refused == Reject.NO_TARIFF
        return
    # Second way: market by market, in plain Python.
    keep, seen = np.zeros(len(book), bool), set()
    for interval, zone in {(int(i), int(z)) for i, z in zip(book.interval, book.zone, strict=True)}:
        here = (book.interval == interval) & (book.zone == zone)
        need = int(book.quantity[here & (book.side > 0)].sum())
        if start >= 0:
            retail = int(tariff.at(np.array([interval], np.int32))[0][0])
            opens = retail + (rule.rise_ticks * max(0, need - peak) // peak if peak else 0) >= start
        else:
            opens = need > peak
        keep |= here & opens
        if opens:
            seen.add(interval)
    _, alone = UniformAuction().step(None, book.take(keep), Context(tariff=tariff))
    if alone.unusable is not None:
        assert clearing.refused == alone.unusable
        return
    assert differs(clearing, alone) in (None, "the refusal")
    assert clearing.report["intervals_open"] == len(seen)
    assert clearing.report["returned_lots"] == book.quantity[~keep].sum()
    assert (unfilled(book, clearing)[~keep] == book.quantity[~keep]).all()


@pytest.mark.parametrize("inner", ["uniform-auction", "pay-as-bid-auction", "mid-market-rate"])
def test_promises_hold_with_some_markets_closed(inner):
    rule, opened, closed = GridSignal(inner=inner, peak_lots=60), 0, 0
    checks = [
        always.conserves,
        always.deterministic,
        always.row_order,
        always.prices_within,
        always.refused_whole,
        claimed.budget_balanced,
        claimed.individually_rational,
        claimed.separable,
        claimed.exact,
    ]
    for case in part(3, 50, ["zones", "some price takers", "random", "shuffled rows"]):
        trial = Trial(rule, case)
        for check in checks:
            assert check(trial) is None, check.__name__
        report = trial.outcome.clearing.report
        opened, closed = opened + report.get("markets_open", 0), closed + (report.get("returned_lots", 0) > 0)
    assert opened > 20
    assert closed > 20


def test_the_tariff_is_the_signal():
    book = in_intervals([(8, 1, 5, ANY_PRICE), (9, -1, 5, -ANY_PRICE)] * 3, [0, 0, 1, 1, 2, 2])
    tariff = Tariff(0, np.array([200, 400, 300]), np.array([60, 60, 60]))
    rule = GridSignal(inner="mid-market-rate", from_ticks=300)
    _, clearing = rule.step(None, book, Context(tariff=tariff))
    assert clearing.trades.interval.tolist() == [1, 2]
    assert clearing.trades.buy_price.tolist() == [230, 180]
    assert clearing.report["intervals_open"] == 2
    assert clearing.report["intervals"] == 3


# --- the grid's cost ---


@settings(max_examples=100)
@given(need=st.integers(0, 10**6), peak=st.integers(1, 10**6), rise=st.integers(0, 10**4), retail=st.integers(0, 10**4))
def test_the_signal_is_the_cost_of_one_lot_more(need, peak, rise, retail):
    """The difference quotient of the quadratic cost around the need is the price before it is rounded down."""
    over = max(0, need - peak)
    price = int(grid_price(np.array([need]), np.array([retail]), peak, rise)[0])
    assert price == retail + rise * over // peak
    if over >= 1:
        around = peak_cost(np.array([need + 1, need - 1]), peak, rise)
        slope = (around[0] - around[1]) / 2
        assert price <= retail + slope + 1e-3
        assert price > retail + slope - 1 - 1e-3
    else:
        assert price == retail


def test_what_trading_saves_the_grid_is_the_area_under_its_price():
    book = book_of([(8, 1, 60, 350), (9, 1, 30, 350), (10, -1, 35, 100)])
    rule = GridSignal(peak_lots=40, rise_ticks=100)
    _, clearing = rule.step(None, book, Context(tariff=Tariff.flat(300, 60)))
    assert clearing.report["largest_need_lots"] == 90
    assert clearing.report["largest_need_left_lots"] == 55
    lots = np.arange(55, 90) + 0.5
    assert clearing.report["peak_cost_saved"] == pytest.approx((100 * (lots - 40) / 40).sum())


# --- nobody wants to leave ---


def worth_of(side, value, lots, tariff):
    """Return the most that a coalition gains, trading among itself and with the grid: a linear programme."""
    retail, feed_in = tariff
    bids, asks = np.flatnonzero(side > 0), np.flatnonzero(side < 0)
    pairs = [(b, a) for b in bids for a in asks]
    gain = (
        [value[b] - value[a] for b, a in pairs] + [value[b] - retail for b in bids] + [feed_in - value[a] for a in asks]
    )
    room = np.zeros((side.size, len(gain)))
    for column, (b, a) in enumerate(pairs):
        room[b, column] = room[a, column] = 1
    for column, row in enumerate([*bids, *asks], start=len(pairs)):
        room[row, column] = 1
    return -linprog(-np.array(gain, float), A_ub=room, b_ub=lots, method="highs").fun


def gains(book, clearing, tariff):
    """Return what each order gains: in the peers' market, and with the grid for what is left, where that pays."""
    retail, feed_in = tariff
    outside = np.maximum(0, np.where(book.side > 0, book.limit - retail, feed_in - book.limit))
    found = unfilled(book, clearing) * outside
    for ids, price, side in (
        (clearing.trades.buy_order, clearing.trades.buy_price, 1),
        (clearing.trades.sell_order, clearing.trades.sell_price, -1),
    ):
        np.add.at(found, ids, side * (book.limit[ids] - price) * clearing.trades.quantity)
    return found


def blocked_by(book, clearing, tariff):
    """Return a coalition that gains by leaving for a market of its own and the grid, or None."""
    got = gains(book, clearing, tariff)
    for size in range(1, len(book) + 1):
        for coalition in combinations(range(len(book)), size):
            rows = list(coalition)
            if worth_of(book.side[rows], book.limit[rows], book.quantity[rows], tariff) > got[rows].sum() + 1e-6:
                return coalition
    return None


books = st.lists(
    st.tuples(st.sampled_from((1, -1)), st.integers(1, 6), st.integers(0, 20).map(lambda level: 100 + 10 * level)),
    min_size=2,
    max_size=5,
).map(lambda rows: book_of([(8 + number, *row) for number, row in enumerate(rows)]))


@settings(max_examples=60)
@given(book=books, retail=st.integers(90, 320), below=st.integers(0, 200))
def test_nobody_leaves_an_open_market_just_if_its_price_lies_inside_the_tariff(book, retail, below):
    """The lowest grid price that keeps all members in their own market is the price of that market."""
    tariff = (retail, retail - below)
    _, clearing = GridSignal().step(None, book, Context(tariff=Tariff.flat(*tariff)))
    if len(clearing.trades) == 0:
        return
    price = int(clearing.prices.price[0])
    inside = tariff[1] <= price <= tariff[0]
    assert clearing.report["outside_tariff"] == (not inside)
    assert (blocked_by(book, clearing, tariff) is None) == inside


def test_below_the_peers_price_buyers_go_to_the_grid():
    book = book_of([(8, 1, 5, 280), (9, -1, 5, 200)])  # the peers' price is 240
    _, clearing = GridSignal().step(None, book, Context())
    assert clearing.prices.price.tolist() == [240]
    stays = [retail for retail in range(100, 400) if blocked_by(book, clearing, (retail, 50)) is None]
    assert stays == list(range(240, 400))


# --- refusals ---


def test_a_price_signal_needs_a_tariff():
    assert PEAK.step(None, book_of([(8, 1, 5, 100), (9, -1, 5, 50)]), Context())[1].refused == Reject.NO_TARIFF


def test_a_refusal_of_the_inner_rule_is_handed_on():
    book = book_of([(8, 1, 5, 100), (9, -1, 5, 50)]).replace(partner=np.array([9, -1]))
    assert GridSignal().step(None, book, Context())[1].refused == Reject.PARTNER_NOT_SUPPORTED
    assert GridSignal().step(None, Orders.empty(), Context())[1].refused == Reject.EMPTY_BOOK


@pytest.mark.parametrize(
    "bad",
    [
        {"from_ticks": -2},
        {"peak_lots": -1},
        {"rise_ticks": -1, "peak_lots": 5},
        {"rise_ticks": 5},
        {"inner": "grid-signal"},
    ],
)
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InvariantError):
        GridSignal(**bad)


def test_inner_rules_that_are_unknown_or_ask():
    with pytest.raises(InputError, match="uniform-auction"):
        GridSignal(inner="uniform-aution")
    with pytest.raises(InvariantError, match="asks its members"):
        GridSignal(inner="stackelberg").step(None, book_of([(8, 1, 5, 100), (9, -1, 5, 50)]), Context())


def test_a_case_of_huge_quantities_does_not_overflow():
    book = book_of([(8, 1, 1 << 48, 300), (9, -1, 1 << 48, 100)])
    rule = GridSignal(peak_lots=1, rise_ticks=1 << 30, from_ticks=0)
    trial = Trial(rule, Case("huge", book, Tariff.flat(300, 60), 0))
    assert trial.outcome.clearing.trades.quantity.tolist() == [1 << 48]
