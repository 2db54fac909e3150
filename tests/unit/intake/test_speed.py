"""A year of quarter-hours for a hundred meters. The time is printed (pytest -s), never asserted: see `make bench`."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from wattle.intake import Meter, MeterSettings, read_meter_files

ZONE = ZoneInfo("Europe/Vienna")
INTERVALS, METERS = 35_040, 100


def test_year_of_a_hundred_meters(tmp_path: Path) -> None:
    first = int(datetime(2025, 1, 1, tzinfo=ZONE).timestamp())
    lots = np.random.default_rng(1).integers(0, 3000, (INTERVALS, METERS))
    lines = ["time;" + ";".join(f"AT{k:03d} kWh" for k in range(METERS))]
    for t, row in enumerate(lots.tolist()):
        stamp = datetime.fromtimestamp(first + 900 * t, ZONE).strftime("%d.%m.%Y %H:%M")
        lines.append(stamp + ";" + ";".join(f"{wh // 1000},{wh % 1000:03d}" for wh in row))
    path = tmp_path / "year.csv"
    path.write_text("\n".join(lines))
    meters = [Meter(f"AT{k:03d}", f"m{k}", "consumption") for k in range(METERS)]
    begin = time.perf_counter()
    data = read_meter_files([path], meters, MeterSettings(timezone="Europe/Vienna", stamp="start"))
    print(f"\n{INTERVALS:,} rows x {METERS} meters read in {time.perf_counter() - begin:.2f} s")
    assert np.array_equal(data.energy, lots)
    assert data.source_row[[0, -1], 0].tolist() == [2, INTERVALS + 1]
