"""Published experiments that anybody can run again: paper and own result side by side.

A reproduction is a function from a seed to rows, registered under a name. `wattle reproduce NAME` prints it. Each
stands in a module of its own, `reproduce_<subject>.py`; the folder is scanned, so there is no list to edit.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from wattle.core.checks import InputError, ensure
from wattle.core.registry import nearest

PREFIX = "reproduce_"
"""How the names of modules with reproductions begin."""


@dataclass(frozen=True)
class Row:
    """One number of a paper and ours; `bar` says in words what ours must reach, `passed` whether it does."""

    what: str
    paper: str
    own: str
    bar: str
    passed: bool


Run = Callable[[int], list[Row]]


@dataclass(frozen=True)
class Reproduction:
    """A published experiment by name. `summary` and `remark` are the two parts of the docstring."""

    name: str
    source: str
    run: Run

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (self.run.__doc__ or "").strip().partition("\n")[0]

    @property
    def remark(self) -> str:
        """The rest of the docstring: what differs from the paper."""
        return " ".join((self.run.__doc__ or "").strip().partition("\n")[2].split())


REPRODUCTIONS: dict[str, Reproduction] = {}


def reproduction(name: str, *, source: str) -> Callable[[Run], Run]:
    """Return a decorator that registers a function from a seed to rows."""

    def file(run: Run) -> Run:
        ensure(name not in REPRODUCTIONS, f"two reproductions are called {name!r}")
        ensure(run.__doc__, f"reproduction {name}: the docstring is missing")
        REPRODUCTIONS[name] = Reproduction(name, source, run)
        return run

    return file


def reproductions() -> list[Reproduction]:
    """Return all reproductions, sorted by name."""
    _scan()
    return [REPRODUCTIONS[name] for name in sorted(REPRODUCTIONS)]


def find_reproduction(name: str) -> Reproduction:
    """Return a reproduction by name."""
    _scan()
    if name not in REPRODUCTIONS:
        raise InputError(f"no reproduction is called {name!r}; {nearest(name, REPRODUCTIONS)}")
    return REPRODUCTIONS[name]


def _scan() -> None:
    """Import the modules that hold reproductions; what was imported before is not imported again."""
    # Only now: they import this module themselves.
    import wattle.runtime

    for module in pkgutil.iter_modules(wattle.runtime.__path__):
        if module.name.startswith(PREFIX):
            importlib.import_module(f"wattle.runtime.{module.name}")
