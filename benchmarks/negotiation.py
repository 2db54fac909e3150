"""Bilateral negotiation at size: seconds to primal and dual residuals of 1e-4 and a welfare gap below 0.1 %."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from wattle.market.negotiation import Curves, solve_bilateral

ROW = tuple[str, str, str, str, str]


def market(buyers: int, sellers: int, degree: int | None, seed: int = 1) -> tuple[Any, ...]:
    """Return curves, edges and costs: a complete graph, or `degree` partners for each member."""
    rng = np.random.default_rng(seed)
    if degree is None:
        buyer, seller = np.repeat(np.arange(buyers), sellers), np.tile(np.arange(sellers), buyers)
    else:
        # Each round pairs every buyer with another seller, so everybody has exactly `degree` partners.
        shift = rng.choice(sellers, degree, replace=False)
        mixed = rng.permutation(sellers)
        buyer = np.repeat(np.arange(buyers), degree)
        seller = mixed[(np.arange(buyers)[:, None] + shift[None, :]) % sellers].ravel()
    curves = [
        Curves(rng.uniform(0.02, 0.1, size), rng.uniform(*first, size), rng.uniform(50, 400, size))
        for size, first in ((buyers, (10, 30)), (sellers, (2, 12)))
    ]
    grid = rng.uniform(0, 2, buyer.size) / 2
    return (*curves, buyer, seller, grid, grid)


def negotiations(quick: bool) -> list[ROW]:
    """Rows for the table: name, figure, ratio, reference, bar."""
    rows: list[ROW] = []
    solve_bilateral(*market(5, 5, None))  # compiles
    sizes = ((100, 100, None), (500, 500, 20)) if quick else ((500, 500, None), (2500, 2500, 20))
    for buyers, sellers, degree in sizes:
        game = market(buyers, sellers, degree)
        began = time.process_time()
        found = solve_bilateral(*game)
        seconds = time.process_time() - began
        # The reference: what NumPy needs to read and write one number per edge and side, as often as there were rounds.
        column = np.ones(2 * game[2].size)
        began = time.process_time()
        for _ in range(20):
            column = np.sqrt(column + 1.0)
        reference = (time.process_time() - began) / 20 * found.rounds
        graph = "every buyer with every seller" if degree is None else f"{degree} partners each"
        name = f"negotiation of {buyers + sellers:,} members, {graph}"
        figure = f"{seconds:.2f} s CPU, {found.rounds} rounds, gap {found.gap:.1e}"
        ratio = f"{seconds / max(reference, 1e-9):.1f}"
        rows.append((name, figure, ratio, "NumPy: one square root per edge, side and round", "<= 10 s"))
    return rows


if __name__ == "__main__":
    for row in negotiations(quick=False):
        print(" | ".join(row))
