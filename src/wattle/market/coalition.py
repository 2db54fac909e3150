"""The cooperative game of a community: what each coalition of members gains by trading among themselves.

Alone, a member buys at the retail price r and sells at the feed-in price f. Together the members of a coalition S use
their own energy first, so in each interval they save v(S) = (r - f) min(demand of S, supply of S).

With named limits the same holds in a wider sense: v(S) is the largest welfare that the orders of S allow. By duality of
linear programmes that is a minimum over prices of what the members would gain at that price,

    v(S) = min over p of the sum over i in S of gain[i, p],   gain[i, p] = sum of q (bid - p)+ + sum of q (p - ask)+,

and the smallest value lies at one of the limits. A community of price takers has two: f, where buyers gain, and r,
where sellers do. Everything here and in the files that share the gain rests on this one table of whole numbers.

Lloyd Shapley and Martin Shubik, The assignment game I, International Journal of Game Theory 1 (1971).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.messages import Clearing, Context, Tariff
from wattle.core.segments import grouped
from wattle.core.tables import ANY_PRICE, BUY, COMMUNITY_FUND, SELL, Orders, Transfers
from wattle.market.auction_double import has_partner
from wattle.market.pools import deal
from wattle.market.share import pro_rata

SHARING = 7
"""Code of the transfers that bring each member's total to his share; the line "sharing" of a bill."""

SUBSETS_MAX = 16
"""A table of all coalitions is made for so many members at most."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Game:
    """One zone and interval: members [n] and what each gains at each price, `gain` [n, P] in cash."""

    members: NDArray[np.int32]
    gain: I64

    @property
    def worth(self) -> int:
        """What all members gain together."""
        return int(self.gain.sum(axis=0).min())

    @property
    def additive(self) -> bool:
        """Nobody gains by being together, so the worth of each coalition is the sum of what its members have alone."""
        return self.worth == int(self.alone.sum())

    @property
    def alone(self) -> I64:
        """What each gains by himself: nothing, unless he both buys and sells."""
        least: I64 = self.gain.min(axis=1)
        return least

    def types(self) -> tuple[I64, I64, I64]:
        """Return what each type of member gains beyond `alone`, the type of each member, and the size of each type."""
        beyond = self.gain - self.alone[:, None]
        kinds, kind, count = np.unique(beyond, axis=0, return_inverse=True, return_counts=True)
        return np.ascontiguousarray(kinds), kind.reshape(-1), count.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Pool:
    """A cleared book: who trades how much at which price, and the game of each group (`number`: member of a row)."""

    book: Orders
    starts: I64
    worth: I64  # of a lot to each order, in ticks
    fill: I64
    price: I64
    lowest: I64  # of the prices that clear the group
    highest: I64
    games: tuple[Game, ...]
    number: I64


# --- the value of a coalition ---


def tariff_gain(net: I64, tariff: Tariff, first: int = 0) -> I64:
    """Return what members gain together in each interval, from net positions [T, n] (positive is consumption).

    >>> tariff_gain(np.array([[4, -3], [2, 1]]), Tariff.flat(30, 8)).tolist()
    [66, 0]
    """
    retail, feed_in = tariff.at(np.arange(first, first + net.shape[0], dtype=np.int32))
    shared: I64 = np.minimum(np.maximum(net, 0).sum(axis=1), np.maximum(-net, 0).sum(axis=1))
    return (retail - feed_in) * shared


@dataclass(frozen=True)
class Joining:
    """Whether a community pays under a tariff: the gain in cash and the reason in words."""

    gain: int
    pays: bool
    reason: str


def joining_pays(net: I64, tariff: Tariff, first: int = 0) -> Joining:
    """Tell whether members with the net positions [T, n] gain anything by sharing energy under this tariff.

    >>> print(joining_pays(np.array([[4, -3]]), Tariff.flat(30, 30)).reason)
    no gain: feed-in pays as much as retail costs (net metering), so a shared lot saves nothing
    """
    gain = int(tariff_gain(net, tariff, first).sum())
    retail, feed_in = tariff.at(np.arange(first, first + net.shape[0], dtype=np.int32))
    if gain > 0:
        return Joining(gain, True, "sharing replaces feed-in by the dearer retail energy")
    if bool((retail == feed_in).all()):
        reason = "no gain: feed-in pays as much as retail costs (net metering), so a shared lot saves nothing"
    else:
        reason = "no gain: surplus and need of the members never meet in one interval with a price gap"
    return Joining(0, False, reason)


def assignment_gain(bids: I64, asks: I64) -> int:
    """Return the worth of an assignment game in closed form: each buyer wants and each seller has one lot.

    Highest bid meets lowest ask, and so on while the pair gains.

    >>> assignment_gain(np.array([25, 20, 14]), np.array([8, 12, 18]))
    25
    """
    pairs = min(bids.size, asks.size)
    gaps = np.sort(bids)[::-1][:pairs] - np.sort(asks)[:pairs]
    return int(gaps[gaps > 0].sum())


@kernel("r82 r8")
def coalition_values(gain: Any, count: Any) -> Any:
    """Return the worth of every coalition that differs in how many of each type it holds.

    Coalition number s holds (s // stride[j]) % (count[j] + 1) members of type j, stride[0] = 1 and
    stride[j + 1] = stride[j] (count[j] + 1). With one member a type, bit j of s is member j.
    """
    kinds, prices = gain.shape
    states = 1
    for kind in range(kinds):
        states *= count[kind] + 1
    value, total, holds = np.zeros(states, np.int64), np.zeros(prices, np.int64), np.zeros(kinds, np.int64)
    for state in range(states):
        least = total[0]
        for price in range(1, prices):
            least = min(least, total[price])
        value[state] = least
        kind = 0
        while kind < kinds and holds[kind] == count[kind]:
            for price in range(prices):
                total[price] -= count[kind] * gain[kind, price]
            holds[kind] = 0
            kind += 1
        if kind < kinds:
            holds[kind] += 1
            for price in range(prices):
                total[price] += gain[kind, price]
    return value


def all_values(game: Game) -> I64:
    """Return the worth of all 2^n coalitions; bit i of the index is member i. At most `SUBSETS_MAX` members."""
    size = game.members.size
    ensure(size <= SUBSETS_MAX, f"{size} members have too many coalitions to list; at most {SUBSETS_MAX}")
    values: I64 = coalition_values(np.ascontiguousarray(game.gain), np.ones(size, np.int64))
    return values


# --- the core ---


@dataclass(frozen=True)
class Blocking:
    """A coalition (places of its members) that gains `shortfall` more by leaving than it is given."""

    members: tuple[int, ...]
    shortfall: float


def payoffs_of_all(payoff: Floats | I64) -> Floats:
    """Return what each of the 2^n coalitions is given in sum.

    >>> payoffs_of_all(np.array([1.0, 2.0])).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    sums = np.zeros(1)
    for each in payoff:
        sums = np.concatenate((sums, sums + each))
    return sums


def blocking_coalition(values: Floats | I64, payoff: Floats | I64, epsilon: float = 0.0) -> Blocking | None:
    """Return the coalition with the most reason to leave, or None if the payoff lies in the strong epsilon-core.

    `values` [2^n] is the worth of each coalition, bit i for member i; `payoff` [n]. Leaving costs `epsilon`; 0 is the
    core itself. Exhaustive.
    """
    sums = payoffs_of_all(payoff)
    ensure(payoff.size <= SUBSETS_MAX and sums.size == values.size, "values and payoff do not fit together")
    short = values - sums
    short[[0, -1]] = -np.inf  # nobody and everybody do not leave
    worst = int(np.argmax(short))
    if not short[worst] > epsilon:
        return None
    return Blocking(tuple(i for i in range(payoff.size) if worst >> i & 1), float(short[worst]))


def blocking_by_structure(game: Game, payoff: Floats | I64) -> Blocking | None:
    """Return a blocking coalition of any number of price takers, or None if there is none; in linear time.

    It decides where the core is one point: energy is short, and the long side can spare each of its members. Then the
    short side must get everything:

    - who gets less than he has alone leaves;
    - a long-side member who gets more than he has alone is left out by all others, who lose nothing;
    - a short-side member who gets less than all his energy is worth leaves with the long side.
    """
    long, short = _sides(game)
    ensure(_dispensable(long, short), "the core has more than one point; list the coalitions instead")
    over = payoff - short
    rest = np.zeros(over.size, bool)
    i, j = int(np.argmin(payoff - game.alone)), int(np.argmin(np.where(short > long, over, np.inf)))
    k = int(np.argmax(np.where(short > long, -np.inf, over)))
    if payoff[i] < game.alone[i]:
        rest[i] = True
    elif short[k] <= long[k] and over[k] > 0:
        rest[:] = True
        rest[k] = False
    elif short[j] > long[j] and over[j] < 0:
        rest = long >= short
        rest[j] = True
    else:
        return None
    best = min(int(long[rest].sum()), int(short[rest].sum()))
    return Blocking(tuple(np.flatnonzero(rest).tolist()), float(best - payoff[rest].sum()))


def core_point(game: Game) -> Floats | None:
    """Return the only payoff in the core of a game of price takers, or None where the core is larger."""
    if game.gain.shape[1] != 2:
        return None
    long, short = _sides(game)
    return short.astype(float) if _dispensable(long, short) else None


def _sides(game: Game) -> tuple[I64, I64]:
    """Return what each member gains where the long side has the better price, and where the short side has it."""
    ensure(game.gain.shape[1] == 2, "only price takers have two sides")
    one, other = game.gain[:, 0], game.gain[:, 1]
    return (one, other) if one.sum() >= other.sum() else (other, one)


def _dispensable(long: I64, short: I64) -> bool:
    surplus = int(long.sum() - short.sum())
    return surplus > 0 and surplus >= int((long - short).max())


# --- from a book to games, and from shares back to a clearing ---


def pool_of(orders: Orders, context: Context) -> Pool | Reject:
    """Share each group's energy for the largest welfare, pro rata among equals, or say why that cannot be done.

    A price taker's lot is worth the utility's price; other orders are worth their limit.
    """
    if has_partner(orders):
        return Reject.PARTNER_NOT_SUPPORTED
    takers = np.abs(orders.limit) == ANY_PRICE
    if takers.any() and context.tariff is None:
        return Reject.NO_TARIFF
    book, starts = grouped(orders)
    worth = book.limit
    if context.tariff is not None and len(book):
        retail, feed_in = context.tariff.at(book.interval)
        worth = np.where(worth == ANY_PRICE, retail, np.where(worth == -ANY_PRICE, feed_in, worth))
    if len(book) and not _fits(starts, book.quantity, worth):
        return Reject.TOO_LARGE
    return _pooled(book, starts, worth)


def _fits(starts: I64, quantity: I64, worth: I64) -> bool:
    first = starts[:-1]
    spread = (np.maximum.reduceat(worth, first) - np.minimum.reduceat(worth, first)).astype(float)
    return bool((np.add.reduceat(quantity.astype(float), first) * spread < 2.0**62).all())


@kernel("r1 r8 r8 r8 r8 w82")
def _gains(side: Any, worth: Any, quantity: Any, number: Any, levels: Any, gain: Any) -> None:
    for row in range(side.size):
        for place in range(levels.size):
            better = side[row] * (worth[row] - levels[place])
            if better > 0:
                gain[number[row], place] += quantity[row] * better


def _pooled(book: Orders, starts: I64, worth: I64) -> Pool:
    groups = starts.size - 1
    price, lowest, highest = np.zeros(groups, np.int64), np.zeros(groups, np.int64), np.zeros(groups, np.int64)
    number, games = np.zeros(len(book), np.int64), []
    for group, (first, stop) in enumerate(pairwise(starts.tolist())):
        members, number[first:stop] = np.unique(book.participant[first:stop], return_inverse=True)
        levels = np.unique(worth[first:stop])
        gain = np.zeros((members.size, levels.size), np.int64)
        _gains(book.side[first:stop], worth[first:stop], book.quantity[first:stop], number[first:stop], levels, gain)
        total = gain.sum(axis=0)
        clears = np.flatnonzero(total == total.min())
        lowest[group], highest[group] = levels[clears[0]], levels[clears[-1]]
        games.append(Game(members, gain))
    fill = _filled(book, starts, worth, np.repeat(lowest, np.diff(starts)))
    for group, (first, stop) in enumerate(pairwise(starts.tolist())):
        done = fill[first:stop] > 0
        if done.any():
            limit, side = worth[first:stop][done], book.side[first:stop][done]
            price[group] = (int(limit[side == BUY].min()) + int(limit[side == SELL].max())) // 2
    return Pool(book, starts, worth, fill, price, lowest, highest, tuple(games), number)


def _filled(book: Orders, starts: I64, worth: I64, price: I64) -> I64:
    """Fill whoever is better than the price, then those at the price pro rata."""
    fill = np.zeros(len(book), np.int64)
    if len(book) == 0:
        return fill
    better = book.side * (worth - price)
    sure, ready = np.where(better > 0, book.quantity, 0), np.where(better >= 0, book.quantity, 0)
    volume = np.full(starts.size - 1, np.iinfo(np.int64).max)
    for side in (BUY, SELL):
        volume = np.minimum(volume, np.add.reduceat(np.where(book.side == side, ready, 0), starts[:-1]))
    at_price = np.where(better == 0, book.side, 0).astype(np.int8)
    for side in (BUY, SELL):
        rest = volume - np.add.reduceat(np.where(book.side == side, sure, 0), starts[:-1])
        pro_rata(starts, at_price, book.quantity, side, rest, fill)
    return fill + sure


def whole_shares(total: int, shares: Floats) -> I64:
    """Return whole numbers in proportion to `shares` (none negative) that sum to `total`, largest remainders up.

    Remainders that differ by less than a millionth count as equal, and the first member wins; so the last bit of a
    float decides nothing.

    >>> whole_shares(22, np.array([44 / 3, 11 / 3, 11 / 3])).tolist()
    [15, 4, 3]
    """
    whole = fsum(shares.tolist())
    if total == 0 or not whole > 0:
        ensure(total == 0, "a gain without anybody to share it")
        return np.zeros(shares.size, np.int64)
    exact = shares * (total / whole)
    given = np.floor(exact + 1e-6).astype(np.int64)
    order = np.argsort(-np.rint((exact - given) * 2**20), kind="stable")
    order = order[shares[order] > 0]
    missing = total - int(given.sum())
    if missing >= 0:
        given[order[:missing]] += 1
    else:
        given[order[missing:]] -= 1
    given[int(np.argmax(given))] += total - int(given.sum())  # beyond 2^53 a float is coarser than one unit of cash
    return given


def shared_out(pool: Pool, shares: Sequence[I64], report: Mapping[str, float] | None = None) -> Clearing:
    """Return the trades of the pool and the transfers that bring each member's gain to his share, exactly."""
    clearing = deal(pool.book, pool.starts, pool.fill, pool.price)
    traded = pool.fill * pool.book.side * (pool.worth - np.repeat(pool.price, np.diff(pool.starts)))
    interval, who, owed = [], [], []
    for game, share, (first, stop) in zip(pool.games, shares, pairwise(pool.starts.tolist()), strict=True):
        ensure(int(share.sum()) == game.worth, "the shares do not sum to the gain")
        has = np.zeros(share.size, np.int64)
        np.add.at(has, pool.number[first:stop], traded[first:stop])
        moved = np.flatnonzero(share != has)
        interval.append(np.full(moved.size, pool.book.interval[first]))
        who.append(game.members[moved])
        owed.append(share[moved] - has[moved])
    if not owed:
        return clearing
    amount, member = np.concatenate(owed), np.concatenate(who)
    fund = np.full(member.size, COMMUNITY_FUND, np.int32)
    transfers = Transfers(
        interval=np.concatenate(interval),
        payer=np.where(amount > 0, fund, member),
        payee=np.where(amount > 0, member, fund),
        amount=np.abs(amount),
        code=np.full(member.size, SHARING, np.int8),
    )
    return Clearing(clearing.trades, clearing.prices, transfers=transfers, report=dict(report or {}))
