"""Local time to UTC: days of 92, 94, 98 and 100 quarter-hours, start and end stamps, nothing guessed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.intake import MeterSettings
from wattle.intake.timestamps import choose_meanings, local_text, offsets_at, read_stamps

DAYS = [
    ("Europe/Vienna", (2025, 3, 30), 92),
    ("Europe/Vienna", (2025, 10, 26), 100),
    ("Europe/Vienna", (2025, 6, 1), 96),
    ("America/New_York", (2025, 3, 9), 92),
    ("America/New_York", (2025, 11, 2), 100),
    ("Australia/Lord_Howe", (2025, 10, 5), 94),
    ("Australia/Lord_Howe", (2025, 4, 6), 98),
    ("Asia/Beirut", (2025, 3, 30), 92),  # the clock changes at midnight
    ("Asia/Beirut", (2025, 10, 25), 100),
]


def starts_of_day(zone: str, day: tuple[int, int, int]) -> list[int]:
    """Return the UTC second of every quarter-hour of a local day, counted in UTC and asked back one by one."""
    noon = int(datetime(*day, 12, tzinfo=ZoneInfo(zone)).timestamp())
    quarters = range(noon - 16 * 3600, noon + 16 * 3600, 900)
    return [s for s in quarters if datetime.fromtimestamp(s, ZoneInfo(zone)).timetuple()[:3] == day]


def wall(second: int, zone: str, form: str = "%Y-%m-%d %H:%M") -> str:
    return datetime.fromtimestamp(second, ZoneInfo(zone)).strftime(form)


def read(texts: list[str], zone: str, stamp: str = "start", **more: Any) -> tuple[list[int], list[bool]]:
    """Return the starts and whether each is certain, for one meter with one row per text."""
    settings = MeterSettings(timezone=zone, stamp=stamp, **more)  # type: ignore[arg-type]
    distinct = list(dict.fromkeys(texts))
    stamps = read_stamps(distinct, settings)
    code = np.array([distinct.index(text) for text in texts], np.int32)
    start, decided = choose_meanings(stamps, code, np.zeros(len(code), np.int32))
    return start.tolist(), (decided & stamps.ok[code]).tolist()


@pytest.mark.parametrize(("zone", "day", "count"), DAYS)
@pytest.mark.parametrize("stamp", ["start", "end"])
@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S"])
def test_day_of_any_length(zone: str, day: tuple[int, int, int], count: int, stamp: str, form: str) -> None:
    starts = starts_of_day(zone, day)
    assert len(starts) == count
    shift = 900 if stamp == "end" else 0
    texts = [wall(second + shift, zone, form) for second in starts]
    found, certain = read(texts, zone, stamp)
    assert all(certain)
    assert found == starts


@pytest.mark.parametrize(("zone", "day", "count"), DAYS)
@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M%z", "%Y-%m-%d %H:%M:%S%z"])
def test_written_offset_needs_no_order(zone: str, day: tuple[int, int, int], count: int, form: str) -> None:
    starts = starts_of_day(zone, day)[::-1]
    mixed = starts[::2] + starts[1::2]
    assert read([wall(second, zone, form) for second in mixed], zone) == (mixed, [True] * count)


@pytest.mark.parametrize(("zone", "day", "count"), DAYS)
@pytest.mark.parametrize("stamp", ["start", "end"])
def test_newest_first(zone: str, day: tuple[int, int, int], count: int, stamp: str) -> None:
    starts = starts_of_day(zone, day)[::-1]
    shift = 900 if stamp == "end" else 0
    assert read([wall(second + shift, zone) for second in starts], zone, stamp) == (starts, [True] * count)


def test_hand_count_in_vienna() -> None:
    """2025-10-26 01:45, 02:00 and 02:00 again lie at 23:45, 00:00 and 01:00 UTC."""
    texts = ["01:45", "02:00", "02:15", "02:30", "02:45", "02:00", "02:15", "02:30", "02:45", "03:00"]
    found, certain = read([f"26.10.2025 {text}" for text in texts], "Europe/Vienna")
    first = int(datetime(2025, 10, 25, 23, 45, tzinfo=UTC).timestamp())
    assert found == list(range(first, first + 10 * 900, 900))
    assert all(certain)


def test_end_stamps_that_count_on_in_summer_time() -> None:
    """02:45, 03:00 (summer), 02:15 ... 02:45, 03:00 (winter): the other way to name the ends."""
    texts = ["02:00", "02:15", "02:30", "02:45", "03:00", "02:15", "02:30", "02:45", "03:00", "03:15"]
    found, certain = read([f"26.10.2025 {text}" for text in texts], "Europe/Vienna", "end")
    first = int(datetime(2025, 10, 25, 23, 45, tzinfo=UTC).timestamp())
    assert found == list(range(first, first + 10 * 900, 900))
    assert all(certain)


def test_end_stamps_that_count_on_over_midnight() -> None:
    """In Beirut the clock is put back at midnight: 23:45, 00:00 (summer), 23:15 ... 23:45, 00:00 (winter)."""
    evening = [f"2025-10-25 {text}" for text in ("23:00", "23:15", "23:30", "23:45")]
    texts = [*evening, "2025-10-26 00:00", *evening[1:], "2025-10-26 00:00", "2025-10-26 00:15"]
    found, certain = read(texts, "Asia/Beirut", "end")
    first = int(datetime(2025, 10, 25, 19, 45, tzinfo=UTC).timestamp())
    assert found == list(range(first, first + 10 * 900, 900))
    assert all(certain)


@pytest.mark.parametrize(("zone", "day", "step_s", "count"), [
    ("Europe/Vienna", (2025, 10, 26), 3600, 25), ("Europe/Vienna", (2025, 3, 30), 3600, 23),
    ("Australia/Lord_Howe", (2025, 4, 6), 1800, 49), ("Australia/Lord_Howe", (2025, 10, 5), 1800, 47),
])  # fmt: skip
@pytest.mark.parametrize("stamp", ["start", "end"])
def test_longer_steps(zone: str, day: tuple[int, int, int], step_s: int, count: int, stamp: str) -> None:
    """The two passes of the repeated hour stand in neighbouring rows."""
    starts = starts_of_day(zone, day)[:: step_s // 900]
    shift = step_s if stamp == "end" else 0
    texts = [wall(second + shift, zone) for second in starts]
    assert read(texts, zone, stamp, step_s=step_s) == (starts, [True] * count)
    assert read(texts[::-1], zone, stamp, step_s=step_s) == (starts[::-1], [True] * count)


def test_end_of_the_last_interval_before_the_skipped_hour() -> None:
    """02:00 and 03:00 are the same moment in spring, as the end of an interval; 02:15 is none."""
    moment = int(datetime(2025, 3, 30, 1, tzinfo=UTC).timestamp()) - 900
    assert read(["30.03.2025 02:00"], "Europe/Vienna", "end") == ([moment], [True])
    assert read(["30.03.2025 03:00"], "Europe/Vienna", "end") == ([moment], [True])
    assert read(["30.03.2025 02:15"], "Europe/Vienna", "end")[1] == [False]
    assert read(["30.03.2025 02:00"], "Europe/Vienna", "start")[1] == [False]


def test_midnight_written_both_ways() -> None:
    first = read(["31.12.2025 24:00"], "Europe/Vienna", "end")
    assert first == read(["01.01.2026 00:00"], "Europe/Vienna", "end")
    assert local_text(first[0][0], ZoneInfo("Europe/Vienna")) == "2025-12-31 23:45+01:00"


def test_one_pass_is_not_certain() -> None:
    texts = [f"2025-10-26 {time}" for time in ("01:45", "02:00", "02:15", "02:30", "02:45", "03:00")]
    assert read(texts, "Europe/Vienna")[1] == [True, False, False, False, False, True]


def test_neighbours_pin_a_time_down() -> None:
    """02:30 stands between the two 02:15, so it belongs to the first pass."""
    texts = [f"2025-10-26 {time}" for time in ("02:15", "02:30", "02:15")]
    found, certain = read(texts, "Europe/Vienna")
    assert certain == [True, True, True]
    assert [local_text(second, ZoneInfo("Europe/Vienna"))[-11:] for second in found] == [
        "02:15+02:00", "02:30+02:00", "02:15+01:00",
    ]  # fmt: skip


def test_three_passes_are_refused() -> None:
    texts = [f"2025-10-26 {time}" for time in ("01:45", "02:15", "02:15", "02:15", "03:00")]
    assert not all(read(texts, "Europe/Vienna")[1])


def test_rows_without_order_do_not_decide() -> None:
    texts = [f"2025-10-26 {time}" for time in ("03:00", "02:15", "01:45", "02:15", "03:15")]
    assert read(texts, "Europe/Vienna")[1] == [True, False, True, False, True]


def test_order_counts_within_each_meter() -> None:
    texts = ["2025-10-26 02:00", "2025-10-26 02:15"]
    stamps = read_stamps(texts, MeterSettings(timezone="Europe/Vienna", stamp="start"))
    code = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int32)
    register = np.array([0, 1, 0, 1, 0, 1, 0, 1], np.int32)
    start, decided = choose_meanings(stamps, code, register)
    assert decided.all()
    since = (start - start[0]).tolist()
    assert since == [0, 0, 900, 900, 3600, 3600, 4500, 4500]
    alone = np.array([0, 1, 0, 0, 0, 0, 0, 0], np.int32)  # the second reading is another meter's only one
    assert choose_meanings(stamps, code, alone)[1].tolist()[1] is False


@given(
    zone=st.sampled_from(["Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
    first=st.integers(0, 4_000_000_000 // 900),
    count=st.integers(1, 12),
    stamp=st.sampled_from(["start", "end"]),
)
def test_never_a_wrong_time(zone: str, first: int, count: int, stamp: str) -> None:
    """Whatever stretch a file holds, a time is either right or reported as uncertain."""
    starts = [(first + k) * 900 for k in range(count)]
    shift = 900 if stamp == "end" else 0
    found, certain = read([wall(second + shift, zone) for second in starts], zone, stamp)
    assert [s for s, sure in zip(found, certain, strict=True) if sure] == [
        s for s, sure in zip(starts, certain, strict=True) if sure
    ]


@given(
    second=st.integers(1_700_000_000 // 900, 1_800_000_000 // 900).map(lambda k: k * 900),
    zone=st.sampled_from(["Europe/Vienna", "America/New_York", "Australia/Lord_Howe"]),
)
def test_offsets_against_the_standard_library(second: int, zone: str) -> None:
    expected = datetime.fromtimestamp(second, ZoneInfo(zone)).utcoffset()
    assert expected is not None
    assert offsets_at(np.array([second]), ZoneInfo(zone)).tolist() == [expected.total_seconds()]


@pytest.mark.parametrize(
    "text",
    [
        "2025-13-01 00:00", "2025-00-01 00:00", "32.01.2025 00:00", "1.1.25 00:00", "2025-01-01", "00:15",
        "2025-01-01 0015",
        "2025-01-01 00:60", "2025-01-01 25:00", "2025-01-01 00:00:60", "2025-01-01 00:00:00.5", "2025-1-1 00:00", "",
        "1969-12-31 00:00", "2200-01-01 00:00", "2025-01-01 00:00 CET", "2025-01-01 00:00+24:00", "2025-01-01 12:00 AM",
        "٢٠٢٥-01-01 00:00", "45658.25",
    ],
)  # fmt: skip
def test_not_a_time(text: str) -> None:
    stamps = read_stamps([text], MeterSettings(timezone="Europe/Vienna", stamp="start"))
    assert [problem.code for problem in stamps.problems] == ["timestamp"]
    assert not stamps.ok.any()


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2025-07-01T02:00:00Z", "2025-07-01T02:00"),
        ("2025-07-01T02:00:00.000+02:00", "2025-07-01T00:00"),
        ("2025-07-01 02:00 +0530", "2025-06-30T20:30"),
        ("2025-07-01 02:00-03", "2025-07-01T05:00"),
        ("1.7.2025 2:00", "2025-07-01T00:00"),
        ("13/7/2025 2:00", "2025-07-13T00:00"),
        ("7/13/2025 2:00", "2025-07-13T00:00"),
    ],
)
def test_forms(text: str, utc: str) -> None:
    stamps = read_stamps([text], MeterSettings(timezone="Europe/Vienna", stamp="start"))
    assert stamps.problems == ()
    assert stamps.early.tolist() == [int(datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp())]


@pytest.mark.parametrize(("order", "utc"), [("dmy", "2025-07-03T22:00"), ("mdy", "2025-04-06T22:00")])
def test_date_order_setting(order: str, utc: str) -> None:
    settings = MeterSettings(timezone="Europe/Vienna", stamp="start", date_order=order)  # type: ignore[arg-type]
    stamps = read_stamps(["04/07/2025 00:00"], settings)
    assert stamps.early.tolist() == [int(datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp())]


def test_one_day_above_12_settles_the_order_for_all() -> None:
    texts = [f"{day:02d}/01/2025 00:00" for day in range(1, 14)]
    stamps = read_stamps(texts, MeterSettings(timezone="UTC", stamp="start"))
    assert stamps.date_order == "dmy"
    assert np.diff(stamps.early).tolist() == [int(timedelta(days=1).total_seconds())] * 12


def test_off_grid_is_measured_on_the_local_clock() -> None:
    """Half past the hour in India is a whole hour in UTC."""
    settings = MeterSettings(timezone="Asia/Kolkata", stamp="start", step_s=3600)
    assert read_stamps(["2025-01-01 05:00", "2025-01-01 05:30"], settings).off_grid.tolist() == [False, True]
    assert read_stamps(["2025-01-01 00:00Z", "2025-01-01 00:30Z"], settings).off_grid.tolist() == [True, False]
