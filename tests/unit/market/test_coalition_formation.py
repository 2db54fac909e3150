"""Merge and split: the partition is stable, distances matter, and losses are paid for."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, Profiles
from wattle.market import coalition_formation as formation
from wattle.market.coalition_formation import MergeAndSplit, form, gains, market_of
from wattle.testing.generators import book_of
from wattle.testing.trial import plain_kernels

RETAIL, FEED_IN = 3000, 800
TARIFF = Tariff.flat(RETAIL, FEED_IN)
SPOTS = st.tuples(st.integers(-30, 30).filter(bool), st.integers(0, 60), st.integers(0, 60))  # lots, and km * 10
VILLAGES = st.lists(SPOTS, min_size=1, max_size=6)


def orders_of(village):
    return book_of(
        [(8 + i, 1 if x > 0 else -1, abs(x), ANY_PRICE if x > 0 else -ANY_PRICE) for i, (x, *_) in enumerate(village)]
    )


def places_of(village):
    size = len(village)
    east, north = ([place[axis] * 100 for place in village] for axis in (1, 2))
    return Profiles(np.arange(8, 8 + size), east, north, np.zeros(size, int), np.full(size, 1000))


def market(village, loss=100):
    orders = orders_of(village)
    worth = np.where(orders.side > 0, RETAIL, FEED_IN)
    return market_of(orders, worth, RETAIL, loss, places_of(village))


def clear(village, loss=100):
    context = Context(tariff=TARIFF, profiles=places_of(village))
    return MergeAndSplit(loss).step(None, orders_of(village), context)[1]


def alone(village, inside, loss=100):
    """Return what the members inside gain by themselves, nearest pairs first; written anew, without arrays."""
    left = {i: abs(village[i][0]) for i in inside}
    gain = dict.fromkeys(inside, 0)
    pairs = []
    for i in inside:
        for j in inside:
            if village[i][0] > 0 > village[j][0]:
                metres = np.hypot((village[i][1] - village[j][1]) * 100, (village[i][2] - village[j][2]) * 100)
                squares = ((village[i][1] - village[j][1]) ** 2 + (village[i][2] - village[j][2]) ** 2) * 10**4
                pairs.append((squares, i, j, RETAIL - FEED_IN - int(np.ceil(metres * loss * RETAIL / 1e6))))
    for _, i, j, surplus in sorted(pairs):
        if surplus > 0:
            moved = min(left[i], left[j])
            left[i] -= moved
            left[j] -= moved
            gain[i] += moved * (surplus - surplus // 2)
            gain[j] += moved * (surplus // 2)
    return gain


def coalitions_of(partition):
    return [np.flatnonzero(partition == name).tolist() for name in np.unique(partition)]


def improves(village, old, new):
    """Tell whether nobody loses and somebody gains from the old coalitions to the new ones."""
    before = {i: g for part in old for i, g in alone(village, part).items()}
    after = {i: g for part in new for i, g in alone(village, part).items()}
    return all(after[i] >= before[i] for i in before) and any(after[i] > before[i] for i in before)


@settings(max_examples=150)
@given(VILLAGES)
def test_no_two_coalitions_want_to_merge_and_none_to_split(village):
    partition, _ = form(market(village))
    parts = coalitions_of(partition)
    assert sorted(i for part in parts for i in part) == list(range(len(village)))
    assert all(partition[part[0]] == part[0] for part in parts)
    for one, other in combinations(parts, 2):
        assert not improves(village, [one, other], [sorted(one + other)])
    for part in parts:
        for size in range(1, len(part) // 2 + 1):
            for some in combinations(part, size):
                assert not improves(village, [part], [list(some), [i for i in part if i not in some]])


@given(VILLAGES)
def test_gains_are_those_of_each_coalition_by_itself(village):
    made = market(village)
    partition, lots = form(made)
    wanted = {i: g for part in coalitions_of(partition) for i, g in alone(village, part).items()}
    assert gains(made, partition).tolist() == [wanted[i] for i in range(len(village))]
    assert (partition[made.owner[made.bid]] == partition[made.owner[made.ask]])[lots > 0].all()


@given(VILLAGES)
def test_losses_are_paid_to_the_market_operator(village):
    trades = clear(village).trades
    for buyer, seller, buy, sell in zip(trades.buyer, trades.seller, trades.buy_price, trades.sell_price, strict=True):
        one, other = village[buyer - 8], village[seller - 8]
        metres = np.sqrt(float((one[1] - other[1]) ** 2 + (one[2] - other[2]) ** 2)) * 100
        assert buy - sell == np.ceil(metres * 100 * RETAIL / 1e6)
        assert FEED_IN <= sell < buy <= RETAIL or buy - sell == 0


@settings(max_examples=20)
@given(VILLAGES)
def test_twins_agree(village):
    made = market(village)
    partition, lots = form(made)
    with plain_kernels():
        plain, again = form(made)
    assert np.array_equal(partition, plain)
    assert np.array_equal(lots, again)


def test_two_hamlets_stay_apart():
    hamlets = [(5, 0, 0), (-5, 1, 0), (4, 0, 1), (-4, 0, 2), (6, 200, 0), (-9, 201, 0)]  # 20 km between them
    assert form(market(hamlets))[0].tolist() == [0, 0, 2, 2, 4, 4]
    assert clear(hamlets).report == {"coalitions of two or more": 3, "largest coalition": 2}
    assert clear(hamlets).trades.quantity.sum() == 15
    # Without losses the surplus of one hamlet could reach the other, but there nobody needs it.
    assert clear(hamlets, loss=0).trades.quantity.sum() == 15


def test_a_neighbour_in_need_is_let_in():
    # The seller has more than his neighbour wants; who lives farther away costs nobody anything.
    partition, _ = form(market([(5, 0, 0), (-9, 1, 0), (4, 20, 0)]))
    assert partition.tolist() == [0, 0, 0]
    # At 80 km everything is lost on the way.
    partition, _ = form(market([(5, 0, 0), (-9, 1, 0), (4, 800, 0)]))
    assert partition.tolist() == [0, 0, 2]


def test_net_metering_leaves_everybody_alone():
    village = orders_of([(5, 0, 0), (-5, 1, 0)])
    clearing = MergeAndSplit().step(None, village, Context(tariff=Tariff.flat(30, 30)))[1]
    assert len(clearing.trades) == 0
    assert clearing.report["coalitions of two or more"] == 0


def test_without_a_place_nothing_is_lost():
    village = [(5, 0, 0), (-5, 90, 90)]
    orders = orders_of(village)
    for places in (Profiles.empty(), places_of(village).take(slice(0, 1))):
        clearing = MergeAndSplit().step(None, orders, Context(tariff=TARIFF, profiles=places))[1]
        assert clearing.trades.buy_price.tolist() == clearing.trades.sell_price.tolist() == [1900]


def test_large_coalitions_end_too():
    rng = np.random.default_rng(1)
    village = [(int(x), *rng.integers(0, 30, 2).tolist()) for x in rng.integers(1, 30, 40) * rng.choice([1, -1], 40)]
    made = market(village)
    partition, _ = form(made)
    parts = coalitions_of(partition)
    assert max(map(len, parts)) > formation.SPLIT_ALL_MAX
    for one, other in combinations(parts, 2):
        assert not improves(village, [one, other], [sorted(one + other)])


def test_limits():
    with pytest.raises(InvariantError, match="loss_per_mille_per_km"):
        MergeAndSplit(-1)
    assert clear([(1, 0, 0)] * (formation.MEMBERS_MAX + 1)).refused == Reject.TOO_MANY_MEMBERS
    assert clear([(1, 0, 0)] * formation.MEMBERS_MAX).unusable is None
    book = orders_of([(1, 0, 0), (-1, 0, 0)])
    assert MergeAndSplit().step(None, book, Context())[1].refused == Reject.NO_TARIFF
    named = book.replace(partner=[9, -1])
    assert MergeAndSplit().step(None, named, Context(tariff=TARIFF))[1].refused == Reject.PARTNER_NOT_SUPPORTED
    many = book_of([(8 + i % 2, 1 - 2 * (i % 2), 1, (1 - 2 * (i % 2)) * ANY_PRICE) for i in range(520)])
    assert MergeAndSplit().step(None, many, Context(tariff=TARIFF))[1].refused == Reject.TOO_MANY_MEMBERS
    huge = book_of([(8, 1, 1 << 48, ANY_PRICE), (9, -1, 1 << 48, -ANY_PRICE)])
    dear = Tariff.flat(1 << 20, 0)
    assert MergeAndSplit().step(None, huge, Context(tariff=dear))[1].refused == Reject.TOO_LARGE
