"""Bilateral negotiation by quotes: every pair of partners is asked at its own price until both want the same.

The book that opens the gate says who is there: a member who names partners talks to them only, one who names nobody
talks to everybody on the other side. From then on the platform asks each pair at a price, and members answer with
orders that name the partner and the quantity they want at that price. Costs stay with the members.

`bilateral-admm` is consensus ADMM (Sorin, Bobo and Pinson 2019, relaxed consensus + innovation). Written with quotes:
with quantities b and s wanted by the buyer and the seller of a pair, the multiplier of the pair moves by
penalty (b - s) / 2, and the quote is the multiplier plus penalty (b - s) / 2. A member who answers by his own surplus
less penalty / 2 (change of quantity)^2 (`agents.quadratic`) then takes exactly the steps of ADMM, and both sides see
one and the same price. `price-adjustment` moves each price by the excess demand of its pair instead.
`solve_bilateral` does the same in one compiled loop for those who know all curves (`negotiation_kernel`).

Grid charges are paid half by the buyer and half by the seller on top of the quoted price of energy; what they pay in
excess stays as the gap between the two prices of a trade.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory, Quote
from wattle.core.segments import pair_groups
from wattle.core.tables import BUY, Orders, Preferences, Quotes, Trades
from wattle.market.auction_double import mean_prices, trades_of
from wattle.market.between_zones import halves
from wattle.market.mechanism import ANSWERS, BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, mechanism
from wattle.market.negotiation_kernel import Agreement, Curves, solve_bilateral
from wattle.market.negotiation_pairs import opening, pair_charges, premiums, rows_in

__all__ = [
    "Agreement",
    "BilateralAdmm",
    "Curves",
    "PriceAdjustment",
    "pair_charges",
    "premiums",
    "solve_bilateral",
]

State = dict[str, Any]


@mechanism(
    "bilateral-admm",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL},
    source="Sorin, Bobo and Pinson 2019, IEEE Transactions on Power Systems 34(2); Baroche et al. 2019 (grid charges)",
    bids=ANSWERS,
)
@dataclass(frozen=True)
class BilateralAdmm:
    """Partners negotiate pair by pair at prices of their own until quantities and prices come to rest (ADMM).

    `penalty` is in ticks per lot; members who answer with the same penalty converge. The gate ends when mismatch
    (primal) and movement (dual) are below `tolerance` of flow and price, or below a lot and a tick a pair, and at the
    latest after `rounds_max` rounds. If nothing improves for `patience` rounds (members who do not give way), the
    prices of the best round are asked once more and what both sides then want is traded. `partners_max` bounds how
    many partners are asked for a member who names none. `charge_rule` is "unique" (`charge_ticks` on each lot),
    "distance" (on each lot and km) or "zonal" (on each lot and border between squares of `area_m` metres).
    """

    penalty: float = 1.0
    tolerance: float = 1e-3
    rounds_max: int = 400
    patience: int = 20
    partners_max: int = 20
    charge_rule: str = "unique"
    charge_ticks: int = 0
    area_m: int = 1000

    def __post_init__(self) -> None:
        ensure(self.penalty > 0, f"penalty is {self.penalty}, expected more than 0")
        ensure(self.patience >= 1, f"patience is {self.patience}, expected 1 or more")
        _check(self)

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[Memory | None, Clearing | Quote]:
        """Open the negotiation, move multipliers, or clear."""
        return _step(self, memory, orders, context, self._move)

    def _move(self, state: State, bought: NDArray[np.float64], sold: NDArray[np.float64]) -> tuple[float, float]:
        middle, push = (bought + sold) / 2, self.penalty * (bought - sold) / 2
        state["multiplier"] = np.clip(state["multiplier"] + push, state["low"], state["high"])
        quote = np.clip(state["multiplier"] + push, state["low"], state["high"])
        # A whole tick moves a stiff pair by no more than 1 / penalty lots.
        moved = self.penalty * _size(middle - state["middle"])
        state["middle"] = middle
        state["price"] = np.rint(quote).astype(np.int64)
        flow, ticks = max(_size(bought), _size(sold)), _size(state["multiplier"])
        unit = float(np.sqrt(max(1, int(np.count_nonzero(bought + sold)))))
        primal = _size(bought - sold) / max(self.tolerance * flow, unit)
        return primal, moved / max(self.tolerance * ticks, unit)


@mechanism(
    "price-adjustment",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL},
    source="Walras's tatonnement for each pair; Morstyn et al. 2019, IEEE Transactions on Smart Grid 10(2) (iteration)",
    bids=ANSWERS,
)
@dataclass(frozen=True)
class PriceAdjustment:
    """Each pair's price rises while its buyer wants more than its seller gives, and falls while he wants less.

    The step is at most `step_percent` of the range of limits; it halves each time that a pair's excess changes sign and
    else grows by a tenth, and a pair is done when its step is below a tick or its quantities agree. If another round
    had more trade than the last one, its prices are asked once more. Other fields are those of `bilateral-admm`.
    Members with one partner, or who like to spread their trade over partners, come to rest; else ADMM is the rule.
    """

    step_percent: int = 20
    rounds_max: int = 40
    partners_max: int = 20
    charge_rule: str = "unique"
    charge_ticks: int = 0
    area_m: int = 1000

    def __post_init__(self) -> None:
        ensure(1 <= self.step_percent <= 100, f"step_percent is {self.step_percent}, expected 1 to 100")
        _check(self)

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[Memory | None, Clearing | Quote]:
        """Open the negotiation, move prices, or clear."""
        return _step(self, memory, orders, context, self._move)

    def _move(self, state: State, bought: NDArray[np.float64], sold: NDArray[np.float64]) -> tuple[float, float]:
        excess = bought - sold
        first = (state["high"] - state["low"]) * self.step_percent / 100
        step = first if state["round"] == 1 else state["step"]
        turned = state["middle"] * excess < 0
        step = np.where(turned, step / 2, np.minimum(step * 1.1, first))
        relative = excess / np.maximum(np.maximum(bought, sold), 1)
        quote = np.clip(state["price"] + np.rint(step * relative), state["low"], state["high"]).astype(np.int64)
        busy = (excess != 0) & (quote != state["price"])
        state["step"], state["middle"], state["price"] = step, excess, quote
        mismatch = _size(excess) / max(1.0, _size(bought), _size(sold))
        return (1 + 1000 * mismatch if busy.any() else 0.0), 0.0

    @property
    def patience(self) -> int:
        """Steps shrink by themselves, so nothing else ends the negotiation early."""
        return self.rounds_max


Negotiation = BilateralAdmm | PriceAdjustment


def _check(rule: Negotiation) -> None:
    kinds = ("unique", "distance", "zonal")
    ensure(rule.charge_rule in kinds, f"charge_rule is {rule.charge_rule!r}, expected one of {', '.join(kinds)}")
    ensure(rule.charge_ticks >= 0, f"charge_ticks is {rule.charge_ticks}, expected 0 or more")
    for name in ("rounds_max", "partners_max", "area_m"):
        ensure(getattr(rule, name) >= 1, f"{name} is {getattr(rule, name)}, expected 1 or more")


def _size(values: NDArray[np.float64]) -> float:
    return float(np.sqrt((values * values).sum()))


def _step(
    rule: Negotiation, memory: Memory | None, orders: Orders, context: Context, move: Any
) -> tuple[Memory | None, Clearing | Quote]:
    if memory is None:
        found = opening(orders, context, rule.partners_max)
        if isinstance(found, Reject):
            return None, Clearing.refuse(found)
        if found["buyer"].size == 0:
            return None, Clearing(Trades.empty(), mean_prices(Trades.empty()), report={"rounds": 0.0, "pairs": 0.0})
        charge = pair_charges(
            rule.charge_rule, rule.charge_ticks, found["buyer"], found["seller"], context.profiles, rule.area_m
        )
        if isinstance(charge, Reject):
            return None, Clearing.refuse(charge)
        state = _fresh(found, charge, context.preferences)
        return state, _asked(state)
    state = dict(memory)
    edge = rows_in(orders, state)
    bought, sold = _wanted(orders, edge, state)
    volume = float(np.minimum(bought, sold).sum())
    asked = state["price"]
    if state["last"] or state["round"] >= rule.rounds_max:
        return state, _cleared(orders, edge, asked, state, bought, sold)
    primal, dual = move(state, bought, sold)
    state["primal"], state["dual"] = primal, dual
    settled = primal <= 1 and dual <= 1
    if settled and volume >= 0.99 * state["best_volume"]:
        state["price"], state["settled"] = asked, 1
        return state, _cleared(orders, edge, asked, state, bought, sold)
    _remember(state, asked, volume, max(primal, dual), 0 if settled else rule.patience)
    return state, _asked(state)


def _fresh(found: Mapping[str, Any], charge: I64, preferences: Preferences) -> State:
    """Return the memory of a new negotiation: the first quote is halfway between what the two sides would pay."""
    worth = found["bid"] + premiums(preferences, found["buyer"], found["seller"])
    cost = found["ask"] - premiums(preferences, found["seller"], found["buyer"])
    half = halves(charge)
    price = np.clip((worth - half[0] + cost + half[1]) // 2, found["low"], found["high"])
    nought = np.zeros(price.size)
    return {
        **{name: found[name] for name in ("interval", "zone", "buyer", "seller", "low", "high")},
        "charge": charge,
        "price": price,
        "multiplier": price.astype(np.float64),
        "middle": nought,
        "step": nought,
        "best_price": price,
        "best_volume": -1.0,
        "best_residual": np.inf,
        "stalled": 0,
        "last": 0,
        "settled": 0,
        "round": 1,
        "primal": np.inf,
        "dual": np.inf,
    }


def _asked(state: State) -> Quote:
    quotes = Quotes(state["interval"], state["zone"], state["buyer"], state["seller"], state["price"])
    return Quote(quotes, state["round"])


def _remember(state: State, asked: I64, volume: float, residual: float, patience: int) -> None:
    """Keep the prices of the round with most trade; when nothing improves any more, ask them once more and end."""
    better = residual < 0.99 * state["best_residual"]
    state["best_residual"] = min(residual, state["best_residual"])
    if volume > state["best_volume"]:
        state["best_volume"], state["best_price"] = volume, asked
        better = True
    state["stalled"] = 0 if better else state["stalled"] + 1
    if state["stalled"] >= patience:
        state["price"], state["last"] = state["best_price"], 1
    state["round"] += 1


def _wanted(orders: Orders, edge: I64, state: State) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lots that the buyer and the seller of each pair want."""
    known, count = edge >= 0, state["price"].size
    sums = []
    for side in (orders.side == BUY, orders.side != BUY):
        rows = known & side
        sums.append(np.bincount(edge[rows], orders.quantity[rows], count).astype(np.float64))
    return sums[0], sums[1]


def _cleared(
    orders: Orders,
    edge: I64,
    price: I64,
    state: State,
    bought: NDArray[np.float64],
    sold: NDArray[np.float64],
) -> Clearing:
    """Trade what both sides of a pair want at its price; orders whose limit forbids the price stand aside."""
    buyer_pays, seller_pays = halves(state["charge"])
    known = np.flatnonzero(edge >= 0)
    book, pair = orders.take(known), edge[known]
    pays = np.where(book.side == BUY, price[pair] + buyer_pays[pair], price[pair] - seller_pays[pair])
    agreed = np.flatnonzero(book.side * (book.limit - pays) >= 0)
    agreed = agreed[np.lexsort((book.id[agreed], pair[agreed]))]
    book, pair = book.take(agreed), pair[agreed]
    starts = np.concatenate(([0], np.flatnonzero(np.diff(pair)) + 1, [pair.size])).astype(np.int64)
    if pair.size == 0:
        starts = np.zeros(1, np.int64)
    fill = _shorter_side(book, starts)
    room = int(np.count_nonzero(fill))
    buy, sell, lots = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    pairs = pair_groups(starts, book.side, fill, np.arange(len(book)), buy, sell, lots)
    buy, sell, lots = buy[:pairs], sell[:pairs], lots[:pairs]
    on = pair[buy]
    trades = trades_of(book, buy, sell, lots, price[on])
    trades = trades.replace(buy_price=price[on] + buyer_pays[on], sell_price=price[on] - seller_pays[on])
    trades = trades.take(np.lexsort((trades.sell_order, trades.buy_order, trades.zone, trades.interval)))
    flow = max(_size(bought), _size(sold), 1.0)
    report = {
        "rounds": float(state["round"]),
        "pairs": float(price.size),
        "settled": float(state["settled"]),
        "mismatch": _size(bought - sold) / flow,
    }
    return Clearing(trades, mean_prices(trades), report=report)


def _shorter_side(book: Orders, starts: I64) -> I64:
    """Fill both sides of each pair up to the shorter one, lowest ids first."""
    fill = np.zeros(len(book), np.int64)
    if len(book) == 0:
        return fill
    buys = book.side == BUY
    sides = [np.where(mine, book.quantity, 0) for mine in (buys, ~buys)]
    volume = np.minimum(*(np.add.reduceat(lots, starts[:-1]) for lots in sides))
    for lots in sides:
        run = np.cumsum(lots)
        before = run - lots - np.repeat(run[starts[:-1]] - lots[starts[:-1]], np.diff(starts))
        fill += np.clip(np.repeat(volume, np.diff(starts)) - before, 0, lots)
    return fill
