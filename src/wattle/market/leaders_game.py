"""The equilibrium of leaders who offer and followers who bid (`multi_leader`), for many zones and intervals at once.

At a price P a bid wants min(quantity, budget / P) lots as long as its limit is at least P; that demand D falls. A
leader to whom the next lot in store is worth w wants the share 1 - w / P of all that is sold (his marginal revenue
P (1 - share) is then w), and at most what he has. The shares rise with P, so there is one price at which they sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattle.core.columns import I64
from wattle.core.tables import ANY_PRICE, BUY, Orders

F64 = NDArray[np.float64]

HALVINGS = 64
TRIED = 16


@dataclass(frozen=True, eq=False)
class Board:
    """Bids and the leaders' stores, group by group; only groups with bids above 0 and with offers, G of them.

    A leader's store is a row of steps, the cheapest first; `reach` is all that he has up to the end of a step.
    """

    group: I64  # [G] number in the book
    bid_row: I64  # [B] row of the book
    bid_group: I64  # [B] number on the board
    limit: F64  # [B]
    lots: F64  # [B]
    budget: F64  # [B]
    step_row: I64  # [S]
    step_lots: F64  # [S]
    step_leader: I64  # [S]
    worth: F64  # [S] of a lot in store
    reach: F64  # [S]
    first: I64  # [L] first step of each leader
    leader_group: I64  # [L]
    surplus: F64  # [L]

    def per_group(self, where: I64, amount: F64) -> F64:
        """Sum amounts of bids (or leaders) by group, [G]."""
        summed: F64 = np.bincount(where, amount, self.group.size).astype(np.float64)
        return summed

    def demand(self, price: F64, *, above: bool = False) -> F64:
        """Return the lots that each bid wants at its group's price [B]; with `above` only if its limit is above."""
        here = price[self.bid_group]
        with np.errstate(divide="ignore"):
            wants = np.minimum(self.lots, self.budget / here)
        wanted: F64 = np.where(self.limit > here if above else self.limit >= here, wants, 0.0)
        return wanted

    def shares(self, price: F64, volume: F64, relief: F64 | None = None) -> F64:
        """Return the share of the volume of his group that each leader wants at its price, [L]."""
        at = self.leader_group[self.step_leader]
        worth = self.worth if relief is None else np.maximum(0.0, self.worth - relief[at])
        here, sold = price[at], volume[at]
        with np.errstate(divide="ignore", invalid="ignore"):
            wants = np.where(self.worth <= here, 1.0 - worth / here, 0.0)
            part = np.minimum(self.reach / sold, np.clip(wants, 0.0, 1.0))
        found: F64 = np.maximum.reduceat(part, self.first)
        return found

    def steps(self, offers: F64) -> F64:
        """Spread what each leader offers over the steps of his store, the cheapest first, [S]."""
        spread: F64 = np.clip(offers[self.step_leader] - (self.reach - self.step_lots), 0.0, self.step_lots)
        return spread


@dataclass(frozen=True, eq=False)
class Settled:
    """The equilibrium: price [G], lots that each leader offers [L], each step of his store [S], each bid takes [B]."""

    price: F64
    volume: F64
    offers: F64
    offered: F64
    taken: F64
    exact: bool  # all bids spend their whole budgets


def board_of(book: Orders, starts: I64, budget_share: float, storage_weight: float) -> Board | None:
    """Set up the game from a grouped book; None if no group has bids that bring money and offers."""
    number = np.repeat(np.arange(starts.size - 1), np.diff(starts))
    bids = (book.side == BUY) & (book.limit > 0) & (book.limit < ANY_PRICE)
    offers = book.side != BUY
    group = np.intersect1d(number[bids], number[offers])
    if group.size == 0:
        return None
    ours = np.isin(number, group)
    bid_row, step_row = np.flatnonzero(bids & ours), np.flatnonzero(offers & ours)
    step_row = step_row[
        np.lexsort((book.id[step_row], book.limit[step_row], book.participant[step_row], number[step_row]))
    ]
    place = number[step_row]
    change = np.ones(step_row.size, bool)
    change[1:] = (place[1:] != place[:-1]) | (np.diff(book.participant[step_row]) != 0)
    leader, first = np.cumsum(change) - 1, np.flatnonzero(change)
    step_lots = book.quantity[step_row].astype(np.float64)
    running = np.cumsum(book.quantity[step_row])
    reach = (running - (running[first] - book.quantity[step_row][first])[leader]).astype(np.float64)
    limit, lots = book.limit[bid_row].astype(np.float64), book.quantity[bid_row].astype(np.float64)
    return Board(
        group=group,
        bid_row=bid_row,
        bid_group=np.searchsorted(group, number[bid_row]),
        limit=limit,
        lots=lots,
        budget=limit * lots * budget_share,
        step_row=step_row,
        step_lots=step_lots,
        step_leader=leader,
        # A member who would pay to be rid of his energy offers all of it, as one to whom it is worth nothing.
        worth=np.maximum(0.0, book.limit[step_row] * storage_weight),
        reach=reach,
        first=first,
        leader_group=np.searchsorted(group, place[first]),
        surplus=np.add.reduceat(step_lots, first),
    )


def settle(board: Board) -> Settled:
    """Return the equilibrium of every group."""
    price, volume, stopped = _price(board)
    relief = _relief(board, price, volume, stopped)
    offers = board.shares(price, volume, relief) * volume[board.leader_group]
    free = price == 0
    if free.any():  # more is given away than is wanted: everybody gives the same part of what he has
        gift: F64 = np.bincount(board.step_leader, np.where(board.worth == 0, board.step_lots, 0.0)).astype(np.float64)
        part = volume / np.maximum(board.per_group(board.leader_group, gift), 1.0)
        offers = np.where(free[board.leader_group], gift * part[board.leader_group], offers)
    sure, all_of_them = board.demand(price, above=True), board.demand(price)
    edge = board.per_group(board.bid_group, all_of_them - sure)
    missing = volume - board.per_group(board.bid_group, sure)
    part = np.clip(missing / np.where(edge > 0, edge, 1.0), 0.0, 1.0)[board.bid_group]
    taken = sure + (all_of_them - sure) * part
    spent = taken * price[board.bid_group]
    exact = bool((np.abs(spent - board.budget) <= 1e-6 * board.budget).all())
    return Settled(price, volume, offers, board.steps(offers), taken, exact)


def _price(board: Board) -> tuple[F64, F64, NDArray[np.bool_]]:
    """Return price and volume of each group, and whether the sellers stopped at a bid's limit by themselves."""
    top = np.zeros(board.group.size)
    np.maximum.at(top, board.bid_group, board.limit)

    def excess(price: F64, volume: F64 | None = None) -> F64:
        sold = board.per_group(board.bid_group, board.demand(price)) if volume is None else volume
        return board.per_group(board.leader_group, board.shares(price, sold)) - 1.0

    low, high = np.zeros(top.size), top.copy()
    # One seller alone has no reason to press the price: his share of the money is 1 whatever he offers.
    willing = board.worth[board.first] < top[board.leader_group]
    stopped = (excess(top) < 0.0) | (np.bincount(board.leader_group[willing], minlength=top.size) == 1)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = excess(middle) <= 0.0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    # The sum of shares jumps where a bid leaves; limits are whole ticks, so such a price is a whole number.
    tick = np.rint(high)
    at_limit = np.zeros(top.size, bool)
    at_limit[board.bid_group[board.limit == tick[board.bid_group]]] = True
    edge = at_limit & (np.abs(high - tick) <= 1e-9 * np.maximum(tick, 1.0))
    price = np.where(edge, tick, high)
    price = np.where(low == 0.0, 0.0, price)
    most = board.per_group(board.bid_group, board.demand(price))
    for place in np.flatnonzero(stopped):
        price[place], most[place] = _best_stop(board, int(place))
    low, high = np.zeros(top.size), most.copy()
    for _ in range(HALVINGS):  # at a limit only some of the money at the limit is needed
        middle = (low + high) / 2
        enough = excess(price, middle) >= 0.0
        low, high = np.where(enough, middle, low), np.where(enough, high, middle)
    volume = np.where(stopped | (price == 0.0) | ~edge, most, high)
    return price, volume, stopped


def _best_stop(board: Board, place: int) -> tuple[float, float]:
    """Return the bid's limit at which the leaders of a group earn most together, and what is sold there."""
    mine = board.bid_group == place
    limit, lots, budget = board.limit[mine], board.lots[mine], board.budget[mine]
    steps = board.leader_group[board.step_leader] == place
    order = np.argsort(board.worth[steps], kind="stable")
    worth, reach = board.worth[steps][order], np.cumsum(board.step_lots[steps][order])
    paid = np.cumsum(worth * board.step_lots[steps][order])
    stops = np.unique(limit)
    # Bids from the stop upwards; those with budgets above lots x stop want all their lots, the others spend all.
    full, spends = np.zeros(stops.size), np.zeros(stops.size)
    first, last = np.searchsorted(stops, limit, side="right"), np.searchsorted(stops, budget / lots, side="right")
    for amount, start, stop in ((lots, np.zeros_like(last), last), (budget, last, first)):
        marks = np.bincount(start, amount, stops.size + 1) - np.bincount(stop, amount, stops.size + 1)
        target = full if amount is lots else spends
        target += np.cumsum(marks)[:-1]
    can = np.r_[0.0, reach][np.searchsorted(worth, stops, side="right")]
    sold = np.minimum(np.maximum(full, 0.0) + np.maximum(spends, 0.0) / stops, can)
    profit = stops * sold - np.interp(sold, np.r_[0.0, reach], np.r_[0.0, paid])
    best = int(np.argmax(profit))
    return float(stops[best]), float(sold[best])


def _relief(board: Board, price: F64, volume: F64, stopped: NDArray[np.bool_]) -> F64:
    """Return by how much the stop at a limit makes a stored lot cheaper to all leaders of a group, [G]."""
    low, high = np.zeros(price.size), np.where(stopped, price, 0.0)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        short = board.per_group(board.leader_group, board.shares(price, volume, middle)) < 1.0
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return high


def tried_offers(board: Board, found: Settled) -> tuple[float, float]:
    """Return the most that the largest seller of a group would win by another offer, in cash.

    First for the money on the table, then if all buyers answer anew with all their budgets.
    """
    count = board.group.size
    order = np.lexsort((found.offers, board.leader_group))
    strong = order[np.searchsorted(board.leader_group[order], np.arange(count), side="right") - 1]
    ceiling = np.full(count, np.inf)
    np.minimum.at(ceiling, board.bid_group[found.taken > 0], board.limit[found.taken > 0])
    others = found.volume - found.offers[strong]
    money = found.price * found.volume

    def wins(lots: F64, price: F64) -> F64:
        offers = np.zeros(board.surplus.size)
        offers[strong] = lots
        kept = np.bincount(board.step_leader, board.steps(offers) * board.worth, board.surplus.size)
        return lots * price - kept[strong]

    now = wins(found.offers[strong], found.price)
    best = np.zeros((2, count))
    for number in range(TRIED + 1):
        lots = board.surplus[strong] * (number / TRIED)
        volume = np.maximum(others + lots, 1e-12)
        best[0] = np.maximum(best[0], wins(lots, np.minimum(ceiling, money / volume)) - now)
        best[1] = np.maximum(best[1], wins(lots, _answered(board, volume)) - now)
    return float(best[0].max()), float(best[1].max())


def _answered(board: Board, volume: F64) -> F64:
    """Return the highest price at which the bids of each group want this volume, 0 if they never do."""
    low, high = np.zeros(volume.size), np.zeros(volume.size)
    np.maximum.at(high, board.bid_group, board.limit)
    for _ in range(HALVINGS // 2):
        middle = (low + high) / 2
        enough = board.per_group(board.bid_group, board.demand(middle)) >= volume
        low, high = np.where(enough, middle, low), np.where(enough, high, middle)
    return low
