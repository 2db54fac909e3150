"""Rounds of a gate: call the members, collect orders, close; while the rule asks, ask the members again.

A rule that needs no rounds clears at the first close, so every product before delivery can run through here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from wattle.agents.cohort import Cohort, View
from wattle.agents.contracts import ContractMembers
from wattle.agents.logarithmic import LogarithmicMembers
from wattle.agents.quadratic import QuadraticMembers
from wattle.core.columns import I32, I64
from wattle.core.messages import Call, Tariff
from wattle.engine.engine import Engine
from wattle.engine.events import Asked, Effect, Event, GateClosed, GateOpened, OrdersSubmitted


def round_events(
    product: str,
    first: int,
    stop: int,
    cohorts: Sequence[Cohort],
    views: Sequence[View],
    answered: list[Effect],
    at_s: int = 0,
) -> Iterator[Event]:
    """Yield the events of one gate in order. Whoever handles an event puts its effects into `answered` before the next.

    `views[n]` is what `cohorts[n]` may know. The generator ends when the rule has cleared.
    """
    yield GateOpened(at_s, product, first, stop)
    call = Call(product, first, stop)
    while True:
        for cohort, view in zip(cohorts, views, strict=True):
            yield OrdersSubmitted(at_s, product, cohort.respond(call, view))
        answered.clear()  # effects of earlier events are of no use here
        yield GateClosed(at_s, product)
        asked = next((effect for effect in answered if isinstance(effect, Asked)), None)
        if asked is None:
            return
        call = Call(product, first, stop, asked.round, asked.quotes)


def run_rounds(
    engine: Engine,
    product: str,
    first: int,
    stop: int,
    cohorts: Sequence[Cohort],
    views: Sequence[View],
    at_s: int = 0,
) -> list[Effect]:
    """Run one gate of a product from opening to clearing and return all effects."""
    found: list[Effect] = []
    answered: list[Effect] = []
    for event in round_events(product, first, stop, cohorts, views, answered, at_s):
        effects = engine.handle(event)
        answered.extend(effects)
        found.extend(effects)
    return found


def negotiators(members: I32, buy: I64, sell: I64, most: I64, penalty: float) -> QuadraticMembers:
    """Return members who can answer quotes, from their limits: the first lot is worth (or costs) the limit.

    The last of the `most` lots [N] that a member may ever trade is worth half as much, or costs half as much again;
    limits below one tick count as one. So curves are quadratic, and prices settle. `penalty` is that of the rule.
    """
    height = np.maximum(1, np.maximum(np.abs(buy), np.abs(sell))).astype(np.float64)
    a = height / (2 * np.maximum(1, most))
    return QuadraticMembers(members, a, buy.astype(np.float64), sell.astype(np.float64), penalty)


def followers(members: I32, limit: I64, most: I64, tariff: Tariff | None = None) -> LogarithmicMembers:
    """Return members whose answers change bit by bit with the price, from their limits [N] in ticks.

    The limit is what a lot is worth to a member who has half of the `most` lots [N] that he may ever trade; the first
    lot is worth half as much again, the last one three quarters. Nobody accepts less than the utility's `tariff` gives.
    """
    worth, room = np.maximum(1, limit).astype(np.float64), np.maximum(1, most).astype(np.float64)
    return LogarithmicMembers(members, 1.5 * worth * room, room, tariff)


def signers(members: I32, tariff: Tariff, block_lots: int, charge: int = 0) -> ContractMembers:
    """Return members who sign contracts of `block_lots` wherever these are better than the utility's `tariff`.

    `charge` ticks are due on each lot that is bought from another member, also where he cannot use it himself.
    """
    return ContractMembers(members, tariff, block_lots, charge=charge)
