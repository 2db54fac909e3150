"""Which rules are not beaten: what a community gains in all against how evenly its members share it.

A rule is on the front if no other rule is at least as good in both respects and better in one. Whoever wants a fairer
division than the front offers must give up some of the gain, and the other way round (Pareto 1906).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattle.analysis.formulas import Floats
from wattle.runtime.results import Index

WELFARE = "social_welfare"
FAIRNESS = ("jain", "min_max", "equality", "quality_of_experience", "meritocratic")
"""Index of what is gained in all, and the indices of fairness that it may be held against."""

TIE = 1e-4
"""Two values that differ by less than this part of the largest are the same to a reader."""


def front(welfare: Sequence[float | None], fairness: Sequence[float | None]) -> NDArray[np.bool_]:
    """Tell for each rule [R] whether no other rule beats it; rules without one of the two values are not on the front.

    >>> front([93, 69, 93, 40], [0.2, 0.9, 0.3, None]).tolist()
    [False, True, True, False]
    """
    first, second = _rounded(welfare), _rounded(fairness)
    known = ~(np.isnan(first) | np.isnan(second))
    at_least = (first[:, None] >= first) & (second[:, None] >= second)
    better = (first[:, None] > first) | (second[:, None] > second)
    found: NDArray[np.bool_] = known & ~(at_least & better & known[:, None]).any(axis=0)
    return found


def _rounded(values: Sequence[float | None]) -> Floats:
    plain = np.array([np.nan if value is None else value for value in values], np.float64)
    if np.isnan(plain).all():
        return plain
    step = TIE * float(np.nanmax(np.abs(plain))) or 1.0
    found: Floats = np.rint(plain / step)
    return found


@dataclass(frozen=True)
class Choice:
    """Rules that are not beaten in welfare and one kind of fairness, by their numbers, the fairest first."""

    fairness: str
    rules: tuple[int, ...]


def choices(found: Sequence[dict[str, Index]]) -> tuple[Choice, ...]:
    """Return the front for each index of fairness; rule 0, no community, takes no part."""
    welfare = [None, *(index[WELFARE].value for index in found[1:])]
    result = []
    for key in FAIRNESS:
        fairness = [index[key].value for index in found]
        best = np.flatnonzero(front(welfare, fairness)).tolist()
        result.append(Choice(key, tuple(sorted(best, key=lambda rule: (-(fairness[rule] or 0), rule)))))
    return tuple(result)
