"""The rules of the house, as tests: layers, purity, sizes, names, no dead modules.

Each check is a function from sources to findings. The first half of the file holds the checks, the second runs them on
the tree, and the third feeds each a bad source, because a check that cannot fail guards nothing.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"

PURE = ("core", "market", "assets", "grid", "ledger", "agents", "engine")
SHELL = ("scenario", "intake", "runtime", "service", "analysis", "testing", "cli")
EVERYTHING = {*PURE, *SHELL, "api", ""}
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "market": {"core"},
    "assets": {"core"},
    "grid": {"core"},
    "ledger": {"core"},
    "agents": {"core", "assets"},
    "engine": {"core", "ledger", "market.mechanism"},  # the interface, never a concrete rule
    "scenario": set(PURE),
    "intake": {"core"},
    "runtime": {*PURE, "scenario", "intake"},
    "service": {"core", "runtime"},
    "analysis": {*PURE, "scenario", "runtime"},
    "testing": {"core", "market", "engine"},
    "cli": EVERYTHING,
    "api": EVERYTHING,  # the functions that `import wattle` offers
    "": EVERYTHING,  # wattle/__init__.py, the public face
    "__main__": {"cli"},
    "version": set(),
}

PURE_PACKAGES = {"numpy", "numba"}
IMPURE = set(
    "asyncio atexit concurrent ctypes datetime fcntl getpass glob http importlib io locale logging mmap "
    "multiprocessing os pathlib pkgutil platform queue random sched secrets select selectors shutil signal socket "
    "sqlite3 ssl subprocess sys tempfile threading time urllib uuid warnings webbrowser zoneinfo".split()
)
IMPURE_CALLS = {"open", "print", "input", "breakpoint", "eval", "exec", "__import__"}
NUMPY_WITH_A_WORLD = {
    f"numpy.{name}"
    for name in "fromfile genfromtxt load loadtxt memmap save savetxt savez savez_compressed seterr seterrcall "
    "set_printoptions".split()
}
SEEDED = {"default_rng", "SeedSequence", "PCG64", "PCG64DXSM", "Philox", "SFC64", "MT19937"}  # only with a seed
CHANCE_HANDED_IN = {"Generator", "BitGenerator"}

LINES, FUNCTION_LINES = 400, 60
DRAWERS = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
FOR_TESTS = {"wattle.testing.strategies"}  # imported by tests only, ours and strangers', who have Hypothesis
REGISTERED_BY = {"market": "mechanism", "runtime": "reproduction"}  # layers that are scanned for this decorator
MODULE_OF = {"vl-convert-python": "vl_convert"}  # distributions whose module has another name


# --- what a check looks at ---


@dataclass(frozen=True)
class Source:
    """One module: its dotted name and its text."""

    module: str
    text: str
    package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def layer(self) -> str:
        return f"{self.module}.".split(".")[1]

    def imports(self, known: set[str]) -> Iterator[tuple[int, str]]:
        """Line and absolute name of all that is imported, anywhere in the file; a known module keeps its full name."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                origin = self._absolute(node)
                for alias in node.names:
                    full = f"{origin}.{alias.name}"
                    yield node.lineno, full if full in known else origin

    def names(self) -> Iterator[tuple[ast.expr, str]]:
        """All names and attribute chains with what they stand for: `np.random.rand` is `numpy.random.rand`."""
        stands_for: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.split(".")[0]
                    stands_for[alias.asname or first] = alias.name if alias.asname else first
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    stands_for[alias.asname or alias.name] = f"{self._absolute(node)}.{alias.name}"
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name | ast.Attribute) and (chain := _chain(node)):
                yield node, ".".join([stands_for.get(chain[0], chain[0]), *chain[1:]])

    def _absolute(self, node: ast.ImportFrom) -> str:
        parts = self.module.split(".")
        parts = parts[: len(parts) - node.level + self.package] if node.level else []
        return ".".join([*parts, node.module] if node.module else parts)


def _chain(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (head := _chain(node.value)):
        return [*head, node.attr]
    return []


# --- the checks ---


def wrong_arrows(sources: list[Source]) -> list[str]:
    """A layer imports only what stands in its row."""
    known = {source.module for source in sources}
    found = []
    for source in sources:
        if source.layer not in MAY_IMPORT:
            found.append(f"{source.module}: {source.layer!r} is no layer; give it a row in MAY_IMPORT and in the docs")
            continue
        rows = MAY_IMPORT[source.layer] | {source.layer, "version"}
        for line, target in dict.fromkeys(source.imports(known)):
            if target.split(".")[0] == "wattle" and not any(_within(target, row) for row in rows):
                found.append(f"{source.module}:{line}: {source.layer or 'wattle'} may not import {target}")
    return found


def _within(target: str, row: str) -> bool:
    return target == "wattle" if row == "" else f"{target}.".startswith(f"wattle.{row}.")


def impure(sources: list[Source]) -> list[str]:
    """The pure layers have no clock, disk, network, logging or chance of their own."""
    found = []
    for source in (source for source in sources if source.layer in PURE):
        where, call_of = source.module, _calls(source.tree)
        for line, target in dict.fromkeys(source.imports(set())):
            top = target.split(".")[0]
            if top in IMPURE:
                found.append(f"{where}:{line}: {source.layer} is pure; it imports {top}")
            elif top != "wattle" and top not in PURE_PACKAGES and top not in sys.stdlib_module_names:
                found.append(f"{where}:{line}: {source.layer} may use NumPy and Numba only; it imports {top}")
        for node, name in source.names():
            call = call_of.get(node)
            if (call and name in IMPURE_CALLS) or name in NUMPY_WITH_A_WORLD:
                found.append(f"{where}:{node.lineno}: {source.layer} is pure; it uses {name}")
            elif _unseeded(name, call):
                found.append(f"{where}:{node.lineno}: {name} without a seed; chance comes from a generator handed in")
    return found


def _calls(tree: ast.Module) -> dict[ast.expr, ast.Call]:
    return {node.func: node for node in ast.walk(tree) if isinstance(node, ast.Call)}


def _unseeded(name: str, call: ast.Call | None) -> bool:
    if not name.startswith("numpy.random.") or name.count(".") > 2:
        return False
    kind = name.split(".")[2]
    if kind in CHANCE_HANDED_IN or (kind in SEEDED - {"default_rng"} and call is None):
        return False  # a type in an annotation
    if kind not in SEEDED or call is None:
        return True
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return all(isinstance(value, ast.Constant) and value.value is None for value in given)


def too_long(sources: list[Source]) -> list[str]:
    """Files and functions stay small enough to be read in one go."""
    found = []
    for source in sources:
        lines = len(source.text.splitlines())
        if lines > LINES:
            found.append(f"{source.module}: {lines} lines, at most {LINES}")
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    place = f"{source.module}:{node.lineno}"
                    found.append(f"{place}: {node.name} has {lines} lines, at most {FUNCTION_LINES}")
    return found


def drawers(sources: list[Source]) -> list[str]:
    """A module is named after what it holds."""
    return [
        f"{source.module}: {part!r} says nothing; name what it holds"
        for source in sources
        for part in source.module.split(".")
        if part in DRAWERS
    ]


def without_init(sources: list[Source]) -> list[str]:
    """Each folder with modules is a package."""
    packages = {source.module for source in sources if source.package}
    parents = {source.module.rpartition(".")[0] for source in sources} - {""}
    return [f"{parent}: __init__.py is missing" for parent in sorted(parents - packages)]


def undeclared(sources: list[Source], dependencies: Iterable[str]) -> list[str]:
    """What the package imports stands in the dependencies of pyproject.toml."""
    names = (re.split(r"[^A-Za-z0-9._-]", entry)[0] for entry in dependencies)
    sources = [source for source in sources if source.module not in FOR_TESTS]
    allowed = {MODULE_OF.get(name, name.replace("-", "_")) for name in names} | {"wattle"} | sys.stdlib_module_names
    return [
        f"{source.module}:{line}: {target.split('.')[0]} is no dependency of the base installation"
        for source in sources
        for line, target in dict.fromkeys(source.imports(set()))
        if target.split(".")[0] not in allowed
    ]


def dead(sources: list[Source], entries: Iterable[str]) -> list[str]:
    """Each module is reached from an entry point; a rule that registers itself is reached by the scan of its folder."""
    by_name = {source.module: source for source in sources}
    todo = [*entries, *(source.module for source in sources if _registers(source))]
    alive: set[str] = set()
    while todo:
        name = todo.pop()
        if name in alive or name not in by_name:
            continue
        alive.add(name)
        todo.append(name.rpartition(".")[0])
        todo.extend(target for _, target in by_name[name].imports(set(by_name)))
        todo.extend(  # "wattle.runtime.try:run" as a text: imported later, by name
            node.value.split(":")[0]
            for node in ast.walk(by_name[name].tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
    return [f"{module}: nothing imports it" for module in sorted(set(by_name) - alive)]


def _registers(source: Source) -> bool:
    decorator = REGISTERED_BY.get(source.layer)
    return decorator is not None and any(
        isinstance(mark, ast.Call) and _chain(mark.func)[-1:] == [decorator]
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        for mark in node.decorator_list
    )


# --- on the tree ---


def _read(top: Path, *folders: str) -> list[Source]:
    found = []
    for path in sorted(path for folder in folders for path in (top / folder).rglob("*.py")):
        parts = path.relative_to(top).with_suffix("").parts
        package = parts[-1] == "__init__"
        found.append(Source(".".join(parts[:-1] if package else parts), path.read_text(encoding="utf-8"), package))
    return found


PACKAGE = _read(SRC, "wattle")
OTHERS = _read(ROOT, "tools", "benchmarks")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENTRIES = ["wattle", "wattle.__main__", *FOR_TESTS, *(target.split(":")[0] for target in PROJECT["scripts"].values())]


CHECKS = {
    "wrong arrow": lambda: wrong_arrows(PACKAGE),
    "impurity": lambda: impure(PACKAGE),
    "long file or function": lambda: too_long(PACKAGE + OTHERS),
    "drawer": lambda: drawers(PACKAGE + OTHERS),
    "folder without __init__.py": lambda: without_init(PACKAGE),
    "undeclared import": lambda: undeclared(PACKAGE, PROJECT["dependencies"]),
    "dead module": lambda: dead(PACKAGE, ENTRIES),
}


@pytest.mark.parametrize("kind", CHECKS)
def test_the_tree_has_no(kind):
    if findings := CHECKS[kind]():
        pytest.fail("\n".join(findings), pytrace=False)


def test_the_documented_layers_are_the_checked_ones():
    page = (ROOT / "docs/concepts/architecture.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == PURE + SHELL


# --- can each check fail? ---


def _one(module: str, text: str) -> list[Source]:
    return [Source(module, text), Source("wattle.market.mechanism", ""), Source("wattle.market.keys", "")]


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("wattle.core.units", "import wattle.market.keys"),
        ("wattle.core.units", "from wattle import market"),
        ("wattle.core.units", "from wattle import clear"),
        ("wattle.core.units", "def f():\n    from wattle.cli import main"),
        ("wattle.core.units", "from ..market import keys"),
        ("wattle.market.pools", "from wattle.ledger.settle import settle"),
        ("wattle.engine.engine", "from wattle.market.keys import FixedKey"),
        ("wattle.engine.engine", "from wattle.market import keys"),
        ("wattle.engine.engine", "import wattle.market"),
        ("wattle.analysis.metrics", "from wattle.cli import main"),
        ("wattle.intake.meters", "import wattle.scenario"),
        ("wattle.runtime.simulate", "from wattle.analysis import metrics"),
        ("wattle.attic.thing", ""),
    ],
)
def test_a_wrong_arrow_is_found(module, text):
    assert [finding.split(":")[0] for finding in wrong_arrows(_one(module, text))] == [module]


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("wattle.core.units", "import numpy\nfrom wattle.core.checks import ensure\nfrom . import columns"),
        ("wattle.engine.engine", "from wattle.market.mechanism import Mechanism\nfrom wattle.market import mechanism"),
        ("wattle.runtime.journal", "from wattle.version import __version__\nfrom wattle.intake import meters"),
        ("wattle.cli.app", "import wattle\nfrom wattle.market.keys import FixedKey"),
    ],
)
def test_a_right_arrow_is_not_found(module, text):
    assert wrong_arrows(_one(module, text)) == []


@pytest.mark.parametrize(
    "text",
    [
        *(f"import {name}" for name in ("time", "os.path", "logging", "random", "sqlite3 as store")),
        *(f"from {name} import x" for name in ("datetime", "pathlib", "concurrent.futures", "pandas", "rich.table")),
        *(f"def f(x):\n    return {name}(x)" for name in ("open", "print", "input", "eval")),
        "import numpy as np\nx = np.random.rand(3)",
        "import numpy\nx = numpy.random.default_rng()",
        "from numpy import random\nrandom.seed(7)",
        "from numpy.random import default_rng as rng\nx = rng(None)",
        "import numpy as np\nx = np.random.default_rng(seed=None)",
        "import numpy as np\nmaker = np.random.default_rng",
        "import numpy as np\nx = np.random.SeedSequence()",
        "import numpy as np\nx = np.load('x.npy')",
        "import numpy as np\nnp.seterr(all='ignore')",
    ],
)
def test_impurity_is_found(text):
    assert len(impure([Source("wattle.market.pools", text)])) == 1
    assert impure([Source("wattle.runtime.simulate", text)]) == []


def test_pure_code_is_not_found():
    text = (
        "import numpy as np\nfrom fractions import Fraction\nimport numba\n"
        "def draw(rng: np.random.Generator, seed: np.random.SeedSequence):\n"
        "    return np.random.default_rng(7), np.random.default_rng(seed), rng.integers(3), seed.spawn(2)\n"
        "def opened(book):\n    return book.open, book.print()\n"
    )
    assert impure([Source("wattle.core.units", text)]) == []


def test_what_is_too_long_is_found():
    long_file = Source("wattle.core.a", "x = 1\n" * (LINES + 1))
    long_function = Source("wattle.core.b", "class A:\n    def f(self):\n" + "        x = 1\n" * FUNCTION_LINES)
    just_fits = Source("wattle.core.c", "async def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1))
    assert [finding.split(":")[0] for finding in too_long([long_file, long_function, just_fits])] == [
        "wattle.core.a",
        "wattle.core.b",
    ]


def test_a_drawer_is_found():
    bad = [Source("wattle.core.utils", ""), Source("wattle.helpers.x", "")]
    assert len(drawers([*bad, Source("wattle.core.units", "")])) == 2


def test_a_folder_without_init_is_found():
    sources = [Source("wattle", "", package=True), Source("wattle.core.units", "")]
    assert without_init(sources) == ["wattle.core: __init__.py is missing"]


def test_an_undeclared_import_is_found():
    source = Source("wattle.runtime.store", "import duckdb\nimport vl_convert\nimport json\nimport pandas as pd")
    found = undeclared([source], ["duckdb>=1.1", "vl-convert-python>=1.7"])
    assert found == ["wattle.runtime.store:4: pandas is no dependency of the base installation"]


def test_a_dead_module_is_found():
    sources = [
        Source("wattle", 'LATER = {"clear": "wattle.runtime.clear:clear"}', package=True),
        Source("wattle.runtime.clear", "from wattle.core import units"),
        Source("wattle.core", "", package=True),
        Source("wattle.core.units", ""),
        Source("wattle.market.keys", "@mechanism('key')\nclass Key: ..."),
        Source("wattle.runtime.reproduce_it", "@reproduction('it')\ndef it(seed): ..."),
        Source("wattle.market.idle", "from wattle.market import other"),
        Source("wattle.market.other", "from wattle.market import idle"),
    ]
    found = dead(sources, ["wattle"])
    assert [finding.split(":")[0] for finding in found] == ["wattle.market.idle", "wattle.market.other"]
