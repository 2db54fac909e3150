"""The reference is complete and fresh: commands, scenario keys, mechanisms, meter files, indices, files, bill lines."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer

from wattle.analysis.catalogue import CATALOGUE
from wattle.cli import main
from wattle.cli.app import build
from wattle.cli.market import CLAIMS
from wattle.core.checks import REASONS, Reject
from wattle.intake import findings, members
from wattle.market.mechanism import MECHANISMS, Claim
from wattle.runtime.results import BILL_LINES
from wattle.scenario.plugins import load_mechanisms, setting_keys
from wattle.scenario.schema import MetersSection, Scenario

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

SPEC = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
reference = importlib.util.module_from_spec(SPEC)
sys.modules["reference"] = reference
SPEC.loader.exec_module(reference)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands() -> dict:
    return typer.main.get_command(build()).commands


def own_rules() -> list:
    load_mechanisms()
    return [entry for entry in MECHANISMS if entry.cls.__module__.startswith("wattle.market.")]


# --- fresh ---


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_page_is_what_the_code_says(name):
    assert text(f"docs/reference/{name}") == reference.PAGES[name](), "run: python tools/reference.py"


def test_a_stale_page_is_found(tmp_path, monkeypatch, capsys):
    for name in reference.PAGES:
        (tmp_path / name).write_text(text(f"docs/reference/{name}"), encoding="utf-8")
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    assert reference.main(["--check"]) == 0
    (tmp_path / "commands.md").write_text("# Commands\n", encoding="utf-8")
    assert reference.main(["--check"]) == 1
    assert "commands.md is stale" in capsys.readouterr().out
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    assert reference.main(["--chekc"]) == 2


# --- complete ---


def test_every_command_and_option_is_there():
    page, readme = text("docs/reference/commands.md"), text("README.md")
    assert len(commands()) >= 10
    for name, command in commands().items():
        assert f"\n## {name}\n" in page
        assert re.search(rf"^\| `wattle {name}\b", readme, re.MULTILINE), f"README: the table of commands lacks {name}"
        for param in command.params:
            if param.name != "help":
                assert all(word in page for word in param.opts if word.startswith("-"))
                assert param.help, f"{name} {param.name} has no help text"


def test_every_example_in_a_help_text_can_be_parsed():
    for name, command in commands().items():
        examples = re.findall(r"^Example: wattle (\S+) (.+)$|^Example: wattle (\S+)$", command.help, re.MULTILINE)
        assert examples, f"wattle {name} --help shows no example"
        for with_more, more, alone in examples:
            assert (with_more or alone) == name
            command.make_context(name, shlex.split(more), resilient_parsing=False)


def models(model) -> list[tuple[str, type]]:
    return [("", model), *reference.sections(model)]


def test_every_scenario_key_is_there_and_described():
    page = text("docs/reference/scenario.md")
    inner = {name.strip("[]") for name, _ in reference.sections(Scenario)}
    count = 0
    for heading, model in models(Scenario):
        assert f"\n## {heading or 'Top level'}\n" in page
        assert not heading or reference.section_doc(model) in page
        for key, field in model.model_fields.items():
            if model is Scenario and key in inner:
                continue
            count += 1
            assert field.description, f"{heading} {key} has no description"
            assert f"| `{key}` |" in page
    assert count > 30


def test_every_rule_is_there_and_explained():
    page = text("docs/reference/mechanisms.md")
    concepts = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs/concepts").glob("*.md")))
    assert len(own_rules()) >= 12
    for entry in own_rules():
        assert f"### {entry.name}\n" in page
        assert entry.source
        assert entry.source in page
        assert all(f"`{key}`" in page for key in setting_keys(entry))
        assert f"`{entry.name}`" in concepts, f"no page under docs/concepts explains {entry.name}"


def test_every_claim_has_a_meaning():
    page, how_to = text("docs/reference/mechanisms.md"), text("docs/how-to/write-a-mechanism.md")
    assert set(CLAIMS) == {claim.value for claim in Claim}
    for claim in Claim:
        assert f"| {claim.value} | {CLAIMS[claim]} |" in page
        assert f"| {claim.value} |" in how_to


def test_every_reject_code_is_there():
    page = text("docs/reference/reject-codes.md")
    assert set(REASONS) == set(Reject)
    for code in Reject:
        assert f"| {int(code)} | `{code.name}` | {REASONS[code]} |" in page


def test_every_meter_setting_column_and_finding_is_there():
    page = text("docs/reference/meter-files.md")
    for name in (*MetersSection.model_fields, *members.COLUMNS, *findings.CODES):
        assert f"`{name}`" in page


def test_every_index_is_there_with_its_formula():
    page = " ".join(text("docs/concepts/indices.md").split())
    for index in CATALOGUE.values():
        assert f"**{index.label}**" in page
        assert f"`{index.formula}`" in page, f"{index.label}: {index.formula}"


def test_every_line_of_a_bill_is_there():
    page, concept = text("docs/reference/run-folder.md"), text("docs/concepts/settlement.md")
    for key, name in BILL_LINES:
        assert f"| `{key}` | {name}" in page
        assert f"| {name} |" in concept


def test_every_file_of_a_run_and_of_a_settled_folder_is_there(tmp_path, monkeypatch):
    page = text("docs/reference/run-folder.md")
    monkeypatch.chdir(tmp_path)
    for line in ("try --homes 4 --days 1 --no-open --out run", "new street --example", "settle street"):
        monkeypatch.setattr(sys, "argv", ["wattle", *line.split()])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
    files = {path.relative_to("run").as_posix() for path in Path("run").rglob("*") if path.is_file()}
    names = {re.sub(r"^rules/[^/]+/", "rules/RULE/", name) for name in files}
    assert len(names) == 10
    for path in Path("street").rglob("*"):
        if path.is_file():
            name = re.sub(r"/\d{4}-\d\d-\d\d_\d{4}-\d\d-\d\d/", "/PERIOD/", path.relative_to("street").as_posix())
            name = re.sub(r"PERIOD/(?!summary)\w+", "PERIOD/MEMBER", name)
            names.add(re.sub(r"^meters/.*csv$", "meters/*.csv", name))
    for name in names:
        assert f"| `{name}` |" in page, name


def test_only_one_page_of_the_reference_is_written_by_hand():
    by_hand = {path.name for path in (DOCS / "reference").glob("*.md")} - set(reference.PAGES)
    assert by_hand == {"run-folder.md"}
