"""Make many members' load and sun from a few curves: like days change places, a small shift, energy kept.

Sample data lend one curve to dozens of homes, and trade between copies of one home is meaningless. Here each member
gets the same quarter-hours in another order: its energy, its peak and its load duration curve stay those of the data.
Chance is the raw bit stream of PCG64 and integer arithmetic on it: the same on every machine and NumPy version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import ensure
from wattle.core.columns import I32, I64, Columns

CUT_H = 3  # days are cut at three at night: an evening stays whole, and little happens at the seam
SUN_MIX_MAX = 64  # of 256: up to a quarter of a plant faces as another curve does
SUN_DELAY_MAX = 16  # of 16: the sun comes up to one step earlier or later
BLOCK = 64  # members made before they are written as columns


@dataclass(frozen=True, eq=False)
class LikeDays(Columns):
    """Days that may change places, sorted by kind and date. All columns are [D]."""

    order: I64  # day numbers, sorted by kind, then by date
    kind: I64  # kind of each of them, numbered from 0
    rank: I64  # place of each within its kind
    size: I64  # days of this kind that change places among themselves


def like_days(day_kind: NDArray[np.integer], reach_days: int) -> LikeDays:
    """Group days of equal kind so that no two days of a group lie more than `reach_days` apart.

    `day_kind` [D] is any numbering: workday, Saturday, Sunday; give days on both sides of a clock change different
    kinds. A group holds as many days as every stretch of the year allows, for a reach of 14 days three Sundays.

    >>> like_days(np.array([0, 0, 0, 1, 0]), 2).size.tolist()
    [2, 2, 2, 2, 1]
    """
    ensure(day_kind.ndim == 1 and day_kind.size > 0, "day_kind must be a non-empty column")
    ensure(reach_days >= 0, f"reach_days must be 0 or more, not {reach_days}")
    order = np.argsort(day_kind, kind="stable").astype(np.int64)
    _, kind, counts = np.unique(day_kind[order], return_inverse=True, return_counts=True)
    starts = np.cumsum(counts) - counts
    rank = np.arange(day_kind.size) - starts[kind]
    sizes = [_group_size(order[start : start + count], reach_days) for start, count in zip(starts, counts, strict=True)]
    return LikeDays(order, kind.astype(np.int64), rank.astype(np.int64), np.array(sizes, np.int64)[kind])


def swap_days(like: LikeDays, raw: NDArray[np.uint64]) -> I64:
    """Return for each day the day it is taken from: a permutation [D] within groups of like days.

    `raw` [D + 1] are random bits. The first decides where the groups begin, so members do not share their borders.
    """
    days = like.order.size
    ensure(raw.shape == (days + 1,), f"swap_days needs {days + 1} raw numbers, not {raw.shape}")
    phase = int(raw[0] >> np.uint64(33))
    group = like.kind * days + (like.rank + phase % like.size) // like.size
    key = (group << 32) | (raw[1:] >> np.uint64(32)).astype(np.int64)
    source = np.empty(days, np.int64)
    source[like.order] = like.order[np.argsort(key, kind="stable")]
    return source


def load_members(curves: NDArray[np.integer], like: LikeDays, column: I64, energy_wh: I64, unit: I64, seed: int) -> I32:
    """Return the load of N members in Wh per step, [T, N], from `curves` [T, P] of any integer scale.

    Member n uses curve `column[n]`, `energy_wh[n]` over all steps (kept to the Wh), and the chance of `unit[n]`: the
    same seed and unit give the same column whoever else is made. Days change places as `like` allows. Then each day
    turns by up to an hour: half of it the member's habit, half of it the day's whim. A day turns within itself, so
    every step of the curve is used exactly once.
    """
    days = like.order.size
    steps = _steps_per_day(curves, days)
    _check_members(curves, column, energy_wh, unit, seed)
    per_hour, reach = steps // 24, steps // 48
    windows = {number: _turned_days(curves[:, number], days, CUT_H * per_hour) for number in np.unique(column).tolist()}

    def member(n: int) -> I32:
        raw = np.random.PCG64([seed, int(unit[n])]).random_raw(2 * days + 2)
        habit, whims = int(raw[0]) % (2 * reach + 1), raw[1 : days + 1] % np.uint64(2 * reach + 1)
        later = habit + whims.astype(np.int64) - 2 * reach
        source = swap_days(like, raw[days + 1 :])
        moved = windows[int(column[n])][source, -later % steps].ravel()
        return whole_wh(np.roll(moved, CUT_H * per_hour), int(energy_wh[n]))

    return _columns(member, curves.shape[0], column.size)


def sun_members(curves: NDArray[np.integer], column: I64, energy_wh: I64, unit: I64, seed: int) -> I32:
    """Return the sun power of N plants in Wh per step, [T, N], positive. Arguments as in `load_members`.

    One village has one sky: days stay where they are. A plant differs from its curve only by its roof: up to a quarter
    of it faces as another of the curves does, and its sun comes up to one step earlier or later (linear between steps).
    """
    _check_members(curves, column, energy_wh, unit, seed)
    others = curves.shape[1] - 1

    def member(n: int) -> I32:
        raw = [int(bits) for bits in np.random.PCG64([seed, int(unit[n])]).random_raw(3)]
        own = int(column[n])
        mix = raw[0] % (SUN_MIX_MAX + 1) if others else 0
        other = (own + 1 + raw[1] % max(others, 1)) % (others + 1)
        roof = curves[:, own].astype(np.int64) * (256 - mix) + curves[:, other].astype(np.int64) * mix
        delay = raw[2] % (2 * SUN_DELAY_MAX + 1) - SUN_DELAY_MAX
        moved = roof * (16 - abs(delay)) + np.roll(roof, 1 if delay > 0 else -1) * abs(delay)
        return whole_wh(moved, int(energy_wh[n]))

    return _columns(member, curves.shape[0], column.size)


def scaled_members(
    curves: NDArray[np.integer],
    day_kind: NDArray[np.integer],
    count: int,
    seed: int,
    energy_wh_min: int = 1_500_000,
    energy_wh_max: int = 6_000_000,
) -> I32:
    """Return the load of `count` made-up members in Wh per step, [T, count], for benchmarks and large studies.

    Each draws one of the `curves` [T, P] and an energy between the bounds; days change places within two weeks.
    """
    ensure(count >= 1, f"count must be at least 1, not {count}")
    ensure(0 <= energy_wh_min <= energy_wh_max, "energy_wh_min must lie between 0 and energy_wh_max")
    ensure(seed >= 0, f"seed must be 0 or more, not {seed}")
    raw = np.random.PCG64(seed).random_raw(2 * count)
    column = (raw[:count] % np.uint64(curves.shape[1])).astype(np.int64)
    energy_wh = energy_wh_min + (raw[count:] % np.uint64(energy_wh_max - energy_wh_min + 1)).astype(np.int64)
    return load_members(curves, like_days(day_kind, 14), column, energy_wh, np.arange(count), seed)


def whole_wh(curve: NDArray[np.integer], energy_wh: int) -> I32:
    """Scale a curve [T] of integers >= 0 to `energy_wh` over all steps, in whole Wh.

    The running total is rounded, not each step: the sum is exact and no step is more than 1 Wh off.

    >>> whole_wh(np.array([1, 1, 1]), 10).tolist()
    [3, 4, 3]
    """
    ensure(0 <= energy_wh < 2**31, f"energy must be between 0 and 2,147,483,647 Wh, not {energy_wh}")
    total = np.zeros(curve.size + 1, np.int64)
    np.cumsum(curve, out=total[1:])
    ensure(total[-1] > 0 or energy_wh == 0, "a curve of zeros cannot be scaled to an energy")
    if energy_wh == 0:
        return np.zeros(curve.size, np.int32)
    share = total * (energy_wh / int(total[-1]))
    steps: I32 = np.diff(np.rint(share, out=share)).astype(np.int32)
    return steps


def _group_size(days: I64, reach_days: int) -> int:
    size = 1
    while size < days.size and int((days[size:] - days[:-size]).max()) <= reach_days:
        size += 1
    return size


def _turned_days(curve: NDArray[np.integer], days: int, cut: int) -> NDArray[np.integer]:
    """Return a view [D, S + 1, S]: day, first step, steps; the day begins `cut` steps after midnight and is a ring."""
    day = np.roll(curve, -cut).reshape(days, -1)
    return np.lib.stride_tricks.sliding_window_view(np.concatenate([day, day], axis=1), day.shape[1], axis=1)


def _columns(member: Callable[[int], I32], steps: int, count: int) -> I32:
    """Write members as columns [T, N], a block at a time: fast for the cache, and only one block is held twice."""
    out = np.empty((steps, count), np.int32)
    for first in range(0, count, BLOCK):
        rows = [member(n) for n in range(first, min(first + BLOCK, count))]
        out[:, first : first + BLOCK] = np.stack(rows).T
    return out


def _steps_per_day(curves: NDArray[np.integer], days: int) -> int:
    ensure(curves.ndim == 2 and curves.dtype.kind in "iu", "curves must be integers, one curve per column")
    steps: int = curves.shape[0] // days
    ensure(
        steps > 0 and steps * days == curves.shape[0] and steps % 24 == 0,
        f"{curves.shape[0]} steps are not {days} days of whole parts of an hour",
    )
    return steps


def _check_members(curves: NDArray[np.integer], column: I64, energy_wh: I64, unit: I64, seed: int) -> None:
    ensure(column.shape == energy_wh.shape == unit.shape and column.ndim == 1, "members' columns differ in length")
    ensure(((column >= 0) & (column < curves.shape[1])).all(), f"column must be 0 to {curves.shape[1] - 1}")
    ensure(seed >= 0 and (unit >= 0).all(), "seed and unit numbers must be 0 or more")
    ensure((curves >= 0).all(), "curves must not be negative")
