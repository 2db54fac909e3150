"""A leader who sets the local price, and followers who answer it: Stackelberg equilibrium found by asking.

In each zone and interval the leader is the member with the largest order on the leading side; who else stands on that
side waits outside. He knows that followers answer his price, so he takes the one with the largest profit. The platform
finds it for him without any follower's curve: it asks prices on a grid over the range of limits, then halves the step
around the best one until it is a tick, asks the best price once more, and trades what is then wanted.

With followers who want D(p) = alpha - beta p and a leader with cost c the profit (p - c) D(p) is strictly concave, and
p* = (c + alpha / beta) / 2 is the only equilibrium (Maharjan et al. 2013; Tushar et al. 2014). What was tried is
reported: `unique` is 1 if profits rise to the best price and fall beyond it everywhere, but for dents that whole lots
make; `deviation_gain` is what the leader would win by the best other price that was tried (0: nothing).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory, Quote
from wattle.core.segments import apportion, grouped
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, SELL, Orders, Prices, Quotes, Trades
from wattle.market.auction_double import has_partner, mean_prices, paired, trades_of
from wattle.market.mechanism import ANSWERS, BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, mechanism

State = dict[str, Any]


@mechanism(
    "stackelberg",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL},
    source="Maharjan et al. 2013, IEEE Transactions on Smart Grid 4(1); Tushar et al. 2014, IEEE TSG 5(4)",
    bids=ANSWERS,
)
@dataclass(frozen=True)
class Stackelberg:
    """The largest seller (or buyer) of a zone and interval sets its price; the others answer with what they then want.

    `leader` is "seller" or "buyer". `grid` is how many prices are asked before the search narrows. If followers want
    more than the leader has, each gets the same part of what he wants. Several best prices: the one nearest the
    leader's limit, which followers like best.
    """

    leader: str = "seller"
    grid: int = 17

    def __post_init__(self) -> None:
        ensure(self.leader in ("seller", "buyer"), f'leader is {self.leader!r}, expected "seller" or "buyer"')
        ensure(3 <= self.grid <= 400, f"grid is {self.grid}, expected 3 to 400")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[Memory | None, Clearing | Quote]:
        """Ask the next price of each zone and interval, or clear at the best."""
        side = SELL if self.leader == "seller" else BUY
        if memory is None:
            if has_partner(orders):
                return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
            found = leaders(orders, context, side)
            if isinstance(found, Clearing):
                return None, found
            return found, quoted(found, side)
        state: State = dict(memory)
        if state["last"]:
            return state, traded(state, orders, side)
        return state, next_quote(state, orders, side, self.grid)


def next_quote(state: State, orders: Orders, side: int, grid: int) -> Quote:
    """Note what the price that was asked earns the leader, choose the next one, and ask it; `state` is changed."""
    wanted = _followers_lots(state, orders, side)
    margin = -side * (state["asked"] - state["limit"])
    profit = margin.astype(np.float64) * np.minimum(wanted, state["lots"])
    state["prices"] = np.vstack((state["prices"], state["asked"]))
    state["profits"] = np.vstack((state["profits"], profit))
    better = profit > state["best_profit"]
    state["best"] = np.where(better, state["asked"], state["best"])
    state["best_profit"] = np.where(better, profit, state["best_profit"])
    _advance(state, side, grid)
    return quoted(state, side)


def leaders(orders: Orders, context: Context, side: int) -> State | Clearing:
    """Return the leader of each zone and interval with followers, his limit and lots, and the range of prices."""
    book, starts = grouped(orders)
    limit = book.limit
    if context.tariff is not None and len(book):
        retail, feed_in = context.tariff.at(book.interval)
        limit = np.where(limit == ANY_PRICE, retail, np.where(limit == -ANY_PRICE, feed_in, limit))
    rows, unpriced = [], False
    for first, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        leads = book.side[first:stop] == side
        if leads.all() or not leads.any():
            continue
        worth = limit[first:stop]
        named = worth[np.abs(worth) < ANY_PRICE]
        if named.size == 0:
            unpriced = True
            continue
        lots = np.where(leads, book.quantity[first:stop], 0)
        place = int(np.argmax(lots))
        own = int(np.clip(worth[place], named.min(), named.max()))
        others = worth[~leads & (np.abs(worth) < ANY_PRICE)]
        # Nobody follows beyond the best follower's limit; a taker follows anywhere up to the last named price.
        takes_all = bool((np.abs(worth[~leads]) == ANY_PRICE).any())
        far = int(max(-side * others)) * -side if others.size and not takes_all else int(max(-side * named)) * -side
        if -side * (far - own) >= 0:
            who = book.participant[first + place]
            market = int(book.interval[first]), int(book.zone[first])
            rows.append((*market, int(who), own, far, int(lots[place]), int(np.count_nonzero(~leads))))
    if not rows:
        return Clearing.refuse(Reject.NO_PRICE) if unpriced else Clearing(Trades.empty(), Prices.empty())
    columns = np.array(rows, np.int64).T
    names = ("interval", "zone", "leader", "limit", "far", "lots", "followers")
    state: State = dict(zip(names, columns.copy(), strict=True))
    size = columns.shape[1]
    state |= {"asked": state["limit"], "best": state["limit"], "best_profit": np.full(size, -1.0)}
    state |= {"prices": np.zeros((0, size), np.int64), "profits": np.zeros((0, size)), "round": 1, "last": 0}
    return state | {"width": np.zeros(size, np.int64), "half": 0}


def quoted(state: State, side: int) -> Quote:
    """Ask the followers of each leader at his price; he is on the other side of all of them."""
    nobody = np.full(state["leader"].size, ANYONE, np.int64)
    buyer, seller = (nobody, state["leader"]) if side == SELL else (state["leader"], nobody)
    return Quote(Quotes(state["interval"], state["zone"], buyer, seller, state["asked"]), state["round"])


def _advance(state: State, side: int, grid: int) -> None:
    """Choose the next price: along the grid, then on both sides of the best with half the step, then the best."""
    number, span = state["round"], np.abs(state["far"] - state["limit"])
    state["round"] = number + 1
    if number < grid:
        state["asked"] = state["limit"] - side * (span * number // (grid - 1))
        return
    if number == grid:
        state["width"] = -(-span // (grid - 1))
    if state["half"] == 0:
        if (state["width"] <= 1).all():
            state["asked"], state["last"] = state["best"], 1
            return
        state["width"] = -(-state["width"] // 2)
        state["middle"] = state["best"]
        state["half"] = 1
        tried = state["middle"] - state["width"]
    else:
        state["half"] = 0
        tried = state["middle"] + state["width"]
    low, high = np.minimum(state["limit"], state["far"]), np.maximum(state["limit"], state["far"])
    state["asked"] = np.clip(tried, low, high)


def _group_of(state: State, orders: Orders) -> I64:
    """Return the place of each order's zone and interval in the state, -1 if it has no leader."""
    base = int(max(state["zone"].max(), orders.zone.max(initial=0))) + 1
    key = state["interval"] * base + state["zone"]
    order = np.argsort(key, kind="stable")
    wanted = orders.interval.astype(np.int64) * base + orders.zone
    place = np.minimum(np.searchsorted(key[order], wanted), key.size - 1)
    found: I64 = np.where(key[order][place] == wanted, order[place], -1)
    return found


def _followers_lots(state: State, orders: Orders, side: int) -> NDArray[np.float64]:
    group = _group_of(state, orders)
    rows = (group >= 0) & (orders.side != side)
    return np.bincount(group[rows], orders.quantity[rows], state["leader"].size).astype(np.float64)


def traded(state: State, orders: Orders, side: int) -> Clearing:
    """Trade what followers want at the leader's price, as far as he has it."""
    group = _group_of(state, orders)
    price = state["asked"]
    here = np.maximum(group, 0)
    ours = (orders.side != side) | (orders.participant == state["leader"][here])
    agreed = orders.side * (orders.limit - price[here]) >= 0
    book, starts = grouped(orders.take((group >= 0) & ours & agreed))
    fill = np.zeros(len(book), np.int64)
    for first, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        lots, leads = book.quantity[first:stop], book.side[first:stop] == side
        have, want = int(lots[leads].sum()), int(lots[~leads].sum())
        volume = min(have, want)
        fill[first:stop][~leads] = apportion(volume, lots[~leads]) if volume < want else lots[~leads]
        before = np.cumsum(lots[leads]) - lots[leads]
        fill[first:stop][leads] = np.clip(volume - before, 0, lots[leads])
    buy, sell, lots = paired(book, starts, fill, np.arange(len(book)))
    trades = trades_of(book, buy, sell, lots, price[_group_of(state, book)][buy])
    return Clearing(trades, mean_prices(trades), report=_report(state))


def _report(state: State) -> dict[str, float]:
    """Check what was tried: is there one peak, and does any other price earn the leader more?"""
    unique = True
    for number, (prices, profits) in enumerate(zip(state["prices"].T, state["profits"].T, strict=True)):
        tried, place = np.unique(prices, return_index=True)
        found = profits[place]
        # A valley between two peaks is real if it is deeper than rounding each answer to a whole lot can make it.
        margin = np.abs(tried - state["limit"][number]).max()
        dent = 1e-4 * found.max(initial=0.0) + float(state["followers"][number]) * margin
        peaks = np.minimum(np.maximum.accumulate(found), np.maximum.accumulate(found[::-1])[::-1])
        unique &= bool((peaks - found <= dent).all())
    gain = float(np.maximum(0, state["profits"].max(axis=0) - state["best_profit"]).sum())
    return {
        "rounds": float(state["round"]),
        "leaders": float(state["leader"].size),
        "leader_profit": float(state["best_profit"].sum()),
        "unique": float(unique),
        "deviation_gain": gain,
    }
