"""The journal: every event of a market in order, each entry chained to all before it by SHA-256. It is the truth.

One market is one SQLite file. The payload of an entry is compact JSON that a person can read. Recovery and normal
start are the same path: replay.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from wattle.core.checks import InputError
from wattle.engine.events import EVENTS, Event, event_from

START = hashlib.sha256(b"wattle journal").hexdigest()

_TABLES = """
CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY, at_s INTEGER NOT NULL, kind TEXT NOT NULL, version INTEGER NOT NULL,
    payload TEXT NOT NULL, hash TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS note (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Entry:
    """One event as it stands in the journal."""

    seq: int
    at_s: int
    kind: str
    version: int
    payload: str
    hash: str

    def event(self) -> Event:
        """Build the event; an unknown kind or version is refused."""
        if self.kind not in EVENTS or EVENTS[self.kind].version != self.version:
            raise InputError(f"journal entry {self.seq} is a {self.kind} of version {self.version}, which is not known")
        return event_from(self.kind, json.loads(self.payload))


def chained(before: str, seq: int, kind: str, version: int, payload: str) -> str:
    """Return the hash of an entry from the hash of the entry before and its own content."""
    return hashlib.sha256(f"{before}\n{seq}\n{kind}\n{version}\n{payload}".encode()).hexdigest()


class Journal(Protocol):
    """Append-only list of events."""

    def append(self, event: Event) -> Entry:
        """Add an event and return its entry."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Yield all entries in order."""
        ...


class MemoryJournal:
    """A journal that lives as long as the program."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def append(self, event: Event) -> Entry:
        """Add an event and return its entry."""
        before = self._entries[-1].hash if self._entries else START
        entry = _entry(len(self._entries), before, event)
        self._entries.append(entry)
        return entry

    def entries(self) -> Iterator[Entry]:
        """Yield all entries in order."""
        yield from self._entries


class SqliteJournal:
    """A journal in one SQLite file; entries are written for good by `commit`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = sqlite3.connect(path)
        try:
            self._connection.executescript(_TABLES)
            last = self._connection.execute("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1").fetchone()
        except sqlite3.DatabaseError as problem:
            self._connection.close()
            raise InputError(f"{path} is not a readable journal: {problem}") from None
        self._seq: int = last[0] + 1 if last else 0
        self._head: str = last[1] if last else START

    def append(self, event: Event) -> Entry:
        """Add an event and return its entry; it is durable after `commit`."""
        entry = _entry(self._seq, self._head, event)
        self._connection.execute(
            "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)",
            (entry.seq, entry.at_s, entry.kind, entry.version, entry.payload, entry.hash),
        )
        self._seq, self._head = entry.seq + 1, entry.hash
        return entry

    def entries(self) -> Iterator[Entry]:
        """Yield all entries in order."""
        try:
            for row in self._connection.execute("SELECT * FROM event ORDER BY seq"):
                yield Entry(*row)
        except sqlite3.DatabaseError as problem:
            raise InputError(f"{self.path} is damaged: {problem}") from None

    def note(self, key: str, value: Any) -> None:
        """Keep a fact about the market beside its events."""
        self._connection.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (key, json.dumps(value)))

    def noted(self, key: str) -> Any:
        """Return a noted fact, or None."""
        row = self._connection.execute("SELECT value FROM note WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def commit(self) -> None:
        """Make all entries durable at once."""
        self._connection.commit()

    def close(self) -> None:
        """Close the file; what was not committed is gone."""
        self._connection.close()


def broken_entry(journal: Journal) -> tuple[Entry, str] | None:
    """Return the first entry that does not fit the chain, and why; None if the chain holds."""
    before = START
    for number, entry in enumerate(journal.entries()):
        if entry.seq != number:
            return entry, f"entry {number} is missing"
        if chained(before, entry.seq, entry.kind, entry.version, entry.payload) != entry.hash:
            return entry, "its content does not match its hash"
        if json.loads(entry.payload).get("at_s") != entry.at_s:
            return entry, "its time does not match its content"
        before = entry.hash
    return None


def _entry(seq: int, before: str, event: Event) -> Entry:
    kind, version = type(event).__name__, event.version
    payload = json.dumps(event.payload(), separators=(",", ":"))
    return Entry(seq, event.at_s, kind, version, payload, chained(before, seq, kind, version, payload))
