"""Members of a contract network: values by brute force, best bundles by enumeration, full substitutability by trial."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.agents.cohort import View
from wattle.agents.contracts import ContractMembers
from wattle.core.messages import Call, Tariff
from wattle.core.tables import Quotes, Trades

BLOCK, ME, TARIFF = 10, 20, Tariff.flat(300, 50)

members = st.builds(
    lambda first, slope, capacity, passed, handling, charge, errors: ContractMembers(
        np.array([ME], np.int32),
        TARIFF,
        BLOCK,
        cost_first=float(first),
        cost_slope=slope,
        capacity=capacity,
        throughput=passed,
        handling=float(handling),
        charge=float(charge),
        errors=np.array(errors, np.int64)[:, None],
    ),
    st.integers(20, 350),
    st.sampled_from([0.0, 0.5, 3.0]),
    st.sampled_from([0, 0, 25, 60]),
    st.sampled_from([0, 0, 20, 50]),
    st.integers(0, 40),
    st.sampled_from([0, 0, 40]),
    st.lists(st.integers(-25, 25), min_size=1, max_size=4),
)
needs = st.integers(-45, 45)
prices = st.lists(st.integers(0, 330), max_size=5)


def value(member, x, need):
    """Return V(x) by trying every whole lot of production in every scenario."""
    total = 0.0
    for error in member.errors[:, 0]:
        best = -np.inf
        for made in range(int(member.capacity) + 1):
            left = x + made - need - error
            spent = member.cost_first * made + member.cost_slope * made * made / 2
            best = max(best, left * (300 if left < 0 else 50) - spent)
        total += best
    return total / len(member.errors)


def known(member, x, need):
    x = np.atleast_1d(np.asarray(x, float))
    zero = np.zeros(x.size, np.int64)
    return member.worth(x, zero, zero, zero + need)


def asked(upstream, downstream):
    """Return a round of quotes: every contract is with a partner of its own."""
    rows = [(0, 0, ME, 30 + n, price) for n, price in enumerate(upstream)]
    rows += [(0, 0, 40 + n, ME, price) for n, price in enumerate(downstream)]
    table = np.array(rows, np.int64).reshape(-1, 5).T
    return Call("contracts", 0, 1, 1, Quotes(*table))


def chosen(member, need, upstream, downstream):
    """Return the partners of the contracts that the member wants, upstream and downstream."""
    orders = member.respond(asked(upstream, downstream), View(np.array([[need]])))
    assert (orders.quantity == BLOCK).all()
    assert orders.participant.tolist() == [ME] * len(orders)
    return tuple(set((orders.partner[orders.side == side] % 10).tolist()) for side in (1, -1))


def caps(member, need):
    lots = member.respond(Call("contracts", 0, 1), View(np.array([[need]])))
    return [int(lots.quantity[lots.side == side].sum()) // BLOCK for side in (1, -1)]


@given(members, needs, st.integers(-60, 60))
@settings(max_examples=60, deadline=None)
def test_worth_is_the_best_of_all_productions(member, need, x):
    exact, tried = known(member, x, need)[0], value(member, x, need)
    # Production need not be a whole lot; half a lot aside costs at most a tick or two of slope.
    assert tried - 1e-6 <= exact <= tried + member.cost_slope + 1e-6


@given(members, needs)
@settings(max_examples=60, deadline=None)
def test_marginal_values_fall(member, need):
    worth = known(member, np.arange(-120, 121), need)
    assert (np.diff(worth, 2) <= 1e-6).all()
    assert (np.diff(worth) >= 50 - 1e-6).all()
    assert (np.diff(worth) <= 300 + 1e-6).all()


@given(members, needs, prices, prices)
@settings(max_examples=150, deadline=None)
def test_the_bundle_is_the_best_of_all(member, need, upstream, downstream):
    bought, sold = chosen(member, need, upstream, downstream)
    most = caps(member, need)

    def surplus(ups, downs):
        x = BLOCK * (len(ups) - len(downs))
        money = sum(downstream[n] - member.handling for n in downs) - sum(upstream[n] + member.charge for n in ups)
        return known(member, x, need)[0] + BLOCK * money

    best = max(
        surplus(ups, downs)
        for ups in subsets(len(upstream))
        for downs in subsets(len(downstream))
        if len(ups) <= most[0] and len(downs) <= most[1]
    )
    assert len(bought) <= most[0]
    assert len(sold) <= most[1]
    assert surplus(bought, sold) == pytest.approx(best, abs=1e-3)


def subsets(size):
    return [{n for n in range(size) if bits[n]} for bits in product((0, 1), repeat=size)]


@given(members, needs, prices.filter(len), prices, st.integers(1, 120), st.integers(0, 4))
@settings(max_examples=150, deadline=None)
def test_a_dearer_contract_upstream_takes_nothing_else_away(member, need, upstream, downstream, rise, which):
    which %= len(upstream)
    dearer = [price + rise * (n == which) for n, price in enumerate(upstream)]
    bought, sold = chosen(member, need, upstream, downstream)
    after, sold_after = chosen(member, need, dearer, downstream)
    assert bought - {which} <= after  # same side: what was wanted is still wanted
    assert sold_after <= sold  # other side: nothing more is sold


@given(members, needs, prices, prices.filter(len), st.integers(1, 120), st.integers(0, 4))
@settings(max_examples=150, deadline=None)
def test_a_cheaper_contract_downstream_takes_nothing_else_away(member, need, upstream, downstream, fall, which):
    which %= len(downstream)
    cheaper = [price - fall * (n == which) for n, price in enumerate(downstream)]
    bought, sold = chosen(member, need, upstream, downstream)
    bought_after, after = chosen(member, need, upstream, cheaper)
    assert sold - {which} <= after
    assert bought_after <= bought


def test_a_generator_a_supplier_and_a_prosumer():
    maker = ContractMembers(np.array([ME], np.int32), TARIFF, BLOCK, cost_first=100.0, cost_slope=1.0, capacity=30)
    assert chosen(maker, 0, [], [104, 114, 126, 126]) == (set(), {2, 3})  # blocks cost 105, 115 and 125
    assert chosen(maker, 0, [], [126, 126, 126]) == (set(), {0, 1, 2})
    house = ContractMembers(np.array([ME], np.int32), TARIFF, BLOCK, throughput=20, handling=5.0)
    assert chosen(house, 0, [100, 100, 100], [106, 105, 104]) == ({0, 1}, {0, 1})
    assert chosen(house, 0, [100, 100, 100], [200, 200, 200])[1] == {0, 1}  # no more than may be passed on
    home = ContractMembers(np.array([ME], np.int32), TARIFF, BLOCK)
    assert chosen(home, 25, [299, 174, 290, 170], []) == ({1, 3}, set())
    assert chosen(home, 25, [299, 290, 280], [])[0] == {1, 2}  # half of the third block is worth 300, half 50
    assert chosen(home, 25, [170, 170, 170], [])[0] == {0, 1, 2}
    assert chosen(home, -25, [], [60, 51, 170])[1] == {0, 2}  # to sell five lots that one lacks costs 300 each


def test_a_charge_is_due_on_lots_that_one_cannot_use_too():
    """Two blocks for a need of 15: half of the second is resold at 50, and all of it costs the charge."""
    home = ContractMembers(np.array([ME], np.int32), TARIFF, BLOCK, charge=40.0)
    assert chosen(home, 15, [135, 135], [])[0] == {0, 1}
    assert chosen(home, 15, [135, 136], [])[0] == {0}
    assert [chosen(home, 15, [price], [])[0] for price in (260, 261)] == [{0}, set()]
    assert home.respond(Call("contracts", 0, 1), View(np.array([[15]]))).limit.tolist() == [260]
    assert chosen(home, -10, [], [50])[1] == {0}  # who sells pays no charge


def test_a_forward_stage_hedges_between_scenarios():
    """With errors of -10 and +10 around 20 lots the third block is worth the mean of retail and feed-in."""
    unsure = ContractMembers(np.array([ME], np.int32), TARIFF, BLOCK, errors=np.array([[-10], [10]]))
    assert chosen(unsure, 20, [176, 100, 100], [])[0] == {1, 2}
    assert chosen(unsure, 20, [175, 175, 175], [])[0] == {0, 1, 2}
    sure = replace(unsure, errors=np.zeros((1, 1), np.int64))
    assert chosen(sure, 20, [175, 175, 175], [])[0] in ({0, 1}, {1, 2}, {0, 2})


def test_positions_count_in_the_real_time_stage():
    home = ContractMembers(np.array([ME], np.int32), TARIFF, BLOCK, errors=np.array([[-10], [10]]))
    one = np.array([1])
    bought = Trades(one * 0, one * 0, one * ME, one * 30, one, one, one * 20, one * 150, one * 150)
    now = home.real_time(bought, 0, 1)
    assert now.held.tolist() == [[20]]
    assert now.errors.tolist() == [[0]]
    assert caps(now, 20) == [0, 0]
    assert caps(now, 35) == [2, 0]
    assert caps(now, 5) == [0, 2]
    assert chosen(now, 10, [], [60])[1] == {0}  # sells back what he does not need
    sold = bought.replace(buyer=one * 30, seller=one * ME)
    assert now.real_time(sold, 0, 1).held.tolist() == [[0]]
    assert now.real_time(bought.replace(interval=one * 7), 0, 1).held.tolist() == [[20]]


def test_a_generator_buys_back_what_is_cheaper_than_his_fuel():
    maker = ContractMembers(np.array([ME], np.int32), TARIFF, BLOCK, cost_first=100.0, cost_slope=1.0, capacity=40)
    now = replace(maker, held=np.array([[-30]]))
    assert caps(now, 0) == [3, 4]
    assert chosen(now, 0, [124, 114, 106], []) == ({1, 2}, set())
    assert now.metered(np.array([[0]]), 0).tolist() == [[-30]]
    assert maker.metered(np.array([[0]]), 0).tolist() == [[0]]
    cheap = replace(maker, cost_first=30.0)  # the utility pays 50, so the first 20 lots are made in any case
    assert cheap.metered(np.array([[0]]), 0).tolist() == [[-20]]


def test_opening_orders_name_partners_and_hide_costs():
    links = np.array([[30, ME, ME], [ME, 31, 32]], np.int32)
    maker = ContractMembers(np.array([ME], np.int32), TARIFF, BLOCK, cost_first=120.0, capacity=25, links=links)
    orders = maker.respond(Call("contracts", 4, 6), View(np.array([[7], [-3]])))
    names = ("interval", "side", "quantity", "limit", "partner")
    rows = sorted(zip(*(getattr(orders, name).tolist() for name in names), strict=True))
    assert rows == [
        (4, -1, 30, 50, 30),
        (4, 1, 10, 300, 31),
        (4, 1, 10, 300, 32),
        (5, -1, 30, 50, 30),
    ]


def test_answers_of_one_pair_come_as_one_order():
    maker = ContractMembers(np.array([ME], np.int32), TARIFF, BLOCK, cost_first=100.0, capacity=40)
    quotes = Quotes(*np.array([(0, 0, 30, ME, 140), (0, 0, 30, ME, 120), (0, 0, 31, ME, 90), (0, 0, 31, ME, 110)]).T)
    orders = maker.respond(Call("contracts", 0, 1, 1, quotes), View(np.array([[0]])))
    assert orders.partner.tolist() == [30, 31]
    assert orders.quantity.tolist() == [20, 10]
    assert orders.limit.tolist() == [120, 110]


def test_equal_offers_are_spread_over_partners():
    rows = [(0, 0, ME, who, 100) for who in (8, 19, 21, 30) for _ in range(3)]
    home = ContractMembers(np.array([ME], np.int32), TARIFF, BLOCK)
    orders = home.respond(Call("contracts", 0, 1, 1, Quotes(*np.array(rows).T)), View(np.array([[60]])))
    assert dict(zip(orders.partner.tolist(), orders.quantity.tolist(), strict=True)) == {8: 10, 19: 10, 21: 20, 30: 20}


def test_nobody_is_asked():
    home = ContractMembers(np.array([ME], np.int32), TARIFF, BLOCK)
    assert len(home.respond(Call("contracts", 0, 1, 1, Quotes.empty()), View(np.array([[60]])))) == 0
    assert len(home.respond(asked([], []), View(np.array([[0]])))) == 0
    strangers = Quotes(*np.array([(0, 0, 50, 51, 100)]).T)
    assert len(home.respond(Call("contracts", 0, 1, 1, strangers), View(np.array([[60]])))) == 0
