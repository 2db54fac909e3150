"""Every example of the README and of the documentation runs: page by page, in order, in an empty folder.

What counts as an example, and what is done with it, stands at the top of `run_page.py`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("run_page.py")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

SPEC = importlib.util.spec_from_file_location("run_page", RUNNER)
run_page = importlib.util.module_from_spec(SPEC)
sys.modules["run_page"] = run_page
SPEC.loader.exec_module(run_page)


def is_example(block) -> bool:
    return block.language != "text" and not (block.language in ("bash", "console") and block.is_setup)


WITH_EXAMPLES = [
    path
    for path in PAGES
    if path.is_file() and any(is_example(block) for block in run_page.blocks(path.read_text(encoding="utf-8")))
]


def run(page: Path, folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONUTF8": "1", "CI": "1", "COLUMNS": "120"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), environment.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-W", "error", str(RUNNER), str(page)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_example_runs(page, tmp_path):
    result = run(page, tmp_path)
    if result.returncode:
        pytest.fail(result.stderr or result.stdout, pytrace=False)


def test_no_page_hides_an_example():
    """Fences that the reader of this test would not find: indented ones, those with tildes, open ones."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        marks = len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE))
        assert marks == 2 * len(run_page.blocks(text)), f"{page.name}: a fenced block is indented or not closed"


def test_pictures_and_formulas_hold_no_commands():
    for page in PAGES:
        for block in run_page.blocks(page.read_text(encoding="utf-8")):
            if block.language == "text":
                assert not re.search(r"^\s*(\$ |>>> |wattle )", block.body, re.MULTILINE), f"{page.name}:{block.line}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```console\n$ wattle --version\nwattle 99\n```\n", "the page shows"),
        ("```console\n$ wattle verify nothing-here\n```\n", "exit code"),
        ("```console\n$ wattle --version   # exits with 2\n```\n", "exit code 0"),
        ("```bash\ncurl example\n```\n", "only wattle"),
        ("```python\n>>> 1 + 1\n3\n```\n", "Expected"),
        ("```python\nnobody()\n```\n", "NameError"),
        ('```csv title="book.csv"\na,b\n```\n', "no example uses book.csv"),
        ("```csv\na,b\n```\n", "without a title"),
        ("```toml\n[tarif]\n```\n", "tarif"),
        ('```toml\n[[product]]\nmechanism = "dynamic-key"\nshare = 1\n```\n', "no parameter share"),
        ('```toml title="../x.toml"\n```\n', "cannot be written"),
        ("```yaml\na: 1\n```\n", "without a title"),
    ],
)
def test_a_bad_example_is_found(text, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        run_page.run(page)
    assert said in str(end.value)


def test_blocks_that_set_up_a_computer_are_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("```bash\ngit clone somewhere\n. .venv/bin/activate\nmake demo\n```\n", encoding="utf-8")
    run_page.run(page)
