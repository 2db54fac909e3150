"""A trading session as in the laboratory: traders with induced values, an order book, several days.

Each day everybody gets his units anew and keeps what he has learnt. In each turn one trader, drawn by chance, may
quote for his next unit; his new quote replaces his old one. After a trade the book is emptied, as in Gode and Sunder
1993. They meet in the laboratory, which is nothing but a book in plain Python, or on a whole
market; the trades are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import Protocol

import numpy as np

from wattle.agents.strategies import Heard, State, Strategy, View
from wattle.core.checks import ensure
from wattle.core.tables import ANYONE, BUY, FIRST_MEMBER, Orders, Readings
from wattle.engine.engine import Engine, Rules
from wattle.engine.events import (
    Accepted,
    Cleared,
    Effect,
    Event,
    GateClosed,
    GateOpened,
    IntervalsEnded,
    MembersJoined,
    OrdersCancelled,
    OrdersSubmitted,
    ReadingsReceived,
    Rejected,
    TariffPublished,
)
from wattle.engine.gate import Product
from wattle.market.book_live import LiveBook
from wattle.market.mechanism import ARRIVAL
from wattle.market.order_book import OrderBook
from wattle.runtime.journal import Journal, MemoryJournal

BOOK = "book"


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

    @property
    def active(self) -> bool:
        return self.done < len(self.units)


class Venue(Protocol):
    """Where quotes for one unit meet; traders are numbered from 0, buyers first."""

    def open(self) -> None:
        """Begin a day with an empty book."""
        ...

    def best(self) -> tuple[int | None, int | None]:
        """Return the dearest bid and the cheapest offer."""
        ...

    def quote(self, mine: int, side: int, price: int) -> tuple[int, int] | None:
        """Replace a trader's quote by a new one; return whom he traded with and at what price, if he did."""
        ...

    def empty(self) -> None:
        """Take all quotes out of the book."""
        ...

    def close(self) -> None:
        """End the day."""
        ...


class Laboratory:
    """A book in plain Python and nothing else; it is the one of `market.book_live`."""

    def __init__(self) -> None:
        self._count = 0
        self.empty()

    def open(self) -> None:
        """Begin a day with an empty book."""
        self.empty()

    def best(self) -> tuple[int | None, int | None]:
        """Return the dearest bid and the cheapest offer."""
        return self._book.best_bid, self._book.best_ask

    def quote(self, mine: int, side: int, price: int) -> tuple[int, int] | None:
        """Replace a trader's quote by a new one; return whom he traded with and at what price, if he did."""
        if mine in self._quote:
            self._book.cancel(self._quote[mine], FIRST_MEMBER + mine)
        number = self._count = self._count + 1
        self._quote[mine], self._owner[number] = number, mine
        self._book.add(number, FIRST_MEMBER + mine, side, 1, price)
        if not self._book.matches:
            return None
        other, _, paid, _ = self._book.matches[0]
        return self._owner[other], paid

    def empty(self) -> None:
        """Take all quotes out of the book."""
        self._book = LiveBook()
        self._quote: dict[int, int] = {}
        self._owner: dict[int, int] = {}

    def close(self) -> None:
        """End the day."""
        self.empty()


class LiveMarket:
    """A whole market: an engine with an order book that trades on arrival, and a journal of all that it was told.

    Each day is one interval with a gate of its own, so a session can be replayed and settled as any other market.
    `traders` is how many there are, buyers first. Each of them has traded what he is metered for, so nothing is left
    for the utility.
    """

    def __init__(self, traders: int, journal: Journal | None = None) -> None:
        self.engine = Engine(Rules((Product(BOOK, OrderBook(), ARRIVAL),)), traders)
        self.journal = MemoryJournal() if journal is None else journal
        self.day = -1
        self._quote: dict[int, int] = {}
        self._net = np.zeros(traders, np.int64)
        self._members = np.arange(FIRST_MEMBER, FIRST_MEMBER + traders, dtype=np.int32)
        self._tell(MembersJoined(0, tuple(self._members.tolist())))

    def open(self) -> None:
        """Begin a day with an empty book."""
        self.day += 1
        self._net[:] = 0
        self._tell(GateOpened(self.day, BOOK, self.day, self.day + 1))

    def best(self) -> tuple[int | None, int | None]:
        """Return the dearest bid and the cheapest offer."""
        depth = self.engine.depth(BOOK)
        bids, asks = depth.price[depth.side == BUY], depth.price[depth.side != BUY]
        return (int(bids[0]) if bids.size else None), (int(asks[0]) if asks.size else None)

    def quote(self, mine: int, side: int, price: int) -> tuple[int, int] | None:
        """Replace a trader's quote by a new one; return whom he traded with and at what price, if he did."""
        if mine in self._quote:
            self._tell(OrdersCancelled(self.day, BOOK, (self._quote.pop(mine),)))
        order = Orders.from_lists(
            {
                "id": [0],
                "participant": [FIRST_MEMBER + mine],
                "zone": [0],
                "interval": [self.day],
                "side": [side],
                "quantity": [1],
                "limit": [price],
                "partner": [ANYONE],
            }
        )
        for effect in self._tell(OrdersSubmitted(self.day, BOOK, order)):
            if isinstance(effect, Accepted):
                self._quote[mine] = int(effect.ids[0])
            elif isinstance(effect, Cleared):
                seller, buyer = int(effect.trades.seller[0]), int(effect.trades.buyer[0])
                self._net[buyer - FIRST_MEMBER] += 1
                self._net[seller - FIRST_MEMBER] -= 1
                return (seller if side == BUY else buyer) - FIRST_MEMBER, int(effect.trades.buy_price[0])
        return None

    def empty(self) -> None:
        """Take all quotes out of the book."""
        self._tell(OrdersCancelled(self.day, BOOK, tuple(self.engine.resting(BOOK).id.tolist())))
        self._quote.clear()

    def close(self) -> None:
        """End the day and settle it: everybody delivers what he traded."""
        self._quote.clear()
        nought = np.zeros(1, np.int64)
        interval = np.full(self._net.size, self.day, np.int32)
        self._tell(GateClosed(self.day, BOOK))
        self._tell(TariffPublished(self.day, self.day, nought, nought))
        self._tell(ReadingsReceived(self.day, Readings(interval, self._members, self._net.copy())))
        self._tell(IntervalsEnded(self.day, self.day, self.day + 1))

    def _tell(self, event: Event) -> list[Effect]:
        self.journal.append(event)
        effects = self.engine.handle(event)
        ensure(not any(isinstance(effect, Rejected) for effect in effects), "a session sent a wrong event")
        return effects


def trading_days(
    market: Induced, strategy: Strategy, *, days: int, turns: int, seed: int, venue: Venue | None = None
) -> list[Day]:
    """Let traders of one kind trade for some days of `turns` quotes each; same seed, same days.

    Without a `venue` they meet in the laboratory.
    """
    venue = Laboratory() if venue is None else venue
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
        venue.open()
        gains, prices = _day(traders, strategy, venue, market.high, turns, rng)
        venue.close()
        spread = sum((price - middle) ** 2 for price in prices)
        alpha = 100 * sqrt(spread / len(prices)) / middle if prices else float("nan")
        found.append(Day(gains / surplus, alpha, tuple(prices)))
    return found


def _day(
    traders: list[_Trader], strategy: Strategy, venue: Venue, high: int, turns: int, rng: np.random.Generator
) -> tuple[int, list[int]]:
    gains, prices = 0, []
    for _ in range(turns):
        active = [place for place, trader in enumerate(traders) if trader.active]
        if len({traders[place].state.side for place in active}) < 2:
            break
        mine = active[int(rng.integers(len(active)))]
        trader = traders[mine]
        trader.state = replace(trader.state, limit=trader.units[trader.done])
        price = strategy.quote(trader.state, View(*venue.best(), high), rng)
        if price is None:
            continue
        side = trader.state.side
        met = venue.quote(mine, side, price)
        if met is not None:
            other, price = met
            for each in (trader, traders[other]):
                gains += each.state.side * each.units[each.done]
                each.done += 1
            prices.append(price)
            venue.empty()
        for each in traders:
            limit = each.units[min(each.done, len(each.units) - 1)]
            heard = Heard(side, price, met is not None, each.active)
            each.state = strategy.learn(replace(each.state, limit=limit), heard, rng)
    return gains, prices
