"""Deferred acceptance: no blocking pair, best for the proposing side, and as quick for many lots as for few."""

import tomllib
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import permutations, product
from math import isqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff, unfilled
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, NO_ORDER, SELL, Orders, Preferences, Profiles
from wattle.market import preference_lists
from wattle.market.auction_double import PayAsBidAuction
from wattle.market.stable_matching import DeferredAcceptance
from wattle.testing.generators import book_of
from wattle.testing.strategies import order_books, tariffs
from wattle.testing.trial import plain_kernels

GOLDEN = Path(__file__).parents[2] / "golden"
SIDES = ("buyers", "sellers")


# --- an oracle that looks at a book and its trades only ---


class Market:
    """What each order thinks of each other one, by the words of the docstring and in fractions."""

    def __init__(self, rule, orders, context):
        self.rule, self.orders = rule, orders
        self.limit = [self._limit(row, context.tariff) for row in range(len(orders))]
        columns = [column.tolist() for column in context.preferences.arrays()]
        self.premium = {(who, other): premium for who, other, premium in zip(*columns, strict=True)}
        places = zip(*(context.profiles.arrays()[column].tolist() for column in range(3)), strict=True)
        self.place = {who: (east, north) for who, east, north in places}
        self.buyers = np.flatnonzero(orders.side == BUY).tolist()
        self.sellers = np.flatnonzero(orders.side == SELL).tolist()
        self.pairs = {pair for pair in product(self.buyers, self.sellers) if self._may_trade(*pair)}

    def _limit(self, row, tariff):
        limit = int(self.orders.limit[row])
        if abs(limit) < ANY_PRICE:
            return limit
        if tariff is None:
            return None
        return int(tariff.at(self.orders.interval[row : row + 1])[0 if limit > 0 else 1][0])

    def exact_price(self, buy, sell):
        bid, ask = self.limit[buy], self.limit[sell]
        if bid is None or ask is None:
            return Fraction(ask if bid is None else bid)
        return ask + Fraction((bid - ask) * self.rule.k_percent, 100)

    def _wish(self, own, other):
        who = self.orders.participant
        return self.premium.get((int(who[own]), int(who[other])), 0)

    def _may_trade(self, buy, sell):
        orders, bid, ask = self.orders, self.limit[buy], self.limit[sell]
        same = all(getattr(orders, name)[buy] == getattr(orders, name)[sell] for name in ("interval", "zone"))
        if not same or orders.participant[buy] == orders.participant[sell] or (bid is None and ask is None):
            return False
        if any(orders.partner[one] not in (ANYONE, orders.participant[two]) for one, two in ((buy, sell), (sell, buy))):
            return False
        if bid is not None and ask is not None and bid < ask:
            return False
        price = self.exact_price(buy, sell).__floor__()
        over = bid is not None and price > bid + min(0, self._wish(buy, sell))
        under = ask is not None and price < ask - min(0, self._wish(sell, buy))
        return not over and not under

    def dislike(self, own, other):
        buys = self.orders.side[own] == BUY
        price = self.exact_price(own, other) if buys else -self.exact_price(other, own)
        one, two = (self.place.get(int(self.orders.participant[row])) for row in (own, other))
        metres = isqrt((one[0] - two[0]) ** 2 + (one[1] - two[1]) ** 2) if one and two else 0
        far = Fraction(metres * self.rule.per_km_ticks, 1000)
        return price + far - self._wish(own, other), int(self.orders.id[other])

    def wants_more(self, own, other, held):
        """Tell whether an order has lots that it would rather trade with `other`; `held` maps partners to lots."""
        if sum(held.values()) < self.orders.quantity[own]:
            return True
        return any(lots and self.dislike(own, other) < self.dislike(own, third) for third, lots in held.items())

    def blocking(self, lots):
        """Return the pairs that would both rather have more of each other; `lots` maps pairs of rows to lots."""
        found = []
        for buy, sell in sorted(self.pairs):
            bought = {other: moved for (one, other), moved in lots.items() if one == buy}
            sold = {one: moved for (one, other), moved in lots.items() if other == sell}
            if self.wants_more(buy, sell, bought) and self.wants_more(sell, buy, sold):
                found.append((buy, sell))
        return found


def traded(orders, clearing):
    row_of = {int(number): row for row, number in enumerate(orders.id)}
    trades, lots = clearing.trades, {}
    for buy, sell, moved in zip(
        *(c.tolist() for c in (trades.buy_order, trades.sell_order, trades.quantity)), strict=True
    ):
        lots[row_of[buy], row_of[sell]] = moved
    assert len(lots) == len(trades)
    return lots


@st.composite
def contexts(draw, members=6):
    who = range(8, 8 + members)
    pairs = draw(st.lists(st.sampled_from(list(permutations(who, 2))), unique=True, max_size=14))
    premiums = [draw(st.integers(-60, 60) | st.just(-10_000)) for _ in pairs]
    wishes = np.array([(*pair, premium) for pair, premium in zip(pairs, premiums, strict=True)], np.int64).reshape(
        -1, 3
    )
    known = draw(st.lists(st.sampled_from(list(who)), unique=True))
    places = [[draw(st.integers(-4000, 4000)) for _ in known] for _ in "en"]
    profiles = Profiles(*(np.array(c, np.int64) for c in (known, *places, [0] * len(known), [1000] * len(known))))
    return Context(draw(tariffs()), profiles=profiles, preferences=Preferences(*wishes.T))


RULES = st.builds(
    DeferredAcceptance,
    st.sampled_from(SIDES),
    k_percent=st.integers(0, 100),
    per_km_ticks=st.sampled_from((0, 0, 7, 50)),
)


@settings(max_examples=200)
@given(rule=RULES, context=contexts(), data=st.data())
def test_no_pair_blocks(rule, context, data):
    book = data.draw(
        order_books(members=6, intervals=2, partners=data.draw(st.booleans()), huge=data.draw(st.booleans()))
    )
    _, clearing = rule.step(None, book, context)
    market, lots = Market(rule, book, context), traded(book, clearing)
    assert set(lots) <= market.pairs
    assert (unfilled(book, clearing) >= 0).all()
    assert market.blocking(lots) == []
    for (buy, sell), price in zip(lots, clearing.trades.buy_price.tolist(), strict=True):
        assert price == market.exact_price(buy, sell).__floor__()


def one_by_one(market, side):
    """Gale and Shapley's procedure lot by lot: a seat for each lot, proposals in any order."""
    mine, theirs = (market.buyers, market.sellers) if side == "buyers" else (market.sellers, market.buyers)
    fits = {(p, r) for p, r in product(mine, theirs) if ((p, r) if side == "buyers" else (r, p)) in market.pairs}
    lists = {p: sorted((r for r in theirs if (p, r) in fits), key=partial(market.dislike, p)) for p in mine}
    free = [p for p in mine for _ in range(market.orders.quantity[p])]
    at, held = dict.fromkeys(mine, 0), {r: [] for r in theirs}
    while free:
        p = free.pop()
        while at[p] < len(lists[p]):
            r = lists[p][at[p]]
            held[r].append(p)
            if len(held[r]) <= market.orders.quantity[r]:
                break
            worst = max(held[r], key=partial(market.dislike, r))
            held[r].remove(worst)
            if lists[worst][at[worst] : at[worst] + 1] == [r]:
                at[worst] += 1
            if worst != p:
                free.append(worst)
                break
    lots = {}
    for r, seats in held.items():
        for p in seats:
            pair = (p, r) if side == "buyers" else (r, p)
            lots[pair] = lots.get(pair, 0) + 1
    return lots


@settings(max_examples=150)
@given(rule=RULES, context=contexts(), book=order_books(members=6, intervals=1, zones=1, partners=True))
def test_the_same_comes_out_lot_by_lot(rule, context, book):
    _, clearing = rule.step(None, book, context)
    assert traded(book, clearing) == one_by_one(Market(rule, book, context), rule.proposing)


def allocations(pairs, room):
    """Yield every way to trade whole lots between pairs within the lots of each order."""
    if not pairs:
        yield {}
        return
    (buy, sell), rest = pairs[0], pairs[1:]
    for lots in range(min(room[buy], room[sell]) + 1):
        left = {**room, buy: room[buy] - lots, sell: room[sell] - lots}
        for more in allocations(rest, left):
            yield {(buy, sell): lots, **more} if lots else more


def best_of_both(market, own, one, other):
    """Return what an order takes if it may choose from the lots of two matchings."""
    mine = {pair: max(one.get(pair, 0), other.get(pair, 0)) for pair in {*one, *other} if own in pair}
    left, taken = int(market.orders.quantity[own]), {}
    for pair in sorted(mine, key=lambda pair: market.dislike(own, pair[0] if pair[1] == own else pair[1])):
        taken[pair] = min(left, mine[pair])
        left -= taken[pair]
    return {pair: lots for pair, lots in taken.items() if lots}


SEEN = {"several": 0}


@settings(max_examples=60, deadline=None)
@given(
    lots=st.lists(st.integers(1, 2), min_size=6, max_size=6),
    premiums=st.lists(st.integers(0, 5), min_size=18, max_size=18),
    k_percent=st.sampled_from((0, 50)),
)
def test_no_stable_matching_is_better_for_any_proposer(lots, premiums, k_percent):
    rows = [(8 + place, BUY if place < 3 else SELL, lots[place], 200 if place < 3 else 100) for place in range(6)]
    pairs = [*product((8, 9, 10), (11, 12, 13)), *product((11, 12, 13), (8, 9, 10))]
    wishes = Preferences(*np.array([(*pair, premium) for pair, premium in zip(pairs, premiums, strict=True)]).T)
    book, context = book_of(rows), Context(preferences=wishes)
    market = Market(DeferredAcceptance(k_percent=k_percent), book, context)
    room = dict(enumerate(lots))
    stable = [found for found in allocations(sorted(market.pairs), room) if not market.blocking(found)]
    SEEN["several"] += len(stable) > 1
    for side, mine in zip(SIDES, (market.buyers, market.sellers), strict=True):
        _, clearing = DeferredAcceptance(side, k_percent).step(None, book, context)
        found = traded(book, clearing)
        assert found in stable
        for other, own in product(stable, mine):
            assert best_of_both(market, own, found, other) == {p: q for p, q in found.items() if own in p}


def test_the_test_before_saw_books_with_several_stable_matchings():
    test_no_stable_matching_is_better_for_any_proposer()
    assert SEEN["several"] > 3


# --- cases by hand ---


def golden(name):
    """Return rule, book, context, names and what is expected."""
    folder = GOLDEN / name
    facts = tomllib.loads((folder / "matching.toml").read_text(encoding="utf-8"))
    names = [*facts["men"], *facts["women"]]
    number = {name: 8 + place for place, name in enumerate(names)}
    rows = [(number[man], BUY, 1, 200) for man in facts["men"]] + [(number[w], SELL, 1, 100) for w in facts["women"]]
    wishes = [
        (number[one], number[other], -rank) for one, others in facts["rank"].items() for other, rank in others.items()
    ]
    return facts, book_of(rows), Context(preferences=Preferences(*np.array(wishes).T)), number


@pytest.mark.parametrize("case", ["gale-shapley-three-couples", "gale-shapley-four-couples"])
@pytest.mark.parametrize("side", SIDES)
def test_the_examples_of_the_paper(case, side):
    facts, book, context, number = golden(case)
    _, clearing = DeferredAcceptance(side).step(None, book, context)
    couples = set(zip(clearing.trades.buyer.tolist(), clearing.trades.seller.tolist(), strict=True))
    assert couples == {(number[man], number[woman]) for man, woman in facts[f"{side}_propose"].items()}
    market = Market(DeferredAcceptance(), book, context)
    men, women = market.buyers, market.sellers
    perfect = [dict.fromkeys(zip(men, order, strict=True), 1) for order in permutations(women)]
    assert sum(not market.blocking(lots) for lots in perfect) == facts["stable_matchings"]


def ring(lots):
    """One lot pushes the lots of a ring of two buyers around: 8 and 9 hold what they like, the sellers do not."""
    rows = [(8, BUY, lots, 200), (9, BUY, lots, 200), (10, BUY, 1, 200), (11, SELL, lots, 100), (12, SELL, lots, 100)]
    wishes = [(8, 11, 2), (8, 12, 1), (9, 12, 2), (9, 11, 1), (10, 11, 1), (10, 12, -500)]
    wishes += [(11, 10, 3), (11, 9, 2), (11, 8, 1), (12, 8, 2), (12, 9, 1)]
    return book_of(rows), Context(preferences=Preferences(*np.array(wishes).T))


@pytest.mark.parametrize("lots", [3, 1 << 48])
def test_a_ring_is_turned_at_once(lots):
    """Lot by lot this takes as many rounds as there are lots."""
    book, context = ring(lots)
    _, clearing = DeferredAcceptance().step(None, book, context)
    assert traded(book, clearing) == {(0, 4): lots, (1, 3): lots - 1, (2, 3): 1}
    if lots < 10:
        assert traded(book, clearing) == one_by_one(Market(DeferredAcceptance(), book, context), "buyers")


@given(book=order_books(takers=False))
def test_without_preferences_it_is_the_pay_as_bid_auction(book):
    """All agree who is best: the dearest bid meets the cheapest offer."""
    book = book.replace(participant=8 + np.arange(len(book)))
    for side in SIDES:
        ours = DeferredAcceptance(side).step(None, book, Context())[1]
        auction = PayAsBidAuction().step(None, book, Context())[1]
        assert traded(book, ours) == traded(book, auction)
        assert ours.prices == auction.prices


def random_book(rows, members, seed):
    rng = np.random.default_rng(seed)
    side = np.where(rng.random(rows) < 0.5, BUY, SELL)
    limit = np.where(side == BUY, rng.integers(150, 400, rows), rng.integers(50, 250, rows))
    who, zero = 8 + rng.integers(0, members, rows), np.zeros(rows, np.int64)
    book = Orders(np.arange(rows), who, zero, zero, side, rng.integers(1, 3000, rows), limit, np.full(rows, ANYONE))
    places = rng.integers(-5000, 5000, (2, members))
    numbers = 8 + np.arange(members)
    return book, Context(profiles=Profiles(numbers, *places, np.zeros(members, int), np.full(members, 1000)))


def test_lists_made_piece_by_piece_give_the_same(monkeypatch):
    book, context = random_book(120, 60, seed=3)
    rule = DeferredAcceptance(per_km_ticks=20)
    whole = rule.step(None, book, context)[1]
    with plain_kernels():
        assert rule.step(None, book, context)[1].trades == whole.trades
    monkeypatch.setattr(preference_lists, "LIST_CELLS", 1)
    with plain_kernels(), np.errstate(over="ignore"):
        in_pieces = rule.step(None, book, context)[1]
    assert in_pieces.trades == whole.trades
    assert Market(rule, book, context).blocking(traded(book, whole)) == []


def test_a_large_group_is_stable():
    book, context = random_book(1200, 500, seed=4)
    rule = DeferredAcceptance(per_km_ticks=20)
    clearing = rule.step(None, book, context)[1]
    assert len(clearing.trades) > 300
    sample = np.random.default_rng(0).choice(len(book), 60, replace=False)
    market, lots = Market(rule, book, context), traded(book, clearing)
    market.pairs = {pair for pair in market.pairs if pair[0] in sample}
    assert market.blocking(lots) == []


# --- what is refused ---


def test_price_takers_alone_form_no_price():
    book = book_of([(8, BUY, 5, ANY_PRICE), (9, SELL, 5, -ANY_PRICE)])
    assert DeferredAcceptance().step(None, book, Context())[1].refused == Reject.NO_PRICE
    priced = DeferredAcceptance().step(None, book, Context(Tariff.flat(300, 100)))[1]
    assert priced.trades.buy_price.tolist() == [200]


@pytest.mark.parametrize(("bid", "ask", "price"), [(ANY_PRICE, 120, 120), (150, -ANY_PRICE, 150), (150, 121, 135)])
def test_a_price_taker_takes_the_price_of_the_other(bid, ask, price):
    trades = DeferredAcceptance().step(None, book_of([(8, BUY, 5, bid), (9, SELL, 5, ask)]), Context())[1].trades
    assert trades.buy_price.tolist() == trades.sell_price.tolist() == [price]


def test_a_negative_premium_draws_the_limit_in():
    book = book_of([(8, BUY, 5, 200), (9, SELL, 5, 100)])
    for premium, count in ((-50, 1), (-51, 0)):
        wishes = Preferences(np.array([8]), np.array([9]), np.array([premium]))
        assert len(DeferredAcceptance().step(None, book, Context(preferences=wishes))[1].trades) == count


@pytest.mark.parametrize("field", [{"proposing": "both"}, {"k_percent": 101}, {"per_km_ticks": -1}])
def test_wrong_parameters_are_refused(field):
    with pytest.raises(InvariantError, match=next(iter(field))):
        replace(DeferredAcceptance(), **field)


def test_an_empty_book_trades_nothing():
    clearing = DeferredAcceptance().step(None, Orders.empty(), Context())[1]
    assert len(clearing.trades) == 0
    assert NO_ORDER not in clearing.trades.buy_order
