"""The rules of an order book in words, and the tables in which it is spoken to and answers.

- A new order meets the best resting orders of the other side first: best price, and at one price the one that has
  waited longest. Each trade is made at the price of the order that rested.
- What is not filled rests (good until gate), expires (immediate or cancel), or was never tried because the whole
  could not be filled (fill or kill). A market order, of limit `ANY_PRICE` or `-ANY_PRICE`, never rests.
- An amendment names what shall be in the book from now on. Less at the same price keeps the place in the queue; more,
  or another price, goes to its end and may trade on the way. Its flags do not count; side and owner never change.
- A participant does not trade with himself: the rest of the new order is dropped (`CANCEL_INCOMING`), or his resting
  order is taken out and the new one goes on (`CANCEL_RESTING`), or one lets him (`ALLOW`).
- Every message gets one `Outcomes` row with quantity = traded + rested + dropped; nothing happens without one.

One book is one zone in one interval. `book_batch` and `book_live` are two implementations of these rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from wattle.core.checks import ensure
from wattle.core.columns import I8, I32, I64, Columns

ADD, CANCEL, AMEND = 0, 1, 2
GOOD_UNTIL_GATE, IMMEDIATE_OR_CANCEL, FILL_OR_KILL = 0, 1, 2
ALLOW, CANCEL_INCOMING, CANCEL_RESTING = 0, 1, 2

TIMES_IN_FORCE = {
    "good-until-gate": GOOD_UNTIL_GATE,
    "immediate-or-cancel": IMMEDIATE_OR_CANCEL,
    "fill-or-kill": FILL_OR_KILL,
}
SELF_TRADES = {"allow": ALLOW, "cancel-incoming": CANCEL_INCOMING, "cancel-resting": CANCEL_RESTING}


class Code(IntEnum):
    """Why a message ended as it did."""

    DONE = 0  # traded, rests, or both; for a cancel: the order is out of the book
    KILLED = 1  # fill or kill: the book could not fill it
    EXPIRED = 2  # immediate or cancel, or a market order: the unfilled rest is dropped
    SELF_TRADE = 3  # the rest is dropped, for it would meet an order of the same participant
    UNKNOWN_ORDER = 4  # cancel or amend: no such order rests
    NOT_YOURS = 5  # cancel or amend: the order belongs to somebody else
    DUPLICATE = 6  # add: an order of this id rests already
    BAD_MESSAGE = 7  # kind, side, quantity, limit or flags are impossible


@dataclass(frozen=True, eq=False)
class Messages(Columns):
    """What arrives at one book, in order of arrival. A cancel needs id and participant only."""

    kind: I8  # ADD, CANCEL, AMEND
    id: I64  # of the order that is placed, cancelled or amended
    participant: I32
    side: I8  # +1 buy, -1 sell; of an add
    quantity: I64  # lots; of an amendment: what shall rest from now on
    limit: I64  # ticks; ANY_PRICE or -ANY_PRICE: a market order
    flags: I8  # GOOD_UNTIL_GATE, IMMEDIATE_OR_CANCEL, FILL_OR_KILL; of an add


@dataclass(frozen=True, eq=False)
class Outcomes(Columns):
    """One answer for each message."""

    code: I8  # see Code
    traded: I64  # lots traded at once
    rested: I64  # lots of the order that rest after the message
    dropped: I64  # lots that were killed, expired, cancelled or refused


@dataclass(frozen=True, eq=False)
class Matches(Columns):
    """Who met whom: a message and a resting order, in order of time."""

    message: I64  # row of the message
    order: I64  # id of the resting order
    quantity: I64
    price: I64  # the resting order's
    traded: I8  # 1 a trade, 0 the resting order was taken out to prevent a trade with oneself


def chosen(table: dict[str, int], name: str, field: str) -> int:
    """Return the number behind the name of a choice; an unknown name is refused."""
    ensure(name in table, f"{field} is {name!r}, expected one of: {', '.join(table)}")
    return table[name]
