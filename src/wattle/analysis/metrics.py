"""The evaluation indices of one rule against the reference, each with its formula and the numbers that went into it.

The arithmetic stands in `formulas.py` and `fairness.py`, the words in `catalogue.py`; this module feeds them from a
comparison. What a run cannot give (losses and voltages without a network) has the value None and a note that says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from wattle.analysis import fairness, formulas
from wattle.analysis.catalogue import CATALOGUE, HEADLINE, Definition
from wattle.analysis.formulas import Floats
from wattle.runtime.results import Comparison, Index, RuleResult, taken_over

__all__ = ["CATALOGUE", "HEADLINE", "Definition", "by_key", "indices"]

Found = tuple[str, float | None, Mapping[str, float], str]  # key, value, inputs, note


def indices(comparison: Comparison, rule: RuleResult) -> tuple[Index, ...]:
    """Return all indices of `rule` against the reference, which is the first rule of the comparison."""
    case = _case(comparison, rule)
    found = {}
    for part in (_money, _fairness, _energy, _power, _market, _worth, _check):
        for key, value, inputs, note in part(case):
            found[key] = (value, inputs, note)
    return tuple(_index(definition, case.cur, *found.get(definition.key, (None, {}, ""))) for definition in _ALL)


def by_key(found: tuple[Index, ...]) -> dict[str, Index]:
    """Return the indices by their keys."""
    return {index.key: index for index in found}


_ALL = tuple(CATALOGUE.values())


def _index(definition: Definition, cur: str, value: float | None, inputs: Mapping[str, float], note: str) -> Index:
    return Index(
        key=definition.key,
        label=definition.label,
        value=None if value is None else float(value),
        unit=definition.unit.format(cur=cur),
        formula=definition.formula,
        inputs={name: float(number) for name, number in inputs.items()},
        source=definition.source,
        note=note or definition.note,
    )


@dataclass(frozen=True, eq=False)
class _Case:
    """A rule beside the reference in kWh and currency. T intervals, N members."""

    comparison: Comparison
    rule: RuleResult
    reference: RuleResult
    cur: str
    gain: Floats  # [N] currency
    shared: Floats  # [T] kWh that members took over from each other, likewise the next four
    traded: Floats
    imported: Floats
    exported: Floats
    tradable: Floats  # min(what members inject, what members draw)
    price: Floats  # [T] currency per kWh, 0 where nothing was shared
    retail: Floats  # [T] currency per kWh
    feed_in: Floats
    cost: float  # currency, all members
    cost_reference: float


def _case(comparison: Comparison, rule: RuleResult) -> _Case:
    units, reference = comparison.units, comparison.rules[0]
    kwh = units.kwh_float
    return _Case(
        comparison=comparison,
        rule=rule,
        reference=reference,
        cur=units.currency,
        gain=units.money_float(np.asarray(reference.cost) - np.asarray(rule.cost)),
        shared=kwh(taken_over(rule, reference)),
        traded=kwh(rule.shared),
        imported=kwh(rule.imported),
        exported=kwh(rule.exported),
        tradable=np.minimum(kwh(reference.imported), kwh(reference.exported)),
        price=np.where(rule.shared > 0, units.price_float(rule.price), 0.0),
        retail=units.price_float(comparison.retail),
        feed_in=units.price_float(comparison.feed_in),
        cost=float(units.money(int(rule.cost.sum()))),
        cost_reference=float(units.money(int(reference.cost.sum()))),
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _money(case: _Case) -> Iterator[Found]:
    gain, cur, money = case.gain, case.cur, case.comparison.units.money
    reference, cost = case.reference.cost, case.rule.cost
    bills = {
        f"all bills without a community [{cur}]": case.cost_reference,
        f"all bills under this rule [{cur}]": case.cost,
    }
    yield "saving_total", case.cost_reference - case.cost, bills, ""
    yield "saving_share", _percent(fairness.cost_saving(case.cost_reference, case.cost)), bills, ""
    if gain.size:
        worst = int(gain.argmin())
        half = {"members": gain.size, f"mean saving [{cur}]": gain.mean(), f"largest saving [{cur}]": gain.max()}
        yield "saving_median", float(np.median(gain)), half, "Half of the members save more, half save less."
        bill = {
            f"bill without a community [{cur}]": float(money(int(reference[worst]))),
            f"bill under this rule [{cur}]": float(money(int(cost[worst]))),
        }
        note = "Below zero: this member pays more than without a community." if gain[worst] < 0 else ""
        yield (
            "saving_worst",
            gain[worst],
            bill,
            f"The worst-off member is {case.comparison.members[worst]}. {note}".strip(),
        )
    count = {"members": gain.size, "members who pay more": int((cost > reference).sum())}
    yield "losers_share", _percent(fairness.losers_share(reference, cost)), count, ""
    yield "participation_willingness", _percent(fairness.participation_willingness(reference, cost)), count, ""


def _fairness(case: _Case) -> Iterator[Found]:
    gain, cur, kwh = case.gain, case.cur, case.comparison.units.kwh_float
    amount = fairness.divided(gain)
    nobody = not (amount > 0).any()
    note = "Nobody gains, so nothing is shared out." if nobody else ""
    sums = {
        "members n": gain.size,
        f"sum of gains x [{cur}]": amount.sum(),
        f"sum of squared gains x² [{cur}²]": (amount**2).sum(),
    }
    ends = {f"smallest gain [{cur}]": amount.min(), f"largest gain [{cur}]": amount.max()} if amount.size else {}
    yield "jain", fairness.jain(gain), sums, note
    yield "min_max", None if nobody else fairness.min_max(gain), ends, note
    yield "equality", fairness.equality(gain), sums, note

    prices, low, high = _perceived(case)
    alike = {
        "members who only buy": prices.size,
        "their mean price [ct/kWh]": 100 * prices.mean() if prices.size else 0,
        "lowest feed-in [ct/kWh]": 100 * low,
        "highest retail [ct/kWh]": 100 * high,
    }
    yield "quality_of_experience", fairness.quality_of_experience(prices, low, high), alike, ""
    moved = kwh(case.rule.bought + case.rule.sold)
    merit = fairness.meritocratic(gain, moved)
    inputs = {"members": gain.size, "local energy bought and sold [kWh]": moved.sum()}
    yield "meritocratic", merit, inputs, "All members gain or share the same." if merit is None else ""


def _perceived(case: _Case) -> tuple[Floats, float, float]:
    """Return the price per kWh of members who only buy, the lowest feed-in and the highest retail price."""
    rule, units = case.rule, case.comparison.units
    buys = (rule.sold == 0) & (rule.to_utility == 0) & (rule.bought + rule.from_utility > 0)
    prices = units.money_float(rule.cost[buys]) / units.kwh_float((rule.bought + rule.from_utility)[buys])
    if case.retail.size == 0:
        return prices, 0.0, 0.0
    return prices, float(case.feed_in.min()), float(case.retail.max())


def _energy(case: _Case) -> Iterator[Found]:
    kwh = case.comparison.units.kwh_float
    demand, generation = float(kwh(case.comparison.load).sum()), float(kwh(case.comparison.sun).sum())
    imported, exported = float(case.imported.sum()), float(case.exported.sum())
    before = kwh(case.reference.imported + case.reference.exported)
    sufficiency = {"consumption before own sun D [kWh]": demand, "bought from the utility I [kWh]": imported}
    yield "self_sufficiency", _percent(formulas.self_sufficiency(demand, imported)), sufficiency, ""
    consumption = {"generation G [kWh]": generation, "sold to the utility E [kWh]": exported}
    yield "self_consumption", _percent(formulas.self_consumption(generation, exported)), consumption, ""
    possible = {"could be shared: sum over t of min(injected, drawn) [kWh]": case.tradable.sum()}
    yield "shared_energy", case.shared.sum(), possible, ""
    exchange = {"bought and sold I + E [kWh]": imported + exported, "without a community [kWh]": before.sum()}
    avoided = formulas.energy_balance(case.imported + case.exported, before)
    yield "energy_balance", _percent(avoided), exchange, ""
    surplus = {"intervals with a surplus": int((case.exported > 0).sum())}
    yield "reverse_flow", formulas.reverse_flow(-case.exported), surplus, ""


def _power(case: _Case) -> Iterator[Found]:
    if case.imported.size == 0:
        return
    hours = case.comparison.grid.hours
    bought, sold = case.imported / hours, case.exported / hours
    before = case.comparison.units.kwh_float(case.reference.imported) / hours
    at, when = int(bought.argmax()), int(sold.argmax())
    yield (
        "peak_import_kw",
        bought[at],
        {"interval t": at, "bought then I [kWh]": case.imported[at], "hours per interval": hours},
        "",
    )
    yield (
        "peak_export_kw",
        sold[when],
        {"interval t": when, "sold then E [kWh]": case.exported[when], "hours per interval": hours},
        "",
    )
    peaks = {"peak under this rule [kW]": bought.max(), "peak without a community [kW]": before.max()}
    yield "peak_change", _percent(formulas.peak_change(bought, before)), peaks, ""
    average = {"peak [kW]": bought.max(), "mean [kW]": bought.mean()}
    yield "peak_to_average", formulas.peak_to_average(bought), average, ""
    yield "power_flatness", formulas.power_flatness(bought), average, ""


def _market(case: _Case) -> Iterator[Found]:
    weight, price = case.traded, 100 * case.price
    tradable, shared = float(case.tradable.sum()), float(case.shared.sum())
    nothing = "" if weight.any() else "No energy was shared."
    sold = case.comparison.units.kwh_float(case.rule.sold)
    traded = {"local energy [kWh]": float(weight.sum())}
    paid = {f"paid for local energy [{case.cur}]": float((case.price * weight).sum()), **traded}
    yield "mean_local_price", formulas.mean_price(price, weight), paid, nothing
    dispersion = formulas.price_dispersion(price, weight)
    yield "price_dispersion", dispersion, traded, nothing
    means = {
        "mean local price p [ct/kWh]": formulas.mean_price(price, weight) or 0.0,
        "mean feed-in price then f [ct/kWh]": formulas.mean_price(100 * case.feed_in, weight) or 0.0,
        "mean retail price then r [ct/kWh]": formulas.mean_price(100 * case.retail, weight) or 0.0,
    }
    position = formulas.price_position(case.price, weight, case.retail, case.feed_in)
    yield "price_position", _percent(position), means, nothing
    part = {"shared [kWh]": shared, "could be shared [kWh]": tradable}
    yield "liquidity", _percent(formulas.liquidity(shared, tradable)), part, ""
    sellers = {"members who sold": int((sold > 0).sum()), "sold to members [kWh]": sold.sum()}
    yield "concentration", formulas.concentration(sold), sellers, nothing
    yield "spread", None, {}, "Needs the orders of every gate; a settled result no longer holds them."


def _worth(case: _Case) -> Iterator[Found]:
    cur, local = case.cur, case.shared
    best = float((case.tradable * (case.retail - case.feed_in)).sum())
    saved = case.cost_reference - case.cost
    tapping = fairness.value_tapping(case.cost_reference, case.cost, case.cost_reference - best)
    yield "value_tapping", _percent(tapping), {f"saved [{cur}]": saved, f"possible [{cur}]": best}, ""
    welfare = formulas.social_welfare(case.retail, local, case.feed_in, local)
    parts = {
        f"retail avoided by buyers [{cur}]": float((case.retail * local).sum()),
        f"feed-in forgone by sellers [{cur}]": float((case.feed_in * local).sum()),
    }
    yield "social_welfare", welfare, parts, ""
    efficiency = formulas.allocative_efficiency(welfare, best)
    yield "allocative_efficiency", _percent(efficiency), {f"welfare [{cur}]": welfare, f"maximum [{cur}]": best}, ""


def _check(case: _Case) -> Iterator[Found]:
    energy, money = int(case.rule.energy_error), int(case.rule.money_error)
    books = {"energy book [lots]": energy, "money book [units of cash]": money}
    yield "closing_error", float(abs(energy) + abs(money)), books, ""
