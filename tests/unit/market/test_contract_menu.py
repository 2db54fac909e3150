"""Contract menus: the best of all that keep every constraint (a linear programme says so), and closed forms."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders
from wattle.market.contract_menu import GRID, ContractMenu, Deal, Types, best_menu, evenly, types_of, virtual_costs
from wattle.market.mechanism import MECHANISMS, TRUTHFUL
from wattle.testing.checks_claimed import surpluses
from wattle.testing.conformance import check_mechanism
from wattle.testing.generators import book_of

chances = st.lists(st.integers(1, 20), min_size=1, max_size=5)
kinds = chances.flatmap(
    lambda weight: st.lists(st.integers(0, 40), min_size=len(weight), max_size=len(weight), unique=True).map(
        lambda cost: Types.of(np.array(sorted(cost)), np.array(weight))
    )
)
deals = st.tuples(st.integers(0, 60), st.sampled_from([0.0, 7.5, 30.0, 90.0]), st.integers(0, 12)).map(
    lambda made: Deal(made[0], made[1], made[2], np.array([5]), np.array([99]))
)


def clear(rule: ContractMenu, orders: Orders, tariff=None):
    return rule.step(None, orders, Context(tariff))[1]


def paid(clearing, side="seller") -> dict[int, tuple[int, int]]:
    """Return lots and cash of each member on a side."""
    found: dict[int, tuple[int, int]] = {}
    trades = clearing.trades
    for who, lots, price in zip(getattr(trades, side), trades.quantity, trades.buy_price, strict=True):
        before = found.get(int(who), (0, 0))
        found[int(who)] = before[0] + int(lots), before[1] + int(lots * price)
    return found


# --- the best menu ---


def programme(deal: Deal, types: Types) -> float:
    """Return the largest expected value under all incentive and participation constraints.

    Unknowns are lots, cash and value of each type; a value lies below all chords between neighbouring whole lots.
    """
    count, weight = types.cost.size, types.weight / types.weight.sum()
    objective = np.concatenate((np.zeros(count), weight, -weight))
    rows, bounds = [], []
    for own, other in product(range(count), repeat=2):
        row = np.zeros(3 * count)  # cash' - cost x lots' <= cash - cost x lots
        row[own] += types.cost[own]
        row[other] -= types.cost[own]
        row[count + own] -= 1
        row[count + other] += 1
        rows.append(row)
        bounds.append(0)
    for own in range(count):
        row = np.zeros(3 * count)
        row[own], row[count + own] = types.cost[own], -1
        rows.append(row)
        bounds.append(0)
        values = deal.value(np.arange(deal.lots + 1))
        for lots, (low, high) in enumerate(pairwise(values.tolist())):
            row = np.zeros(3 * count)
            row[own], row[2 * count + own] = low - high, 1
            rows.append(row)
            bounds.append(low - (high - low) * lots)
    limits = [(0, deal.lots)] * count + [(None, None)] * count + [(None, None if deal.lots else 0)] * count
    return -linprog(objective, np.array(rows), bounds, bounds=limits).fun


@given(deal=deals, types=kinds)
def test_no_menu_that_keeps_all_constraints_is_worth_more(deal, types):
    menu = best_menu(deal, types)
    worth = ((deal.value(menu.lots) - menu.cash) * types.weight).sum() / types.weight.sum()
    assert worth == pytest.approx(programme(deal, types), abs=1e-6)


@given(deal=deals, types=kinds)
def test_the_menu_keeps_all_constraints_and_distorts_all_but_the_cheapest(deal, types):
    menu = best_menu(deal, types)
    gains = menu.cash[None, :] - types.cost[:, None] * menu.lots[None, :]  # of each type by each contract
    own = np.diag(gains)
    assert (gains <= own[:, None]).all()
    assert (own >= 0).all()
    assert own[-1] == 0
    assert (np.diff(menu.lots) <= 0).all()
    assert np.array_equal(own[:-1], gains[np.arange(own.size - 1), np.arange(1, own.size)])  # just kept from the next
    efficient = deal.best(types.cost)
    assert menu.lots[0] == efficient[0]
    assert (menu.lots <= efficient).all()


@given(types=kinds)
def test_virtual_costs_are_those_of_the_formula_where_they_rise(types):
    below = np.concatenate(([0], np.cumsum(types.weight)[:-1]))
    formula = types.cost + np.diff(types.cost, prepend=types.cost[:1]) * below / types.weight
    ironed = virtual_costs(types.cost, types.weight)
    assert (np.diff(ironed) >= -1e-9).all()
    assert (ironed * types.weight).sum() == pytest.approx((formula * types.weight).sum())
    if (np.diff(formula) > 0).all():
        assert ironed == pytest.approx(formula)


def test_types_are_pooled_where_virtual_costs_fall():
    types = Types.of(np.array([0, 10, 11]), np.array([45, 10, 45]))
    # 0, 10 + 10 x 45 / 10 = 55, 11 + 55 / 45 = 12.2: the last two are pooled at (100 x 11) / 55 = 20.
    assert types.virtual.tolist() == [0, 20, 20]
    menu = best_menu(Deal(40, 40, 8, np.array([0]), np.array([9])), types)
    assert menu.lots.tolist() == [8, 4, 4]
    assert menu.cash.tolist() == [44, 44, 44]  # the cheapest gains 44: all that the others deliver, at their cost


@pytest.mark.parametrize(("low", "high", "worth"), [(0, 15_000, 30_000), (4_000, 30_000, 20_000)])
def test_a_continuum_of_costs_gives_the_closed_form(low, high, worth):
    # Virtual cost 2 c - low; with value w q - w q^2 / 2 S the lots are S (w - 2 c + low) / w down to c = (w + low) / 2.
    share, costs = 100_000, evenly(low, high)
    last = min((worth + low) // 2, high)
    menu = best_menu(Deal(worth, worth, share, np.array([0]), np.array([1])), Types.of(*costs))
    exact = share * np.maximum(worth - 2 * costs[0] + low, 0) / worth
    assert costs[0].size == GRID
    assert np.abs(menu.lots - exact).max() <= share * 0.01
    below = costs[0] < last
    assert np.count_nonzero(menu.lots) in (np.count_nonzero(below), np.count_nonzero(below) + 1)
    rent = share * ((worth + low) * (last - costs[0]) - last**2 + costs[0] ** 2.0) / worth
    left = (menu.cash - costs[0] * menu.lots)[below]
    assert np.abs(left - rent[below]).max() <= rent.max() * 0.01


# --- the rule ---

TWO_TYPES = ContractMenu(types="9:50,12:50")


def test_two_types_by_hand():
    # A share of 10 lots each, worth 30 - 3 q: virtual costs 9 and 12 + 3 = 15, so 7 and 5 lots. The dear one gets
    # 12 x 5 = 60, the cheap one 60 + 9 x 2 = 78, a rent of 15. Knowing the cost of the dear one: 6 lots.
    clearing = clear(TWO_TYPES, book_of([(8, BUY, 20, 30), (9, SELL, 10, 9), (10, SELL, 10, 12)]))
    assert paid(clearing) == {9: (7, 78), 10: (5, 60)}
    assert clearing.report["information_rent"] == 15
    assert clearing.report["expected_information_rent"] == 15  # half of 15 for each of two
    assert clearing.report["menu_welfare"] == (30 * 7 - 1.5 * 49 - 63) + (30 * 5 - 1.5 * 25 - 60)
    assert clearing.report["first_best_welfare"] == (30 * 7 - 1.5 * 49 - 63) + (30 * 6 - 1.5 * 36 - 72)
    assert clearing.report["contracts"] == 2


def test_a_selling_principal_by_hand():
    # 4 lots each at a cost that rises from 10 to 30. Worths 24 and 30: virtual 24 - 6 x 40 / 60 = 20 and 30, so 2 and
    # 4 lots. The low one pays 48, the high one 48 + 30 x 2 = 108 and keeps 12.
    rule = ContractMenu("seller", types="24:60,30:40", fall_percent=200)
    clearing = clear(rule, book_of([(8, SELL, 8, 10), (9, BUY, 4, 24), (10, BUY, 4, 30)]))
    assert paid(clearing, "buyer") == {9: (2, 48), 10: (4, 108)}
    assert clearing.report["information_rent"] == 12


def test_a_straight_value_only_leaves_types_out():
    rule = ContractMenu(types="9:50,12:50", fall_percent=0)
    orders = book_of([(8, BUY, 20, 14), (9, SELL, 10, 9), (10, SELL, 10, 12)])
    assert paid(clear(rule, orders)) == {9: (10, 90)}  # virtual 15 is more than 14
    dearer = orders.replace(limit=[16, 9, 12])
    assert paid(clear(rule, dearer)) == {9: (10, 120), 10: (10, 120)}


sellers = st.lists(st.tuples(st.integers(1, 12), st.integers(-2, 32)), min_size=1, max_size=5)
principals = st.tuples(st.integers(1, 40), st.integers(1, 45))
rules = st.sampled_from(
    [TWO_TYPES, ContractMenu(types="3..25"), ContractMenu(types="0:10,9:30,10:5,20:55", fall_percent=40)]
)


@given(rule=rules, principal=principals, offers=sellers, who=st.integers(0, 4))
def test_no_seller_gains_by_another_limit_or_fewer_lots(rule, principal, offers, who):
    orders = book_of([(8, BUY, *principal)] + [(9 + place, SELL, *offer) for place, offer in enumerate(offers)])
    row = 1 + who % len(offers)
    honest = surpluses(orders, orders.limit, clear(rule, orders))[8 + row]
    assert honest >= 0
    for limit, lots in product(
        (-3, 0, 3, 4, 8, 9, 10, 11, 12, 13, 19, 20, 21, 25, 26, 33),
        {1, (1 + offers[row - 1][0]) // 2, offers[row - 1][0]},
    ):
        limits, quantities = orders.limit.copy(), orders.quantity.copy()
        limits[row], quantities[row] = limit, lots
        answer = clear(rule, orders.replace(limit=limits, quantity=quantities))
        assert surpluses(orders, orders.limit, answer)[8 + row] <= honest


def test_the_principal_may_gain_by_a_lie_so_the_rule_does_not_claim_to_be_truthful():
    # One cheap seller, as it happens: who says 15 instead of 30 makes a menu without the dear type and pays no rent.
    orders = book_of([(8, BUY, 10, 30), (9, SELL, 10, 9)])
    gained = []
    for limit in (30, 15):
        lots, cash = paid(clear(TWO_TYPES, orders.replace(limit=[limit, 9])))[9]
        gained.append(30 * lots - 1.5 * lots**2 - cash)
    assert gained == [58.5, 60]
    assert TRUTHFUL not in MECHANISMS["contract-menu"].claims


@given(rule=rules, principal=principals, offers=sellers)
def test_lots_are_within_orders_and_welfare_below_the_first_best(rule, principal, offers):
    orders = book_of([(8, BUY, *principal)] + [(9 + place, SELL, *offer) for place, offer in enumerate(offers)])
    clearing = clear(rule, orders)
    trades = clearing.trades
    assert trades.quantity.sum() <= principal[0]
    assert (trades.buy_price == trades.sell_price).all()
    assert (trades.buy_price <= principal[1]).all()
    assert clearing.report["menu_welfare"] <= clearing.report["first_best_welfare"] + 1e-9
    rents = surpluses(orders, orders.limit, clearing)
    assert clearing.report["information_rent"] == sum(gain for who, gain in rents.items() if who != 8)


def test_who_has_less_energy_takes_a_smaller_contract():
    orders = book_of([(8, BUY, 20, 30), (9, SELL, 6, 9), (10, SELL, 4, 9)])
    assert paid(clear(TWO_TYPES, orders)) == {9: (5, 60)}  # 7 lots are too many for both, 5 for the second


def test_one_order_for_each_member_and_one_principal():
    orders = book_of([(8, BUY, 20, 30), (7 + 4, BUY, 19, 99), (9, SELL, 10, 9), (9, SELL, 9, 9), (8, SELL, 50, 1)])
    clearing = clear(TWO_TYPES, orders)
    assert set(clearing.trades.buyer.tolist()) == {8}
    assert set(clearing.trades.sell_order.tolist()) == {2}


@pytest.mark.parametrize("retail", [1_000_000, 3_000_000_000, (1 << 40) - 1])
def test_costs_are_counted_exactly_however_large(retail):
    # All costs from -R to R are equally likely, so the virtual cost of c is 2 c + R: nobody above -R / 2 is wanted.
    orders = book_of([(8, BUY, 4, 0), (9, SELL, 4, -(retail // 2) - retail // 100)])
    clearing = clear(ContractMenu(), orders, Tariff.flat(retail, -retail))
    assert paid(clearing)[9][0] == 4
    assert clearing.trades.buy_price.tolist() == [pytest.approx(-retail / 2, rel=0.01)]


@given(kinds=kinds, factor=st.sampled_from([1 << 20, 1 << 33]))
def test_virtual_costs_grow_with_the_unit(kinds, factor):
    small, weight = virtual_costs(kinds.cost, kinds.weight), kinds.weight * factor
    assert virtual_costs(kinds.cost * factor, weight).tolist() == pytest.approx((small * factor).tolist())


def test_takers_and_what_is_refused():
    orders = book_of([(8, BUY, 20, 30), (9, SELL, 10, -ANY_PRICE), (10, SELL, 10, 12)])
    assert paid(clear(TWO_TYPES, orders))[9] == (7, 78)
    blind = book_of([(8, BUY, 20, ANY_PRICE), (9, SELL, 10, 9)])
    assert clear(TWO_TYPES, blind).refused == Reject.NO_TARIFF
    assert clear(ContractMenu(), orders).refused == Reject.NO_TARIFF
    assert len(clear(ContractMenu(), orders, Tariff.flat(25, 5)).trades) > 0
    assert clear(TWO_TYPES, orders.replace(partner=[9, -1, -1])).refused == Reject.PARTNER_NOT_SUPPORTED
    assert clear(TWO_TYPES, book_of([(8, BUY, 1 << 48, 1 << 20), (9, SELL, 5, 9)])).refused == Reject.TOO_LARGE
    assert clear(TWO_TYPES, book_of([(8, BUY, 5, 30)])).refused == Reject.ONE_SIDED


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("8:30,12:50", "do not sum to 100 percent"),
        ("8:60,8:40", "names a cost twice"),
        ("8", "is not cost:percent"),
        ("18..8", "is no range"),
    ],
)
def test_a_text_of_types_that_means_nothing(text, problem):
    with pytest.raises(InvariantError, match=problem):
        ContractMenu(types=text)


def test_words_and_units():
    with pytest.raises(ValueError, match="'x' in 'x:100' is no whole number"):
        types_of("x:100", 1)
    with pytest.raises(InvariantError, match="principal is 'bank'"):
        ContractMenu("bank")
    assert types_of("12:40, 8:60", 100)[0].tolist() == [800, 1200]
    assert evenly(7, 7)[0].tolist() == [7]
    costs, weights = evenly(10, 100_010)
    assert weights.sum() == 100_000
    assert costs[-1] == 100_010


@pytest.mark.parametrize(
    "rule",
    [ContractMenu("seller"), ContractMenu(types="60:20,120:30,250:50", fall_percent=30), ContractMenu(types="0..300")],
    ids=repr,
)
def test_other_parameters_keep_the_claims(rule):
    assert [result for result in check_mechanism(rule, books=60) if not result.passed] == []
