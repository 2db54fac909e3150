"""The loop over blocks of intervals: what happens in the world, told to the engine as events.

A simulation, a month of meter files and a live market differ only in where these events come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from wattle.agents.cohort import Cohort, FixedLimits, View
from wattle.core.messages import Call
from wattle.core.tables import FIRST_MEMBER, Readings, Trades
from wattle.core.timegrid import TimeGrid
from wattle.engine.engine import Engine, Rules
from wattle.engine.events import (
    Cleared,
    Effect,
    Event,
    GateClosed,
    GateOpened,
    IntervalsEnded,
    MembersJoined,
    OrdersCancelled,
    OrdersSubmitted,
    ReadingsReceived,
    TariffPublished,
)
from wattle.engine.gate import Product
from wattle.ledger.fees import LOCAL_KWH, net_tariff, ticks_on
from wattle.market.mechanism import ANSWERS, MECHANISMS
from wattle.runtime.rounds import followers, negotiators, round_events, signers
from wattle.runtime.world import World

ROWS_PER_BLOCK = 100_000
"""Readings in a block: enough to keep the kernels busy, few enough to stay in the processor's cache."""

Progress = Callable[[int, int], None]
"""Called with intervals done and intervals in all."""


def block_length(grid: TimeGrid, members: int, products: tuple[Product, ...]) -> int:
    """Return how many intervals go into one block.

    Usually whole days, as many as keep the kernels busy. One day if a rule before delivery looks across intervals: its
    gate covers a day, as day-ahead markets do. All of them if a rule after delivery does.
    """
    day = max(1, 86_400 // grid.step_s)
    if not all(product.separable for product in products if product.metered):
        return grid.count
    if not all(product.separable for product in products):
        return min(day, grid.count)
    return min(max(1, ROWS_PER_BLOCK // (max(members, 1) * day)) * day, grid.count)


def world_events(
    world: World, products: tuple[Product, ...], cohort: Cohort, length: int, answered: list[Effect] | None = None
) -> Iterator[Event]:
    """Yield every event of a run in order; orders come in one batch for each gate.

    Rules that ask the members again need to be heard: whoever handles an event puts its effects, and no others, into
    `answered` before the next.
    """
    yield from opening_events(world)
    for first in range(0, world.grid.count, length):
        stop = min(first + length, world.grid.count)
        yield from block_events(world, products, cohort, world.net[first:stop], first, answered)


def opening_events(world: World) -> Iterator[Event]:
    """Yield what comes before the first block: the members and the utility's prices."""
    yield MembersJoined(world.grid.start_s, tuple(int(who) for who in world.participants))
    yield TariffPublished(world.grid.start_s, 0, world.tariff.retail, world.tariff.feed_in)


def block_events(
    world: World,
    products: tuple[Product, ...],
    cohort: Cohort,
    net: NDArray[Any],
    first: int,
    answered: list[Effect] | None = None,
) -> Iterator[Event]:
    """Yield the events of the intervals from `first` on with the readings `net` [T, N].

    Products trade in the order of the scenario, and each sees what the ones before it left over.
    """
    stop = first + net.shape[0]
    before, after = world.grid.second(first), world.grid.second(stop)
    heard: list[Effect] = [] if answered is None else answered
    gates = [product for product in products if not product.metered]
    expected = net
    for product in gates:
        members = members_for(product, world, cohort)
        traded: list[Trades] = []
        for event in round_events(product.name, first, stop, [members], [View(expected)], heard, before):
            yield event
            if product is not gates[-1]:
                traded += [effect.trades for effect in heard if isinstance(effect, Cleared)]
        expected = left_over(expected, first, traded)
    yield ReadingsReceived(after, readings_of(world, net, first))
    yield IntervalsEnded(after, first, stop)


def replay_block(
    world: World, products: tuple[Product, ...], seed: int, interval: int
) -> Iterator[tuple[Event, list[Effect]]]:
    """Trade and settle the block of an interval again in a fresh engine; yield each event with its effects."""
    length = block_length(world.grid, len(world.members), products)
    first = interval // length * length
    engine, heard, cohort = start(world, products, seed), list[Effect](), cohort_of(world)
    for event in chain(opening_events(world), _earlier_gates(world, products, cohort, length, first)):
        engine.handle(event)
    for event in block_events(world, products, cohort, world.net[first : first + length], first, heard):
        heard[:] = engine.handle(event)
        yield event, list(heard)


def _earlier_gates(
    world: World, products: tuple[Product, ...], cohort: Cohort, length: int, until: int
) -> Iterator[Event]:
    """Yield gates whose orders come and go again, so that gates and orders are numbered as they were the first time.

    Chance depends on these numbers, and on nothing else that happened earlier.
    """
    count = 0
    for first in range(0, until, length):
        stop = first + length
        for product in products:
            if product.metered or product.continuous:  # on arrival orders would trade at once, and nothing is drawn
                continue
            orders = cohort.respond(Call(product.name, first, stop), View(world.net[first:stop].astype(np.int64)))
            yield GateOpened(0, product.name, first, stop)
            yield OrdersSubmitted(0, product.name, orders)
            yield OrdersCancelled(0, product.name, tuple(range(count, count + len(orders))))
            yield GateClosed(0, product.name)
            count += len(orders)


def left_over(expected: NDArray[Any], first: int, traded: list[Trades]) -> NDArray[Any]:
    """Return the expected energy [T, N] less what was traded: bought lots are no longer needed, sold ones are gone."""
    if not any(len(trades) for trades in traded):
        return expected
    left = expected.astype(np.int64)
    for trades in traded:
        for who, sign in ((trades.buyer, -1), (trades.seller, 1)):
            mine = who >= FIRST_MEMBER
            np.add.at(left, (trades.interval[mine] - first, who[mine] - FIRST_MEMBER), sign * trades.quantity[mine])
    return left


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
    rules = Rules(products, world.charges, seed, 1, correctable, world.profiles, world.preferences)
    return Engine(rules, len(world.members))


def members_for(product: Product, world: World, cohort: Cohort) -> Cohort:
    """Return the members as this rule needs them.

    A negotiation that names a `penalty` needs curves, a network of contracts in `block_lots` needs members who choose
    bundles; another rule that asks at prices gets the curve that the scenario names; all others get limits.
    """
    penalty = getattr(product.mechanism, "penalty", None)
    if penalty is not None:
        return negotiators(world.participants, world.limits["buy"], world.limits["sell"], world.most, float(penalty))
    block_lots = getattr(product.mechanism, "block_lots", None)
    if block_lots is not None:
        return signers(world.participants, world.tariff, int(block_lots), ticks_on(world.charges, LOCAL_KWH))
    asks = any(entry.bids == ANSWERS for entry in MECHANISMS if entry.cls is type(product.mechanism))
    if asks and world.curve == "logarithmic":
        outside = net_tariff(world.tariff, world.charges)
        return followers(world.participants, world.limits["buy"], world.most, outside)
    return cohort


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
