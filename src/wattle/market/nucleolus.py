"""Nucleolus: the division that leaves the most dissatisfied coalition as content as possible, then the next, and so on.

The excess of a coalition is what it would gain by leaving, less what it is given. The least core makes the largest
excess as small as possible; among what is left open the nucleolus lowers the second largest, until one division
remains. It lies in the core whenever the core is not empty, and for a community that shares energy it never is.

David Schmeidler, The nucleolus of a characteristic function game, SIAM Journal on Applied Mathematics 17 (1969);
the sequence of linear programmes is that of Kopelowitz (1967) and Maschler, Peleg and Shapley (1979).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.tables import Orders
from wattle.market.coalition import Floats, Game, coalition_values, core_point, pool_of, shared_out, whole_shares
from wattle.market.mechanism import (
    BUDGET_BALANCED,
    IN_CORE,
    INDIVIDUALLY_RATIONAL,
    METERED,
    SEPARABLE,
    mechanism,
)

MEMBERS_MAX = 12
COALITIONS_MAX = 1 << MEMBERS_MAX
PIVOTS_MAX = 20_000
SMALL = 1e-9
"""Below this share of the largest worth a number counts as nought."""


@mechanism(
    "nucleolus",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, IN_CORE, SEPARABLE},
    source="Schmeidler 1969, doi:10.1137/0117107; Maschler, Peleg and Shapley 1979, doi:10.1287/moor.4.4.303",
    when=METERED,
)
@dataclass(frozen=True)
class Nucleolus:
    """The gain is divided so that no coalition has a reason to leave, and the least content has as little as possible.

    Local energy is traded pro rata at the mid price; transfers bring everybody to his share. Up to 12 members who
    trade in one interval (equal members count less) it is found by linear programmes. More members have a closed form
    where supply equals demand, or where no member of the long side is so large that he is needed; an interval with
    neither is refused.
    """

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Share the gain of each interval by its nucleolus."""
        pool = pool_of(orders, context)
        if isinstance(pool, Reject):
            return None, Clearing.refuse(pool)
        shares: list[I64] = []
        for game in pool.games:
            share = nucleolus_of(game)
            if share is None:
                return None, Clearing.refuse(Reject.TOO_MANY_MEMBERS)
            shares.append(whole_shares(game.worth, share))
        return None, shared_out(pool, shares)


def nucleolus_of(game: Game) -> Floats | None:
    """Return the nucleolus of a community game, or None if it has too many members and no closed form."""
    closed = closed_form(game)
    if closed is not None:
        return closed
    kinds, kind, count = game.types()
    plays = kinds.any(axis=1)  # who adds nothing gets nothing
    if float(np.prod(count[plays] + 1.0)) > COALITIONS_MAX:
        return None
    # Equal members are given equal shares, so one unknown for each type is enough.
    values = coalition_values(np.ascontiguousarray(kinds[plays]), count[plays])
    of_kind = np.zeros(count.size)
    of_kind[plays] = np.maximum(_lexical(_holdings(count[plays]), values.astype(float)) / count[plays], 0.0)
    return game.alone + of_kind[kind]


def closed_form(game: Game) -> Floats | None:
    """Return the nucleolus where it needs no programme, or None.

    - Additive games: everybody has what he makes by himself.
    - A core of one point (see `core_point`): the nucleolus lies in the core, so it is that point.
    - Price takers with supply equal to demand: half of the gain to each side, by quantity. There a coalition with the
      net position X(S) has the excess -(r - f) |X(S)| / 2, and so have all the others together, since X sums to 0.
      Coalitions of the same excess thus come in complementary pairs, each family of them is balanced, and by Kohlberg
      (1971) that marks the nucleolus.
    """
    if game.additive:
        return game.alone.astype(float)
    point = core_point(game)
    if point is None and game.gain.shape[1] == 2 and game.gain[:, 0].sum() == game.gain[:, 1].sum():
        half: Floats = (game.gain[:, 0] + game.gain[:, 1]) / 2
        return half
    return point


def nucleolus(values: Floats | I64) -> Floats:
    """Return the nucleolus of any game from the worth of its 2^n coalitions, bit i for member i; at most 12 members.

    Over all divisions of the whole worth, also those that give a member less than he has alone (the prenucleolus);
    for games in which joining never costs anything the two are the same.

    >>> estate, claims = 200, np.array([100, 200, 300])  # the widow's problem of the Talmud
    >>> held = np.array([[s >> i & 1 for i in range(3)] for s in range(8)])
    >>> nucleolus(np.maximum(0, estate - (1 - held) @ claims)).round(6).tolist()
    [50.0, 75.0, 75.0]
    """
    return _lexical(_subsets(values), np.asarray(values, float))


def least_core(values: Floats | I64) -> tuple[float, Floats]:
    """Return the smallest epsilon for which the strong epsilon-core is not empty, and a division in it.

    epsilon is what each coalition must be made to pay for leaving (negative: what it may even be offered) so that
    some division holds everybody. The core is not empty exactly if epsilon is at most 0.
    """
    holds, worth = _subsets(values), np.asarray(values, float)
    ensure(worth.size > 2, "one member alone has no coalition that could leave")
    scale = max(float(np.abs(worth).max()), 1.0)
    start, free = _efficient(holds, worth / scale)
    inner = holds[1:-1]
    step, epsilon, _ = _least_excess(inner @ free, worth[1:-1] / scale - inner @ start)
    division: Floats = (start + free @ step) * scale
    return epsilon * scale, division


def _subsets(values: Floats | I64) -> Floats:
    members = int(values.size).bit_length() - 1
    ensure(values.size == 1 << members, f"{values.size} values given, expected a power of two")
    ensure(1 <= members <= MEMBERS_MAX, f"{members} members given, expected 1 to {MEMBERS_MAX}")
    return _holdings(np.ones(members, np.int64))


def _holdings(count: I64) -> Floats:
    """Return what share of each type every coalition holds, in the order of `coalition_values`."""
    stride = np.concatenate(([1], np.cumprod(count + 1)))
    state = np.arange(stride[-1])[:, None]
    return ((state // stride[:-1]) % (count + 1)) / count


def _efficient(holds: Floats, worth: Floats) -> tuple[Floats, Floats]:
    """Return a division of the whole worth and the directions in which it may still be changed."""
    size = holds.shape[1]
    return np.full(size, worth[-1] / size), _null_space(np.ones((1, size)))


def _null_space(rows: Floats) -> Floats:
    _, values, right = np.linalg.svd(rows)
    rank = int((values > SMALL * max(rows.shape) * max(float(values.max(initial=0.0)), 1.0)).sum())
    return right[rank:].T


def _lexical(holds: Floats, worth: Floats) -> Floats:
    """Lower the largest excess, fix the coalitions that cannot have less, and go on with the others."""
    scale = float(np.abs(worth).max())
    if scale == 0:
        return np.zeros(holds.shape[1])
    worth = worth / scale
    share, free = _efficient(holds, worth)
    active = np.arange(1, worth.size - 1)
    while free.shape[1] > 0:
        slope = holds[active] @ free
        moves = np.abs(slope).max(axis=1) > SMALL
        active, slope = active[moves], slope[moves]
        step, _, tight = _least_excess(slope, worth[active] - holds[active] @ share)
        share = share + free @ step
        rest = _null_space(slope[tight])
        ensure(rest.shape[1] < free.shape[1], "the nucleolus does not come nearer")
        free = free @ rest
    return share * scale


def _least_excess(slope: Floats, gap: Floats) -> tuple[Floats, float, NDArray[np.intp]]:
    """Minimise e subject to slope u + e >= gap; return u, e, and rows that are tight at every optimum.

    Simplex method on the dual: maximise gap y with slope' y = 0, sum y = 1, y >= 0. It begins with one coalition and
    its complement at 1/2 each. The right-hand side is shifted a little so that no step is of length nought; the
    basis at the end is optimal for the true one, too, because optimality of a basis does not depend on it.
    """
    rows = np.hstack((slope, np.ones((slope.shape[0], 1))))
    basis = _first_basis(rows)
    size = basis.size
    right = np.zeros(size)
    right[-1] = 1.0
    nudge = 1e-7 * (1.0 + np.arange(1, size + 1) * 0.6180339887498949 % 1.0)
    shifted = right + rows[basis].T @ nudge
    for _ in range(PIVOTS_MAX):
        square = rows[basis]
        point = np.linalg.solve(square, gap[basis])
        short = gap - rows @ point
        enter = int(np.argmax(short))
        if short[enter] <= SMALL:
            weight = np.linalg.solve(square.T, right)
            step = np.asarray(point[:-1], np.float64)
            return step, float(point[-1]), basis[weight > 1e-5]
        now, change = np.linalg.solve(square.T, np.stack((shifted, rows[enter]), axis=1)).T
        falls = change > SMALL
        ensure(falls.any(), "the largest excess has no lower bound")
        ratio = np.where(falls, np.maximum(now, 0.0) / np.where(falls, change, 1.0), np.inf)
        basis[int(np.argmin(ratio))] = enter
    ensure(False, f"no optimum after {PIVOTS_MAX} steps")
    raise AssertionError


def _first_basis(rows: Floats) -> NDArray[np.intp]:
    """Return independent rows, a coalition and its complement first: rows stand in order, so the last complements."""
    basis = [0, rows.shape[0] - 1]
    left = rows - np.outer(rows @ rows[0], rows[0]) / (rows[0] @ rows[0])
    for number in range(1, rows.shape[1]):
        if number > 1:
            basis.append(int(np.argmax((left**2).sum(axis=1))))
        pivot = left[basis[-1]]
        left = left - np.outer(left @ pivot, pivot) / (pivot @ pivot)
    return np.array(basis, np.intp)
