"""Local time as written in a file to the UTC second at which the interval starts.

A text without an offset is the wall clock of the named zone. When the clock is put back, such a text has two
meanings: both are kept, and the order of the rows must decide between them. When it is put forward, some texts have
no meaning and are refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from wattle.intake.settings import DAY_S, MeterSettings

I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

YEARS = (1970, 2200)
FORMS = "YYYY-MM-DD HH:MM, DD.MM.YYYY HH:MM or DD/MM/YYYY HH:MM"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DATES = {
    "YYYY-MM-DD": re.compile(r"(?P<y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})"),
    "DD.MM.YYYY": re.compile(r"(?P<d>[0-9]{1,2})\.(?P<m>[0-9]{1,2})\.(?P<y>[0-9]{4})"),
    "DD/MM/YYYY": re.compile(r"(?P<d>[0-9]{1,2})/(?P<m>[0-9]{1,2})/(?P<y>[0-9]{4})"),
}
_TIME = re.compile(
    r"(?P<h>[0-9]{1,2}):(?P<m>[0-9]{2})(?::(?P<s>[0-9]{2})(?:[.,]0+)?)? ?(?P<zone>Z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)


@dataclass(frozen=True)
class Problem:
    """Why the text number `index` is not a time."""

    index: int
    code: str
    message: str
    expected: str


@dataclass(frozen=True, eq=False)
class Stamps:
    """The distinct times of a file [K] as start of their interval, UTC seconds.

    `early` and `late` differ where the wall clock shows the time twice. `ok` is false where `problems` says why.
    `off_grid` marks times that are not a whole number of intervals after local midnight.
    """

    early: I64
    late: I64
    ok: Mask
    off_grid: Mask
    problems: tuple[Problem, ...] = ()
    date_order: str = ""


@dataclass
class _Parsed:
    """Distinct texts taken apart: wall clock and offset in seconds."""

    wall: I64
    offset: I64
    has_offset: Mask
    ok: Mask
    midnight_24: Mask
    problems: list[Problem] = field(default_factory=list)


def read_stamps(texts: Sequence[str], settings: MeterSettings) -> Stamps:
    """Read the distinct times `texts` [K] of one file."""
    order, problem = _date_order(texts, settings)
    if problem is not None:
        nothing = np.zeros(len(texts), np.int64)
        never = np.zeros(len(texts), np.bool_)
        return Stamps(nothing, nothing, never, never, (problem,))
    parsed = _parse(texts, "mdy" if order == "mdy" else "dmy")
    if settings.stamp == "start":
        message = '24:00 can only be the end of an interval; write stamp = "end" in the section [meters]'
        _refuse(parsed, parsed.ok & parsed.midnight_24, "timestamp", message, "00:00 to 23:59")
    early, late, exists = _utc(parsed, settings)
    message = f"the clock in {settings.timezone} skipped this time; the file may show another zone"
    _refuse(parsed, parsed.ok & ~exists, "time-skipped", message, "a time that the clock shows, or a UTC offset")
    with_offset, local = parsed.has_offset, parsed.wall.copy()
    local[with_offset] = early[with_offset] + offsets_at(early[with_offset], settings.zone)
    shift = settings.step_s if settings.stamp == "end" else 0
    off_grid = parsed.ok & (local % settings.step_s != 0)
    problems = tuple(sorted(parsed.problems, key=lambda problem: problem.index))
    return Stamps(early - shift, late - shift, parsed.ok, off_grid, problems, order)


def _date_order(texts: Sequence[str], settings: MeterSettings) -> tuple[str, Problem | None]:
    """Return which of day and month comes first in dates with slashes ("" without such dates)."""
    slashed = [(index, found) for index, text in enumerate(texts) if (found := _DATES["DD/MM/YYYY"].match(text))]
    if not slashed:
        return "", None
    if settings.date_order:
        return settings.date_order, None
    day_first = next((index for index, found in slashed if int(found["d"]) > 12), None)
    month_first = next((index for index, found in slashed if int(found["m"]) > 12), None)
    if day_first is not None and month_first is None:
        return "dmy", None
    if month_first is not None and day_first is None:
        return "mdy", None
    message = "day and month cannot be told apart: no number is above 12"
    if day_first is not None and month_first is not None:
        message = f"the day comes first in {texts[day_first]} and second in {texts[month_first]}"
    message += '; write date_order = "dmy" or "mdy" in the section [meters]'
    return "", Problem(slashed[0][0], "date-order", message, "dates with one order of day and month")


@lru_cache(maxsize=4096)
def _day(text: str, order: str) -> tuple[str, int] | None:
    """Return the form of a date and its number of days after 1970-01-01."""
    for form, pattern in _DATES.items():
        if found := pattern.fullmatch(text):
            day, month = int(found["d"]), int(found["m"])
            if form == "DD/MM/YYYY" and order == "mdy":
                day, month = month, day
            try:
                number = date(int(found["y"]), month, day).toordinal() - _EPOCH_DAY
            except ValueError:
                return None
            return (form, number) if YEARS[0] <= int(found["y"]) < YEARS[1] else None
    return None


@lru_cache(maxsize=4096)
def _second(text: str) -> tuple[int, int | None] | None:
    """Return the seconds after midnight and the offset from UTC in seconds, if one is written."""
    found = _TIME.fullmatch(text)
    if not found:
        return None
    hour, minute, second = int(found["h"]), int(found["m"]), int(found["s"] or 0)
    if minute > 59 or second > 59 or hour > 24 or (hour == 24 and (minute or second)):
        return None
    zone, offset = found["zone"], None
    if zone == "Z":
        offset = 0
    elif zone:
        hours, minutes = int(zone[1:3]), int(zone[-2:]) if len(zone) > 3 else 0
        if hours > 15 or minutes > 59:
            return None
        offset = (-1 if zone[0] == "-" else 1) * (hours * 3600 + minutes * 60)
    return hour * 3600 + minute * 60 + second, offset


def _parse(texts: Sequence[str], order: str) -> _Parsed:
    rows: list[tuple[int, int, bool, bool, bool]] = []
    problems: list[Problem] = []
    forms: list[str] = []
    for index, text in enumerate(texts):
        head, gap, tail = text.partition("T" if "T" in text else " ")
        day, second = _day(head, order), _second(tail.strip(" ")) if gap else None
        if day is None or second is None:
            message = "this is not a time, or a day that does not exist" if text else "the time is missing"
            problems.append(Problem(index, "timestamp", message, FORMS))
            rows.append((0, 0, False, False, False))
            forms.append("")
            continue
        wall = day[1] * DAY_S + second[0]
        rows.append((wall, second[1] or 0, second[1] is not None, True, second[0] == DAY_S))
        forms.append(day[0] + (" HH:MM with offset" if second[1] is not None else " HH:MM"))
    wall_s, offset_s, has_offset, ok, is_24 = (list(column) for column in zip(*rows, strict=True))
    parsed = _Parsed(
        np.array(wall_s, np.int64), np.array(offset_s, np.int64), np.array(has_offset, np.bool_),
        np.array(ok, np.bool_), np.array(is_24, np.bool_), problems,
    )  # fmt: skip
    _refuse_forms(parsed, forms)
    return parsed


def _refuse_forms(parsed: _Parsed, forms: Sequence[str]) -> None:
    """Refuse times that are written in another way than most of the file."""
    usual = Counter(form for form in forms if form).most_common(1)
    if not usual:
        return
    other = np.array([bool(form) and form != usual[0][0] for form in forms], np.bool_)
    message = "times are written in more than one way in this file; write them all alike"
    _refuse(parsed, other, "timestamp-format", message, usual[0][0])


def _refuse(parsed: _Parsed, which: Mask, code: str, message: str, expected: str) -> None:
    parsed.problems += [Problem(index, code, message, expected) for index in np.flatnonzero(which).tolist()]
    parsed.ok = parsed.ok & ~which


def _wall_offset(wall: int, fold: int, zone: ZoneInfo) -> int:
    """Return the offset from UTC in seconds that a wall clock showing `wall` has; `fold` 1 is the second pass."""
    moment = (_EPOCH + timedelta(seconds=wall)).replace(tzinfo=zone, fold=fold)
    offset = moment.utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def _utc(parsed: _Parsed, settings: MeterSettings) -> tuple[I64, I64, Mask]:
    """Return the first and the second meaning of each time in UTC seconds, and whether it has any."""
    naive = parsed.ok & ~parsed.has_offset
    days, place = np.unique(parsed.wall // DAY_S, return_inverse=True)
    offsets = [_offset_of_day(day, settings.zone) for day in days.tolist()]
    changes = np.array([offset is None for offset in offsets], np.bool_)[place]
    constant = np.array([offset or 0 for offset in offsets], np.int64)[place]
    early = parsed.wall - np.where(naive, constant, parsed.offset)
    late, exists = early.copy(), np.ones(len(early), np.bool_)
    for index in np.flatnonzero(naive & changes).tolist():
        meanings = _meanings(int(parsed.wall[index]), settings)
        exists[index] = bool(meanings)
        if meanings:
            early[index], late[index] = meanings[0], meanings[-1]
    return early, late, exists


def _offset_of_day(day: int, zone: ZoneInfo) -> int | None:
    """Return the offset of a local day in seconds; None if the clock changes within it or at its ends."""
    midnight = day * DAY_S
    moments = [midnight - 1, midnight, midnight + DAY_S - 1, midnight + DAY_S]
    offsets = {_wall_offset(moment, fold, zone) for moment in moments for fold in (0, 1)}
    return offsets.pop() if len(offsets) == 1 else None


def _meanings(wall: int, settings: MeterSettings) -> tuple[int, ...]:
    """Return the UTC seconds at which the wall clock shows `wall`: none, one or two, in order.

    The end of an interval may also be written as the clock would show it had it not been changed at that moment:
    02:00 for 03:00 in spring, 03:00 for 02:00 in autumn (Europe/Vienna).
    """
    zone, ends = settings.zone, settings.stamp == "end"
    first, second = _wall_offset(wall, 0, zone), _wall_offset(wall, 1, zone)
    just_before = _wall_offset(wall - 1, 0, zone)
    if first < second:  # skipped
        begins = just_before == _wall_offset(wall - 1, 1, zone)
        return (wall - first,) if ends and begins else ()
    if first > second:  # shown twice
        return (wall - first, wall - second)
    if ends and just_before > first:  # the moment after the second pass
        return (wall - just_before, wall - first)
    return (wall - first,)


def offsets_at(second: I64, zone: ZoneInfo) -> I64:
    """Return the zone's offset from UTC in seconds at each UTC second [n]."""
    hours, place = np.unique(second // 900, return_inverse=True)
    offsets = [_offset_at(quarter * 900, zone) for quarter in hours.tolist()]
    return np.array(offsets, np.int64)[place] if len(offsets) else np.zeros(0, np.int64)


def _offset_at(second: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(second, zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def local_text(second: int, zone: ZoneInfo) -> str:
    """Write a UTC second as local time with its offset.

    >>> local_text(1761438600, ZoneInfo("Europe/Vienna"))
    '2025-10-26 02:30+02:00'
    """
    return datetime.fromtimestamp(int(second), zone).isoformat(sep=" ", timespec="minutes")


def choose_meanings(stamps: Stamps, code: NDArray[np.int32], register: NDArray[np.int32]) -> tuple[I64, Mask]:
    """Return the start of each reading [n] in UTC seconds, and whether the rows decide it.

    `code` [n] numbers the text of the reading's time, `register` [n] its meter; readings stand in row order. Where
    the clock shows a time twice, the time order of a meter's rows must leave one meaning: both passes are there, or
    neighbours pin it down. Rows that run backwards throughout count as ordered too.
    """
    start = stamps.early[code]
    twice = stamps.ok[code] & (stamps.early != stamps.late)[code]
    decided = np.ones(len(code), np.bool_)
    if not twice.any():
        return start, decided
    concerned = np.flatnonzero(np.isin(register, np.unique(register[twice])) & stamps.ok[code])
    concerned = concerned[np.argsort(register[concerned], kind="stable")]
    borders = np.flatnonzero(np.diff(register[concerned])) + 1
    late = stamps.late[code]
    for rows in np.split(concerned, borders):
        start[rows], decided[rows] = _by_order(start[rows], late[rows])
    return start, decided


def _by_order(early: I64, late: I64) -> tuple[I64, Mask]:
    """Decide the meanings of one meter's times in row order; see `choose_meanings`."""
    open_ = early != late
    steps = np.diff(early[~open_])
    if bool((steps < 0).any()):
        if bool((steps > 0).any()):
            return early, ~open_
        start, decided = _by_order(early[::-1], late[::-1])
        return start[::-1], decided[::-1]
    places = np.flatnonzero(open_).tolist()
    earliest, latest = early.copy(), late.copy()
    for place in places:
        if place and earliest[place] <= earliest[place - 1]:
            earliest[place] = late[place]
    for place in reversed(places):
        if place + 1 < len(late) and latest[place] >= latest[place + 1]:
            latest[place] = early[place]
    return earliest, ~open_ | (earliest == latest)
