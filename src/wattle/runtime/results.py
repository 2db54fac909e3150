"""What a run leaves behind for people: one result per rule, side by side in a comparison.

Reports, indices and explanations read these objects only; they never look into the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wattle.core.columns import I64
from wattle.core.timegrid import TimeGrid
from wattle.core.units import Units

BILL_LINES: tuple[tuple[str, str], ...] = (
    ("local", "local energy"),
    ("utility", "utility energy"),
    ("network", "network charges"),
    ("levy", "levies and taxes"),
    ("platform", "platform fee"),
    ("sharing", "sharing transfers"),
)
"""Keys and plain names of the lines of a bill, in the order in which they are printed."""


@dataclass(frozen=True)
class Index:
    """One evaluation index: a value with its formula and the numbers that went into it."""

    key: str  # "self_sufficiency"
    label: str  # "Self-sufficiency"
    value: float | None  # None: cannot be computed for this run; `note` says why
    unit: str  # "%", "EUR", "ct/kWh", "kW", ""
    formula: str  # "sum(D - I) / sum(D)"
    inputs: Mapping[str, float] = field(default_factory=dict)  # name with unit -> number
    source: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class RuleResult:
    """One rule on one set of members. T intervals, N members; energy in lots, money in cash, prices in ticks.

    Positive is consumption, buying, import, paying; a negative cost is earned.
    """

    rule: str  # short name in tables, e.g. "equal fill"
    mechanism: str  # registered name, "" for no community
    parameters: Mapping[str, Any]
    summary: str  # first line of the rule's docstring
    price: I64  # [T] energy-weighted mean local price, -1 where nothing was shared locally
    shared: I64  # [T] energy traded between members
    imported: I64  # [T] energy bought from the utility, all members
    exported: I64  # [T] energy sold to the utility, all members
    bought: I64  # [N] local energy bought
    sold: I64  # [N] local energy sold
    from_utility: I64  # [N]
    to_utility: I64  # [N]
    lines: Mapping[str, I64]  # bill line -> [N] cash; the keys are those of BILL_LINES
    cost: I64  # [N] cash, the sum of the lines
    cost_by_month: I64  # [M, N] cash by local calendar month
    energy_error: int  # closing error of the energy book in lots: must be 0
    money_error: int  # closing error of the money book in cash: must be 0
    state_hash: str
    seconds: float = 0.0
    operator_pays: int = 0  # cash that the market operator pays in (or keeps, below zero)
    indices: tuple[Index, ...] = ()


def taken_over(rule: RuleResult, reference: RuleResult) -> I64:
    """Return the energy in lots [T] that members took over from each other: what they buy less from the utility.

    It is what they traded, unless somebody traded more than he could use or had: the utility takes or brings the rest.
    """
    return reference.imported - rule.imported


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several rules on the same members and the same readings."""

    title: str
    grid: TimeGrid
    timezone: str
    units: Units
    members: tuple[str, ...]
    kinds: tuple[str, ...]  # per member: "household", "farm", ...
    facts: Mapping[str, tuple[bool, ...]]  # per member: "sun", "battery", "vehicle", "heat pump"
    demand: I64  # [N] consumption behind and at the meter (before sun), lots
    generation: I64  # [N] own generation, lots
    load: I64  # [T] village consumption, lots
    sun: I64  # [T] village generation, lots
    retail: I64  # [T] ticks, what a member pays the utility, all charges included
    feed_in: I64  # [T] ticks
    rules: tuple[RuleResult, ...]  # the first one is the reference: no community
    limits: Mapping[str, I64] = field(default_factory=dict)  # "buy", "sell" -> [N] ticks, drawn for auctions
    notes: tuple[str, ...] = ()  # said openly on the page: diversified data, drawn limits, attribution
    run_name: str = ""
