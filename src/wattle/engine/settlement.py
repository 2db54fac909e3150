"""Settle a block of intervals: metered rules, the utility's backstop, charges, postings. One pure function.

The same function serves the first settlement, a correction, an explanation and a replay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import InvariantError, Reject, ensure
from wattle.core.columns import I32, I64
from wattle.core.compiled import kernel
from wattle.core.messages import Clearing, Context, Tariff
from wattle.core.segments import cells
from wattle.core.tables import ANY_PRICE, ANYONE, NO_ORDER, UTILITY, Orders, Prices, Trades, Transfers
from wattle.engine.gate import Product
from wattle.ledger.fees import UTILITY_KWH, Charge, charges_on, net_tariff, ticks_on
from wattle.ledger.postings import Postings
from wattle.ledger.settle import settle_all


@dataclass(frozen=True, eq=False)
class Block:
    """What was metered and traded before delivery in the intervals first ... stop - 1; energy [T, accounts] in lots."""

    first: int
    stop: int
    energy: NDArray[np.int64]
    orders: Orders  # of gates before delivery
    trades: Trades
    prices: Prices
    transfers: Transfers

    def part(self, first: int, stop: int) -> Block:
        """Return the intervals first ... stop - 1 of the block."""

        def cut(table: Any) -> Any:
            return table.take((table.interval >= first) & (table.interval < stop))

        return Block(
            first,
            stop,
            self.energy[first - self.first : stop - self.first],
            cut(self.orders),
            cut(self.trades),
            cut(self.prices),
            cut(self.transfers),
        )


@dataclass(frozen=True, eq=False)
class Settlement:
    """The result of a block: all trades, prices, transfers without charges, and the postings of everything."""

    local: Trades
    utility: Trades
    prices: Prices
    transfers: Transfers
    postings: Postings
    clearings: tuple[tuple[str, Clearing], ...]


def settle_block(
    block: Block, products: tuple[Product, ...], tariff: Tariff, charges: tuple[Charge, ...], context: Context
) -> Settlement:
    """Share, back up and book a block of intervals.

    `tariff` holds the utility's full prices; rules see it net of the charges on local energy (`ledger.fees`).
    """
    seen = replace(context, tariff=net_tariff(tariff, charges))
    local, prices, transfers = [block.trades], [block.prices], [block.transfers]
    rest = remaining(block.energy, block.trades, block.first)
    clearings = []
    for product in products:
        if not product.metered:
            continue
        _, clearing = product.mechanism.step(None, positions(rest, block.first), seen)
        if not isinstance(clearing, Clearing):
            raise InvariantError(f"{product.name} asks for answers after delivery; only clearing is possible then")
        clearings.append((product.name, clearing))
        rest = remaining(rest, clearing.trades, block.first)
        local.append(clearing.trades)
        prices.append(clearing.prices)
        transfers.append(clearing.transfers)
    traded, moved = _joined(local), Transfers.concat(*transfers)
    utility = backstop(rest, block.first, tariff, ticks_on(charges, UTILITY_KWH))
    fees = Transfers.concat(charges_on(traded, charges), charges_on(utility, charges))
    postings = settle_all((traded, moved), (utility, fees))
    return Settlement(traded, utility, _joined(prices), moved, postings, tuple(clearings))


def positions(energy: NDArray[np.int64], first: int) -> Orders:
    """Return metered positions [T, accounts] as price takers' orders; id is interval x accounts + participant."""
    time, who, lots = cells(energy)
    side = np.sign(lots)
    interval = time + np.int32(first)
    return Orders(
        id=interval.astype(np.int64) * energy.shape[1] + who,
        participant=who,
        zone=np.zeros(who.size, np.int32),
        interval=interval,
        side=side.astype(np.int8),
        quantity=np.abs(lots),
        limit=side * ANY_PRICE,
        partner=np.full(who.size, ANYONE, np.int32),
    )


@kernel("r4 r4 r4 r8 i w82")
def _subtract(interval: Any, buyer: Any, seller: Any, quantity: Any, first: Any, rest: Any) -> Any:
    for row in range(interval.size):
        rest[interval[row] - first, buyer[row]] -= quantity[row]
        rest[interval[row] - first, seller[row]] += quantity[row]


def remaining(energy: NDArray[np.int64], trades: Trades, first: int) -> NDArray[np.int64]:
    """Return the energy [T, accounts] that the trades leave to be bought (positive) or sold (negative)."""
    rest = energy.copy()
    _subtract(trades.interval, trades.buyer, trades.seller, trades.quantity, first, rest)
    return rest


def backstop(rest: NDArray[np.int64], first: int, tariff: Tariff, charged: int) -> Trades:
    """Return the trades with the utility that take every remainder; charges in the retail price are left out."""
    room = int(np.count_nonzero(rest))
    retail, feed_in = tariff.at(np.arange(first, first + rest.shape[0], dtype=np.int32))
    interval, buyer, seller = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    quantity, price = np.empty(room, np.int64), np.empty(room, np.int64)
    _take_rest(rest, first, np.ascontiguousarray(retail - charged), np.ascontiguousarray(feed_in),
               interval, buyer, seller, quantity, price)  # fmt: skip
    none = np.full(room, NO_ORDER, np.int64)
    return Trades(interval, np.zeros(room, np.int32), buyer, seller, none, none, quantity, price, price)


@kernel("r82 i r8 r8 w4 w4 w4 w8 w8")
def _take_rest(
    rest: Any, first: Any, retail: Any, feed_in: Any, interval: Any, buyer: Any, seller: Any, quantity: Any, price: Any
) -> Any:
    place = 0
    for time in range(rest.shape[0]):
        for who in range(rest.shape[1]):
            lots = rest[time, who]
            if lots != 0:
                interval[place] = first + time
                buyer[place] = who if lots > 0 else UTILITY
                seller[place] = UTILITY if lots > 0 else who
                quantity[place] = abs(lots)
                price[place] = retail[time] if lots > 0 else feed_in[time]
                place += 1


def refusal(settlement: Settlement) -> Reject | None:
    """Return the code of the first rule that cannot use its book, if there is one."""
    for _, clearing in settlement.clearings:
        if clearing.unusable is not None:
            return clearing.unusable
    return None


def _joined(parts: list[Any]) -> Any:
    """Join tables and keep them in order of interval."""
    filled = [part for part in parts if len(part)]
    if len(filled) < 2:
        return filled[0] if filled else parts[0]
    whole = type(parts[0]).concat(*filled)
    return whole.take(np.argsort(whole.interval, kind="stable"))


def dense_energy(interval: I32, participant: I32, energy: I64, first: int, stop: int, accounts: int) -> Any:
    """Return readings as [T, accounts] and how often each cell was given."""
    count = stop - first
    if interval.size and participant.size % count == 0:
        # The usual case: whole rows, interval by interval, members in one order.
        width = participant.size // count
        times = interval.reshape(count, width)
        who = participant.reshape(count, width)
        if (times == np.arange(first, stop)[:, None]).all() and (who == who[0]).all() and _distinct(who[0]):
            dense, given = np.zeros((count, accounts), np.int64), np.zeros((count, accounts), np.int8)
            dense[:, who[0]] = energy.reshape(count, width)
            given[:, who[0]] = 1
            return dense, given
    dense, given = np.zeros((count, accounts), np.int64), np.zeros((count, accounts), np.int8)
    dense[interval - first, participant] = energy  # the last reading of a cell counts
    given[interval - first, participant] = 1
    return dense, given


def _distinct(who: NDArray[np.int32]) -> bool:
    ensure(who.ndim == 1, "expected one row of participants")
    return bool(np.unique(who).size == who.size)
