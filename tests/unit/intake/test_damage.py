"""Damaged files: whatever happened to a file, the answer is readings or findings, never a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattle.intake import InputError, Meter, MeterSettings, read_members, read_meter_files

METERS = (Meter("AT001", "anna", "consumption"), Meter("AT002", "bert", "signed"))
TWICE = ("02:00", "02:15", "02:30", "02:45")
STARTS = [f"26.10.2025 {time}" for time in ("01:30", "01:45", *TWICE, *TWICE, "03:00", "03:15")]
WIDE = "time;AT001 kWh;AT002 Wh\n" + "".join(f"{t};0,{k:03d};-{k}\n" for k, t in enumerate(STARTS, 1))
LONG = "timestamp,meter,direction,status,value_kwh\n" + "".join(
    f'"{t}",{m},consumption,measured,"{k},5"\n' for k, t in enumerate(STARTS) for m in ("AT001", "AT002")
)
PIECES = st.sampled_from(
    [b";", b",", b"\n", b"\r", b'"', b".", b"-", b"0", b"24:00", b"NaN", b"\x00", b"\xff", b"\xc3\xa4", b"kW", b" ",
     b"02:15", b"AT001", b"1e9", b"+01:00", b"/", b"\t", b"99999999999999999999"]
)  # fmt: skip
damages = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 40), PIECES | st.just(b"")), min_size=1, max_size=4)
rules = st.fixed_dictionaries(
    {"timezone": st.just("Europe/Vienna"), "stamp": st.sampled_from(["start", "end"])},
    optional={
        "decimal": st.sampled_from([".", ","]),
        "separator": st.sampled_from([",", ";"]),
        "unit": st.sampled_from(["kWh", "W"]),
        "rounding": st.just("largest-remainder"),
        "step_s": st.sampled_from([300, 1800]),
        "date_order": st.sampled_from(["dmy", "mdy"]),
    },
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.sampled_from([WIDE.encode(), LONG.encode()]) | st.binary(max_size=200),
    damage=damages,
    how=rules,
    complete=st.booleans(),
)
def test_damaged_meter_file(
    tmp_path: Path, text: bytes, damage: list[Any], how: dict[str, Any], complete: bool
) -> None:
    for place, length, piece in damage:
        place %= len(text) + 1
        text = text[:place] + piece + text[place + length :]
    path = tmp_path / "meters.csv"
    path.write_bytes(text)
    try:
        found = read_meter_files([path], METERS, MeterSettings(**how), complete=complete)  # type: ignore[call-overload]
    except InputError as error:
        lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1
        rows = [finding.row for finding in error.findings if finding.row is not None]
        message = str(error)
    else:
        lines, message = text.count(b"\n") + text.count(b"\r") + 1, "readings"
        rows = (found.source_row if complete else found.rows.row).ravel().tolist()
        assert rows
    assert message
    assert all(1 <= row <= lines for row in rows)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=damages)
def test_damaged_members(tmp_path: Path, damage: list[Any]) -> None:
    text = b"member;name;consumption_meter;feed_in_meter;share\nanna;Anna;AT001;;1,5\nbert;Bert;AT002;AT003;2\n"
    for place, length, piece in damage:
        place %= len(text) + 1
        text = text[:place] + piece + text[place + length :]
    path = tmp_path / "members.csv"
    path.write_bytes(text)
    try:
        members = read_members(path).members
    except InputError as error:
        members, findings = (), error.findings
    else:
        findings = ()
    assert bool(findings) is not bool(members)
    assert all(member.id and member.meters for member in members)
    assert all(finding.file == "members.csv" for finding in findings)


@pytest.mark.parametrize(("text", "old", "new"), [(WIDE, "-7\n", "-8\n"), (LONG, '"7,5"', '"8,5"')])
def test_one_digit_changes_one_reading(tmp_path: Path, text: str, old: str, new: str) -> None:
    path = tmp_path / "meters.csv"
    how = MeterSettings(timezone="Europe/Vienna", stamp="start")
    path.write_text(text)
    before = read_meter_files([path], METERS, how).register_energy
    path.write_text(text.replace(old, new, 1))
    after = read_meter_files([path], METERS, how).register_energy
    assert np.count_nonzero(after != before) == 1
    assert np.abs(after - before).sum() in (1, 1000)
