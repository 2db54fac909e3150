"""Whole numbers written in any format and read again are the same numbers; autodetection never misreads."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattle.core.units import decimal_text
from wattle.intake import InputError, Meter, MeterSettings, read_meter_files

ZONES = {
    "Europe/Vienna": ["2025-01-01", "2025-03-30", "2025-10-26", "2025-12-13"],
    "America/New_York": ["2025-03-09", "2025-11-02"],
    "Australia/Lord_Howe": ["2025-04-06", "2025-10-05"],
}
KINDS = ("consumption", "feed-in", "signed")
PER_KWH = {"kWh": Fraction(1, 1000), "Wh": Fraction(1), "kW": Fraction(4, 1000), "W": Fraction(4)}
DATES = {"iso": "%Y-%m-%d %H:%M", "iso-t": "%Y-%m-%dT%H:%M:%S%z", "dot": "%d.%m.%Y %H:%M:%S", "dmy": "%d/%m/%Y %H:%M",
         "mdy": "%m/%d/%Y %H:%M"}  # fmt: skip
OPEN = {"decimal-unknown", "date-order"}
"""What autodetection may answer instead of numbers."""


@dataclass(frozen=True)
class Format:
    layout: str
    separator: str
    decimal: str
    unit: str
    dates: str
    stamp: str
    encoding: str
    line_end: str
    quote_all: bool
    spare_zeros: int
    meter_major: bool


formats = st.builds(
    Format,
    layout=st.sampled_from(["wide", "long"]),
    separator=st.sampled_from([",", ";"]),
    decimal=st.sampled_from([".", ","]),
    unit=st.sampled_from(list(PER_KWH)),
    dates=st.sampled_from(list(DATES)),
    stamp=st.sampled_from(["start", "end"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1252"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quote_all=st.booleans(),
    spare_zeros=st.integers(0, 3),
    meter_major=st.booleans(),
)


def number(lots: int, form: Format) -> str:
    text = decimal_text(lots * PER_KWH[form.unit])
    if form.spare_zeros:
        text += ("" if "." in text else ".") + "0" * form.spare_zeros
    return text.replace(".", form.decimal)


def write(form: Format, zone: str, starts: list[int], meters: list[Meter], lots: np.ndarray) -> bytes:
    shift = 900 if form.stamp == "end" else 0
    times = [datetime.fromtimestamp(s + shift, ZoneInfo(zone)).strftime(DATES[form.dates]) for s in starts]
    out = io.StringIO()
    quoting = csv.QUOTE_ALL if form.quote_all else csv.QUOTE_MINIMAL
    writer = csv.writer(out, delimiter=form.separator, quoting=quoting, lineterminator=form.line_end)
    if form.layout == "wide":
        writer.writerow(["Zeit für alle", *(f"{meter.id} [{form.unit}]" for meter in meters)])
        writer.writerows([time, *(number(int(v), form) for v in row)] for time, row in zip(times, lots, strict=True))
    else:
        writer.writerow(["timestamp", "meter", f"value_{form.unit}"])
        cells = [(t, m) for t in range(len(times)) for m in range(len(meters))]
        cells = sorted(cells, key=lambda cell: cell[1]) if form.meter_major else cells
        writer.writerows([times[t], meters[m].id, number(int(lots[t, m]), form)] for t, m in cells)
    return out.getvalue().encode(form.encoding)


@st.composite
def communities(draw: st.DrawFn) -> tuple[str, list[int], list[Meter], np.ndarray]:
    zone = draw(st.sampled_from(list(ZONES)))
    day = datetime.fromisoformat(draw(st.sampled_from(ZONES[zone]))).replace(tzinfo=ZoneInfo(zone))
    first = int(day.timestamp()) + 900 * draw(st.integers(-8, 0))
    starts = list(range(first, first + 900 * draw(st.sampled_from([24, 28, 40])), 900))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    meters = [Meter(f"Zähler{k}", f"m{k % 2}", kind) for k, kind in enumerate(kinds)]  # type: ignore[arg-type]
    seed = draw(st.integers(0, 2**32 - 1))
    top = draw(st.sampled_from([3, 2000, 10**8]))
    lots = np.random.default_rng(seed).integers(0, top, (len(starts), len(meters)), endpoint=True)
    signs = np.array([draw(st.sampled_from([1, -1])) if kind == "signed" else 1 for kind in kinds])
    return zone, starts, meters, lots * signs


def expected_energy(meters: list[Meter], lots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return consumption and feed-in by member, added up in plain loops."""
    members = list(dict.fromkeys(meter.member for meter in meters))
    both = np.zeros((2, len(lots), len(members)), np.int64)
    for t, row in enumerate(lots.tolist()):
        for meter, value in zip(meters, row, strict=True):
            feeds = meter.kind == "feed-in" or value < 0
            both[int(feeds), t, members.index(meter.member)] += abs(value)
    return both[0], both[1]


def read(path: Path, form: Format, zone: str, meters: list[Meter], **more: Any) -> Any:
    rules = MeterSettings(timezone=zone, stamp=form.stamp, **more)  # type: ignore[arg-type]
    return read_meter_files([path], meters, rules)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(form=formats, community=communities())
def test_round_trip(tmp_path: Path, form: Format, community: tuple[str, list[int], list[Meter], np.ndarray]) -> None:
    zone, starts, meters, lots = community
    path = tmp_path / "meters.csv"
    path.write_bytes(write(form, zone, starts, meters, lots))
    order = form.dates if form.dates in ("dmy", "mdy") else None
    data = read(path, form, zone, meters, decimal=form.decimal, separator=form.separator, date_order=order)
    check(data, starts, meters, lots)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(form=formats, community=communities())
def test_autodetection_is_right_or_asks(
    tmp_path: Path, form: Format, community: tuple[str, list[int], list[Meter], np.ndarray]
) -> None:
    zone, starts, meters, lots = community
    path = tmp_path / "meters.csv"
    path.write_bytes(write(form, zone, starts, meters, lots))
    codes = set()
    try:
        check(read(path, form, zone, meters), starts, meters, lots)
    except InputError as error:
        codes = {finding.code for finding in error.findings}
    assert codes <= OPEN
    assert "decimal-unknown" not in codes or form.separator == ";" or form.decimal == ","
    assert "date-order" not in codes or form.dates in ("dmy", "mdy")


def check(data: Any, starts: list[int], meters: list[Meter], lots: np.ndarray) -> None:
    consumption, feed_in = expected_energy(meters, lots)
    assert data.start_s == starts[0]
    assert data.count == len(starts)
    assert np.array_equal(data.consumption, consumption)
    assert np.array_equal(data.feed_in, feed_in)
    assert np.array_equal(data.energy, consumption - feed_in)
    assert data.consumption.sum() + data.feed_in.sum() == np.abs(lots).sum()
