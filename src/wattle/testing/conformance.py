"""The conformance suite: what every market rule owes, and what a rule claims, tried on generated books.

`check_mechanism` needs no test runner. A check that fails shows the smallest book on which it fails, as CSV that
`wattle clear` reads.

>>> from wattle.market.auction_double import UniformAuction
>>> results = check_mechanism(UniformAuction(), books=20)
>>> all(result.passed for result in results)
True
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wattle.core.messages import Tariff
from wattle.core.registry import Entry
from wattle.core.tables import ANY_PRICE, ANYONE, Orders
from wattle.core.units import decimal_text
from wattle.market.mechanism import MECHANISMS, Claim, Mechanism
from wattle.testing import checks_always as always
from wattle.testing import checks_claimed as claimed
from wattle.testing import small_games
from wattle.testing.generators import UNITS, Case, as_csv, part
from wattle.testing.trial import Trial

Test = Callable[[Trial], str | None]
Progress = Callable[[int, int], None]
"""Called with checks done and checks in all."""


@dataclass(frozen=True)
class CheckResult:
    """One check on one rule: on how many books it was tried and, if it failed, why and on which smallest book."""

    name: str
    passed: bool
    books: int
    message: str = ""


@dataclass(frozen=True)
class Check:
    """A check by name.

    `every` thins out the books of a costly check; `kinds` gives it books of its own, and with `takers` each of these
    comes a second time, with orders at any price and without a tariff.
    """

    name: str
    test: Test
    every: int = 1
    kinds: tuple[str, ...] = ()
    takers: bool = False


ALWAYS = (
    Check("answers within the rounds", always.answers_at_all),
    Check("every lot traded, resting or left", always.conserves),
    Check("same in, same out", always.deterministic),
    Check("order of rows irrelevant", always.row_order),
    Check("whole numbers only", always.whole_numbers),
    Check("inputs untouched", always.inputs_untouched),
    Check("no price beyond what was named", always.prices_within),
    Check("partner honoured or refused", always.partner_honoured, 4, ("named partners",)),
    Check("refused book comes back whole", always.refused_whole),
    Check("says why nothing trades", always.says_why, 2, ("empty", "one-sided", "single order")),
    Check("memory can be stored", always.storable),
)
"""What is tested on every rule."""

_SMALL = ("small", "ties")

BY_CLAIM: dict[Claim, Check] = {
    Claim.BUDGET_BALANCED: Check(Claim.BUDGET_BALANCED, claimed.budget_balanced),
    Claim.INDIVIDUALLY_RATIONAL: Check(Claim.INDIVIDUALLY_RATIONAL, claimed.individually_rational),
    Claim.EFFICIENT: Check(Claim.EFFICIENT, claimed.efficient),
    Claim.UNIFORM_PRICE: Check(Claim.UNIFORM_PRICE, claimed.uniform_price),
    Claim.TRUTHFUL: Check(Claim.TRUTHFUL, small_games.truthful, 4, ("small",), takers=True),
    Claim.IN_CORE: Check(Claim.IN_CORE, small_games.in_core, 2, ("small", "price takers")),
    Claim.SEPARABLE: Check(Claim.SEPARABLE, claimed.separable, 2),
    Claim.INCREMENTAL: Check(Claim.INCREMENTAL, claimed.incremental, 2),
    Claim.EXACT: Check(Claim.EXACT, claimed.exact, 4),
}
"""The check of each claim; a test makes sure that none is missing."""


def check_mechanism(
    entry_or_mechanism: Entry | Mechanism, *, seed: int = 0, books: int = 200, progress: Progress | None = None
) -> list[CheckResult]:
    """Try a rule on generated books: all that every rule owes, and what it claims.

    A registered entry is built with its default parameters. An instance brings its own; its claims are those under
    which its class is registered, less those that another inner rule takes away (see `subject`).
    """
    rule, claims = subject(entry_or_mechanism)
    checks = checks_for(claims)
    usual = [Trial(rule, case) for case in part(seed, books)]
    results: list[CheckResult] = []
    for number, check in enumerate(checks):
        if progress is not None:
            progress(number, len(checks))
        own = part(seed, -(-len(usual) // check.every), list(check.kinds)) if check.kinds else []
        own += [small_games.with_takers(case) for case in own] if check.takers else []
        trials = [Trial(rule, case) for case in own] or usual[:: check.every]
        results.append(_verdict(check, trials))
        if number == 0:
            results[0] = _trades_at_all(results[0], usual)
            # The other checks look at the books before the first one that the rule does not answer.
            usual = usual if results[0].passed else usual[: results[0].books - 1]
    if progress is not None:
        progress(len(checks), len(checks))
    return results


def subject(entry_or_mechanism: Entry | Mechanism) -> tuple[Mechanism, frozenset[str]]:
    """Return the rule and its claims.

    A rule around an inner rule is registered with the claims that it has with its default one. An instance with another
    inner rule keeps of these what the inner rule claims as well.
    """
    if isinstance(entry_or_mechanism, Entry):
        return entry_or_mechanism.build(), entry_or_mechanism.claims
    entry = next((entry for entry in MECHANISMS if entry.cls is type(entry_or_mechanism)), None)
    if entry is None:
        return entry_or_mechanism, frozenset()
    inner = getattr(entry_or_mechanism, "inner", None)
    if isinstance(inner, str) and inner in MECHANISMS and inner != entry.parameters["inner"]:
        return entry_or_mechanism, entry.claims & MECHANISMS[inner].claims
    return entry_or_mechanism, entry.claims


def checks_for(claims: Iterable[str]) -> list[Check]:
    """Return all checks that a rule with these claims must pass."""
    return [*ALWAYS, *(BY_CLAIM[claim] for claim in Claim if claim in claims)]


def judge(test: Test, trial: Trial) -> str | None:
    """Return what is wrong, an exception of the rule included.

    Only the first check of all reports that a rule raises on a book as it is; for the others there is then nothing
    to look at.
    """
    first = test is always.answers_at_all
    try:
        _ = trial.outcome
    except Exception as error:  # the rule may be a stranger's
        return f"step raised {type(error).__name__}: {error}" if first else None
    try:
        return test(trial)
    except Exception as error:
        return f"step raised {type(error).__name__}: {error}"


def _verdict(check: Check, trials: list[Trial]) -> CheckResult:
    if not trials:
        return CheckResult(check.name, False, 0, "not tried: the rule does not answer the first book")
    for number, trial in enumerate(trials):
        complaint = judge(check.test, trial)
        if complaint:
            smallest = shrink(check.test, trial.rule, trial.case)
            complaint = judge(check.test, Trial(trial.rule, smallest)) or complaint
            return CheckResult(check.name, False, number + 1, f"{complaint}\n{shown(smallest)}")
    return CheckResult(check.name, True, len(trials))


def _trades_at_all(result: CheckResult, trials: list[Trial]) -> CheckResult:
    """A rule that never does anything would pass every check."""
    if not result.passed:
        return result
    done = sum(bool(len(t.outcome.clearing.trades) or len(t.outcome.clearing.transfers)) for t in trials)
    if done == 0 and trials:
        message = f"none of {len(trials)} books led to a trade or a transfer"
        return replace(result, passed=False, books=len(trials), message=message)
    return replace(result, message=f"{done} of {len(trials)} books led to a trade")


def shown(case: Case) -> str:
    """Write a case as the CSV and the options of `wattle clear`."""
    tariff = case.tariff
    if tariff is None:
        return as_csv(case.orders)
    if (tariff.retail == tariff.retail[0]).all() and (tariff.feed_in == tariff.feed_in[0]).all():
        prices = (decimal_text(UNITS.price(int(price[0])) * 100) for price in (tariff.retail, tariff.feed_in))
        return "{}\nwith --retail {} --feed-in {}".format(as_csv(case.orders), *prices)
    named = f"retail {tariff.retail.tolist()}, feed-in {tariff.feed_in.tolist()} ticks from interval {tariff.first}"
    return f"{as_csv(case.orders)}\nwith a tariff that changes: {named}"


def shrink(test: Test, rule: Mechanism, case: Case, tries: int = 600) -> Case:
    """Return a smaller case on which the test still fails: fewer orders, fewer lots, simpler limits and tariff."""
    while tries > 0:
        for simpler in _simpler(case):
            tries -= 1
            if judge(test, Trial(rule, simpler)):
                case = simpler
                break
            if tries <= 0:
                break
        else:
            break
    return case


def _simpler(case: Case) -> Iterator[Case]:
    orders, tariff = case.orders, case.tariff
    rows = len(orders)
    for orders_fewer in _fewer(orders):
        yield replace(case, orders=orders_fewer)
    if tariff is not None and tariff.retail.size > 1:
        yield replace(case, tariff=Tariff.flat(int(tariff.retail[0]), int(tariff.feed_in[0])))
    if tariff is not None:
        yield replace(case, tariff=None)
    in_order = np.argsort(orders.id, kind="stable")
    if (in_order != np.arange(rows)).any():
        yield replace(case, orders=orders.take(in_order))
    for name, plain in (("interval", 0), ("zone", 0), ("partner", ANYONE)):
        if (getattr(orders, name) != plain).any():
            yield replace(case, orders=orders.replace(**{name: np.full(rows, plain)}))
    for row in range(min(rows, 12)):
        for name in ("quantity", "limit"):
            value = int(getattr(orders, name)[row])
            for simple in _simple_numbers(name, value):
                column: Any = getattr(orders, name).copy()
                column[row] = simple
                yield replace(case, orders=orders.replace(**{name: column}))


def _fewer(orders: Orders) -> Iterator[Orders]:
    """Yield the orders without a half, a quarter, ... a single one of them; a named partner stays in the book."""
    size = len(orders) // 2
    while size > 0:
        for first in range(0, len(orders), size):
            left = orders.take(np.r_[0:first, min(first + size, len(orders)) : len(orders)])
            if np.isin(left.partner, [ANYONE, *left.participant]).all():
                yield left
        size //= 2
    if len(orders) == 1:
        yield orders.take(slice(0, 0))


def _simple_numbers(name: str, value: int) -> list[int]:
    if name == "quantity":
        return [simple for simple in (1, value // 2, value - 1) if 1 <= simple < value]
    if abs(value) == ANY_PRICE:
        return []
    return [simple for simple in (100, round(value, -2), round(value, -1)) if _rank(simple) < _rank(value)]


def _rank(value: int) -> tuple[int, int]:
    return (0 if value == 100 else 1 if value % 100 == 0 else 2 if value % 10 == 0 else 3, abs(value))
