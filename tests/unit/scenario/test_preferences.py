"""Places, sources and preferences reach the rules of a run, and are still there when the run is computed again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wattle.analysis.execute import execute
from wattle.core.checks import InputError
from wattle.core.tables import SOURCES
from wattle.runtime.compare import rules_of, run_rule
from wattle.runtime.verify import verify_run
from wattle.runtime.world import build_world
from wattle.scenario.load import parse_scenario
from wattle.scenario.village import load_grid, places_m

TEXT = """
title = "Preferences"
[tariff]
retail_per_kwh = "0.30"
feed_in_per_kwh = "0.08"
[members]
source = "village"
homes = 16
days = 2
[[product]]
name = "anywhere"
mechanism = "posted-offers"
[[product]]
name = "near"
mechanism = "posted-offers"
per_km_ct_per_kwh = "20"
"""
LIKES = '[[preference]]\nmember = "{}"\npartner = "{}"\npremium_per_kwh = "{}"\n'


def world_of(text: str):
    scenario = parse_scenario(text, "p.toml")
    return scenario, build_world(scenario, Path())


def costs(text: str) -> list[list[int]]:
    scenario, world = world_of(text)
    rules = rules_of(scenario, ["anywhere", "near"])[1:]
    return [run_rule(world, scenario, rule).result.cost.tolist() for rule in rules]


def test_places_are_metres_from_the_transformer() -> None:
    east_m, north_m = places_m()
    assert (east_m[0], north_m[0]) == (0, 0)
    nodes = load_grid().nodes
    # The great circle between two nodes (haversine), as a second way.
    rows = np.array([5, 100])
    lat, lon = (np.radians(np.asarray(nodes[name], float)[rows]) for name in ("latitude_deg", "longitude_deg"))
    half = np.sin((lat[1] - lat[0]) / 2) ** 2 + np.prod(np.cos(lat)) * np.sin((lon[1] - lon[0]) / 2) ** 2
    great = 2 * 6_378_137 * np.arcsin(np.sqrt(half))
    flat = np.hypot(*(np.diff(axis[rows])[0] for axis in (east_m, north_m)))
    assert flat == pytest.approx(great, rel=0.005)


def test_the_village_knows_places_and_sources() -> None:
    _, world = world_of(TEXT)
    assert len(world.profiles) == len(world.members)
    sunny = world.profiles.source == SOURCES.index("sun")
    assert sunny.tolist() == list(world.facts["sun"])


def test_distance_and_taste_change_who_trades_with_whom() -> None:
    anywhere, near = costs(TEXT)
    assert anywhere != near
    _, world = world_of(TEXT)
    seller = world.members[int(np.flatnonzero(world.facts["sun"])[0])]
    buyer = next(name for name, sunny in zip(world.members, world.facts["sun"], strict=True) if not sunny)
    assert costs(TEXT + LIKES.format(buyer, seller, "0.15"))[0] != anywhere


def test_a_run_with_preferences_is_computed_again(tmp_path: Path) -> None:
    _, world = world_of(TEXT)
    text = TEXT + LIKES.format(world.members[0], world.members[1], "-0.05")
    scenario = parse_scenario(text, "p.toml")
    rules = rules_of(scenario, ["anywhere", "near"])
    execute(scenario, text, tmp_path, rules, tmp_path / "run", lambda *_: None)
    assert verify_run(tmp_path / "run") == []


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("home-1", "{1}", "0.1")], "preference.1.member is 'home-1', no member; did you mean"),
        ([("{0}", "nobody", "0.1")], "preference.1.partner is 'nobody', no member"),
        ([("{0}", "{0}", "0.1")], "names himself"),
        ([("{0}", "{1}", "0.1"), ("{0}", "{1}", "0.2")], "preference.2: .* are named twice"),
        ([("{0}", "{1}", "0.00001")], "preference.1.premium_per_kwh: .* is not a whole number of ticks"),
        ([("{0}", "{1}", "much")], "line .*: preference.1.premium_per_kwh is 'much'"),
    ],
)
def test_wrong_preferences_are_refused(rows: list[tuple[str, str, str]], words: str) -> None:
    _, world = world_of(TEXT)
    text = TEXT + "".join(LIKES.format(*row).format(*world.members) for row in rows)
    with pytest.raises(InputError, match=words):
        world_of(text)
