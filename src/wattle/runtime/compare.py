"""Run several rules on one world and put the results side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from wattle.core.checks import REASONS, InputError, ensure
from wattle.core.tables import FIRST_MEMBER, MARKET_OPERATOR
from wattle.engine.gate import Product
from wattle.ledger.accounts import MONEY
from wattle.market.mechanism import MECHANISMS
from wattle.runtime.collect import Collector
from wattle.runtime.results import Comparison, RuleResult
from wattle.runtime.simulate import months, simulate
from wattle.runtime.world import World
from wattle.scenario.build import UNFIT, limit_range
from wattle.scenario.plugins import find_mechanism, load_mechanisms
from wattle.scenario.schema import ProductSection, Scenario

REFERENCE = "no community"
REFERENCE_SUMMARY = "Everyone alone: all energy is bought from and sold to the utility at the tariff."


@dataclass(frozen=True)
class Rule:
    """A named list of products; none at all is the reference."""

    name: str
    products: tuple[ProductSection, ...]

    @property
    def slug(self) -> str:
        """Name of the rule's folder in a run."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.name.lower())


@dataclass(frozen=True, eq=False)
class Finished:
    """A rule with all its sums."""

    result: RuleResult
    collector: Collector


@dataclass(frozen=True)
class LeftOut:
    """A rule that cannot run on these members, and why."""

    rule: Rule
    reason: str


def rules_of(scenario: Scenario, mechanisms: Sequence[str] = ()) -> tuple[Rule, ...]:
    """Return the reference and then the rules to compare.

    Without `mechanisms` the scenario's products together are one rule; else each mechanism is a rule of its own, with
    the parameters that a product of the scenario gives it.
    """
    reference = Rule(REFERENCE, ())
    if not mechanisms:
        if not scenario.product:
            return (reference,)
        name = " + ".join(product.name or product.mechanism for product in scenario.product)
        return reference, Rule(name, scenario.product)
    given = {product.name or product.mechanism: product for product in scenario.product}
    given.update({product.mechanism: product for product in reversed(scenario.product)})
    rules = (Rule(name, (given.get(name) or ProductSection(mechanism=name),)) for name in mechanisms)
    return reference, *rules


def unfit_for(rule: Rule) -> str | None:
    """Return why the members of a scenario cannot follow a rule by its bidding format; None if they can."""
    formats = (find_mechanism(part.mechanism).bids for part in rule.products)
    return next((f"the rule {UNFIT[bids]}" for bids in formats if bids in UNFIT), None)


def every_rule(scenario: Scenario) -> tuple[tuple[Rule, ...], dict[str, str]]:
    """Return the reference and every registered rule that members of a scenario can follow; and the others, with why.

    A product of the scenario brings its parameters; all other rules have their defaults.
    """
    load_mechanisms()
    fit = [entry.name for entry in MECHANISMS if entry.bids not in UNFIT]
    return rules_of(scenario, fit), {
        entry.name: f"the rule {UNFIT[entry.bids]}" for entry in MECHANISMS if entry.bids in UNFIT
    }


def run_rule(
    world: World, scenario: Scenario, rule: Rule, progress: Callable[[int, int], None] | None = None
) -> Finished:
    """Run one rule over the whole world."""
    began = time.perf_counter()
    products = tuple(world.product(part) for part in rule.products)
    number, _ = months(world.grid, world.timezone)
    collector = Collector(number, FIRST_MEMBER + len(world.members))
    engine = simulate(world, products, scenario.seed, collector.take, progress)
    if collector.refused is not None:
        raise InputError(f"{rule.name}: {REASONS[collector.refused]}")
    ensure(engine.sealed_until == world.grid.count, "the run ended before its last interval was sealed")
    return Finished(
        _result(world, rule, products, collector, engine.state_hash(), time.perf_counter() - began), collector
    )


def tried(
    world: World,
    scenario: Scenario,
    rule: Rule,
    progress: Callable[[int, int], None] | None = None,
    leave_out: bool = False,
) -> Finished | LeftOut:
    """Run one rule; one that cannot use the members' orders raises `InputError`, or is left out with the reason."""
    try:
        return run_rule(world, scenario, rule, progress)
    except InputError as problem:
        if not leave_out:
            raise
        return LeftOut(rule, str(problem).removeprefix(f"{rule.name}: "))


def run_rules(
    world: World,
    scenario: Scenario,
    rules: Sequence[Rule],
    progress: Callable[[str, int, int], None] | None = None,
    leave_out: bool = False,
) -> list[Finished | LeftOut]:
    """Run rules side by side on the cores of this machine; results come in the order of the rules.

    `progress` is told the rule, the intervals done over all rules, and the intervals in all. The kernels let other
    threads run, so threads are enough and nothing has to be copied.
    """
    done = dict.fromkeys(range(len(rules)), 0)

    def work(number: int) -> Finished | LeftOut:
        def tell(count: int, total: int) -> None:
            done[number] = count
            if progress is not None:
                progress(rules[number].name, sum(done.values()), len(rules) * total)

        found = first[number]
        return found if isinstance(found, LeftOut) else tried(world, scenario, rules[number], tell, leave_out)

    # One after the other, so that no kernel is compiled twice at the same time.
    first_day = world.part(max(1, 86_400 // world.grid.step_s))
    first = [tried(first_day, scenario, rule, None, leave_out) for rule in rules]
    with ThreadPoolExecutor(max_workers=min(len(rules), os.cpu_count() or 1, 4)) as pool:
        return list(pool.map(work, range(len(rules))))


def _result(
    world: World, rule: Rule, products: tuple[Product, ...], collector: Collector, state_hash: str, seconds: float
) -> RuleResult:
    lines = collector.bill_lines()
    by_month = sum(collector.bill_lines_by_period().values(), np.zeros((1, len(world.members)), np.int64))
    mine = slice(FIRST_MEMBER, None)
    energy_error, money_error = collector.closing_errors()
    energy_error += abs(int((collector.bought - collector.sold).sum()))
    return RuleResult(
        rule=rule.name,
        mechanism=" + ".join(part.mechanism for part in rule.products),
        parameters={
            f"{part.name or part.mechanism}.{key}": value
            for part in rule.products
            for key, value in part.parameters().items()
        },
        summary=" ".join(find_mechanism(part.mechanism).summary for part in rule.products) or REFERENCE_SUMMARY,
        price=collector.price,
        shared=collector.shared,
        imported=collector.imported,
        exported=collector.exported,
        bought=collector.bought.sum(axis=0)[mine],
        sold=collector.sold.sum(axis=0)[mine],
        from_utility=collector.from_utility.sum(axis=0)[mine],
        to_utility=collector.to_utility.sum(axis=0)[mine],
        lines=lines,
        cost=np.sum(list(lines.values()), axis=0),
        cost_by_month=by_month,
        energy_error=energy_error,
        money_error=money_error,
        state_hash=state_hash,
        seconds=seconds,
        operator_pays=int(collector.lines[:, MONEY, :, MARKET_OPERATOR].sum()),
    )


def compared(world: World, scenario: Scenario, results: Sequence[RuleResult], run_name: str = "") -> Comparison:
    """Put results side by side; the first one is the reference."""
    tariff = world.tariff
    return Comparison(
        title=scenario.title,
        grid=world.grid,
        timezone=world.timezone,
        units=world.units,
        members=world.members,
        kinds=world.kinds,
        facts=world.facts,
        demand=world.demand,
        generation=world.generation,
        load=world.load,
        sun=world.sun,
        retail=tariff.retail,
        feed_in=tariff.feed_in,
        rules=tuple(results),
        limits=world.limits,
        notes=(*world.notes, *_notes(world, scenario), *_operator_notes(world, results), *_alike(results)),
        run_name=run_name,
    )


OPERATOR = " the market operator "


def _operator_notes(world: World, results: Sequence[RuleResult]) -> list[str]:
    """Say under which rules somebody outside pays for the savings, or earns by them."""
    found = []
    for result in results:
        money = float(world.units.money(abs(result.operator_pays)))
        if round(money, 2):
            what = "pays in" if result.operator_pays > 0 else "keeps"
            found.append(f"Under {result.rule}{OPERATOR}{what} {money:,.2f} {world.units.currency}.")
    return found


ALIKE = "Alike here: "


def _alike(results: Sequence[RuleResult]) -> list[str]:
    """Say which rules give every member the same bill, to the last unit: on these members they are one rule."""
    groups: dict[bytes, list[str]] = {}
    for result in results[1:]:
        groups.setdefault(result.cost.tobytes(), []).append(result.rule)
    return [f"{ALIKE}{', '.join(names)}; every member has the same bill." for names in groups.values() if names[1:]]


def _notes(world: World, scenario: Scenario) -> list[str]:
    units = world.units
    low, high = (float(units.price(ticks)) * 100 for ticks in limit_range(scenario, units, world.charges))
    found = [
        f"Where members trade before delivery (auctions), each member's limit price is drawn once between {low:g} and "
        f"{high:g} ct/kWh with seed {scenario.limits.seed}. The utility takes every remainder at the tariff."
    ]
    for charge in world.charges:
        cents = float(units.price(charge.ticks)) * 100
        where = "added to local energy" if charge.on == "local-kwh" else "contained in the retail price"
        found.append(f"{charge.name}: {cents:g} ct/kWh, {where}.")
    return found
