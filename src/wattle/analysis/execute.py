"""From a scenario to a finished run folder with its page: what `try`, `run` and `compare` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wattle.analysis.metrics import indices
from wattle.analysis.report import write_comparison_csv, write_page
from wattle.core.checks import InputError
from wattle.runtime.compare import Finished, LeftOut, Rule, compared, unfit_for
from wattle.runtime.parallel import run_side_by_side
from wattle.runtime.results import Comparison
from wattle.runtime.runfolder import add_file, write_run
from wattle.runtime.world import build_world
from wattle.scenario.schema import Scenario

PAGE = "report.html"

LEFT_OUT = "Not compared: "

Progress = Callable[[str, int, int], None]
"""Called with the name of the work at hand, the parts done and the parts in all."""


def execute(
    scenario: Scenario,
    text: str,
    source: Path,
    rules: Sequence[Rule],
    folder: Path,
    progress: Progress,
    *,
    left_out: Mapping[str, str] | None = None,
    leave_out: bool = False,
    workers: int | None = None,
) -> Comparison:
    """Run all rules, write the run into `folder` and return the comparison.

    Parameters
    ----------
    text : the scenario as TOML, kept in the run.
    source : folder in which the scenario's file names are looked up.
    left_out : rules that are not even to be tried, with the reason. If it is given, the rules are sorted by what they
        save.
    leave_out : leave rules out that cannot use what these members send, instead of ending the run; one must be left.
    workers : processes to run the rules in; default: threads for few rules, a process on each core for many.
    """
    rules = [_located(rule, source) for rule in rules]
    if len({rule.slug for rule in rules}) < len(rules):
        raise InputError("a rule is named twice; each rule of a comparison needs its own name")
    progress("members", 0, 1)
    world = build_world(scenario, source)
    unfit = dict(left_out or {})
    if leave_out:
        unfit |= {rule.name: reason for rule in rules if (reason := unfit_for(rule))}
        rules = [rule for rule in rules if rule.name not in unfit]
    for rule in rules:  # a wrong parameter must stop the run before the work begins
        for part in rule.products:
            world.product(part)
    found = run_side_by_side(world, scenario, rules, progress, workers=workers, leave_out=leave_out)
    unfit |= {each.rule.name: each.reason for each in found if isinstance(each, LeftOut)}
    notes = [f"{LEFT_OUT}{name}: {reason}." for name, reason in sorted(unfit.items())]
    pairs = [(rule, done) for rule, done in zip(rules, found, strict=True) if isinstance(done, Finished)]
    if unfit and len(pairs) < 2:  # only the reference is left
        raise InputError("\n".join(f"{name}: {reason}" for name, reason in sorted(unfit.items())))
    if left_out is not None:
        pairs[1:] = sorted(pairs[1:], key=lambda pair: _costs(pair[1]))
    rules, finished = [rule for rule, _ in pairs], [done for _, done in pairs]
    progress("page", 1, 1)
    plain = compared(world, scenario, [done.result for done in finished], str(folder))
    plain = replace(plain, notes=(*plain.notes, *notes))
    comparison = replace(plain, rules=tuple(replace(rule, indices=indices(plain, rule)) for rule in plain.rules))
    write_run(folder, text, scenario, world, rules, finished)
    write_page(comparison, folder / PAGE)
    add_file(folder, PAGE)
    write_comparison_csv(comparison, folder / "comparison.csv")
    add_file(folder, "comparison.csv")
    return comparison


def _costs(done: Finished) -> int:
    """Return what all members pay, and what the market operator pays in for them, in cash."""
    return int(done.result.cost.sum()) + max(0, done.result.operator_pays)


def _located(rule: Rule, source: Path) -> Rule:
    """Look up rules that are files beside the scenario first, then from the current folder."""
    parts = []
    for part in rule.products:
        path, dot, _ = part.mechanism.partition(".py")
        if dot and (source / (path + dot)).is_file():
            part = part.model_copy(update={"mechanism": str(source / part.mechanism)})
        parts.append(part)
    return replace(rule, products=tuple(parts))


def free_folder(parent: Path, name: str) -> Path:
    """Return the first folder name-1, name-2, ... that does not exist yet."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def empty_folder(folder: Path) -> Path:
    """Return the folder if it is new or empty; a run never writes over anything."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty; name a new folder with --out")
    return folder
