"""Games with concave quadratic payoffs and constraints that all players share: normalised equilibria, two ways.

Each of N players chooses one number x_i between 0 and `upper_i`. What one unit more earns him falls in his own number
and depends on the others':

    d payoff_i / d x_i = linear_i - own_i x_i - left_i . (right' x),   so that  H = diag(own) + left right'

and all players together must keep rows x <= caps. Quantity games of Cournot have this form (one column in `left` and
`right`), and with N columns so has every game with quadratic payoffs (`QuadraticGame.dense`).

Where a shared constraint binds there are many generalised Nash equilibria: anybody may be the one who gives way. The
*normalised* equilibrium (Rosen 1965, Econometrica 33(3)) is the one in which the constraint has the same shadow price
for all. If H + H' is positive definite there is exactly one, and both methods find it:

- `relaxation` (Nikaido and Isoda 1955; Uryas'ev and Rubinstein 1994, IEEE Transactions on Automatic Control 39(6);
  Krawczyk and Uryasev 2000, Environmental Modeling and Assessment 5). With Psi(x, y) the sum over players of what each
  wins by moving alone from x_i to y_i, Z(x) = argmax Psi(x, y) over all y that keep the shared constraints; then
  x <- (1 - a) x + a Z(x) with the a that makes max Psi smallest. At the equilibrium max Psi is 0, elsewhere above it.
- `extragradient` (Korpelevich 1976; step of Khobotov 1987) on the variational inequality (H x - linear)'(y - x) >= 0:
  a step against the gradient and back into the set, then the step again with the gradient found there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import ensure
from wattle.core.compiled import kernel

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class QuadraticGame:
    """Payoffs and the shared set; see the formula above. Shapes: [N], `left` and `right` [N, R], `rows` [K, N]."""

    linear: F64
    own: F64
    left: F64
    right: F64
    upper: F64
    rows: F64
    caps: F64

    def __post_init__(self) -> None:
        size = self.linear.size
        ensure(self.left.shape == self.right.shape and self.left.shape[:1] == (size,), "left, right: expected [N, R]")
        ensure(self.own.shape == self.upper.shape == (size,), "own, upper: expected one number for each player")
        ensure(self.rows.shape == (self.caps.size, size), "rows: expected one row of N numbers for each cap")
        ensure(bool((self.slope > 0).all()), "a payoff is not strictly concave in the player's own number")
        ensure(bool((self.upper >= 0).all() and (self.caps >= 0).all()), "nobody may do nothing: a bound is below 0")

    @classmethod
    def dense(
        cls, linear: F64, matrix: F64, upper: F64 | None = None, rows: F64 | None = None, caps: F64 | None = None
    ) -> QuadraticGame:
        """Return the game in which one unit more earns player i linear_i - matrix_i . x.

        >>> duopoly = QuadraticGame.dense(np.array([12.0, 12.0]), np.array([[2.0, 1.0], [1.0, 2.0]]))
        >>> relaxation(duopoly).quantity.round(6).tolist()
        [4.0, 4.0]
        """
        size = linear.size
        return cls(
            np.asarray(linear, np.float64),
            np.zeros(size),
            np.ascontiguousarray(matrix, np.float64),
            np.eye(size),
            np.full(size, np.inf) if upper is None else np.asarray(upper, np.float64),
            np.zeros((0, size)) if rows is None else np.ascontiguousarray(rows, np.float64),
            np.zeros(0) if caps is None else np.asarray(caps, np.float64),
        )

    @property
    def slope(self) -> F64:
        """How fast each player's marginal payoff falls in his own number: the diagonal of H, [N]."""
        slope: F64 = self.own + (self.left * self.right).sum(axis=1)
        return slope

    def marginal(self, x: F64) -> F64:
        """Return what one unit more earns each player at x, [N]."""
        marginal: F64 = self.linear - self.own * x - self.left @ (self.right.T @ x)
        return marginal


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """Where a method came to rest. `multiplier` [K] is the shadow price of each shared constraint, equal for all.

    `residual` is the largest |Z(x) - x| over the largest |x|; `gap` is max Psi(x, y), what all could win by moving.
    """

    quantity: F64
    multiplier: F64
    iterations: int
    residual: float
    gap: float


def relaxation(game: QuadraticGame, *, tolerance: float = 1e-8, rounds_max: int = 10_000) -> Equilibrium:
    """Return the normalised equilibrium by the relaxation algorithm on the Nikaido-Isoda function."""
    return _solved(_relax, game, tolerance, rounds_max)


def extragradient(game: QuadraticGame, *, tolerance: float = 1e-8, rounds_max: int = 100_000) -> Equilibrium:
    """Return the normalised equilibrium as the solution of the variational inequality."""
    return _solved(_extragradient, game, tolerance, rounds_max)


def deviation_gain(game: QuadraticGame, x: F64) -> F64:
    """Return what each player would win by the best move of his own that keeps all constraints, others as in x, [N].

    The best move has a closed form: the top of a parabola, or the end of the range that the constraints leave. At an
    equilibrium, normalised or not, it is 0.
    """
    low, high = np.zeros(x.size), game.upper.copy()
    spare = game.caps - game.rows @ x
    for row, left in zip(game.rows, spare, strict=True):
        room = np.divide(np.maximum(left, 0.0), row, out=np.full(x.size, np.inf), where=row != 0)
        high = np.where(row > 0, np.minimum(high, x + room), high)
        low = np.where(row < 0, np.maximum(low, x + room), low)
    marginal, slope = game.marginal(x), game.slope
    move = np.clip(x + marginal / slope, low, high) - x
    gain: F64 = np.maximum(0.0, marginal * move - slope * move * move / 2)
    return gain


def _solved(method: Any, game: QuadraticGame, tolerance: float, rounds_max: int) -> Equilibrium:
    x, multiplier, told = np.zeros(game.linear.size), np.zeros(game.caps.size), np.zeros(3)
    parts = (game.linear, game.own, game.left, game.right, game.upper, game.rows, game.caps, game.slope)
    method(*(np.ascontiguousarray(part) for part in parts), tolerance, rounds_max, x, multiplier, told)
    return Equilibrium(x, multiplier, int(told[0]), float(told[1]), float(told[2]))


@kernel("rf rf rf2 rf rf wf")
def _fitted(target: Any, weight: Any, rows: Any, upper: Any, multiplier: Any, y: Any) -> Any:
    """Write y = argmax of target y - weight y^2 / 2 - multiplier (rows y) within the bounds."""
    for i in range(target.size):
        pull = target[i]
        for k in range(multiplier.size):
            pull -= multiplier[k] * rows[k, i]
        y[i] = min(max(pull / weight[i], 0.0), upper[i])


@kernel("rf rf rf2 rf rf i f f wf wf")
def _between(
    target: Any, weight: Any, rows: Any, caps: Any, upper: Any, k: Any, low: Any, high: Any, multiplier: Any, y: Any
) -> Any:
    """Mix what two neighbouring prices of row k give, so that the row holds; for payoffs that are all but straight."""
    more, over, under = np.zeros(y.size), -caps[k], -caps[k]
    multiplier[k] = low
    _fitted(target, weight, rows, upper, multiplier, more)
    multiplier[k] = high
    _fitted(target, weight, rows, upper, multiplier, y)
    for i in range(y.size):
        over += rows[k, i] * more[i]
        under += rows[k, i] * y[i]
    part = min(max(-under / (over - under), 0.0), 1.0) if over > under else 0.0
    for i in range(y.size):
        y[i] += part * (more[i] - y[i])


@kernel("rf rf rf2 rf rf i wf wf")
def _priced(target: Any, weight: Any, rows: Any, caps: Any, upper: Any, k: Any, multiplier: Any, y: Any) -> Any:
    """Set multiplier k, the others as they are, so that row k holds: Newton's steps, kept in a shrinking bracket.

    What the row holds falls in its multiplier and is made of straight pieces, so few steps are needed.
    """
    low, high = 0.0, np.inf
    price = multiplier[k]
    for _ in range(300):
        multiplier[k] = price
        _fitted(target, weight, rows, upper, multiplier, y)
        over, fall, size = -caps[k], 0.0, abs(caps[k])
        for i in range(y.size):
            over += rows[k, i] * y[i]
            size += abs(rows[k, i] * y[i])
            if 0.0 < y[i] < upper[i]:
                fall += rows[k, i] * rows[k, i] / weight[i]
        if abs(over) <= 1e-15 * size or (over < 0.0 and price == 0.0):
            return
        if over > 0.0:
            low = price
        else:
            high = price
        if high < np.inf and high - low <= 1e-15 * high:
            _between(target, weight, rows, caps, upper, k, low, high, multiplier, y)
            return
        step = price + over / fall if fall > 0.0 else -1.0
        if low < step < high:
            price = step
        elif step <= 0.0 and low == 0.0 and fall > 0.0:
            price = 0.0
        elif high == np.inf:
            price = 2.0 * low + 1e-12
        else:
            price = 0.5 * (low + high)


@kernel("rf rf rf2 rf rf wf wf")
def _best_in_set(target: Any, weight: Any, rows: Any, caps: Any, upper: Any, multiplier: Any, y: Any) -> Any:
    """Write y = argmax of target y - weight y^2 / 2 over the shared set, and the multipliers of its rows.

    The dual problem, one multiplier after the other until none moves (exact at once for a single row).
    """
    _fitted(target, weight, rows, upper, multiplier, y)
    for _ in range(1000):
        moved, largest = 0.0, 0.0
        for k in range(caps.size):
            before = multiplier[k]
            _priced(target, weight, rows, caps, upper, k, multiplier, y)
            moved = max(moved, abs(multiplier[k] - before))
            largest = max(largest, multiplier[k])
        if caps.size <= 1 or moved <= 1e-14 * largest:
            return


@kernel("rf rf rf2 rf2 rf wf wf")
def _marginal(linear: Any, own: Any, left: Any, right: Any, x: Any, sums: Any, marginal: Any) -> Any:
    """Write linear - H x; `sums` [R] is scratch."""
    for r in range(sums.size):
        sums[r] = 0.0
    for i in range(x.size):
        for r in range(sums.size):
            sums[r] += right[i, r] * x[i]
    for i in range(x.size):
        found = linear[i] - own[i] * x[i]
        for r in range(sums.size):
            found -= left[i, r] * sums[r]
        marginal[i] = found


@kernel("rf rf rf2 rf2 rf rf2 rf rf rf wf wf wf wf")
def _reply(
    linear: Any, own: Any, left: Any, right: Any, upper: Any, rows: Any, caps: Any, slope: Any, x: Any,
    multiplier: Any, sums: Any, target: Any, z: Any,
) -> Any:  # fmt: skip
    """Write z = Z(x), the joint best reply within the shared set, and return max Psi = Psi(x, z)."""
    _marginal(linear, own, left, right, x, sums, target)
    for i in range(x.size):
        target[i] += slope[i] * x[i]
    _best_in_set(target, slope, rows, caps, upper, multiplier, z)
    gap = 0.0
    for i in range(x.size):
        gap += (z[i] - x[i]) * (target[i] - 0.5 * slope[i] * (z[i] + x[i]))
    return gap


@kernel("rf rf")
def _distance(x: Any, z: Any) -> Any:
    """Return the largest |z - x| over the largest |x| or |z|."""
    apart, size = 0.0, 1e-300
    for i in range(x.size):
        apart = max(apart, abs(z[i] - x[i]))
        size = max(size, abs(x[i]), abs(z[i]))
    return apart / size


@kernel("rf rf rf2 rf2 rf rf2 rf rf f i wf wf wf")
def _relax(
    linear: Any, own: Any, left: Any, right: Any, upper: Any, rows: Any, caps: Any, slope: Any,
    tolerance: Any, rounds_max: Any, x: Any, multiplier: Any, told: Any,
) -> Any:  # fmt: skip
    """Relaxation with the best step: three points give a parabola of max Psi along the way, and its bottom is tried."""
    count = x.size
    sums, target, z, other = np.zeros(left.shape[1]), np.zeros(count), np.zeros(count), np.zeros(count)
    trial, best, price = np.zeros(count), np.zeros(count), np.zeros(caps.size)
    gap = _reply(linear, own, left, right, upper, rows, caps, slope, x, multiplier, sums, target, z)
    for number in range(rounds_max):
        told[0], told[1], told[2] = number, _distance(x, z), gap
        if told[1] <= tolerance:
            return
        lowest, middle, step = np.inf, 0.0, 1.0
        for attempt in range(40):
            for i in range(count):
                trial[i] = x[i] + step * (z[i] - x[i])
            for k in range(caps.size):
                price[k] = multiplier[k]
            tried = _reply(linear, own, left, right, upper, rows, caps, slope, trial, price, sums, target, other)
            if tried < lowest:
                lowest = tried
                for i in range(count):
                    best[i] = trial[i]
            if attempt == 0:
                whole, step = tried, 0.5
            elif attempt == 1:
                middle = tried
                bend = 2.0 * whole + 2.0 * gap - 4.0 * middle
                step = (3.0 * gap + whole - 4.0 * middle) / (2.0 * bend) if bend > 0.0 else 0.25
                step = min(max(step, 1e-3), 1.0)
            elif lowest < gap:
                break
            else:
                step *= 0.5
        if not lowest < gap:  # nothing along the way is better: the last digits are reached
            return
        for i in range(count):
            x[i] = best[i]
        gap = _reply(linear, own, left, right, upper, rows, caps, slope, x, multiplier, sums, target, z)
    told[0], told[1], told[2] = rounds_max, _distance(x, z), gap


@kernel("rf rf rf2 rf2 rf rf2 rf rf f i wf wf wf")
def _extragradient(
    linear: Any, own: Any, left: Any, right: Any, upper: Any, rows: Any, caps: Any, slope: Any,
    tolerance: Any, rounds_max: Any, x: Any, multiplier: Any, told: Any,
) -> Any:  # fmt: skip
    """Extragradient with a step that shrinks while the gradient turns too fast, and grows again slowly.

    Distances count (x_i - y_i)^2 by player i's slope, so that players of very different size move alike.
    """
    count = x.size
    sums, target, z = np.zeros(left.shape[1]), np.zeros(count), np.zeros(count)
    ahead, there, here, price = np.zeros(count), np.zeros(count), np.zeros(count), np.zeros(caps.size)
    step = 1.0
    for number in range(rounds_max):
        if number % 8 == 0:
            gap = _reply(linear, own, left, right, upper, rows, caps, slope, x, multiplier, sums, target, z)
            told[0], told[1], told[2] = number, _distance(x, z), gap
            if told[1] <= tolerance:
                return
        _marginal(linear, own, left, right, x, sums, here)
        for _ in range(200):
            for i in range(count):
                target[i] = slope[i] * x[i] + step * here[i]
            _best_in_set(target, slope, rows, caps, upper, price, ahead)
            _marginal(linear, own, left, right, ahead, sums, there)
            turned, moved = 0.0, 0.0
            for i in range(count):
                turned += (there[i] - here[i]) ** 2 / slope[i]
                moved += slope[i] * (ahead[i] - x[i]) ** 2
            if step * step * turned <= 0.81 * moved:
                break
            step *= 0.7
        for i in range(count):
            target[i] = slope[i] * x[i] + step * there[i]
        _best_in_set(target, slope, rows, caps, upper, price, x)
        if step * step * turned <= 0.25 * moved:
            step *= 1.3
    gap = _reply(linear, own, left, right, upper, rows, caps, slope, x, multiplier, sums, target, z)
    told[0], told[1], told[2] = rounds_max, _distance(x, z), gap
