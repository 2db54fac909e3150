"""One check for each claim that a market rule may make. A check takes a trial and says what is wrong, or None.

Each is an oracle of its own: it looks at the book and the result only and shares no code with the rules.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from wattle.core.columns import I32, I64
from wattle.core.messages import Clearing, Memory
from wattle.core.tables import (
    ANY_PRICE,
    COMMUNITY_FUND,
    MARKET_OPERATOR,
    NO_ORDER,
    Orders,
    Prices,
    Trades,
    Transfers,
)
from wattle.testing.trial import Trial, differs, plain_kernels, rows_of, run, values

INTERVALS_MAX = 24
ROWS_PLAIN_MAX = 200
ORDERS_ONE_BY_ONE_MAX = 300


def budget_balanced(trial: Trial) -> str | None:
    """Neither the market operator nor the community fund pays in."""
    clearing = trial.outcome.clearing
    trades, transfers = clearing.trades, clearing.transfers
    gap = (trades.quantity.astype(object) * (trades.buy_price - trades.sell_price)).sum()
    for account, name, balance in (
        (MARKET_OPERATOR, "the market operator", gap),
        (COMMUNITY_FUND, "the community fund", 0),
    ):
        balance += transfers.amount[transfers.payee == account].astype(object).sum()
        balance -= transfers.amount[transfers.payer == account].astype(object).sum()
        if balance < 0:
            return f"{name} loses {-balance} units of cash"
    return None


def individually_rational(trial: Trial) -> str | None:
    """Nobody pays above or earns below his limit; a price taker is not worse off than with the utility."""
    orders, clearing = trial.outcome.orders, trial.outcome.clearing
    worth = values(trial.case, orders)
    for side, ids, price, *_ in _legs(clearing.trades):
        rows = rows_of(orders, ids)
        worse = side * (worth[rows] - price) < 0
        if worse.any():
            word = "pays" if side > 0 else "earns"
            return f"order {ids[worse][0]} {word} {price[worse][0]}, its limit is {worth[rows][worse][0]}"
    if len(clearing.transfers) == 0:
        return None
    surplus = surpluses(orders, worth, clearing)
    poor = [(who, gain) for who, gain in surplus.items() if gain < 0 and not _takes_any(orders, worth, who)]
    return f"participant {poor[0][0]} loses {-poor[0][1]} units of cash, transfers counted" if poor else None


def efficient(trial: Trial) -> str | None:
    """Welfare is the largest possible.

    The linear programme of a group is: trade v lots, earn bids above offers. By duality its optimum is the smallest
    sum over all orders of what they would gain at one price, and the smallest lies at one of the limits. A refused book
    tells nothing: too large to be counted exactly, say.
    """
    orders, trades = trial.case.orders, trial.outcome.clearing.trades
    if (orders.partner >= 0).any() or trial.outcome.clearing.unusable is not None:
        return None
    worth = values(trial.case, trial.outcome.orders)
    found: dict[tuple[int, int], int] = {}
    for side, ids, _, lots, interval, zone in _legs(trades):
        value = worth[rows_of(trial.outcome.orders, ids)]
        for when, where, each, moved in zip(*(c.tolist() for c in (interval, zone, value, lots)), strict=True):
            found[when, where] = found.get((when, where), 0) + side * each * moved
    for when, where, group in _groups(trial, orders):
        best = _best_welfare(*group)
        if found.get((when, where), 0) != best:
            return f"welfare in interval {when}, zone {where} is {found.get((when, where), 0)}, the optimum is {best}"
    return None


def uniform_price(trial: Trial) -> str | None:
    """One price for each zone and interval, and no unfilled order is better than it."""
    orders, clearing = trial.outcome.orders, trial.outcome.clearing
    trades = clearing.trades
    published = {(i, z): p for i, z, p in zip(*(c.tolist() for c in clearing.prices.arrays()), strict=True)}
    seen: dict[tuple[int, int], int] = {}
    columns = (trades.interval, trades.zone, trades.buy_price, trades.sell_price)
    for interval, zone, bought, sold in zip(*(column.tolist() for column in columns), strict=True):
        price = seen.setdefault((interval, zone), bought)
        if bought != price or sold != price:
            return f"interval {interval}, zone {zone} trades at {price} and at {sold if sold != price else bought}"
    for (interval, zone), price in seen.items():
        if published.get((interval, zone)) != price:
            return f"interval {interval}, zone {zone} trades at {price}, published is {published.get((interval, zone))}"
    left, worth = _left(orders, clearing), values(trial.case, orders)
    places = zip(orders.interval.tolist(), orders.zone.tolist(), strict=True)
    price_of = np.array([seen.get(place, 0) for place in places], np.int64)
    traded = np.array([p in seen for p in zip(orders.interval.tolist(), orders.zone.tolist(), strict=True)], bool)
    better = traded & (left > 0) & (np.abs(worth) < ANY_PRICE) & (orders.side * (worth - price_of) > 0)
    if better.any():
        row = int(np.flatnonzero(better)[0])
        return f"order {orders.id[row]} has {left[row]} lots left and is better than the price {price_of[row]}"
    return None


def separable(trial: Trial) -> str | None:
    """All intervals at once give the same as one at a time; a book is refused as a whole, so that tells nothing."""
    orders, whole = trial.case.orders, trial.outcome.clearing
    if whole.refused is not None:
        return None
    intervals = np.unique(orders.interval)
    if intervals.size > INTERVALS_MAX:
        rng = np.random.default_rng(trial.case.seed)
        intervals = rng.choice(intervals, INTERVALS_MAX, replace=False)
    for interval in intervals.tolist():
        alone = trial.again(orders.take(orders.interval == interval)).clearing
        cut = Clearing(
            whole.trades.take(whole.trades.interval == interval),
            whole.prices.take(whole.prices.interval == interval),
            whole.resting.take(whole.resting.interval == interval),
            whole.transfers.take(whole.transfers.interval == interval),
            refused=alone.refused,
        )
        different = differs(cut, alone)
        if different:
            return f"{different} of interval {interval} differ when it is cleared alone"
    return None


def incremental(trial: Trial) -> str | None:
    """All orders at once give the same as one at a time in the order of ids, the memory handed on."""
    case = trial.case
    if len(case.orders) > ORDERS_ONE_BY_ONE_MAX or trial.outcome.clearing.refused is not None:
        return None
    memory: Memory | None = None
    trades, transfers = [Trades.empty()], [Transfers.empty()]
    resting, known = Orders.empty(), Prices.empty()
    for row in np.argsort(case.orders.id, kind="stable"):
        outcome = run(trial.rule, replace(case, orders=case.orders.take(np.array([row]))), memory)
        memory, resting = outcome.memory, outcome.clearing.resting
        trades.append(outcome.clearing.trades)
        transfers.append(outcome.clearing.transfers)
    whole = trial.outcome.clearing
    # Prices and refusals of single steps have no counterpart in the whole.
    apart = Clearing(Trades.concat(*trades), known, resting, Transfers.concat(*transfers))
    different = differs(Clearing(whole.trades, known, whole.resting, whole.transfers), apart)
    return f"{different} differ when the orders arrive one at a time" if different else None


def exact(trial: Trial) -> str | None:
    """Machine code and plain Python give the same result, row for row."""
    if len(trial.case.orders) > ROWS_PLAIN_MAX:
        return None
    with plain_kernels():
        plain = trial.again().clearing
    different = differs(trial.outcome.clearing, plain, in_order=True)
    return f"{different} differ between compiled and plain kernels" if different else None


def surpluses(orders: Orders, worth: I64, clearing: Clearing) -> dict[int, int]:
    """Return what each participant gains: worth of his lots less what he pays, transfers counted."""
    gain = dict.fromkeys(orders.participant.tolist(), 0)
    trades, transfers = clearing.trades, clearing.transfers
    for side, ids, price, lots, *_ in _legs(trades):
        rows = rows_of(orders, ids)
        columns = (orders.participant[rows], worth[rows], price, lots)
        for who, value, paid, moved in zip(*(column.tolist() for column in columns), strict=True):
            gain[who] += side * (value - paid) * moved
    moves = zip(transfers.payer.tolist(), transfers.payee.tolist(), transfers.amount.tolist(), strict=True)
    for payer, payee, amount in moves:
        gain[payer] = gain.get(payer, 0) - amount
        gain[payee] = gain.get(payee, 0) + amount
    return gain


def _legs(trades: Trades) -> Iterator[tuple[int, I64, I64, I64, I32, I32]]:
    """Yield side, order ids, prices, lots, intervals and zones of all buying and of all selling orders."""
    for side, ids, price in ((1, trades.buy_order, trades.buy_price), (-1, trades.sell_order, trades.sell_price)):
        rows = ids != NO_ORDER
        yield side, ids[rows], price[rows], trades.quantity[rows], trades.interval[rows], trades.zone[rows]


def _left(orders: Orders, clearing: Clearing) -> I64:
    left = orders.quantity.copy()
    trades, resting = clearing.trades, clearing.resting
    for ids, lots in (
        (trades.buy_order, trades.quantity),
        (trades.sell_order, trades.quantity),
        (resting.id, resting.quantity),
    ):
        placed = ids != NO_ORDER
        np.subtract.at(left, rows_of(orders, ids[placed]), lots[placed])
    return left


def _takes_any(orders: Orders, worth: I64, who: int) -> bool:
    return bool((np.abs(worth[orders.participant == who]) == ANY_PRICE).any())


def _groups(trial: Trial, orders: Orders) -> Iterator[tuple[int, int, tuple[NDArray[np.int8], I64, I64]]]:
    """Yield interval, zone and (side, worth, quantity) of each group in which somebody names a price."""
    worth = values(trial.case, orders)
    rank = np.lexsort((orders.zone, orders.interval))
    interval, zone = orders.interval[rank], orders.zone[rank]
    edges = np.flatnonzero(np.r_[True, (np.diff(interval) != 0) | (np.diff(zone) != 0), True])
    for first, stop in pairwise(edges if rank.size else ()):
        rows = rank[first:stop]
        if (np.abs(worth[rows]) < ANY_PRICE).any():
            yield int(interval[first]), int(zone[first]), (orders.side[rows], worth[rows], orders.quantity[rows])


def _best_welfare(side: NDArray[np.int8], worth: I64, quantity: I64) -> int:
    """Return min over p of sum(q (l - p)+) over bids + sum(q (p - l)+) over offers, in whole numbers of any size."""
    best: int | None = None
    bids = sorted((int(a), int(b)) for a, b in zip(worth[side > 0], quantity[side > 0], strict=True))
    asks = sorted((int(a), int(b)) for a, b in zip(worth[side < 0], quantity[side < 0], strict=True))
    bid_price, ask_price = [price for price, _ in bids], [price for price, _ in asks]
    bid_lots, ask_lots = [0, *accumulate(lots for _, lots in bids)], [0, *accumulate(lots for _, lots in asks)]
    bid_cash = [0, *accumulate(price * lots for price, lots in bids)]
    ask_cash = [0, *accumulate(price * lots for price, lots in asks)]
    for price in {*bid_price, *ask_price}:
        above, below = bisect_left(bid_price, price), bisect_left(ask_price, price)
        gain = bid_cash[-1] - bid_cash[above] - price * (bid_lots[-1] - bid_lots[above])
        gain += price * ask_lots[below] - ask_cash[below]
        best = gain if best is None else min(best, gain)
    return best or 0
