"""A year of many members: clearing, double entry, statements. One process, so that its memory can be measured.

Usage: python -m benchmarks.year MECHANISM MEMBERS INTERVALS
Prints seconds of the run, seconds of the reference, peak memory in MB.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from wattle.agents.cohort import drawn_limits
from wattle.assets.profile import scaled_members
from wattle.core.messages import Tariff
from wattle.core.tables import FIRST_MEMBER
from wattle.core.timegrid import TimeGrid
from wattle.core.units import Units
from wattle.engine.gate import Product
from wattle.ledger.statement import rounded
from wattle.market.mechanism import MECHANISMS, Claim
from wattle.runtime.collect import Collector
from wattle.runtime.simulate import months, simulate
from wattle.runtime.world import World
from wattle.scenario.plugins import load_mechanisms
from wattle.scenario.village import base_curves


def world_of(members: int, intervals: int) -> World:
    """Return a village of scaled, diversified members: every third has sun on the roof."""
    load_curves, sun_curves, day_kinds = base_curves()
    net = scaled_members(load_curves, day_kinds, members, 1).copy()
    sun = sun_curves.astype(np.int64)
    for member in range(0, members, 3):
        yearly_wh = 3_000_000 + 1_000 * member
        curve = sun[:, member % sun.shape[1]]
        net[:, member] -= np.diff(np.rint(np.cumsum(curve) * (yearly_wh / curve.sum())), prepend=0).astype(np.int32)
    limits = drawn_limits(members, 800, 3_000, 1)
    nothing = np.zeros(members, np.int64)
    return World(
        grid=TimeGrid(1_451_602_800, 900, intervals), timezone="Etc/GMT-1", units=Units.parse("1", "0.0001"),
        members=tuple(f"home-{number}" for number in range(members)), kinds=("household",) * members, facts={},
        net=net[-intervals:], load=np.zeros(intervals, np.int64), sun=np.zeros(intervals, np.int64), demand=nothing,
        generation=nothing, tariff=Tariff.flat(3_000, 800, intervals), charges=(),
        limits={"buy": limits, "sell": limits},
    )  # fmt: skip


def bills(collector: Collector, world: World) -> int:
    """Round the bills of all months; returns how many statements were made."""
    made = 0
    for period in collector.lines:
        totals = rounded(period[1].sum(axis=0), world.units.cash)
        made += totals.size - FIRST_MEMBER
    return made


def reference(net: np.ndarray) -> float:
    """Return the seconds that plain NumPy needs for the pool sums and pro-rata shares alone, in floats."""
    began = time.perf_counter()
    for first in range(0, net.shape[0], 96):
        part = net[first : first + 96].astype(np.float64)
        need, spare = np.maximum(part, 0), np.maximum(-part, 0)
        pool = np.minimum(need.sum(axis=1), spare.sum(axis=1))
        need *= (pool / np.maximum(need.sum(axis=1), 1))[:, None]
        spare *= (pool / np.maximum(spare.sum(axis=1), 1))[:, None]
    return time.perf_counter() - began


def main() -> None:
    """Measure one rule."""
    name, members, intervals = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    load_mechanisms()
    entry = MECHANISMS[name]
    products = (Product(name, entry.build(), entry.when, separable=Claim.SEPARABLE in entry.claims),)
    world = world_of(members, intervals)
    short = world_of(members, 96)
    simulate(short, products, 0, lambda effects: None)  # compiled kernels are loaded before the clock starts
    began = time.perf_counter()
    number, _ = months(world.grid, world.timezone)
    collector = Collector(number, FIRST_MEMBER + members)
    simulate(world, products, 0, collector.take)
    statements = bills(collector, world)
    seconds = time.perf_counter() - began
    if collector.closing_errors() != (0, 0):
        raise SystemExit("the year does not close")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{seconds:.3f} {reference(world.net):.3f} {peak:.0f} {statements}")


if __name__ == "__main__":
    main()
