"""Files of every shape that leaves one reading: loaded as they are, with what was found written down."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from wattle.core.timegrid import TimeGrid
from wattle.intake import InputError, Meter, MeterSettings, apply_corrections, assemble, read_meter_files, readers
from wattle.intake import meters as meters_module
from wattle.intake.csvtable import FileBytes
from wattle.intake.findings import Findings
from wattle.intake.meters import FileRows, Request, reader

NEW_YEAR = int(datetime(2024, 12, 31, 23, tzinfo=UTC).timestamp())
TIMES = ("2025-01-01 00:00", "2025-01-01 00:15", "2025-01-01 00:30", "2025-01-01 00:45")
PLAIN = "time,AT001 kWh\n" + "".join(f"{time},0.{k}\n" for k, time in enumerate(TIMES, 1))

MESSY: dict[str, tuple[str | bytes, dict[str, Any], dict[str, str]]] = {
    "plain": (PLAIN, {}, {"separator": ",", "decimal": ".", "unit": "kWh", "encoding": "utf-8", "layout": "wide"}),
    "semicolons and commas": (
        PLAIN.replace(",", ";").replace("0.", "0,"), {}, {"separator": ";", "decimal": ",", "unit": "kWh"},
    ),
    "byte order mark": (b"\xef\xbb\xbf" + PLAIN.encode(), {}, {"encoding": "utf-8-sig"}),
    "Windows line ends": (PLAIN.replace("\n", "\r\n"), {}, {"encoding": "utf-8"}),
    "old Macintosh line ends": (PLAIN.replace("\n", "\r"), {}, {"encoding": "utf-8"}),
    "no line end at the end": (PLAIN.rstrip(), {}, {}),
    "blank lines at the end": (PLAIN + "\n \n\r\n", {}, {}),
    "Windows-1252": (PLAIN.replace("time", "Zeit für Zähler").encode("cp1252"), {}, {"encoding": "cp1252"}),
    "quoted": (
        "\n".join('"' + '","'.join(line.split(",")) + '"' for line in PLAIN.strip().split("\n")) + "\n", {}, {},
    ),
    "quoted decimal commas": (
        PLAIN.replace(",0.", ',"0,').replace("\n", '"\n').replace('kWh"', "kWh"),
        {}, {"separator": ",", "decimal": ","},
    ),
    "quoted header with the separator in it": (PLAIN.replace("time", '"time, local"'), {}, {"separator": ","}),
    "separator line": ("sep=;\r\n" + PLAIN.replace(",", ";"), {}, {"separator": ";"}),
    "blanks around cells": (PLAIN.replace(",", " ,\t "), {}, {}),
    "empty columns at the end": (PLAIN.replace("\n", ",,\n"), {}, {}),
    "unit in brackets": (PLAIN.replace("AT001 kWh", "AT001 [kWh]"), {}, {"unit": "kWh"}),
    "unit in round brackets": (PLAIN.replace("AT001 kWh", "AT001(kwh)"), {}, {"unit": "kWh"}),
    "unit after an underscore": (PLAIN.replace("AT001 kWh", "AT001_kWh"), {}, {"unit": "kWh"}),
    "unit from the settings": (PLAIN.replace(" kWh", ""), {"unit": "kWh"}, {"unit": "kWh"}),
    "Wh without decimals": (PLAIN.replace("kWh", "Wh").replace(",0.", ",") .replace("\n", "00\n").replace("Wh00", "Wh"),
                            {}, {"unit": "Wh", "decimal": ""}),
    "power in kW": (
        PLAIN.replace("kWh", "kW").replace("0.1", "0.4").replace(",0.2", ",0.8").replace(",0.3", ",1.2")
        .replace("0:45,0.4", "0:45,1.6"), {}, {"unit": "kW"},
    ),
    "power in W": (
        PLAIN.replace("kWh", "W").replace(",0.1", ",400").replace(",0.2", ",800").replace(",0.3", ",1200")
        .replace(",0.4", ",1600"), {}, {"unit": "W"},
    ),
    "signs and bare marks": (PLAIN.replace("0.1", "+.1").replace("0.2", "00.200"), {}, {}),
    "time column not first": (
        "AT001 kWh,Timestamp\n" + "".join(f"0.{k},{t}\n" for k, t in enumerate(TIMES, 1)), {}, {},
    ),
    "German dates": (PLAIN.replace("2025-01-01", "01.01.2025"), {}, {}),
    "German dates without zeros": (PLAIN.replace("2025-01-01 0", "1.1.2025 "), {}, {}),
    "seconds": (PLAIN.replace(",0.", ":00,0."), {}, {}),
    "ISO with T": (PLAIN.replace("01 0", "01T0"), {}, {}),
    "ISO with offset": (PLAIN.replace(",0.", "+01:00,0."), {}, {}),
    "UTC": (
        PLAIN.replace("2025-01-01 00", "2024-12-31T23").replace(",0.", "Z,0."), {}, {},
    ),
    "slashed dates, order set": (
        PLAIN.replace("2025-01-01", "01/01/2025"), {"date_order": "mdy"}, {"date_order": "mdy"},
    ),
    "end stamps": (
        PLAIN.replace("0:45", "1:00").replace("0:30", "0:45").replace("0:15", "0:30").replace("0:00,", "0:15,"),
        {"stamp": "end"}, {},
    ),
    "unordered rows": ("\n".join([PLAIN.split("\n")[0], *reversed(PLAIN.strip().split("\n")[1:])]), {}, {}),
    "shuffled rows": ("\n".join(PLAIN.strip().split("\n")[k] for k in (0, 3, 1, 4, 2)), {}, {}),
    "long": (
        "timestamp;meter;value_kwh\n" + "".join(f"{t};AT001;0,{k}\n" for k, t in enumerate(TIMES, 1)), {},
        {"layout": "long", "separator": ";", "decimal": ",", "unit": "kWh"},
    ),
    "long, other order of columns, all columns": (
        "Status,Value (kWh),Direction,Meter ID,Start\n"
        + "".join(f"Measured,0.{k},Consumption,AT001,{t}\n" for k, t in enumerate(TIMES, 1)), {}, {"layout": "long"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSY)
def test_messy_file_loads(desk: Any, name: str) -> None:
    """Each holds 100, 200, 300 and 400 Wh from midnight on 2025-01-01 in Vienna."""
    content, settings, expected = MESSY[name]
    data = desk.data("AT001", settings=settings, a=content)
    assert (data.start_s, data.step_s, data.count) == (NEW_YEAR, 900, 4)
    assert data.energy.tolist() == [[100], [200], [300], [400]]
    assert data.consumption.tolist() == data.energy.tolist()
    assert data.feed_in.tolist() == [[0]] * 4
    (summary,) = data.summaries
    assert {key: getattr(summary, key) for key in expected} == expected
    assert (summary.rows, summary.meters) == (4, ("AT001",))
    assert (summary.first, summary.last) == ("2025-01-01 00:00+01:00", "2025-01-01 00:45+01:00")
    raw = content if isinstance(content, bytes) else content.encode()
    assert summary.sha256 == hashlib.sha256(raw).hexdigest()
    text = raw.decode("cp1252").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    digits = {100: ("1", "4"), 200: ("2", "8"), 300: ("3", "12"), 400: ("4", "16")}
    for lots, row in zip(data.energy[:, 0].tolist(), data.source_row[:, 0].tolist(), strict=True):
        assert any(digit in text[row - 1].replace("2025", "") for digit in digits[lots])


def test_rows_are_lines_of_the_file_even_with_quoted_line_breaks(desk: Any) -> None:
    text = '"time\nlocal",AT001 kWh\n2025-01-01 00:00,0.1\n2025-01-01 00:15,0.2\n'
    data = desk.data("AT001", a=text)
    assert data.source_row.tolist() == [[3], [4]]
    error = desk.error("AT001", a=text.replace("0.2", "x"))
    assert error.findings[0].row == 4
    error = desk.error("AT001", a="sep=;\n" + PLAIN.replace(",", ";").replace("0.2", "x"))
    assert error.findings[0].row == 4


def test_meters_of_a_member_are_netted(desk: Any) -> None:
    text = (
        "time;AT001 kWh;AT002 Wh;AT003 kWh;AT004 kWh\n"
        "2025-01-01 00:00;0,001;200;0,3;-0,4\n"
        "2025-01-01 00:15;0,002;50;0;0,5\n"
    )
    data = desk.data(a=text)
    assert data.members == ("anna", "bert", "cleo")
    assert data.energy.tolist() == [[1, -100, -400], [2, 50, 500]]
    assert data.consumption.tolist() == [[1, 200, 0], [2, 50, 500]]
    assert data.feed_in.tolist() == [[0, 300, 400], [0, 0, 0]]
    assert data.register_energy.tolist() == [[1, 200, -300, -400], [2, 50, 0, 500]]
    assert data.summaries[0].unit == "kWh, Wh"
    assert not data.energy.flags.writeable
    assert not data.source_row.flags.writeable


def test_two_directions_of_one_meter(desk: Any) -> None:
    text = "timestamp,meter,direction,status,value_wh\n" + "".join(
        f"{time},AT004,{direction},{status},{value}\n"
        for time, direction, status, value in (
            (TIMES[0], "consumption", "measured", 5), (TIMES[1], "consumption", "estimated", 6),
            (TIMES[1], "feed_in", "substitute", 8), (TIMES[0], "feed-in", "estimated", 7),
        )
    )  # fmt: skip
    data = desk.data("AT004", a=text)
    assert data.energy.tolist() == [[-2], [-2]]
    assert data.consumption.tolist() == [[5], [6]]
    assert data.feed_in.tolist() == [[7], [8]]
    assert [(source.row, source.energy, source.status) for source in data.sources(1, 0)] == [
        (3, 6, "estimated"), (4, -8, "substitute"),
    ]  # fmt: skip
    assert (data.summaries[0].estimated, data.summaries[0].substitute) == (2, 1)


def test_sources_name_file_row_and_column(desk: Any) -> None:
    first = "time,AT002 Wh,AT003 Wh\n" + "".join(f"{time},{k},0\n" for k, time in enumerate(TIMES[:2], 1))
    second = "timestamp,meter,value_wh\n" + "".join(
        f"{time},{meter},{k}\n" for k, time in enumerate(TIMES[2:], 3) for meter in ("AT002", "AT003")
    )
    data = desk.data("AT002", "AT003", a=first, b=second)
    assert [(s.meter, s.file, s.row, s.column, s.energy, s.status) for s in data.sources(1, 0)] == [
        ("AT002", "a.csv", 3, "AT002 Wh", 2, "not stated"), ("AT003", "a.csv", 3, "AT003 Wh", 0, "not stated"),
    ]  # fmt: skip
    assert [(s.meter, s.file, s.row, s.column, s.energy) for s in data.sources(3, 0)] == [
        ("AT002", "b.csv", 4, "value_wh", 4), ("AT003", "b.csv", 5, "value_wh", -4),
    ]  # fmt: skip
    file, row = data.source
    assert file.tolist() == [[0, 0], [0, 0], [1, 1], [1, 1]]
    assert row.tolist() == [[2, 2], [3, 3], [2, 3], [4, 5]]
    assert (file.dtype, row.dtype) == (np.int16, np.int32)


def test_summary_as_text(desk: Any) -> None:
    data = desk.data("AT001", a=PLAIN)
    assert str(data.summaries[0]) == (
        "a.csv: wide layout, utf-8, cells parted by ',', decimal '.', kWh, 4 rows, 1 meter, "
        "2025-01-01 00:00+01:00 to 2025-01-01 00:45+01:00"
    )
    data = desk.data("AT001", a=PLAIN.replace("\n", ",\n"))
    assert str(data.summaries[0]).endswith(", 1 column(s) at the end without name and content left out")


def test_note_on_whole_days_with_the_other_stamp(desk: Any) -> None:
    times = [f"2025-01-01 {n // 4:02d}:{n % 4 * 15:02d}" for n in range(1, 97)]  # to 24:00
    text = "time,AT001 Wh\n" + "".join(f"{time},1\n" for time in times)
    text = text.replace("2025-01-01 24:00", "2025-01-02 00:00")
    (note,) = desk.data("AT001", a=text).summaries[0].notes
    assert note == 'with stamp = "end" the file would hold whole days: check this setting'
    assert desk.data("AT001", a=text, settings={"stamp": "end"}).summaries[0].notes == ()


def test_lots(desk: Any) -> None:
    text = "time,AT001 kWh\n2025-01-01 00:00,0.0001\n2025-01-01 00:15,1.5\n"
    assert desk.data("AT001", a=text, settings={"lot_wh": "0.1"}).energy.tolist() == [[1], [15000]]
    text = "time,AT001 kWh\n2025-01-01 00:00,0.1\n2025-01-01 00:15,1.5\n"
    assert desk.data("AT001", a=text, settings={"lot_wh": 50}).energy.tolist() == [[2], [30]]


def test_hourly_power(desk: Any) -> None:
    text = "time,AT001 W\n2025-01-01 00:00,7\n2025-01-01 01:00,8\n"
    data = desk.data("AT001", a=text, settings={"step_s": 3600})
    assert data.energy.tolist() == [[7], [8]]
    assert data.grid == TimeGrid(NEW_YEAR, 3600, 2)


def test_rounding_keeps_the_day_and_is_reported(desk: Any) -> None:
    """0.3 kWh in a day of 96 values of 3.125 Wh; each gets 3 or 4 Wh."""
    times = [f"2025-01-0{day} {n // 4:02d}:{n % 4 * 15:02d}" for day in (1, 2) for n in range(96)]
    text = "time,AT001 kWh,AT004 kWh\n" + "".join(f"{time},0.003125,-0.001\n" for time in times)
    assert [f.code for f in desk.error("AT001", "AT004", a=text).findings] == ["value-not-whole"] * 50
    data = desk.data("AT001", "AT004", a=text, settings={"rounding": "largest-remainder"})
    assert data.energy[:, 0].reshape(2, 96).sum(axis=1).tolist() == [300, 300]
    assert set(data.energy[:, 0].tolist()) == {3, 4}
    assert data.energy[:8, 0].tolist() == [3, 3, 3, 4, 3, 3, 3, 3]
    assert set(data.energy[:, 1].tolist()) == {-1}
    assert data.summaries[0].rounded == 192
    assert "192 values rounded, remainders carried on" in str(data.summaries[0])


def test_whole_values_are_not_changed_by_rounding(desk: Any) -> None:
    data = desk.data("AT001", a=PLAIN, settings={"rounding": "largest-remainder"})
    assert data.energy.tolist() == [[100], [200], [300], [400]]
    assert data.summaries[0].rounded == 0


def test_period_given_from_outside(desk: Any) -> None:
    period = TimeGrid(NEW_YEAR, 900, 4)
    assert desk.data("AT001", a=PLAIN, grid=period).grid == period
    error = desk.error("AT001", a=PLAIN, grid=TimeGrid(NEW_YEAR, 900, 6))
    assert [(f.code, f.row) for f in error.findings] == [("span", 5)]
    assert "ends early: 2 intervals missing, 2025-01-01 01:00+01:00 to 2025-01-01 01:15+01:00" in str(error)


CORRECTION = "timestamp,meter,status,value_kwh\n2025-01-01 00:30,AT003,substitute,0.007\n"


def test_corrections_are_any_rows(desk: Any) -> None:
    batch = desk.rows(a=CORRECTION, grid=TimeGrid(NEW_YEAR, 900, 4))
    (register,) = [batch.registers[number] for number in batch.rows.register.tolist()]
    assert (register.meter, register.member, register.sign) == ("AT003", 1, -1)
    assert batch.rows.to_lists() | {"register": None} == {
        "interval": [2], "register": None, "value": [-7], "file": [0], "row": [2], "status": [3],
    }  # fmt: skip
    assert batch.members == ("anna", "bert", "cleo")


def test_corrections_without_a_period_start_at_their_first_row(desk: Any) -> None:
    batch = desk.rows(a=CORRECTION + "2025-01-01 01:00,AT001,measured,1\n")
    assert batch.grid == TimeGrid(NEW_YEAR + 1800, 900, 3)
    assert batch.rows.interval.tolist() == [0, 2]


def test_duplicates_in_corrections_are_refused(desk: Any) -> None:
    error = desk.error(a=CORRECTION + "2025-01-01 00:30,AT003,measured,0.008\n", complete=False)
    assert [(f.code, f.file, f.row) for f in error.findings] == [("duplicate", "a.csv", 3)]


def test_a_correction_in_the_repeated_hour_needs_an_offset(desk: Any) -> None:
    text = "timestamp,meter,value_kwh\n2025-10-26 02:15,AT001,1\n"
    error = desk.error(a=text, complete=False)
    assert [(f.code, f.row, f.value) for f in error.findings] == [("time-repeated", 2, "2025-10-26 02:15")]
    batch = desk.rows(a=text.replace("02:15", "02:15+01:00"))
    assert batch.start_s == int(datetime(2025, 10, 26, 1, 15, tzinfo=UTC).timestamp())


def test_apply_corrections(desk: Any) -> None:
    text = "time,AT001 Wh,AT002 Wh,AT003 Wh,AT004 Wh\n" + "".join(f"{time},1,20,30,-4\n" for time in TIMES)
    data = desk.data(a=text)
    batch = desk.rows(b=CORRECTION, grid=data.grid)
    new = apply_corrections(data, batch)
    changed = np.argwhere(new.energy != data.energy).tolist()
    assert changed == [[2, 1]]
    assert (new.energy[2, 1], new.consumption[2, 1], new.feed_in[2, 1]) == (13, 20, 7)
    assert [(s.file, s.row, s.status, s.energy) for s in new.sources(2, 1)] == [
        ("a.csv", 4, "not stated", 20), ("b.csv", 2, "substitute", -7),
    ]  # fmt: skip
    assert data.energy[2, 1] == -10  # the old data stay as they were
    assert [summary.name for summary in new.summaries] == ["a.csv", "b.csv"]


def test_a_correction_cannot_add_a_direction(desk: Any) -> None:
    data = desk.data("AT004", a="time,AT004 Wh\n" + "".join(f"{time},-4\n" for time in TIMES))
    text = f"timestamp,meter,direction,value_wh\n{TIMES[0]},AT004,feed-in,4\n"
    batch = desk.rows("AT004", b=text, grid=data.grid)
    with pytest.raises(InputError, match="no readings of meter AT004 with direction feed-in to correct") as caught:
        apply_corrections(data, batch)
    assert [(f.code, f.file, f.row) for f in caught.value.findings] == [("direction-conflict", "b.csv", 2)]


def test_assemble_checks_what_it_is_given(desk: Any) -> None:
    batch = desk.rows("AT001", a=PLAIN)
    assert assemble(batch).energy.tolist() == [[100], [200], [300], [400]]
    hole = desk.rows("AT001", a=PLAIN.replace("2025-01-01 00:30,0.3\n", ""))
    with pytest.raises(InputError, match="1 interval missing"):
        assemble(hole)


def test_a_reader_is_one_registered_function(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters_module, "_READERS", dict(readers()))

    @reader("always-seven")
    def read_seven(file: FileBytes, request: Request, findings: Findings) -> FileRows | None:
        template = readers()["generic-csv"](FileBytes(file.name, PLAIN.encode(), file.sha256), request, findings)
        assert template is not None
        return FileRows(
            template.start_s, template.register, template.value * 0 + 7, template.row, template.status, template.summary
        )  # fmt: skip

    assert list(readers()) == ["always-seven", "generic-csv"]
    data = desk.data("AT001", a="anything", settings={"format": "always-seven"})
    assert data.energy.tolist() == [[7]] * 4


def test_built_in_readers_are_found_by_themselves() -> None:
    assert list(readers()) == ["generic-csv"]
    assert readers()["generic-csv"].__module__ == "wattle.intake.format_generic_csv"


def test_meters_named_like_units(desk: Any) -> None:
    """A meter whose id ends like a unit is still that meter."""
    settings = MeterSettings(timezone="Europe/Vienna", stamp="start", unit="kWh")
    paths = desk.write(a=PLAIN.replace("AT001 kWh", "Haus W"))
    assert read_meter_files(paths, [Meter("Haus W", "anna")], settings).energy[:, 0].tolist() == [100, 200, 300, 400]
    paths = desk.write(a=PLAIN.replace("AT001 kWh", "Haus W kWh"))
    assert read_meter_files(paths, [Meter("Haus W", "anna")], settings).summaries[0].columns == {"Haus W": "Haus W kWh"}
