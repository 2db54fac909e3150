"""Shapley value: each member gets what he adds to the coalition, averaged over all orders in which members may join.

Exact wherever the coalitions can be listed: up to 16 members, or more if many are alike. Beyond, by stratified
sampling with a stated standard error. The asymptotic Shapley price is what remains for very many small members.

Lloyd Shapley, A value for n-person games (1953). Guillermo Owen, Multilinear extensions of games, Management Science 18
(1972): the value of member i is the mean over t in [0, 1] of what he adds to a random coalition that everybody else
joins with probability t. Sampling it: Okhrati and Lipani 2021, doi:10.1109/ICPR48806.2021.9412511.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.tables import Orders
from wattle.market.coalition import SUBSETS_MAX, Floats, Game, coalition_values, pool_of, shared_out, whole_shares
from wattle.market.mechanism import (
    BUDGET_BALANCED,
    EXACT,
    IN_CORE,
    INDIVIDUALLY_RATIONAL,
    METERED,
    SEPARABLE,
    UNIFORM_PRICE,
    mechanism,
)
from wattle.market.pools import deal

REPEATS = 16
"""Independent repetitions of a sample, from whose scatter the standard error is known."""

SAMPLES_MAX = 1 << 20
ALIKE_MAX = 1000
BITS = 30


@mechanism(
    "shapley",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Shapley 1953, A value for n-person games; Lee et al. 2014, doi:10.1109/JSAC.2014.2332131",
    when=METERED,
)
@dataclass(frozen=True)
class Shapley:
    """Each member gets the mean of what he adds to the community's gain, over all orders of joining.

    Local energy is traded pro rata at the mid price; transfers bring everybody to his share. Up to 16 members who
    trade (equal members count less) the value is exact. Beyond, `samples` random coalitions are drawn for each
    interval, a multiple of 32, and `report` states the standard error. Which coalitions are drawn depends on `seed`,
    interval and zone only: an interval that is settled again, alone, after a late reading sees the same ones.
    """

    samples: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        ensure(0 <= self.seed < 1 << 62, f"seed is {self.seed}, expected 0 to 2^62")
        ensure(
            self.samples % (2 * REPEATS) == 0 and 0 < self.samples <= SAMPLES_MAX,
            f"samples is {self.samples}, expected a multiple of {2 * REPEATS} up to {SAMPLES_MAX}",
        )

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Share the gain of each interval by the Shapley value."""
        pool = pool_of(orders, context)
        if isinstance(pool, Reject):
            return None, Clearing.refuse(pool)
        shares: list[I64] = []
        sampled = 0
        members = np.unique(pool.book.participant)
        mean, variance = np.zeros(members.size), np.zeros(members.size)
        for game, first in zip(pool.games, pool.starts.tolist(), strict=False):
            share, error = exact_shares(game), np.zeros(game.members.size)
            if share is None:
                # Not from context.rng, which differs from gate to gate: see the docstring.
                place = (int(pool.book.interval[first]) + (1 << 31), int(pool.book.zone[first]) + (1 << 31))
                rng = np.random.default_rng([self.seed, *place])
                share, error = sampled_shares(game, self.samples, rng)
                sampled += 1
            rows = np.searchsorted(members, game.members)
            mean[rows] += share
            variance[rows] += error**2
            shares.append(whole_shares(game.worth, share))
        return None, shared_out(pool, shares, _report(sampled, mean, variance))


@mechanism(
    "asymptotic-shapley",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, UNIFORM_PRICE, IN_CORE, SEPARABLE, EXACT},
    source="Lee et al. 2014, doi:10.1109/JSAC.2014.2332131; Aumann 1975, Econometrica 43(4)",
    when=METERED,
)
@dataclass(frozen=True)
class AsymptoticShapley:
    """One price, to which the Shapley value leads when members are many and small.

    A member who joins a large random part of the community meets the same shortage as in the whole. With more supply
    than demand he therefore adds something only as a buyer: the price is the feed-in price f and buyers get the gain.
    With more demand it is the retail price r and sellers get it. If both are equal, the part is short of either with
    equal chance, and the price is half way, (r + f) / 2. With named limits it is the price that clears the market.
    """

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Share each interval's energy pro rata at the limiting price."""
        pool = pool_of(orders, context)
        if isinstance(pool, Reject):
            return None, Clearing.refuse(pool)
        return None, deal(pool.book, pool.starts, pool.fill, (pool.lowest + pool.highest) // 2)


def exact_shares(game: Game) -> Floats | None:
    """Return the Shapley value of each member, or None where the coalitions are too many to list.

    What a member makes by himself is his. Members who bring nothing else are left out, and members who bring the same
    are counted instead of told apart.
    """
    shares: Floats = game.alone.astype(float)
    if game.additive:
        return shares
    kinds, kind, count = game.types()
    plays = kinds.any(axis=1)
    number = float(np.prod(count[plays] + 1.0))
    if number > 2**SUBSETS_MAX or int(count[plays].sum()) > ALIKE_MAX:
        return None
    of_kind = np.zeros(count.size)
    if plays.any():
        gain = np.ascontiguousarray(kinds[plays])
        of_kind[plays] = _shapley_of_types(coalition_values(gain, count[plays]), count[plays])
    return shares + of_kind[kind]


@kernel("r8 r8")
def _shapley_of_types(value: Any, count: Any) -> Any:
    """Return the Shapley value of a member of each type from the worth of all coalitions (see `coalition_values`).

    A coalition of c[m] members of each type m stands for prod C(count[m], c[m]) coalitions of the same worth.
    """
    kinds, members = count.size, np.int64(0)
    stride = np.ones(kinds + 1, np.int64)
    for kind in range(kinds):
        stride[kind + 1] = stride[kind] * (count[kind] + 1)
        members += count[kind]
    ways = np.ones(members)  # C(members - 1, size)
    for size in range(1, members):
        ways[size] = ways[size - 1] * (members - size) / size
    table = np.ones((kinds, members + 1))  # C(count, holds)
    for kind in range(kinds):
        for size in range(1, count[kind] + 1):
            table[kind, size] = table[kind, size - 1] * (count[kind] - size + 1) / size
    holds, share = np.zeros(kinds, np.int64), np.zeros(kinds)
    for state in range(value.size - 1):
        size, weight = 0, 1.0
        for kind in range(kinds):
            holds[kind] = (state // stride[kind]) % (count[kind] + 1)
            size += holds[kind]
            weight *= table[kind, holds[kind]]
        weight /= members * ways[size]
        for kind in range(kinds):
            if holds[kind] < count[kind]:
                without = weight * (count[kind] - holds[kind]) / count[kind]
                share[kind] += without * (value[state + stride[kind]] - value[state])
    return share


def sampled_shares(game: Game, samples: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return an estimate of the Shapley value of each member and its standard error.

    A random coalition S with chance t of joining tells for every member at once what he adds to the others in S; its
    complement does so for 1 - t. t runs through equal strata of [0, 1/2]. What a member makes by himself is his; the
    estimates of the rest are scaled to sum to the rest of the gain and averaged over equal members. The error comes
    from the scatter of `REPEATS` independent repetitions.
    """
    strata, size = samples // (2 * REPEATS), game.members.size
    step = (1 << (BITS - 1)) / strata
    level = ((np.arange(strata) + rng.random((REPEATS, strata))) * step).astype(np.int64).reshape(-1)
    draw = rng.integers(0, 1 << BITS, (level.size, size), dtype=np.int32)
    kinds, kind, count = game.types()
    found = _added(np.ascontiguousarray(kinds[kind]), draw, level, REPEATS) / samples * REPEATS
    if count.size < size:
        pooled = np.zeros((count.size, REPEATS))
        np.add.at(pooled, kind, found.T)
        found = (pooled.T / count)[:, kind]
    mean = found.mean(axis=0)
    whole = float(mean.sum())
    scatter = found - mean / whole * found.sum(axis=1, keepdims=True)
    error = np.sqrt((scatter**2).sum(axis=0) / (REPEATS * (REPEATS - 1)))
    scale = (game.worth - int(game.alone.sum())) / whole
    return game.alone + mean * scale, error * scale


@kernel("r82 r42 r8 i")
def _added(gain: Any, draw: Any, level: Any, repeats: Any) -> Any:
    """Sum up what each member adds to the coalition of each draw and to its complement, by repetition."""
    size, prices = gain.shape
    added, inside, outside = np.zeros((repeats, size)), np.zeros(prices, np.int64), np.zeros(prices, np.int64)
    each = level.size // repeats
    for row in range(level.size):
        for price in range(prices):
            inside[price] = 0
            outside[price] = 0
        for member in range(size):
            if draw[row, member] < level[row]:
                for price in range(prices):
                    inside[price] += gain[member, price]
            else:
                for price in range(prices):
                    outside[price] += gain[member, price]
        one, other = inside.min(), outside.min()
        for member in range(size):
            with_him, without = one, other
            if draw[row, member] < level[row]:
                left, joined = inside[0] - gain[member, 0], outside[0] + gain[member, 0]
                for price in range(1, prices):
                    left = min(left, inside[price] - gain[member, price])
                    joined = min(joined, outside[price] + gain[member, price])
            else:
                with_him, without = other, one
                left, joined = outside[0] - gain[member, 0], inside[0] + gain[member, 0]
                for price in range(1, prices):
                    left = min(left, outside[price] - gain[member, price])
                    joined = min(joined, inside[price] + gain[member, price])
            added[row // each, member] += np.float64(with_him - left) + np.float64(joined - without)
    return added


def _report(sampled: int, mean: Floats, variance: Floats) -> dict[str, float]:
    """Say how well the shares of the whole gate are known, in per cent of the mean share."""
    if sampled == 0 or not mean.sum() > 0:
        return {"groups sampled": 0.0}
    percent = 100.0 / float(mean.mean())
    return {
        "groups sampled": float(sampled),
        "standard error, % of mean share": percent * float(np.sqrt(variance.mean())),
        "largest standard error, % of mean share": percent * float(np.sqrt(variance.max())),
    }
