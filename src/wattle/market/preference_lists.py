"""Lists of preferences: what an offer is worth to a buyer beside its price, and Piclo's matching by such lists.

Everything that counts is expressed in ticks, so that it can be added to a price: a kilometre, an unreliable seller, a
source, a partner whom somebody likes. The sum is the *effective price*, and a list is the offers in order of it.
Only the order of a list depends on it; who trades pays a price within both limits, whatever he likes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import grouped
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, NO_ORDER, SELL, Orders, Preferences, Profiles
from wattle.core.units import PRICE_MAX
from wattle.market.auction_double import mean_prices, trades_of
from wattle.market.clear_book import rank_rows
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, INDIVIDUALLY_RATIONAL, SEPARABLE, mechanism

PER_KM_MAX = 1 << 30
PLACE_MAX_M = 1 << 25
"""Farther from the origin of its map nobody can be; the way around the Earth is no longer."""

MILLI = 1000
"""Effective prices are counted in thousandths of a tick: metres times ticks per kilometre, exactly."""

PARTICIPANT, PARTNER, SIDE, LIMIT, EAST, NORTH, KNOWN, TASTE, WISH, WISH_END, HOPE = range(11)
"""Columns of `Faces.facts`."""

LENGTH, AT, CUT = range(3)
"""Columns of the state of a list: its length so far (-1: not made), the place in it, whether it goes on."""

LIST_CELLS = 1 << 24
"""Room for the lists of one group; where it does not suffice, lists are made piece by piece."""


@dataclass(frozen=True)
class RankWeights:
    """What counts beside the price, in ticks: weights of nought rank by price alone.

    `per_km_ticks` is added for each kilometre between buyer and seller. `unreliable_ticks` is added in full for a
    seller who never delivers, in part by his reliability. The other fields are taken off for a source that is
    liked (or added, where negative). Whoever has no profile is taken to be near, reliable and of unknown source.
    """

    per_km_ticks: int = 0
    unreliable_ticks: int = 0
    sun_ticks: int = 0
    wind_ticks: int = 0
    water_ticks: int = 0
    biomass_ticks: int = 0

    def __post_init__(self) -> None:
        ensure(0 <= self.per_km_ticks <= PER_KM_MAX, f"per_km_ticks is {self.per_km_ticks}, expected 0 to {PER_KM_MAX}")
        for name in ("unreliable_ticks", "sun_ticks", "wind_ticks", "water_ticks", "biomass_ticks"):
            ensure(
                abs(getattr(self, name)) <= PRICE_MAX, f"{name} is {getattr(self, name)}, the largest is {PRICE_MAX}"
            )

    def by_source(self) -> I64:
        """Return what is taken off for each source, in the order of `tables.SOURCES`."""
        liked = (0, self.sun_ticks, self.wind_ticks, self.water_ticks, self.biomass_ticks, 0, 0)
        return np.array(liked, np.int64)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Offers in order, best first: their rows, effective prices in thousandths of a tick, and distances."""

    rows: I64
    effective_millis: I64
    distance_m: I64


def rank_offers(
    buyer: int,
    offers: Orders,
    profiles: Profiles,
    weights: RankWeights = RankWeights(),
    preferences: Preferences | None = None,
) -> Ranking:
    """Rank the offers that a buyer may choose from; equal ones by id.

    effective price = price + distance + unreliability - source - premium, each in ticks. Left out are bids, his own
    offers, offers to somebody else, offers without a price, and those whose price a premium below nought forbids.
    """
    wish = Orders(*(np.array([value]) for value in (NO_ORDER, buyer, 0, 0, BUY, 1, ANY_PRICE, ANYONE)))
    book = Orders.concat(offers, wish)
    facing = faces(book, Context(profiles=profiles, preferences=preferences or Preferences.empty()), weights, 0)
    mine = len(offers)
    rows = np.flatnonzero((offers.side == SELL) & (offers.limit != -ANY_PRICE))
    rows = rows[np.argsort(offers.id[rows], kind="stable")]
    facts, wishes, terms = facing.facts, facing.wishes, facing.terms
    rows = np.array([row for row in rows if acceptable(facts, wishes, terms, mine, row)], np.int64)
    effective = np.array([cost(facts, wishes, terms, mine, row) for row in rows], np.int64)
    distance = np.array([distance_of(facts, mine, row) for row in rows], np.int64)
    best = np.argsort(effective, kind="stable")
    return Ranking(rows[best], effective[best], distance[best])


@mechanism(
    "preference-lists",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Piclo (Open Utility and Good Energy); Jogunola et al. 2017, Energies 10(12), section 5.2",
)
@dataclass(frozen=True)
class PreferenceLists:
    """The platform matches by the buyers' lists, first choices first; the near come before the far.

    In each round every buyer who still wants energy stands at the best offer of his list that has any left. An offer
    that too many want serves its nearest buyers first, equally near ones by order id. The seller's price is paid.
    What finds no match is left to the utility. The fields are those of `RankWeights`: what a kilometre, a seller
    who never delivers, and a source are worth beside the price.
    """

    per_km_ticks: int = 0
    unreliable_ticks: int = 0
    sun_ticks: int = 0
    wind_ticks: int = 0
    water_ticks: int = 0
    biomass_ticks: int = 0

    def __post_init__(self) -> None:
        _ = self._weights

    @property
    def _weights(self) -> RankWeights:
        return RankWeights(
            self.per_km_ticks,
            self.unreliable_ticks,
            self.sun_ticks,
            self.wind_ticks,
            self.water_ticks,
            self.biomass_ticks,
        )

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Match every zone and interval round by round."""
        return None, by_posted_price(orders, context, self._weights, _match_rounds)


def by_posted_price(orders: Orders, context: Context, weights: RankWeights, choose: Any) -> Clearing:
    """Let buyers get offers at the sellers' prices by a kernel `choose`; refuse if no seller names a price."""
    book, starts = grouped(orders)
    facing = faces(book, context, weights, 0)
    limit = facing.facts[:, LIMIT]
    priced = (book.side == SELL) & (limit != -ANY_PRICE)
    if not priced.any() and (book.side == SELL).any() and (book.side == BUY).any():
        return Clearing.refuse(Reject.NO_PRICE)
    buyers, offers = np.flatnonzero(book.side == BUY), np.flatnonzero(priced)
    buyer_starts, offer_starts = np.searchsorted(buyers, starts), np.searchsorted(offers, starts)
    group = np.searchsorted(starts, offers, side="right")
    offers = offers[np.lexsort((offers, limit[offers] * MILLI + facing.facts[offers, TASTE], group))]
    left = book.quantity.copy()
    buy, sell, lots = (np.empty(len(book), np.int64) for _ in range(3))
    found = choose(
        facing.facts, facing.wishes, facing.terms, buyers, buyer_starts, offers, offer_starts, left, buy, sell, lots
    )
    buy, sell, lots = buy[:found], sell[:found], lots[:found]
    trades = trades_of(book, buy, sell, lots, limit[sell])
    return Clearing(trades, mean_prices(trades))


# --- what the two sides of a pair are to each other ---


@dataclass(frozen=True, eq=False)
class Faces:
    """A book as pairs see it: facts of each row, sorted wishes (partner, premium), and [ticks per km, k percent]."""

    facts: NDArray[np.int64]
    wishes: NDArray[np.int64]
    terms: I64


def faces(book: Orders, context: Context, weights: RankWeights, k_percent: int) -> Faces:
    """Return the facts by which pairs are judged; with a tariff the limit of a price taker is the utility's price."""
    facts = np.zeros((len(book), 11), np.int64)
    facts[:, PARTICIPANT], facts[:, PARTNER], facts[:, SIDE] = book.participant, book.partner, book.side
    facts[:, LIMIT] = book.limit
    if context.tariff is not None and (np.abs(book.limit) == ANY_PRICE).any():
        retail, feed_in = context.tariff.at(book.interval)
        facts[:, LIMIT] = np.where(book.limit == ANY_PRICE, retail, facts[:, LIMIT])
        facts[:, LIMIT] = np.where(book.limit == -ANY_PRICE, feed_in, facts[:, LIMIT])
    if len(context.profiles):
        _add_profiles(facts, context.profiles, weights)
    wishes = _add_wishes(facts, context.preferences)
    return Faces(facts, wishes, np.array([weights.per_km_ticks, k_percent], np.int64))


def _add_profiles(facts: NDArray[np.int64], profiles: Profiles, weights: RankWeights) -> None:
    rank = np.argsort(profiles.participant, kind="stable")
    known = profiles.participant[rank]
    ensure(bool((known[1:] > known[:-1]).all()), "a participant has two profiles")
    for name in ("east_m", "north_m"):
        ensure(int(np.abs(getattr(profiles, name)).max()) <= PLACE_MAX_M, f"profiles: {name} is beyond {PLACE_MAX_M} m")
    place = np.minimum(np.searchsorted(known, facts[:, PARTICIPANT]), known.size - 1)
    found = known[place] == facts[:, PARTICIPANT]
    row = rank[place]
    facts[:, KNOWN] = found
    facts[:, EAST] = np.where(found, profiles.east_m[row], 0)
    facts[:, NORTH] = np.where(found, profiles.north_m[row], 0)
    unreliable = (1000 - profiles.reliability[row].astype(np.int64)) * weights.unreliable_ticks  # of 1000, so in millis
    taste = unreliable - weights.by_source()[profiles.source[row]] * MILLI
    facts[:, TASTE] = np.where(found & (facts[:, SIDE] == SELL), taste, 0)


def _add_wishes(facts: NDArray[np.int64], preferences: Preferences) -> NDArray[np.int64]:
    rank = np.lexsort((preferences.partner, preferences.participant))
    who, partner = preferences.participant[rank], preferences.partner[rank]
    twice = (who[1:] == who[:-1]) & (partner[1:] == partner[:-1])
    ensure(not twice.any(), "a participant has two premiums for one partner")
    premium = preferences.premium[rank]
    ensure(int(np.abs(premium).max(initial=0)) <= PRICE_MAX, f"a premium is beyond {PRICE_MAX} ticks")
    facts[:, WISH] = np.searchsorted(who, facts[:, PARTICIPANT])
    facts[:, WISH_END] = np.searchsorted(who, facts[:, PARTICIPANT], side="right")
    if who.size:
        first = np.flatnonzero(np.r_[True, who[1:] != who[:-1]])
        most = np.maximum(np.maximum.reduceat(premium, first), 0) * MILLI
        place = np.minimum(np.searchsorted(who[first], facts[:, PARTICIPANT]), first.size - 1)
        facts[:, HOPE] = np.where(facts[:, WISH_END] > facts[:, WISH], most[place], 0)
    return np.ascontiguousarray(np.column_stack((partner, premium)), np.int64)


@kernel("r82 r82 i i")
def premium_of(facts: Any, wishes: Any, own: Any, other: Any) -> Any:
    """Return what row `own` adds to a price for trading with the participant of row `other`, in ticks."""
    low, high = facts[own, WISH], facts[own, WISH_END]
    wanted = facts[other, PARTICIPANT]
    while low < high:
        middle = (low + high) // 2
        if wishes[middle, 0] < wanted:
            low = middle + 1
        else:
            high = middle
    if low < facts[own, WISH_END] and wishes[low, 0] == wanted:
        return wishes[low, 1]
    return np.int64(0)


@kernel("r82 i i")
def distance_of(facts: Any, one: Any, other: Any) -> Any:
    """Return the distance between the places of two rows in whole metres, rounded down; 0 if a place is unknown."""
    if facts[one, KNOWN] == 0 or facts[other, KNOWN] == 0:
        return np.int64(0)
    east, north = facts[one, EAST] - facts[other, EAST], facts[one, NORTH] - facts[other, NORTH]
    return np.int64(np.sqrt(np.float64(east * east + north * north)))


@kernel("i i i i")
def price_between(bid: Any, ask: Any, k_percent: Any, unit: Any) -> Any:
    """Return ask + k (bid - ask) in parts of a tick, rounded down; a price taker takes the price the other names."""
    if bid == ANY_PRICE:
        return ask * unit
    if ask == -ANY_PRICE:
        return bid * unit
    return ask * unit + (bid - ask) * k_percent * unit // 100


@kernel("r82 r82 r8 i i")
def acceptable(facts: Any, wishes: Any, terms: Any, buy: Any, sell: Any) -> Any:
    """Tell whether two rows may trade: named partners agree, and the price is within both limits.

    A premium below nought draws a limit in; one above does not widen it. Nobody trades with himself.
    """
    if facts[buy, PARTICIPANT] == facts[sell, PARTICIPANT]:
        return False
    if facts[buy, PARTNER] >= 0 and facts[buy, PARTNER] != facts[sell, PARTICIPANT]:
        return False
    if facts[sell, PARTNER] >= 0 and facts[sell, PARTNER] != facts[buy, PARTICIPANT]:
        return False
    bid, ask = facts[buy, LIMIT], facts[sell, LIMIT]
    if bid < ask or (bid == ANY_PRICE and ask == -ANY_PRICE):
        return False
    price = price_between(bid, ask, terms[1], 1)
    highest = bid + min(premium_of(facts, wishes, buy, sell), 0)
    lowest = ask - min(premium_of(facts, wishes, sell, buy), 0)
    return lowest <= price <= highest


@kernel("r82 r82 r8 i i")
def cost(facts: Any, wishes: Any, terms: Any, own: Any, other: Any) -> Any:
    """Return the effective price of trading with row `other` as row `own` sees it, in thousandths of a tick.

    The lower the better for either side: to a seller the price counts as an income.
    """
    if facts[own, SIDE] > 0:
        price = price_between(facts[own, LIMIT], facts[other, LIMIT], terms[1], MILLI)
    else:
        price = -price_between(facts[other, LIMIT], facts[own, LIMIT], terms[1], MILLI)
    far = distance_of(facts, own, other) * terms[0]
    return price + far + facts[other, TASTE] - MILLI * premium_of(facts, wishes, own, other)


# --- lists, made when they are needed ---


@kernel("r82 r82 r8 r8 i i w82 w42 w82")
def present_choice(
    facts: Any, wishes: Any, terms: Any, others: Any, own: Any, who: Any, state: Any, lists: Any, scratch: Any
) -> Any:  # fmt: skip
    """Return at whose place in `others` the list of row `own` stands, -1 at its end; `who` is its row in `state`."""
    if state[who, LENGTH] < 0 or (state[who, AT] == state[who, LENGTH] and state[who, CUT] == 1):
        _extend(facts, wishes, terms, others, own, who, state, lists, scratch)
    if state[who, AT] == state[who, LENGTH]:
        return np.int64(-1)
    return np.int64(lists[who, state[who, AT]])


@kernel("r82 r82 r8 r8 i i w82 w42 w82")
def _extend(
    facts: Any, wishes: Any, terms: Any, others: Any, own: Any, who: Any, state: Any, lists: Any, scratch: Any
) -> Any:  # fmt: skip
    """Write the first or the next piece of a list: acceptable rows of `others`, best first, equal ones by row."""
    last_row, last_cost = np.int64(-1), np.int64(0)
    if state[who, LENGTH] > 0:
        last_row = others[lists[who, state[who, LENGTH] - 1]]
        last_cost = cost(facts, wishes, terms, own, last_row)
    keys, names, rank, spare = scratch[0], scratch[1], scratch[2], scratch[3]
    count, low = 0, np.int64(0)
    for place in range(others.size):
        row = others[place]
        buy, sell = own, row
        if facts[own, SIDE] < 0:
            buy, sell = row, own
        if not acceptable(facts, wishes, terms, buy, sell):
            continue
        found = cost(facts, wishes, terms, own, row)
        if last_row >= 0 and (found < last_cost or (found == last_cost and row <= last_row)):
            continue
        low = found if count == 0 else min(low, found)
        keys[count], names[count] = found, place
        count += 1
    for place in range(count):
        keys[place] -= low
    rank_rows(keys, rank, spare, count)
    written = min(count, lists.shape[1])
    for place in range(written):
        lists[who, place] = names[rank[place]]
    state[who, LENGTH], state[who, AT], state[who, CUT] = written, 0, int(count > written)


@kernel("i i")
def list_length(count: Any, others: Any) -> Any:
    """Return how many places of each of `count` lists of `others` names are made at once."""
    return min(others, max(16, LIST_CELLS // max(count, 1)))


@kernel("r82 r82 r8 r8 r8 r8 r8 w8 w8 w8 w8")
def _match_rounds(
    facts: Any, wishes: Any, terms: Any, buyers: Any, buyer_starts: Any, offers: Any, offer_starts: Any, left: Any,
    buy: Any, sell: Any, lots: Any,
) -> Any:  # fmt: skip
    """Serve first choices, nearest buyers first, then the next choices of whoever is left; return the pairs made."""
    pairs = 0
    for group in range(buyer_starts.size - 1):
        here = np.sort(offers[offer_starts[group] : offer_starts[group + 1]])
        first, count = buyer_starts[group], buyer_starts[group + 1] - buyer_starts[group]
        lists = np.empty((count, list_length(count, here.size)), np.int32)
        scratch, state = np.empty((4, here.size), np.int64), np.full((count, 3), -1)
        active, choice, keys = np.arange(count), np.empty(count, np.int64), np.empty(count, np.int64)
        rank, spare = np.empty(count, np.int64), np.empty(count, np.int64)
        while count > 0 and here.size > 0:
            standing = 0
            for place in range(count):
                who = active[place]
                buyer = buyers[first + who]
                offer = present_choice(facts, wishes, terms, here, buyer, who, state, lists, scratch)
                while offer >= 0 and left[here[offer]] == 0:
                    state[who, AT] += 1
                    offer = present_choice(facts, wishes, terms, here, buyer, who, state, lists, scratch)
                if offer >= 0:
                    active[standing], choice[standing] = who, here[offer]
                    keys[standing] = (offer << 28) + distance_of(facts, buyer, here[offer])
                    standing += 1
            rank_rows(keys, rank, spare, standing)
            for place in range(standing):
                buyer, row = buyers[first + active[rank[place]]], choice[rank[place]]
                moved = min(left[buyer], left[row])
                if moved > 0:
                    buy[pairs], sell[pairs], lots[pairs] = buyer, row, moved
                    pairs += 1
                    left[buyer] -= moved
                    left[row] -= moved
            count = 0
            for place in range(standing):
                if left[buyers[first + active[place]]] > 0:
                    active[count] = active[place]
                    count += 1
    return pairs
