"""The command line as a newcomer meets it: try, run, compare, explain, verify, new, settle."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wattle.market.mechanism import MECHANISMS
from wattle.scenario.build import UNFIT
from wattle.scenario.plugins import load_mechanisms

ENVIRONMENT = {**os.environ, "COLUMNS": "140", "CI": "true"}


def wattle(folder: Path, *words: str, expect: int = 0) -> str:
    """Run a command in a folder; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "wattle", *words],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    text = wattle(folder, "try", "--homes", "8", "--days", "1")
    assert "closes exactly under every rule" in text
    assert "Page: wattle-runs/try-1/report.html" in text
    return folder


def test_try_compares_seven_rules(place: Path) -> None:
    text = (place / "wattle-runs" / "try-1" / "comparison.csv").read_text()
    names = [line.split(",")[0] for line in text.splitlines()[1:]]
    assert names == [
        "no community", "fixed-key", "dynamic-key", "equal-fill", "mid-market-rate", "supply-demand-ratio",
        "uniform-auction",
    ]  # fmt: skip


def test_runs_never_overwrite(place: Path) -> None:
    text = wattle(place, "try", "--homes", "8", "--days", "1", "--out", "wattle-runs/try-1", expect=2)
    assert "exists and is not empty" in text


def test_verify_and_a_flipped_bit(place: Path) -> None:
    assert "as it was" in wattle(place, "verify", "wattle-runs/try-1")
    path = place / "wattle-runs" / "try-1" / "rules" / "equal-fill" / "seals.npy"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    text = wattle(place, "verify", "wattle-runs/try-1", expect=1)
    path.write_bytes(data)
    assert "interval 95" in text


def test_explain_prints_the_way_to_a_number(place: Path) -> None:
    run = "wattle-runs/try-1"
    member = (place / run / "members.csv").read_text().splitlines()[1].split(",")[0]
    for rule in ("uniform-auction", "dynamic-key", "no community"):
        text = wattle(place, "explain", run, "--member", member, "--interval", "2016-06-06T12:00", "--rule", rule)
        assert f"{member}, 2016-06-06 12:00, interval 48" in text
        assert "source: readings.npy of the run, row 48, column 0" in text
        assert "total" in text
    assert "no member is called 'zoe'" in wattle(place, "explain", run, "-m", "zoe", "-t", "0", expect=2)
    assert "--interval is '96', expected 0 to 95" in wattle(place, "explain", run, "-m", member, "-t", "96", expect=2)
    assert "expected a number or a time" in wattle(place, "explain", run, "-m", member, "-t", "noon", expect=2)


def test_explain_tells_what_was_asked_and_answered(tmp_path: Path) -> None:
    text = wattle(tmp_path, "compare", "--mechanisms", "bilateral-admm,stackelberg", "--homes", "8", "--days", "1")
    hint = next(line for line in text.splitlines() if line.startswith("Why a number")).split("wattle explain ")[1]
    run, *options = hint.split()
    for rule in ("bilateral-admm", "stackelberg"):
        told = wattle(tmp_path, "explain", run, *options[:4], "--rule", rule)
        assert "then the rule asked" in told
        assert re.search(r"round 1: asked at [\d. to]+ ct/kWh, would (buy|sell|not trade)", told)
        assert "with its usual parameters: " in told
    assert " buys " in wattle(tmp_path, "explain", run, *options)  # the hint shows a trade


def test_run_and_compare_a_scenario(place: Path) -> None:
    scenario = place / "wattle-runs" / "try-1" / "scenario.toml"
    (place / "mine.toml").write_text(scenario.read_text())
    text = wattle(place, "compare", "mine.toml", "--mechanisms", "bill-sharing,pay-as-bid-auction")
    assert "bill-sharing" in text
    assert "pay-as-bid-auction" in text
    assert "did you mean 'bill-sharing'" in wattle(
        place, "compare", "mine.toml", "--mechanisms", "bill-sharin", expect=2
    )
    assert "there is no such file" in wattle(place, "run", "yours.toml", expect=2)
    assert "is named twice" in wattle(place, "compare", "mine.toml", "--mechanisms", "equal-fill,equal-fill", expect=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["try", "--homes", "1"], "members.homes is 1, expected greater than or equal to 2"),
        (["try", "--homes", "500"], "500"),
        (["try", "--days", "0"], "members.days is 0"),
        (["try", "--days", "soon"], "--days"),
        (["verify", "nowhere"], "nowhere is neither a run"),
        (["explain", "nowhere", "-m", "a", "-t", "0"], "is neither a run"),
        (["settle", "nowhere"], "has no community.toml"),
        (["sing"], "sing"),
    ],
)
def test_mistakes_end_with_code_2_and_one_message(tmp_path: Path, words: list[str], message: str) -> None:
    text = wattle(tmp_path, *words, expect=2)
    assert message in text
    assert "Traceback" not in text
    assert list(tmp_path.iterdir()) == []


def test_new_settle_correct_explain_verify(tmp_path: Path) -> None:
    assert "Next: wattle settle street" in wattle(tmp_path, "new", "street", "--example")
    assert "statements: street/statements/round-001/index.html" in wattle(tmp_path, "settle", "street")
    assert "nothing new" in wattle(tmp_path, "settle", "street")
    fix = tmp_path / "street" / "meters" / "fix.csv"
    fix.write_text("time;meter;value kWh\n04.06.2025 12:15;M003;0,100\n", encoding="utf-8")
    assert "corrected: 1 interval" in wattle(tmp_path, "settle", "street")
    text = wattle(tmp_path, "explain", "street", "-m", "ben", "-t", "2025-06-04T12:15")
    assert "source: fix.csv, row 2, column 'value kWh', meter M003: 0.1 kWh" in text
    assert "as they were settled" in wattle(tmp_path, "verify", "street")


def test_every_command_teaches_itself() -> None:
    here = Path()
    for command in ("try", "run", "compare", "explain", "verify", "new", "settle", "mechanisms", "clear", "check"):
        assert "Example: wattle" in wattle(here, command, "--help")


def test_compare_takes_every_rule_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    text = wattle(
        tmp_path, "compare", "--mechanisms", "all", "--homes", "9", "--days", "1", "--workers", "2", "--out", "all"
    )
    assert "closes exactly under every rule" in text
    assert "No rule both brings more welfare and shares it more evenly (Jain) than" in text
    load_mechanisms()
    known = {entry.name for entry in MECHANISMS if entry.cls.__module__.startswith("wattle.market.")}
    lines = (tmp_path / "all" / "comparison.csv").read_text().splitlines()[1:]
    compared = [line.split(",")[0] for line in lines]
    left_out = re.findall(r"^Not compared: ([\w-]+): .+\.$", text, re.MULTILINE)
    assert set(compared[1:]) | set(left_out) == known
    assert compared[0] == "no community"
    assert set(left_out) <= {entry.name for entry in MECHANISMS if entry.bids in UNFIT} | {"assignment-auction"}
    assert len(compared) > 30
    assert "as it was" in wattle(tmp_path, "verify", "all")
    assert "negotiat" in wattle(
        tmp_path, "explain", "all", "--member", "home-040", "--interval", "40", "--rule", "bilateral-admm"
    )


def test_a_part_of_the_village_is_no_part_of_a_scenario(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('title = "x"\n')
    text = wattle(tmp_path, "compare", "s.toml", "--homes", "9", expect=2)
    assert "--homes and --days take a part of the sample village" in text
