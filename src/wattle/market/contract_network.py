"""Bilateral contract networks: blocks of energy between named partners, priced one by one until the network is stable.

Generators, suppliers and prosumers form a network of potential contracts (Morstyn, Teytelboym and McCulloch 2019). Each
contract is a block of energy with a price; a supplier buys upstream and sells downstream. The platform asks each side
of a contract at a price, and each member names the bundle that he would choose, his other contracts considered. A
contract that only the buyer wants becomes dearer, one that only the seller wants cheaper, and one that both want is
signed in the end. Costs stay with the members.

The two sides of a contract have prices of their own, equal or one step apart: if only the buyer wants it, the price
that he is asked rises first, and only if he still wants it then does the seller's follow. So a seller is never led on
by a price that the buyer has already refused. Prices rise until no contract is wanted by the buyer alone, then fall
until none is wanted by the seller alone. If contracts are full substitutes for each member - as they are for all whose
value is a concave function of what they hold - the fall does not undo the rise, and so every member holds exactly what
he would choose. Then contracts outside can bring nobody more than a step on each lot (the outcome is stable), and
welfare is within a step on each lot of those contracts of the best.

The paper takes one small step. Two things are done here to need fewer rounds, and neither weakens the result, because
the rise and the fall of the paper come last and check it: prices of contracts that have a seller (when falling: a
buyer) and a price in common first move together; and this is done with large steps before small ones, each a quarter
of the last. When rounds run out, the outcome of the smallest step that was brought to its end is signed.

Forward and real-time stage are two gates of this rule, one after the other: what was signed forward is part of what
members hold when they answer in the second (`agents.contracts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory, Quote
from wattle.core.tables import BUY, SELL, Orders, Prices, Quotes, Trades
from wattle.market.auction_double import mean_prices
from wattle.market.contract_book import lots_by_pair, potential_contracts, rank_in_pair, signed
from wattle.market.mechanism import ANSWERS, BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, mechanism
from wattle.market.negotiation_pairs import opening, rows_in

State = dict[str, Any]

UNKNOWN, NO, YES = -1, 0, 1
"""What the platform knows about one side of a contract at its present price."""

RISE_TOGETHER, FALL_TOGETHER, RISE, FALL, DONE = 0, 1, 2, 3, 4
"""What the prices of a zone and interval do, in this order."""

SHRINK = 4
"""By how much steps shrink."""

STEPS_FIRST = 8
"""Into how many steps the range of prices is divided at first, at most."""

PATIENCE = 8
"""After so many rounds without a new highest (when falling: lowest) level of prices they move together no longer."""

FAR = 1 << 62


@mechanism(
    "contract-network",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL},
    source="Morstyn, Teytelboym and McCulloch 2019, IEEE Transactions on Smart Grid 10(2), 2026-2035",
    bids=ANSWERS,
)
@dataclass(frozen=True)
class ContractNetwork:
    """Partners sign blocks of energy at prices of their own, until no two would rather sign another contract.

    `block_lots` is the size of a contract and `contracts_max` the most that a pair may sign in an interval; a pair with
    less than a block has one contract of what it has. `step_ticks` is the smallest step of a price. `partners_max`
    bounds how many partners are asked for a member who names none. After `rounds_max` rounds the best outcome so far
    is signed: the report says by `settled` whether it is stable in all zones and intervals, and by `step` up to what.
    """

    block_lots: int = 50
    step_ticks: int = 1
    contracts_max: int = 10
    partners_max: int = 20
    rounds_max: int = 120

    def __post_init__(self) -> None:
        for name in ("block_lots", "step_ticks", "contracts_max", "partners_max"):
            ensure(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}, expected 1 or more")
        ensure(2 <= self.rounds_max <= 999, f"rounds_max is {self.rounds_max}, expected 2 to 999")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[Memory | None, Clearing | Quote]:
        """Open the network, ask the next members, or sign."""
        if memory is None:
            found = opening(orders, context, self.partners_max)
            if isinstance(found, Reject):
                return None, Clearing.refuse(found)
            network = potential_contracts(orders, found, self.block_lots, self.contracts_max)
            if network["pair"].size == 0:
                return None, Clearing(Trades.empty(), Prices.empty(), report=_report())
            state = _fresh(network, self.step_ticks)
            return state, _ask(state)
        state = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in memory.items()}
        if state["last"]:
            trades = signed(orders, state, state["signing"], state["signing_price"])
            return state, Clearing(trades, mean_prices(trades), report=_report(state))
        _hear(orders, state)
        _move(state)
        _next_phase(state, self.step_ticks)
        state["round"] += 1
        if (state["phase"] == DONE).all() or state["round"] >= self.rounds_max:
            return _offer(state)
        return state, _ask(state)


def _fresh(network: State, step_ticks: int) -> State:
    """Return the memory of a new network. All prices of a zone and interval begin at the lowest that a seller takes."""
    pair, groups = network["pair"], int(network["group"].max()) + 1
    group = network["group"][network["buyer_place"]]
    low, high = np.full(groups, FAR), np.full(groups, -FAR)
    np.minimum.at(low, group, network["ask"])
    np.maximum.at(high, group, network["bid"])
    step = np.full(groups, step_ticks, np.int64)
    while (fine := step * STEPS_FIRST < high - low).any():
        step[fine] *= SHRINK
    price = (low // step * step)[group][pair]
    return {
        **network,
        "group_of": group[pair],
        "buy_price": price,
        "sell_price": price,
        "buy_wants": np.full(pair.size, UNKNOWN, np.int8),
        "sell_wants": np.full(pair.size, UNKNOWN, np.int8),
        "stale": np.ones(network["colour"].size, np.int8),
        "asked": np.zeros(network["colour"].size, np.int8),
        "step": step,
        "phase": np.full(groups, RISE_TOGETHER, np.int8),
        "level": np.full(groups, -np.inf),
        "waited": np.zeros(groups, np.int64),
        "kept": np.zeros(pair.size, np.int8),
        "kept_price": price,
        "kept_step": np.full(groups, FAR),
        "round": 1,
        "last": 0,
    }


def _ask(state: State) -> Quote:
    """Ask members whose prices changed; in each zone and interval those of one colour, all their contracts at once."""
    stale, group, colour = state["stale"] == 1, state["group"], state["colour"]
    colours = np.zeros(state["phase"].size, np.int64)
    np.maximum.at(colours, group, colour + 1)
    turn = (colour - state["round"]) % colours[group]
    first = np.full(colours.size, colour.size, np.int64)
    np.minimum.at(first, group[stale], turn[stale])
    state["asked"] = (stale & (turn == first[group])).astype(np.int8)
    buyer, seller = _asked_sides(state)
    rows = np.flatnonzero(buyer | seller)
    return _quote(state, rows, np.where(buyer, state["buy_price"], state["sell_price"])[rows])


def _asked_sides(state: State) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell for each contract whether its buyer and whether its seller is asked in this round; never both."""
    pair, asked = state["pair"], state["asked"] == 1
    return asked[state["buyer_place"]][pair], asked[state["seller_place"]][pair]


def _quote(state: State, rows: I64, price: I64) -> Quote:
    pair = state["pair"][rows]
    interval, zone, buyer, seller = (state[name][pair] for name in ("interval", "zone", "buyer", "seller"))
    return Quote(Quotes(interval, zone, buyer, seller, price), state["round"])


def _hear(orders: Orders, state: State) -> None:
    """Note what the members who were asked want: of each pair the cheapest contracts (a seller: the dearest)."""
    edge = rows_in(orders, state)
    for side, asked, name, bound in zip((BUY, SELL), _asked_sides(state), ("buy", "sell"), ("bid", "ask"), strict=True):
        rows = np.flatnonzero(asked)
        if rows.size == 0:
            continue
        pair, price = state["pair"][rows], state[f"{name}_price"][rows]
        lots, limit = lots_by_pair(orders, edge, state, side)
        wanted = rank_in_pair(pair, side * price, rows) < lots[pair] // state["size"][rows]
        # Nobody is held to a price beyond the limit of his answer or of his opening order.
        wanted &= (side * (limit[pair] - price) >= 0) & (side * (state[bound][pair] - price) >= 0)
        state[f"{name}_wants"][rows] = wanted
    state["stale"][state["asked"] == 1] = 0


def _one_sided(state: State) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which contracts only the buyer wants, and which only the seller."""
    buy, sell = state["buy_wants"], state["sell_wants"]
    return (buy == YES) & (sell == NO), (buy == NO) & (sell == YES)


def _move(state: State) -> None:
    """Raise what only the buyer wants, lower what only the seller wants; the side that wants it goes first."""
    phase, step = state["phase"][state["group_of"]], state["step"][state["group_of"]]
    rising, falling = (phase == RISE_TOGETHER) | (phase == RISE), (phase == FALL_TOGETHER) | (phase == FALL)
    together = phase <= FALL_TOGETHER
    buy, sell = state["buy_price"], state["sell_price"]
    short, long = _one_sided(state)
    apart = buy > sell
    up, down = rising & short & ~apart, falling & long & ~apart
    new_buy = np.where(long & apart & (falling | together), sell, np.where(up, buy + step, buy))
    new_sell = np.where(short & apart & (rising | together), buy, np.where(down, sell - step, sell))
    # A seller who refuses one contract would refuse others at the same price next: all of them rise at once. Whoever
    # refuses to go along gets the old price back by the rule above, as long as the other side still wants it.
    at, top = _extremes(state, "seller_place", up & together, buy)
    lifted = buy <= top[at]
    new_buy, new_sell = np.where(lifted, top[at] + step, new_buy), np.where(lifted, top[at], new_sell)
    at, low = _extremes(state, "buyer_place", down & together, -sell)
    sunk = -sell <= low[at]
    new_buy, new_sell = np.where(sunk, -low[at], new_buy), np.where(sunk, -low[at] - step, new_sell)
    for name, new in (("buy", new_buy), ("sell", new_sell)):
        _reprice(state, name, np.flatnonzero(state[f"{name}_price"] != new), new)


def _extremes(state: State, end: str, rows: NDArray[np.bool_], value: I64) -> tuple[I64, I64]:
    """Return the place at one end of each contract, and for each place the largest value among its `rows`."""
    at = state[end][state["pair"]]
    found = np.full(state["colour"].size, -FAR)
    np.maximum.at(found, at[rows], value[rows])
    return at, found


def _reprice(state: State, name: str, rows: I64, price: I64) -> None:
    """Set prices on one side of contracts; their members must be asked again."""
    state[f"{name}_price"][rows] = price[rows]
    state[f"{name}_wants"][rows] = UNKNOWN
    state["stale"][state[f"{name}er_place"][state["pair"][rows]]] = 1


def _next_phase(state: State, step_ticks: int) -> None:
    """Go on where nobody is left to ask: to the next phase, or to a smaller step, or to the end."""
    stuck = _stuck(state)
    while True:
        busy = np.bincount(state["group"], state["stale"], state["phase"].size) > 0
        idle = (~busy | stuck) & (state["phase"] != DONE)
        if not idle.any():
            return
        state["phase"][idle] += 1
        state["level"][idle], state["waited"][idle], stuck = -np.inf, 0, np.zeros_like(idle)
        over = idle & (state["phase"] == DONE)
        _keep(state, over)
        smaller = over & (state["step"] > step_ticks)
        state["phase"][smaller] = RISE_TOGETHER
        state["step"][smaller] //= SHRINK
        rows = smaller[state["group_of"]] & (state["buy_price"] > state["sell_price"])
        _reprice(state, "buy", np.flatnonzero(rows), state["sell_price"])
        _move(state)


def _stuck(state: State) -> NDArray[np.bool_]:
    """Tell where prices that move together go round in circles; prices that move alone cannot."""
    prices = (state["buy_price"] + state["sell_price"]).astype(np.float64)
    level = np.bincount(state["group_of"], prices, state["phase"].size)
    level *= np.where(state["phase"] == RISE_TOGETHER, 1, -1)
    state["waited"] = np.where(level > state["level"], 0, state["waited"] + 1)
    state["level"] = np.maximum(level, state["level"])
    found: NDArray[np.bool_] = (state["phase"] <= FALL_TOGETHER) & (state["waited"] >= PATIENCE)
    return found


def _keep(state: State, over: NDArray[np.bool_]) -> None:
    """Remember the outcome of the groups that came to the end of a step, if each member holds what he would choose."""
    short, long = _one_sided(state)
    unstable = np.bincount(state["group_of"], short | long, over.size) > 0
    stable = over & ~unstable
    rows = stable[state["group_of"]]
    both = (state["buy_wants"] == YES) & (state["sell_wants"] == YES)
    state["kept"] = np.where(rows, both, state["kept"]).astype(np.int8)
    state["kept_price"] = np.where(rows, (state["buy_price"] + state["sell_price"]) // 2, state["kept_price"])
    state["kept_step"] = np.where(stable, state["step"], state["kept_step"])


def _offer(state: State) -> tuple[State, Clearing | Quote]:
    """Ask both sides to sign: what was kept, or where nothing was, what both want now. Nothing else is on the table."""
    kept = (state["kept_step"] < FAR)[state["group_of"]]
    both = (state["buy_wants"] == YES) & (state["sell_wants"] == YES)
    rows = np.flatnonzero(np.where(kept, state["kept"] == 1, both))
    price = np.where(kept, state["kept_price"], (state["buy_price"] + state["sell_price"]) // 2)[rows]
    state["signing"], state["signing_price"], state["last"] = rows, price, 1
    if rows.size == 0:
        return state, Clearing(Trades.empty(), Prices.empty(), report=_report(state))
    return state, _quote(state, rows, price)


def _report(state: State | None = None) -> dict[str, float]:
    if state is None:
        return {"rounds": 0.0, "contracts": 0.0, "offered": 0.0, "settled": 1.0, "step": 0.0}
    settled = state["kept_step"] < FAR
    return {
        "rounds": float(state["round"]),
        "contracts": float(state["pair"].size),
        "offered": float(state["signing"].size),
        "settled": float(settled.all()),
        "step": float(np.max(np.where(settled, state["kept_step"], state["step"]))),
    }
