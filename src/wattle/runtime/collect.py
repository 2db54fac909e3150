"""Add up the effects of an engine as they come, so that a year fits into little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import NOBODY_TO_TRADE_WITH
from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.tables import FIRST_MEMBER, UTILITY
from wattle.engine.events import Cleared, Effect, Sealed, Settled
from wattle.ledger.accounts import BILL_LINE_OF, BOOKS, CODES, MONEY
from wattle.ledger.postings import tally


@kernel("r4 r4 r4 r8 r8 i r8 i w8 w8 w8 w8 w8 w8 w8 w8")
def _add_trades(
    interval: Any, buyer: Any, seller: Any, quantity: Any, price: Any, first: Any, period: Any, accounts: Any,
    shared: Any, value: Any, imported: Any, exported: Any, bought: Any, sold: Any, from_utility: Any, to_utility: Any,
) -> Any:  # fmt: skip
    for row in range(interval.size):
        time, lots = interval[row] - first, quantity[row]
        buys, sells = period[time] * accounts + buyer[row], period[time] * accounts + seller[row]
        if seller[row] == UTILITY:
            imported[time] += lots
            from_utility[buys] += lots
        elif buyer[row] == UTILITY:
            exported[time] += lots
            to_utility[sells] += lots
        else:
            shared[time] += lots
            value[time] += lots * price[row]
            bought[buys] += lots
            sold[sells] += lots


class Collector:
    """Running sums over T intervals and all accounts.

    Parameters
    ----------
    period : statement period of each interval [T], from 0.
    accounts : house accounts and members.
    first : number of the first interval.
    """

    def __init__(self, period: NDArray[np.int64], accounts: int, first: int = 0) -> None:
        count = period.size
        self._first = first
        self._period = period
        self.lines = np.zeros((int(period.max(initial=0)) + 1, BOOKS, CODES, accounts), np.int64)
        self.shared, self._value = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.imported, self.exported = np.zeros(count, np.int64), np.zeros(count, np.int64)
        shape = (self.lines.shape[0], accounts)  # lots of each period and account
        self.bought, self.sold = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.from_utility, self.to_utility = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.seals = np.zeros((count, 32), np.uint8)
        self.refused: Any = None
        self.trades = 0

    def take(self, effects: list[Effect]) -> None:
        """Add what these effects report; corrections are not for this collector."""
        for effect in effects:
            match effect:
                case Settled():
                    self._settled(effect)
                case Sealed():
                    seals = np.frombuffer(effect.hashes, np.uint8).reshape(-1, 32)
                    self.seals[effect.intervals - self._first] = seals
                case Cleared(refused=code) if code is not None and code not in NOBODY_TO_TRADE_WITH:
                    self.refused = code
                case _:
                    pass

    def _settled(self, effect: Settled) -> None:
        span = slice(effect.first - self._first, effect.stop - self._first)
        period = self._period[span]
        if period[0] == period[-1]:
            self.lines[period[0]] += effect.lines
        else:
            tally(effect.postings, effect.first, period, self.lines, self.bought.shape[1])
        for trades in (effect.local, effect.utility):  # a rule may also deal with the utility itself
            _add_trades(
                trades.interval, trades.buyer, trades.seller, trades.quantity, trades.buy_price, effect.first, period,
                self.bought.shape[1], self.shared[span], self._value[span], self.imported[span], self.exported[span],
                *(table.reshape(-1) for table in (self.bought, self.sold, self.from_utility, self.to_utility)),
            )  # fmt: skip
        self.trades += len(effect.local)

    @property
    def price(self) -> I64:
        """Energy-weighted mean local price [T] in ticks, rounded down; -1 where nothing was shared."""
        mean = np.full(self.shared.size, -1, np.int64)
        np.floor_divide(self._value, self.shared, out=mean, where=self.shared > 0)
        return mean

    def bill_lines(self) -> dict[str, I64]:
        """Return cash of each bill line for each member [N]."""
        return {line: cash.sum(axis=0) for line, cash in self.bill_lines_by_period().items()}

    def bill_lines_by_period(self) -> dict[str, NDArray[np.int64]]:
        """Return cash of each bill line for each period and member [P, N]."""
        money = self.lines[:, MONEY, :, FIRST_MEMBER:]
        found = {line: np.zeros((money.shape[0], money.shape[2]), np.int64) for line in BILL_LINE_OF.values()}
        for code, line in BILL_LINE_OF.items():
            found[line] += money[:, code]
        return found

    def closing_errors(self) -> tuple[int, int]:
        """Return what the energy book (lots) and the money book (cash) are off by; both must be 0."""
        sums = np.abs(self.lines.sum(axis=3)).sum(axis=(0, 2))
        return int(sums[0]), int(sums[1])
