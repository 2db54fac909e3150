"""From a scenario to a finished run folder with its page: what `try`, `run` and `compare` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from wattle.analysis.metrics import indices
from wattle.analysis.report import write_comparison_csv, write_page
from wattle.core.checks import InputError
from wattle.runtime.compare import Rule, compared, run_rules
from wattle.runtime.results import Comparison
from wattle.runtime.runfolder import add_file, write_run
from wattle.runtime.world import build_world
from wattle.scenario.schema import Scenario

PAGE = "report.html"

Progress = Callable[[str, int, int], None]
"""Called with the name of the work at hand, the parts done and the parts in all."""


def execute(
    scenario: Scenario, text: str, source: Path, rules: Sequence[Rule], folder: Path, progress: Progress
) -> Comparison:
    """Run all rules, write the run into `folder` and return the comparison.

    Parameters
    ----------
    text : the scenario as TOML, kept in the run.
    source : folder in which the scenario's file names are looked up.
    """
    rules = [_located(rule, source) for rule in rules]
    if len({rule.slug for rule in rules}) < len(rules):
        raise InputError("a rule is named twice; each rule of a comparison needs its own name")
    progress("members", 0, 1)
    world = build_world(scenario, source)
    for rule in rules:  # a wrong parameter must stop the run before the work begins
        for part in rule.products:
            world.product(part)
    finished = run_rules(world, scenario, rules, progress)
    progress("page", 1, 1)
    plain = compared(world, scenario, [done.result for done in finished], str(folder))
    comparison = replace(plain, rules=tuple(replace(rule, indices=indices(plain, rule)) for rule in plain.rules))
    write_run(folder, text, scenario, world, rules, finished)
    write_page(comparison, folder / PAGE)
    add_file(folder, PAGE)
    write_comparison_csv(comparison, folder / "comparison.csv")
    add_file(folder, "comparison.csv")
    return comparison


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
