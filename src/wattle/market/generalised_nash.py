"""Sellers with market power and one wire for all: a quantity game whose players share a cap, solved as a whole.

In each zone and interval the sellers play Cournot's game: each chooses how much he sells, knowing that the price falls
along the demand curve, and all together may not sell more than the cap lets flow. What one may sell depends on what
the others sell, so the solution is a *generalised* Nash equilibrium. Of the many that exist where the cap binds, the
normalised one (Rosen 1965) is taken: the cap has the same shadow price for everybody. `concave_game` solves it.

**The demand curve** is read from the bids of the zone and interval. Sorted from the dearest down they are stairs: lot
number n is worth the limit of the bid that holds it. The curve p = A - B n is the straight line through these stairs
with the smallest sum of squares over all lots. It needs bids at two prices at least; stairs of one step have no slope
and thus no curve (`Reject.NO_CURVE`). A member with offers at several prices gets his marginal cost c + k n by the
same rule, one with a single price has c = that limit and k = 0.

**What is traded.** The lots are those of the game. The price is that of the line, rounded to a tick, but the stairs are
not the line: where the bid that holds the last of these lots is worth less, its limit is the price, so the volume finds
its buyers (Cournot's price is what buyers pay for the quantity that was chosen). Of all such prices, that of the line
and the limits below it, the one at which most of the game's lots trade is taken; of several the highest. At that price
only orders trade whose limits allow it, dearest bids and cheapest offers of a member first; where they hold fewer lots
than the game sold, all sellers are cut by the same part. So nobody trades against his limit, and what the straight line
promised too much stays untraded (`cut_lots`) or is sold for less (`below_line_ticks`).

**Who plays.** Whoever sells in a zone and interval is a player there, and his own bids there stay out of the game.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import grouped
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders, Prices, Trades
from wattle.market.auction_double import has_partner, mean_prices, paired, trades_of
from wattle.market.concave_game import F64, Equilibrium, QuadraticGame, deviation_gain, extragradient, relaxation
from wattle.market.mechanism import BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, mechanism
from wattle.market.own_orders import without_own_answers
from wattle.market.takers import with_prices
from wattle.market.whole_lots import whole_lots


@mechanism(
    "generalised-nash",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE},
    source="Rosen 1965, Econometrica 33(3); Krawczyk and Uryasev 2000, Environmental Modeling and Assessment 5",
)
@dataclass(frozen=True)
class GeneralisedNash:
    """Sellers (or buyers) choose quantities against the curve of the other side, under a cap that they share.

    `players` is "sellers" or "buyers". `method` is "variational" (extragradient) or "relaxation" (Nikaido-Isoda); both
    find the same point. `cap_lots` is the most that may flow in a zone and interval (0: no cap of the rule's own); the
    zone's cap in the context holds too. `cost_slope` is added to the slope of each player's marginal cost, in ticks
    per lot. The report: `games`, `iterations` (of all games), `residual` (the largest), `deviation_gain` (the most
    that one player would win by another quantity along the line, in cash), `cap_price` (the largest shadow price of a
    cap, in ticks), `cut_lots` (lots of the game that stay untraded), `below_line_ticks` (how far the
    stairs keep a price from the line, at most).
    """

    players: str = "sellers"
    method: str = "variational"
    cap_lots: int = 0
    cost_slope: float = 0.0
    tolerance: float = 1e-8
    rounds_max: int = 100_000

    def __post_init__(self) -> None:
        ensure(self.players in ("sellers", "buyers"), f'players is {self.players!r}, expected "sellers" or "buyers"')
        known = ("variational", "relaxation")
        ensure(self.method in known, f'method is {self.method!r}, expected "variational" or "relaxation"')
        for name in ("cap_lots", "cost_slope"):
            ensure(0 <= getattr(self, name) < 1e15, f"{name} is {getattr(self, name)}, expected 0 or more")
        ensure(1e-14 <= self.tolerance < 1, f"tolerance is {self.tolerance}, expected 1e-14 or more and below 1")
        ensure(1 <= self.rounds_max <= 10_000_000, f"rounds_max is {self.rounds_max}, expected 1 to 10000000")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Read the curves, solve the game of each zone and interval, trade what its price allows."""
        if has_partner(orders):
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        if len(orders) == 0:
            return None, Clearing(Trades.empty(), Prices.empty())
        # Buyers play the game of sellers with both signs turned.
        turn = 1 if self.players == "sellers" else -1
        book, starts = grouped(without_own_answers(orders, -turn))
        book = with_prices(book, starts, context)
        mirrored = book.replace(side=book.side * np.int8(turn), limit=book.limit * turn)
        fill, price = np.zeros(len(book), np.int64), np.zeros(len(book), np.int64)
        told: list[_Outcome] = []
        refused: list[Reject] = []
        for first, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            group = mirrored.take(slice(first, stop))
            outcome = self._play(group, self._cap(int(group.zone[0]), context))
            if isinstance(outcome, _Outcome):
                fill[first:stop], price[first:stop] = outcome.fill, turn * outcome.price
                told.append(outcome)
            elif outcome is not None:
                refused.append(outcome)
        if refused and not told:
            # A curve can only be missing where prices are named, so this is the better answer if there are both.
            return None, Clearing.refuse(Reject.NO_CURVE if Reject.NO_CURVE in refused else refused[0])
        buy, sell, lots = paired(book, starts, fill, np.arange(len(book)))
        trades = trades_of(book, buy, sell, lots, price[buy])
        return None, Clearing(trades, mean_prices(trades), report=_report(told))

    def _cap(self, zone: int, context: Context) -> float:
        cap = float(context.limits.zone_cap.get(zone, np.inf))
        return min(cap, float(self.cap_lots)) if self.cap_lots else cap

    def _play(self, group: Orders, cap: float) -> _Outcome | Reject | None:
        """Solve the game of one zone and interval, sellers being the players; None if one side is missing."""
        bids, offers = np.flatnonzero(group.side == BUY), np.flatnonzero(group.side == SELL)
        if bids.size == 0 or offers.size == 0:
            return None
        if (np.abs(group.limit) == ANY_PRICE).any():
            return Reject.NO_PRICE
        curve = read_curve(-group.limit[bids], group.quantity[bids])
        if curve is None:
            return Reject.NO_CURVE
        height, slope = -curve[0], curve[1]
        member, owner = np.unique(group.participant[offers], return_inverse=True)
        costs = [
            read_curve(group.limit[mine], group.quantity[mine]) or (float(group.limit[mine][0]), 0.0)
            for mine in (offers[owner == place] for place in range(member.size))
        ]
        cost, bend = np.array(costs).T
        have = np.bincount(owner, group.quantity[offers], member.size).astype(np.float64)
        # The largest volume that may come out, and the range of the bids' limits, are the units of the solver.
        lots = max(1.0, min(float(group.quantity[bids].sum()), have.sum(), cap))
        prices = float(np.ptp(group.limit[bids]))
        game = cournot(height, slope, cost, bend + self.cost_slope, have, cap)
        solve = extragradient if self.method == "variational" else relaxation
        scaled = solve(_scaled(game, lots, prices), tolerance=self.tolerance, rounds_max=self.rounds_max)
        found = replace(scaled, quantity=scaled.quantity * lots, multiplier=scaled.multiplier * prices)
        line = int(np.rint(height - slope * found.quantity.sum()))
        price = _price_of(group, owner, found.quantity, line, cap)
        fill, cut = _served(group, owner, found.quantity, price, cap)
        below = float(line - price) if fill.any() else 0.0
        return _Outcome(fill, price, found, float(deviation_gain(game, found.quantity).max()), cut, below)


@dataclass(frozen=True, eq=False)
class _Outcome:
    """The game of one zone and interval: filled lots [rows], price in ticks, and what is reported."""

    fill: I64
    price: int
    found: Equilibrium
    deviation_gain: float
    cut: float
    below: float


def read_curve(limit: NDArray[np.int64], quantity: NDArray[np.int64]) -> tuple[float, float] | None:
    """Return start and slope of the line through stairs that rise: least squares over all lots; None for one step.

    `limit` [N] in ticks, `quantity` [N] in lots, in any order; the slope is in ticks per lot. For falling stairs give
    the limits with the other sign.

    >>> start, slope = read_curve(np.array([10, 20]), np.array([5, 5]))
    >>> round(start, 6), round(slope, 6)
    (7.5, 1.5)
    """
    if limit.size == 0 or (limit == limit[0]).all():
        return None
    order = np.argsort(limit, kind="stable")
    step, lots = limit[order].astype(np.float64), quantity[order].astype(np.float64)
    whole = lots.sum()
    part = lots / whole
    middle = np.cumsum(part) - part / 2 - 0.5  # from -1/2 to 1/2 along the stairs
    mean = step[0] + (part * (step - step[0])).sum()
    # The integral of (place) x (height) over the stairs; that of place squared is 1/12.
    slope = 12.0 * (part * middle * (step - mean)).sum()
    return float(mean - slope / 2), float(slope / whole)


def cournot(height: float, slope: float, cost: F64, bend: F64, most: F64, cap: float = np.inf) -> QuadraticGame:
    """Return the quantity game of sellers against the demand curve price = height - slope x (all lots sold).

    Seller i sells 0 to `most_i` lots at the marginal cost cost_i + bend_i x; together they sell at most `cap`.
    """
    count = cost.size
    rows = np.ones((1 if np.isfinite(cap) else 0, count))
    return QuadraticGame(
        linear=height - cost,
        own=slope + bend,
        left=np.full((count, 1), slope),
        right=np.ones((count, 1)),
        upper=most,
        rows=rows,
        caps=np.full(rows.shape[0], cap),
    )


def _scaled(game: QuadraticGame, lots: float, prices: float) -> QuadraticGame:
    """Return the same game in units in which quantities and prices are about 1."""
    slope = lots / prices
    return QuadraticGame(
        game.linear / prices, game.own * slope, game.left * slope, game.right, game.upper / lots, game.rows,
        game.caps / lots,
    )  # fmt: skip


def _price_of(group: Orders, owner: I64, quantity: F64, line: int, cap: float) -> int:
    """Return the price, that of the line or a bid's limit below it, at which most of the game's lots trade."""
    best, most = line, _volume(group, owner, quantity, line, cap)[0]
    stairs = np.unique(group.limit[(group.side == BUY) & (group.limit < line)])
    for limit in stairs[::-1].tolist():
        if most >= min(np.rint(quantity.sum()), np.floor(cap)):
            break
        volume = _volume(group, owner, quantity, limit, cap)[0]
        if volume > most:
            best, most = limit, volume
    return best


def _volume(group: Orders, owner: I64, quantity: F64, price: int, cap: float) -> tuple[int, F64, I64]:
    """Return how many of the game's lots trade at this price, what each player would sell, and what he has at it."""
    agreed = group.side * (group.limit - price) >= 0
    offers = group.side == SELL
    have = np.zeros(quantity.size, np.int64)
    np.add.at(have, owner, np.where(agreed, group.quantity, 0)[offers])
    sold = np.minimum(quantity, have)
    wanted = int(group.quantity[agreed & ~offers].sum())
    return int(min(np.rint(sold.sum()), wanted, have.sum(), np.floor(cap))), sold, have


def _served(group: Orders, owner: I64, quantity: F64, price: int, cap: float) -> tuple[I64, float]:
    """Return the lots of each row at this price, and how many of the game's lots stay untraded."""
    fill = np.zeros(len(group), np.int64)
    agreed = group.side * (group.limit - price) >= 0
    bids, offers = np.flatnonzero(group.side == BUY), np.flatnonzero(group.side == SELL)
    volume, sold, have = _volume(group, owner, quantity, price, cap)
    if sold.sum() > 0:
        whole = whole_lots(np.array([0, have.size]), sold * (volume / sold.sum()), have, np.array([volume]))
        cheap = np.lexsort((group.id[offers], group.limit[offers], owner))
        fill[offers[cheap]] = _in_turn(owner[cheap], np.where(agreed, group.quantity, 0)[offers[cheap]], whole)
        dear = bids[np.lexsort((group.id[bids], -group.limit[bids]))]
        nobody = np.zeros(dear.size, np.int64)
        fill[dear] = _in_turn(nobody, np.where(agreed, group.quantity, 0)[dear], whole.sum(keepdims=True))
    return fill, max(0.0, float(quantity.sum() - fill[offers].sum()))


def _in_turn(owner: I64, lots: I64, total: I64) -> I64:
    """Fill rows, sorted by owner, one after the other until the total of their owner is used up."""
    running = np.cumsum(lots)
    head = np.r_[True, owner[1:] != owner[:-1]]
    before = (running - lots) - np.repeat((running - lots)[head], np.diff(np.r_[np.flatnonzero(head), owner.size]))
    filled: I64 = np.clip(total[owner] - before, 0, lots)
    return filled


def _report(told: list[_Outcome]) -> dict[str, float]:
    return {
        "games": float(len(told)),
        "iterations": float(sum(one.found.iterations for one in told)),
        "residual": max((one.found.residual for one in told), default=0.0),
        "deviation_gain": max((one.deviation_gain for one in told), default=0.0),
        "cap_price": max((float(one.found.multiplier.max(initial=0.0)) for one in told), default=0.0),
        "cut_lots": float(sum(one.cut for one in told)),
        "below_line_ticks": max((one.below for one in told), default=0.0),
    }
