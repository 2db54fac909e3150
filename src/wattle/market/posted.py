"""Posted offers that buyers choose from (Vandebron's way), and equal increments for everybody (Power Ledger's way).

The two are the simplest ways to trade without an auction. In the first each buyer picks a seller and pays that
seller's price; in the second nobody picks, and both sides are filled to one level at the community's price.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wattle.core.checks import Reject
from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import grouped, starts_of
from wattle.core.tables import Orders
from wattle.market.auction_double import has_partner
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, INDIVIDUALLY_RATIONAL, SEPARABLE, mechanism
from wattle.market.pools import deal
from wattle.market.preference_lists import HOPE, LIMIT, MILLI, TASTE, RankWeights, acceptable, by_posted_price, cost
from wattle.market.share import by_rank, merged, spread, totals, willing

_CLAIMS = {BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT}


@mechanism(
    "posted-offers",
    claims=_CLAIMS,
    source="Vandebron (NL); Jogunola et al. 2017, Energies 10(12), section 5.2",
)
@dataclass(frozen=True)
class PostedOffers:
    """Sellers post price and quantity; buyers choose in order of arrival, and the posted price is paid.

    Each buyer takes the offer that is cheapest to him: price, plus `per_km_ticks` for each kilometre, less his
    premium for the seller. When it is sold out he takes the next, until he has enough or no price is within his
    limit. With a tariff a seller who takes any price posts the feed-in price; without one he posts nothing.
    """

    per_km_ticks: int = 0

    def __post_init__(self) -> None:
        _ = RankWeights(per_km_ticks=self.per_km_ticks)

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Let the buyers of every zone and interval choose, by order id."""
        weights = RankWeights(per_km_ticks=self.per_km_ticks)
        return None, by_posted_price(orders, context, weights, _choose_in_turn)


@kernel("r82 r82 r8 r8 r8 r8 r8 w8 w8 w8 w8")
def _choose_in_turn(
    facts: Any, wishes: Any, terms: Any, buyers: Any, buyer_starts: Any, offers: Any, offer_starts: Any, left: Any,
    buy: Any, sell: Any, lots: Any,
) -> Any:  # fmt: skip
    """Give each buyer in turn the best offers that are left; return the number of pairs made."""
    pairs = 0
    for group in range(buyer_starts.size - 1):
        here = offers[offer_starts[group] : offer_starts[group + 1]]
        following = chained(here.size)
        for place in range(buyer_starts[group], buyer_starts[group + 1]):
            buyer = buyers[place]
            while left[buyer] > 0:
                row = _best_offer(facts, wishes, terms, here, following, left, buyer)
                if row < 0:
                    break
                moved = min(left[buyer], left[row])
                buy[pairs], sell[pairs], lots[pairs] = buyer, row, moved
                pairs += 1
                left[buyer] -= moved
                left[row] -= moved
    return pairs


@kernel("r82 r82 r8 r8 w8 r8 i")
def _best_offer(facts: Any, wishes: Any, terms: Any, offers: Any, following: Any, left: Any, buyer: Any) -> Any:
    """Return the row of the best offer with lots left, -1 if there is none that the buyer may have.

    `offers` stand in order of price and taste; `following` is a chain through them that loses the empty ones. The
    search ends where the buyer's largest premium could not make a later offer better.
    """
    best, lowest = np.int64(-1), np.int64(0)
    before = offers.size
    place = following[before]
    while place < offers.size:
        row = offers[place]
        if left[row] == 0:
            place = following[place]
            following[before] = place
            continue
        if best >= 0 and facts[row, LIMIT] * MILLI + facts[row, TASTE] - facts[buyer, HOPE] > lowest:
            break
        if acceptable(facts, wishes, terms, buyer, row):
            found = cost(facts, wishes, terms, buyer, row)
            if best < 0 or found < lowest or (found == lowest and row < best):
                best, lowest = row, found
        before = place
        place = following[place]
    return best


@kernel("i")
def chained(size: Any) -> Any:
    """Return a chain 0, 1, ..., `size` - 1; the last place holds the first, and `size` is the end."""
    following = np.arange(1, size + 2)
    following[size] = 0
    return following


@mechanism(
    "equal-increments",
    claims=_CLAIMS,
    source="Power Ledger (AU); Wang et al. 2019, Applied Sciences 9(8), section 5.2.1 and reference 46",
)
@dataclass(frozen=True)
class EqualIncrements:
    """Orders of producers and of consumers are filled in equal increments, lot by lot, until one side is exhausted.

    Who wants little is served in full; all others on his side get the same. A member counts once, however many
    orders he has. Odd lots go to the earliest orders. All trade at `price_ticks`; -1 stands for the middle of the
    utility's two prices. Orders whose limit forbids the price stand aside.
    """

    price_ticks: int = -1

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Fill both sides of every zone and interval to one level each."""
        if has_partner(orders):
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        if self.price_ticks < 0 and context.tariff is None:
            return None, Clearing.refuse(Reject.NO_TARIFF)
        book, _ = grouped(orders)
        book = book.take(willing(book, self._price(book, context)))
        starts = starts_of(book.interval, book.zone)
        wanted, offered = totals(starts, book.side, book.quantity)
        volume = np.minimum(wanted, offered)
        fill = _level(book, starts, volume)
        return None, deal(book, starts, fill, self._price(book.take(starts[:-1]), context))

    def _price(self, book: Orders, context: Context) -> I64:
        if self.price_ticks >= 0 or context.tariff is None:
            return np.full(len(book), self.price_ticks, np.int64)
        retail, feed_in = context.tariff.at(book.interval)
        middle: I64 = (retail + feed_in) // 2
        return middle


def _level(book: Orders, starts: I64, volume: I64) -> I64:
    """Fill `volume[g]` lots on each side of group g, to one level for all members of a side."""
    together = merged(book, starts)
    if together is None:
        single, single_starts = book, starts
    else:
        single = together[0]
        single_starts = starts_of(single.interval, single.zone)
    fill = np.zeros(len(single), np.int64)
    same = np.zeros(len(single), np.int64)
    by_rank(single_starts, single.side, single.quantity, same, 1, volume, fill)
    by_rank(single_starts, -single.side, single.quantity, same, 1, volume, fill)  # sellers as if they bought
    if together is None:
        return fill
    parts = np.zeros(len(book), np.int64)
    spread(together[1], book.quantity, fill, np.empty_like(fill), parts)
    return parts
