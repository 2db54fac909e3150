"""Charges on energy: network, levies, taxes, platform fee, each with its own code so that a bill shows its own line.

A charge on *local* energy is added to what a buyer pays for it. A charge on *utility* energy is a part of the retail
price: it splits the bill and leaves its total as it is. Per-month charges are paid by every member.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattle.core.checks import ensure
from wattle.core.messages import Tariff
from wattle.core.tables import UTILITY, Trades, Transfers

LOCAL_KWH = "local-kwh"
UTILITY_KWH = "utility-kwh"


@dataclass(frozen=True)
class Charge:
    """`ticks` per lot on local or utility energy, paid by the buyer to the account `payee` under `code`."""

    name: str
    on: str  # LOCAL_KWH or UTILITY_KWH
    ticks: int
    payee: int
    code: int

    def __post_init__(self) -> None:
        ensure(self.on in (LOCAL_KWH, UTILITY_KWH), f"charge {self.name}: on is {self.on!r}")
        ensure(self.ticks >= 0, f"charge {self.name}: {self.ticks} ticks, expected 0 or more")


def ticks_on(charges: tuple[Charge, ...], on: str) -> int:
    """Return the sum of all charges on one kind of energy, in ticks."""
    return sum(charge.ticks for charge in charges if charge.on == on)


def net_tariff(tariff: Tariff, charges: tuple[Charge, ...]) -> Tariff:
    """Return the tariff as a market rule sees it: the retail price less the charges on local energy.

    A local price below it leaves a buyer no worse off than the utility. It never falls below the feed-in price:
    then local trade does not pay and the rules price at the feed-in price.
    """
    retail = np.maximum(tariff.retail - ticks_on(charges, LOCAL_KWH), tariff.feed_in)
    return Tariff(tariff.first, retail, tariff.feed_in)


def charges_on(trades: Trades, charges: tuple[Charge, ...]) -> Transfers:
    """Return the charges on trades as transfers, one row for each trade and charge."""
    if not charges:
        return Transfers.empty()
    from_utility = trades.seller == UTILITY
    local = ~from_utility & (trades.buyer != UTILITY)
    parts = []
    for charge in charges:
        rows = np.flatnonzero(local if charge.on == LOCAL_KWH else from_utility)
        parts.append(
            Transfers(
                interval=trades.interval[rows],
                payer=trades.buyer[rows],
                payee=np.full(rows.size, charge.payee, np.int32),
                amount=trades.quantity[rows] * charge.ticks,
                code=np.full(rows.size, charge.code, np.int8),
            )
        )
    return Transfers.concat(*parts)
