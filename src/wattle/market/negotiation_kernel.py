"""Consensus ADMM of a bilateral market as one compiled loop over a partner graph in compressed rows.

Every edge joins a buyer and a seller and holds two numbers: `middle`, the quantity on which both sides should agree,
and `force`, its multiplier divided by the penalty (the price of the edge is penalty x force). A round: each side of
each edge says what it wants given both; the answers pull the edge. The update is an averaged (Douglas-Rachford) step,
so that it may be over-relaxed, and so that it still converges when at random some answers are lost: an edge whose
answer is missing keeps its half of the state (Combettes and Pesquet 2015, random coordinates).

A member's answer needs no solver. With marginal value m = b - a Q the wanted quantity of an edge is
max(0, centre + (m - cost) / penalty); the sum over his edges must be Q, a piecewise linear equation in m, and Newton
steps end at its root exactly, because they move from one set of active edges to a smaller one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import ensure
from wattle.core.columns import I64
from wattle.core.compiled import kernel

ROUND, PRIMAL, DUAL, PENALTY, CONVERGED = 0, 1, 2, 3, 4
"""Places in the status that `negotiate` writes."""


@kernel("i i rf rf wf f f f f wf i")
def answer_row(
    first: Any, stop: Any, centre: Any, cost: Any, wanted: Any,
    a: Any, b: Any, most: Any, penalty: Any, marginal: Any, row: Any,
) -> Any:  # fmt: skip
    """Write what one member wants on his edges first ... stop - 1; `marginal[row]` is where the search begins and ends.

    Maximises b Q - a Q^2 / 2 - sum(cost x) - penalty / 2 sum((x - centre)^2) with Q = sum(x) <= most and x >= 0.
    """
    m, inverse, count_before = marginal[row], 1.0 / penalty, -1
    level, slope, capped = b / a, 1.0 / a, False
    for _ in range(100):  # a handful; the limit guards against an edge that flickers in its last bit
        count, fixed = 0, 0.0
        for edge in range(first, stop):
            start = centre[edge] - cost[edge] * inverse
            if start + m * inverse > 0.0:
                count += 1
                fixed += start
        if count == count_before:
            if capped or (b - m) * slope <= most:
                break
            # The wanted sum is more than allowed: the same search with a fixed sum.
            level, slope, capped = most, 0.0, True
        count_before = count
        if count == 0:
            if capped:
                break
            m = b
        else:
            m = (level - fixed) / (count * inverse + slope)
    marginal[row] = m
    for edge in range(first, stop):
        start = centre[edge] - cost[edge] * inverse + m * inverse
        wanted[edge] = start if start > 0.0 else 0.0


@kernel("w8 i")
def is_lost(seeds: Any, per_mille: Any) -> Any:
    """Tell whether the next message is lost; a linear congruence in `seeds[0]`, the same on every machine."""
    seeds[0] = (seeds[0] * 1103515245 + 12345) & 0x7FFFFFFF
    return (seeds[0] >> 8) * 1000 >> 23 < per_mille


@kernel("r8 r8 r8 rf rf rf rf rf wf wf wf wf f f f i i i wf")
def negotiate(
    buyer_starts: Any, seller_starts: Any, seller_edge: Any, buyer_cost: Any, seller_cost: Any,
    a: Any, b: Any, most: Any, bought: Any, sold: Any, force: Any, middle: Any,
    penalty: Any, relaxation: Any, tolerance: Any, rounds_max: Any, lost_per_mille: Any, seed: Any, status: Any,
) -> Any:  # fmt: skip
    """Negotiate until both residuals are small; edges stand in the order of their buyers.

    `seller_edge` lists the edges of each seller; `a`, `b`, `most` hold the buyers first, then the sellers, every one
    of them as a maximiser of b Q - a Q^2 / 2 (a seller's b is minus his marginal cost at 0). Writes quantities, force
    and middle, and the status.
    """
    edges = force.size
    marginal = b.copy()
    centre, wanted = np.zeros(edges), np.zeros(edges)
    seeds = np.full(1, seed, np.int64)
    since, pause = 0, 10
    for round_number in range(1, rounds_max + 1):
        _answer_all(
            buyer_starts, seller_starts, seller_edge, buyer_cost, seller_cost, a, b, most,
            bought, sold, force, middle, penalty, centre, wanted, marginal,
        )  # fmt: skip
        gap, moved, flow, push = _pull(bought, sold, force, middle, relaxation, lost_per_mille, seeds)
        status[ROUND], status[PENALTY] = round_number, penalty
        status[PRIMAL] = gap / max(flow, 1e-300)
        status[DUAL] = moved / max(push, 1e-300)  # both carry the penalty, so it cancels
        if status[PRIMAL] <= tolerance and status[DUAL] <= tolerance:
            status[CONVERGED] = 1.0
            return
        since += 1
        if since < pause:
            continue
        # A penalty that balances the residuals; the pauses grow, so that it comes to rest.
        factor = min(4.0, max(0.25, np.sqrt(status[PRIMAL] / max(status[DUAL], 1e-300))))
        if factor > 1.3 or factor < 0.77:
            penalty *= factor
            force /= factor
            pause = min(pause + pause // 4 + 1, 400)
        since = 0


@kernel("r8 r8 r8 rf rf rf rf rf wf wf rf rf f wf wf wf")
def _answer_all(
    buyer_starts: Any, seller_starts: Any, seller_edge: Any, buyer_cost: Any, seller_cost: Any,
    a: Any, b: Any, most: Any, bought: Any, sold: Any, force: Any, middle: Any,
    penalty: Any, centre: Any, wanted: Any, marginal: Any,
) -> Any:  # fmt: skip
    """Write what all buyers and then all sellers want on each edge; `centre` and `wanted` are scratch."""
    buyers, sellers = buyer_starts.size - 1, seller_starts.size - 1
    for edge in range(middle.size):
        centre[edge] = middle[edge] - force[edge]
    for row in range(buyers):
        answer_row(
            buyer_starts[row], buyer_starts[row + 1], centre, buyer_cost, bought,
            a[row], b[row], most[row], penalty, marginal, row,
        )  # fmt: skip
    for place in range(middle.size):
        centre[place] = middle[seller_edge[place]] + force[seller_edge[place]]
    for seller in range(sellers):
        row = buyers + seller
        answer_row(
            seller_starts[seller], seller_starts[seller + 1], centre, seller_cost, wanted,
            a[row], b[row], most[row], penalty, marginal, row,
        )  # fmt: skip
    for place in range(middle.size):
        sold[seller_edge[place]] = wanted[place]


@kernel("rf rf wf wf f i w8")
def _pull(bought: Any, sold: Any, force: Any, middle: Any, relaxation: Any, lost: Any, seeds: Any) -> Any:
    """Move each edge by the answers that arrived; return the sizes of mismatch, move, flow and force."""
    gap, moved, bought_sum, sold_sum, push = 0.0, 0.0, 0.0, 0.0, 0.0
    for edge in range(middle.size):
        by_buyer, by_seller = relaxation * (bought[edge] - middle[edge]), relaxation * (sold[edge] - middle[edge])
        difference = bought[edge] - sold[edge]
        gap += difference * difference
        bought_sum += bought[edge] * bought[edge]
        sold_sum += sold[edge] * sold[edge]
        step = 0.5 * (bought[edge] + sold[edge]) - middle[edge]
        moved += step * step
        if lost > 0:
            if is_lost(seeds, lost):
                by_buyer = 0.0
            if is_lost(seeds, lost):
                by_seller = 0.0
        middle[edge] += 0.5 * (by_buyer + by_seller)
        force[edge] += 0.5 * (by_buyer - by_seller)
        push += force[edge] * force[edge]
    return np.sqrt(gap), np.sqrt(moved), np.sqrt(max(bought_sum, sold_sum)), np.sqrt(push)


@dataclass(frozen=True, eq=False)
class Curves:
    """Quadratic curves of members [N]: a buyer's lot is worth b - a Q, a seller's costs b + a Q, up to `most` lots."""

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    most: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Agreement:
    """What partners agreed on: quantity and price of each edge [E], and how near to the optimum that is.

    `gap` is (bound - welfare) / bound, with the dual bound at these prices: no central planner can gain more than that.
    """

    quantity: NDArray[np.float64]
    price: NDArray[np.float64]
    welfare: float
    gap: float
    rounds: int
    primal: float
    dual: float
    converged: bool


def solve_bilateral(
    buyers: Curves,
    sellers: Curves,
    buyer: I64,
    seller: I64,
    buyer_cost: NDArray[np.float64],
    seller_cost: NDArray[np.float64],
    *,
    tolerance: float = 1e-4,
    gap: float = 1e-3,
    rounds_max: int = 20_000,
    penalty: float = 0.1,
    relaxation: float = 1.6,
    lost_per_mille: int = 0,
    seed: int = 1,
    step: Callable[..., Any] = negotiate,
) -> Agreement:
    """Negotiate over the edges buyer[e] - seller[e] [E] between members numbered from 0 on each side.

    `buyer_cost` and `seller_cost` are what an edge costs each side on a lot: his part of the grid charge less his
    premium for this partner. Stops when both relative residuals are below `tolerance` and the welfare gap below
    `gap`. With `lost_per_mille` so many of 1,000 answers are lost at random (`seed`), and the rounds go on.
    `step` may be the plain twin of the kernel.
    """
    order = np.lexsort((seller, buyer))
    buyer, seller = np.asarray(buyer, np.int64)[order], np.asarray(seller, np.int64)[order]
    by_seller = np.argsort(seller, kind="stable").astype(np.int64)
    costs = np.asarray(buyer_cost, np.float64)[order], np.asarray(seller_cost, np.float64)[order]
    sizes = buyers.b.size, sellers.b.size
    starts = [
        np.concatenate(([0], np.cumsum(np.bincount(who, minlength=size)))).astype(np.int64)
        for who, size in zip((buyer, seller), sizes, strict=True)
    ]
    a, most = np.concatenate((buyers.a, sellers.a)), np.concatenate((buyers.most, sellers.most))
    b = np.concatenate((buyers.b, -sellers.b))
    ensure(bool((a > 0).all()), "a curve is not strictly convex: every a must be above 0")
    bought, sold, force, middle = (np.zeros(buyer.size) for _ in range(4))
    status, done, found = np.zeros(8), 0, 1.0
    while done < rounds_max:
        status[CONVERGED] = 0.0
        step(
            *starts, by_seller, costs[0], costs[1][by_seller], a, b, most,
            bought, sold, force, middle, penalty, relaxation, tolerance,
            rounds_max - done, lost_per_mille, seed + done, status,
        )  # fmt: skip
        done, penalty = done + int(status[ROUND]), float(status[PENALTY])
        price = penalty * force
        quantity = np.minimum(bought, sold)
        welfare, bound = _welfare(a, b, most, sizes[0], buyer, seller, quantity, price, *costs)
        found = (bound - welfare) / max(abs(bound), 1e-300) if bound else 0.0
        if status[CONVERGED] and (found <= gap or tolerance < 1e-9):
            break
        tolerance = tolerance / 3 if status[CONVERGED] else tolerance
    back = np.empty_like(order)
    back[order] = np.arange(order.size)
    return Agreement(
        quantity[back], price[back], welfare, found, done,
        float(status[PRIMAL]), float(status[DUAL]), bool(status[CONVERGED]),
    )  # fmt: skip


def _welfare(
    a: NDArray[np.float64], b: NDArray[np.float64], most: NDArray[np.float64], buyers: int, buyer: I64, seller: I64,
    quantity: NDArray[np.float64], price: NDArray[np.float64],
    buyer_cost: NDArray[np.float64], seller_cost: NDArray[np.float64],
) -> tuple[float, float]:  # fmt: skip
    """Return the welfare of the quantities, and the dual bound: what all gain who freely buy and sell at the prices."""
    count = b.size
    member = np.concatenate((buyer, seller + buyers))
    total = np.bincount(member, np.concatenate((quantity, quantity)), count)
    welfare = float((b * total - a / 2 * total * total).sum() - ((buyer_cost + seller_cost) * quantity).sum())
    cheapest = np.full(count, np.inf)
    np.minimum.at(cheapest, member, np.concatenate((price + buyer_cost, seller_cost - price)))
    gain = np.where(np.isfinite(cheapest), b - cheapest, 0.0)
    best = np.clip(gain / a, 0.0, most)
    return welfare, float((gain * best - a / 2 * best * best).sum())
