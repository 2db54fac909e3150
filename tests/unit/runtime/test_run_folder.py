"""A run on disk: what it holds, and that no bit of it can change unnoticed."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest

from wattle.analysis.execute import execute
from wattle.core.checks import InputError
from wattle.runtime.compare import rules_of
from wattle.runtime.runfolder import add_file, open_run, read_manifest, rule_by_name
from wattle.runtime.verify import verify_folder, verify_run
from wattle.scenario.load import parse_scenario

TEXT = """
title = "Small"
[tariff]
retail_per_kwh = "0.30"
feed_in_per_kwh = "0.08"
[members]
source = "village"
homes = 8
days = 2
[[product]]
mechanism = "dynamic-key"
[[product]]
mechanism = "uniform-auction"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    scenario = parse_scenario(TEXT, "small.toml")
    rules = rules_of(scenario, ["dynamic-key", "uniform-auction"])
    execute(scenario, TEXT, Path(), rules, folder, lambda *_: None)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_fresh_run_verifies(run: Path) -> None:
    report = verify_folder(run)
    assert report.problems == []
    assert "192 intervals" in report.summary
    assert read_manifest(run)["rules"][0]["energy_error"] == 0


def test_run_holds_page_table_and_parquet(run: Path) -> None:
    assert {"report.html", "comparison.csv", "results.parquet", "scenario.toml", "members.csv"} <= set(files(run))
    rows = duckdb.sql(
        f"SELECT rule, sum(cash)::BIGINT AS cash, sum(amount) AS amount FROM '{run / 'results.parquet'}' GROUP BY rule"
    ).fetchall()
    assert {row[0] for row in rows} == {"no community", "dynamic-key", "uniform-auction"}
    for _, cash, amount in rows:
        assert float(amount) == pytest.approx(cash * 1e-7)


@pytest.mark.parametrize("seed", range(24))
def test_one_flipped_bit_anywhere_is_found(run: Path, tmp_path: Path, seed: int) -> None:
    """Flip one bit of one file: verification fails and names the file, and the interval where there is one."""
    chance = random.Random(seed)
    names = files(run)
    name = names[seed % len(names)]
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    data = bytearray((copy / name).read_bytes())
    place = chance.randrange(len(data))
    data[place] ^= 1 << chance.randrange(8)
    (copy / name).write_bytes(data)
    problems = verify_run(copy)
    assert problems, f"bit {place} of {name} was flipped unnoticed"
    assert all("interval" in problem.text or problem.interval is not None for problem in problems)


@pytest.mark.parametrize("interval", [0, 57, 191])
def test_a_changed_reading_names_its_interval(run: Path, tmp_path: Path, interval: int) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    net = np.load(copy / "readings.npy")
    net[interval, 3] ^= 1
    np.save(copy / "readings.npy", net)
    problems = verify_run(copy)
    seals = [problem for problem in problems if problem.file == "rules/dynamic-key/seals.npy"]
    assert seals[0].interval == interval
    assert f"interval {interval} " in seals[0].text


@pytest.mark.parametrize(("name", "interval"), [("seals.npy", 100), ("price.npy", 5)])
def test_a_changed_result_names_its_interval(run: Path, tmp_path: Path, name: str, interval: int) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    path = copy / "rules" / "uniform-auction" / name
    data = np.load(path)
    data[interval] ^= 1
    np.save(path, data)
    assert [problem.interval for problem in verify_run(copy)] == [interval]


def test_a_reading_changed_together_with_its_hash_is_found(run: Path, tmp_path: Path) -> None:
    """Whoever mends the manifest as well still has to forge every seal."""
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    net = np.load(copy / "readings.npy")
    net[10, 0] += 1
    np.save(copy / "readings.npy", net)
    add_file(copy, "readings.npy")
    assert 10 in {problem.interval for problem in verify_run(copy)}


def test_missing_and_strange_files_are_found(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "results.parquet").unlink()
    (copy / "extra.txt").write_text("hello")
    assert {problem.file for problem in verify_run(copy)} == {"results.parquet", "extra.txt"}


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a run: it has no manifest.json"):
        read_manifest(tmp_path)


def test_rules_are_found_by_name(run: Path) -> None:
    opened = open_run(run)
    assert rule_by_name(opened, None).name == "dynamic-key"
    assert rule_by_name(opened, "no-community").name == "no community"
    with pytest.raises(InputError, match="this run has no rule 'x'; it has: no community, dynamic-key"):
        rule_by_name(opened, "x")


def test_two_runs_of_one_scenario_are_equal(run: Path, tmp_path: Path) -> None:
    scenario = parse_scenario(TEXT, "small.toml")
    execute(scenario, TEXT, Path(), rules_of(scenario, ["dynamic-key", "uniform-auction"]), tmp_path / "small", _silent)
    first, second = (json.loads((folder / "manifest.json").read_text()) for folder in (run, tmp_path / "small"))
    assert [rule["state_hash"] for rule in first["rules"]] == [rule["state_hash"] for rule in second["rules"]]
    same = {name for name in first["files"] if first["files"][name] == second["files"][name]}
    assert {name for name in first["files"] if name.startswith("rules/")} <= same


def _silent(work: str, done: int, total: int) -> None:
    assert done <= total
