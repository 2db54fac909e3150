"""Each buyer gets exactly one seller: Bertsekas' auction, in which every buyer without a seller bids for his best one.

D. Bertsekas, The auction algorithm: a distributed relaxation method for the assignment problem, Annals of Operations
Research 14 (1988). A buyer who has nobody looks at what each seller would bring him at the present prices. He raises
the price of the best one by as much as it is better than the second best, and a little more (epsilon). Without that
little (the *naive* auction) two buyers can bid for two equal sellers for ever. With benefits counted in whole numbers
and an epsilon below 1 / n the result is the assignment of the largest sum of benefits; starting with a large epsilon
and ending with a small one is much faster (epsilon scaling).
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
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import grouped
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, Orders, Preferences, Prices, Trades
from wattle.market.auction_double import mean_prices, trades_of
from wattle.market.auction_one_sided import with_tariff
from wattle.market.mechanism import (
    BUDGET_BALANCED,
    EXACT,
    INDIVIDUALLY_RATIONAL,
    SEPARABLE,
    mechanism,
    nobody_to_trade_with,
)
from wattle.market.negotiation_pairs import premiums

PAIRS_MAX = 1_000
"""Largest number of pairs of one zone and interval; the table of benefits has its square."""

_BENEFIT_MAX = 1 << 61
_SCALING = 5
_NAIVE_BIDS = 10  # for each seller and buyer; then the naive auction is taken to go on for ever
_PHASES = 30  # of a falling epsilon; prices rise by at most (n / 4 + 1) times the largest benefit in all of them


@mechanism(
    "assignment-auction",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Bertsekas 1988, Annals of Operations Research 14; "
    "Nunna and Doolla 2013, IEEE Transactions on Industrial Electronics 60 (naive auction between microgrids)",
)
@dataclass(frozen=True)
class AssignmentAuction:
    """Every bid is joined with exactly one offer, so that all pairs together gain the most.

    A pair trades the smaller of its two quantities, at `k_percent` of the way from offer to bid, and gains those lots
    times (bid - offer), plus what the two like each other for (their premiums). Pairs that gain nothing, or whose
    orders name somebody else, do not trade. What is left of the larger order stays unfilled: an order has one partner.

    That is also the drawback of this auction: it needs as many bids as offers in each zone and interval. A book in
    which they are unequal anywhere is refused as a whole, and every lot returned.

    `method` "scaled" bids with a falling epsilon. "naive" adds nothing to a bid, as microgrids did in the first papers;
    where that goes round in circles (the report counts the groups as `circles`), the scaled auction finds the pairs.
    """

    k_percent: int = 50
    method: str = "scaled"

    def __post_init__(self) -> None:
        ensure(
            isinstance(self.k_percent, int) and 0 <= self.k_percent <= 100,
            f"k_percent is {self.k_percent}, expected 0 to 100",
        )
        ensure(self.method in ("scaled", "naive"), f'method is {self.method!r}, expected "scaled" or "naive"')

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Assign the bids of every zone and interval to its offers."""
        if nobody_to_trade_with(orders) is not None:  # nothing is wrong with such a book
            return None, Clearing(Trades.empty(), Prices.empty())
        book, starts = grouped(with_tariff(orders, context))
        group = np.repeat(np.arange(starts.size - 1), np.diff(starts))
        if np.bincount(group, book.side, starts.size - 1).any():
            return None, Clearing.refuse(Reject.UNEQUAL_NUMBERS)
        if (np.abs(book.limit) == ANY_PRICE).any():
            return None, Clearing.refuse(Reject.NO_TARIFF)
        if np.diff(starts).max(initial=0) > 2 * PAIRS_MAX:
            return None, Clearing.refuse(Reject.TOO_MANY_MEMBERS)
        buy, sell, lots, bids_made, circles = [], [], [], 0, 0
        for first, stop in pairwise(starts.tolist()):
            part = book.take(slice(first, stop))
            bids, asks = np.flatnonzero(part.side == BUY), np.flatnonzero(part.side != BUY)
            benefit, moved = benefits(part, bids, asks, context.preferences)
            if benefit.max(initial=0) * (bids.size + 1) * (bids.size + _PHASES) > _BENEFIT_MAX:
                return None, Clearing.refuse(Reject.TOO_LARGE)
            table = benefit.astype(np.int64)
            chosen, made = assign_naively(table) if self.method == "naive" else assign(table)
            if made < 0:
                chosen, made = assign(table)
                circles += 1
            bids_made += made
            rows = np.flatnonzero(benefit[np.arange(bids.size), chosen] > 0)
            buy.append(first + bids[rows])
            sell.append(first + asks[chosen[rows]])
            lots.append(moved[rows, chosen[rows]])
        none = np.zeros(0, np.int64)
        bought, sold, quantity = (np.concatenate([none, *parts]) for parts in (buy, sell, lots))
        low, high = book.limit[sold], book.limit[bought]
        trades = trades_of(book, bought, sold, quantity, low + (high - low) * self.k_percent // 100)
        report = {"bids": float(bids_made), "circles": float(circles)}
        return None, Clearing(trades, mean_prices(trades), report=report)


def benefits(
    book: Orders, bids: I64, asks: I64, preferences: Preferences
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return what each pair gains [B, A] in cash, nought where it may not trade, and the lots that it would trade."""
    buyer, seller = book.participant[bids][:, None], book.participant[asks][None, :]
    wanted, offered = book.partner[bids][:, None], book.partner[asks][None, :]
    allowed = (buyer != seller) & ((wanted == ANYONE) | (wanted == seller)) & ((offered == ANYONE) | (offered == buyer))
    gap = book.limit[bids][:, None] - book.limit[asks][None, :]
    lots = np.minimum(book.quantity[bids][:, None], book.quantity[asks][None, :])
    one, other = (np.broadcast_to(who, gap.shape).ravel() for who in (buyer, seller))
    liked = (premiums(preferences, one, other) + premiums(preferences, other, one)).reshape(gap.shape)
    worth = np.where(allowed & (gap >= 0), np.maximum(gap + liked, 0), 0)
    return lots.astype(object) * worth, lots


def assign(benefit: NDArray[np.int64]) -> tuple[I64, int]:
    """Return for each row of a table of benefits [n, n] its column, the sum of benefits being largest, and the bids.

    Whole numbers from 0 on, whose largest times (n + 1) (n + 30) fits into 61 bits.

    >>> assign(np.array([[4, 3], [4, 1]]))[0].tolist()
    [1, 0]
    """
    size = _size_of(benefit)
    # Benefits times n + 1 and an epsilon of 1: as good as an epsilon below 1 / n, and exact.
    scaled = np.ascontiguousarray(benefit * (size + 1))
    epsilon = max(int(scaled.max(initial=0)) // 4, 1)
    chosen, owner, price, made = *_nobody(size), 0
    while size:
        chosen, owner, _ = _nobody(size)
        made += int(_bid_until_assigned(scaled, chosen, owner, price, epsilon, np.iinfo(np.int64).max))
        if epsilon == 1:
            break
        epsilon = max(epsilon // _SCALING, 1)
    return chosen, made


def assign_naively(benefit: NDArray[np.int64]) -> tuple[I64, int]:
    """Return the same by bids that add nothing beyond the second best; -1 bids if it goes on for too long.

    >>> assign_naively(np.array([[4, 3], [4, 1]]))[0].tolist()
    [1, 0]
    >>> assign_naively(np.ones((3, 3), np.int64))[1]  # the third buyer's bids and those of the others raise no price
    -1
    """
    size = _size_of(benefit)
    chosen, owner, price = _nobody(size)
    table = np.ascontiguousarray(benefit)
    made = _bid_until_assigned(table, chosen, owner, price, 0, _NAIVE_BIDS * size * size)
    return chosen, int(made)


def _size_of(benefit: NDArray[np.int64]) -> int:
    size = len(benefit)
    ensure(benefit.shape == (size, size), f"the table of benefits has the shape {benefit.shape}, expected a square")
    return size


def _nobody(size: int) -> tuple[I64, I64, I64]:
    return np.full(size, -1, np.int64), np.full(size, -1, np.int64), np.zeros(size, np.int64)


@kernel("r82 w8 w8 w8 i i")
def _bid_until_assigned(benefit: Any, chosen: Any, owner: Any, price: Any, epsilon: Any, bids_max: Any) -> Any:
    """Let one row after the other bid for a column until each has one; return the bids made, or -1 if they run out.

    `chosen` [n] and `owner` [n] say who has whom, and hold -1 at the start; prices go on from those given.
    """
    size = chosen.size
    waiting = np.empty(size, np.int64)
    for row in range(size):
        waiting[row] = size - 1 - row
    count, made = size, np.int64(0)
    while count > 0:
        if made == bids_max:
            return np.int64(-1)
        made += 1
        count -= 1
        row = waiting[count]
        best, first = 0, benefit[row, 0] - price[0]
        second = first if size == 1 else -_BENEFIT_MAX * 2
        for column in range(1, size):
            value = benefit[row, column] - price[column]
            if value > first:
                best, first, second = column, value, first
            elif value > second:
                second = value
        price[best] += first - second + epsilon
        if owner[best] >= 0:
            chosen[owner[best]] = -1
            waiting[count] = owner[best]
            count += 1
        owner[best] = row
        chosen[row] = best
    return made
