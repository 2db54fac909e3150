"""Run many rules on one world in processes of their own, with word of how far they are.

Every process gets the world once, at its start, and then one rule after the other. Nothing is shared, so rules that
hold the interpreter (negotiations, order books in plain Python) do not wait for each other.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any

from wattle.runtime.compare import Finished, LeftOut, Rule, run_rules, tried
from wattle.runtime.world import World
from wattle.scenario.schema import Scenario

Progress = Callable[[str, int, int], None]

POLL_S = 0.1
THREADS_UP_TO = 8
_HERE: dict[str, Any] = {}  # of a worker: the world, the scenario, and where it says how far it is


def run_side_by_side(
    world: World,
    scenario: Scenario,
    rules: Sequence[Rule],
    progress: Progress | None = None,
    *,
    workers: int | None = None,
    leave_out: bool = False,
) -> list[Finished | LeftOut]:
    """Run rules on the cores of this machine: few of them in threads, which start at once, many in processes.

    `workers` asks for so many processes. The rest is as in `run_in_processes`.
    """
    if workers is None and len(rules) <= THREADS_UP_TO:
        return run_rules(world, scenario, rules, progress, leave_out)
    return run_in_processes(world, scenario, rules, progress, workers=workers, leave_out=leave_out)


def run_in_processes(
    world: World,
    scenario: Scenario,
    rules: Sequence[Rule],
    progress: Progress | None = None,
    *,
    workers: int | None = None,
    leave_out: bool = False,
) -> list[Finished | LeftOut]:
    """Run rules in parallel processes; results come in the order of the rules.

    `progress` is told the rules at work, the intervals done over all rules, and the intervals in all. `workers` is the
    number of processes (default: one for each core). A rule that cannot use the members' orders raises `InputError`;
    with `leave_out` it is returned as `LeftOut` instead. Each rule is tried on the first day before all days are run.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit the threads of compiled code
    told: Any = context.Queue()
    count = min(len(rules), workers or os.cpu_count() or 1)
    done, total = dict.fromkeys(range(len(rules)), 0), len(rules) * world.grid.count
    pool = ProcessPoolExecutor(count, context, _begin, (world, scenario, told))
    try:
        futures = [pool.submit(_work, number, rule, leave_out) for number, rule in enumerate(rules)]
        waiting: set[Future[Finished | LeftOut]] = set(futures)
        while waiting:
            over, waiting = wait(waiting, POLL_S, FIRST_COMPLETED)
            _listen(told, done)
            for future in over:
                future.result()  # a problem of any rule ends the whole at once
                done[futures.index(future)] = world.grid.count
            if progress is not None:
                busy = [rules[number].name for number, future in enumerate(futures) if future.running()][:count]
                progress(", ".join(busy) or rules[-1].name, sum(done.values()), total)
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


def _listen(told: Any, done: dict[int, int]) -> None:
    while True:
        try:
            number, intervals = told.get_nowait()
        except queue.Empty:
            return
        done[number] = max(done[number], intervals)


def _begin(world: World, scenario: Scenario, told: Any) -> None:
    _HERE.update(world=world, scenario=scenario, told=told)


def _work(number: int, rule: Rule, leave_out: bool) -> Finished | LeftOut:
    world, scenario, told = _HERE["world"], _HERE["scenario"], _HERE["told"]
    first = tried(world.part(max(1, 86_400 // world.grid.step_s)), scenario, rule, None, leave_out)
    if isinstance(first, LeftOut):
        return first
    return tried(world, scenario, rule, lambda count, _: told.put((number, count)), leave_out)
