"""What the page is told: plain values ready for JSON, rounded to cents so that every bill on it adds up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.analysis import series
from wattle.analysis.catalogue import CATALOGUE, HEADLINE, LETTERS, Column
from wattle.analysis.metrics import by_key, indices
from wattle.analysis.pareto import choices
from wattle.core.columns import I64
from wattle.runtime.results import BILL_LINES, Comparison, Index, RuleResult

SIGNS = {"EUR": "€", "USD": "$", "GBP": "£", "CHF": "CHF ", "AUD": "A$"}

LINE_FORMULAS = {
    "local": "sum over t of local price × (bought from members - sold to members)",
    "utility": "sum over t of energy price × bought from the utility - feed-in price × sold to the utility",
    "network": "sum over t of network charges on the energy taken from the grid",
    "levy": "sum over t of levies and taxes on the energy taken from the grid",
    "platform": "what the community charges for running the rule",
    "sharing": "money paid (+) or received (-) between members without energy",
}


def money_text(amount: Fraction | float, currency: str, digits: int = 0) -> str:
    """Return an amount for people, with its sign before the symbol.

    >>> money_text(-1234.5, "EUR", 2)
    '-€1,234.50'
    """
    sign = SIGNS.get(currency, currency + " ")
    text = f"{abs(float(amount)):,.{digits}f}"
    return f"{'-' if float(amount) < 0 and text.strip('0.,') else ''}{sign}{text}"


def with_indices(comparison: Comparison) -> list[tuple[Index, ...]]:
    """Return the indices of every rule, computed where a result does not carry them."""
    return [rule.indices or indices(comparison, rule) for rule in comparison.rules]


def period_text(comparison: Comparison) -> str:
    """Return the length of the run in words, such as "a year" or "in 14 days"."""
    days = round(comparison.grid.count * comparison.grid.step_s / 86400, 1)
    if 360 <= days <= 370:
        return "a year"
    return f"in {days:g} day{'' if days == 1 else 's'}"


SMALL = 100
"""Sums of money below this are printed with cents."""


def table_columns(found: Sequence[dict[str, Index]]) -> tuple[Column, ...]:
    """Return the columns of the table; totals that are small have cents, so that rules can be told apart."""
    small = all(abs(index["saving_total"].value or 0.0) < SMALL for index in found)
    return tuple(replace(column, digits=2) if small and column.key == "saving_total" else column for column in HEADLINE)


def paid_in(comparison: Comparison) -> list[float]:
    """Return what the market operator pays in under each rule, in currency: savings that members do not make."""
    return [max(0.0, float(comparison.units.money(rule.operator_pays))) for rule in comparison.rules]


NEARLY_ALL = 0.75
"""So many of the rules that bring anything may be marked as the best of a column."""


def best_rules(found: Sequence[dict[str, Index]]) -> dict[str, list[int]]:
    """Return, for each column of the table, the numbers of the rules with the best value as printed.

    None is marked where a column has no better direction, where no community (rule 0) is as good, or where nearly all
    rules are: a mark on every row tells nothing.
    """
    best: dict[str, list[int]] = {}
    most = len(found) - 1 if len(found) <= 4 else NEARLY_ALL * (len(found) - 1)
    for column in table_columns(found):
        values = {i: index[column.key].value for i, index in enumerate(found)}
        known = {i: round(value, column.digits) for i, value in values.items() if value is not None}
        best[column.key] = []
        if column.better and known:
            top = (max if column.better == "more" else min)(known.values())
            reach = [i for i, value in known.items() if value == top]
            if known.get(0) != top and len(reach) <= most:
                best[column.key] = reach
    return best


def first_choice(found: Sequence[dict[str, Index]], paid: Sequence[float]) -> int:
    """Return the rule that the page shows first: most saved, then fewest who pay more, then the fairest.

    What the market operator has `paid` in under a rule does not count as saved.
    """

    def rank(i: int) -> tuple[float, float, float]:
        index = found[i]
        return (
            round((index["saving_total"].value or 0) - paid[i], 2),
            -(index["losers_share"].value or 0),
            index["jain"].value or 0,
        )

    return max(range(len(found)), key=rank)


def result_sentences(comparison: Comparison, found: Sequence[dict[str, Index]]) -> tuple[str, str]:
    """Return the result in one sentence, and what else a reader should know in two or three."""
    currency = comparison.units.currency
    paid = paid_in(comparison)
    totals = [(index["saving_total"].value or 0.0) - outside for index, outside in zip(found, paid, strict=True)]
    top = first_choice(found, paid)
    digits = 0 if totals[top] >= SMALL else 2
    if round(totals[top], 2) <= 0:
        return "Sharing saves the village nothing here.", "Every rule costs at least as much as everyone alone."
    headline = f"Sharing saves the village {money_text(totals[top], currency, digits)} {period_text(comparison)}."
    share = found[top]["saving_share"].value
    parts = [] if share is None or paid[top] else [f"That is {share:.1f} % of all bills."]
    equal = [i for i, total in enumerate(totals) if i and abs(total - totals[top]) < max(0.005, 0.001 * totals[top])]
    medians = [found[i]["saving_median"].value or 0.0 for i in equal]
    names = [rule.rule for rule in comparison.rules]
    if len(equal) > 1:
        digits = 0 if max(medians) >= SMALL / 10 else 2
        low, high = money_text(min(medians), currency, digits), money_text(max(medians), currency, digits)
        who = "All rules" if len(equal) == len(names) - 1 else f"{len(equal)} of the {len(names) - 1} rules"
        parts.append(f"{who} reach it; they differ in who gets it: the median member saves {low} to {high}.")
    else:
        parts.append(
            f"It is reached by “{names[top]}”; the median member saves "
            f"{money_text(medians[0], currency, 0 if medians[0] >= SMALL / 10 else 2)}."
        )
    losing = [i for i in range(1, len(found)) if found[i]["losers_share"].value]
    if not losing:
        parts.append("Nobody pays more than alone under any rule.")
    else:
        listed = ", ".join(f"“{names[i]}” ({found[i]['losers_share'].value:.1f} % of members)" for i in losing)
        parts.append(f"Some members pay more than alone under {listed}.")
    return headline, " ".join(parts)


def closing_cents(parts: NDArray[Any], total: NDArray[Any], cents_per_cash: Fraction) -> tuple[I64, I64]:
    """Round `parts` `[K, N]` of cash and their sums `total` `[N]` to cents so that they still add up.

    Totals are rounded half to even; the cents that are then missing go to the parts with the largest remainders.

    >>> closing_cents(np.array([[14], [14], [14]]), np.array([42]), Fraction(1, 10))[0].ravel().tolist()
    [2, 1, 1]
    """
    up, down = cents_per_cash.numerator, cents_per_cash.denominator
    exact = parts.astype(object) * up
    whole = np.array([round(Fraction(int(cash) * up, down)) for cash in total], object)
    floor = exact // down
    rest = exact - floor * down
    missing = (whole - floor.sum(axis=0)).astype(np.int64)
    rank = np.argsort(np.argsort(-rest.astype(np.float64), axis=0, kind="stable"), axis=0, kind="stable")
    return (floor + (rank < missing)).astype(np.int64), whole.astype(np.int64)


def page_data(comparison: Comparison) -> tuple[dict[str, Any], str]:
    """Return the values for the page and its packed series."""
    found = with_indices(comparison)
    keyed = [by_key(rule) for rule in found]
    where, packed = series.pack(comparison)
    days, offsets = series.local_days(comparison.grid, comparison.timezone)
    headline, lead = result_sentences(comparison, keyed)
    units = comparison.units
    data = {
        "title": comparison.title,
        "run": comparison.run_name or "RUN",
        "headline": headline,
        "lead": lead,
        "period": period_text(comparison),
        "timezone": comparison.timezone,
        "currency": units.currency,
        "sign": SIGNS.get(units.currency, units.currency + " "),
        "start": comparison.grid.start_s,
        "step": comparison.grid.step_s,
        "count": comparison.grid.count,
        "kwhPerLot": float(units.lot_wh / 1000),
        "ctPerTick": float(units.tick_per_kwh * 100),
        "days": days,
        "offsets": offsets,
        "series": where,
        "members": list(comparison.members),
        "kinds": list(comparison.kinds),
        "facts": {name: [int(flag) for flag in flags] for name, flags in comparison.facts.items()},
        "demand": comparison.demand.tolist(),
        "generation": comparison.generation.tolist(),
        "lines": [[key, name, LINE_FORMULAS.get(key, "")] for key, name in BILL_LINES],
        "columns": [[c.key, c.group, c.heading, c.digits, c.better] for c in table_columns(keyed)],
        "best": best_rules(keyed),
        "first": first_choice(keyed, paid_in(comparison)),
        "pareto": {choice.fairness: list(choice.rules) for choice in choices(keyed)},
        "catalogue": {
            key: [d.label, d.unit.format(cur=units.currency), d.formula, d.source] for key, d in CATALOGUE.items()
        },
        "letters": LETTERS,
        "rules": [_rule(comparison, rule, index) for rule, index in zip(comparison.rules, found, strict=True)],
        "notes": list(comparison.notes),
    }
    return data, packed


def _rule(comparison: Comparison, rule: RuleResult, found: tuple[Index, ...]) -> dict[str, Any]:
    cents_per_cash = comparison.units.cash * 100
    lines, cost = closing_cents(np.array([rule.lines[key] for key, _ in BILL_LINES]), rule.cost, cents_per_cash)
    months, _ = closing_cents(rule.cost_by_month, rule.cost, cents_per_cash)
    return {
        "name": rule.rule,
        "mechanism": rule.mechanism,
        "summary": rule.summary,
        "parameters": {str(name): str(value) for name, value in rule.parameters.items()},
        "hash": rule.state_hash,
        "indices": {
            i.key: [_finite(i.value), {name: _finite(value) for name, value in i.inputs.items()}, i.note] for i in found
        },
        "cost": cost.tolist(),
        "lines": lines.tolist(),
        "months": months.tolist(),
        "bought": rule.bought.tolist(),
        "sold": rule.sold.tolist(),
        "fromUtility": rule.from_utility.tolist(),
        "toUtility": rule.to_utility.tolist(),
        "errors": [int(rule.energy_error), int(rule.money_error)],
    }


def _finite(value: float | None) -> float | None:
    """Return a number with the digits that a reader can use; JSON knows neither nan nor infinity."""
    return float(f"{value:.9g}") if value is not None and math.isfinite(value) else None
