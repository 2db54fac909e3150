"""Homes that plan a day: demand that may wait and batteries, placed where the expected prices make them cheapest.

Both are one kind of device, a content between empty and full. A battery moves up and down and ends where it began; the
content of a demand that may wait is what was served of it so far, so it only rises, from none to all. A plan is the
content over the day. Plans of one device may be mixed: the mean of two plans is a plan again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import ensure
from wattle.core.columns import F64, I64, Columns
from wattle.core.compiled import kernel

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Devices(Columns):
    """One row for each device; contents and moves are counted in levels of `level_wh`."""

    home: I64  # row of its home
    level_wh: F64  # above 0
    levels: I64  # the content when full
    down: I64  # most levels that leave in an interval
    up: I64  # most levels that enter in an interval
    first: I64  # content before the first interval
    last: I64  # content after the last
    per_in: F64  # Wh at the meter for each Wh that enters, 1 or more
    per_out: F64  # Wh at the meter for each Wh that leaves, at most 1

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(bool((self.level_wh > 0).all() and (self.levels > 0).all()), "a device has no content")
        ensure(bool((self.per_in >= 1).all() and (self.per_out <= 1).all()), "a device makes energy out of nothing")


@dataclass(eq=False)
class Day:
    """What N homes do in T intervals: all that cannot wait, the habits of what can, and the plans of K devices."""

    fixed_wh: Floats  # [N, T] demand that cannot wait, less sun
    devices: Devices
    habit_wh: Floats  # [K, T] what each device takes where prices do not matter
    content_wh: Floats  # [K, T + 1] the plans

    def copy(self) -> Day:
        """Return the same day with plans of its own."""
        return Day(self.fixed_wh, self.devices, self.habit_wh, self.content_wh.copy())

    def taken_wh(self) -> Floats:
        """Return what each device takes at the meter, [K, T]."""
        moved = np.diff(self.content_wh, axis=1)
        rate = np.where(moved > 0, self.devices.per_in[:, None], self.devices.per_out[:, None])
        return moved * rate

    def net_wh(self) -> Floats:
        """Return what each home's meter reads, [N, T]; positive is consumption."""
        net = self.fixed_wh.copy()
        np.add.at(net, self.devices.home, self.taken_wh())
        return net


def respond(day: Day, buy: Floats, sell: Floats, step: float, inertia: float, *, together: bool = False) -> float:
    """Let each device go a part of the way to its best plan at the expected prices [T]; return the Wh that moved.

    `buy` and `sell` are per Wh. `step` 1 takes the best plan at once. `inertia`, per Wh, is what it must be worth to
    leave a habit. Devices answer in turn, so two devices of a home never want the same sun. `together` makes all homes
    one: each device then does what is best for the bill of the whole community.
    """
    net = day.net_wh()
    home = day.devices.home
    if together:
        net, home = net.sum(axis=0, keepdims=True), np.zeros_like(home)
    unit = day.devices
    size = int(unit.levels.max(initial=0)) + 1
    moved = _respond_all(
        np.ascontiguousarray(buy), np.ascontiguousarray(sell), np.ascontiguousarray(day.habit_wh), home,
        unit.level_wh, unit.levels, unit.down, unit.up, unit.first, unit.last, unit.per_in, unit.per_out, step, inertia,
        net, day.content_wh, np.empty((net.shape[1] + 1, size)), np.empty(net.shape[1] + 1),
    )  # fmt: skip
    return float(moved)


@kernel("rf rf rf2 r8 rf r8 r8 r8 r8 r8 rf rf f f wf2 wf2 wf2 wf")
def _respond_all(
    buy: Any, sell: Any, habit: Any, home: Any, level_wh: Any, levels: Any, down: Any, up: Any, first: Any, last: Any,
    per_in: Any, per_out: Any, step: Any, inertia: Any, net: Any, content: Any, cost: Any, best: Any,
) -> Any:  # fmt: skip
    moved = 0.0
    size = buy.size
    for unit in range(home.size):
        row = home[unit]
        for time in range(size):
            net[row, time] -= _at_meter(content[unit, time + 1] - content[unit, time], per_in[unit], per_out[unit])
        _best_plan(
            buy, sell, net[row], habit[unit], inertia, level_wh[unit], levels[unit], down[unit], up[unit],
            first[unit], last[unit], per_in[unit], per_out[unit], cost, best,
        )  # fmt: skip
        for time in range(size + 1):
            change = step * (best[time] - content[unit, time])
            content[unit, time] += change
            moved += abs(change)
        for time in range(size):
            net[row, time] += _at_meter(content[unit, time + 1] - content[unit, time], per_in[unit], per_out[unit])
    return moved


@kernel("f f f")
def _at_meter(moved: Any, per_in: Any, per_out: Any) -> Any:
    return moved * per_in if moved > 0.0 else moved * per_out


@kernel("rf rf wf rf f f i i i i i f f wf2 wf")
def _best_plan(
    buy: Any, sell: Any, rest: Any, habit: Any, inertia: Any, level_wh: Any, levels: Any, down: Any, up: Any,
    first: Any, last: Any, per_in: Any, per_out: Any, cost: Any, best: Any,
) -> Any:  # fmt: skip
    """Fill `best` [T + 1] with the cheapest content in Wh; exact for any prices, by dynamic programming.

    `rest` [T] is what the meter reads without the device. `cost[t, l]` is the least cost from interval t on with l
    levels; of equal moves the smallest is taken.
    """
    size = buy.size
    far = 1e300
    for level in range(levels + 1):
        cost[size, level] = 0.0 if level == last else far
    for back in range(size):
        time = size - 1 - back
        for level in range(levels + 1):
            found = far
            for target in range(max(0, level - down), min(levels, level + up) + 1):
                if cost[time + 1, target] < far:
                    taken = _at_meter((target - level) * level_wh, per_in, per_out)
                    energy = rest[time] + taken
                    pays = energy * (buy[time] if energy > 0.0 else sell[time]) + inertia * abs(taken - habit[time])
                    found = min(found, pays + cost[time + 1, target])
            cost[time, level] = found
    level = first
    best[0] = level * level_wh
    for time in range(size):
        chosen, found = level, far
        for target in range(max(0, level - down), min(levels, level + up) + 1):
            if cost[time + 1, target] < far:
                taken = _at_meter((target - level) * level_wh, per_in, per_out)
                energy = rest[time] + taken
                pays = energy * (buy[time] if energy > 0.0 else sell[time]) + inertia * abs(taken - habit[time])
                if pays + cost[time + 1, target] < found:
                    chosen, found = target, pays + cost[time + 1, target]
        level = chosen
        best[time + 1] = level * level_wh
    return cost[0, first]
