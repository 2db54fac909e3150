"""Whole-year series made small enough to lie inside a page, so that every day of a run can be looked at.

Integers are stored as differences, their bytes side by side, compressed; a quarter-hour year of a village takes a few
hundred kilobytes. `page/data.js` reverses it.
"""

from __future__ import annotations

import base64
import zlib
from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from wattle.core.columns import I64
from wattle.core.timegrid import TimeGrid
from wattle.runtime.results import Comparison, taken_over

POINTS_MAX = 40_000
"""Longer runs are summed up to at most this many points for the page; the results themselves keep every interval."""


@dataclass
class Packer:
    """Collects columns, each stored once however often it is added."""

    length: int

    def __post_init__(self) -> None:
        self._parts: list[bytes] = []
        self._known: dict[bytes, int] = {}
        self.scales: list[int] = []

    def add(self, column: I64) -> int:
        """Return the number under which the page finds this column."""
        values = np.ascontiguousarray(column, np.int64)
        key = values.tobytes()
        if key not in self._known:
            scale = 1
            while values.size and int(np.abs(values).max()) // scale >= 1 << 29:
                scale *= 10
            self._known[key] = len(self._parts)
            self._parts.append(_planes(values if scale == 1 else np.rint(values / scale).astype(np.int64)))
            self.scales.append(scale)
        return self._known[key]

    def text(self) -> str:
        """Return all columns as base64 of one zlib stream."""
        return base64.b64encode(zlib.compress(b"".join(self._parts), 6)).decode()


def _planes(values: I64) -> bytes:
    """Return differences, zigzag-coded in 32 bits: all lowest bytes first, then the next ones, and so on."""
    change = np.diff(values, prepend=0)
    coded = ((change << 1) ^ (change >> 63)).astype("<u4")
    return coded.view(np.uint8).reshape(-1, 4).T.tobytes()


def group_size(grid: TimeGrid) -> int:
    """Return how many intervals make one point of the page."""
    size = 1
    while grid.count / size > POINTS_MAX or (size > 1 and 86400 % (size * grid.step_s)):
        size += 1
        if size * grid.step_s > 86400:
            return -(-86400 // grid.step_s)
    return size


def added_up(column: I64, size: int) -> I64:
    """Return sums over groups of `size` intervals; a last, shorter group is kept.

    >>> added_up(np.array([1, 2, 3]), 2).tolist()
    [3, 3]
    """
    return column if size == 1 else np.add.reduceat(column, np.arange(0, len(column), size))


def pack(comparison: Comparison) -> tuple[dict[str, object], str]:
    """Return how the page finds load, sun, tariffs and each rule's energy and price, and the packed columns.

    Energy is in lots per point. Bought and sold energy of a rule is stored as what differs from "the reference less
    what was shared", which is nothing as long as behaviour is the same.
    """
    size = group_size(comparison.grid)
    packer = Packer(-(-comparison.grid.count // size))
    base = comparison.rules[0]
    weight = np.full(comparison.grid.count, 1, np.int64)

    def put(column: I64) -> int:
        return packer.add(added_up(np.asarray(column), size))

    def mean(price: I64, energy: I64) -> int:
        if size == 1:
            return packer.add(np.where(energy > 0, price, -1))
        whole = added_up(np.where(energy > 0, price, 0) * energy, size)
        parts = added_up(energy, size)
        return packer.add(np.where(parts > 0, np.rint(whole / np.maximum(parts, 1)).astype(np.int64), -1))

    rules = []
    for rule in comparison.rules:
        shared = np.maximum(0, taken_over(rule, base))
        columns = {
            "imported": rule.imported + shared - base.imported,
            "exported": rule.exported + shared - base.exported,
        }
        rules.append(
            {
                "shared": put(shared),
                "price": mean(rule.price, rule.shared),
                **{name: put(column) for name, column in columns.items()},
            }
        )
    common = {
        "load": put(comparison.load),
        "sun": put(comparison.sun),
        "imported": put(base.imported),
        "exported": put(base.exported),
        "retail": mean(comparison.retail, weight),
        "feed_in": mean(comparison.feed_in, weight),
    }
    where = {"common": common, "rules": rules, "scales": packer.scales, "length": packer.length, "group": size}
    return where, packer.text()


def local_days(grid: TimeGrid, timezone: str) -> tuple[list[tuple[str, int]], list[tuple[int, int]]]:
    """Return (date, first interval) of each local day, and (first interval, seconds ahead of UTC) of each offset.

    >>> grid = TimeGrid(1459033200, 900, 92 + 96)  # the night in which Berlin's clocks go forward
    >>> local_days(grid, "Europe/Berlin")
    ([('2016-03-27', 0), ('2016-03-28', 92)], [(0, 3600), (8, 7200)])
    """
    zone = ZoneInfo(timezone)

    def offset(interval: int) -> int:
        ahead = datetime.fromtimestamp(grid.second(interval), zone).utcoffset()
        return int(ahead.total_seconds()) if ahead else 0

    if grid.count == 0:
        return [], []
    day = datetime.fromtimestamp(grid.start_s, zone).date()
    days, offsets = [(day.isoformat(), 0)], [(0, offset(0))]
    while True:
        day += timedelta(days=1)
        midnight = int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())
        first = -((grid.start_s - midnight) // grid.step_s)
        stop = min(first, grid.count - 1)
        if offset(stop) != offsets[-1][1]:
            earlier = days[-1][1]
            new = offset(stop)
            change = bisect_left(range(earlier, stop + 1), True, key=lambda interval: offset(interval) == new)
            offsets.append((earlier + change, new))
        if first >= grid.count:
            return days, offsets
        days.append((day.isoformat(), first))
