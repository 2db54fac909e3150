"""Members of a kind, handled together: they answer calls with orders. The engine cannot tell them from real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wattle.core.columns import I32, I64
from wattle.core.messages import Call
from wattle.core.segments import cells
from wattle.core.tables import ANYONE, Orders


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

    `buy` and `sell` are ticks for each member; they never change.
    """

    members: I32
    buy: I64
    sell: I64

    def respond(self, call: Call, view: View) -> Orders:
        """Bid for expected consumption, offer expected surplus, one order for each member and interval."""
        time, who, lots = cells(view.expected)
        buys = lots > 0
        return Orders(
            id=np.zeros(who.size, np.int64),
            participant=self.members[who],
            zone=np.zeros(who.size, np.int32),
            interval=time + np.int32(call.first),
            side=np.where(buys, np.int8(1), np.int8(-1)),
            quantity=np.abs(lots),
            limit=np.where(buys, self.buy[who], self.sell[who]),
            partner=np.full(who.size, ANYONE, np.int32),
        )


def drawn_limits(members: int, low: int, high: int, seed: int) -> I64:
    """Draw one limit for each member between two prices (ticks, both included), evenly, with a fixed seed.

    The raw bits of PCG64 are the same in every version of NumPy, so a run can be repeated for years.
    """
    raw = np.random.PCG64(seed).random_raw(members)
    return (low + (raw >> np.uint64(11)) % np.uint64(high - low + 1)).astype(np.int64)
