"""The community game against its definition, linear programmes and lists of all coalitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, BUY, COMMUNITY_FUND, FIRST_MEMBER, SELL, Orders
from wattle.ledger import accounts
from wattle.market.coalition import (
    SHARING,
    SUBSETS_MAX,
    Game,
    all_values,
    assignment_gain,
    blocking_by_structure,
    blocking_coalition,
    coalition_values,
    core_point,
    joining_pays,
    payoffs_of_all,
    pool_of,
    shared_out,
    tariff_gain,
    whole_shares,
)
from wattle.testing.generators import book_of

RETAIL, FEED_IN = 30, 8
TARIFF = Tariff.flat(RETAIL, FEED_IN)
NETS = st.lists(st.integers(-9, 9), min_size=1, max_size=6)


def takers(net) -> Orders:
    """Return the book of metered net positions of one interval; positive is consumption."""
    return book_of([(8 + i, 1 if x > 0 else -1, abs(x), ANY_PRICE if x > 0 else -ANY_PRICE) for i, x in enumerate(net)])


def game_of(net) -> Game:
    net = np.asarray(net)
    gap = RETAIL - FEED_IN
    return Game(np.arange(8, 8 + net.size), np.stack((np.maximum(net, 0), np.maximum(-net, 0)), axis=1) * gap)


def cost(net) -> int:
    """Return what one meter with this net position pays the utility."""
    return net * RETAIL if net > 0 else net * FEED_IN


def coalitions(n):
    for bits in range(1 << n):
        yield bits, [i for i in range(n) if bits >> i & 1]


@given(NETS)
def test_the_worth_is_the_cost_alone_less_the_cost_together(net):
    values = all_values(game_of(net))
    for bits, inside in coalitions(len(net)):
        assert values[bits] == sum(cost(net[i]) for i in inside) - cost(sum(net[i] for i in inside))


@given(st.lists(NETS.map(lambda net: (net + [0] * 6)[:6]), min_size=1, max_size=4))
def test_a_gate_is_the_sum_of_its_intervals(nets):
    net = np.array(nets)
    gain = tariff_gain(net, TARIFF)
    assert gain.tolist() == [int(all_values(game_of(row))[-1]) for row in net]
    assert joining_pays(net, TARIFF).gain == gain.sum()
    assert joining_pays(net, TARIFF).pays == (gain.sum() > 0)


def test_joining_says_why_it_does_not_pay():
    net = np.array([[4, -3]])
    assert "net metering" in joining_pays(net, Tariff.flat(30, 30)).reason
    assert joining_pays(net, Tariff.flat(30, 30)).gain == 0
    assert "never meet" in joining_pays(np.array([[4, 3], [-1, -1]]), TARIFF).reason
    # A price gap only where nobody shares does not help.
    night = Tariff(0, np.array([30, 30]), np.array([30, 8]))
    assert not joining_pays(np.array([[4, -3], [1, 1]]), night).pays
    assert joining_pays(net, TARIFF) == joining_pays(np.array([[0, 0], [4, -3]])[1:], TARIFF, first=1)


@given(
    st.lists(st.tuples(st.integers(8, 12), st.sampled_from([1, -1]), st.integers(1, 5), st.integers(0, 40)), max_size=8)
)
def test_the_worth_with_named_limits_is_that_of_a_linear_programme(rows):
    if not rows:
        return
    pool = pool_of(book_of(rows), Context())
    values = all_values(pool.games[0])
    members = pool.games[0].members.tolist()
    for bits, inside in coalitions(len(members)):
        assert values[bits] == transport([row for row in rows if row[0] in {members[i] for i in inside}])


def transport(rows):
    bids, asks = [r for r in rows if r[1] > 0], [r for r in rows if r[1] < 0]
    if not bids or not asks:
        return 0
    gain = np.array([b[3] - a[3] for b in bids for a in asks])
    room = np.vstack((np.kron(np.eye(len(bids)), np.ones(len(asks))), np.kron(np.ones(len(bids)), np.eye(len(asks)))))
    return -round(linprog(-gain, A_ub=room, b_ub=[r[2] for r in bids + asks], method="highs").fun)


@given(st.lists(st.integers(0, 40), max_size=5), st.lists(st.integers(0, 40), max_size=5))
def test_assignment_games_have_a_closed_form(bids, asks):
    rows = [(8 + i, 1, 1, bid) for i, bid in enumerate(bids)] + [(20 + i, -1, 1, ask) for i, ask in enumerate(asks)]
    pool = pool_of(book_of(rows), Context())
    assert assignment_gain(np.array(bids), np.array(asks)) == (pool.games[0].worth if rows else 0)


def test_values_by_type_are_those_of_all_members():
    rng = np.random.default_rng(1)
    for _ in range(10):
        gain, count = rng.integers(0, 9, (3, 4)), np.array([2, 1, 3])
        by_type, game = coalition_values(gain, count), Game(np.arange(6), np.repeat(gain, count, axis=0))
        values = all_values(game)
        for bits, inside in coalitions(6):
            holds = np.bincount(np.repeat([0, 1, 2], count)[inside], minlength=3)
            assert by_type[holds[0] + 3 * holds[1] + 6 * holds[2]] == values[bits]
        assert np.array_equal(coalition_values.twin()(gain, count), by_type)


def test_too_many_members_are_not_listed():
    game = game_of([1] * (SUBSETS_MAX + 1))
    with pytest.raises(InvariantError, match="too many coalitions"):
        all_values(game)


# --- the core ---


@given(st.lists(st.integers(0, 9), min_size=8, max_size=8), st.lists(st.integers(0, 9), min_size=3, max_size=3))
def test_the_worst_coalition_is_found(values, payoff):
    table, given_out = np.array(values), np.array(payoff)
    worst = max(table[bits] - given_out[inside].sum() for bits, inside in coalitions(3) if bits not in (0, 7))
    found = blocking_coalition(table, given_out)
    assert (found is None) == (worst <= 0)
    if found is not None:
        bits = sum(1 << i for i in found.members)
        assert found.shortfall == worst == table[bits] - given_out[list(found.members)].sum()
        assert blocking_coalition(table, given_out, epsilon=found.shortfall) is None


def test_a_payoff_must_fit_the_values():
    with pytest.raises(InvariantError, match="do not fit"):
        blocking_coalition(np.zeros(8), np.zeros(2))
    assert payoffs_of_all(np.array([1, 2, 4])).tolist() == list(range(8))


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=7), st.data())
def test_the_core_of_one_point_is_found_by_structure(net, data):
    game = game_of(net)
    values, point = all_values(game), core_point(game)
    demand, supply = np.maximum(net, 0), np.maximum(np.negative(net), 0)
    long, short = (demand, supply) if demand.sum() > supply.sum() else (supply, demand)
    single = long.sum() > short.sum() and all(long.sum() - each >= short.sum() for each in long)
    assert (point is not None) == single
    if not single:
        with pytest.raises(InvariantError, match="more than one point"):
            blocking_by_structure(game, np.zeros(len(net)))
        return
    assert point.tolist() == (short * (RETAIL - FEED_IN)).tolist()
    assert blocking_coalition(values, point) is None
    assert blocking_by_structure(game, point) is None
    moved = point.copy()
    one, other = (data.draw(st.integers(0, len(net) - 1)) for _ in range(2))
    moved[one] += 1
    moved[other] -= 1
    listed, found = blocking_coalition(values, moved), blocking_by_structure(game, moved)
    assert (listed is None) == (found is None)
    if found is not None:
        inside = sum(1 << i for i in found.members)
        assert values[inside] - moved[list(found.members)].sum() == found.shortfall > 0


# --- from a book and back ---


def test_equals_are_served_pro_rata_at_the_mid_price():
    pool = pool_of(takers([60, 30, 10, -50]), Context(tariff=TARIFF))
    assert pool.fill.tolist() == [30, 15, 5, 50]
    assert pool.price.tolist() == [(RETAIL + FEED_IN) // 2]
    assert (pool.lowest.tolist(), pool.highest.tolist()) == ([RETAIL], [RETAIL])


def test_better_limits_are_served_first():
    pool = pool_of(book_of([(8, 1, 4, 25), (9, 1, 4, 20), (10, 1, 4, 20), (11, -1, 8, 5), (12, -1, 8, 22)]), Context())
    assert pool.fill.tolist() == [4, 2, 2, 8, 0]
    assert pool.games[0].worth == 4 * 20 + 4 * 15


def test_what_cannot_be_shared_is_said():
    book = takers([4, -3])
    assert pool_of(book, Context()) == Reject.NO_TARIFF
    assert pool_of(book.replace(partner=[9, -1]), Context(tariff=TARIFF)) == Reject.PARTNER_NOT_SUPPORTED
    huge = book_of([(8, 1, 1 << 48, 1 << 20), (9, -1, 1, 0)])
    assert pool_of(huge, Context()) == Reject.TOO_LARGE
    assert pool_of(Orders.empty(), Context()).games == ()
    assert pool_of(Orders.empty(), Context(tariff=TARIFF)).games == ()


@given(st.integers(0, 10**6), st.lists(st.floats(0, 1e6), min_size=1, max_size=9))
def test_whole_shares_sum_and_stay_near(total, shares):
    shares = np.array(shares)
    if not shares.sum() > 1e-3:
        return
    found = whole_shares(total, shares)
    assert found.sum() == total
    assert (found >= 0).all()
    assert (np.abs(found - shares * (total / shares.sum())) < 1.001).all()
    assert (found[shares == 0] == 0).all()


def test_whole_shares_at_the_edges():
    assert whole_shares(0, np.zeros(3)).tolist() == [0, 0, 0]
    most = (1 << 61) - 1
    assert whole_shares(most, np.array([1.0, 1.0, 1.0])).sum() == most
    assert whole_shares(10, np.array([5 - 1e-12, 5 + 1e-12])).tolist() == [5, 5]
    assert whole_shares(7, np.array([3.5 - 1e-12, 3.5])).tolist() == [4, 3]  # a tie goes to the first
    with pytest.raises(InvariantError, match="without anybody"):
        whole_shares(1, np.zeros(2))


@given(NETS.filter(lambda net: 0 not in net), st.data())
def test_transfers_bring_each_to_his_share(net, data):
    pool = pool_of(takers(net), Context(tariff=TARIFF))
    weights = np.array(data.draw(st.lists(st.integers(1, 9), min_size=len(net), max_size=len(net))), float)
    share = whole_shares(pool.games[0].worth, weights)
    clearing = shared_out(pool, [share], {"a": 1.0})
    trades, transfers = clearing.trades, clearing.transfers
    for place, member in enumerate(pool.games[0].members):
        gain = (trades.quantity * (RETAIL - trades.buy_price))[trades.buyer == member].sum()
        gain += (trades.quantity * (trades.sell_price - FEED_IN))[trades.seller == member].sum()
        gain += transfers.amount[transfers.payee == member].sum() - transfers.amount[transfers.payer == member].sum()
        assert gain == share[place]
    into = transfers.amount[transfers.payee == COMMUNITY_FUND].sum()
    assert into == transfers.amount[transfers.payer == COMMUNITY_FUND].sum()
    assert (transfers.code == SHARING).all()
    assert clearing.report == {"a": 1.0}


def test_shares_must_sum_to_the_gain():
    pool = pool_of(takers([1, -1]), Context(tariff=TARIFF))
    with pytest.raises(InvariantError, match="do not sum"):
        shared_out(pool, [np.array([1, 1])])


def test_the_code_is_that_of_the_ledger():
    assert SHARING == accounts.SHARING


def test_one_member_on_both_sides_keeps_what_he_gains_alone():
    both = book_of([(8, BUY, 3, ANY_PRICE), (8, SELL, 2, -ANY_PRICE), (9, SELL, 5, -ANY_PRICE)])
    game = pool_of(both, Context(tariff=TARIFF)).games[0]
    gap = RETAIL - FEED_IN
    assert game.members.tolist() == [FIRST_MEMBER, FIRST_MEMBER + 1]
    assert game.alone.tolist() == [2 * gap, 0]
    assert game.worth == 3 * gap
