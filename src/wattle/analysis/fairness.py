"""Evaluation indices of money and fairness among members: small pure functions on arrays `[N]`.

**What is shared out.** Fairness is measured on *gains*: what a member saves against the same behaviour without a
community, g = C_ref - C in currency, over all members of the run.

**Negative gains.** Jain's index, the Gini coefficient and min/max describe how a good is divided; they are defined for
amounts that are not negative. A member who loses is therefore counted as one who received nothing: x = max(0, g).
Adding a constant until all gains are positive, the other common way, is refused: none of the three indices is
unchanged by it, so one large loser would make every division look equal. What clipping hides, the size of losses, is
printed beside it as the worst-off member's saving and the share of members who lose. If nobody gains, nothing was
divided and the index has no value (None). (Jain, Chiu, Hawe 1984, DEC-TR-301; on the Gini coefficient with negative
amounts Raffinetti, Siletti, Vernizzi 2015, Statistical Methods & Applications 24.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from wattle.analysis.formulas import Floats, floats, ratio


def gains(reference: ArrayLike, cost: ArrayLike) -> Floats:
    """Return what each member saves: C_ref - C, `[N]` in currency; negative for one who pays more.

    >>> gains([100, 50], [90, 55]).tolist()
    [10.0, -5.0]
    """
    return floats(reference) - floats(cost)


def divided(gain: ArrayLike) -> Floats:
    """Return gains as amounts that can be divided: max(0, g); see the head of this module."""
    return np.maximum(floats(gain), 0.0)


def cost_saving(reference: float, cost: float) -> float | None:
    """Return (C_ref - C) / C_ref; None unless the reference is a cost (above 0).

    >>> cost_saving(200, 150)
    0.25
    """
    return (reference - cost) / reference if reference > 0 else None


def value_tapping(reference: float, cost: float, optimum: float) -> float | None:
    """Return the part of the reachable saving that was reached: (C_ref - C) / (C_ref - C_opt).

    All in currency, all members together. (Index named in Zhou, Wu, Long, Ming 2018, Applied Energy 222.)

    >>> value_tapping(100, 85, 80)
    0.75
    """
    return ratio(reference - cost, reference - optimum)


def participation_willingness(reference: ArrayLike, cost: ArrayLike) -> float | None:
    """Return the share of members who do not pay more than without a community: C <= C_ref, both `[N]`.

    Give exact integers; the comparison is strict to the last unit of cash. (Zhou et al. 2018.)

    >>> participation_willingness([10, 10, 10, 10], [9, 10, 11, 8])
    0.75
    """
    before, after = np.asarray(reference), np.asarray(cost)
    return float((after <= before).mean()) if before.size else None


def losers_share(reference: ArrayLike, cost: ArrayLike) -> float | None:
    """Return the share of members who pay more than without a community: C > C_ref, both `[N]`, exact integers.

    >>> losers_share([10, 10, 10, 10], [9, 10, 11, 8])
    0.25
    """
    before, after = np.asarray(reference), np.asarray(cost)
    return float((after > before).mean()) if before.size else None


def gini(amount: ArrayLike) -> float | None:
    """Return the Gini coefficient sum|x_i - x_j| / (2 n^2 mean x) of amounts `[N]` that are not negative.

    >>> gini([1, 1, 1, 1]), gini([1, 0, 0, 0])
    (0.0, 0.75)
    """
    values = np.sort(floats(amount))
    whole = float(values.sum())
    if values.size == 0 or whole <= 0:
        return None
    rank = np.arange(1, values.size + 1)
    return max(0.0, float(2 * (rank * values).sum() / (values.size * whole) - (values.size + 1) / values.size))


def equality(gain: ArrayLike) -> float | None:
    """Return 1 - Gini of max(0, g), `[N]` in currency: 1 is an equal gain for everyone. (After Zhou et al. 2018.)

    >>> equality([5, 5, 5])
    1.0
    """
    unequal = gini(divided(gain))
    return None if unequal is None else 1 - unequal


def jain(gain: ArrayLike) -> float | None:
    """Return Jain's index (sum x)^2 / (n sum x^2) with x = max(0, g), `[N]` in currency.

    1 is an equal gain for everyone; k of n members with equal gains and the rest with none give k/n. (Jain, Chiu,
    Hawe 1984; called quality of service in Moret and Pinson 2019, IEEE Transactions on Power Systems 34(5).)

    >>> jain([1, 0, 0, 0])
    0.25
    """
    values = divided(gain)
    square = float((values**2).sum())
    return float(values.sum()) ** 2 / (values.size * square) if square > 0 else None


def min_max(gain: ArrayLike) -> float | None:
    """Return min x / max x with x = max(0, g), `[N]` in currency: 0 as soon as one member gains nothing.

    >>> min_max([2, 8, 4])
    0.25
    """
    values = divided(gain)
    return ratio(float(values.min()), float(values.max())) if values.size else None


def quality_of_experience(price: ArrayLike, low: float, high: float) -> float | None:
    """Return 1 - sigma / sigma_max of the prices that members perceive, `[N]` per kWh.

    sigma is the standard deviation over members; sigma_max = (high - low) / 2 is the largest that prices between
    `low` and `high` can have (Popoviciu 1935). (Moret and Pinson 2019, IEEE Transactions on Power Systems 34(5).)

    >>> quality_of_experience([20, 20], 8, 30), quality_of_experience([8, 30], 8, 30)
    (1.0, 0.0)
    """
    values = floats(price)
    if values.size == 0:
        return None
    part = ratio(2 * float(values.std()), high - low)
    return None if part is None else 1 - part


def meritocratic(gain: ArrayLike, contribution: ArrayLike) -> float | None:
    """Return the correlation of gains with contributions, both `[N]`: 1 is "who brings more gains more".

    Pearson's coefficient; gains in currency, negative ones as they are, contributions in kWh. None if either is the
    same for all. (After the meritocratic view of Couraud et al. 2025, arXiv 2508.16819.)

    >>> meritocratic([1, 2, 3], [10, 20, 30])
    1.0
    """
    x, y = floats(gain), floats(contribution)
    if x.size < 2:
        return None
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x**2).sum()) * np.sqrt((y**2).sum()))
    return None if scale == 0 else min(1.0, max(-1.0, round(float((x * y).sum()) / scale, 12)))
