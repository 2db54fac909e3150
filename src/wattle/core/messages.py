"""What a market rule sees and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import NOBODY_TO_TRADE_WITH, Reject, ensure
from wattle.core.columns import I64
from wattle.core.tables import Envelopes, Orders, Preferences, Prices, Profiles, Quotes, Trades, Transfers

Memory = Mapping[str, Any]
"""State that a rule keeps between steps: tables, arrays and numbers only, so that it can be stored and hashed."""


@dataclass(frozen=True, eq=False)
class Tariff:
    """The utility's prices in ticks for the intervals `first`, `first + 1`, ...; retail >= feed-in.

    Both are net of the charges on local energy (see `ledger.fees`), so a rule may price local energy anywhere
    between them without making a member worse off than trading with the utility.
    """

    first: int
    retail: I64
    feed_in: I64

    def __post_init__(self) -> None:
        ensure(self.retail.shape == self.feed_in.shape, "tariff: retail and feed-in differ in length")
        ensure(bool((self.retail >= self.feed_in).all()), "tariff: the retail price is below the feed-in price")

    @classmethod
    def flat(cls, retail: int, feed_in: int, count: int = 1, first: int = 0) -> Tariff:
        """Return a tariff of constant prices."""
        return cls(first, np.full(count, retail, np.int64), np.full(count, feed_in, np.int64))

    def covers(self, first: int, stop: int) -> bool:
        """Tell whether there are prices for the intervals first ... stop - 1."""
        return self.retail.size == 1 or (self.first <= first and stop <= self.first + self.retail.size)

    def at(self, interval: NDArray[np.int32]) -> tuple[I64, I64]:
        """Return retail and feed-in price for each interval number; a tariff of one interval holds always."""
        if self.retail.size == 1:
            return (
                np.broadcast_to(self.retail, interval.shape),
                np.broadcast_to(self.feed_in, interval.shape),
            )
        row = interval - self.first
        ensure(interval.size == 0 or (row.min() >= 0 and row.max() < self.retail.size), "no tariff for an interval")
        return self.retail.take(row), self.feed_in.take(row)


@dataclass(frozen=True, eq=False)
class Limits:
    """What the wires allow: per zone and interval the largest import and export in lots. Empty: no limit."""

    zone_cap: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Context:
    """All that a market rule may see besides the orders and its own memory."""

    tariff: Tariff | None = None
    limits: Limits = field(default_factory=Limits)
    envelopes: Envelopes = field(default_factory=Envelopes.empty)
    profiles: Profiles = field(default_factory=Profiles.empty)
    preferences: Preferences = field(default_factory=Preferences.empty)
    rng: np.random.Generator | None = None  # seeded by (scenario, product, gate)


@dataclass(frozen=True, eq=False)
class Clearing:
    """The gate is done. Lots that are neither traded nor resting have expired."""

    trades: Trades
    prices: Prices
    resting: Orders = field(default_factory=Orders.empty)
    transfers: Transfers = field(default_factory=Transfers.empty)
    report: Mapping[str, float] = field(default_factory=dict)  # for people, not for code
    refused: Reject | None = None  # the rule cannot price this book; every lot is returned

    @classmethod
    def refuse(cls, code: Reject) -> Clearing:
        """Return a clearing that trades nothing and says why."""
        return cls(Trades.empty(), Prices.empty(), refused=code)

    @property
    def unusable(self) -> Reject | None:
        """The code of a book that the rule cannot use; None also if there was just nobody to trade with."""
        return None if self.refused in NOBODY_TO_TRADE_WITH else self.refused


@dataclass(frozen=True, eq=False)
class Quote:
    """Ask the members again at these prices."""

    quotes: Quotes
    round: int


@dataclass(frozen=True, eq=False)
class Call:
    """The gate is open: send orders (or answers to the quotes of this round)."""

    product: str
    first: int
    stop: int
    round: int = 0
    quotes: Quotes = field(default_factory=Quotes.empty)


def unfilled(orders: Orders, clearing: Clearing) -> I64:
    """Return for each order the lots that were neither traded nor left resting."""
    left = orders.quantity.copy()
    rank = np.argsort(orders.id, kind="stable")
    ids = orders.id[rank]
    for order_id, lots in (
        (clearing.trades.buy_order, clearing.trades.quantity),
        (clearing.trades.sell_order, clearing.trades.quantity),
        (clearing.resting.id, clearing.resting.quantity),
    ):
        known = order_id >= 0
        place = np.searchsorted(ids, order_id[known])
        ensure(bool((place < ids.size).all()), "a trade names an order that is not in the book")
        ensure(bool((ids[place] == order_id[known]).all()), "a trade names an order that is not in the book")
        np.subtract.at(left, rank[place], lots[known])
    return left
