"""What is wrong with a file from outside, and where: one finding, one clear message.

Nothing is repaired and nothing is filled in, so the message is all the help a person gets: it names file, row,
column and value, says what was expected, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from wattle.core import checks

FINDINGS_MAX = 50
"""So many findings are written out; the others are only counted."""

VALUE_SHOWN = 80
"""So many characters of a value are shown in a message."""

CODES: dict[str, str] = {
    "settings": "a meter setting is wrong",
    "no-files": "no meter file was given",
    "no-meters": "no meter is known, so no reading can be placed",
    "file-missing": "the file is not there",
    "file-unreadable": "the file cannot be opened",
    "file-empty": "the file has no content, or a header and no rows",
    "file-binary": "the file is not a text file",
    "file-encoding": "the characters are neither UTF-8 nor Windows-1252",
    "file-repeated": "two files have the same content",
    "file-too-large": "the file is larger than the limit",
    "quotes": "a quoted cell is not closed, or text follows its end",
    "header-missing": "the first row holds data, not column names",
    "separator-unknown": "the file does not tell which character separates its cells",
    "decimal-unknown": "the file does not tell its decimal mark",
    "unit-unknown": "neither header nor settings say the unit",
    "unit-conflict": "header and settings name different units",
    "stamp-conflict": "header and settings disagree whether a time is the start or the end of its interval",
    "column-unknown": "a column has a name that is not known here",
    "column-missing": "a needed column is not there",
    "column-repeated": "two columns have the same name, or the same meter",
    "column-empty": "a column has no name",
    "row-length": "a row has more or fewer cells than the header",
    "row-empty": "an empty row stands between rows of data",
    "timestamp": "the text is not a time",
    "timestamp-format": "times are written in more than one way",
    "date-order": "day and month cannot be told apart",
    "time-skipped": "this local time does not exist: the clock was put forward",
    "time-repeated": "this local time exists twice, and the rows do not tell which one is meant",
    "off-grid": "the time is not a whole number of intervals after midnight",
    "wrong-step": "the file has another interval length than the settings",
    "outside-period": "the reading lies outside the period",
    "value-empty": "a cell that must hold a value is empty",
    "value-not-finite": "the value is not a finite number",
    "value-not-number": "the text is not a number",
    "value-separators": "the number holds a mark that is not the decimal mark",
    "value-negative": "the value must not be negative",
    "value-not-whole": "the value is not a whole number of lots",
    "value-too-large": "the value is beyond what one interval can hold",
    "meter-unknown": "no member has this meter",
    "meter-without-data": "no file has a reading of this meter",
    "direction-unknown": "the direction is not a known word",
    "direction-conflict": "the direction does not fit the meter",
    "status-unknown": "the status is not a known word",
    "duplicate": "the same meter and interval is there twice",
    "gap": "readings are missing in the middle",
    "span": "a meter starts later or ends earlier than the period",
    "member-repeated": "two rows name the same member",
    "meter-repeated": "two places name the same meter",
    "meter-missing": "a member has no meter",
    "meter-conflict": "a member has a two-way meter beside a one-way meter",
    "place-missing": "a member has no place although others have one",
    "source-unknown": "the source of a member's energy is not a known word",
}
"""Every code that a finding may carry, with its meaning."""

VALUE_CODES = frozenset(code for code in CODES if code.startswith("value-"))
"""Findings about one value; the reading itself is there, so gaps and duplicates can still be told."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    `row` is the line in the file, counted from 1 (None: the whole file). `column` is the name in the header, or the
    key for a setting. `value` is the text as found. `message` says what is wrong and what to do.
    """

    code: str
    message: str
    file: str = ""
    row: int | None = None
    column: str = ""
    value: str = ""
    expected: str = ""

    def __str__(self) -> str:
        parts = [self.file] if self.file else []
        parts += [f"row {self.row}"] if self.row is not None else []
        parts += [f"column {self.column!r}"] if self.column and self.file else []
        parts += [f"setting {self.column}"] if self.column and not self.file else []
        place = ", ".join(parts)
        value = self.value if len(self.value) <= VALUE_SHOWN else self.value[:VALUE_SHOWN] + " ..."
        facts = [f"found {value!r}"] if value else []
        facts += [f"expected {self.expected}"] if self.expected else []
        tail = f" ({', '.join(facts)})" if facts else ""
        return f"{place}: {self.message}{tail}" if place else f"{self.message}{tail}"


class InputError(checks.InputError, ValueError):
    """Input that cannot be used, with everything that is wrong in it. Nothing was changed because of it."""

    def __init__(self, findings: Sequence[Finding], more: int = 0) -> None:
        self.findings = tuple(findings)
        self.more = more
        lines = [str(finding) for finding in self.findings]
        if more:
            lines.append(f"and {more:,} more")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Finding, ...], int]]:
        return type(self), (self.findings, self.more)


@dataclass
class Findings:
    """Collect what is wrong, up to a limit; count the rest."""

    limit: int = FINDINGS_MAX
    items: list[Finding] = field(default_factory=list)
    more: int = 0
    structural: bool = False
    """Whether something other than a single value is wrong, so that looking for gaps would only repeat it."""

    def add(self, code: str, message: str, **facts: object) -> None:
        """Add one finding; `facts` are the other fields of `Finding`."""
        self.structural = self.structural or code not in VALUE_CODES
        if self.full:
            self.more += 1
            return
        checks.ensure(code in CODES, f"finding code {code!r} is not in CODES")
        self.items.append(Finding(code, message, **facts))  # type: ignore[arg-type]

    @property
    def full(self) -> bool:
        """Whether further findings are only counted, so that there is no need to word them well."""
        return len(self.items) >= self.limit

    def room(self, code: str, wanted: int) -> int:
        """Return how many of `wanted` findings can be written out; the others are counted at once."""
        self.structural = self.structural or (wanted > 0 and code not in VALUE_CODES)
        free = min(wanted, max(self.limit - len(self.items), 0))
        self.more += wanted - free
        return free

    def __len__(self) -> int:
        return len(self.items) + self.more

    def raise_if_any(self) -> None:
        """Raise `InputError` if anything was found."""
        if len(self):
            raise InputError(self.items, self.more)


def suggest(word: str, known: Iterable[str]) -> str:
    """Return what a person may have meant by `word`: the nearest known word, or some of the known ones.

    >>> suggest("AT0O1", ["AT001", "BE77"])
    'AT001'
    """
    words = list(dict.fromkeys(known))
    folded = {candidate.casefold(): candidate for candidate in reversed(words)}
    close = get_close_matches(word.casefold(), folded, n=1, cutoff=0.5)
    if close:
        return folded[close[0]]
    some = ", ".join(words[:5])
    return f"one of {some}{' ...' if len(words) > 5 else ''}" if words else "nothing: the list is empty"
