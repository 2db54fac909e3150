"""Every event that may enter the engine and every effect that may leave it.

Events are facts: frozen, complete, with their own time `at_s`, and journaled before they are handled. Effects tell the
world what followed; they can be computed again at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64, Columns
from wattle.core.messages import Call
from wattle.core.tables import Orders, Prices, Quotes, Readings, Trades, Transfers
from wattle.ledger.postings import Postings


@dataclass(frozen=True)
class Event:
    """Something that happened outside. `at_s` is the UTC second at which the shell stamped it."""

    at_s: int
    version: ClassVar[int] = 1

    def payload(self) -> dict[str, Any]:
        """Return plain lists and numbers for the journal; `event_from` reverses it."""
        found: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Columns):
                value = value.to_lists()
            elif isinstance(value, np.ndarray):
                value = value.tolist()
            elif isinstance(value, tuple):
                value = list(value)
            found[item.name] = value
        return found


@dataclass(frozen=True)
class MembersJoined(Event):
    """Participants take part from the next interval on that is not yet settled."""

    participants: tuple[int, ...]


@dataclass(frozen=True)
class MembersLeft(Event):
    """Participants take no part from the next interval on that is not yet settled."""

    participants: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class TariffPublished(Event):
    """The utility's prices in ticks from interval `first` on, one per interval, all charges included."""

    first: int
    retail: I64
    feed_in: I64


@dataclass(frozen=True)
class GateOpened(Event):
    """A product takes orders for the intervals first ... stop - 1."""

    product: str
    first: int
    stop: int


@dataclass(frozen=True, eq=False)
class OrdersSubmitted(Event):
    """Orders for an open gate; their `id` column is ignored, the engine stamps its own."""

    product: str
    orders: Orders


@dataclass(frozen=True)
class OrdersCancelled(Event):
    """Open orders are withdrawn."""

    product: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class OrdersAmended(Event):
    """Orders that rest in a gate which trades on arrival are changed, row by row.

    `quantity` and `limit` say what shall rest from now on. Less at the same price keeps the place in the queue; more,
    or another price, goes to its end and may trade at once.
    """

    product: str
    ids: tuple[int, ...]
    quantity: tuple[int, ...]
    limit: tuple[int, ...]

    def __post_init__(self) -> None:
        ensure(len(self.ids) == len(self.quantity) == len(self.limit), "an amendment lacks a number in a row")


@dataclass(frozen=True)
class GateClosed(Event):
    """The gate takes no more orders (or answers of this round) and is cleared."""

    product: str


@dataclass(frozen=True, eq=False)
class ReadingsReceived(Event):
    """Metered energy. For a settled interval it is a correction."""

    readings: Readings
    source: str = ""  # where the readings came from: a file and its hash


@dataclass(frozen=True)
class IntervalsEnded(Event):
    """Delivery of the intervals first ... stop - 1 is over and their readings are complete: settle and seal them."""

    first: int
    stop: int


EVENTS: dict[str, type[Event]] = {
    cls.__name__: cls
    for cls in (
        MembersJoined,
        MembersLeft,
        TariffPublished,
        GateOpened,
        OrdersSubmitted,
        OrdersCancelled,
        OrdersAmended,
        GateClosed,
        ReadingsReceived,
        IntervalsEnded,
    )
}

_COLUMNS: dict[str, type[Columns]] = {"orders": Orders, "readings": Readings}


def event_from(kind: str, payload: Mapping[str, Any]) -> Event:
    """Build an event from its journal entry."""
    ensure(kind in EVENTS, f"the journal holds the unknown event {kind!r}")
    cls = EVENTS[kind]
    values: dict[str, Any] = {}
    for item in fields(cls):
        value = payload[item.name]
        if item.name in _COLUMNS:
            value = _COLUMNS[item.name].from_lists(value)
        elif item.name in ("retail", "feed_in"):
            value = np.array(value, np.int64)
        elif isinstance(value, list):
            value = tuple(value)
        values[item.name] = value
    return cls(**values)


@dataclass(frozen=True)
class Effect:
    """Something that the world must be told."""


@dataclass(frozen=True, eq=False)
class Called(Effect):
    """The gate is open (round 0), or the members are asked again at new quotes."""

    call: Call


@dataclass(frozen=True, eq=False)
class Accepted(Effect):
    """Orders stand in the book under these ids."""

    product: str
    ids: I64


@dataclass(frozen=True, eq=False)
class Rejected(Effect):
    """Rows of an event were not taken; `rows` counts from 0 within the event, `codes` say why."""

    rows: I64
    codes: tuple[Reject, ...]


@dataclass(frozen=True, eq=False)
class Asked(Effect):
    """A rule wants answers to these quotes before it clears."""

    product: str
    round: int
    quotes: Quotes


@dataclass(frozen=True, eq=False)
class Dropped(Effect):
    """Lots of accepted orders that neither trade nor rest: expired, killed, cancelled, or in the way of their owner."""

    product: str
    ids: I64
    quantity: I64


@dataclass(frozen=True, eq=False)
class Cleared(Effect):
    """A gate or the metered positions of some intervals were cleared.

    While a gate trades on arrival, each of these holds the trades of one event, and no prices; the last one, at gate
    closure, holds the published prices of the gate, and no trades.
    """

    product: str
    first: int
    stop: int
    trades: Trades
    prices: Prices
    transfers: Transfers
    report: Mapping[str, float]
    refused: Reject | None


@dataclass(frozen=True, eq=False)
class Settled(Effect):
    """Energy and money of some intervals are booked. `revision` counts corrections, 0 is the first settlement.

    `local` are trades between members, `utility` those with the utility. For a correction `postings` are differences.
    `lines` are the sums of the postings [BOOKS, CODES, accounts].
    """

    first: int
    stop: int
    local: Trades
    utility: Trades
    prices: Prices
    postings: Postings
    lines: NDArray[np.int64]
    revision: int


@dataclass(frozen=True, eq=False)
class Sealed(Effect):
    """The chained hash of each settled interval, [T, 32] bytes; after a correction those of the changed intervals."""

    intervals: I64
    hashes: bytes
    revision: int
