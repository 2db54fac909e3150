"""Extract the sample village from SimBench into package data.

A developer's script, not part of the package: `pip install simbench` brings 680 MB, the extract is about 0.6 MB.
The same simbench version gives the same bytes. Run it as

    python tools/extract_village.py [folder]

It writes the curves (`profiles.npz`), the units and the grid (CSV). README.md beside them is written by hand: it names
the source, the licence (ODbL-1.0) and what is changed here.
"""

from __future__ import annotations

import csv
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import simbench

GRID = "1-LV-rural3--2-sw"
FOLDER = Path(__file__).resolve().parents[1] / "src" / "wattle" / "data" / "village"
CURVE_ONE = 10_000  # a stored curve value of 10,000 is the unit's rated power
KINDS = {
    "H0": "household", "G": "trade", "L": "farm", "HLS": "ev", "APLS": "ev", "Air": "heat-pump", "Soil": "heat-pump",
}  # fmt: skip


def main() -> None:
    """Write all files and print their sizes."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    net = simbench.get_simbench_net(GRID)
    # Empty in SimBench; pandapower 3 would then ignore the tap position without a word.
    net.trafo["tap_changer_type"] = "Ratio"
    _check(net)

    units = {"loads.csv": _loads(net), "pv.csv": _pv(net), "storages.csv": _storages(net)}
    grid = {
        "nodes.csv": _nodes(net), "lines.csv": _lines(net),
        "transformers.csv": _transformers(net), "sources.csv": _sources(net),
    }  # fmt: skip
    for name, rows in {**units, **grid}.items():
        _write(folder / name, rows)
    used = sorted({row["profile"] for name in ("loads.csv", "pv.csv") for row in units[name]})
    np.savez_compressed(folder / "profiles.npz", **{name: _curve(net, name) for name in used})

    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:>9,} bytes  {path.name}")
    print(f"{sum(path.stat().st_size for path in folder.iterdir()):>9,} bytes  in all")


def _check(net) -> None:
    """Stop if this SimBench differs from the one the loader was written for."""
    time = net.profiles["load"]["time"]
    clock = pd.to_datetime(time, format="%d.%m.%Y %H:%M")
    # The labels show clock time: an hour is missing in March and an hour comes twice in October. The rows themselves
    # follow one another without a gap, so the loader counts quarter-hours from the first row.
    if len(time) != 366 * 96 or str(clock.iloc[0]) != "2016-01-01 00:00:00":
        raise SystemExit("expected the 35,136 quarter-hours of 2016")
    if time.duplicated().sum() != 4 or "27.03.2016 02:00" in set(time):
        raise SystemExit("expected clock-time labels with both clock changes")
    if not net.switch.closed.all() or not net.line.in_service.all() or len(net.trafo) != 1:
        raise SystemExit("expected one transformer and no open switch or dead line")
    for table in (net.load, net.sgen, net.storage):
        if not (table.in_service.all() and (table.scaling == 1).all()):
            raise SystemExit("expected every unit in service, unscaled")


def _curve(net, profile: str) -> np.ndarray:
    """Return a curve as 16-bit integers, rated power = 10,000. Some EV curves hold tiny negative zeros."""
    table, column = ("renewables", profile) if profile.startswith("PV") else ("load", f"{profile}_pload")
    share = np.clip(net.profiles[table][column].to_numpy(float), 0, None)
    return np.rint(share * CURVE_ONE).astype(np.int16)


def _kind(profile: str) -> str:
    for prefix in sorted(KINDS, key=len, reverse=True):
        if profile.startswith(prefix):
            return KINDS[prefix]
    raise SystemExit(f"unknown kind of profile: {profile}")


def _loads(net) -> list[dict]:
    return [
        {
            "unit": number, "node": row.bus, "kind": _kind(row.profile), "profile": row.profile,
            "peak_w": round(row.p_mw * 1e6), "peak_var": round(row.q_mvar * 1e6),
        }
        for number, row in enumerate(_by_number(net.load), start=1)
    ]  # fmt: skip


def _pv(net) -> list[dict]:
    """Return the PV plants, then the PV that SimBench hides inside its storage units.

    A SimBench storage unit is PV and battery together: its series never takes power from the grid, and it equals PV of
    the storage's rated power, with the curve in its profile name, after the battery has served the home at that bus.
    """
    rows = [(row.bus, row.profile, row.p_mw, "plant") for row in _by_number(net.sgen)]
    for row in _by_number(net.storage):
        _, sun, home = row.profile.split("_")
        if not ((net.load.bus == row.bus) & (net.load.profile == home)).any():
            raise SystemExit(f"{row['name']}: its bus has no home with profile {home}")
        rows.append((row.bus, sun, row.sn_mva, "storage-unit"))
    return [
        {"unit": number, "node": bus, "profile": sun, "peak_w": round(p_mw * 1e6), "origin": origin}
        for number, (bus, sun, p_mw, origin) in enumerate(rows, start=1)
    ]


def _storages(net) -> list[dict]:
    # `efficiency_percent` is 0.95 and holds for each direction: with 0.95 for charging and 0.95 for discharging the
    # greedy rule reproduces SimBench's own storage series (correlation 0.994 to 0.998); what is left is a loss at rest,
    # which is not modelled here.
    return [
        {
            "unit": number, "node": row.bus,
            "energy_wh": round(row.max_e_mwh * 1e6), "power_w": round(row.sn_mva * 1e6),
            "charge_efficiency": row.efficiency_percent, "discharge_efficiency": row.efficiency_percent,
        }
        for number, row in enumerate(_by_number(net.storage), start=1)
    ]  # fmt: skip


def _nodes(net) -> list[dict]:
    place = [json.loads(text)["coordinates"] for text in net.bus.geo]
    return [
        {
            "node": bus, "name": row["name"], "nominal_v": round(row.vn_kv * 1e3),
            "voltage_pu_min": row.min_vm_pu, "voltage_pu_max": row.max_vm_pu,
            "longitude_deg": longitude, "latitude_deg": latitude,
        }
        for (bus, row), (longitude, latitude) in zip(net.bus.iterrows(), place, strict=True)
    ]  # fmt: skip


def _lines(net) -> list[dict]:
    return [
        {
            "name": row["name"], "from": row.from_bus, "to": row.to_bus, "length_m": round(row.length_km * 1e3, 3),
            "r_ohm_per_km": row.r_ohm_per_km, "x_ohm_per_km": row.x_ohm_per_km,
            "c_nf_per_km": round(row.c_nf_per_km, 3), "ampacity_a": round(row.max_i_ka * 1e3, 3), "cable": row.std_type,
        }
        for row in _by_number(net.line)
    ]  # fmt: skip


def _transformers(net) -> list[dict]:
    return [
        {
            "name": row["name"], "from": row.hv_bus, "to": row.lv_bus, "rated_va": round(row.sn_mva * 1e6),
            "high_v": round(row.vn_hv_kv * 1e3), "low_v": round(row.vn_lv_kv * 1e3),
            "short_circuit_percent": row.vk_percent, "short_circuit_real_percent": row.vkr_percent,
            "iron_loss_w": round(row.pfe_kw * 1e3), "no_load_current_percent": row.i0_percent,
            "vector_group": _vector_group(row.std_type), "shift_deg": row.shift_degree,
            "tap_side": row.tap_side, "tap_kind": row.tap_changer_type.lower(),
            "tap_neutral": round(row.tap_neutral), "tap_min": round(row.tap_min), "tap_max": round(row.tap_max),
            "tap_step_percent": row.tap_step_percent, "tap": round(row.tap_pos),
        }
        for row in _by_number(net.trafo)
    ]  # fmt: skip


def _vector_group(std_type: str) -> str:
    """Return the vector group, which SimBench keeps only in the name of the type, like '... 20/0.4 kV Dyn5 ASEA'."""
    return next(word for word in std_type.split() if word.startswith("Dyn"))


def _sources(net) -> list[dict]:
    return [
        {"name": row["name"], "node": row.bus, "voltage_pu": row.vm_pu, "angle_deg": row.va_degree}
        for row in _by_number(net.ext_grid)
    ]


def _by_number(table):
    """Return the rows ordered by the number at the end of their name ('LV3.101 Load 12'), or as they are."""
    rows = [row for _, row in table.iterrows()]
    last = [row["name"].split()[-1] for row in rows]
    if not all(word.isdigit() for word in last):
        return rows
    return [rows[place] for place in sorted(range(len(rows)), key=lambda place: int(last[place]))]


def _write(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
