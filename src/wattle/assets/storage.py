"""Batteries as arrays over members: limits, one step, and a year of plain self-consumption.

The same functions are the simulated battery, the model inside a plan, and, with one member, an edge controller.
Power is measured at the home's meter; positive is charging (consumption). Stored energy is inside the battery.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wattle.core.checks import ensure
from wattle.core.columns import F64, I64, Columns

# Half a Wh rounds down, with room for the last bits of a float sum: a battery at rest must not flicker by 1 Wh.
ROUND = 0.5 - 1e-6


@dataclass(frozen=True, eq=False)
class Fleet(Columns):
    """Batteries of K members; all columns are [K]. Losses arise on the way in and on the way out, none at rest."""

    energy_wh_max: F64  # usable content, 0 or more
    charge_w_max: F64  # at the meter, 0 or more
    discharge_w_max: F64  # at the meter, 0 or more
    charge_efficiency: F64  # stored Wh per Wh at the meter, above 0, at most 1
    discharge_efficiency: F64  # Wh at the meter per stored Wh, above 0, at most 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("energy_wh_max", "charge_w_max", "discharge_w_max"):
            column = getattr(self, name)
            ensure(np.isfinite(column).all() and (column >= 0).all(), f"{name} must be finite and not negative")
        for name in ("charge_efficiency", "discharge_efficiency"):
            column = getattr(self, name)
            ensure(((column > 0) & (column <= 1)).all(), f"{name} must be above 0 and at most 1")


def storage_limits(fleet: Fleet, energy_wh: ArrayLike, hours: float) -> tuple[F64, F64]:
    """Return the lowest (discharge, <= 0) and highest (charge, >= 0) power in W that `hours` allow, [..., K].

    >>> one = np.ones(1)
    >>> fleet = Fleet(1000 * one, 500 * one, 500 * one, 0.5 * one, 0.5 * one)
    >>> storage_limits(fleet, [900], 1.0)
    (array([-450.]), array([200.]))
    """
    energy = _stored(fleet, energy_wh, hours)
    room_wh = (fleet.energy_wh_max - energy) / fleet.charge_efficiency
    left_wh = energy * fleet.discharge_efficiency
    # 0 - x, not -x: an empty battery shall say 0, not -0.
    return 0 - np.minimum(fleet.discharge_w_max, left_wh / hours), np.minimum(fleet.charge_w_max, room_wh / hours)


def storage_step(fleet: Fleet, energy_wh: ArrayLike, power_w: ArrayLike, hours: float) -> tuple[F64, F64]:
    """Return the stored energy in Wh after the step and the power done in W, both [..., K].

    A request beyond the limits is cut; the power done says by how much. Infinity asks for all there is.
    """
    energy = _stored(fleet, energy_wh, hours)
    asked = np.asarray(power_w, np.float64)
    ensure(not np.isnan(asked).any(), "power_w holds a value that is not a number")
    lowest, highest = storage_limits(fleet, energy, hours)
    done = np.minimum(np.maximum(asked, lowest), highest)
    change = np.where(done > 0, done * fleet.charge_efficiency, done / fleet.discharge_efficiency) * hours
    # The limits hold up to rounding; the bounds of the battery hold exactly.
    return np.minimum(np.maximum(energy + change, 0), fleet.energy_wh_max), done


def stored_wh(fleet: Fleet, net_wh: NDArray[np.integer], hours: float = 0.25, start_wh: ArrayLike = 0.0) -> F64:
    """Return the energy in the batteries before each step and at the end, [T + 1, K], under plain self-consumption.

    `net_wh` [T, K] is each home's demand minus its sun. A surplus is stored, a demand is served, as far as power and
    content allow; nothing is bought or sold for the battery. What a step would move depends on `net_wh` alone, so it is
    computed for all steps at once; only the walk between empty and full goes step by step.
    """
    ensure(net_wh.ndim == 2 and net_wh.shape[1] == len(fleet), f"net_wh must be [T, {len(fleet)}], not {net_wh.shape}")
    ensure(net_wh.dtype.kind in "iu", "net_wh must be whole Wh")
    start = _stored(fleet, start_wh, hours)
    net = net_wh.astype(np.float64)
    stored_in = np.minimum(-net, fleet.charge_w_max * hours) * fleet.charge_efficiency
    taken_out = np.minimum(net, fleet.discharge_w_max * hours) / fleet.discharge_efficiency
    change = np.where(net < 0, stored_in, -taken_out)
    stored = np.empty((net.shape[0] + 1, len(fleet)))
    stored[0] = start
    full = fleet.energy_wh_max
    for before, after, delta in zip(stored[:-1], stored[1:], change, strict=True):
        np.add(before, delta, out=after)
        np.maximum(after, 0.0, out=after)
        np.minimum(after, full, out=after)
    return stored


def self_consumption(fleet: Fleet, net_wh: NDArray[np.integer], hours: float = 0.25, start_wh: ArrayLike = 0.0) -> I64:
    """Return what the meters read in whole Wh with batteries at work, [T, K]; arguments as in `stored_wh`.

    The battery's running total is rounded, not each step: over any span the reading is right to 1 Wh.
    """
    moved = np.diff(stored_wh(fleet, net_wh, hours, start_wh), axis=0)
    at_meter = np.where(moved > 0, moved / fleet.charge_efficiency, moved * fleet.discharge_efficiency)
    total = np.floor(np.cumsum(at_meter, axis=0) + ROUND).astype(np.int64)
    return net_wh.astype(np.int64) + np.diff(total, axis=0, prepend=np.zeros((1, len(fleet)), np.int64))


def _stored(fleet: Fleet, energy_wh: ArrayLike, hours: float) -> F64:
    energy = np.asarray(energy_wh, np.float64)
    ensure(np.isfinite(hours) and hours > 0, f"hours must be above 0, not {hours}")
    ensure(((energy >= 0) & (energy <= fleet.energy_wh_max)).all(), "energy_wh must lie between 0 and energy_wh_max")
    return energy
