"""The day-ahead game of storage and generation: a grid whose price rises with everybody's load, asked in rounds.

After I. Atzeni, L. G. Ordonez, G. Scutari, D. P. Palomar and J. R. Fonollosa 2013, Demand-side management via
distributed energy generation and storage optimization, IEEE Transactions on Smart Grid 4(2), 866-876. In slot h the
grid costs K_h L_h^2, where L_h is the net load of all; users pay it in proportion to their own loads, so a lot costs
K_h L_h. That is a supply curve of the utility: it sells L lots in a slot at K_h L each. Members answer published prices
with their net loads for all slots at once (`agents.storage_game`), and the rule asks until prices rest.

The counterparty is the utility, at the game's price. Who feeds in sells at that same price; surplus goes to members in
need first, the utility sells what is still missing, or takes what is too much (then L and the price are below nought).
Orders with limits take part as in a call auction against that curve: p* is where demand at p* less supply at p* is
p* / K. Who takes any price would not pay the utility more than its tariff, so the tariff is his limit if there is one.
In the game proper nobody's limit binds and p* is K L.

The paper's text was not at hand: model and algorithm follow its abstract and later descriptions of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import F64, I32, I64
from wattle.core.messages import Clearing, Context, Memory, Quote
from wattle.core.segments import grouped
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, NO_ORDER, SELL, UTILITY, Orders, Prices, Quotes, Trades
from wattle.core.units import CASH_ORDER_MAX, PRICE_MAX
from wattle.market.auction_double import has_partner, mean_prices, paired, trades_of
from wattle.market.mechanism import (
    BUDGET_BALANCED,
    EXACT,
    INDIVIDUALLY_RATIONAL,
    SCHEDULES,
    UNIFORM_PRICE,
    mechanism,
)

WAIT_MAX = 12
"""After so many rounds the members move their centroids in any case; see `agents.storage_game`."""


@mechanism(
    "storage-game",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, UNIFORM_PRICE, EXACT},
    source="Atzeni, Ordonez, Scutari, Palomar and Fonollosa 2013, IEEE Transactions on Smart Grid 4(2), 866-876",
    bids=SCHEDULES,
)
@dataclass(frozen=True)
class StorageGame:
    """Each lot costs K times the load of all; members with batteries and generators plan the day until prices rest.

    `grid_ticks` is K, by how many ticks a lot more of load raises the price of a slot. In the intervals of a day (of
    `day_length` intervals) from `day_first` up to `day_stop` K is `day_factor` times as high. Prices rest when a round
    moves them by at most `inner` of the way since they rested last; then the centroids of the proximal algorithm move.
    The gate ends when they rest within `tolerance` of the last resting place, relative to the highest price, and at
    the latest after `rounds_max` rounds. Choose lots and ticks so small that a member's load is hundreds of lots, and
    K at least a tick: what is smaller than a lot or a tick cannot be told.
    """

    grid_ticks: float = 1.0
    day_factor: float = 1.0
    day_first: int = 0
    day_stop: int = 0
    day_length: int = 24
    inner: float = 0.3
    tolerance: float = 1e-4
    rounds_max: int = 400

    def __post_init__(self) -> None:
        for name in ("grid_ticks", "day_factor", "tolerance"):
            value = getattr(self, name)
            ensure(0 < value < np.inf, f"{name} is {value}, expected a number above 0")
        ensure(0 <= self.inner < 1, f"inner is {self.inner}, expected 0 or more and less than 1")
        ensure(1 <= self.rounds_max <= 1000, f"rounds_max is {self.rounds_max}, expected 1 to 1000")
        ensure(
            0 <= self.day_first <= self.day_stop <= self.day_length and self.day_length >= 1,
            "expected 0 <= day_first <= day_stop <= day_length",
        )

    def grid(self, interval: NDArray[Any]) -> F64:
        """Return K in ticks a lot for interval numbers.

        >>> StorageGame(2.0, day_factor=1.5, day_first=1, day_stop=3, day_length=4).grid(np.arange(5)).tolist()
        [2.0, 3.0, 3.0, 2.0, 2.0]
        """
        hour = interval % self.day_length
        by_day = (hour >= self.day_first) & (hour < self.day_stop)
        return np.where(by_day, self.grid_ticks * self.day_factor, self.grid_ticks)

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[Memory | None, Clearing | Quote]:
        """Price the loads that were ordered, and ask again or clear."""
        if memory is None and has_partner(orders):
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        if memory is None and len(orders) == 0:
            return None, Clearing(Trades.empty(), Prices.empty())
        book = _Loads.of(orders, context, self)
        if book.too_large():
            return None, Clearing.refuse(Reject.TOO_LARGE)
        interval, zone, price, before, resting = _side_by_side(book, memory)
        number = 0 if memory is None else int(memory["round"])
        moves = 0 if memory is None else int(memory["moves"])
        if memory is None:
            before = resting = price
        waited = 0 if memory is None else int(memory["waited"]) + 1
        settled, floor = False, 2.0 * float(self.grid(np.arange(self.day_length)).max())
        if number > 0 and rests(price, before, resting, self.inner, self.tolerance, floor, waited):
            moves, waited = moves + 1, 0
            # Nothing can be told apart that is less than what rounding to whole lots does to a price.
            enough = max(self.tolerance * _most(price), book.blur(), floor, 1.0)
            # Both: prices that swing to and fro may come by where they were.
            settled = _most(price - resting) <= enough and _most(price - before) <= enough
            resting = price
        state = {
            "interval": interval, "zone": zone, "price": price, "resting": resting, "round": number + 1, "moves": moves,
            "waited": waited,
        }  # fmt: skip
        if settled or number >= self.rounds_max:
            report = {"rounds": float(number), "centroid_moves": float(moves), "settled": float(settled)}
            return state, book.cleared(report)
        return state, Quote(Quotes(interval, zone, *_anyone(interval.size), price), number + 1)


def rests(now: I64, before: I64, resting: I64, inner: float, tolerance: float, floor: float, waited: int) -> bool:
    """Tell whether a round moved prices little: `inner` of the way since they rested last, or tolerance / 10.

    Orders are whole lots, so less than `floor`, what two lots move, is little in any case, and after `WAIT_MAX` rounds
    prices count as resting. Members find out by the same formula that their centroids may move.
    """
    if waited >= WAIT_MAX:
        return True
    return _most(now - before) <= max(inner * _most(now - resting), 0.1 * tolerance * _most(now), floor, 1.0)


def _most(ticks: I64) -> float:
    return float(np.abs(ticks).max(initial=0))


def _anyone(count: int) -> tuple[I32, I32]:
    return np.full(count, ANYONE, np.int32), np.full(count, ANYONE, np.int32)


def _side_by_side(book: _Loads, memory: Memory | None) -> tuple[I32, I32, I64, I64, I64]:
    """Return interval, zone, price, last price and last resting price of all that was ever ordered or priced.

    Where nobody orders anything the load is 0, and so is the price.
    """
    known: Mapping[str, Any] = {} if memory is None else memory
    nought = np.zeros(0, np.int64)
    old_interval, old_zone = known.get("interval", nought), known.get("zone", nought)
    head = book.starts[:-1]
    places = np.stack(
        (
            np.concatenate((old_interval, book.book.interval[head])),
            np.concatenate((old_zone, book.book.zone[head])),
        ),
        axis=1,
    )
    both, place = np.unique(places, axis=0, return_inverse=True)
    place = place.reshape(-1)
    columns = []
    for at, values in (
        (place[old_interval.size :], book.price),
        (place[: old_interval.size], known.get("price", nought)),
        (place[: old_interval.size], known.get("resting", nought)),
    ):
        column = np.zeros(len(both), np.int64)
        column[at] = values
        columns.append(column)
    return both[:, 0].astype(np.int32), both[:, 1].astype(np.int32), columns[0], columns[1], columns[2]


@dataclass(frozen=True, eq=False)
class _Loads:
    """A grouped book against the grid's supply curve: price [G] and net load [G] of each zone and interval.

    `below` is the largest whole price at which more is wanted than the grid sells at that price.
    """

    book: Orders
    starts: I64
    grid: F64
    limit: I64
    below: I64
    price: I64
    load: I64

    @classmethod
    def of(cls, orders: Orders, context: Context, rule: StorageGame) -> _Loads:
        book, starts = grouped(orders)
        limit = book.limit
        if context.tariff is not None and len(book):
            retail, feed_in = context.tariff.at(book.interval)
            limit = np.where(limit == ANY_PRICE, retail, np.where(limit == -ANY_PRICE, feed_in, limit))
        grid = rule.grid(book.interval[starts[:-1]].astype(np.int64))
        below = _crossing(book, starts, limit, grid)
        at = np.repeat(below, np.diff(starts))
        # Just above `below` all these trade; the grid's price for that load may lie at or under `below`.
        least = _sums(starts, book.side * book.quantity * _willing(book.side, limit, at, at))
        price = np.maximum(below, np.minimum(np.rint(grid * least), below + 1)).astype(np.int64)
        most = _sums(starts, book.side * book.quantity * _willing(book.side, limit, at - 1, at - 1))
        wanted = np.rint(np.clip(below / grid, -(2.0**62), 2.0**62)).astype(np.int64)
        load = np.where(grid * least > below, least, np.clip(wanted, least, np.maximum(least, most)))
        return cls(book, starts, grid, limit, below, price, load)

    def blur(self) -> float:
        """Return how far the rounding of all orders to whole lots may well move a price: K sqrt(orders) at most."""
        return float((self.grid * np.sqrt(np.diff(self.starts))).max(initial=0.0))

    def too_large(self) -> bool:
        """Tell whether a price or an amount of money does not fit."""
        if len(self.book) == 0:
            return False
        size = np.abs(self.price)
        if size.max() > PRICE_MAX:
            return True
        price = np.repeat(size, np.diff(self.starts))
        return bool((self.book.quantity.astype(np.float64) * price > CASH_ORDER_MAX).any())

    def cleared(self, report: dict[str, float]) -> Clearing:
        """Trade at the price: members among each other, and the rest with the utility."""
        book, starts, side = self.book, self.starts, self.book.side
        if len(book) == 0:
            return Clearing(Trades.empty(), Prices.empty(), report=report)
        at = np.repeat(self.below, np.diff(starts))
        inside = _willing(side, self.limit, at, at)
        fill = np.where(inside, book.quantity, 0)
        missing: I64 = self.load - _sums(starts, side * fill)
        # At the margin buyers come in first, then sellers stay out: as much trade as possible, lowest ids first.
        edge = self.limit == at
        come = _in_turn(starts, np.where(edge & (side == BUY), book.quantity, 0), missing)
        missing = missing - _sums(starts, come)
        stay = _in_turn(starts, np.where(edge & (side == SELL), book.quantity, 0), missing, last=True)
        fill = fill + come - stay
        trades = _with_utility(book, starts, fill, self.load, self.price)
        loads = self.load.astype(np.float64)
        report |= {
            "grid_cost": float((self.grid * loads * loads).sum()),
            "peak_to_average": float(loads.max() / loads.mean()) if loads.mean() > 0 else 0.0,
        }
        return Clearing(trades, mean_prices(trades), report=report)


def _willing(side: NDArray[np.int8], limit: I64, buys_above: I64, sells_up_to: I64) -> NDArray[np.bool_]:
    return np.where(side == BUY, limit > buys_above, limit <= sells_up_to)


def _sums(starts: I64, values: NDArray[Any]) -> I64:
    if starts.size <= 1:
        return np.zeros(0, np.int64)
    sums: I64 = np.add.reduceat(values.astype(np.int64), starts[:-1])
    return sums


def _crossing(book: Orders, starts: I64, limit: I64, grid: F64) -> I64:
    """Return for each group the largest whole price at which the grid would sell less than is wanted.

    Wanted at p: all bids of p and more, less all offers below p. It falls in p, what the grid sells rises. First the
    price that fits if nobody's limit binds is looked at, then the rest by halving.
    """
    side, lots, sizes = book.side, book.quantity, np.diff(starts)
    low = np.full(sizes.size, -PRICE_MAX - 2, np.int64)
    high = np.full(sizes.size, PRICE_MAX + 2, np.int64)

    def wanted(price: I64) -> NDArray[np.bool_]:
        at = np.repeat(price - 1, sizes)
        more: NDArray[np.bool_] = price < grid * _sums(starts, side * lots * _willing(side, limit, at, at))
        return more

    guess = np.ceil(np.clip(grid * _sums(starts, side * lots), low + 2, high - 1)).astype(np.int64)
    for tried in (guess - 1, guess):
        more = wanted(tried)
        low, high = np.where(more, np.maximum(low, tried), low), np.where(more, high, np.minimum(high, tried))
    while (high - low > 1).any():
        middle = (low + high) // 2
        more = wanted(middle)
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return low


def _in_turn(starts: I64, lots: I64, wanted: I64, last: bool = False) -> I64:
    """Hand out what is wanted of each group's lots [rows], row by row from the first (or the last) on."""
    run = np.cumsum(lots)
    before = run - lots
    before = before - np.repeat(before[starts[:-1]], np.diff(starts))
    if last:
        before = np.repeat(_sums(starts, lots), np.diff(starts)) - before - lots
    return np.clip(np.repeat(wanted, np.diff(starts)) - before, 0, lots)


def _with_utility(book: Orders, starts: I64, fill: I64, load: I64, price: I64) -> Trades:
    """Pair members in order of id, then whoever is left over with the utility, which has no order."""
    open_groups = np.flatnonzero(load)
    head = starts[:-1][open_groups]
    count, behind = open_groups.size, int(book.id.max()) + 1
    utility = Orders(
        id=behind + np.arange(count),
        participant=np.full(count, UTILITY, np.int32),
        zone=book.zone[head],
        interval=book.interval[head],
        side=-np.sign(load[open_groups]).astype(np.int8),
        quantity=np.abs(load[open_groups]),
        limit=price[open_groups],
        partner=np.full(count, ANYONE, np.int32),
    )
    # A utility's row stands behind its group, so that members deal with each other first.
    rank = np.argsort(np.concatenate((np.arange(len(book)), starts[1:][open_groups] - 0.5)), kind="stable")
    whole = Orders.concat(book, utility).take(rank)
    filled = np.concatenate((fill, utility.quantity))[rank]
    sizes = np.diff(starts) + (load != 0)
    bounds = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    buy, sell, lots = paired(whole, bounds, filled, np.arange(len(whole)))
    trades = trades_of(whole, buy, sell, lots, np.repeat(price, sizes)[buy])
    return trades.replace(
        buy_order=np.where(trades.buyer == UTILITY, NO_ORDER, trades.buy_order),
        sell_order=np.where(trades.seller == UTILITY, NO_ORDER, trades.sell_order),
    )
