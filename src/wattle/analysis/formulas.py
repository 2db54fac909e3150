"""Evaluation indices of energy, power, market and grid: small pure functions on arrays.

Each states its units and its formula. Floats are fine here, because nothing is settled with these numbers. A function
returns None where an index has no meaning (a share of nothing). The indices of money and fairness stand in
`fairness.py`; `metrics.py` applies all of them to a run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def floats(values: ArrayLike) -> Floats:
    """Return the values as an array of float64."""
    return np.asarray(values, np.float64)


def ratio(part: float, whole: float) -> float | None:
    """Return part / whole, or None when there is no whole."""
    return None if whole == 0 else float(part) / float(whole)


# --- energy ----------------------------------------------------------------------------------------------------------


def self_sufficiency(demand: ArrayLike, imported: ArrayLike) -> float | None:
    """Return the share of consumption that did not come from outside: sum(D - I) / sum(D).

    `demand` is consumption before own sun and `imported` what was bought at the boundary, both in the same unit of
    energy, scalars or any shape. (Zhou, Wu, Long, Ming 2018, Applied Energy 222.)

    >>> self_sufficiency(10, 4)
    0.6
    """
    whole = float(floats(demand).sum())
    return ratio(whole - float(floats(imported).sum()), whole)


def self_consumption(generation: ArrayLike, exported: ArrayLike) -> float | None:
    """Return the share of own generation that stayed inside the boundary: sum(G - E) / sum(G).

    Both in the same unit of energy. (Luthander et al. 2015, Applied Energy 142.)

    >>> self_consumption(8, 2)
    0.75
    """
    whole = float(floats(generation).sum())
    return ratio(whole - float(floats(exported).sum()), whole)


def shared_energy(injected: ArrayLike, drawn: ArrayLike) -> float:
    """Return the energy that can be shared: sum over t of min(sum_i injected, sum_i drawn).

    Both `[T]` (all members together) or `[T, N]`, in the same unit of energy; the result too. (Italian decree
    CACER, 2023: energia condivisa.)

    >>> shared_energy([6], [7])
    6.0
    """
    inj, draw = floats(injected), floats(drawn)
    inj = inj.sum(axis=1) if inj.ndim == 2 else inj
    draw = draw.sum(axis=1) if draw.ndim == 2 else draw
    return float(np.minimum(inj, draw).sum())


def energy_balance(net: ArrayLike, net_reference: ArrayLike) -> float | None:
    """Return how much of the exchange with the utility disappeared: 1 - sum|net| / sum|net_ref|.

    Both `[T]`, energy exchanged with the utility under the rule and without a community. (Named in Zhou et al. 2018;
    normalised here by the reference.)

    >>> energy_balance([1, 1], [2, 2])
    0.5
    """
    part = ratio(float(np.abs(floats(net)).sum()), float(np.abs(floats(net_reference)).sum()))
    return None if part is None else 1 - part


# --- power -----------------------------------------------------------------------------------------------------------


def peak_to_average(power: ArrayLike) -> float | None:
    """Return max P / mean P of a power `[T]` in kW at the village boundary.

    >>> peak_to_average([1, 2, 3])
    1.5
    """
    values = floats(power)
    return ratio(float(values.max()), float(values.mean())) if values.size else None


def peak_change(power: ArrayLike, baseline: ArrayLike) -> float | None:
    """Return max P / max P_ref, both `[T]` in kW; below 1 is a lower peak.

    >>> peak_change([4, 9], [12, 3])
    0.75
    """
    values, reference = floats(power), floats(baseline)
    return ratio(float(values.max()), float(reference.max())) if values.size and reference.size else None


def power_flatness(power: ArrayLike) -> float | None:
    """Return 1 - sum|P - mean P| / (2 sum P) of a power `[T]` in kW, none of it negative.

    1 is a flat line; everything in one of T intervals gives 1/T, because sum|P - mean P| is at most
    2 (1 - 1/T) sum P. (Named in Zhou et al. 2018; this normalisation is ours.)

    >>> power_flatness([2, 2]), power_flatness([4, 0])
    (1.0, 0.5)
    """
    values = floats(power)
    part = ratio(float(np.abs(values - values.mean()).sum()), 2 * float(values.sum())) if values.size else None
    return None if part is None else 1 - part


# --- market ----------------------------------------------------------------------------------------------------------


def social_welfare(value: ArrayLike, bought: ArrayLike, cost: ArrayLike, sold: ArrayLike, losses: float = 0.0) -> float:
    """Return sum(v q) of the buyers - sum(c q) of the sellers - losses, in the currency of v, c and losses.

    `value` and `cost` per kWh, `bought` and `sold` in kWh; each pair of equal shape. (Surveyed in Tushar et al. 2021.)

    >>> social_welfare([25, 20], [2, 2], [8, 12], [2, 2])
    50.0
    """
    gained = float((floats(value) * floats(bought)).sum())
    given = float((floats(cost) * floats(sold)).sum())
    return gained - given - losses


def allocative_efficiency(welfare: float, maximum: float) -> float | None:
    """Return welfare / maximum welfare, both in one currency. (Gode and Sunder 1993, J. Political Economy 101(1).)

    >>> allocative_efficiency(50, 50)
    1.0
    """
    return ratio(welfare, maximum)


def liquidity(traded: float, tradable: float) -> float | None:
    """Return traded / tradable energy, both in the same unit.

    >>> liquidity(3, 6)
    0.5
    """
    return ratio(traded, tradable)


def spread(best_bid: ArrayLike, best_ask: ArrayLike) -> float | None:
    """Return the mean of best ask - best bid per kWh over intervals in which both exist (nan where one is missing).

    >>> spread([10, 12], [14, 14])
    3.0
    """
    gap = floats(best_ask) - floats(best_bid)
    gap = gap[np.isfinite(gap)]
    return float(gap.mean()) if gap.size else None


def concentration(quantity: ArrayLike) -> float | None:
    """Return the Herfindahl-Hirschman index sum((q / sum q)^2): 1 is one seller, 1/n is n equal sellers.

    `quantity` `[N]` is what each member sold, in any unit of energy.

    >>> concentration([5, 5])
    0.5
    """
    values = floats(quantity)
    whole = float(values.sum())
    return None if whole == 0 else float(((values / whole) ** 2).sum())


def mean_price(price: ArrayLike, quantity: ArrayLike) -> float | None:
    """Return the energy-weighted mean sum(p q) / sum(q); `[T]` price per kWh, `[T]` energy.

    >>> mean_price([10, 20], [3, 1])
    12.5
    """
    weight = floats(quantity)
    return ratio(float((floats(price) * weight).sum()), float(weight.sum()))


def price_dispersion(price: ArrayLike, quantity: ArrayLike) -> float | None:
    """Return the energy-weighted standard deviation of a price `[T]`, in the unit of the price.

    >>> price_dispersion([10, 20], [1, 1])
    5.0
    """
    mean = mean_price(price, quantity)
    if mean is None:
        return None
    variance = mean_price((floats(price) - mean) ** 2, quantity)
    return None if variance is None else float(np.sqrt(variance))


def smith_alpha(price: ArrayLike, equilibrium: float) -> float | None:
    """Return Smith's alpha: the root of the mean of (p - p0)^2, as a share of the equilibrium price p0.

    `price` holds one value per trade. (Smith 1962, J. Political Economy 70(2).)

    >>> smith_alpha([9, 11], 10)
    0.1
    """
    values = floats(price)
    return ratio(float(np.sqrt(((values - equilibrium) ** 2).mean())), equilibrium) if values.size else None


def price_position(price: ArrayLike, quantity: ArrayLike, retail: ArrayLike, feed_in: ArrayLike) -> float | None:
    """Return where local prices lie between feed-in (0) and retail (1): sum((p - f) q) / sum((r - f) q).

    All `[T]`; prices per kWh, energy in any unit.

    >>> price_position([19], [6], [30], [8])
    0.5
    """
    low, weight = floats(feed_in), floats(quantity)
    above = float(((floats(price) - low) * weight).sum())
    return ratio(above, float(((floats(retail) - low) * weight).sum()))


# --- grid ------------------------------------------------------------------------------------------------------------


def losses(resistance_ohm: ArrayLike, current_a: ArrayLike, hours: float, conductors: int = 1) -> float:
    """Return the loss in kWh: sum(R I^2) times the length of an interval.

    `resistance_ohm` `[L]` per conductor, `current_a` `[T, L]`, `hours` the length of an interval, `conductors` the
    number that carry this current (3 in a balanced three-phase line).

    >>> losses([0.5], [[20.0], [0.0]], hours=1.0)
    0.2
    """
    return float((floats(resistance_ohm) * floats(current_a) ** 2).sum()) * conductors * hours / 1000


@dataclass(frozen=True)
class VoltageViolations:
    """How often, how long and how far voltages left their band."""

    count: int  # values outside the band, over all intervals and nodes
    minutes: float  # the same as a length of time
    depth_pu_h: float  # sum of max(0, |V - 1| - band) times hours
    worst_week: float | None  # smallest share of a week that a node stayed inside; EN 50160 asks for 0.95


def voltage_violations(voltage_pu: ArrayLike, hours: float, band: float = 0.1) -> VoltageViolations:
    """Count voltages `[T, B]` (per unit of nominal) outside 1 +- band; `hours` is the length of an interval.

    EN 50160 asks that in every week 95 % of the ten-minute means lie within +-10 %; here the run's own intervals are
    taken, and a last part of a week counts as a week.

    >>> voltage_violations([[1.0], [1.12]], hours=0.25).minutes
    15.0
    """
    away = np.abs(floats(voltage_pu) - 1) - band
    away = away[:, None] if away.ndim == 1 else away
    outside = away > 1e-12
    count = int(outside.sum())
    week = max(1, round(168 / hours))
    inside = [1 - float(outside[at : at + week].mean(axis=0).max()) for at in range(0, len(outside), week)]
    depth = float(np.where(outside, away, 0).sum()) * hours
    return VoltageViolations(count, count * hours * 60, depth, min(inside) if inside else None)


def overload_hours(loading: ArrayLike, hours: float) -> float:
    """Return the hours with any branch above its rating; `loading` `[T, L]` is the share of the rating.

    >>> overload_hours([[0.5, 1.2], [0.9, 0.8]], hours=0.25)
    0.25
    """
    values = floats(loading)
    values = values[:, None] if values.ndim == 1 else values
    return float((values.max(axis=1) > 1).sum()) * hours


def reverse_flow(net: ArrayLike) -> float:
    """Return the energy that flows out: sum of max(0, -net), `net` `[T]` in kWh, positive is import.

    >>> reverse_flow([3.0, -2.0])
    2.0
    """
    return float(np.maximum(0, -floats(net)).sum())


def curtailment(available: ArrayLike, produced: ArrayLike) -> float:
    """Return the energy that could have been generated but was not: sum(available - produced), both in kWh.

    >>> curtailment([5.0, 4.0], [5.0, 3.0])
    1.0
    """
    return float((floats(available) - floats(produced)).sum())
