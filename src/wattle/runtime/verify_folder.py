"""Check a settled folder: journal chain, meter files, statements, and the state that a replay ends in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wattle.core.checks import WattleError
from wattle.runtime.folder import JOURNAL, SEAL, hash_of, open_folder
from wattle.runtime.journal import Entry, SqliteJournal, broken_entry
from wattle.runtime.verify import Problem


def verify_settled(path: Path, progress: Callable[[str, int, int], None] | None = None) -> tuple[list[Problem], str]:
    """Return every problem of a settled folder and, if there is none, a sentence that says what was checked."""
    try:
        return _checked(path, progress)
    except (WattleError, ValueError, KeyError, TypeError, OSError) as problem:
        return [Problem(JOURNAL, 0, f"interval 0 and all later ones cannot be checked: {problem}")], ""


def _checked(path: Path, progress: Callable[[str, int, int], None] | None) -> tuple[list[Problem], str]:
    journal = SqliteJournal(path / JOURNAL)
    found: list[Problem] = []
    broken = broken_entry(journal)
    if broken is not None:
        entry, text = broken
        first, last = intervals_of(entry)
        return [Problem(JOURNAL, first, f"entry {entry.seq} ({entry.kind}, intervals {first} to {last}): {text}")], ""
    outputs: dict[str, str] = journal.noted("outputs")
    for name, sha256 in outputs.items():
        if hash_of(path / name) != sha256:
            found.append(Problem(name, None, f"was changed; it covers {_period(name)}"))
    if (path / SEAL).read_text(encoding="ascii", errors="replace") != hash_of(path / JOURNAL) + "\n":
        found.append(Problem(JOURNAL, 0, f"does not match {SEAL}; it covers interval 0 and all later ones"))
    state = journal.noted("state_hash")
    journal.close()
    folder, replayed = open_folder(path)
    if replayed is not None:
        replayed.close()
    if progress is not None:
        progress("replay", 1, 1)
    if folder.engine.state_hash() != state:
        found.append(Problem(JOURNAL, 0, "a replay of all events ends in another state"))
    if folder.engine.balance.sum(axis=1).any():
        found.append(Problem(JOURNAL, 0, "energy and money do not close"))
    summary = (
        f"{path}: {len(folder.rounds)} round(s), {folder.book.grid.count:,} intervals, {len(outputs)} statement files: "
        "journal, meter files and statements are as they were settled; energy and money close exactly"
    )
    return found, summary


def intervals_of(entry: Entry) -> tuple[int, int]:
    """Return the first and last interval that a journal entry is about."""
    try:
        payload: dict[str, Any] = json.loads(entry.payload)
    except json.JSONDecodeError:
        return 0, 0
    if "first" in payload:
        first = int(payload["first"])
        return first, int(payload.get("stop", first + 1)) - 1
    for table in ("readings", "orders"):
        if payload.get(table, {}).get("interval"):
            return min(payload[table]["interval"]), max(payload[table]["interval"])
    return 0, 0


def _period(name: str) -> str:
    parts = name.split("/")
    return parts[2].replace("_", " to ") if len(parts) > 3 else "a round of statements"
