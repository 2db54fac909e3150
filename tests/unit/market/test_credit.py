"""Credit: borrowers answer as a programme would, the bank gains by no other rates, which have closed forms."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, BUY, COMMUNITY_FUND, SELL, Orders
from wattle.ledger.accounts import SHARING
from wattle.market.auction_double import UniformAuction
from wattle.market.credit import COMMUNITY_SHARE, WHOLE, Credit, Rates, best_rates, bills_of
from wattle.scenario.plugins import load_mechanisms
from wattle.testing.checks_claimed import surpluses
from wattle.testing.conformance import check_mechanism
from wattle.testing.generators import book_of

bids = st.lists(st.tuples(st.integers(8, 11), st.integers(1, 9), st.integers(10, 40)), min_size=1, max_size=8)
wallets = st.dictionaries(st.integers(8, 11), st.integers(0, 100), max_size=4)


def book(wanted, offered=500, ask=10) -> Orders:
    """Bids (member, lots, limit) that all trade at the limit of the one large offer."""
    return book_of([(who, BUY, lots, limit) for who, lots, limit in wanted] + [(50, SELL, offered, ask)])


def clear(rule: Credit, orders: Orders, tariff=None):
    return rule.step(None, orders, Context(tariff))[1]


def bills(rule: Credit, orders: Orders):
    return bills_of(UniformAuction().step(None, orders, Context())[1].trades, orders, rule)


def bought(clearing) -> dict[int, int]:
    found: dict[int, int] = {}
    for who, lots in zip(clearing.trades.buyer.tolist(), clearing.trades.quantity.tolist(), strict=True):
        found[who] = found.get(who, 0) + lots
    return found


# --- the followers ---


@given(wanted=bids, wallets=wallets, interest=st.integers(0, 1000), penalty=st.integers(0, 1000), late=wallets)
def test_each_borrower_buys_what_a_linear_programme_would(wanted, wallets, interest, penalty, late):
    rule, orders = Credit(wallets=wallets, late=late), book(wanted)
    sheet = bills(rule, orders)
    lots = sheet.lots_bought(Rates(interest, penalty))
    for who in {row[0] for row in wanted}:
        mine = [(q, limit) for member, q, limit in wanted if member == who]
        own = sum(10 * q for q, _ in mine) * wallets.get(who, 50) // 100
        rate = interest / 1000 + late.get(who, 0) / 100 * penalty / 1000
        # Most of sum (limit - price) x lots - rate x loan, with loan >= price x lots - own money.
        objective = [*(10 - limit for _, limit in mine), rate]
        best = linprog(objective, [[*(10 for _ in mine), -1]], [own], bounds=[*((0, q) for q, _ in mine), (0, None)])
        rows = (sheet.trades.buyer == who).nonzero()[0]
        limit = orders.limit[sheet.trades.buy_order[rows]]
        spent = 10 * int(lots[rows].sum())
        gained = int(((limit - 10) * lots[rows]).sum()) - rate * max(0, spent - own)
        assert -best.fun - 40 <= gained + 1e-9  # one lot of rounding
        assert gained <= -best.fun + 1e-9
        loan = int(sheet.loans(Rates(interest, penalty))[sheet.bill[rows[0]]])
        assert loan == max(0, spent - own)


def test_own_money_buys_the_best_lots_first():
    # 12 lots at 10 cost 120; a quarter is own money: 30, that is 3 lots. At 20 % only lots of limit 12 bear a loan.
    orders = book([(8, 4, 11), (8, 2, 30), (8, 6, 10)])
    rule = Credit(wallets={8: 25}, interest_max_per_mille=1000)
    sheet = bills(rule, orders)
    assert sheet.own.tolist() == [30]
    assert sheet.lots_bought(Rates(200, 0)).tolist() == [2, 1, 0]
    assert sheet.loans(Rates(200, 0)).tolist() == [0]
    assert sheet.loans(Rates(100, 0)).tolist() == [30]
    assert sheet.lots_bought(Rates(100, 0)).tolist() == [2, 4, 0]
    assert sheet.loans(Rates(0, 0)).tolist() == [90]


# --- the leader ---


@given(wanted=bids, wallets=wallets, late=wallets, cost=st.sampled_from([0, 0, 30, 200]))
def test_the_bank_gains_by_no_other_rates_on_a_fine_grid(wanted, wallets, late, cost):
    rule = Credit(
        wallets=wallets, late=late, cost_per_mille=cost, interest_max_per_mille=120, penalty_max_per_mille=120
    )
    sheet = bills(rule, book(wanted))
    best = best_rates(sheet, rule)

    def profit(rates):
        return float(((sheet.rate(rates) - 100 * cost) * sheet.loans(rates)).sum()) / WHOLE

    assert best.profit == pytest.approx(profit(best))
    tried = [Rates(r, s) for r, s in product(range(0, 121, 3), range(0, 121, 3) if late else (0,))]
    assert all(profit(rates) <= best.profit + 1e-9 for rates in tried)


def falling(count, at):
    """One lot for each of `count` worths: at(0.5 / count), at(1.5 / count), ..., as parts of the price."""
    return [(8, 1, round(100_000 * at((place + 0.5) / count))) for place in range(count)]


def led(wanted, cost):
    """Return rate, profit and loans of the bank's choice as parts of the bill that all lots make up."""
    rule = Credit(own_percent=0, interest_max_per_mille=1000, cost_per_mille=int(1000 * cost))
    clearing = clear(rule, book(wanted, offered=len(wanted) + 1, ask=100_000))
    rate, loans = clearing.report["interest_per_mille"] / 1000, clearing.report["loans_cash"] / len(wanted) / 100_000
    return rate, (rate - cost) * loans, clearing.report["best_rates"]


@pytest.mark.parametrize(("margin", "cost"), [(0.4, 0.0), (0.6, 0.1), (0.9, 0.25)])
def test_where_worth_falls_evenly_the_rate_is_half_of_margin_and_cost(margin, cost):
    rate, profit, ties = led(falling(1000, lambda x: 1 + margin * (1 - x)), cost)
    assert rate == pytest.approx((margin + cost) / 2, abs=0.01)
    assert profit == pytest.approx((margin - cost) ** 2 / 4 / margin, rel=0.003)
    assert ties == 1


@pytest.mark.parametrize(("scale", "cost"), [(1.6, 0.0), (1.8, 0.1), (1.4, 0.02)])
def test_where_worth_is_a_logarithm_the_rate_is_a_square_root(scale, cost):
    # A loan L (as part of the bill) is worth A log(b + L), the last unit exactly its price: A = scale, b = scale - 1.
    # L = A / (1 + r) - b, and (r - c) L is largest at (1 + r)^2 = A (1 + c) / b.
    base = scale - 1
    rate, profit, ties = led(falling(1000, lambda x: scale / (base + x)), cost)
    closed = math.sqrt(scale * (1 + cost) / base) - 1
    assert rate == pytest.approx(closed, abs=0.01)
    assert profit == pytest.approx((closed - cost) * (scale / (1 + closed) - base), rel=0.003)
    assert ties == 1


def test_the_penalty_takes_what_late_borrowers_can_bear_beyond_the_others():
    # Worth falls evenly from 1.4 for those who repay in time, r = 0.2, and from 1.8 for those who repay half too late:
    # r + s / 2 = 0.4.
    reliable = falling(200, lambda x: 1 + 0.4 * (1 - x))
    late = [(9, lots, limit) for _, lots, limit in falling(200, lambda x: 1 + 0.8 * (1 - x))]
    rule = Credit(own_percent=0, late={9: 50}, interest_max_per_mille=500, penalty_max_per_mille=900)
    report = clear(rule, book(reliable + late, ask=100_000)).report
    assert report["interest_per_mille"] == pytest.approx(200, abs=4)
    assert report["penalty_per_mille"] == pytest.approx(400, abs=8)


def test_several_best_rates_are_counted_and_the_lowest_is_named():
    # 20 % of 2 lots earns as much as 40 % of 1.
    clearing = clear(Credit(own_percent=0), book([(8, 1, 14), (9, 1, 12)]))
    assert clearing.report["interest_per_mille"] == 200
    assert clearing.report["best_rates"] == 2


# --- money and lots ---


@given(wanted=bids, wallets=wallets, late=wallets)
def test_interest_and_penalty_go_to_the_fund_and_nobody_loses(wanted, wallets, late):
    orders = book(wanted, offered=30)
    clearing = clear(Credit(wallets=wallets, late=late), orders)
    transfers = clearing.transfers
    assert (transfers.payee == COMMUNITY_FUND).all()
    assert (transfers.code == SHARING).all()
    assert COMMUNITY_SHARE == SHARING
    assert transfers.amount.sum() == clearing.report["interest_cash"] + clearing.report["penalty_cash"]
    gains = surpluses(orders, orders.limit, clearing)
    assert min(gains.values()) >= 0
    assert sum(gains.values()) == ((orders.limit[clearing.trades.buy_order] - 10) * clearing.trades.quantity).sum()
    plain = UniformAuction().step(None, orders, Context())[1]
    assert clearing.prices == plain.prices
    assert clearing.trades.quantity.sum() + clearing.report["not_financed_lots"] == plain.trades.quantity.sum()


@given(wanted=bids)
def test_who_has_the_money_needs_no_bank(wanted):
    orders = book(wanted, offered=30)
    clearing = clear(Credit(own_percent=100), orders)
    plain = UniformAuction().step(None, orders, Context())[1]
    assert sorted(zip(*(c.tolist() for c in clearing.trades.arrays()), strict=True)) == sorted(
        zip(*(c.tolist() for c in plain.trades.arrays()), strict=True)
    )
    assert len(clearing.transfers) == 0
    assert clearing.report["interest_per_mille"] == 0


def test_each_interval_has_its_bill_and_all_have_one_rate():
    first = book([(8, 2, 13)])
    second = first.replace(id=first.id + 10, interval=[1, 1])
    clearing = clear(Credit(own_percent=0), Orders.concat(first, second))
    assert clearing.transfers.interval.tolist() == [0, 1]
    assert clearing.transfers.amount.tolist() == [6, 6]  # 30 % of 20


def test_price_takers_and_free_energy():
    taker = book([(8, 2, ANY_PRICE), (9, 2, 11)])
    unbound = clear(Credit(own_percent=0), taker)
    assert unbound.report["interest_per_mille"] == 500  # he pays anything, so the cap binds
    assert bought(unbound) == {8: 2}
    bound = clear(Credit(own_percent=0), taker, Tariff.flat(12, 8))
    assert bound.report["interest_per_mille"] == 100  # both bear 10 %; only one of them 20 %
    assert bought(clear(Credit(own_percent=0), book([(8, 2, 5)], ask=-3))) == {8: 2}


def test_large_sums_are_exact():
    big = 1 << 46
    orders = book([(8, big, 1200)], offered=2 * big, ask=1000)
    clearing = clear(Credit(own_percent=50), orders)
    assert clearing.transfers.amount.tolist() == [big * 500 * clearing.report["interest_per_mille"] // 1000]
    assert clearing.report["interest_per_mille"] == 200


def test_what_it_refuses():
    load_mechanisms()
    assert clear(Credit(), book_of([(8, BUY, 1, 5)])).refused == Reject.ONE_SIDED
    assert clear(Credit(), book([(8, 1, 20)]).replace(partner=[50, -1])).refused == Reject.PARTNER_NOT_SUPPORTED
    with pytest.raises(InvariantError, match="moves money or energy past its trades"):
        clear(Credit("proportional-allocation"), book([(8, 3, 20), (9, 1, 7)], offered=3, ask=1))
    with pytest.raises(InvariantError, match="asks its members again"):
        clear(Credit("stackelberg"), book([(8, 3, 20)]))
    with pytest.raises(InvariantError, match="expected a rule that clears"):
        Credit("credit")
    with pytest.raises(InvariantError, match="own_percent is 101"):
        Credit(own_percent=101)
    with pytest.raises(InvariantError, match="late gives participant 8 120 percent"):
        Credit(late={8: 120})


@pytest.mark.parametrize(
    "rule",
    [
        Credit("pay-as-bid-auction", own_percent=0, late={8: 100, 9: 30}),
        Credit("vickrey", own_percent=20, cost_per_mille=40),
        Credit("mid-market-rate", wallets={8: 0}, late={10: 50}),
    ],
    ids=lambda rule: rule.inner,
)
def test_other_inner_rules_keep_the_claims(rule):
    assert [result for result in check_mechanism(rule, books=60) if not result.passed] == []
