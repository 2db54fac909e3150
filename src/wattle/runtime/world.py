"""The world of a run: members, their metered energy, prices. From the sample village or from the user's own files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wattle.agents.cohort import drawn_limits
from wattle.core.checks import InputError
from wattle.core.columns import I64
from wattle.core.messages import Tariff
from wattle.core.tables import FIRST_MEMBER, SOURCES, Preferences, Profiles
from wattle.core.timegrid import TimeGrid
from wattle.core.units import Units
from wattle.engine.gate import Product
from wattle.ledger.fees import Charge
from wattle.scenario.build import charges_of, limit_range, preferences_of, product_of, tariff_of, units_of
from wattle.scenario.schema import ProductSection, Scenario

if TYPE_CHECKING:
    from wattle.scenario.village import Village

VILLAGE_NOTES = (
    "The village is the SimBench low-voltage grid 1-LV-rural3--2-sw with its year 2016 of quarter-hours "
    "(database licence ODbL-1.0; Meinecke et al. 2020, doi:10.3390/en13123290). It stands for a typical village and "
    "is no real place.",
    "SimBench's homes share five household curves and four sun curves. Trading between copies would mean nothing, so "
    "each home takes each day from a like day (same kind of day, within two weeks), shifted by up to an hour, its "
    "yearly energy kept; sun plants differ a little in orientation. The seed is fixed.",
    "Batteries store a home's own surplus and serve its own need, nothing else.",
    "Members behave the same under every rule: they neither shift load nor speculate. Forecasts are perfect: before "
    "delivery each member orders what its meter will read.",
)


@dataclass(frozen=True, eq=False)
class World:
    """Members and what their meters say. T intervals, N members; energy in lots, positive is consumption.

    `demand` and `generation` are what stands behind the meters where that is known, else bought and fed-in energy.
    """

    grid: TimeGrid
    timezone: str
    units: Units
    members: tuple[str, ...]
    kinds: tuple[str, ...]
    facts: Mapping[str, tuple[bool, ...]]
    net: NDArray[np.int32] | NDArray[np.int64]  # [T, N] readings
    load: I64  # [T]
    sun: I64  # [T]
    demand: I64  # [N]
    generation: I64  # [N]
    tariff: Tariff
    charges: tuple[Charge, ...]
    limits: Mapping[str, I64]  # "buy", "sell" -> [N] ticks
    notes: tuple[str, ...] = ()
    curve: str = "fixed"  # how members answer rules that ask at prices, see `scenario.schema.LimitsSection`
    profiles: Profiles = field(default_factory=Profiles.empty)
    preferences: Preferences = field(default_factory=Preferences.empty)
    behind: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # "load", "sun" -> [T, N] where known
    listed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # "shares", "ranks" -> member -> value

    def part(self, count: int) -> World:
        """Return the first `count` intervals."""
        count = min(count, self.grid.count)
        tariff = Tariff(0, self.tariff.retail[:count], self.tariff.feed_in[:count])
        return replace(self, grid=self.grid.part(0, count), net=self.net[:count], tariff=tariff)

    def product(self, part: ProductSection) -> Product:
        """Build a product of a scenario for these members."""
        return product_of(part, self.units, self.members, self.demand, self.listed)

    @property
    def participants(self) -> NDArray[np.int32]:
        """Participant numbers of the members."""
        return np.arange(FIRST_MEMBER, FIRST_MEMBER + len(self.members), dtype=np.int32)

    @cached_property  # asked for in every block, and a year of readings is long
    def most(self) -> I64:
        """The most that each member ever needs or spares in an interval, in lots [N]."""
        found: I64 = np.maximum(self.net.max(axis=0), -self.net.min(axis=0)).astype(np.int64)
        return found


def build_world(scenario: Scenario, folder: Path) -> World:
    """Read the members and readings of a scenario; `folder` is where its file names are looked up."""
    if scenario.members.source == "village":
        return _village(scenario)
    from wattle.runtime.folder import files_world

    return files_world(scenario, folder)


def _village(scenario: Scenario) -> World:
    from wattle.scenario.village import load_village

    part = scenario.members
    village = load_village(homes=part.homes, days=part.days, seed=part.seed)
    units = units_of(scenario)
    scale = 1 / units.lot_wh
    if scale.denominator != 1:
        raise InputError(f"units.lot_wh is {units.lot_wh}, expected 1 or a part of 1: the village is metered in Wh")
    factor = int(scale)
    count = village.net_wh.shape[0]
    charges = charges_of(scenario, units)
    demand = village.load_wh.sum(axis=0, dtype=np.int64) * factor
    generation = village.sun_wh.sum(axis=0, dtype=np.int64) * factor
    return World(
        grid=TimeGrid(village.start_s, village.step_s, count),
        timezone="Etc/GMT-1",  # the village keeps standard time all year
        units=units,
        members=village.names,
        kinds=village.kinds,
        facts={
            "sun": _flags(village.pv_w > 0),
            "battery": _flags(village.has_battery),
            "vehicle": _flags(village.ev),
            "heat pump": _flags(village.heat_pump),
        },
        net=village.net_wh if factor == 1 else village.net_wh.astype(np.int64) * factor,
        load=village.load_wh.sum(axis=1, dtype=np.int64) * factor,
        sun=village.sun_wh.sum(axis=1, dtype=np.int64) * factor,
        demand=demand,
        generation=generation,
        tariff=tariff_of(scenario, units, count),
        charges=charges,
        limits=limits_of(scenario, units, charges, len(village.names)),
        notes=VILLAGE_NOTES,
        curve=scenario.limits.curve,
        profiles=_profiles(village),
        preferences=preferences_of(scenario, units, village.names),
        behind={"load": village.load_wh, "sun": village.sun_wh},
    )


def _profiles(village: Village) -> Profiles:
    """Return place, source and reliability of the village's members; all of them deliver what they promise."""
    from wattle.scenario.village import places_m

    east_m, north_m = places_m()
    count = len(village.names)
    sun = np.int8(SOURCES.index("sun"))
    return Profiles(
        participant=np.arange(FIRST_MEMBER, FIRST_MEMBER + count, dtype=np.int32),
        east_m=east_m[village.node],
        north_m=north_m[village.node],
        source=np.where(village.pv_w > 0, sun, np.int8(0)),
        reliability=np.full(count, 1000, np.int32),
    )


def limits_of(scenario: Scenario, units: Units, charges: tuple[Charge, ...], members: int) -> dict[str, I64]:
    """Draw each member's limit once; he buys at most and sells at least at it."""
    low, high = limit_range(scenario, units, charges)
    drawn = drawn_limits(members, low, high, scenario.limits.seed)
    return {"buy": drawn, "sell": drawn}


def _flags(column: NDArray[np.bool_]) -> tuple[bool, ...]:
    return tuple(bool(flag) for flag in column)
