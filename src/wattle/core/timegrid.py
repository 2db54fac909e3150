"""Intervals as integers; UTC seconds stand only at the edges."""

from __future__ import annotations

from dataclasses import dataclass

from wattle.core.checks import ensure


@dataclass(frozen=True)
class TimeGrid:
    """Half-open intervals of `step_s` seconds; number 0 begins at `start_s` (UTC seconds)."""

    start_s: int
    step_s: int
    count: int

    def __post_init__(self) -> None:
        ensure(self.step_s > 0 and self.count >= 0, "a time grid needs a step above 0 and no negative count")

    @property
    def hours(self) -> float:
        """Length of an interval in hours."""
        return self.step_s / 3600

    @property
    def stop_s(self) -> int:
        """UTC second at which the last interval ends."""
        return self.start_s + self.step_s * self.count

    def second(self, interval: int) -> int:
        """Return the UTC second at which an interval begins."""
        return self.start_s + self.step_s * interval

    def interval(self, second: int) -> int:
        """Return the interval that contains a UTC second (it may lie outside 0 ... count - 1)."""
        return (second - self.start_s) // self.step_s

    def part(self, first: int, stop: int) -> TimeGrid:
        """Return the grid of the intervals first ... stop - 1, numbered from 0 again."""
        ensure(0 <= first <= stop <= self.count, "the part lies outside the grid")
        return TimeGrid(self.second(first), self.step_s, stop - first)
