"""Rules in processes: the same results as in threads, in order, with progress; problems end the run or are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattle.core.checks import InputError
from wattle.runtime.compare import Finished, LeftOut, Rule, rules_of, run_rules
from wattle.runtime.parallel import run_in_processes
from wattle.runtime.world import build_world
from wattle.scenario.load import parse_scenario
from wattle.scenario.schema import ProductSection

TEXT = """
title = "Processes"
[tariff]
retail_per_kwh = "0.30"
feed_in_per_kwh = "0.08"
[members]
source = "village"
homes = 6
days = 2
"""

REFUSING = '''
"""A rule that takes no book."""
from dataclasses import dataclass

from wattle.core.checks import Reject
from wattle.core.messages import Clearing
from wattle.market.mechanism import mechanism


@mechanism("refuses-all", claims=set(), source="none")
@dataclass(frozen=True)
class RefusesAll:
    """Refuse every book."""

    def step(self, memory, orders, context):
        return None, Clearing.refuse(Reject.TOO_MANY_MEMBERS)
'''


def test_processes_give_what_threads_give() -> None:
    scenario = parse_scenario(TEXT, "processes.toml")
    world = build_world(scenario, Path())
    rules = rules_of(scenario, ["random-pairing", "bilateral-admm", "dynamic-key"])
    told: list[tuple[int, int]] = []
    found = run_in_processes(world, scenario, rules, lambda _, done, total: told.append((done, total)), workers=2)
    here = run_rules(world, scenario, rules)
    for mine, theirs in zip(found, here, strict=True):
        assert isinstance(mine, Finished)
        assert mine.result.state_hash == theirs.result.state_hash
        assert mine.result.cost.tolist() == theirs.result.cost.tolist()
    assert [each.result.rule for each in found if isinstance(each, Finished)] == [rule.name for rule in rules]
    total = 4 * world.grid.count
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_rule_that_refuses_ends_the_run_or_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "refuses.py"
    path.write_text(REFUSING)
    scenario = parse_scenario(TEXT, "processes.toml")
    world = build_world(scenario, Path())
    rules = (Rule("stubborn", (ProductSection(mechanism=str(path)),)), *rules_of(scenario, ["dynamic-key"]))
    with pytest.raises(InputError, match=r"stubborn: .*so many members"):
        run_in_processes(world, scenario, rules, workers=1)
    found = run_in_processes(world, scenario, rules, workers=1, leave_out=True)
    assert isinstance(found[0], LeftOut)
    assert "so many members" in found[0].reason
    assert [type(each) for each in found[1:]] == [Finished, Finished]
