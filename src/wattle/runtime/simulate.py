"""The loop over blocks of intervals: what happens in the world, told to the engine as events.

A simulation, a month of meter files and a live market differ only in where these events come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from wattle.agents.cohort import Cohort, FixedLimits, View
from wattle.core.tables import Readings
from wattle.core.timegrid import TimeGrid
from wattle.engine.engine import Engine, Rules
from wattle.engine.events import (
    Effect,
    Event,
    IntervalsEnded,
    MembersJoined,
    ReadingsReceived,
    TariffPublished,
)
from wattle.engine.gate import Product
from wattle.runtime.rounds import negotiators, round_events
from wattle.runtime.world import World

ROWS_PER_BLOCK = 100_000
"""Readings in a block: enough to keep the kernels busy, few enough to stay in the processor's cache."""

Progress = Callable[[int, int], None]
"""Called with intervals done and intervals in all."""


def block_length(grid: TimeGrid, members: int, products: tuple[Product, ...]) -> int:
    """Return how many intervals go into one block: whole days; all of them if a rule looks across intervals."""
    if not all(product.separable for product in products):
        return grid.count
    day = max(1, 86_400 // grid.step_s)
    return min(max(1, ROWS_PER_BLOCK // (max(members, 1) * day)) * day, grid.count)


def world_events(
    world: World, products: tuple[Product, ...], cohort: Cohort, length: int, answered: list[Effect] | None = None
) -> Iterator[Event]:
    """Yield every event of a run in order; orders come in one batch for each gate.

    Rules that ask the members again need to be heard: whoever handles an event puts its effects into `answered`.
    """
    yield MembersJoined(world.grid.start_s, tuple(int(who) for who in world.participants))
    yield TariffPublished(world.grid.start_s, 0, world.tariff.retail, world.tariff.feed_in)
    for first in range(0, world.grid.count, length):
        stop = min(first + length, world.grid.count)
        yield from block_events(world, products, cohort, world.net[first:stop], first, answered)


def block_events(
    world: World,
    products: tuple[Product, ...],
    cohort: Cohort,
    net: NDArray[Any],
    first: int,
    answered: list[Effect] | None = None,
) -> Iterator[Event]:
    """Yield the events of the intervals from `first` on with the readings `net` [T, N]."""
    stop = first + net.shape[0]
    before, after = world.grid.second(first), world.grid.second(stop)
    for product in products:
        if product.metered:
            continue
        members = members_for(product, world, cohort)
        heard = [] if answered is None else answered
        yield from round_events(product.name, first, stop, [members], [View(net)], heard, before)
    yield ReadingsReceived(after, readings_of(world, net, first))
    yield IntervalsEnded(after, first, stop)


def readings_of(world: World, net: NDArray[Any], first: int) -> Readings:
    """Return readings [T, N] as a table, interval by interval."""
    count, members = net.shape
    return Readings(
        interval=np.repeat(np.arange(first, first + count, dtype=np.int32), members),
        participant=np.tile(world.participants, count),
        energy=np.ascontiguousarray(net).reshape(-1).astype(np.int64),
    )


def start(world: World, products: tuple[Product, ...], seed: int, correctable: int = 0) -> Engine:
    """Return a fresh engine for this world; `correctable` intervals stay open for corrections."""
    return Engine(Rules(products, world.charges, seed, 1, correctable), len(world.members))


def members_for(product: Product, world: World, cohort: Cohort) -> Cohort:
    """Return the members as this rule needs them: a negotiation asks for curves, all others for limits."""
    penalty = getattr(product.mechanism, "penalty", None)
    if penalty is None:
        return cohort
    most = np.abs(world.net).max(axis=0).astype(np.int64)
    return negotiators(world.participants, world.limits["buy"], world.limits["sell"], most, float(penalty))


def cohort_of(world: World) -> FixedLimits:
    """Return all members of the world as one cohort with their drawn limits."""
    return FixedLimits(world.participants, world.limits["buy"], world.limits["sell"])


def simulate(
    world: World,
    products: tuple[Product, ...],
    seed: int,
    observe: Callable[[list[Effect]], None],
    progress: Progress | None = None,
) -> Engine:
    """Run the world through one engine; `observe` gets the effects of each event."""
    engine = start(world, products, seed)
    length = block_length(world.grid, len(world.members), products)
    answered: list[Effect] = []
    for event in world_events(world, products, cohort_of(world), length, answered):
        effects = engine.handle(event)
        answered[:] = effects  # of this event only, so that a year fits into little memory
        observe(effects)
        if progress is not None and isinstance(event, IntervalsEnded):
            progress(event.stop, world.grid.count)
    return engine


def months(grid: TimeGrid, timezone: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the number of the local calendar month of each interval [T] and the months' names like 2016-06."""
    zone = ZoneInfo(timezone)
    starts: list[int] = []
    names: list[str] = []
    moment = datetime.fromtimestamp(grid.start_s, zone)
    year, month = moment.year, moment.month
    while not starts or starts[-1] < grid.stop_s:
        starts.append(int(datetime(year, month, 1, tzinfo=zone).timestamp()))
        names.append(f"{year:04d}-{month:02d}")
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    seconds = grid.start_s + grid.step_s * np.arange(grid.count)
    number = np.searchsorted(np.array(starts), seconds, side="right") - 1
    used = int(number.max(initial=0)) + 1
    return number.astype(np.int64), tuple(names[:used])
