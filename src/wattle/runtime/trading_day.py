"""A trading session as in the laboratory: traders with induced values, an order book, several days.

Each day everybody gets his units anew and keeps what he has learnt. In each turn one trader, drawn by chance, may
quote for his next unit; his new quote replaces his old one. After a trade the book is emptied, as in Gode and Sunder
1993. The book is the one of live operation, so the experiment tests that too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from wattle.agents.strategies import Heard, State, Strategy, View
from wattle.core.checks import ensure
from wattle.core.tables import FIRST_MEMBER
from wattle.market.book_live import LiveBook


@dataclass(frozen=True)
class Induced:
    """Who could gain what: a tuple of units for each trader, values from the dearest, costs from the cheapest."""

    values: tuple[tuple[int, ...], ...]
    costs: tuple[tuple[int, ...], ...]
    high: int = 200

    def __post_init__(self) -> None:
        for units in (*self.values, *self.costs):
            ensure(all(1 <= unit <= self.high for unit in units), f"units must lie between 1 and {self.high}")

    def best(self) -> tuple[int, float]:
        """Return the largest surplus there is and the middle of the prices at which supply meets demand."""
        bids = sorted((unit for units in self.values for unit in units), reverse=True)
        asks = sorted(unit for units in self.costs for unit in units)
        pairs = [(bid, ask) for bid, ask in zip(bids, asks, strict=False) if bid >= ask]
        count = len(pairs)
        ensure(count > 0, "no trade would be worth anything")
        low = max([asks[count - 1], *bids[count : count + 1]])
        high = min([bids[count - 1], *asks[count : count + 1]])
        return sum(bid - ask for bid, ask in pairs), (low + high) / 2


@dataclass(frozen=True)
class Day:
    """What came out: realised share of the largest surplus, Smith's alpha in per cent of the equilibrium, prices."""

    efficiency: float
    alpha: float
    prices: tuple[int, ...]


@dataclass
class _Trader:
    state: State
    units: tuple[int, ...]
    done: int = 0
    order: int = -1

    @property
    def active(self) -> bool:
        return self.done < len(self.units)


def trading_days(market: Induced, strategy: Strategy, *, days: int, turns: int, seed: int) -> list[Day]:
    """Let traders of one kind trade for some days of `turns` quotes each; same seed, same days."""
    rng = np.random.default_rng(seed)
    traders = [
        _Trader(strategy.begin(side, units[0], rng), units)
        for side, half in ((1, market.values), (-1, market.costs))
        for units in half
        if units
    ]
    surplus, middle = market.best()
    found = []
    for _ in range(days):
        for trader in traders:
            trader.done = 0
        gains, prices = _day(traders, strategy, market.high, turns, rng)
        spread = sum((price - middle) ** 2 for price in prices)
        alpha = 100 * sqrt(spread / len(prices)) / middle if prices else float("nan")
        found.append(Day(gains / surplus, alpha, tuple(prices)))
    return found


def _day(
    traders: list[_Trader], strategy: Strategy, high: int, turns: int, rng: np.random.Generator
) -> tuple[int, list[int]]:
    gains, prices = 0, []
    book, owner = LiveBook(), {}
    for number in range(turns):
        active = [place for place, trader in enumerate(traders) if trader.active]
        if len({traders[place].state.side for place in active}) < 2:
            break
        mine = active[int(rng.integers(len(active)))]
        trader = traders[mine]
        trader.state = replace(trader.state, limit=trader.units[trader.done])
        price = strategy.quote(trader.state, View(book.best_bid, book.best_ask, high), rng)
        if price is None:
            continue
        if trader.order >= 0:
            book.cancel(trader.order, FIRST_MEMBER + mine)
        side, owner[number], trader.order = trader.state.side, mine, number
        book.add(number, FIRST_MEMBER + mine, side, 1, price)
        traded = bool(book.matches)
        if traded:
            other, _, price, _ = book.matches[0]
            for each in (trader, traders[owner[other]]):
                gains += each.state.side * each.units[each.done]
                each.done += 1
            prices.append(price)
            book, owner = LiveBook(), {}
            for each in traders:
                each.order = -1
        for each in traders:
            limit = each.units[min(each.done, len(each.units) - 1)]
            heard = Heard(side, price, traded, each.active)
            each.state = strategy.learn(replace(each.state, limit=limit), heard, rng)
    return gains, prices
