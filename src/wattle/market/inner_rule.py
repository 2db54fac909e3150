"""Rules around other rules: an inner rule is named, built with its defaults, and must clear at once."""

from __future__ import annotations

import wattle.market.auction_double  # noqa: F401 (registers the inner rule that is the default)
from wattle.core.checks import ensure
from wattle.core.messages import Clearing, Context
from wattle.core.tables import Orders
from wattle.market.mechanism import MECHANISMS, Mechanism


def check_inner(inner: str, outer: str) -> None:
    """Refuse an inner rule that is the outer one itself, or that nobody knows (with the nearest known name)."""
    ensure(inner != outer, f"inner is {outer!r}, expected a rule that clears a zone")
    MECHANISMS[inner]


def built_inner(inner: str) -> Mechanism:
    """Return the named rule with its default parameters."""
    rule: Mechanism = MECHANISMS[inner].build()
    return rule


def cleared_at_once(rule: Mechanism, orders: Orders, context: Context, names: tuple[str, str]) -> Clearing:
    """Return what the inner rule makes of the orders; `names` are those of the outer and the inner rule."""
    _, answer = rule.step(None, orders, context)
    ensure(isinstance(answer, Clearing), f"{names[0]}: {names[1]} asks its members again; choose another rule")
    assert isinstance(answer, Clearing)
    return answer
