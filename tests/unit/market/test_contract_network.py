"""Contract networks: stability by exhaustive search, welfare by a linear programme, cases worked by hand."""

import json
from itertools import chain, combinations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from wattle.agents.cohort import FixedLimits, View
from wattle.agents.contracts import ContractMembers
from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Call, Clearing, Context, Tariff
from wattle.core.tables import Orders
from wattle.market.contract_book import _colour, _sign, potential_contracts
from wattle.market.contract_network import ContractNetwork
from wattle.market.negotiation import BilateralAdmm, PriceAdjustment
from wattle.market.negotiation_pairs import opening
from wattle.testing.generators import book_of

GOLDEN = Path(__file__).parents[2] / "golden"

BLOCK = 100


def network(seed, generators=2, suppliers=1, prosumers=2, peers=1, intervals=1, capacity=(200, 500)):
    """Return members of all three kinds and their net energy; all may deal with suppliers, some with peers."""
    rng = np.random.default_rng(seed)
    sizes = (generators, suppliers, prosumers)
    ids = np.arange(8, 8 + sum(sizes), dtype=np.int32)
    plants, houses, homes = np.split(ids, np.cumsum(sizes)[:2])
    links = [(house, plant) for house in houses for plant in plants]
    links += [(home, house) for home in homes for house in houses]
    links += [(house, home) for house in houses for home in homes]
    links += [tuple(rng.choice(homes, 2, replace=False)) for _ in range(peers)]

    def of_each(plant, house):
        return np.concatenate(
            (np.broadcast_to(plant, generators), np.broadcast_to(house, suppliers), np.zeros(prosumers))
        )

    members = ContractMembers(
        ids,
        Tariff.flat(int(rng.integers(1500, 3000)), 500),
        BLOCK,
        cost_first=of_each(rng.uniform(600, 1500, generators), 0),
        cost_slope=of_each(rng.uniform(0.2, 2, generators), 0),
        capacity=of_each(rng.integers(*capacity, generators), 0).astype(np.int64),
        throughput=of_each(0, 200 * prosumers).astype(np.int64),
        handling=of_each(0, rng.uniform(0, 80, suppliers)),
        links=np.array(sorted(set(links)), np.int32).T,
    )
    nobody = np.zeros((intervals, generators + suppliers), np.int64)
    return members, np.concatenate((nobody, rng.integers(-250, 400, (intervals, prosumers))), axis=1)


def negotiate(rule, cohorts, nets, context=None, memory=None):
    """Run one gate without an engine; return the memory and the clearing."""
    intervals, number, context = nets[0].shape[0], 0, context or Context()
    call = Call("contracts", 0, intervals)
    while True:
        parts = [cohort.respond(call, View(net)) for cohort, net in zip(cohorts, nets, strict=True)]
        orders = Orders.concat(*parts)
        orders = orders.replace(id=np.arange(number, number + len(orders)))
        number += len(orders)
        memory, reply = rule.step(memory, orders, context)
        if isinstance(reply, Clearing):
            return memory, reply
        call = Call("contracts", 0, intervals, reply.round, reply.quotes)


def worth(members, net, positions):
    """Return V [N, R] of each member at positions [R] in blocks, in interval 0."""
    lots = np.asarray(positions, float) * members.block_lots
    zero = np.zeros(lots.size, np.int64)
    return np.array([
        members.worth(lots, zero, zero + member, zero + net[0, member]) for member in range(members.members.size)
    ])  # fmt: skip


def welfare(members, net, trades):
    """Return what signed contracts bring all together in interval 0, against none."""
    place = np.searchsorted(members.members, trades.buyer), np.searchsorted(members.members, trades.seller)
    size, blocks = members.members.size, trades.quantity / members.block_lots
    held = np.bincount(place[0], blocks, size) - np.bincount(place[1], blocks, size)
    now = np.array([worth(members, net, [x, 0])[who] for who, x in enumerate(held)])
    handling = np.broadcast_to(members.handling, size)[place[1]] * trades.quantity
    return float((now[:, 0] - now[:, 1]).sum() - handling.sum())


def optimum(members, net, state):
    """Return the best welfare and the blocks of each pair in it, by a linear programme over marginal values."""
    pairs, size, most = len(state["buyer"]), members.members.size, 40
    place = [np.searchsorted(members.members, state[name]) for name in ("buyer", "seller")]
    handling = np.broadcast_to(members.handling, size)[place[1]] * members.block_lots
    flow = np.zeros((size, pairs))
    np.add.at(flow, (place[0], np.arange(pairs)), 1)
    np.add.at(flow, (place[1], np.arange(pairs)), -1)
    value = worth(members, net, np.arange(-most, most + 1))
    more, less = np.diff(value[:, most:]), np.diff(value[:, : most + 1])
    own = np.concatenate((np.repeat(-np.eye(size), most, axis=1), np.repeat(np.eye(size), most, axis=1)), axis=1)
    cost = np.concatenate((handling, -more.ravel(), less.ravel()))
    blocks = np.bincount(state["pair"], minlength=pairs)
    call = Call("contracts", 0, 1)
    caps = np.concatenate([lots[0] // members.block_lots for lots in members._most(call, View(net[:1]))])
    sides = np.concatenate((np.maximum(flow, 0), np.maximum(-flow, 0)))
    none = np.zeros((2 * size, own.shape[1]))
    found = linprog(
        cost,
        A_eq=np.concatenate((flow, own), axis=1),
        b_eq=np.zeros(size),
        A_ub=np.concatenate((sides, none), axis=1),
        b_ub=caps,
        bounds=[(0, count) for count in blocks] + [(0, 1)] * own.shape[1],
    )
    assert found.success
    return -found.fun, found.x[:pairs]


def largest_block(members, net, state, trades):
    """Return the largest gain per lot and contract of any set of contracts outside, over all ways to drop some inside.

    A set of contracts blocks if all who would sign it can gain by it. Money can be shared among them, so that is so if
    their gains, each with the best choice of what he drops, have a sum above 0. Per contract of the set that gain is
    compared with the step. The empty set is dropping alone: the gain of whoever gains most by it.
    """
    size, block, ids = members.members.size, members.block_lots, members.members
    assert (trades.quantity == block).all()
    signed = np.bincount(_pair_of(state, trades), trades.quantity, len(state["buyer"])) // block
    free = np.bincount(state["pair"], minlength=len(state["buyer"])) - signed.astype(int)
    value = worth(members, net, np.arange(-40, 41)) / block
    handling = np.broadcast_to(members.handling, size)
    caps = [lots[0] // block for lots in members._most(Call("contracts", 0, 1), View(net[:1]))]
    sides = []
    for who in range(size):
        bought, sold = trades.buy_price[trades.buyer == ids[who]], trades.sell_price[trades.seller == ids[who]]
        sides.append((np.sort(bought), np.sort(sold - handling[who])[::-1]))

    def gain(who, up, down):
        bought, sold = sides[who]
        now = value[who, 40 + bought.size - sold.size] - bought.sum() + sold.sum()
        best = -np.inf
        for kept in range(bought.size + 1):
            for left in range(sold.size + 1):
                if kept + up <= caps[0][who] and left + down <= caps[1][who]:
                    x = value[who, 40 + kept + up - left - down] - bought[:kept].sum() + sold[:left].sum()
                    best = max(best, x - handling[who] * down - now)
        return best

    alone = max(gain(who, 0, 0) for who in range(size))
    worst = -np.inf
    place = [np.searchsorted(ids, state[name]) for name in ("buyer", "seller")]
    known = {}
    for extra in product(*(range(count + 1) for count in free)):
        number = sum(extra)
        if number:
            up, down = (np.bincount(end, extra, size).astype(int) for end in place)
            total = 0.0
            for who in np.flatnonzero(up + down):
                key = (who, up[who], down[who])
                if key not in known:
                    known[key] = gain(*key)
                total += known[key]
            worst = max(worst, total / number)
    return alone, worst


def _pair_of(state, trades):
    pairs = {(b, s): n for n, (b, s) in enumerate(zip(state["buyer"].tolist(), state["seller"].tolist(), strict=True))}
    return np.array([pairs[each] for each in zip(trades.buyer.tolist(), trades.seller.tolist(), strict=True)], np.int64)


# --- the result of the paper: stable, and as good as any ---


@given(st.integers(0, 10**6), st.sampled_from([1, 20]))
@settings(max_examples=30, deadline=None)
def test_no_set_of_contracts_blocks(seed, step):
    members, net = network(seed)
    rule = ContractNetwork(BLOCK, step, contracts_max=3, rounds_max=999)
    state, clearing = negotiate(rule, [members], [net])
    assert clearing.report["settled"] == 1
    assert clearing.report["step"] <= step
    assert len(clearing.trades) == clearing.report["offered"]  # what both sides wanted, both sides sign
    if state is not None:
        alone, together = largest_block(members, net, state, clearing.trades)
        assert alone <= 1e-6  # nobody would rather drop something
        assert together <= step + 1e-6  # and no set of contracts outside brings more than a step on each lot


def test_the_search_finds_a_block_where_there_is_one():
    members, net = network(6)
    state, clearing = negotiate(ContractNetwork(BLOCK, 1, contracts_max=2), [members], [net])
    assert len(clearing.trades) > 2
    for row in range(len(clearing.trades)):
        rest = clearing.trades.take(np.arange(len(clearing.trades)) != row)
        alone, together = largest_block(members, net, state, rest)
        assert max(alone, together) > 20
    dear = clearing.trades.replace(buy_price=clearing.trades.buy_price + 3000)
    assert largest_block(members, net, state, dear)[0] > 20


@given(
    st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 2), st.integers(2, 7), st.integers(0, 6),
    st.sampled_from([1, 25]),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_welfare_is_within_the_bound_of_a_linear_programme(seed, generators, suppliers, prosumers, peers, step):
    members, net = network(seed, generators, suppliers, prosumers, peers, capacity=(300, 1500))
    rule = ContractNetwork(BLOCK, step, contracts_max=4, rounds_max=999)
    state, clearing = negotiate(rule, [members], [net])
    if state is None or not clearing.report["settled"]:
        assert state is None or clearing.report["rounds"] == 999
        return
    best, blocks = optimum(members, net, state)
    signed = np.bincount(_pair_of(state, clearing.trades), minlength=len(blocks))
    outside = np.maximum(0, blocks - signed).sum()
    found = welfare(members, net, clearing.trades)
    assert best - clearing.report["step"] * BLOCK * outside - 1e-3 <= found <= best + 1e-3


def test_networks_of_ten_members_settle_and_most_to_the_last_tick():
    reports = []
    for seed in range(12):
        members, net = network(seed, 3, 1, 6, 4, capacity=(300, 1500))
        rule = ContractNetwork(BLOCK, 1, contracts_max=4, rounds_max=400)
        reports.append(negotiate(rule, [members], [net])[1].report)
    assert sum(report["settled"] for report in reports) == 12
    assert sum(report["step"] == 1 for report in reports) >= 6
    assert all(report["rounds"] <= 400 for report in reports)


def test_a_network_that_runs_out_of_rounds_signs_what_it_reached():
    members, net = network(5, 4, 2, 8, 4, capacity=(300, 1500))
    coarse = negotiate(ContractNetwork(BLOCK, 1, rounds_max=300), [members], [net])[1]
    assert coarse.report["settled"] == 1
    assert coarse.report["step"] > 1
    _, early = negotiate(ContractNetwork(BLOCK, 1, rounds_max=25), [members], [net])
    assert early.report["settled"] == 0
    assert early.report["rounds"] == 25
    assert welfare(members, net, early.trades) >= 0
    assert largest_block_alone(members, net, early.trades) <= 1e-6


def largest_block_alone(members, net, trades):
    """Return the most that one member would gain by having signed nothing at all."""
    size = members.members.size
    place = np.searchsorted(members.members, trades.buyer), np.searchsorted(members.members, trades.seller)
    blocks = trades.quantity / BLOCK
    held = np.bincount(place[0], blocks, size) - np.bincount(place[1], blocks, size)
    value = np.array([worth(members, net, [x, 0])[who] for who, x in enumerate(held)])
    paid = np.bincount(place[0], trades.quantity * trades.buy_price, size)
    paid -= np.bincount(place[1], trades.quantity * trades.sell_price, size)
    return float((value[:, 1] - value[:, 0] + paid).max())


def test_intervals_do_not_disturb_each_other():
    members, net = network(3, intervals=5)
    rule = ContractNetwork(BLOCK, 1, contracts_max=3, rounds_max=400)
    _, whole = negotiate(rule, [members], [net])
    assert whole.report["settled"] == 1
    for time in range(5):
        _, alone = negotiate(rule, [members], [net[time : time + 1]])
        mine = whole.trades.take(whole.trades.interval == time)
        same = ("buyer", "seller", "quantity", "buy_price", "sell_price")
        assert all(getattr(mine, name).tolist() == getattr(alone.trades, name).tolist() for name in same)


def test_members_of_several_cohorts_are_the_same_as_of_one():
    members, net = network(4, 2, 1, 4)
    rule = ContractNetwork(BLOCK, 5, contracts_max=3)
    _, one = negotiate(rule, [members], [net])
    halves = [part_of(members, slice(0, 3)), part_of(members, slice(3, None))]
    _, two = negotiate(rule, halves, [net[:, :3], net[:, 3:]])
    assert one.trades.replace(buy_order=two.trades.buy_order, sell_order=two.trades.sell_order) == two.trades
    assert len(one.trades) > 3


def part_of(members, rows):
    names = ("members", "cost_first", "cost_slope", "capacity", "throughput", "handling")
    values = {name: getattr(members, name)[rows] for name in names}
    return ContractMembers(tariff=members.tariff, block_lots=BLOCK, links=members.links, **values)


# --- the rule ---


def test_memory_is_never_changed_in_place():
    members, net = network(1)
    rule, call = ContractNetwork(BLOCK, 1), Call("contracts", 0, 1)
    memory, reply = rule.step(None, members.respond(call, View(net)), Context())
    before = {name: np.copy(value) for name, value in memory.items()}
    answers = members.respond(Call("contracts", 0, 1, 1, reply.quotes), View(net))
    one, other = rule.step(memory, answers, Context()), rule.step(memory, answers, Context())
    assert all(np.array_equal(memory[name], value) for name, value in before.items())
    assert one[1].quotes == other[1].quotes


def test_each_side_is_asked_at_its_own_price_and_never_both_at_once():
    members, net = network(1, peers=2)
    rule, call = ContractNetwork(BLOCK, 1), Call("contracts", 0, 1)
    memory, reply = rule.step(None, members.respond(call, View(net)), Context())
    apart = 0
    while not isinstance(reply, Clearing) and not memory["last"]:
        asked = memory["asked"] == 1
        buyers, sellers = asked[memory["buyer_place"]], asked[memory["seller_place"]]
        assert not (buyers & sellers).any()
        assert (memory["buy_price"] - memory["sell_price"] >= 0).all()
        assert (memory["buy_price"] - memory["sell_price"] <= memory["step"][memory["group_of"]]).all()
        apart += int((memory["buy_price"] > memory["sell_price"]).any())
        memory, reply = rule.step(memory, members.respond(Call("c", 0, 1, 1, reply.quotes), View(net)), Context())
    assert apart > 3


def test_a_contract_is_a_block_or_all_that_a_small_pair_has():
    book = book_of([(8, 1, 250, 300), (9, -1, 470, 100), (10, 1, 30, 300), (11, -1, 9999, 100)])
    found = potential_contracts(book, opening(book, Context(), 20), 100, 3)
    pairs = list(zip(found["buyer"].tolist(), found["seller"].tolist(), strict=True))
    assert pairs == [(8, 9), (8, 11), (10, 9), (10, 11)]
    assert np.bincount(found["pair"]).tolist() == [2, 2, 1, 1]
    assert found["size"].tolist() == [100, 100, 100, 100, 30, 30]
    assert sorted(np.unique(found["colour"]).tolist()) == [0, 1]


def test_who_names_partners_has_contracts_with_them_only():
    book = book_of([(8, 1, 10, 300), (9, 1, 10, 300), (10, -1, 40, 100), (11, -1, 40, 120)])
    book = book.replace(partner=np.array([10, -1, -1, 9]))
    found = potential_contracts(book, opening(book, Context(), 20), 10, 5)
    assert list(zip(found["buyer"].tolist(), found["seller"].tolist(), strict=True)) == [(8, 10), (9, 10), (9, 11)]


def test_two_members_with_limits():
    both = FixedLimits(np.array([8, 9], np.int32), np.array([300, 0]), np.array([0, 120]))
    _, clearing = negotiate(ContractNetwork(10, 1), [both], [np.array([[34, -57]])])
    assert clearing.trades.quantity.sum() == 30
    assert (clearing.trades.buy_price >= 120).all()
    assert (clearing.trades.buy_price <= 300).all()
    apart = FixedLimits(np.array([8, 9], np.int32), np.array([100, 0]), np.array([0, 120]))
    _, clearing = negotiate(ContractNetwork(10, 1), [apart], [np.array([[34, -57]])])
    assert len(clearing.trades) == 0
    assert clearing.refused is None


def test_many_members_with_limits_trade_within_them():
    rng = np.random.default_rng(1)
    buy, sell = rng.integers(150, 300, 12), rng.integers(60, 200, 12)
    cohort = FixedLimits(np.arange(8, 20, dtype=np.int32), buy, sell)
    net = rng.integers(-90, 90, (6, 12))
    _, clearing = negotiate(ContractNetwork(10, 1), [cohort], [net])
    trades = clearing.trades
    assert trades.quantity.sum() > 300
    assert (trades.buy_price <= buy[trades.buyer - 8]).all()
    assert (trades.sell_price >= sell[trades.seller - 8]).all()


@pytest.mark.parametrize("rule", [ContractNetwork(), BilateralAdmm(), PriceAdjustment()])
def test_a_book_without_partners_is_refused_with_its_code(rule):
    rows = [(8, 1, 100, 300), (9, 1, 100, 300), (10, -1, 100, 100), (11, -1, 100, 120)]
    strangers = book_of(rows).replace(partner=np.array([9, 8, 11, 10]))  # each names one of his own side
    assert rule.step(None, strangers, Context())[1].refused == Reject.NO_PARTNERS
    crossed = book_of(rows).replace(partner=np.array([10, 11, 9, 8]))  # nobody names the one who names him
    assert rule.step(None, crossed, Context())[1].refused == Reject.NO_PARTNERS
    alone = book_of([(8, 1, 100, 300), (8, -1, 100, 100)])
    assert rule.step(None, alone, Context())[1].refused == Reject.NO_PARTNERS
    one_pair = book_of(rows).replace(partner=np.array([10, 11, 8, 8]))
    assert rule.step(None, one_pair, Context())[1].quotes.seller.tolist()[0] == 10
    elsewhere = book_of(rows[:1] + rows[2:3]).replace(interval=np.array([0, 1], np.int32))
    assert rule.step(None, elsewhere, Context())[1].refused is None  # nobody to deal with, and nothing wrong


@pytest.mark.parametrize("bad", [{"block_lots": 0}, {"step_ticks": 0}, {"contracts_max": 0}, {"rounds_max": 1}])
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InvariantError):
        ContractNetwork(**bad)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_colours_tell_neighbours_apart(edges):
    edges = [edge for edge in edges if edge[0] != edge[1]]
    ends = np.array([*edges, *(edge[::-1] for edge in edges)], np.int64).reshape(-1, 2)
    ends = ends[np.argsort(ends[:, 0], kind="stable")]
    starts = np.searchsorted(ends[:, 0], np.arange(11)).astype(np.int64)
    results = []
    for colouring in (_colour, _colour.twin()):
        colour = np.full(10, -1)
        colouring(np.arange(10), starts, np.ascontiguousarray(ends[:, 1]), np.full(11, -1), colour)
        assert all(colour[one] != colour[other] for one, other in edges)
        assert colour.max() <= np.diff(starts).max()
        results.append(colour.tolist())
    assert results[0] == results[1]


def test_a_contract_is_signed_whole_or_not_at_all():
    # Two contracts of 10 lots of one pair at 100 and 200; the buyer has 10 + 4 lots, the seller 30 from 100 on.
    ends = [np.array(end) for end in ([0, 0], [2, 2], [0, 0], [1, 1])]
    buys, sells, limit = np.array([0, 1]), np.array([2]), np.array([150, 200, 100])
    for sign in (_sign, _sign.twin()):
        left, made = np.array([10, 4, 30]), [np.zeros(5, np.int64) for _ in range(4)]
        assert sign(*ends, buys, sells, limit, left, np.array([10, 10]), np.array([100, 200]), *made) == 1
        assert left.tolist() == [0, 4, 20]


# --- cases worked by hand ---


def read(name):
    folder = GOLDEN / name
    return [json.loads((folder / f"{part}.json").read_text(encoding="utf-8")) for part in ("case", "expected")]


@pytest.mark.parametrize("number", range(4))
def test_a_chain_of_three_agents(number):
    case, expected = read("contract-chain-three-agents")
    needs, retail = (case["prosumer"][number][name] for name in ("needs", "retail"))
    members = ContractMembers(
        np.array([8, 9, 10], np.int32),
        Tariff.flat(retail, case["feed_in"]),
        case["block_lots"],
        cost_first=np.array([case["generator"]["cost_first"], 0.0, 0.0]),
        cost_slope=np.array([case["generator"]["cost_slope"], 0.0, 0.0]),
        capacity=np.array([case["generator"]["capacity"], 0, 0]),
        throughput=np.array([0, case["supplier"]["throughput"], 0]),
        handling=np.array([0.0, case["supplier"]["handling"], 0.0]),
        links=np.array([[9, 10], [8, 9]], np.int32),
    )
    net = np.array([[0, 0, needs]])
    _, clearing = negotiate(ContractNetwork(case["block_lots"], 1), [members], [net])
    assert clearing.report["settled"] == 1
    upstream, downstream = (clearing.trades.take(clearing.trades.seller == who) for who in (8, 9))
    assert len(upstream) == len(downstream) == expected["blocks"][number]
    assert welfare(members, net, clearing.trades) == pytest.approx(expected["gain"][number])
    if len(upstream):
        low, high = expected["upstream_ticks"][number]
        assert upstream.sell_price.min() >= low
        assert upstream.sell_price.max() <= high + 1
        assert downstream.buy_price.min() >= upstream.sell_price.max() + case["supplier"]["handling"]
        assert downstream.buy_price.max() <= expected["downstream_ticks_max"][number]


def test_a_network_of_five_agents():
    case, expected = read("contract-network-five-agents")
    number = {name: 8 + place for place, name in enumerate("ABSPQ")}
    links = np.array([[number[one] for one in edge] for edge in case["contracts"]], np.int32).T

    def member(name, **facts):
        retail = case["prosumers"].get(name, 3000)
        return ContractMembers(
            np.array([number[name]], np.int32), Tariff.flat(retail, 0), case["block_lots"], links=links, **facts
        )

    cohorts = [member(name, cost_first=float(cost), capacity=100) for name, cost in case["generators"].items()]
    cohorts += [member(name, throughput=100, handling=float(cost)) for name, cost in case["suppliers"].items()]
    cohorts += [member(name) for name in case["prosumers"]]
    nets = [np.array([[need]]) for need in (0, 0, 0, 100, 100)]
    _, clearing = negotiate(ContractNetwork(case["block_lots"], 1), cohorts, nets)
    assert clearing.report["settled"] == 1
    names = {who: name for name, who in number.items()}
    trades = clearing.trades
    price = {
        (names[b], names[s]): p
        for b, s, p in zip(trades.buyer.tolist(), trades.seller.tolist(), trades.buy_price.tolist(), strict=True)
    }
    assert sorted(map(list, price)) == expected["signed"]
    a, p, q = price["S", "A"], price["P", "S"], price["Q", "B"]
    assert 1000 <= a <= q + 1
    assert q <= p + 1
    assert a + 50 <= p <= 2000
    assert 1400 <= q <= 1700


def test_the_sets_of_contracts_of_five_agents():
    case, expected = read("contract-network-five-agents")
    contracts = [tuple(edge) for edge in case["contracts"]]
    every = chain.from_iterable(combinations(contracts, size) for size in range(len(contracts) + 1))
    gains = {}
    for signed in every:
        bought = {name: sum(edge[0] == name for edge in signed) for name in "ABSPQ"}
        sold = {name: sum(edge[1] == name for edge in signed) for name in "ABSPQ"}
        one_each = max([*bought.values(), *sold.values()]) <= 1
        if one_each and bought["S"] == sold["S"]:
            gain = sum(case["prosumers"][name] * bought[name] for name in "PQ")
            gain -= sum(case["generators"][name] * sold[name] for name in "AB") + case["suppliers"]["S"] * sold["S"]
            gains[" ".join(sorted("-".join(edge) for edge in signed))] = gain
    assert gains == expected["gain_per_lot"]
    best = max(gains, key=gains.get)
    assert best.split() == ["-".join(edge) for edge in expected["signed"]]
