"""The one interface of every market rule, the claims a rule may make, and the registry of rules.

A rule is a frozen dataclass whose fields are its parameters. It keeps no other state, sees nothing but its arguments
and answers with a `Clearing` (the gate is done) or a `Quote` (ask the members again at these prices):

- same arguments, same result; chance only from `context.rng`;
- every lot of every order is traded, resting or expired;
- results are integers, floats may be used inside;
- equal prices are served by order id, and the order of the rows does not matter;
- a book that the rule cannot price comes back whole, with a code.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol, TypeVar

from wattle.core.messages import Clearing, Context, Memory, Quote
from wattle.core.registry import Registry
from wattle.core.tables import Orders


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
METERED = "after delivery"


class Mechanism(Protocol):
    """A market rule."""

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[Memory | None, Clearing | Quote]:
        """Clear the orders, or ask again. Pure."""
        ...


MECHANISMS = Registry("mechanism")

_T = TypeVar("_T", bound=type)


def mechanism(name: str, *, claims: set[Claim], source: str, when: str = GATE) -> Callable[[_T], _T]:
    """Return a class decorator that registers a market rule.

    `source` names paper or standard; `when` says at what moment the rule usually runs: `GATE` on orders before
    delivery, `METERED` on metered positions after it.
    """
    return MECHANISMS.register(name, claims=frozenset(claims), source=source, when=when)  # type: ignore[return-value]
