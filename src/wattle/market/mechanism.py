"""The one interface of every market rule, the claims a rule may make, and the registry of rules.

A rule is a frozen dataclass whose fields are its parameters. It keeps no other state, sees nothing but its arguments
and answers with a `Clearing` (the gate is done) or a `Quote` (ask the members again at these prices):

- same arguments, same result; chance only from `context.rng`;
- every lot of every order is traded, resting or expired;
- results are integers, floats may be used inside;
- equal prices are served by order id, and the order of the rows does not matter;
- a book that the rule cannot price comes back whole, with a code. An empty book and one with buyers or sellers only
  get theirs here, so that no rule has to look for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from functools import wraps
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject
from wattle.core.messages import Clearing, Context, Memory, Quote
from wattle.core.registry import Entry, Registry
from wattle.core.tables import Orders, Prices, Trades


class Claim(StrEnum):
    """What a rule promises; `wattle check` tests each claim on generated books."""

    BUDGET_BALANCED = "budget balanced"  # the market operator's balance is never negative
    INDIVIDUALLY_RATIONAL = "individually rational"  # nobody pays above or earns below his limit
    EFFICIENT = "efficient"  # welfare equals that of a linear programme
    UNIFORM_PRICE = "uniform price"  # one price per zone and interval, and no unfilled order is better than it
    TRUTHFUL = "truthful"  # no single misreport raises the reporter's surplus
    IN_CORE = "in the core"  # no coalition gains by leaving
    SEPARABLE = "separable"  # all intervals at once = one at a time
    INCREMENTAL = "incremental"  # all orders at once = one at a time
    EXACT = "exact"  # the same bits on any machine


BUDGET_BALANCED = Claim.BUDGET_BALANCED
INDIVIDUALLY_RATIONAL = Claim.INDIVIDUALLY_RATIONAL
EFFICIENT = Claim.EFFICIENT
UNIFORM_PRICE = Claim.UNIFORM_PRICE
TRUTHFUL = Claim.TRUTHFUL
IN_CORE = Claim.IN_CORE
SEPARABLE = Claim.SEPARABLE
INCREMENTAL = Claim.INCREMENTAL
EXACT = Claim.EXACT

GATE = "at gate closure"
ARRIVAL = "on arrival"
METERED = "after delivery"
"""The moment at which a rule is called: once for all orders, for each batch of orders as it comes, or on readings."""

LIMITS = "limit orders"  # a quantity, and the most (or least) that a lot may cost
ANSWERS = "answers to quotes"  # what a member wants at the quoted prices, from a curve that stays with him
SCHEDULES = "schedules"  # what a member with devices wants in every interval of the gate, chosen as a whole
CAPACITY = "storage capacity"  # like limit orders, but a lot is room in a battery
MONEY = "sums of money"  # quantity x limit is spent, whatever it buys; the limit is no ceiling of the price
"""How a rule reads what members send: its bidding format."""


class Mechanism(Protocol):
    """A market rule."""

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[Memory | None, Clearing | Quote]:
        """Clear the orders, or ask again. Pure."""
        ...


@runtime_checkable
class Continuous(Mechanism, Protocol):
    """A market rule that can be called on each arrival; it claims `INCREMENTAL`, and its memory is the resting book.

    A `step` with more orders goes on where the last one ended. Both `step` and `amend` return the whole book in
    `Clearing.resting`, in an order of their own, and answer with a `Clearing` always. There is no chance: `context.rng`
    is None on arrival.
    """

    def resting(self, memory: Memory | None) -> Orders:
        """Return what rests, with the lots that are left."""
        ...

    def amend(
        self, memory: Memory | None, change: Orders, context: Context
    ) -> tuple[Memory | None, Clearing, NDArray[np.bool_]]:
        """Change resting orders, row by row; tell for each row whether its order still rested when its turn came.

        A row names an order by its id and says what shall rest of it from now on: so many lots (0 takes it out of the
        book) at this limit. All other columns are those of the resting order.
        """
        ...

    def prices(self, trades: Trades) -> Prices:
        """Return the published prices of a gate from all of its trades, which stand in order of interval and zone."""
        ...


MECHANISMS = Registry("mechanism")

_T = TypeVar("_T", bound=type)


def mechanism(
    name: str, *, claims: set[Claim], source: str, when: str = GATE, bids: str = LIMITS
) -> Callable[[_T], _T]:
    """Return a class decorator that registers a market rule.

    `source` names paper or standard; `when` says at what moment the rule usually runs: `GATE` on orders before
    delivery, `METERED` on metered positions after it. A `Continuous` rule of `GATE` may be used with `ARRIVAL` too.
    `bids` is the bidding format: `LIMITS`, `ANSWERS`, `SCHEDULES`, `CAPACITY` or `MONEY`.
    """
    register = MECHANISMS.register(name, claims=frozenset(claims), source=source, when=when, bids=bids)

    def file(cls: _T) -> _T:
        cls.step = _says_why(cls.step)  # type: ignore[attr-defined]
        return register(cls)  # type: ignore[return-value]

    return file


def runs_on_arrival(entry: Entry) -> bool:
    """Tell whether a rule can also be called for each batch of orders as it comes."""
    return entry.when == GATE and Claim.INCREMENTAL in entry.claims and issubclass(entry.cls, Continuous)


def moments(entry: Entry) -> str:
    """Return in words when a rule runs."""
    return f"{entry.when}, or {ARRIVAL}" if runs_on_arrival(entry) else entry.when


def _says_why(step: Any) -> Any:
    """Wrap `step` so that a book with nobody to trade with is answered with its code."""

    @wraps(step)
    def told(self: Any, memory: Memory | None, orders: Orders, context: Context) -> Any:
        after, answer = step(self, memory, orders, context)
        if memory is None and isinstance(answer, Clearing) and answer.refused is None:
            code = nobody_to_trade_with(orders)
            if code and not (len(answer.trades) or len(answer.resting) or len(answer.transfers) or len(answer.prices)):
                answer = replace(answer, refused=code)
        return after, answer

    return told


def nobody_to_trade_with(orders: Orders) -> Reject | None:
    """Return the code of a book that is empty or has one side only."""
    if len(orders) == 0:
        return Reject.EMPTY_BOOK
    return Reject.ONE_SIDED if (orders.side == orders.side[0]).all() else None
