"""Allocation keys of energy-sharing law: who gets how much of the pool, at a price that the community sets.

All keys are one function, `allocate(supply, demand, key, rounds)`, in different dress. Sellers are served pro rata.
The price is `price_ticks`; -1 stands for the middle of the utility's two prices (0 where there is no tariff: sharing
for free).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import grouped, starts_of
from wattle.core.tables import SELL, Orders, Trades
from wattle.market.auction_double import has_partner, mean_prices
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, INDIVIDUALLY_RATIONAL, METERED, SEPARABLE, mechanism
from wattle.market.pools import deal
from wattle.market.share import by_rank, by_weight, merged, pro_rata, spread, totals, weights_of, willing

_CLAIMS = {BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT}

Shares = Mapping[int, int]
"""Participant -> whole-number weight, rank or part."""


@mechanism(
    "fixed-key",
    claims=_CLAIMS,
    source="static keys of Sibelga (Brussels) and Enedis (France), static shares of Austrian communities",
    when=METERED,
)
@dataclass(frozen=True)
class FixedKey:
    """Each member may take a fixed share of the pool, at most his demand; what he does not need is not shared.

    `shares` gives each member a weight; members who want nothing keep theirs. Without `shares` all members who want
    energy in the interval weigh the same.
    """

    shares: Shares = field(default_factory=dict)
    price_ticks: int = -1

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Share each interval in one round."""
        return None, _by_key(orders, context, self.shares, self.price_ticks, rounds=1)


@mechanism(
    "fixed-key-rounds",
    claims=_CLAIMS,
    source="Sibelga (Brussels), key in several rounds",
    when=METERED,
)
@dataclass(frozen=True)
class FixedKeyRounds:
    """Fixed shares in rounds: what some do not need goes to the others by their shares.

    `rounds_max` 0 repeats until the pool or the demand is exhausted.
    """

    shares: Shares = field(default_factory=dict)
    rounds_max: int = 0
    price_ticks: int = -1

    def __post_init__(self) -> None:
        ensure(self.rounds_max >= 0, f"rounds_max is {self.rounds_max}, expected 0 or more")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Share each interval round by round."""
        return None, _by_key(orders, context, self.shares, self.price_ticks, rounds=self.rounds_max)


@mechanism(
    "dynamic-key",
    claims=_CLAIMS,
    source="Enedis default dynamic key; Austrian dynamic allocation; German section 42b EnWG proportional key",
    when=METERED,
)
@dataclass(frozen=True)
class DynamicKey:
    """The pool is shared pro rata to what each member uses in the interval."""

    price_ticks: int = -1

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Share each interval in proportion to demand."""

        def allocate(book: Orders, starts: I64, supply: I64, fill: I64) -> None:
            by_rank(starts, book.side, book.quantity, np.zeros(len(book), np.int64), 0, supply, fill)

        return None, _share_out(orders, context, self.price_ticks, allocate)


@mechanism(
    "equal-fill",
    claims=_CLAIMS,
    source="Couraud et al. 2025, arXiv:2508.16819 (glass filling); "
    "Wang et al. 2019, Applied Sciences 9(8), reference 46 (equal increments)",
    when=METERED,
)
@dataclass(frozen=True)
class EqualFill:
    """Everybody's glass is filled to the same level; small demands are served in full first."""

    price_ticks: int = -1

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Share each interval in equal amounts, each capped by demand."""

        def allocate(book: Orders, starts: I64, supply: I64, fill: I64) -> None:
            by_rank(starts, book.side, book.quantity, np.zeros(len(book), np.int64), 1, supply, fill)

        return None, _share_out(orders, context, self.price_ticks, allocate)


@mechanism(
    "priority-key",
    claims=_CLAIMS,
    source="Couraud et al. 2025, arXiv:2508.16819 (glass filling with priority)",
    when=METERED,
)
@dataclass(frozen=True)
class PriorityKey:
    """Members of a lower rank are served first; within a rank pro rata to demand, or to one level.

    `ranks` gives each member a rank from 0; members without one come last. `within` is "demand" or "level".
    """

    ranks: Shares = field(default_factory=dict)
    within: str = "demand"
    price_ticks: int = -1

    def __post_init__(self) -> None:
        ensure(self.within in ("demand", "level"), f'within is {self.within!r}, expected "demand" or "level"')

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Share each interval rank by rank."""
        last = max(self.ranks.values(), default=0) + 1

        def allocate(book: Orders, starts: I64, supply: I64, fill: I64) -> None:
            rank = weights_of(self.ranks, book.participant, last)
            by_rank(starts, book.side, book.quantity, rank, int(self.within == "level"), supply, fill)

        return None, _share_out(orders, context, self.price_ticks, allocate)


@mechanism(
    "gift-key",
    claims=_CLAIMS - {INDIVIDUALLY_RATIONAL},
    source="New Zealand reserved gift, energyalternatives.co.nz (Waiheke); "
    "Jogunola et al. 2017, Energies 10(12), section 3.4",
    when=METERED,
)
@dataclass(frozen=True)
class GiftKey:
    """A part of the pool is given away first, at price 0, to named members; the rest is shared pro rata to demand.

    `gift_percent` of the supply goes to the members in `gift_to` by their weights, at most their demand. What they
    do not need returns to the pool. They may buy what is left when all others are served.
    """

    gift_to: Shares = field(default_factory=dict)
    gift_percent: int = 25
    price_ticks: int = -1

    def __post_init__(self) -> None:
        ensure(0 <= self.gift_percent <= 100, f"gift_percent is {self.gift_percent}, expected 0 to 100")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Give the gift first, then share the rest."""
        if has_partner(orders):
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        whole = sum(self.gift_to.values())

        def give(book: Orders, starts: I64, supply: I64, fill: I64) -> None:
            weight = weights_of(self.gift_to, book.participant, 0)
            gift = supply * self.gift_percent // 100
            by_weight(starts, book.side, book.quantity, weight, 0, gift, 0, fill)

        def share(book: Orders, starts: I64, supply: I64, fill: I64) -> None:
            # Receivers of the gift wait until those who pay are served.
            rank = np.minimum(weights_of(self.gift_to, book.participant, 0), 1)
            by_rank(starts, book.side, book.quantity, rank, 0, supply, fill)

        first = _share_out(orders, context, 0, give) if whole else Clearing.refuse(Reject.NO_PRICE)
        second = _share_out(_left(orders, first.trades), context, self.price_ticks, share)
        both = Trades.concat(first.trades, second.trades)
        both = both.take(np.lexsort((both.zone, both.interval)))
        return None, Clearing(both, mean_prices(both))


KEYS = (DynamicKey, EqualFill, FixedKey, FixedKeyRounds, GiftKey, PriorityKey)
"""The rules of this module; `price_ticks` means the same in all of them."""


def _left(orders: Orders, trades: Trades) -> Orders:
    rank = np.argsort(orders.id, kind="stable")
    left = orders.quantity.copy()
    for ids in (trades.buy_order, trades.sell_order):
        np.subtract.at(left, rank[np.searchsorted(orders.id[rank], ids)], trades.quantity)
    return orders.replace(quantity=left).take(left > 0)


def _by_key(orders: Orders, context: Context, shares: Shares, price_ticks: int, rounds: int) -> Clearing:
    whole = sum(shares.values())

    def allocate(book: Orders, starts: I64, supply: I64, fill: I64) -> None:
        weight = weights_of(shares, book.participant, 0 if shares else 1)
        by_weight(starts, book.side, book.quantity, weight, whole, supply, rounds, fill)

    return _share_out(orders, context, price_ticks, allocate)


def _share_out(orders: Orders, context: Context, price_ticks: int, allocate: object) -> Clearing:
    """Share each group's supply among its bids by `allocate`, then serve the sellers pro rata."""
    if has_partner(orders):
        return Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
    book, starts = grouped(orders)
    price = _price(book, starts, context, price_ticks)
    stay = willing(book, np.repeat(price, np.diff(starts)))
    if not stay.all():
        book = book.take(stay)
        starts = starts_of(book.interval, book.zone)
        price = _price(book, starts, context, price_ticks)
    fill = np.zeros(len(book), np.int64)
    together = merged(book, starts)
    if together is None:
        _, supply = totals(starts, book.side, book.quantity)
        allocate(book, starts, supply, fill)  # type: ignore[operator]
    else:
        single, row_of = together
        single_starts = starts_of(single.interval, single.zone)
        _, supply = totals(single_starts, single.side, single.quantity)
        got = np.zeros(len(single), np.int64)
        allocate(single, single_starts, supply, got)  # type: ignore[operator]
        spread(row_of, book.quantity, got, np.empty_like(got), fill)
    bought, _ = totals(starts, book.side, fill)
    pro_rata(starts, book.side, book.quantity, SELL, bought, fill)
    return deal(book, starts, fill, price)


def _price(book: Orders, starts: I64, context: Context, price_ticks: int) -> I64:
    ensure(price_ticks >= -1, f"price_ticks is {price_ticks}, expected 0 or more, or -1 for the middle of the tariff")
    if price_ticks >= 0:
        return np.full(starts.size - 1, price_ticks, np.int64)
    if context.tariff is None or len(book) == 0:
        return np.zeros(starts.size - 1, np.int64)
    retail, feed_in = context.tariff.at(book.interval[starts[:-1]])
    return (retail + feed_in) // 2
