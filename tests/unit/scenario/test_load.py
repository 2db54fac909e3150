"""Scenarios are read strictly: each mistake is one message with file, key, value and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattle.core.checks import InputError
from wattle.runtime.compare import rules_of
from wattle.runtime.world import build_world
from wattle.scenario.build import product_of
from wattle.scenario.load import load_scenario, parse_scenario

GOOD = """
title = "Street"
[tariff]
retail_per_kwh = "0.30"
feed_in_per_kwh = "0.08"
[members]
source = "village"
homes = 8
days = 1
"""


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        read(text)
    return str(caught.value)


def read(text: str) -> None:
    """Read a scenario as far as a run would before it begins."""
    scenario = parse_scenario(text, "street.toml")
    world = build_world(scenario, Path())
    for part in scenario.product:
        product_of(part, world.units, world.members, world.demand)


def test_good_scenario_is_read() -> None:
    scenario = parse_scenario(GOOD, "street.toml")
    assert scenario.members.homes == 8
    assert rules_of(scenario) == (rules_of(scenario)[0],)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[tariff]", "[tarif]", "street.toml, line 3: unknown key 'tarif'; did you mean 'tariff'?"),
        ("[tariff]", "[tarif]", "the key 'tariff' is missing"),
        ('title = "Street"\n', "", "the key 'title' is missing"),
        ('"Street"', "7", "title is 7, expected a text"),
        ('"0.30"', "0.30", 'tariff.retail_per_kwh is 0.3, expected a text; write decimals as text: retail_per_kwh = "0.3"'),  # noqa: E501
        ('"0.30"', '"thirty"', "street.toml, line 4: tariff.retail_per_kwh is 'thirty', 'thirty' is not a number"),
        ('"0.30"', '"nan"', "tariff.retail_per_kwh is 'nan', 'nan' is not a finite number"),
        ('"0.30"', '"inf"', "tariff.retail_per_kwh is 'inf', 'inf' is not a finite number"),
        ('"0.30"', '"0.30001"', "tariff.retail_per_kwh: 0.30001 EUR/kWh is not a whole number of ticks"),
        ('"0.30"', '"0.07"', "tariff.retail_per_kwh is 0.07, expected at least the feed-in price 0.08"),
        ("feed_in_per_kwh", "feedin_per_kwh", "did you mean 'feed_in_per_kwh'?"),
        ('"village"', '"vilage"', "members.source is 'vilage', expected 'village' or 'files'"),
        ("homes = 8", "homes = 1", "members.homes is 1, expected greater than or equal to 2"),
        ("homes = 8", "homes = -8", "members.homes is -8, expected greater than or equal to 2"),
        ("homes = 8", "homes = 1000", "1000"),
        ("homes = 8", 'homes = "8"', "members.homes is '8', expected a valid integer"),
        ("homes = 8", "homes = 8.5", "members.homes is 8.5, expected a valid integer"),
        ("days = 1", "days = 367", "members.days is 367, expected less than or equal to 366"),
        ("days = 1", "days = 0", "line 9: members.days is 0, expected greater than or equal to 1"),
        ("days = 1", "dayz = 1", "unknown key 'members.dayz'; did you mean 'days'?"),
        ("[tariff]", 'seed = -1\n[tariff]', "seed is -1, expected greater than or equal to 0"),
        ("[tariff]", '[units]\nlot_wh = "0"\n[tariff]', "a lot of 0 Wh and a tick of 0.0001 must both be above 0"),
        ("[tariff]", '[units]\nlot_wh = "2"\n[tariff]', "units.lot_wh is 2, expected 1 or a part of 1"),
        ("[tariff]", '[[charge]]\nname = "n"\non = "kwh"\nper_kwh = "1"\n[tariff]', "line 5: charge.1.on is 'kwh', expected 'local-kwh'"),  # noqa: E501
        ("[tariff]", '[[charge]]\nname = "n"\non = "local-kwh"\nper_kwh = "-1"\n[tariff]', "per_kwh is '-1', must not be"),  # noqa: E501
        ("[tariff]", '[[charge]]\nname = "n"\non = "utility-kwh"\nper_kwh = "0.4"\n[tariff]', "are more than tariff.retail"),  # noqa: E501
        ("[tariff]", '[[charge]]\non = "local-kwh"\nper_kwh = "1"\n[tariff]', "the key 'name' is missing (charge.1)"),
        ("[tariff]", '[[product]]\nmechanism = "order-book"\nwhen = "now"\n[tariff]', "when is 'now', expected 'at"),
        ("[tariff]", '[[product]]\nmechanism = "dynamic-key"\nwhen = "on arrival"\n[tariff]', "dynamic-key: when is 'on arrival', but dynamic-key trades after delivery"),  # noqa: E501
        ("[tariff]", '[[product]]\nmechanism = "uniform-auction"\nwhen = "on arrival"\n[tariff]', "needs all orders at once"),  # noqa: E501
        ("[tariff]", '[[product]]\nmechanism = "dynamic-kee"\n[tariff]', "did you mean 'dynamic-key'?"),
        ("[tariff]", '[[product]]\nmechanism = "dynamic-key"\nprize = 3\n[tariff]', "prize"),
        ("[tariff]", '[[product]]\nmechanism = "fixed-key"\n[product.shares]\nzoe = 1\n[tariff]', "zoe"),
        ("[tariff]", '[[product]]\nmechanism = "uniform-auction"\nk_percent = 140\n[tariff]', "k_percent"),
        ("[tariff]", '[limits]\nfrom_per_kwh = "0.5"\n[tariff]', "the highest limit is below the lowest"),
        ("[tariff]", "[tariff", "street.toml: is not valid TOML"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_message(old: str, new: str, message: str) -> None:
    assert old in GOOD
    assert message in refused(GOOD.replace(old, new, 1))


def test_all_mistakes_are_told_at_once() -> None:
    text = refused(GOOD.replace('"0.30"', '"x"').replace("homes = 8", "homes = 0").replace("days", "tage"))
    assert len(text.splitlines()) == 3


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        load_scenario(tmp_path / "no.toml")
    with pytest.raises(InputError, match="is a folder"):
        load_scenario(tmp_path)
    (tmp_path / "latin.toml").write_bytes('title = "Stra\xdfe"'.encode("latin-1"))
    with pytest.raises(InputError, match="not a text file in UTF-8"):
        load_scenario(tmp_path / "latin.toml")


def test_files_need_a_meter_section(tmp_path: Path) -> None:
    (tmp_path / "meters").mkdir()
    (tmp_path / "meters" / "a.csv").write_text("time,M1 kWh\n2025-01-01T00:00,1\n")
    (tmp_path / "members.csv").write_text("member,meter\na,M1\n")
    text = GOOD.replace('"village"', '"files"').replace("homes = 8\ndays = 1\n", "")
    with pytest.raises(InputError, match=r"the section \[meters\] is missing"):
        build_world(parse_scenario(text, "street.toml"), tmp_path)
