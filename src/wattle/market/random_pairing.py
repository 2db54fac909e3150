"""Random pairing: the baseline that every other way of matching has to beat.

Buyers and sellers meet in an order that chance draws; whoever may trade does. Chance is one number from
`context.rng`, mixed with the member, zone and interval: so neither the ids of orders nor other intervals matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wattle.core.checks import InvariantError, Reject
from wattle.core.compiled import kernel
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import grouped
from wattle.core.tables import BUY, SELL, Orders
from wattle.market.chance import drawn
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, INDIVIDUALLY_RATIONAL, SEPARABLE, mechanism
from wattle.market.posted import chained
from wattle.market.preference_lists import RankWeights, acceptable, faces
from wattle.market.stable_matching import nobody_names_a_price, paired_off

MIDDLE_PERCENT = 50


@mechanism(
    "random-pairing",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Baseline of our own; zero-intelligence trade after Gode and Sunder 1993, Journal of Political Economy 101",
)
@dataclass(frozen=True)
class RandomPairing:
    """Buyers in random order meet sellers in random order and trade at the middle of the two limits.

    A pair trades all that it can; who has lots left meets the next, until nobody may trade with anybody.
    """

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Pair the orders of every zone and interval."""
        if context.rng is None:
            raise InvariantError("random-pairing needs a source of chance in the context")
        book, starts = grouped(orders)
        facing = faces(book, context, RankWeights(), MIDDLE_PERCENT)
        if nobody_names_a_price(book, facing):
            return None, Clearing.refuse(Reject.NO_PRICE)
        chance = drawn(book, int(context.rng.integers(0, 1 << 63)))
        group = np.repeat(np.arange(starts.size - 1), np.diff(starts))
        rank = np.lexsort((book.id, chance, group))
        buyers, sellers = rank[book.side[rank] == BUY], rank[book.side[rank] == SELL]
        heads = (np.searchsorted(group[rows], np.arange(starts.size)) for rows in (buyers, sellers))
        buy, sell, lots = (np.empty(len(book), np.int64) for _ in range(3))
        found = _meet(
            facing.facts, facing.wishes, facing.terms, buyers, next(heads), sellers, next(heads), book.quantity.copy(),
            buy, sell, lots,
        )  # fmt: skip
        return None, paired_off(book, facing, buy[:found], sell[:found], lots[:found])


@kernel("r82 r82 r8 r8 r8 r8 r8 w8 w8 w8 w8")
def _meet(
    facts: Any, wishes: Any, terms: Any, buyers: Any, buyer_starts: Any, sellers: Any, seller_starts: Any, left: Any,
    buy: Any, sell: Any, lots: Any,
) -> Any:  # fmt: skip
    """Let each buyer meet the sellers in turn until he has enough; return the number of pairs made."""
    pairs = 0
    for group in range(buyer_starts.size - 1):
        here = sellers[seller_starts[group] : seller_starts[group + 1]]
        following = chained(here.size)
        for place in range(buyer_starts[group], buyer_starts[group + 1]):
            buyer, before = buyers[place], here.size
            while left[buyer] > 0 and following[before] < here.size:
                after = following[before]
                row = here[after]
                if left[row] > 0 and acceptable(facts, wishes, terms, buyer, row):
                    moved = min(left[buyer], left[row])
                    buy[pairs], sell[pairs], lots[pairs] = buyer, row, moved
                    pairs += 1
                    left[buyer] -= moved
                    left[row] -= moved
                if left[row] == 0:
                    following[before] = following[after]
                else:
                    before = after
    return pairs
