"""Nash bargaining: members who can only gain together divide the gain so that the product of their gains is largest.

John Nash, The bargaining problem, Econometrica 18 (1950); with weights Harsanyi and Selten 1972, Kalai 1977.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.tables import Orders
from wattle.market.coalition import Floats, Game, pool_of, shared_out, whole_shares
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, INDIVIDUALLY_RATIONAL, METERED, SEPARABLE, mechanism
from wattle.market.share import weights_of

WEIGHT_MAX = 1 << 32


@mechanism(
    "nash-bargaining",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Nash 1950, Econometrica 18; Kalai 1977, doi:10.1007/BF01774658; "
    "Tushar et al. 2020, IEEE Transactions on Smart Grid 11(4), section V-A",
    when=METERED,
)
@dataclass(frozen=True)
class NashBargaining:
    """What all members of an interval gain together is divided equally, or by weight, on top of what each has alone.

    Local energy is traded pro rata at the mid price; transfers bring everybody to his share. `weights` is the
    bargaining power of each participant; who is not named has 1. With money to pass on, the largest product
    of (gain of i) ^ (weight of i) is reached when gains stand in the ratio of the weights. Everybody with an order in
    the interval bargains, also who brings little: without his consent there is no agreement.
    """

    weights: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for member, weight in self.weights.items():
            ensure(0 <= weight <= WEIGHT_MAX, f"participant {member} has weight {weight}, expected 0 to {WEIGHT_MAX}")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Divide the joint gain of each interval."""
        pool = pool_of(orders, context)
        if isinstance(pool, Reject):
            return None, Clearing.refuse(pool)
        return None, shared_out(pool, [self._shares(game) for game in pool.games])

    def _shares(self, game: Game) -> I64:
        weight = weights_of(self.weights, game.members, 1).astype(float)
        return game.alone + whole_shares(game.worth - int(game.alone.sum()), _or_equal(weight))


def _or_equal(weight: Floats) -> Floats:
    return weight if weight.any() else np.ones(weight.size)
