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
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, Orders, Preferences
from wattle.market.auction_double import mean_prices, trades_of
from wattle.market.auction_one_sided import with_tariff
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, INDIVIDUALLY_RATIONAL, mechanism
from wattle.market.negotiation_pairs import premiums

PAIRS_MAX = 1_000
"""Largest number of pairs of one zone and interval; the table of benefits has its square."""

_BENEFIT_MAX = 1 << 61
_SCALING = 5
_PHASES = 30  # of a falling epsilon; prices rise by at most (n / 4 + 1) times the largest benefit in all of them


@mechanism(
    "assignment-auction",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, EXACT},
    source="Bertsekas 1988, Annals of Operations Research 14; Wang et al. 2019, Applied Sciences 9(8), reference 83",
)
@dataclass(frozen=True)
class AssignmentAuction:
    """Every bid is joined with exactly one offer, so that all pairs together gain the most.

    A pair trades the smaller of its two quantities, at `k_percent` of the way from offer to bid, and gains those lots
    times (bid - offer), plus what the two like each other for (their premiums). Pairs that gain nothing, or whose
    orders name somebody else, do not trade. What is left of the larger order stays unfilled: an order has one partner.

    That is also the drawback of this auction: it needs as many bids as offers in each zone and interval. A book in
    which they are unequal anywhere is refused as a whole.
    """

    k_percent: int = 50

    def __post_init__(self) -> None:
        ensure(
            isinstance(self.k_percent, int) and 0 <= self.k_percent <= 100,
            f"k_percent is {self.k_percent}, expected 0 to 100",
        )

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Assign the bids of every zone and interval to its offers."""
        book, starts = grouped(with_tariff(orders, context))
        group = np.repeat(np.arange(starts.size - 1), np.diff(starts))
        if np.bincount(group, book.side, starts.size - 1).any():
            return None, Clearing.refuse(Reject.UNEQUAL_NUMBERS)
        if (np.abs(book.limit) == ANY_PRICE).any():
            return None, Clearing.refuse(Reject.NO_TARIFF)
        if np.diff(starts).max(initial=0) > 2 * PAIRS_MAX:
            return None, Clearing.refuse(Reject.TOO_MANY_MEMBERS)
        buy, sell, lots = [], [], []
        for first, stop in pairwise(starts.tolist()):
            part = book.take(slice(first, stop))
            bids, asks = np.flatnonzero(part.side == BUY), np.flatnonzero(part.side != BUY)
            benefit, moved = benefits(part, bids, asks, context.preferences)
            if benefit.max(initial=0) * (bids.size + 1) * (bids.size + _PHASES) > _BENEFIT_MAX:
                return None, Clearing.refuse(Reject.TOO_LARGE)
            chosen = assign(benefit.astype(np.int64))
            rows = np.flatnonzero(benefit[np.arange(bids.size), chosen] > 0)
            buy.append(first + bids[rows])
            sell.append(first + asks[chosen[rows]])
            lots.append(moved[rows, chosen[rows]])
        none = np.zeros(0, np.int64)
        bought, sold, quantity = (np.concatenate([none, *parts]) for parts in (buy, sell, lots))
        low, high = book.limit[sold], book.limit[bought]
        trades = trades_of(book, bought, sold, quantity, low + (high - low) * self.k_percent // 100)
        return None, Clearing(trades, mean_prices(trades))


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


def assign(benefit: NDArray[np.int64]) -> I64:
    """Return for each row of a square table of benefits [n, n] its column, so that the sum of benefits is largest.

    Whole numbers from 0 on, whose largest times (n + 1) (n + 30) fits into 61 bits.

    >>> assign(np.array([[4, 3], [4, 1]])).tolist()
    [1, 0]
    """
    size = benefit.shape[0]
    ensure(benefit.shape == (size, size), f"the table of benefits has the shape {benefit.shape}, expected a square")
    chosen = np.full(size, -1, np.int64)
    if size:
        # Benefits times n + 1 and an epsilon of 1: as good as an epsilon below 1 / n, and exact.
        scaled = np.ascontiguousarray(benefit * (size + 1))
        _bid_until_assigned(scaled, chosen, np.full(size, -1, np.int64), np.zeros(size, np.int64))
    return chosen


@kernel("r82 w8 w8 w8")
def _bid_until_assigned(benefit: Any, chosen: Any, owner: Any, price: Any) -> Any:
    """Let rows bid for columns with a falling epsilon; `chosen` [n] and `owner` [n] say who has whom at the end."""
    size = chosen.size
    largest = np.int64(1)
    for row in range(size):
        for column in range(size):
            largest = max(largest, benefit[row, column])
    epsilon = max(largest // 4, np.int64(1))
    waiting = np.empty(size, np.int64)
    while True:
        for row in range(size):
            chosen[row] = -1
            owner[row] = -1
            waiting[row] = size - 1 - row
        count = size
        while count > 0:
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
        if epsilon == 1:
            return
        epsilon = max(epsilon // _SCALING, np.int64(1))
