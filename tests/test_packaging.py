"""What is shipped and pinned: versions, hashes, licences, a light import, documentation without dead ends."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import wattle

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIREMENTS = [ROOT / "requirements" / name for name in ("base.txt", "dev.txt")]
HEAVY = ("duckdb", "numba", "pandas", "polars", "pydantic", "rich", "scipy", "typer", "vl_convert")


# --- pinned requirements ---


def unpinned(text: str) -> list[str]:
    """Entries that are not `name==version ; marker` followed by hashes."""
    joined = re.sub(r"\\\n\s*", " ", text)
    entries = [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    shape = re.compile(r"[a-z0-9][a-z0-9.-]*==[0-9][0-9a-z.+!]*( ; [^\\#@]+?)?( +--hash=sha256:[0-9a-f]{64})+\s*")
    return [entry for entry in entries if not shape.fullmatch(entry)]


def addresses(text: str) -> list[str]:
    """Anything that names an index, a host or a place on a disk."""
    return re.findall(r".*(?:://|--[a-z-]*(?:index|links|host)|\.(?:org|com|net|io)\b|@ |(?<![\w.])/\w).*", text)


def names(text: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9.-]+)==", text, re.MULTILINE))


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_every_pin_has_a_hash_and_no_address(path):
    text = path.read_text(encoding="utf-8")
    assert len(names(text)) > 15
    assert unpinned(text) == []
    assert addresses(text) == []


@pytest.mark.parametrize(
    "bad",
    [
        "numpy==2.4.6",
        "numpy>=2 --hash=sha256:" + 64 * "0",
        "wattle @ file.whl",
        "-r other.txt",
        "numpy==2 --hash=md5:00",
    ],
)
def test_a_loose_pin_is_found(bad):
    assert unpinned(f"duckdb==2.0.0 ; python_version < '3.12' \\\n    --hash=sha256:{64 * 'a'}\n{bad}\n") == [bad]


@pytest.mark.parametrize(
    "bad",
    ["--extra-" + "index-url x", "# from https" + "://example", "x @ ./x.whl", "# via -r /srv/x.in", "# pypi" + ".org"],
)
def test_an_address_is_found(bad):
    assert addresses(f"numpy==2.4.6 \\\n    --hash=sha256:{64 * 'a'}\n    # via wattle (pyproject.toml)\n{bad}\n") == [
        bad
    ]


def test_everything_that_is_asked_for_is_pinned():
    def asked(entries: list[str]) -> set[str]:
        return {re.split(r"[^A-Za-z0-9.-]", entry)[0].lower() for entry in entries}

    base, dev = (names(path.read_text(encoding="utf-8")) for path in REQUIREMENTS)
    project = PYPROJECT["project"]
    assert asked(project["dependencies"]) | asked(PYPROJECT["build-system"]["requires"]) <= base
    assert base | asked(project["optional-dependencies"]["dev"]) <= dev


def test_base_and_dev_pin_the_same_versions():
    base, dev = (set(re.findall(r"^\S+==\S+", path.read_text(encoding="utf-8"), re.MULTILINE)) for path in REQUIREMENTS)
    assert base <= dev


# --- the tree ---


def tracked() -> list[Path]:
    """Files that are or would be committed; in an unpacked source archive, which has no history, all files."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    top = [path for path in ROOT.iterdir() if path.name not in (".venv", "site")]
    return [path for start in top for path in ([start] if start.is_file() else start.rglob("*")) if path.is_file()]


def machine_paths(text: str, here: str) -> list[str]:
    """Lines that name a folder of one machine."""
    somewhere = r"(?<![\w.:/])/(?:home|Users|root|work|farm)/[\w.-]+|\b[A-Z]:\\\\?Users\\"
    return [line for line in text.splitlines() if re.search(somewhere, line) or here in line]


def test_no_file_names_a_folder_of_one_machine():
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {line.strip()}" for line in machine_paths(text, str(ROOT))]
    assert found == []


def test_a_folder_of_one_machine_is_found():
    text = "\n".join(
        "/".join(parts) for parts in (("", "home", "ada", "x"), ("", "root", "x"), ("see https:", "", "a/home/b"))
    )
    assert machine_paths(text + "\n/srv/here/x", "/srv/here") == [*text.splitlines()[:2], "/srv/here/x"]


def test_no_file_is_large():
    assert [str(path) for path in tracked() if path.stat().st_size > 6_000_000] == []


# --- version, licence, command ---


def test_one_version_everywhere():
    headings = re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "src/wattle/version.py"
    assert wattle.__version__ == headings[0]


def test_the_licence_is_there_and_the_sample_data_is_named():
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    named = re.findall(r"src/wattle/\S+\.md", notice)
    assert named, "NOTICE points to the licence of the sample data"
    assert all((ROOT / path).is_file() for path in named)


def test_the_types_are_shipped():
    assert (Path(wattle.__file__).parent / "py.typed").is_file()


# --- a light import ---


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_wattle_imports_nothing_heavy():
    code = f"import sys, wattle; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    assert _python(code) == ""


def test_importing_wattle_is_quick():
    """Less than NumPy and half a second more, best of three: a guard against a slip, not a measurement."""
    code = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
    took = {name: min(float(_python(code.format(name))) for _ in range(3)) for name in ("numpy", "wattle")}
    assert took["wattle"] < took["numpy"] + 0.5


# --- documentation ---


def _nav(entries: list) -> list[str]:
    found = []
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            found += _nav(value) if isinstance(value, list) else [value]
    return found


def test_the_navigation_lists_what_exists():
    config = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(_nav(config["nav"])) == sorted(pages)
    assert config["theme"]["font"] is False, "web fonts would be fetched from elsewhere"


def _links(path: Path) -> list[str]:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"\]\(<?([^)\s>]+)[^)]*\)", text) + re.findall(r"<(?:img|a)[^>]+(?:src|href)=\"([^\"]+)\"", text)
    return [link.split("#")[0] for link in found if not re.match(r"[a-z]+:|#", link)]


def test_links_and_pictures_lead_to_files():
    pages = [path for path in tracked() if path.suffix == ".md" and "tests" not in path.relative_to(ROOT).parts]
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in _links(page)
        if not (page.parent / link).exists()
    ]
    assert len(pages) > 10
    assert broken == []
