"""Named plug-ins. A built-in registers exactly like a stranger's file or package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from wattle.core.checks import InputError, ensure


@dataclass(frozen=True)
class Entry:
    """A registered plug-in: name, the frozen dataclass behind it, claims, source, when it runs, how it reads bids."""

    name: str
    cls: type
    claims: frozenset[str] = frozenset()
    source: str = ""
    when: str = ""
    bids: str = ""

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (self.cls.__doc__ or "").strip().split("\n")[0]

    @property
    def parameters(self) -> dict[str, Any]:
        """Fields with their defaults; a field without a default maps to `...`."""
        found: dict[str, Any] = {}
        for item in fields(self.cls):
            if item.default is not MISSING:
                found[item.name] = item.default
            elif item.default_factory is not MISSING:
                found[item.name] = item.default_factory()
            else:
                found[item.name] = ...
        return found

    def build(self, parameters: dict[str, Any] | None = None) -> Any:
        """Make an instance; an unknown parameter is refused with the nearest valid name."""
        given = parameters or {}
        for key in given:
            if key not in self.parameters:
                raise InputError(f"{self.name} has no parameter {key!r}; {nearest(key, self.parameters)}")
        return self.cls(**given)


@dataclass
class Registry:
    """Plug-ins of one kind by name."""

    kind: str
    _entries: dict[str, Entry] = field(default_factory=dict)

    def register(self, name: str, **facts: Any) -> Callable[[type], type]:
        """Return a class decorator that files the class under `name`."""

        def file(cls: type) -> type:
            ensure(is_dataclass(cls), f"{self.kind} {name}: register a frozen dataclass")
            known = self._entries.get(name)
            # A module that is loaded twice (once by path, once by name) files the same class again.
            ensure(
                known is None or known.cls.__qualname__ == cls.__qualname__,
                f"two different classes want to be {self.kind} {name!r}",
            )
            # A dataclass without a docstring gets its signature as one.
            described = (cls.__doc__ or "").strip()
            ensure(
                described and not described.startswith(f"{cls.__name__}("),
                f"{self.kind} {name}: the docstring is missing",
            )
            self._entries[name] = Entry(name, cls, **facts)
            return cls

        return file

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            raise InputError(f"no {self.kind} is called {name!r}; {nearest(name, self._entries)}")
        return self._entries[name]

    def __iter__(self) -> Iterator[Entry]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._entries)


def nearest(word: str, known: Any) -> str:
    """Return a helpful ending for an error: the nearest known word, or all of them."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known)) or 'none'}"
