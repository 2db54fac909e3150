"""Products, their gates, and what makes an order acceptable.

A gate is a small machine. Where the rule is called at gate closure::

    (none) --GateOpened--> open --GateClosed--> cleared, or asking --GateClosed--> cleared
                             ^ OrdersSubmitted, OrdersCancelled
                                               asking: OrdersSubmitted answers the quotes of the round

At most `rounds_max` rounds are asked; the rule must then clear. Where the rule is called on arrival (`engine.live`)::

    (none) --GateOpened--> trading --GateClosed--> cleared
                             ^ OrdersSubmitted, OrdersCancelled, OrdersAmended: each may trade at once

What rests at the end expires. A closed gate is forgotten: its orders and trades live on in the interval that they
belong to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.compiled import kernel
from wattle.core.messages import Clearing, Memory
from wattle.core.tables import ANY_PRICE, ANYONE, Orders, Prices, Trades, Transfers
from wattle.core.units import CASH_ORDER_MAX, PRICE_MAX, QUANTITY_MAX
from wattle.market.mechanism import ARRIVAL, GATE, METERED, Continuous, Mechanism

OPEN = "open"
ASKING = "asking"
TRADING = "trading"

# Kernels know plain integers only.
UNKNOWN_MEMBER, WRONG_INTERVAL, UNKNOWN_ZONE = (
    int(Reject.UNKNOWN_MEMBER),
    int(Reject.WRONG_INTERVAL),
    int(Reject.UNKNOWN_ZONE),
)
WRONG_SIDE, BAD_QUANTITY, BAD_LIMIT = int(Reject.WRONG_SIDE), int(Reject.BAD_QUANTITY), int(Reject.BAD_LIMIT)
UNKNOWN_PARTNER, TOO_LARGE = int(Reject.UNKNOWN_PARTNER), int(Reject.TOO_LARGE)

TRANSITIONS: Mapping[tuple[str, str], str] = {
    ("", "GateOpened"): "open or trading",
    (OPEN, "OrdersSubmitted"): OPEN,
    (OPEN, "OrdersCancelled"): OPEN,
    (OPEN, "GateClosed"): "cleared or asking",
    (ASKING, "OrdersSubmitted"): ASKING,
    (ASKING, "GateClosed"): "cleared or asking",
    (TRADING, "OrdersSubmitted"): TRADING,
    (TRADING, "OrdersCancelled"): TRADING,
    (TRADING, "OrdersAmended"): TRADING,
    (TRADING, "GateClosed"): "cleared",
}
"""State and event -> next state; anything else is answered with `Reject.WRONG_STATE` or `GATE_CLOSED`."""


@dataclass(frozen=True)
class Product:
    """What is traded and by which rule.

    `when` is GATE (orders before delivery, all at once), ARRIVAL (orders before delivery, as they come) or METERED
    (positions after delivery).
    """

    name: str
    mechanism: Mechanism
    when: str
    cap: int = PRICE_MAX
    floor: int = -PRICE_MAX
    rounds_max: int = 1000
    separable: bool = True  # the rule treats each interval by itself, so one interval can be settled again alone

    def __post_init__(self) -> None:
        ensure(self.when in (GATE, ARRIVAL, METERED), f"{self.name}: when is {self.when!r}")
        if self.when == ARRIVAL:
            ensure(isinstance(self.mechanism, Continuous), f"{self.name}: its rule cannot trade on arrival")

    @property
    def metered(self) -> bool:
        """Tell whether the rule runs on metered positions."""
        return self.when == METERED

    @property
    def continuous(self) -> bool:
        """Tell whether the rule runs on each arrival."""
        return self.when == ARRIVAL


@dataclass
class Gate:
    """One round of trading of a product, while it lasts."""

    number: int
    first: int
    stop: int
    state: str = OPEN
    round: int = 0
    memory: Memory | None = None
    parts: list[Orders] = field(default_factory=list)
    done: list[Clearing] = field(default_factory=list)  # of trading on arrival, for the trades and transfers so far

    def book(self) -> Orders:
        """Return all orders of the gate as one table."""
        whole = Orders.concat(*self.parts)
        self.parts = [whole]
        return whole

    def traded(self) -> tuple[Trades, Transfers]:
        """Return what was traded on arrival by interval and zone, whatever the batches in which the orders came."""
        trades = Trades.concat(*(each.trades for each in self.done))
        transfers = Transfers.concat(*(each.transfers for each in self.done))
        trades = trades.take(np.lexsort((trades.zone, trades.interval)))
        transfers = transfers.take(np.argsort(transfers.interval, kind="stable"))
        self.done = [Clearing(trades, Prices.empty(), transfers=transfers)] if len(trades) or len(transfers) else []
        return trades, transfers


def admit(orders: Orders, product: Product, gate: Gate, active: NDArray[np.bool_], zones: int) -> NDArray[Any]:
    """Return for each order 0, or the code of the first reason for which it is refused."""
    codes = np.zeros(len(orders), np.int64)
    _admit(
        orders.participant, orders.interval, orders.zone, orders.side, orders.quantity, orders.limit, orders.partner,
        active.astype(np.int8), gate.first, gate.stop, zones, product.floor, product.cap, codes,
    )  # fmt: skip
    return codes


@kernel("r4 r4 r4 r1 r8 r8 r4 r1 i i i i i w8")
def _admit(
    participant: Any, interval: Any, zone: Any, side: Any, quantity: Any, limit: Any, partner: Any,
    active: Any, first: Any, stop: Any, zones: Any, floor: Any, cap: Any, codes: Any,
) -> Any:  # fmt: skip
    for row in range(participant.size):
        who, other, price = participant[row], partner[row], limit[row]
        taker = price == np.int64(side[row]) * ANY_PRICE
        if who < 0 or who >= active.size or active[who] == 0:
            codes[row] = UNKNOWN_MEMBER
        elif interval[row] < first or interval[row] >= stop:
            codes[row] = WRONG_INTERVAL
        elif zone[row] < 0 or zone[row] >= zones:
            codes[row] = UNKNOWN_ZONE
        elif side[row] != 1 and side[row] != -1:
            codes[row] = WRONG_SIDE
        elif quantity[row] < 1 or quantity[row] > QUANTITY_MAX:
            codes[row] = BAD_QUANTITY
        elif other != ANYONE and (other < 0 or other >= active.size or active[other] == 0):
            codes[row] = UNKNOWN_PARTNER
        elif not taker and (price < floor or price > cap):
            codes[row] = BAD_LIMIT
        else:
            # The worst case must fit into 64 bits, with room for the sums of an account.
            worst = np.float64(max(abs(floor), abs(cap)) if taker else abs(price))
            if np.float64(quantity[row]) * worst > CASH_ORDER_MAX:
                codes[row] = TOO_LARGE
