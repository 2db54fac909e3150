"""Order books to test market rules with, drawn from a seed: same seed and kind, same books, on every machine.

Rules break at the edges, so most kinds are edges: ties, empty and one-sided books, huge and tiny quantities, price
takers, rows out of order. `books(seed, kind)` draws one kind for ever, `cases` mixes all kinds with tariffs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, ANYONE, FIRST_MEMBER, Orders
from wattle.core.units import PRICE_MAX, QUANTITY_MAX, Units, decimal_text

UNITS = Units.parse(lot_wh="1", tick_per_kwh="0.0001")
"""The units in which a book is written as CSV; `wattle clear --lot-wh 1 --tick-per-kwh 0.0001` counts in them too."""


@dataclass(frozen=True)
class Kind:
    """The ranges that the books of a kind are drawn from; both ends of a range are possible.

    `levels` rounds limits to so many different prices (0: no rounding). `buy`, `taker` and `named` are the chances
    that an order buys, takes any price, names its partner. `huge` is the chance of a quantity close to the largest.
    """

    orders: tuple[int, int] = (1, 40)
    members: tuple[int, int] = (2, 12)
    intervals: int = 4
    zones: int = 1
    quantity: tuple[int, int] = (1, 50)
    limit: tuple[int, int] = (0, 400)
    levels: int = 0
    buy: tuple[float, ...] = (0.5,)
    taker: float = 0.0
    named: float = 0.0
    huge: float = 0.0
    shuffled: float = 0.5
    rare: bool = False  # large books: one of them for many of the others


KINDS: dict[str, Kind] = {
    "random": Kind(),
    "ties": Kind(limit=(100, 300), levels=3, quantity=(1, 4)),
    "empty": Kind(orders=(0, 0)),
    "one-sided": Kind(buy=(0.0, 1.0), taker=0.2),
    "single order": Kind(orders=(1, 1), buy=(0.0, 1.0), taker=0.5),
    "member on both sides": Kind(members=(1, 2), intervals=2, levels=6),
    "several orders a member": Kind(members=(2, 3), intervals=1, orders=(6, 30), levels=4),
    "huge quantities": Kind(orders=(2, 8), intervals=1, huge=0.6, quantity=(1, 3)),
    "tiny quantities": Kind(quantity=(1, 2), intervals=2),
    "zones": Kind(zones=4, intervals=3, orders=(8, 60)),
    "price takers": Kind(taker=1.0, orders=(1, 20)),
    "some price takers": Kind(taker=0.3, orders=(2, 20), intervals=3),
    "shuffled rows": Kind(shuffled=1.0, zones=2, orders=(10, 60), levels=8),
    "negative prices": Kind(limit=(-300, 100), orders=(2, 30), intervals=2),
    "wide prices": Kind(limit=(-PRICE_MAX, PRICE_MAX), orders=(50, 90), intervals=1),
    "wide prices, small groups": Kind(limit=(-PRICE_MAX, PRICE_MAX), orders=(2, 20), intervals=2),
    "narrow prices": Kind(limit=(180, 200), orders=(55, 140), intervals=1),
    "small": Kind(orders=(2, 6), members=(2, 5), intervals=1, quantity=(1, 3), limit=(60, 300), levels=9),
    "named partners": Kind(named=0.4, orders=(2, 16), members=(2, 4), intervals=2),
    "one large group": Kind(orders=(1500, 3000), members=(200, 400), intervals=1, rare=True),
    "large group, wide prices": Kind(
        orders=(400, 900), members=(50, 90), intervals=1, limit=(-PRICE_MAX, PRICE_MAX), levels=300, rare=True
    ),
    "thousands of intervals": Kind(orders=(4000, 8000), members=(5, 9), intervals=2500, taker=0.05, rare=True),
}
"""Every kind of book by name."""

RARELY = 40
"""One large book comes for so many others."""


@dataclass(frozen=True, eq=False)
class Case:
    """A book and what a rule sees beside it."""

    kind: str
    orders: Orders
    tariff: Tariff | None
    seed: int

    def context(self) -> Context:
        """Return a fresh context; its chance begins anew each time."""
        return Context(tariff=self.tariff, rng=np.random.default_rng(self.seed))


def books(seed: int, kind: str) -> Iterator[Orders]:
    """Yield books of one kind for ever.

    >>> first, again = (next(books(7, "ties")) for _ in range(2))
    >>> first == again
    True
    """
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    while True:
        yield _book(rng, KINDS[kind])


def cases(seed: int, kinds: list[str] | None = None) -> Iterator[Case]:
    """Yield books of all (or the named) kinds in turn, with and without a tariff, for ever."""
    names = kinds or list(KINDS)
    usual = [name for name in names if not KINDS[name].rare] or names
    rare = [name for name in names if name not in usual]
    streams = {name: books(seed, name) for name in names}
    drawn = count()
    while True:
        for name in usual:
            number = next(drawn)
            yield _case(name, streams[name], seed, number)
            if rare and number % RARELY == RARELY // 2:
                large = rare[number // RARELY % len(rare)]
                yield _case(large, streams[large], seed, number)


def part(seed: int, how_many: int, kinds: list[str] | None = None) -> list[Case]:
    """Return the first `how_many` cases."""
    return list(islice(cases(seed, kinds), how_many))


def _case(name: str, stream: Iterator[Orders], seed: int, number: int) -> Case:
    orders = next(stream)
    rng = np.random.default_rng([seed, number, 1])
    return Case(name, orders, tariff(rng, int(orders.interval.max(initial=0)) + 1), seed + number)


def tariff(rng: np.random.Generator, intervals: int) -> Tariff | None:
    """Draw a tariff for the intervals from 0 on: none, flat, changing, without a gap, or with a worthless feed-in."""
    match int(rng.integers(8)):
        case 0:
            return None
        case 1:
            retail = rng.integers(200, 400, intervals)
            return Tariff(0, retail, retail - rng.integers(0, 200, intervals))
        case 2:
            return Tariff.flat(180, 180, intervals)
        case 3:
            return Tariff.flat(300, int(rng.integers(-50, 1)), intervals)
        case _:
            return Tariff.flat(300, 60, intervals)


def _book(rng: np.random.Generator, kind: Kind) -> Orders:
    rows = int(rng.integers(kind.orders[0], kind.orders[1] + 1))
    members = int(rng.integers(kind.members[0], kind.members[1] + 1))
    side = np.where(rng.random(rows) < rng.choice(np.array(kind.buy)), 1, -1)
    limit = rng.integers(kind.limit[0], kind.limit[1] + 1, rows)
    if kind.levels:
        step = max(1, (kind.limit[1] - kind.limit[0]) // kind.levels)
        limit = kind.limit[0] + (limit - kind.limit[0]) // step * step
    limit = np.where(rng.random(rows) < kind.taker, side * ANY_PRICE, limit)
    quantity = rng.integers(kind.quantity[0], kind.quantity[1] + 1, rows)
    quantity = np.where(rng.random(rows) < kind.huge, QUANTITY_MAX - rng.integers(0, 9, rows), quantity)
    participant = FIRST_MEMBER + rng.integers(0, members, rows)
    partner = FIRST_MEMBER + rng.integers(0, members, rows)
    named = (rng.random(rows) < kind.named) & (partner != participant) & np.isin(partner, participant)
    interval, zone = rng.integers(0, kind.intervals, rows), rng.integers(0, kind.zones, rows)
    number = np.cumsum(rng.integers(1, 4, rows))
    if rng.random() < kind.shuffled:
        number = rng.permutation(number)
    else:
        in_order = np.lexsort((zone, interval))
        interval, zone = interval[in_order], zone[in_order]
    return _orders(number, participant, zone, interval, side, quantity, limit, np.where(named, partner, ANYONE))


def _orders(*columns: NDArray[np.integer[Any]]) -> Orders:
    narrow: list[Any] = list(columns)  # the table makes each column as narrow as it declares
    return Orders(*narrow)


def as_csv(orders: Orders) -> str:
    """Write a book in the form that `wattle clear` reads, in the order of its ids; a price taker has no limit.

    >>> print(as_csv(book_of([(8, 1, 250, 2850), (9, -1, 40, -ANY_PRICE)])))
    member,side,quantity_kwh,limit_ct_per_kwh,interval,zone,partner
    m8,buy,0.25,28.5,0,0,
    m9,sell,0.04,,0,0,
    """
    lines = ["member,side,quantity_kwh,limit_ct_per_kwh,interval,zone,partner"]
    for row in np.argsort(orders.id, kind="stable"):
        limit = int(orders.limit[row])
        fields = (
            f"m{orders.participant[row]}",
            "buy" if orders.side[row] > 0 else "sell",
            decimal_text(UNITS.kwh(int(orders.quantity[row]))),
            "" if abs(limit) == ANY_PRICE else decimal_text(UNITS.price(limit) * 100),
            str(orders.interval[row]),
            str(orders.zone[row]),
            "" if orders.partner[row] == ANYONE else f"m{orders.partner[row]}",
        )
        lines.append(",".join(fields))
    return "\n".join(lines)


def book_of(rows: list[tuple[int, int, int, int]]) -> Orders:
    """Return a small book of one zone and interval from rows (participant, side, quantity, limit), ids from 0."""
    columns: NDArray[np.int64] = np.array(rows, np.int64).reshape(-1, 4)
    size = columns.shape[0]
    nought = np.zeros(size, np.int64)
    who, side, quantity, limit = columns.T
    return _orders(np.arange(size), who, nought, nought, side, quantity, limit, np.full(size, ANYONE))
