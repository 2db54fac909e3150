"""Coalitions that form by themselves: members join where all of them gain and part where they do better apart.

A lot that travels loses a part on the way, so neighbours make better partners than strangers. Two rules act by turns
until neither applies: *merge* two coalitions, *split* a coalition in two, each only if nobody of those concerned loses
and somebody gains. What a member gains can only grow from step to step, so no partition comes twice and the
process ends.

Krzysztof Apt and Andreas Witzel, A generic approach to coalition formation, International Game Theory Review 11 (2009);
Walid Saad, Zhu Han and Vincent Poor, Coalitional game theory for cooperative micro-grid distribution networks (2011).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.messages import Clearing, Context, Memory, Tariff
from wattle.core.segments import grouped
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders, Prices, Profiles, Trades
from wattle.market.auction_double import has_partner, mean_prices
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, INDIVIDUALLY_RATIONAL, METERED, SEPARABLE, mechanism

MEMBERS_MAX = 128
PAIRS_MAX = 1 << 16
SPLIT_ALL_MAX = 8
"""Up to this size a coalition tries every split in two; a larger one lets one or two members go."""

ROUNDS_MAX = 1000
LOSS_MAX = 1_000_000


@dataclass(frozen=True, eq=False)
class Market:
    """One zone and interval: pairs of a bid and an ask that gain, nearest first, and who owns the orders.

    `bid` and `ask` are rows, `surplus` is what a lot gains after its loss, `gap` what the loss costs, in ticks.
    """

    members: NDArray[np.int32]
    owner: I64  # place of the member of each row
    quantity: I64
    bid: I64
    ask: I64
    surplus: I64
    gap: I64


@mechanism(
    "merge-and-split",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Saad, Han and Poor 2011, doi:10.1109/iccw.2011.5963577; Apt and Witzel 2009",
    when=METERED,
)
@dataclass(frozen=True)
class MergeAndSplit:
    """Members form coalitions by merging and splitting; energy is shared inside each coalition only.

    Inside a coalition the nearest pairs trade first. A lot that travels d km loses `loss_per_mille_per_km` x d per
    mille, which the buyer replaces at the retail price; that is the gap between buying and selling price and goes to
    the market operator, who delivers it. Buyer and seller share the rest of the pair's gain equally. Places come from
    the profiles; without them nothing is lost. At most 128 members an interval.
    """

    loss_per_mille_per_km: int = 10

    def __post_init__(self) -> None:
        loss = self.loss_per_mille_per_km
        ensure(0 <= loss <= LOSS_MAX, f"loss_per_mille_per_km is {loss}, expected 0 to {LOSS_MAX}")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Let coalitions form in each interval, and trade inside them."""
        if context.tariff is None:
            return None, Clearing.refuse(Reject.NO_TARIFF)
        if has_partner(orders):
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        book, starts = grouped(orders)
        retail, worth = _worth(book, context.tariff)
        trades, formed, largest = [Trades.empty()], 0, 0
        for first, stop in pairwise(starts.tolist()):
            part, values = book.take(slice(first, stop)), worth[first:stop]
            market = market_of(part, values, int(retail[first]), self.loss_per_mille_per_km, context.profiles)
            if isinstance(market, Reject):
                return None, Clearing.refuse(market)
            partition, lots = form(market)
            sizes = np.bincount(partition, minlength=1)
            formed, largest = formed + int((sizes > 1).sum()), max(largest, int(sizes.max()))
            trades.append(_trades(part, values, market, lots))
        done = Trades.concat(*trades)
        report = {"coalitions of two or more": float(formed), "largest coalition": float(largest)}
        return None, Clearing(done, mean_prices(done) if len(done) else Prices.empty(), report=report)


def form(market: Market) -> tuple[I64, I64]:
    """Return the coalition of each member, named by its first member, and the lots of each pair."""
    partition = np.arange(market.members.size)
    lots = np.zeros(market.bid.size, np.int64)
    book = (market.bid, market.ask, market.surplus, market.quantity, market.owner)
    if market.bid.size:
        size = market.members.size
        buyer = market.owner[market.bid]
        by_buyer = np.argsort(buyer, kind="stable")
        starts = np.searchsorted(buyer[by_buyer], np.arange(size + 1))
        gain, trial, group, left = (np.zeros(length, np.int64) for length in (size, size, size, market.quantity.size))
        _merge_and_split(*book, by_buyer, starts, partition, gain, trial, group, left, lots, lots.copy())
        _trade_near(*book, partition, left, gain, lots)
    return partition, lots


def gains(market: Market, partition: I64) -> I64:
    """Return what each member gains when coalitions stand like this; members with -1 do not trade."""
    gain, lots = np.zeros(market.members.size, np.int64), np.zeros(market.bid.size, np.int64)
    left = np.zeros(market.quantity.size, np.int64)
    book = (market.bid, market.ask, market.surplus, market.quantity, market.owner)
    _trade_near(*book, np.ascontiguousarray(partition, np.int64), left, gain, lots)
    return gain


def market_of(orders: Orders, worth: I64, retail: int, loss_per_mille_per_km: int, places: Profiles) -> Market | Reject:
    """Return the pairs of one zone and interval, or a code if members, pairs or sums of cash are too many.

    `worth` is what a lot is worth to each order, in ticks; `retail` is the price at which losses are replaced.
    """
    members, owner = np.unique(orders.participant, return_inverse=True)
    bids, asks = np.flatnonzero(orders.side == BUY), np.flatnonzero(orders.side == SELL)
    spread = float(worth.max()) - float(worth.min())
    cash = float(orders.quantity.astype(float).sum()) * spread
    if members.size > MEMBERS_MAX or bids.size * asks.size > PAIRS_MAX:
        return Reject.TOO_MANY_MEMBERS
    if cash >= 2.0**62:
        return Reject.TOO_LARGE
    bid, ask = np.repeat(bids, asks.size), np.tile(asks, bids.size)
    distance = _distance(orders.participant[bid], orders.participant[ask], places)
    # A loss beyond any price leaves no gain; the clip keeps it a whole number.
    cost = np.ceil(distance * loss_per_mille_per_km * max(retail, 0) / 1e6)
    gap = np.minimum(cost, float(ANY_PRICE)).astype(np.int64)
    surplus = worth[bid] - worth[ask] - gap
    good = np.flatnonzero(surplus > 0)
    near = good[np.lexsort((ask[good], bid[good], distance[good]))]
    return Market(members, owner.astype(np.int64), orders.quantity, bid[near], ask[near], surplus[near], gap[near])


def _distance(one: NDArray[np.int32], other: NDArray[np.int32], places: Profiles) -> NDArray[np.float64]:
    """Return the distance of each pair in metres; 0 where one of the two has no place."""
    if len(places) == 0 or one.size == 0:
        return np.zeros(one.size)
    rank = np.argsort(places.participant, kind="stable")
    known = places.participant[rank]
    squares, both = np.zeros(one.size), np.ones(one.size, bool)
    rows = []
    for who in (one, other):
        place = np.minimum(np.searchsorted(known, who), known.size - 1)
        both &= known[place] == who
        rows.append(rank[place])
    for axis in (places.east_m, places.north_m):
        squares += (axis[rows[0]].astype(float) - axis[rows[1]]) ** 2
    return np.where(both, np.sqrt(squares), 0.0)


def _worth(book: Orders, tariff: Tariff) -> tuple[I64, I64]:
    if len(book) == 0:
        return book.limit, book.limit
    retail, feed_in = tariff.at(book.interval)
    limit = book.limit
    return retail, np.where(limit == ANY_PRICE, retail, np.where(limit == -ANY_PRICE, feed_in, limit))


def _trades(orders: Orders, worth: I64, market: Market, lots: I64) -> Trades:
    done = np.flatnonzero(lots)
    bid, ask = market.bid[done], market.ask[done]
    sold = worth[ask] + market.surplus[done] // 2
    return Trades(
        interval=orders.interval[bid],
        zone=orders.zone[bid],
        buyer=orders.participant[bid],
        seller=orders.participant[ask],
        buy_order=orders.id[bid],
        sell_order=orders.id[ask],
        quantity=lots[done],
        buy_price=sold + market.gap[done],
        sell_price=sold,
    )


@kernel("r8 r8 r8 r8 r8 r8 w8 w8 w8")
def _trade_near(
    bid: Any, ask: Any, surplus: Any, quantity: Any, owner: Any, group: Any, left: Any, gain: Any, lots: Any
) -> None:
    """Trade the pairs inside each group, nearest first; the members of a negative group stay out."""
    for row in range(quantity.size):
        left[row] = quantity[row]
    for member in range(gain.size):
        gain[member] = 0
    for pair in range(bid.size):
        buyer, seller = owner[bid[pair]], owner[ask[pair]]
        moved = np.int64(0)
        if group[buyer] >= 0 and group[buyer] == group[seller]:
            moved = min(left[bid[pair]], left[ask[pair]])
            left[bid[pair]] -= moved
            left[ask[pair]] -= moved
            half = surplus[pair] // 2
            gain[seller] += moved * half
            gain[buyer] += moved * (surplus[pair] - half)
        lots[pair] = moved


@kernel("r8 r8 r8 r8 r8 w8")
def _rows_within(group: Any, ask: Any, owner: Any, by_buyer: Any, buyer_starts: Any, rows: Any) -> Any:
    """Write down the pairs of which both members are in a group, nearest first; return their number."""
    found = 0
    for member in range(group.size):
        if group[member] >= 0:
            for place in range(buyer_starts[member], buyer_starts[member + 1]):
                if group[owner[ask[by_buyer[place]]]] >= 0:
                    rows[found] = by_buyer[place]
                    found += 1
    rows[:found].sort()
    return found


@kernel("r8 i r8 r8 r8 r8 r8 r8 w8 w8")
def _trade_rows(
    rows: Any, count: Any, bid: Any, ask: Any, surplus: Any, quantity: Any, owner: Any, group: Any, left: Any, gain: Any
) -> None:
    """Trade these pairs where both members are in the same group; set the gains of members in groups."""
    for member in range(group.size):
        if group[member] >= 0:
            gain[member] = 0
    for place in range(count):
        left[bid[rows[place]]] = quantity[bid[rows[place]]]
        left[ask[rows[place]]] = quantity[ask[rows[place]]]
    for place in range(count):
        pair = rows[place]
        buyer, seller = owner[bid[pair]], owner[ask[pair]]
        moved = min(left[bid[pair]], left[ask[pair]])
        if moved > 0 and group[buyer] == group[seller]:
            left[bid[pair]] -= moved
            left[ask[pair]] -= moved
            half = surplus[pair] // 2
            gain[seller] += moved * half
            gain[buyer] += moved * (surplus[pair] - half)


@kernel("r8 r8 w8")
def _accept(group: Any, trial: Any, gain: Any) -> Any:
    """Take over the gains of the trial if nobody in it loses and somebody gains."""
    better = False
    for member in range(group.size):
        if group[member] >= 0:
            if trial[member] < gain[member]:
                return False
            if trial[member] > gain[member]:
                better = True
    if better:
        for member in range(group.size):
            if group[member] >= 0:
                gain[member] = trial[member]
    return better


@kernel("r8 r8 r8 r8 r8 r8 r8 w8 w8 w8 w8 w8 w8 w8")
def _merge_and_split(
    bid: Any, ask: Any, surplus: Any, quantity: Any, owner: Any, by_buyer: Any, buyer_starts: Any, partition: Any,
    gain: Any, trial: Any, group: Any, left: Any, lots: Any, rows: Any,
) -> None:  # fmt: skip
    """Merge and split until neither is accepted; begins with everybody alone.

    `by_buyer` are the pairs of each member as a buyer, nearest first, from `buyer_starts` on.
    """
    size = partition.size
    for member in range(size):  # whoever buys and sells trades with himself first
        group[member] = member
    _trade_near(bid, ask, surplus, quantity, owner, group, left, gain, lots)
    for _ in range(ROUNDS_MAX):
        changed = False
        for one in range(size):
            for other in range(one + 1, size):
                if partition[one] != one or partition[other] != other:
                    continue
                for member in range(size):
                    group[member] = 0 if partition[member] == one or partition[member] == other else -1
                count = _rows_within(group, ask, owner, by_buyer, buyer_starts, rows)
                apart = False  # without a pair across, nobody would gain or lose
                for place in range(count):
                    apart |= partition[owner[bid[rows[place]]]] != partition[owner[ask[rows[place]]]]
                if not apart:
                    continue
                _trade_rows(rows, count, bid, ask, surplus, quantity, owner, group, left, trial)
                if _accept(group, trial, gain):
                    changed = True
                    for member in range(size):
                        if partition[member] == other:
                            partition[member] = one
        for one in range(size):
            if partition[one] == one:
                for member in range(size):
                    group[member] = 0 if partition[member] == one else -1
                count = _rows_within(group, ask, owner, by_buyer, buyer_starts, rows)
                changed |= _split(
                    rows, count, bid, ask, surplus, quantity, owner, partition, gain, trial, group, left, one
                )
        if not changed:
            break


@kernel("r8 i r8 r8 r8 r8 r8 w8 w8 w8 w8 w8 i")
def _split(
    rows: Any, count: Any, bid: Any, ask: Any, surplus: Any, quantity: Any, owner: Any, partition: Any,
    gain: Any, trial: Any, group: Any, left: Any, name: Any,
) -> Any:  # fmt: skip
    """Try the splits of one coalition, whose pairs are `rows`, in two; tells whether one was accepted."""
    inside = np.flatnonzero(partition == name)
    size = inside.size
    if size < 2:
        return False
    every = size <= SPLIT_ALL_MAX
    tries = 2 ** (size - 1) - 1 if every else size * size
    for number in range(tries):
        if not every and number % size > number // size:
            continue  # each pair once; i, i stands for one member
        for place in range(size):
            alone = place == number // size or place == number % size
            apart = ((number + 1) >> place) & 1 == 1 if every else alone
            group[inside[place]] = 1 if apart else 0
        _trade_rows(rows, count, bid, ask, surplus, quantity, owner, group, left, trial)
        if _accept(group, trial, gain):
            names = np.full(2, partition.size, np.int64)
            for place in range(size):
                names[group[inside[place]]] = min(names[group[inside[place]]], inside[place])
            for place in range(size):
                partition[inside[place]] = names[group[inside[place]]]
            return True
    return False
