"""Effects from results: what the engine tells the world after an event."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject
from wattle.core.messages import Clearing
from wattle.engine import events as ev
from wattle.engine.gate import Gate, Product
from wattle.engine.live import Step
from wattle.engine.settlement import Block, Settlement
from wattle.ledger.postings import Postings


def rejections(codes: NDArray[np.int64]) -> list[ev.Effect]:
    """Tell which rows of an event were refused; 0 stands for those that were not."""
    rows = np.flatnonzero(codes)
    return [ev.Rejected(rows, tuple(Reject(int(code)) for code in codes[rows]))] if rows.size else []


def happened(gate: Gate, product: Product, step: Step) -> list[ev.Effect]:
    """Tell what an event in a trading gate led to; the published prices come at its closure."""
    clearing, found = step.clearing, list[ev.Effect]()
    if len(clearing.trades) or len(clearing.transfers):
        found.append(cleared(product.name, gate.first, gate.stop, clearing))
    return [*found, *dropped(product.name, step)]


def dropped(name: str, step: Step) -> list[ev.Effect]:
    """Tell which lots dropped out of a book."""
    return [ev.Dropped(name, step.ids, step.dropped)] if step.ids.size else []


def cleared(name: str, first: int, stop: int, clearing: Clearing) -> ev.Cleared:
    """Tell what a clearing came to."""
    return ev.Cleared(
        name, first, stop, clearing.trades, clearing.prices, clearing.transfers, clearing.report, clearing.refused
    )


def settled(
    block: Block, settlement: Settlement, postings: Postings, lines: NDArray[np.int64], revision: int
) -> ev.Settled:
    """Tell what was booked for a block."""
    return ev.Settled(
        block.first, block.stop, settlement.local, settlement.utility, settlement.prices, postings, lines, revision
    )
