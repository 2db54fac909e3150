"""Members of a kind, handled together: they answer calls with orders. The engine cannot tell them from real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wattle.core.columns import I32, I64
from wattle.core.compiled import kernel
from wattle.core.messages import Call
from wattle.core.segments import cells
from wattle.core.tables import ANY_PRICE, ANYONE, Orders


@dataclass(frozen=True, eq=False)
class View:
    """What these members may know when they answer: expected net energy [K, N] in lots for the called intervals."""

    expected: NDArray[np.int64]


class Cohort(Protocol):
    """Members that decide alike."""

    @property
    def members(self) -> I32:
        """Participant numbers."""
        ...

    def respond(self, call: Call, view: View) -> Orders:
        """Answer an open gate, or the quotes of a round, with orders."""
        ...


@dataclass(frozen=True, eq=False)
class FixedLimits:
    """Each member trades all that he expects to need or to spare, at one limit for buying and one for selling.

    `buy` and `sell` are ticks for each member; they never change. Asked at prices, he takes the best quote that his
    limit allows (of equals the first), with all that he has; no quote that is good enough, no order.
    """

    members: I32
    buy: I64
    sell: I64

    def respond(self, call: Call, view: View) -> Orders:
        """Bid for expected consumption, offer expected surplus: one order for each member and interval."""
        time, who, lots = cells(view.expected)
        limit = np.where(lots > 0, self.buy[who], self.sell[who])
        partner = np.full(who.size, ANYONE, np.int32)
        if call.round > 0:
            _, partner, taken = quotes_taken(call, self.members, view.expected, limit)
            time, who, lots, limit, partner = time[taken], who[taken], lots[taken], limit[taken], partner[taken]
        return orders_of(call, self.members[who], time, lots, limit, partner)


def orders_of(call: Call, participant: I32, time: I32, lots: I64, limit: I64, partner: I32) -> Orders:
    """Return orders in zone 0 for signed `lots`, positive buys; `time` counts from the first interval of the call."""
    return Orders(
        id=np.zeros(time.size, np.int64),
        participant=participant,
        zone=np.zeros(time.size, np.int32),
        interval=time + np.int32(call.first),
        side=np.sign(lots).astype(np.int8),
        quantity=np.abs(lots),
        limit=limit,
        partner=partner,
    )


def quotes_taken(
    call: Call, members: I32, expected: NDArray[np.int64], limit: I64
) -> tuple[I64, I32, NDArray[np.bool_]]:
    """Return for each cell of `expected` the best quote within its limit: price, the member behind it, is there one?

    Cells are those with something to trade in `expected` [K, N] lots, in the order of `segments.cells`; `limit` is
    theirs. Of equal quotes the first is best. Without a quote good enough the price is 0 and the partner anyone.
    """
    time, who, lots = cells(expected)
    quotes = call.quotes
    row_of = np.full(expected.shape, -1, np.int64)
    row_of[time, who] = np.arange(who.size)
    last = max(int(table.max(initial=0)) for table in (members, quotes.buyer, quotes.seller))
    place_of = np.full(last + 1, -1, np.int64)
    place_of[members] = np.arange(members.size)
    price, partner = np.zeros(who.size, np.int64), np.full(who.size, ANYONE, np.int32)
    good = np.zeros(who.size, np.int8)
    best_quotes(
        quotes.interval, quotes.buyer, quotes.seller, quotes.price, call.first, members, place_of, row_of,
        (lots > 0).astype(np.int8), np.ascontiguousarray(limit), price, partner, good,
    )  # fmt: skip
    return price, partner, good == 1


@kernel("r4 r4 r4 r8 i r4 r8 r82 r1 r8 w8 w4 w1")
def best_quotes(
    interval: Any, buyer: Any, seller: Any, price: Any, first: Any, members: Any, place_of: Any, row_of: Any,
    buys: Any, limit: Any, best: Any, partner: Any, good: Any,
) -> Any:  # fmt: skip
    """Find each row's best quote within its limit: `good` becomes 1, `best` its price, `partner` the other side.

    `row_of` [K, N] is the row of each interval and member (-1: none), `place_of` the place of a participant among the
    `members`.
    """
    for quote in range(interval.size):
        time = interval[quote] - first
        for buying in range(2):
            who, other = (buyer[quote], seller[quote]) if buying == 1 else (seller[quote], buyer[quote])
            begin, end = np.int64(0), np.int64(members.size)
            if who >= 0:
                begin = place_of[who]
                end = begin + 1
                if begin < 0:
                    continue
            for place in range(begin, end):
                row = row_of[time, place]
                if row < 0 or buys[row] != buying or members[place] == other:
                    continue
                asked, most = price[quote], limit[row]
                if buying == 1:
                    fits = most == ANY_PRICE or most >= asked
                    better = good[row] == 0 or asked < best[row]
                else:
                    fits = most == -ANY_PRICE or most <= asked
                    better = good[row] == 0 or asked > best[row]
                if fits and better:
                    good[row] = 1
                    best[row] = asked
                    partner[row] = other


def drawn_limits(members: int, low: int, high: int, seed: int) -> I64:
    """Draw one limit for each member between two prices (ticks, both included), evenly, with a fixed seed.

    The raw bits of PCG64 are the same in every version of NumPy, so a run can be repeated for years.
    """
    raw = np.random.PCG64(seed).random_raw(members)
    return (low + (raw >> np.uint64(11)) % np.uint64(high - low + 1)).astype(np.int64)
