"""Blocks of a run: they are let go when observed, add up when replayed alone, and pass on what is left over."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest

import wattle.runtime.simulate as simulation
from wattle.analysis.metrics import by_key, indices
from wattle.core.tables import FIRST_MEMBER, UTILITY, Trades
from wattle.engine.events import Cleared, Effect, Settled
from wattle.ledger.accounts import MONEY
from wattle.runtime.compare import ALIKE, Rule, compared, rules_of, run_rule
from wattle.runtime.results import taken_over
from wattle.runtime.simulate import left_over, replay_block, simulate
from wattle.runtime.world import build_world
from wattle.scenario.load import parse_scenario

MECHANISM_NAMES = ("vickrey-clarke-groves", "trade-reduction", "uniform-auction")
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


def village(days: int, *mechanisms: str, homes: int = 12):
    """Return a scenario and its world; a mechanism named "name on arrival" trades on arrival."""
    text = TEXT.replace("days = 40", f"days = {days}\nhomes = {homes}")
    for name in mechanisms:
        rule, arrives, _ = name.partition(" on arrival")
        text += f'[[product]]\nmechanism = "{rule}"\n' + ('when = "on arrival"\n' if arrives else "")
    scenario = parse_scenario(text, "village.toml")
    return scenario, build_world(scenario, Path())


@pytest.mark.parametrize(
    "mechanisms",
    [
        ("bilateral-admm",),
        ("random-pairing",),
        ("shapley",),
        ("uniform-auction",),
        ("order-book on arrival",),
        ("order-book on arrival", "random-pairing"),
        ("random-pairing", "order-book on arrival"),
    ],
    ids=" + ".join,
)
def test_blocks_replayed_alone_add_up_to_the_run(mechanisms: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """An explanation replays one block; chance, negotiations and money must come out as they did in the run."""
    monkeypatch.setattr(simulation, "ROWS_PER_BLOCK", 1)  # blocks of one day
    scenario, world = village(3, *mechanisms)
    products = tuple(world.product(part) for part in scenario.product)
    whole = run_rule(world, scenario, Rule("rule", scenario.product)).result.cost
    parts = np.zeros_like(whole)
    for interval in (40, 96, 287):
        settled = [
            effect
            for _, effects in replay_block(world, products, scenario.seed, interval)
            for effect in effects
            if isinstance(effect, Settled)
        ]
        assert [(each.first <= interval < each.stop) for each in settled] == [True]
        parts += settled[0].lines[MONEY].sum(axis=0)[FIRST_MEMBER:]
    assert parts.tolist() == whole.tolist()


def test_a_later_gate_sees_what_the_first_left_over() -> None:
    """Two auctions one after the other: positions of both and the utility's part add up to the meter's reading."""
    scenario, world = village(2, "posted-offers", "uniform-auction")
    products = tuple(world.product(part) for part in scenario.product)
    ordered: dict[str, int] = {}
    traded = np.zeros((world.grid.count, FIRST_MEMBER + 12), np.int64)

    def observe(effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Cleared():
                    ordered[effect.product] = ordered.get(effect.product, 0) + int(effect.trades.quantity.sum())
                case Settled():
                    for trades in (effect.local, effect.utility):
                        np.add.at(traded, (trades.interval, trades.buyer), trades.quantity)
                        np.subtract.at(traded, (trades.interval, trades.seller), trades.quantity)
                case _:
                    pass

    simulate(world, products, 0, observe)
    assert (traded[:, FIRST_MEMBER:] == world.net).all()
    assert ordered["posted-offers"] > 0
    alone = village(2, "uniform-auction")
    only: list[int] = []
    simulate(
        alone[1],
        (alone[1].product(alone[0].product[0]),),
        0,
        lambda effects: only.extend(int(e.trades.quantity.sum()) for e in effects if isinstance(e, Cleared)),
    )
    assert ordered.get("uniform-auction", 0) < sum(only)


def test_left_over_counts_both_sides() -> None:
    one = np.array([2, 1], np.int32)
    trades = Trades(one, one * 0, [8, 9], [9, UTILITY], [0, 1], [2, -1], [5, 3], [10, 10], [10, 10])
    left = left_over(np.array([[4, 7], [6, -9]]), 1, [trades])
    assert left.tolist() == [[4, 4], [1, -4]]


def test_who_pays_in_is_said() -> None:
    scenario, world = village(2, "vickrey-clarke-groves", "trade-reduction", "uniform-auction")
    results = [run_rule(world, scenario, rule).result for rule in rules_of(scenario, MECHANISM_NAMES)]
    notes = [note for note in compared(world, scenario, results).notes if "market operator" in note]
    assert len(notes) == 2
    assert notes[0].startswith("Under vickrey-clarke-groves the market operator pays in ")
    assert notes[1].startswith("Under trade-reduction the market operator keeps ")


def test_nobody_pays_more_for_signing_contracts_whose_blocks_do_not_fit() -> None:
    """Blocks are larger than what many homes need in a quarter of an hour, and there are charges on local energy."""
    text = TEXT.replace("days = 40", "days = 1\nhomes = 30")
    text += '[[product]]\nmechanism = "contract-network"\nblock_lots = 300\n'
    text += '[[charge]]\nname = "local network"\non = "local-kwh"\nper_kwh = "0.04"\n'
    scenario = parse_scenario(text, "charged.toml")
    world = build_world(scenario, Path())
    alone, signed = (run_rule(world, scenario, Rule("rule", part)).result for part in ((), scenario.product))
    assert signed.shared.sum() > 0
    assert (signed.cost <= alone.cost).all()
    # What is bought and resold does not count as shared: never more than what some have to spare and others need.
    kept = taken_over(signed, alone)
    assert (kept <= np.minimum(alone.imported, alone.exported)).all()
    assert (kept == alone.exported - signed.exported).all()
    assert 0 < kept.sum() < signed.shared.sum()
    found = by_key(indices(compared(world, scenario, [alone, signed]), signed))
    for key in ("liquidity", "allocative_efficiency", "value_tapping"):
        assert 0 < found[key].value <= 100


def test_rules_that_come_to_the_same_are_named() -> None:
    scenario, world = village(1, "uniform-auction", "nested", "dynamic-key")
    results = [
        run_rule(world, scenario, rule).result for rule in rules_of(scenario, ("nested", "uniform-auction", "muda"))
    ]
    assert [note for note in compared(world, scenario, results).notes if note.startswith(ALIKE)] == [
        f"{ALIKE}nested, uniform-auction; every member has the same bill."
    ]


@pytest.mark.parametrize("mechanism", ["stackelberg", "shared-facility", "price-adjustment"])
def test_members_answer_prices_by_the_curve_of_the_scenario(mechanism: str) -> None:
    """Curves change what is traded, and money and energy close under each."""
    shared = {}
    for curve in ("fixed", "logarithmic"):
        text = TEXT.replace("days = 40", "days = 1\nhomes = 14") + f'[limits]\ncurve = "{curve}"\n'
        scenario = parse_scenario(f'{text}[[product]]\nmechanism = "{mechanism}"\n', "curve.toml")
        world = build_world(scenario, Path())
        result = run_rule(world, scenario, Rule(mechanism, scenario.product)).result
        assert (result.energy_error, result.money_error) == (0, 0)
        shared[curve] = result.shared.tolist()
        alone = run_rule(world, scenario, Rule("alone", ())).result
        assert (result.cost <= alone.cost).all()  # the utility is always there
    assert any(shared["logarithmic"])
    assert shared["fixed"] != shared["logarithmic"]
