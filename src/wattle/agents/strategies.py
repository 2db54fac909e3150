"""How traders name prices in a continuous auction: pure rules, the same in a simulation and in live operation.

A strategy is a frozen dataclass of its parameters. `begin` makes the state of one trader, `quote` names a price (or
None: say nothing now), `learn` turns a state into the next one when something was heard in the market. Prices are
ticks from 1 to `View.high`. Chance comes from the generator that is handed in.

Nobody but the two zero-intelligence traders without constraint ever quotes at a loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, exp, floor, log1p
from typing import Any, Protocol

import numpy as np

Rng = np.random.Generator


@dataclass(frozen=True)
class State:
    """One trader: which side, what the next unit is worth to him, and what his strategy remembers."""

    side: int  # +1 buys, -1 sells
    limit: int  # value of the next unit to a buyer, cost to a seller
    mind: Any = None


@dataclass(frozen=True)
class View:
    """What everybody sees before he quotes."""

    best_bid: int | None
    best_ask: int | None
    high: int  # the largest price that may be named


@dataclass(frozen=True)
class Heard:
    """A quote of somebody, and whether it led to a trade; then `price` is that of the trade."""

    side: int
    price: int
    traded: bool
    active: bool = True  # whether the one who hears it has units left


class Strategy(Protocol):
    """How a trader names prices."""

    def begin(self, side: int, limit: int, rng: Rng) -> State:
        """Return the state of a trader who knows nothing yet."""
        ...

    def quote(self, state: State, view: View, rng: Rng) -> int | None:
        """Name a price for the next unit, or say nothing."""
        ...

    def learn(self, state: State, heard: Heard, rng: Rng) -> State:
        """Return the state after something was heard."""
        ...


def _whole(price: float, side: int, limit: int, high: int) -> int:
    """Round a price in the trader's favour and keep it within his limit and the range of prices."""
    if side > 0:
        return max(1, min(floor(price), limit))
    return min(high, max(ceil(price), limit))


@dataclass(frozen=True)
class Truthful:
    """Quotes what the unit is worth. Never gains from a trade at his own price."""

    def begin(self, side: int, limit: int, rng: Rng) -> State:
        return State(side, limit)

    def quote(self, state: State, view: View, rng: Rng) -> int | None:
        return state.limit

    def learn(self, state: State, heard: Heard, rng: Rng) -> State:
        return state


@dataclass(frozen=True)
class ZeroIntelligence:
    """Quotes any price with equal chance (Gode and Sunder 1993, Journal of Political Economy 101(1)).

    `constrained`: any price that brings no loss (ZI-C); else any price at all (ZI-U).
    """

    constrained: bool = True

    def begin(self, side: int, limit: int, rng: Rng) -> State:
        return State(side, limit)

    def quote(self, state: State, view: View, rng: Rng) -> int | None:
        low, high = 1, view.high
        if self.constrained:
            low, high = (low, state.limit) if state.side > 0 else (state.limit, high)
        return int(rng.integers(low, high + 1)) if low <= high else None

    def learn(self, state: State, heard: Heard, rng: Rng) -> State:
        return state


@dataclass(frozen=True)
class ZipMind:
    """Profit margin, learning rate, momentum, and the momentum term so far."""

    margin: float
    rate: float
    momentum: float
    push: float = 0.0


@dataclass(frozen=True)
class ZeroIntelligencePlus:
    """ZIP (Cliff 1997, HP Labs HPL-97-91): a profit margin that follows the market by the Widrow-Hoff rule.

    price = limit (1 + margin). After each quote a trader who could have traded better raises his margin, one who is
    being passed over lowers it: push = momentum * push + (1 - momentum) * rate * (target - price), where the target
    is the price heard, moved a little by chance. Ranges of the start values are those of the paper.
    """

    margin: tuple[float, float] = (0.05, 0.35)
    rate: tuple[float, float] = (0.1, 0.5)
    momentum: tuple[float, float] = (0.0, 0.1)
    relative: float = 0.05
    absolute: float = 0.05

    def begin(self, side: int, limit: int, rng: Rng) -> State:
        drawn = [float(rng.uniform(*span)) for span in (self.margin, self.rate, self.momentum)]
        return State(side, limit, ZipMind(-side * drawn[0], drawn[1], drawn[2]))

    def quote(self, state: State, view: View, rng: Rng) -> int | None:
        return _whole(state.limit * (1 + state.mind.margin), state.side, state.limit, view.high)

    def learn(self, state: State, heard: Heard, rng: Rng) -> State:
        side, mind = state.side, state.mind
        price = state.limit * (1 + mind.margin)
        # Compared is the whole price that he would quote; else rounding would hide that he is passed over.
        gap = side * (_whole(price, side, state.limit, 1 << 40) - heard.price)
        if heard.traded and gap >= 0:
            direction = -side  # ask for more profit
        elif heard.active and gap <= 0 and heard.side == (-side if heard.traded else side):
            direction = side  # outbid, or passed over: ask for less
        else:
            return state
        scale = 1 + direction * float(rng.uniform(0, self.relative))
        target = scale * heard.price + direction * float(rng.uniform(0, self.absolute))
        push = mind.momentum * mind.push + (1 - mind.momentum) * mind.rate * (target - price)
        margin = (price + push) / state.limit - 1
        margin = min(0.0, max(-1.0, margin)) if side > 0 else max(0.0, margin)
        return replace(state, mind=replace(mind, margin=margin, push=push))


@dataclass(frozen=True)
class GjerstadDickhaut:
    """Maximises expected profit under a belief built from recent quotes (Games and Economic Behavior 22, 1998).

    A seller's belief that an ask of a is taken: (taken asks and all bids at a or above) divided by the same plus
    rejected asks at a or below; a buyer's is the mirror image. `memory` is the number of last trades that count.
    Between the prices heard, and to certainty at both ends of the range, it is a straight line here, not a spline.
    """

    memory: int = 5

    def begin(self, side: int, limit: int, rng: Rng) -> State:
        return State(side, limit, ())

    def quote(self, state: State, view: View, rng: Rng) -> int | None:
        heard: tuple[Heard, ...] = state.mind
        side, limit = state.side, state.limit
        if not heard:
            return ZeroIntelligence().quote(state, view, rng)
        price = np.arange(1, limit + 1) if side > 0 else np.arange(limit, view.high + 1)
        if price.size == 0:
            return None
        knot = np.unique([each.price for each in heard])
        good, bad = np.zeros(knot.size), np.zeros(knot.size)
        for each in heard:
            if each.side != side or each.traded:
                good += side * (knot - each.price) >= 0  # this price is at least as kind to the other side
            else:
                bad += side * (knot - each.price) <= 0
        ends = (0.0, 1.0) if side > 0 else (1.0, 0.0)
        believed = np.divide(good, good + bad, out=np.zeros(knot.size), where=good + bad > 0)
        places = np.concatenate(([0], knot, [max(view.high, int(knot[-1])) + 1]))
        belief = np.interp(price, places, np.concatenate((ends[:1], believed, ends[1:])))
        far, near = (view.best_ask, view.best_bid) if side > 0 else (view.best_bid, view.best_ask)
        if far is not None:
            belief[side * (price - far) >= 0] = 1.0
        if near is not None:
            belief[side * (price - near) <= 0] = 0.0
        gain = side * (limit - price) * belief
        best = int(np.argmax(gain if side > 0 else gain[::-1]))
        best = best if side > 0 else price.size - 1 - best
        return int(price[best]) if gain[best] > 0 else None

    def learn(self, state: State, heard: Heard, rng: Rng) -> State:
        kept: list[Heard] = [*state.mind, heard]
        trades = [place for place, each in enumerate(kept) if each.traded]
        if len(trades) > self.memory:
            kept = kept[trades[-self.memory - 1] + 1 :]
        return replace(state, mind=tuple(kept[-40 * self.memory :]))


@dataclass(frozen=True)
class AggressiveMind:
    """Aggressiveness, shape of the target price, last trade prices, and the extremes of Smith's alpha so far."""

    aggressiveness: float = 0.0
    shape: float = -4.0
    prices: tuple[int, ...] = ()
    alpha_low: float = float("inf")
    alpha_high: float = 0.0


@dataclass(frozen=True)
class AdaptiveAggressive:
    """AA (Vytelingum, Cliff and Jennings 2008, Artificial Intelligence 172(14)).

    An estimate of the equilibrium price and an aggressiveness r in [-1, 1] give a target: -1 waits for the best
    conceivable price, 0 aims at the equilibrium, 1 at the own limit. After each quote r moves towards what would have
    been just enough (`rate_short`); after each trade the shape of the target follows the volatility (`rate_long`).
    """

    eta: float = 3.0
    rate_short: float = 0.4
    rate_long: float = 0.4
    relative: float = 0.02
    absolute: float = 0.01
    gamma: float = 2.0
    shape: tuple[float, float] = (-8.0, 2.0)
    window: int = 5
    weight: float = 0.9

    def begin(self, side: int, limit: int, rng: Rng) -> State:
        return State(side, limit, AggressiveMind(shape=float(rng.uniform(-8.0, 0.0))))

    def quote(self, state: State, view: View, rng: Rng) -> int | None:
        side, limit, mind = state.side, state.limit, state.mind
        near, far = (view.best_bid, view.best_ask) if side > 0 else (view.best_ask, view.best_bid)
        outer = 0 if side > 0 else view.high
        start = outer if near is None else near
        if side * (limit - start) <= 0:
            return None
        end: float
        if not mind.prices:
            end = limit if far is None or side * (limit - far) <= 0 else far
        else:
            end = self._target(state, mind.aggressiveness, view.high)
            if far is not None and side * (end - far) >= 0:
                return _whole(far, side, limit, view.high)
        if side * (end - start) <= 0:
            return None
        step = max(1, ceil(side * (end - start) / self.eta))  # at least a tick, else the gap would never close
        return _whole(start + side * step, side, limit, view.high)

    def learn(self, state: State, heard: Heard, rng: Rng) -> State:
        side, mind = state.side, state.mind
        if heard.traded:
            mind = self._after_trade(mind, heard.price)
            state = replace(state, mind=mind)
        if not mind.prices:
            return state
        high = 4 * max(*mind.prices, state.limit, 1)
        target = self._target(state, mind.aggressiveness, high)
        behind = side * (target - heard.price) <= 0  # the price heard is kinder to the other side than the target
        if heard.traded:
            direction = 1 if behind else -1
        elif heard.side == side and behind:
            direction = 1
        else:
            return state
        enough = self._needed(state, heard.price, high)
        desired = (1 + direction * self.relative) * enough + direction * self.absolute
        aggressiveness = mind.aggressiveness + self.rate_short * (desired - mind.aggressiveness)
        return replace(state, mind=replace(mind, aggressiveness=min(1.0, max(-1.0, aggressiveness))))

    def _equilibrium(self, prices: tuple[int, ...]) -> float:
        weights = [self.weight ** (len(prices) - 1 - place) for place in range(len(prices))]
        return sum(w * p for w, p in zip(weights, prices, strict=True)) / sum(weights)

    def _after_trade(self, mind: AggressiveMind, price: int) -> AggressiveMind:
        prices = (*mind.prices, price)[-self.window :]
        middle = self._equilibrium(prices)
        alpha = (sum((each - middle) ** 2 for each in prices) / len(prices)) ** 0.5 / middle
        low, high = min(mind.alpha_low, alpha), max(mind.alpha_high, alpha)
        spread = (alpha - low) / (high - low) if high > low else 0.5
        bottom, top = self.shape
        wanted = (top - bottom) * (1 - spread * exp(self.gamma * (spread - 1))) + bottom
        shape = mind.shape + self.rate_long * (wanted - mind.shape)
        return replace(mind, prices=prices, shape=shape, alpha_low=low, alpha_high=high)

    def _ends(self, state: State, high: int) -> tuple[float, float, float]:
        """Return the targets for r = -1, 0 and 1; who could not trade at equilibrium aims at his limit at most."""
        middle = self._equilibrium(state.mind.prices)
        if state.side * (state.limit - middle) < 0:
            middle = state.limit
        return (0.0 if state.side > 0 else float(high)), middle, float(state.limit)

    def _target(self, state: State, aggressiveness: float, high: int) -> float:
        worst, middle, limit = self._ends(state, high)
        part = _bent(abs(aggressiveness), state.mind.shape)
        return middle + part * ((limit if aggressiveness > 0 else worst) - middle)

    def _needed(self, state: State, price: int, high: int) -> float:
        """Return the aggressiveness whose target is the price."""
        worst, middle, limit = self._ends(state, high)
        up = state.side * (price - middle) > 0
        span = (limit if up else worst) - middle
        part = min(1.0, (price - middle) / span) if span else 0.0 if not up else 1.0
        return (1 if up else -1) * _straight(part, state.mind.shape)


def _bent(part: float, shape: float) -> float:
    """Return (e^(part shape) - 1) / (e^shape - 1); a straight line where the shape is 0."""
    return part if abs(shape) < 1e-6 else (exp(part * shape) - 1) / (exp(shape) - 1)


def _straight(part: float, shape: float) -> float:
    """Return the inverse of `_bent`."""
    return part if abs(shape) < 1e-6 else min(1.0, max(0.0, log1p(part * (exp(shape) - 1)) / shape))


STRATEGIES: dict[str, Strategy] = {
    "truthful": Truthful(),
    "zi-u": ZeroIntelligence(constrained=False),
    "zi-c": ZeroIntelligence(),
    "zip": ZeroIntelligencePlus(),
    "gd": GjerstadDickhaut(),
    "aa": AdaptiveAggressive(),
}
"""Every strategy by name, with its published parameters."""
