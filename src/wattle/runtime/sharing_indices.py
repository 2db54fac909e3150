"""The indices by which papers judge the sharing of energy, as far as reproductions need them.

The formulas are those of `wattle.analysis`, which reads the results of runs and stands above this layer; a test holds
both together. Nothing is settled with these numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

ZHOU = (
    "value tapping", "participation willingness", "equality", "energy balance", "power flatness", "self-sufficiency",
)  # fmt: skip
"""The six indices of Zhou, Wu and Long 2018: three of money, three of energy."""


def zhou_indices(
    reference: Floats, paid: Floats, optimum: float, load: Floats, net: Floats, net_before: Floats
) -> Floats:
    """Return the six indices [6], each from 0 to 1, larger is better.

    `reference` and `paid` [N] are the members' bills without and with the community, `optimum` the least bill of all
    together; where less than 0.1 % can be saved, there is nothing to tap. `load` [N, T] is all consumption, `net`
    [N, T] what the meters read, `net_before` the same without the community. What lies outside 0 to 1 is cut: a
    community that pays more than before has tapped nothing.
    """
    boundary = net.sum(axis=0)
    imported = np.maximum(boundary, 0.0)
    whole = float(reference.sum())
    saved, reachable, nothing = whole - float(paid.sum()), whole - optimum, 0.001 * abs(whole)
    found = (
        saved / reachable if reachable > nothing else float(saved > -nothing),
        float((paid <= reference).mean()),
        equality(reference - paid),
        1 - float(np.abs(boundary).sum()) / float(np.abs(net_before).sum()),
        power_flatness(imported),
        1 - float(imported.sum()) / float(load.sum()),
    )
    return np.clip(np.array(found), 0.0, 1.0)


def power_flatness(power: ArrayLike) -> float:
    """Return 1 - sum|P - mean P| / (2 sum P); 1 where no power flows at all."""
    values = np.asarray(power, np.float64)
    whole = float(values.sum())
    return 1 - float(np.abs(values - values.mean()).sum()) / (2 * whole) if whole > 0 else 1.0


def equality(gain: ArrayLike) -> float:
    """Return 1 - Gini of max(0, gain); 0 where nobody gains."""
    values = np.sort(np.maximum(np.asarray(gain, np.float64), 0.0))
    whole = float(values.sum())
    if whole <= 0:
        return 0.0
    rank = np.arange(1, values.size + 1)
    return 1 - max(0.0, float(2 * (rank * values).sum() / (values.size * whole) - (values.size + 1) / values.size))


def jain(gain: ArrayLike) -> float:
    """Return Jain's index (sum x)^2 / (n sum x^2) of x = max(0, gain); 0 where nobody gains."""
    values = np.maximum(np.asarray(gain, np.float64), 0.0)
    square = float((values**2).sum())
    return float(values.sum()) ** 2 / (values.size * square) if square > 0 else 0.0


def min_max(gain: ArrayLike) -> float:
    """Return min x / max x of x = max(0, gain); 0 where nobody gains."""
    values = np.maximum(np.asarray(gain, np.float64), 0.0)
    return float(values.min()) / float(values.max()) if values.max() > 0 else 0.0


def meritocratic(gain: ArrayLike, contribution: ArrayLike) -> float:
    """Return Pearson's correlation of gains with contributions; 0 where either is the same for all."""
    x, y = (np.asarray(values, np.float64) - np.mean(np.asarray(values, np.float64)) for values in (gain, contribution))
    scale = float(np.sqrt((x**2).sum()) * np.sqrt((y**2).sum()))
    return float((x * y).sum()) / scale if scale > 0 else 0.0
