"""Run every example of one page, in order, in the current folder: `python run_page.py PAGE.md`.

What a fenced block must be called, and what is done with it:

- `bash`: each line is a command. `console`: lines after `$ ` are commands, the lines below them their output, which is
  compared (`...` stands for anything, blanks count once). Commands are `wattle ...` and, to show and tidy files, `cat`
  and `rm`. Exit code 0 is expected, unless the line ends with `# exits with N`.
- A block of which every command is `make`, `git` or the start of an environment sets up a computer; it is not run.
- `python`: with `>>>` a doctest, else it is executed. All blocks of a page share their names.
- `toml`, `csv`, `json` and `python` with `title="name"` are written to that file, which a later block must use. Other
  `toml` must be a scenario or a part of one; other `csv` and `json` is refused.
- `text` is a drawing or a formula. Other languages are refused.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SETUP = ("make", "git", ". .venv/bin/activate")
FENCE = re.compile(r"^```(?P<language>\w*)(?P<facts>[^\n`]*)\n(?P<body>.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
LOOSE = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS

BASE: dict[str, Any] = {
    "title": "a part",
    "tariff": {"retail_per_kwh": "0.30", "feed_in_per_kwh": "0.08"},
    "members": {"source": "files"},
    "meters": {"timezone": "Europe/Vienna", "stamp": "start"},
}


class ExampleError(Exception):
    """An example does not do what the page says."""


@dataclass(frozen=True)
class Block:
    """A fenced block and the line of the page on which it begins."""

    line: int
    language: str
    title: str
    body: str

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Return each command with the output that is shown for it."""
        body = self.body.replace("\\\n", " ")
        if self.language == "bash":
            return [(line.strip(), "") for line in body.splitlines() if line.strip() and not line.startswith("#")]
        parts = re.split(r"^\$ ", body, flags=re.MULTILINE)
        if parts[0].strip():
            raise ExampleError("a console block begins with `$ `")
        return [(first, rest) for first, _, rest in (part.partition("\n") for part in parts[1:])]

    @property
    def is_setup(self) -> bool:
        """Tell whether the block sets up a computer and is therefore not run."""
        return all(f"{command} ".startswith(tuple(f"{word} " for word in SETUP)) for command, _ in self.commands)


def blocks(text: str) -> list[Block]:
    """Return all fenced blocks of a page."""
    found = []
    for match in FENCE.finditer(text):
        title = re.search(r'title="([^"]+)"', match["facts"])
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(line, match["language"], title[1] if title else "", match["body"]))
    return found


@dataclass
class Page:
    """A page that is being run: names of its Python blocks, and files that nothing has used yet."""

    names: dict[str, Any] = field(default_factory=dict)
    unused: set[str] = field(default_factory=set)

    def run(self, block: Block) -> None:
        """Do with a block what its language and title say."""
        if block.title:
            self._write(block)
        elif block.language in ("bash", "console"):
            if not block.is_setup:
                for command, shown in block.commands:
                    self._command(command, shown)
        elif block.language == "python":
            self._python(block)
        elif block.language == "toml":
            part_of_scenario(block.body)
        elif block.language != "text":
            raise ExampleError(f"a block of {block.language or 'no language'} without a title cannot be tested")

    def _write(self, block: Block) -> None:
        path = Path(block.title)
        if path.is_absolute() or ".." in path.parts or block.language not in ("toml", "csv", "json", "python"):
            raise ExampleError(f"{block.title} cannot be written from a block of {block.language}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.body, encoding="utf-8")
        if path.name == "pyproject.toml":
            publishes_rules(block.body)
        else:
            self.unused.add(block.title)

    def _used(self, text: str) -> None:
        self.unused = {
            name for name in self.unused if not {name, name.split("/")[0]} & set(re.findall(r"[\w./-]+", text))
        }

    def _command(self, line: str, shown: str) -> None:
        self._used(line)
        wanted = re.search(r"#\s+exits with (\d+)", line)
        program, *arguments = shlex.split(line, comments=True)
        if program not in PROGRAMS:
            raise ExampleError(f"{line}: only {', '.join(PROGRAMS)} are run here")
        output, code = PROGRAMS[program](arguments)
        if code != (int(wanted[1]) if wanted else 0):
            raise ExampleError(f"{line}: exit code {code}\n{output}")
        if shown.strip() and not doctest.OutputChecker().check_output(shown.strip(), output.strip(), LOOSE):
            raise ExampleError(f"{line}: the page shows\n\n{shown}\nbut the command prints\n\n{output}")

    def _python(self, block: Block) -> None:
        self._used(block.body)
        if ">>> " not in block.body:
            exec(compile(block.body, f"line {block.line}", "exec"), self.names)
            return
        test = doctest.DocTestParser().get_doctest(block.body, self.names, "example", None, block.line)
        report: list[str] = []
        doctest.DocTestRunner(verbose=False, optionflags=LOOSE).run(test, out=report.append, clear_globs=False)
        self.names = test.globs
        if report:
            raise ExampleError("".join(report))


def wattle(arguments: list[str]) -> tuple[str, int]:
    """Run the command line in this process; return everything that it prints, and its exit code."""
    from wattle.cli import main

    output, code, before = io.StringIO(), 0, sys.argv
    sys.argv = ["wattle", *arguments]
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
    return output.getvalue(), code


def cat(arguments: list[str]) -> tuple[str, int]:
    """Return what stands in files."""
    return "".join(Path(name).read_text(encoding="utf-8") for name in arguments), 0


def rm(arguments: list[str]) -> tuple[str, int]:
    """Delete files of the examples' own folder."""
    for name in arguments:
        Path(name).unlink()
    return "", 0


PROGRAMS: dict[str, Callable[[list[str]], tuple[str, int]]] = {"wattle": wattle, "cat": cat, "rm": rm}


def part_of_scenario(text: str) -> None:
    """Check a scenario or a part of one: its keys and values, and the parameters of its rules."""
    from wattle.market.mechanism import MECHANISMS
    from wattle.scenario.plugins import load_mechanisms, setting_keys
    from wattle.scenario.schema import Scenario

    part = tomllib.loads(text)
    for key, value in part.items():
        if key in BASE and isinstance(value, dict):
            part[key] = {**BASE[key], **value}
    scenario = Scenario.model_validate({**BASE, **part})
    load_mechanisms()
    for product in scenario.product:
        unknown = set(product.parameters()) - set(setting_keys(MECHANISMS[product.mechanism]))
        if unknown:
            raise ExampleError(f"{product.mechanism} has no parameter {', '.join(unknown)}")


def publishes_rules(text: str) -> None:
    """Check that a package file publishes rules where wattle looks for them."""
    from wattle.scenario.plugins import GROUP

    if GROUP not in tomllib.loads(text)["project"]["entry-points"]:
        raise ExampleError(f"rules are published under {GROUP}")


def run(path: Path) -> None:
    """Run a page; the first example that fails ends it."""
    page = Page()
    for block in blocks(path.read_text(encoding="utf-8")):
        try:
            page.run(block)
        except Exception as problem:
            kind = "" if isinstance(problem, ExampleError) else f"{type(problem).__name__}: "
            raise SystemExit(f"{path.name}, line {block.line}: {kind}{problem}") from problem
    if page.unused:
        raise SystemExit(f"{path.name}: no example uses {', '.join(sorted(page.unused))}")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
