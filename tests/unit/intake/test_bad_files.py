"""Files that cannot be used: each defect is one finding with file, row, column, value and what was expected."""

from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from wattle.core import checks
from wattle.intake import CODES, InputError, Meter, MeterSettings, read_meter_files

TIMES = ("2025-01-01 00:00", "2025-01-01 00:15", "2025-01-01 00:30", "2025-01-01 00:45")
FORMS = "YYYY-MM-DD HH:MM, DD.MM.YYYY HH:MM or DD/MM/YYYY HH:MM"
DECIMAL = "a plain decimal such as 0.25"


def wide(*values: str, header: str = "time,AT001 kWh", times: tuple[str, ...] = TIMES) -> str:
    """Return a wide file with one meter."""
    return "\n".join([header, *(f"{time},{value}" for time, value in zip(times, values, strict=True))]) + "\n"


def long(*rows: str, header: str = "timestamp,meter,value_kwh") -> str:
    return "\n".join([header, *rows]) + "\n"


GOOD = ("0.1", "0.2", "0.3", "0.4")
ALL = "2025-01-01 00:00+01:00 to 2025-01-01 00:45+01:00"

# name: (meters, settings, files, findings as (code, file, row, column, value, expected))
Row = tuple[str, str, int | None, str, str, str]
CASES: dict[str, tuple[tuple[str, ...], dict[str, Any], dict[str, str | bytes], list[Row]]] = {
    "empty cell": (
        ("AT001",), {}, {"a": wide("0.1", "", "0.3", "0.4")},
        [("value-empty", "a.csv", 3, "AT001 kWh", "", DECIMAL)],
    ),
    "nan": (
        ("AT001",), {}, {"a": wide("0.1", "0.2", "NaN", "0.4")},
        [("value-not-finite", "a.csv", 4, "AT001 kWh", "NaN", DECIMAL)],
    ),
    "infinity": (
        ("AT001",), {}, {"a": wide("-inf", "0.2", "0.3", "0.4")},
        [("value-not-finite", "a.csv", 2, "AT001 kWh", "-inf", DECIMAL)],
    ),
    "text": (
        ("AT001",), {}, {"a": wide("0.1", "0.2", "0.3", "missing")},
        [("value-not-number", "a.csv", 5, "AT001 kWh", "missing", DECIMAL)],
    ),
    "number with unit": (
        ("AT001",), {}, {"a": wide("0.1", "0.2 kWh", "0.3", "0.4")},
        [("value-not-number", "a.csv", 3, "AT001 kWh", "0.2 kWh", DECIMAL)],
    ),
    "exponent": (
        ("AT001",), {}, {"a": wide("0.1", "2e-1", "0.3", "0.4")},
        [("value-not-number", "a.csv", 3, "AT001 kWh", "2e-1", DECIMAL)],
    ),
    "digits of another script": (
        ("AT001",), {}, {"a": wide("0.1", "٢", "0.3", "0.4")},
        [("value-not-number", "a.csv", 3, "AT001 kWh", "٢", DECIMAL)],
    ),
    "two kinds of marks": (
        ("AT001",), {}, {"a": wide("0.1", '"1.234,56"', "0.3", "0.4")},
        [("value-separators", "a.csv", 3, "AT001 kWh", "1.234,56", DECIMAL)],
    ),
    "thousands parted": (
        ("AT001",), {}, {"a": wide("0.1", '"1,234,567"', "0.3", "0.4")},
        [("value-separators", "a.csv", 3, "AT001 kWh", "1,234,567", DECIMAL)],
    ),
    "comma where a point is the mark": (
        ("AT001",), {"decimal": "."}, {"a": wide("0.1", '"0,2"', "0.3", "0.4")},
        [("value-separators", "a.csv", 3, "AT001 kWh", "0,2", DECIMAL)],
    ),
    "space in a number": (
        ("AT001",), {}, {"a": wide("0.1", "1 200", "0.3", "0.4")},
        [("value-separators", "a.csv", 3, "AT001 kWh", "1 200", DECIMAL)],
    ),
    "both decimal marks in one file": (
        ("AT001",), {}, {"a": wide("0.1", '"0,2"', "0.3", "0.4")},
        [("decimal-unknown", "a.csv", 2, "AT001 kWh", "0.1", "one decimal mark in the file")],
    ),
    "decimals that may be thousands": (
        ("AT001",), {}, {"a": wide("1.200", "2.300", "1.250", "9.000").replace(",", ";")},
        [("decimal-unknown", "a.csv", 2, "AT001 kWh", "1.200", "one decimal mark in the file")],
    ),
    "negative in a one-way meter": (
        ("AT001",), {}, {"a": wide("0.1", "-0.2", "0.3", "0.4")},
        [("value-negative", "a.csv", 3, "AT001 kWh", "-0.2", "0 or more")],
    ),
    "negative in a feed-in meter": (
        ("AT003",), {}, {"a": wide("0.1", "-0.2", "0.3", "0.4", header="time,AT003 kWh")},
        [("value-negative", "a.csv", 3, "AT003 kWh", "-0.2", "0 or more")],
    ),
    "not whole": (
        ("AT001",), {}, {"a": wide("0.1", "0.2", "0.0005", "0.4")},
        [("value-not-whole", "a.csv", 4, "AT001 kWh", "0.0005", "a whole number of Wh")],
    ),
    "not whole, other lot": (
        ("AT001",), {"lot_wh": "0.1"}, {"a": wide("0.1", "0.2", "0.00005", "0.4")},
        [("value-not-whole", "a.csv", 4, "AT001 kWh", "0.00005", "a whole number of lots of 0.1 Wh")],
    ),
    "not whole power": (
        ("AT001",), {}, {"a": wide("4", "8", "3", "4", header="time,AT001 W")},
        [("value-not-whole", "a.csv", 4, "AT001 W", "3", "a whole number of Wh")],
    ),
    "too large": (
        ("AT001",), {}, {"a": wide("0.1", "999999999999", "0.3", "0.4")},
        [("value-too-large", "a.csv", 3, "AT001 kWh", "999999999999", f"at most {2**48:,} lots")],
    ),
    "too many digits": (
        ("AT001",), {}, {"a": wide("0.1", "0.2", "0.3", "12345678901234567890.5")},
        [("value-too-large", "a.csv", 5, "AT001 kWh", "12345678901234567890.5", DECIMAL)],
    ),
    "not a time": (
        ("AT001",), {}, {"a": wide(*GOOD, times=(*TIMES[:3], "tomorrow"))},
        [("timestamp", "a.csv", 5, "time", "tomorrow", FORMS)],
    ),
    "a day that does not exist": (
        ("AT001",), {}, {"a": wide(*GOOD, times=(*TIMES[:3], "2025-02-30 00:00"))},
        [("timestamp", "a.csv", 5, "time", "2025-02-30 00:00", FORMS)],
    ),
    "no time": (
        ("AT001",), {}, {"a": wide(*GOOD, times=("", *TIMES[1:]))},
        [("timestamp", "a.csv", 2, "time", "", FORMS)],
    ),
    "24:00 with start stamps": (
        ("AT001",), {}, {"a": wide(*GOOD, times=(*TIMES[:3], "2025-01-01 24:00"))},
        [("timestamp", "a.csv", 5, "time", "2025-01-01 24:00", "00:00 to 23:59")],
    ),
    "24:15": (
        ("AT001",), {"stamp": "end"}, {"a": wide(*GOOD, times=(*TIMES[:3], "2025-01-01 24:15"))},
        [("timestamp", "a.csv", 5, "time", "2025-01-01 24:15", FORMS)],
    ),
    "two ways of writing times": (
        ("AT001",), {}, {"a": wide(*GOOD, times=(*TIMES[:3], "01.01.2025 00:45"))},
        [("timestamp-format", "a.csv", 5, "time", "01.01.2025 00:45", "YYYY-MM-DD HH:MM")],
    ),
    "day or month": (
        ("AT001",), {}, {"a": wide(*GOOD, times=tuple(f"01/02/2025 00:{m}" for m in ("00", "15", "30", "45")))},
        [("date-order", "a.csv", 2, "time", "01/02/2025 00:00", "dates with one order of day and month")],
    ),
    "day and month both ways": (
        ("AT001",), {}, {"a": wide("1", "2", times=("31/01/2025 00:00", "01/31/2025 00:15"))},
        [("date-order", "a.csv", 2, "time", "31/01/2025 00:00", "dates with one order of day and month")],
    ),
    "skipped hour": (
        ("AT001",), {}, {"a": wide("1", "2", times=("2025-03-30 01:45", "2025-03-30 02:00"))},
        [
            ("time-skipped", "a.csv", 3, "time", "2025-03-30 02:00", "a time that the clock shows, or a UTC offset"),
        ],
    ),
    "only one pass of the repeated hour": (
        ("AT001",), {}, {"a": wide("1", "2", times=("2025-10-26 01:45", "2025-10-26 02:00"))},
        [
            (
                "time-repeated", "a.csv", 3, "time", "2025-10-26 02:00",
                "rows of both passes in time order, or a time such as 02:30+01:00",
            ),
        ],
    ),
    "beside the grid": (
        ("AT001",), {}, {"a": wide(*GOOD, times=(*TIMES[:3], "2025-01-01 00:46"))},
        [("off-grid", "a.csv", 5, "time", "2025-01-01 00:46", "a multiple of 15 minutes")],
    ),
    "half-hour file": (
        ("AT001",), {}, {"a": wide("1", "2", "3", times=("2025-01-01 00:00", "2025-01-01 00:30", "2025-01-01 01:00"))},
        [("wrong-step", "a.csv", None, "time", "1800 s", "900 s")],
    ),
    "five-minute file": (
        ("AT001",), {}, {"a": wide("1", "2", "3", times=("2025-01-01 00:00", "2025-01-01 00:05", "2025-01-01 00:10"))},
        [("wrong-step", "a.csv", None, "time", "300 s", "900 s")],
    ),
    "gap": (
        ("AT001",), {}, {"a": wide("1", "2", "4", times=(TIMES[0], TIMES[1], TIMES[3]))},
        [("gap", "a.csv", 3, "AT001 kWh", "2025-01-01 00:15+01:00", f"every interval from {ALL}")],
    ),
    "meter starts late": (
        ("AT001", "AT002"), {"unit": "kWh"},
        {"a": wide(*GOOD, header="time,AT001"), "b": wide("3", "4", header="time,AT002", times=TIMES[2:])},
        [("span", "b.csv", 2, "AT002", "2025-01-01 00:30+01:00", f"every interval from {ALL}")],
    ),
    "meter ends early": (
        ("AT001", "AT002"), {"unit": "kWh"},
        {"a": wide(*GOOD, header="time,AT001"), "b": wide("3", "4", header="time,AT002", times=TIMES[:2])},
        [("span", "b.csv", 3, "AT002", "2025-01-01 00:15+01:00", f"every interval from {ALL}")],
    ),
    "row twice, same value": (
        ("AT001",), {}, {"a": wide("1", "2", "2", times=(TIMES[0], TIMES[1], TIMES[1]))},
        [("duplicate", "a.csv", 4, "AT001 kWh", "2025-01-01 00:15+01:00", "each meter and interval once")],
    ),
    "row twice, other value": (
        ("AT001",), {}, {"a": wide("1", "2", "3", times=(TIMES[0], TIMES[1], TIMES[1]))},
        [("duplicate", "a.csv", 4, "AT001 kWh", "2025-01-01 00:15+01:00", "each meter and interval once")],
    ),
    "files overlap, same value": (
        ("AT001",), {}, {"a": wide(*GOOD), "b": wide("0.3", "0.4", times=TIMES[2:])},
        [("duplicate", "b.csv", 2, "AT001 kWh", "2025-01-01 00:30+01:00", "each meter and interval once")],
    ),
    "same file twice": (
        ("AT001",), {}, {"a": wide(*GOOD), "b": wide(*GOOD)},
        [("file-repeated", "b.csv", None, "", "", "")],
    ),
    "unknown meter in the header": (
        ("AT001",), {}, {"a": wide(*GOOD, header="time,AT0O1 kWh")},
        [("meter-unknown", "a.csv", 1, "AT0O1 kWh", "AT0O1", "AT001")],
    ),
    "unknown meter in a row": (
        ("AT001",), {},
        {"a": long(f"{TIMES[0]},AT001,1", f"{TIMES[1]},AT001,1", f"{TIMES[1]},AT101,1")},
        [("meter-unknown", "a.csv", 4, "meter", "AT101", "AT001")],
    ),
    "meter without data": (
        ("AT001", "AT002"), {}, {"a": wide(*GOOD)},
        [("meter-without-data", "", None, "", "AT002", "readings for the whole period")],
    ),
    "meter in two columns": (
        ("AT001",), {}, {"a": wide("1,2", header="time,AT001 kWh,AT001 Wh", times=TIMES[:1])},
        [("column-repeated", "a.csv", 1, "AT001 Wh", "AT001", "one column per meter")],
    ),
    "column name twice": (
        ("AT001",), {}, {"a": wide("1,2", header="time,AT001 kWh,AT001 kWh", times=TIMES[:1])},
        [("column-repeated", "a.csv", 1, "AT001 kWh", "AT001 kWh", "")],
    ),
    "column without a name": (
        ("AT001",), {}, {"a": wide("1,2", header="time,AT001 kWh,", times=TIMES[:1])},
        [("column-empty", "a.csv", 1, "", "", "")],
    ),
    "unknown column": (
        ("AT001",), {},
        {"a": long(f"{TIMES[0]},AT001,1,x", header="timestamp,meter,value_kwh,statuss")},
        [("column-unknown", "a.csv", 1, "statuss", "statuss", "status")],
    ),
    "no value column": (
        ("AT001",), {}, {"a": long(f"{TIMES[0]},AT001", header="timestamp,meter")},
        [("column-missing", "a.csv", 1, "value", "", "timestamp, meter, value")],
    ),
    "two time columns": (
        ("AT001",), {}, {"a": long(f"{TIMES[0]},{TIMES[1]},1", header="from,to,AT001 kWh")},
        [("column-repeated", "a.csv", 1, "to", "", "one time column")],
    ),
    "wrong separator in the settings": (
        ("AT001",), {"separator": ";"}, {"a": wide(*GOOD)},
        [("column-missing", "a.csv", 1, "", "time,AT001 kWh", "a column for each meter")],
    ),
    "no header": (
        ("AT001",), {}, {"a": wide(*GOOD).partition("\n")[2]},
        [("header-missing", "a.csv", 1, "", TIMES[0], "")],
    ),
    "header says the end": (
        ("AT001",), {}, {"a": wide(*GOOD, header="interval_end,AT001 kWh")},
        [("stamp-conflict", "a.csv", 1, "interval_end", "interval_end", "start")],
    ),
    "no unit": (
        ("AT001",), {}, {"a": wide(*GOOD, header="time,AT001")},
        [("unit-unknown", "a.csv", 1, "AT001", "", "kWh, Wh, kW, W")],
    ),
    "unit that is not read": (
        ("AT001",), {}, {"a": wide(*GOOD, header="time,AT001 (MWh)")},
        [("unit-unknown", "a.csv", 1, "AT001 (MWh)", "MWh", "kWh, Wh, kW, W")],
    ),
    "two units": (
        ("AT001",), {"unit": "Wh"}, {"a": wide(*GOOD)},
        [("unit-conflict", "a.csv", 1, "AT001 kWh", "kWh", "Wh")],
    ),
    "row too long": (
        ("AT001",), {}, {"a": wide("0.1", "0,2", "0.3", "0.4")},
        [("row-length", "a.csv", 3, "", "3 cells", "2 cells")],
    ),
    "row too short": (
        ("AT001",), {}, {"a": wide(*GOOD).replace(",0.3", "")},
        [("row-length", "a.csv", 4, "", "1 cells", "2 cells")],
    ),
    "empty row in the middle": (
        ("AT001",), {}, {"a": wide(*GOOD).replace("\n2025-01-01 00:30", "\n\n2025-01-01 00:30")},
        [("row-empty", "a.csv", 4, "", "", "")],
    ),
    "separator unknown": (
        ("AT001",), {}, {"a": "time|AT001 kWh\n2025-01-01 00:00|1\n"},
        [("separator-unknown", "a.csv", 1, "", "time|AT001 kWh", "cells separated by , or ;")],
    ),
    "either separator": (
        ("AT001",), {}, {"a": "time;AT001,kWh\n2025-01-01 00:00;0,1\n"},
        [("separator-unknown", "a.csv", 1, "", "time;AT001,kWh", "cells separated by , or ;")],
    ),
    "broken quotes": (
        ("AT001",), {}, {"a": wide("0.1", '"0.2', "0.3", "0.4")},
        [("quotes", "a.csv", 3, "", "", 'cells like "0,25"')],
    ),
    "empty file": (
        ("AT001",), {}, {"a": b""},
        [("file-empty", "a.csv", None, "", "", "")],
    ),
    "header only": (
        ("AT001",), {}, {"a": "time,AT001 kWh\n\n"},
        [("file-empty", "a.csv", 1, "", "", "")],
    ),
    "Excel file": (
        ("AT001",), {}, {"a": b"PK\x03\x04\x14\x00\x06\x00"},
        [("file-binary", "a.csv", None, "", "", "")],
    ),
    "UTF-16": (
        ("AT001",), {}, {"a": wide(*GOOD).encode("utf-16")},
        [("file-binary", "a.csv", None, "", "", "")],
    ),
    "binary": (
        ("AT001",), {}, {"a": b"time,AT001 kWh\n\x00\x01\x02"},
        [("file-binary", "a.csv", None, "", "", "")],
    ),
    "neither encoding": (
        ("AT001",), {}, {"a": wide(*GOOD).encode() + b"\x81,1\n"},
        [("file-encoding", "a.csv", 6, "", "", "")],
    ),
    "direction that does not fit": (
        ("AT001",), {},
        {"a": long(f"{TIMES[0]},AT001,feed-in,1", header="timestamp,meter,direction,value_kwh")},
        [("direction-conflict", "a.csv", 2, "direction", "feed-in", "consumption")],
    ),
    "direction unknown": (
        ("AT001",), {},
        {"a": long(f"{TIMES[0]},AT001,sideways,1", header="timestamp,meter,direction,value_kwh")},
        [("direction-unknown", "a.csv", 2, "direction", "sideways", "consumption, feed-in")],
    ),
    "with and without direction": (
        ("AT004",), {},
        {
            "a": long(f"{TIMES[0]},AT004,1"),
            "b": long(f"{TIMES[0]},AT004,feed-in,1", header="timestamp,meter,direction,value_kwh"),
        },
        [
            (
                "direction-conflict", "b.csv", 2, "value_kwh", "AT004",
                "all readings of a meter with a direction, or none",
            )
        ],
    ),
    "status unknown": (
        ("AT001",), {},
        {"a": long(f"{TIMES[0]},AT001,guessed,1", header="timestamp,meter,status,value_kwh")},
        [("status-unknown", "a.csv", 2, "status", "guessed", "measured, estimated, substitute")],
    ),
    "wrong year": (
        ("AT001",), {}, {"a": wide("1", "2", times=("2025-01-01 00:00", "2199-01-01 00:15"))},
        [("outside-period", "", None, "", "", "at most 4,000,000 intervals")],
    ),
    "several at once": (
        ("AT001", "AT002"), {},
        {"a": wide("x,1", ",2", "3,-3", "4,nan", header="time,AT001 kWh,AT002 kWh")},
        [
            ("value-not-number", "a.csv", 2, "AT001 kWh", "x", DECIMAL),
            ("value-empty", "a.csv", 3, "AT001 kWh", "", DECIMAL),
            ("value-not-finite", "a.csv", 5, "AT002 kWh", "nan", DECIMAL),
            ("value-negative", "a.csv", 4, "AT002 kWh", "-3", "0 or more"),
        ],
    ),
    "errors of two files and a gap": (
        ("AT001", "AT002"), {},
        {
            "a": wide("x", "0.2", "0.3", "0.4"),
            "b": wide("1", "2", "0.0005", times=(TIMES[0], TIMES[1], TIMES[3]), header="time,AT002 kWh"),
        },
        [
            ("value-not-number", "a.csv", 2, "AT001 kWh", "x", DECIMAL),
            ("value-not-whole", "b.csv", 4, "AT002 kWh", "0.0005", "a whole number of Wh"),
            ("gap", "b.csv", 3, "AT002 kWh", "2025-01-01 00:15+01:00", f"every interval from {ALL}"),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_file(desk: Any, name: str) -> None:
    meters, settings, files, expected = CASES[name]
    error = desk.error(*meters, settings=settings, **files)
    found = [(f.code, f.file, f.row, f.column, f.value, f.expected) for f in error.findings]
    assert found == expected
    assert error.more == 0


@pytest.mark.parametrize("name", CASES)
def test_message_names_place_value_and_what_to_do(desk: Any, name: str) -> None:
    meters, settings, files, _ = CASES[name]
    error = desk.error(*meters, settings=settings, **files)
    lines = str(error).split("\n")
    assert len(lines) == len(error.findings)
    for line, finding in zip(lines, error.findings, strict=True):
        for part in (finding.file, finding.value, finding.expected, finding.message):
            assert part in line
        assert finding.row is None or f"row {finding.row}" in line
        assert finding.column in line
        assert str(desk.folder) not in line
        assert len(finding.message) > 15


def test_every_code_for_meter_files_occurs() -> None:
    elsewhere = {
        "settings", "no-files", "no-meters", "file-missing", "file-unreadable", "file-too-large", "meter-repeated",
        "member-repeated", "meter-missing", "meter-conflict", "place-missing", "source-unknown",
    }  # fmt: skip
    assert {finding[0] for case in CASES.values() for finding in case[3]} == set(CODES) - elsewhere


def test_settings_key_is_named(desk: Any) -> None:
    for name, key in {
        "day or month": "date_order", "either separator": "separator", "no unit": "unit",
        "decimals that may be thousands": "decimal", "half-hour file": "step_s = 1800",
        "24:00 with start stamps": "stamp", "not whole": "rounding",
    }.items():  # fmt: skip
        meters, settings, files, _ = CASES[name]
        assert key in str(desk.error(*meters, settings=settings, **files)), name


def test_duplicate_names_both_places(desk: Any) -> None:
    error = desk.error("AT001", a=wide(*GOOD), b=wide("0.3", "0.9", times=TIMES[2:]))
    assert len(error.findings) == 1
    assert "also in a.csv, row 4, with the same value (and 1 more readings)" in str(error)
    error = desk.error("AT001", a=wide(*GOOD), b=wide("0.9", times=TIMES[2:3]))
    assert "also in a.csv, row 4, with another value;" in str(error)


def test_gap_of_several_meters_is_one_finding(desk: Any) -> None:
    text = wide("1,1", "2,2", "4,4", header="time,AT001 kWh,AT002 kWh", times=(TIMES[0], TIMES[1], TIMES[3]))
    error = desk.error("AT001", "AT002", a=text)
    assert len(error.findings) == 1
    assert "meter AT001 and 1 more: 1 interval missing, 2025-01-01 00:30+01:00" in str(error)


def test_findings_are_capped(desk: Any) -> None:
    times = tuple(f"2025-01-01 {n // 4:02d}:{n % 4 * 15:02d}" for n in range(90))
    error = desk.error("AT001", a=wide(*["x"] * 90, times=times))
    assert len(error.findings) == 50
    assert error.more == 40
    assert str(error).endswith("\nand 40 more")
    assert [finding.row for finding in error.findings] == list(range(2, 52))


def test_structural_findings_beyond_the_cap_stop_the_search_for_gaps(desk: Any) -> None:
    times = tuple(f"2025-01-01 {n // 4:02d}:{n % 4 * 15:02d}" for n in range(90))
    text = wide(*["x"] * 90, times=times) + "2025-01-02 00:00,1,1\n" + "2025-01-03 00:00,1\n"
    error = desk.error("AT001", a=text)
    assert {finding.code for finding in error.findings} == {"row-length", "value-not-number"}
    assert error.more == 41


def test_rows_outside_the_period(desk: Any) -> None:
    period = desk.data("AT001", a=wide(*GOOD)).grid
    error = desk.error("AT001", a=wide("9", times=("2025-01-01 01:00",)), complete=False, grid=period)
    finding = error.findings[0]
    assert (finding.code, finding.file, finding.row) == ("outside-period", "a.csv", 2)
    assert finding.value == "2025-01-01 01:00+01:00"
    assert finding.expected == "2025-01-01 00:00+01:00 to before 2025-01-01 01:00+01:00"


def test_period_with_another_step(desk: Any) -> None:
    period = desk.data("AT001", a=wide(*GOOD)).grid
    with pytest.raises(InputError, match="the period has intervals of 900 s, the settings of 3600 s"):
        desk.read("AT001", b=wide("1", times=TIMES[:1]), grid=period, settings={"step_s": 3600})


def test_error_survives_a_change_of_process(desk: Any) -> None:
    error = desk.error("AT001", a=wide("x", *GOOD[1:]))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.findings, again.more) == (str(error), error.findings, error.more)


def test_long_values_are_cut_in_messages(desk: Any) -> None:
    error = desk.error("AT001", a=wide("x" * 5000, *GOOD[1:]))
    assert error.findings[0].value == "x" * 5000
    assert len(str(error)) < 300


def test_many_unknown_meters_are_counted_quickly(desk: Any) -> None:
    rows = [f"{TIMES[0]},XX{k:05d},1" for k in range(20_000)]
    error = desk.error(a=long(*rows))
    assert {f.code for f in error.findings} == {"meter-unknown"}
    assert (len(error.findings), error.more) == (50, 19_950)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    settings = MeterSettings(timezone="Europe/Vienna", stamp="start")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as caught:
        read_meter_files([tmp_path / "no.csv", tmp_path / "folder"], [Meter("AT001", "anna")], settings)
    assert [(f.code, f.file) for f in caught.value.findings] == [
        ("file-missing", "no.csv"),
        ("file-unreadable", "folder"),
    ]


def test_file_without_permission(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    error = desk.error("AT001", a=wide(*GOOD))
    assert [(f.code, f.file) for f in error.findings] == [("file-unreadable", "a.csv")]
    assert str(error) == "a.csv: the file cannot be opened: permission denied; check its permissions"


def test_file_beyond_the_limit(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wattle.intake.csvtable.FILE_BYTES_MAX", 20)
    error = desk.error("AT001", a=wide(*GOOD))
    assert [(f.code, f.expected) for f in error.findings] == [("file-too-large", "at most 20 bytes")]


def test_nothing_to_read() -> None:
    settings = MeterSettings(timezone="Europe/Vienna", stamp="start")
    with pytest.raises(InputError) as caught:
        read_meter_files([], [], settings)
    assert [f.code for f in caught.value.findings] == ["no-files", "no-meters"]


def test_meter_of_two_members(desk: Any) -> None:
    settings = MeterSettings(timezone="Europe/Vienna", stamp="start")
    with pytest.raises(InputError) as caught:
        read_meter_files(desk.write(a=wide(*GOOD)), [Meter("AT001", "anna"), Meter("AT001", "bert")], settings)
    assert [(f.code, f.value) for f in caught.value.findings] == [("meter-repeated", "AT001")]


def test_error_is_caught_as_the_error_of_the_core(desk: Any) -> None:
    with pytest.raises(checks.InputError):
        desk.read("AT001", a="")


def test_files_of_one_name_keep_their_folder(tmp_path: Path) -> None:
    settings = MeterSettings(timezone="Europe/Vienna", stamp="start")
    paths = []
    for folder, value in (("march", "x"), ("april", "y")):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "meters.csv")
        paths[-1].write_text(wide(value, times=TIMES[:1]))
    with pytest.raises(InputError) as caught:
        read_meter_files(paths, [Meter("AT001", "anna")], settings, complete=False)
    assert {f.file for f in caught.value.findings} == {"march/meters.csv", "april/meters.csv"}


SETTINGS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"timezone": "Europe/Wien"}, "timezone", "Europe/Wien", "Europe/Wien"),
    ({"timezone": "Europe/Viena"}, "timezone", "Europe/Viena", "Europe/Vienna"),
    ({"timezone": ""}, "timezone", "", ""),
    ({"stamp": "begin"}, "stamp", "begin", '"start", "end"'),
    ({"unit": "MWh"}, "unit", "MWh", '"kWh", "Wh", "kW", "W"'),
    ({"separator": "\t"}, "separator", "\t", '",", ";"'),
    ({"decimal": ";"}, "decimal", ";", '".", ","'),
    ({"date_order": "ymd"}, "date_order", "ymd", '"dmy", "mdy"'),
    ({"rounding": "half-up"}, "rounding", "half-up", '"largest-remainder"'),
    ({"step_s": 700}, "step_s", "700", "300, 900, 1800 or 3600"),
    ({"step_s": 900.0}, "step_s", "900.0", "300, 900, 1800 or 3600"),
    ({"step_s": 0}, "step_s", "0", "300, 900, 1800 or 3600"),
    ({"lot_wh": 0.1}, "lot_wh", "0.1", 'a decimal text such as "1" or "0.1"'),
    ({"lot_wh": "-1"}, "lot_wh", "-1", 'a decimal text such as "1" or "0.1"'),
    ({"lot_wh": "nan"}, "lot_wh", "nan", 'a decimal text such as "1" or "0.1"'),
]


@pytest.mark.parametrize(("wrong", "key", "value", "expected"), SETTINGS, ids=str)
def test_wrong_setting(wrong: dict[str, Any], key: str, value: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        MeterSettings(**{"timezone": "Europe/Vienna", "stamp": "start"} | wrong)
    (finding,) = caught.value.findings
    assert (finding.code, finding.column, finding.value) == ("settings", key, value)
    if key == "timezone":
        assert finding.expected != ""
        assert expected in (finding.expected, finding.value)
    else:
        assert finding.expected == expected
    assert f"setting {key}: " in str(finding)


def test_unknown_format(desk: Any) -> None:
    error = desk.error("AT001", a=wide(*GOOD), settings={"format": "generic-cvs"})
    assert str(error) == "setting format: no reader has this name (found 'generic-cvs', expected generic-csv)"


def test_lot_without_decimal_form() -> None:
    with pytest.raises(InputError, match="lot_wh must be an exact number above 0"):
        MeterSettings(timezone="Europe/Vienna", stamp="start", lot_wh=Fraction(1, 3))
