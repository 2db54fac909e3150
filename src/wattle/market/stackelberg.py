"""A leader who sets the local price, and followers who answer it: Stackelberg equilibrium found by asking.

In each zone and interval the leader is the member with the largest order on the leading side to whom somebody else can
answer; who else stands on that side waits outside, and so do the leader's own orders on the other side. All his orders
on the leading side are his cost curve. He knows that followers answer his price, so he takes the one with the largest
profit. The platform finds it for him without any follower's curve: it asks one price after the other, the limits of the
opening orders first, and closes the gaps between them by branch and bound (`price_search`), which holds for all
followers who want less at a worse price. Then it asks the best price once more and trades what is then wanted.

With followers who want D(p) = alpha - beta p and a leader with cost c the profit (p - c) D(p) is strictly concave, and
p* = (c + alpha / beta) / 2 is the only equilibrium (Maharjan et al. 2013; Tushar et al. 2014).

The report: `leader_profit`, by his limits; `deviation_gain` is a bound, the most that any other price, asked or not,
could still bring him on top: at most a millionth of his profit where the search closed all gaps, more where the rounds
ran out. `unique` is 1 if all prices that were asked and come within a tick on each lot of the best profit lie in one
region, 0 if prices between them are worse.
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
from wattle.market.price_search import next_prices, note, open_hints, verdict

State = dict[str, Any]

NARROWING = 40
"""So many prices at most are asked after the grid."""


@mechanism(
    "stackelberg",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL},
    source="Maharjan et al. 2013, IEEE Transactions on Smart Grid 4(1); Tushar et al. 2014, IEEE TSG 5(4)",
    bids=ANSWERS,
)
@dataclass(frozen=True)
class Stackelberg:
    """The largest seller (or buyer) of a zone and interval sets its price; the others answer with what they then want.

    `leader` is "seller" or "buyer". `grid` is how many prices are asked before the search narrows; at most 40 more
    follow. If followers want more than the leader has, each gets the same part of what he wants. Of several best prices
    that were asked: the one nearest the leader's limit, which followers like best.
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
            found = leaders(orders, context, side, self.grid)
            if isinstance(found, Clearing):
                return None, found
            return found, quoted(found, side)
        state: State = dict(memory)
        if state["last"]:
            return state, traded(state, orders, side)
        return state, next_quote(state, orders, side, self.grid)


def next_quote(state: State, orders: Orders, side: int, grid: int) -> Quote:
    """Note what followers want at the price that was asked, choose the next one, and ask it; `state` is changed."""
    wanted = _followers_lots(state, orders, side)
    room = np.zeros((wanted.size, 1), np.int64)
    state["count"], state["used"] = state["count"].copy(), state["used"].copy()
    for name in ("tried", "lots_at"):
        state[name] = np.hstack((state[name], room))
    state["profit_at"] = np.hstack((state["profit_at"], room.astype(np.float64)))
    tries = tuple(state[name] for name in ("count", "tried", "lots_at", "profit_at"))
    own = tuple(state[name] for name in ("own", "cost", "have"))
    note(-side * state["asked"], wanted, *own, *tries)
    number, asked = state["round"], np.zeros(wanted.size, np.int64)
    hints = tuple(state[name] for name in ("hint", "promised", "hints", "used"))
    still = next_prices(number, grid, state["low"], state["high"], *tries, *own, *hints, asked)
    if number >= grid + NARROWING:
        best = state["profit_at"].argmax(axis=1)
        asked, still = state["tried"][np.arange(best.size), best], 0
    state["asked"], state["last"], state["round"] = -side * asked, int(still == 0), number + 1
    return quoted(state, side)


def leaders(orders: Orders, context: Context, side: int, grid: int) -> State | Clearing:
    """Return the leader of each zone and interval with followers, his costs, and the range of prices.

    Prices of the search are `-side` times those of the market: they rise with what a lot brings the leader.
    """
    book, starts = grouped(orders)
    limit = book.limit
    if context.tariff is not None and len(book):
        retail, feed_in = context.tariff.at(book.interval)
        limit = np.where(limit == ANY_PRICE, retail, np.where(limit == -ANY_PRICE, feed_in, limit))
    rows: list[tuple[int, ...]] = []
    owned, followers, unpriced = [], [], False
    for first, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        here = slice(first, stop)
        place = _leader_of(book.side[here] == side, book.participant[here], book.quantity[here])
        if place < 0:
            continue
        mine = book.participant[here] == book.participant[first + place]
        leads = book.side[here] == side
        # His own orders on the other side are no answer to his price.
        worth = -side * limit[here]
        named = worth[(leads | ~mine) & (np.abs(worth) < ANY_PRICE)]
        if named.size == 0:
            unpriced = True
            continue
        own, other = np.flatnonzero(leads & mine), np.flatnonzero(~leads & ~mine)
        # Nobody follows beyond the best follower's limit; a taker follows anywhere up to the last named price.
        cost, far = np.clip(worth[own], named.min(), named.max()), np.minimum(worth[other], named.max())
        if far.max() >= cost.min():
            number, market = len(rows), (int(book.interval[first]), int(book.zone[first]))
            rows.append((*market, int(book.participant[first + place]), int(cost.min()), int(far.max())))
            owned.append(np.column_stack((np.full(own.size, number), cost, book.quantity[here][own])))
            followers.append(np.column_stack((np.full(other.size, number), far, book.quantity[here][other])))
    if not rows:
        return Clearing.refuse(Reject.NO_PRICE) if unpriced else Clearing(Trades.empty(), Prices.empty())
    return _opened(np.array(rows, np.int64), np.vstack(owned), np.vstack(followers), side, grid)


def _leader_of(leads: NDArray[np.bool_], participant: NDArray[np.int32], quantity: I64) -> int:
    """Return the row of the largest leading order to whom somebody else can answer, -1 if there is none."""
    others = participant[~leads]
    if others.size == 0:
        return -1
    alone = participant == others[0] if (others == others[0]).all() else np.zeros(leads.size, bool)
    can = leads & ~alone
    return int(np.argmax(np.where(can, quantity, -1))) if can.any() else -1


def _opened(rows: I64, owned: I64, followers: I64, side: int, grid: int) -> State:
    """Set up the search: the leaders' costs in rising order, and the followers' opening limits as hints."""
    columns = np.ascontiguousarray(rows.T)
    state: State = dict(zip(("interval", "zone", "leader", "low", "high"), columns, strict=True))
    size = rows.shape[0]
    owned = owned[np.lexsort((owned[:, 1], owned[:, 0]))]
    followers = followers[(followers[:, 1] >= state["low"][followers[:, 0]])]
    followers = followers[np.lexsort((-followers[:, 1], followers[:, 0]))]
    state["own"] = np.searchsorted(owned[:, 0], np.arange(size + 1)).astype(np.int64)
    state["cost"], state["have"] = owned[:, 1].copy(), owned[:, 2].copy()
    starts = np.searchsorted(followers[:, 0], np.arange(size + 1)).astype(np.int64)
    state |= {"hint": np.zeros((size, grid), np.int64), "promised": np.zeros((size, grid), np.int64)}
    state |= {"hints": np.zeros(size, np.int64), "used": np.ones(size, np.int64)}
    book = starts, followers[:, 1].copy(), followers[:, 2].copy(), state["own"], state["cost"], state["have"]
    open_hints(*book, state["hint"], state["promised"], state["hints"])
    # The best follower's limit is in the range, so each leader has a hint.
    state |= {"asked": -side * state["hint"][:, 0], "round": 1, "last": 0, "count": np.zeros(size, np.int64)}
    nothing = np.zeros((size, 0), np.int64)
    return state | {"tried": nothing, "lots_at": nothing, "profit_at": np.zeros((size, 0))}


def quoted(state: State, side: int) -> Quote:
    """Ask the followers of each leader at his price; he is on the other side of all of them."""
    nobody = np.full(state["leader"].size, ANYONE, np.int64)
    buyer, seller = (nobody, state["leader"]) if side == SELL else (state["leader"], nobody)
    return Quote(Quotes(state["interval"], state["zone"], buyer, seller, state["asked"]), state["round"])


def _group_of(state: State, orders: Orders) -> I64:
    """Return the place of each order's zone and interval in the state, -1 if it has no leader."""
    base = int(max(state["zone"].max(), orders.zone.max(initial=0))) + 1
    key = state["interval"] * base + state["zone"]
    order = np.argsort(key, kind="stable")
    wanted = orders.interval.astype(np.int64) * base + orders.zone
    place = np.minimum(np.searchsorted(key[order], wanted), key.size - 1)
    found: I64 = np.where(key[order][place] == wanted, order[place], -1)
    return found


def _followers_lots(state: State, orders: Orders, side: int) -> I64:
    """Return how many lots others than the leader want on the other side, [G]."""
    group = _group_of(state, orders)
    rows = (group >= 0) & (orders.side != side) & (orders.participant != state["leader"][np.maximum(group, 0)])
    lots = np.zeros(state["leader"].size, np.int64)
    np.add.at(lots, group[rows], orders.quantity[rows])
    return lots


def traded(state: State, orders: Orders, side: int) -> Clearing:
    """Trade what followers want at the leader's price, as far as he has it."""
    group = _group_of(state, orders)
    price = state["asked"]
    here = np.maximum(group, 0)
    ours = (orders.side == side) == (orders.participant == state["leader"][here])
    agreed = orders.side * (orders.limit - price[here]) >= 0
    book, starts = grouped(orders.take((group >= 0) & ours & agreed))
    fill = np.zeros(len(book), np.int64)
    for first, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        lots, leads = book.quantity[first:stop], book.side[first:stop] == side
        have, want = int(lots[leads].sum()), int(lots[~leads].sum())
        volume = min(have, want)
        fill[first:stop][~leads] = apportion(volume, lots[~leads]) if volume < want else lots[~leads]
        given = first + np.flatnonzero(leads)
        given = given[np.argsort(-side * book.limit[given], kind="stable")]  # his cheapest lots first
        before = np.cumsum(book.quantity[given]) - book.quantity[given]
        fill[given] = np.clip(volume - before, 0, book.quantity[given])
    buy, sell, lots = paired(book, starts, fill, np.arange(len(book)))
    trades = trades_of(book, buy, sell, lots, price[_group_of(state, book)][buy])
    return Clearing(trades, mean_prices(trades), report=_report(state))


def _report(state: State) -> dict[str, float]:
    """Say what the search found, and what any other price could still bring the leaders."""
    size = state["leader"].size
    profit, gain, regions = np.zeros(size), np.zeros(size), np.zeros(size, np.int64)
    names = ("low", "high", "count", "tried", "lots_at", "profit_at", "own", "cost", "have")
    verdict(*(state[name] for name in names), profit, gain, regions)
    return {
        "rounds": float(state["round"]),
        "leaders": float(size),
        "leader_profit": float(profit.sum()),
        "unique": float((regions == 1).all()),
        "deviation_gain": float(gain.sum()),
    }
