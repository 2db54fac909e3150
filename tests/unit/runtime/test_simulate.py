"""A year must fit into little memory: what a block left behind is let go when it has been observed."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest

from wattle.engine.events import Effect, Settled
from wattle.runtime.simulate import simulate
from wattle.runtime.world import build_world
from wattle.scenario.load import parse_scenario

TEXT = """
title = "Memory"
[tariff]
retail_per_kwh = "0.30"
feed_in_per_kwh = "0.08"
[members]
source = "village"
days = 40
"""


@pytest.mark.parametrize("mechanism", ["dynamic-key", "uniform-auction"])
def test_effects_of_earlier_blocks_are_let_go(mechanism: str) -> None:
    scenario = parse_scenario(f'{TEXT}[[product]]\nmechanism = "{mechanism}"\n', "memory.toml")
    world = build_world(scenario, Path())
    seen: list[weakref.ref[Settled]] = []
    alive = 0

    def observe(effects: list[Effect]) -> None:
        nonlocal alive
        seen.extend(weakref.ref(effect) for effect in effects if isinstance(effect, Settled))
        alive = max(alive, sum(each() is not None for each in seen))

    simulate(world, (world.product(scenario.product[0]),), 0, observe)
    assert len(seen) > 3
    assert alive <= 2
