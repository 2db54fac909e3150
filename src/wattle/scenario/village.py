"""The sample village: 118 members of a SimBench grid, a year of quarter-hours, from the data in the package.

It needs no account, no network and no other package: a newcomer's first run, the examples and the tests all use it.
Source, licence (ODbL-1.0) and what is changed: `data/village/README.md`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta, timezone
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wattle.assets.profile import like_days, load_members, sun_members
from wattle.assets.storage import Fleet, self_consumption
from wattle.core.checks import InputError
from wattle.core.columns import I32, I64

STEP_S = 900
STEPS_PER_DAY = 96
DAYS = 366
FIRST_S = int(datetime(2016, 1, 1, tzinfo=timezone(timedelta(hours=1))).timestamp())
"""2016-01-01T00:00+01:00. The rows go on in standard time: the sun keeps its hour over both clock changes, while shops
open an hour earlier in summer, and SimBench's own time labels jump with the clock."""

JUNE_WEEK = 157
"""Monday, 6 June: two dull days, then three sunny ones, then two mixed."""

CURVE_ONE = 10_000  # value of a stored curve that stands for the unit's rated power
LIKE_DAYS_REACH = 14  # people: the same kind of day within two weeks
LIKE_HEAT_REACH = 3  # heat pumps: any day, but only a few days away, for they follow the cold
SUN_UNIT = 10_000  # keeps the chance of PV plants apart from that of loads with the same number

# Members are listed by kind in this order, then by node.
NAMES = {"household": "home", "farm": "farm", "trade": "trade"}

# Days on which Germany rests as on a Sunday, and its clock changes.
HOLIDAYS = ("01-01", "03-25", "03-28", "05-05", "05-16", "10-03", "12-26")
CLOCK_CHANGES = ("03-27", "10-30")

TEXT = frozenset({"kind", "profile", "origin", "name", "cable", "vector_group", "tap_side", "tap_kind"})
WHOLE = frozenset({"unit", "node", "from", "to", "peak_w", "tap", "tap_min", "tap_max", "tap_neutral"})

Table = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Village:
    """N members over T intervals. Energies are whole Wh per interval; positive is consumption."""

    start_s: int  # UTC seconds at the start of the first interval
    step_s: int
    names: tuple[str, ...]  # "home-001", "trade-002"; a subset keeps the names of the whole village
    kinds: tuple[str, ...]  # "household", "farm" or "trade"
    node: I32  # [N] node of the grid, see `load_grid`
    load_wh: NDArray[np.int32]  # [T, N] all consumption, >= 0
    sun_wh: NDArray[np.int32]  # [T, N] generation, >= 0
    net_wh: NDArray[np.int32]  # [T, N] what the meter reads: load - sun, battery at work
    has_battery: NDArray[np.bool_]  # [N]
    pv_w: I64  # [N] rated power of the home's PV, 0 without
    battery_wh: I64  # [N] usable content, 0 without
    ev: NDArray[np.bool_]  # [N] an electric vehicle is charged here
    heat_pump: NDArray[np.bool_]  # [N]
    fleet: Fleet  # [K] the batteries, in the order of the members that have one


@dataclass(frozen=True, eq=False)
class Grid:
    """The village's network: one table (column name to array) per kind of part; columns as in the CSV files."""

    nodes: Table
    lines: Table
    transformers: Table
    sources: Table


class _Members(NamedTuple):
    node: I64  # [M], sorted
    kinds: tuple[str, ...]
    names: tuple[str, ...]


def load_village(
    homes: int | None = None, days: int | None = None, seed: int = 1, first_day: int | None = None
) -> Village:
    """Return the sample village, or a part of it.

    `homes` picks so many members, with the same shares of PV, batteries and trades as in the whole to one member, and
    nearly the same of heat pumps and vehicles; the seed decides who. `days` takes that many days from `first_day` on
    (0 is 1 January): by default a week in June, or as late as fits. `seed` also decides how homes with the same curve
    differ. A part is cut out of the whole: its members and days are, to the Wh, those of the whole village's year.
    """
    _check(homes, days, seed, first_day)
    count = DAYS - (first_day or 0) if days is None else days
    first = min(0 if days is None else JUNE_WEEK, DAYS - count) if first_day is None else first_day
    loads, pv, storages = (_read_table(name) for name in ("loads", "pv", "storages"))
    curves = _read_curves(sorted({*loads["profile"].tolist(), *pv["profile"].tolist()}))
    whole = _members(loads)
    chosen = _choose(whole, loads, pv, storages, homes, seed)
    members = _Members(whole.node[chosen], *(tuple(text[n] for n in chosen) for text in whole[1:]))

    loads, pv, storages = (_of(members, table) for table in (loads, pv, storages))
    load_wh = _load(members, loads, curves, seed)
    sun_wh = _sun(members, pv, curves, seed)
    battery_at = np.argsort(storages["member"], kind="stable")
    fleet = _fleet(storages, battery_at)
    net_wh = load_wh - sun_wh
    battery_homes = storages["member"][battery_at]
    net_wh[:, battery_homes] = self_consumption(fleet, net_wh[:, battery_homes], STEP_S / 3600)

    span = slice(first * STEPS_PER_DAY, (first + count) * STEPS_PER_DAY)
    battery_wh = _summed(members, storages, storages["energy_wh"])
    village = Village(
        start_s=FIRST_S + first * STEPS_PER_DAY * STEP_S,
        step_s=STEP_S,
        names=members.names,
        kinds=members.kinds,
        node=members.node.astype(np.int32),
        load_wh=load_wh[span],
        sun_wh=sun_wh[span],
        net_wh=net_wh[span],
        has_battery=battery_wh > 0,
        pv_w=_summed(members, pv, pv["peak_w"]),
        battery_wh=battery_wh,
        ev=_summed(members, loads, loads["kind"] == "ev") > 0,
        heat_pump=_summed(members, loads, loads["kind"] == "heat-pump") > 0,
        fleet=fleet,
    )
    for field in fields(village):
        column = getattr(village, field.name)
        if isinstance(column, np.ndarray):
            column.setflags(write=False)
    return village


def load_grid() -> Grid:
    """Return the network of the village: 129 nodes, 127 lines and one transformer, a tree.

    Units stand in the column names. A member's `node` is a row of `nodes`. The transformer's tap lies on its high side
    and changes the ratio; `tap` counts from `tap_neutral`. Every line is one cable, its values are per kilometre.
    """
    return Grid(*(_read_table(field.name) for field in fields(Grid)))


def places_m() -> tuple[I64, I64]:
    """Return where each node lies on a flat map of the village, in metres east and north of its transformer.

    Degrees become metres at the village's own latitude; over two kilometres that is right to a few centimetres.
    """
    nodes = load_grid().nodes
    east, north = (np.asarray(nodes[name], np.float64) for name in ("longitude_deg", "latitude_deg"))
    metres = 111_320.0  # a degree of latitude
    across = metres * np.cos(np.radians(north[0]))
    return (
        np.rint((east - east[0]) * across).astype(np.int64),
        np.rint((north - north[0]) * metres).astype(np.int64),
    )


def base_curves() -> tuple[NDArray[np.int16], NDArray[np.int16], I64]:
    """Return SimBench's own curves of households [T, P] and of sun [T, S], and the kind of each day [D].

    They are what larger villages are made of, see `assets.profile.scaled_members`.
    """
    with np.load(BytesIO((_data() / "profiles.npz").read_bytes()), allow_pickle=False) as stored:
        homes = [stored[name] for name in sorted(stored.files) if name.startswith("H0-")]
        sun = [stored[name] for name in sorted(stored.files) if name.startswith("PV")]
    return np.stack(homes, axis=1), np.stack(sun, axis=1), _day_kinds()


def _check(homes: int | None, days: int | None, seed: int, first_day: int | None) -> None:
    if seed < 0:
        raise InputError(f"seed must be 0 or more, not {seed}")
    if homes is not None and homes < 1:
        raise InputError(f"homes must be at least 1, not {homes}")
    if first_day is not None and not 0 <= first_day < DAYS:
        raise InputError(f"first_day must be 0 (1 January) to {DAYS - 1}, not {first_day}")
    left = DAYS - (first_day or 0)
    if days is not None and not 1 <= days <= left:
        raise InputError(f"days must be 1 to {left} when the first day is {first_day or 0}, not {days}")


def _members(loads: Table) -> _Members:
    """Return the members: one for each node with a household, a farm or a trade, and all units there are theirs."""
    nodes, kinds, names = [], [], []
    for kind, name in NAMES.items():
        here = np.sort(loads["node"][loads["kind"] == kind]).tolist()
        nodes += here
        kinds += [kind] * len(here)
        names += [f"{name}-{number:03d}" for number in range(1, len(here) + 1)]
    return _Members(np.array(nodes, np.int64), tuple(kinds), tuple(names))


def _choose(members: _Members, loads: Table, pv: Table, storages: Table, homes: int | None, seed: int) -> list[int]:
    """Pick members at even distances from a list sorted by what they own; the seed decides where to begin."""
    count = len(members.node)
    if homes is None:
        return list(range(count))
    if homes > count:
        raise InputError(f"the village has {count} members, not {homes}; for more use assets.profile.scaled_members")

    def owns(table: Table, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.isin(members.node, table["node"][rows])

    home = np.array([kind == "household" for kind in members.kinds])
    sun = owns(pv, pv["peak_w"] > 0).astype(np.int64) + owns(storages, storages["energy_wh"] > 0)
    everything = (
        _own_load_w(members, loads),
        owns(loads, loads["kind"] == "ev"),
        owns(loads, loads["kind"] == "heat-pump"),
        # Trades without sun, trades with, homes with, homes without: all with PV stand together, so even distances
        # take their share of them. A battery is never without PV.
        np.where(home, -sun, sun),
        home,
    )
    order = np.lexsort(everything)
    begin = int(np.random.PCG64(seed).random_raw(1)[0]) % count
    return sorted(order[[(place * count + begin) // homes for place in range(homes)]].tolist())


def _own_load_w(members: _Members, loads: Table) -> I64:
    """Return the rated power of each member's first load, its own; vehicles and heat pumps come later in the table."""
    rated = {int(node): int(peak_w) for node, peak_w in zip(loads["node"][::-1], loads["peak_w"][::-1], strict=True)}
    return np.array([rated[node] for node in members.node.tolist()], np.int64)


def _of(members: _Members, table: Table) -> Table:
    """Return the rows that belong to the members, with a column `member` that says to whom."""
    place = {node: number for number, node in enumerate(members.node.tolist())}
    member = np.array([place.get(node, -1) for node in table["node"].tolist()], np.int64)
    return {name: column[member >= 0] for name, column in {**table, "member": member}.items()}


def _summed(members: _Members, table: Table, values: NDArray[Any]) -> I64:
    total = np.zeros(len(members.node), np.int64)
    np.add.at(total, table["member"], np.asarray(values).astype(np.int64))
    return total


def _load(members: _Members, loads: Table, curves: dict[str, NDArray[np.int16]], seed: int) -> NDArray[np.int32]:
    """Return [T, N] the load of each member: people's own days, heat pumps' days close by."""
    total = np.zeros((DAYS * STEPS_PER_DAY, len(members.node)), np.int32)
    follows_cold = loads["kind"] == "heat-pump"
    for rows, like in (
        (~follows_cold, like_days(_day_kinds(), LIKE_DAYS_REACH)),
        (follows_cold, like_days(np.zeros(DAYS, np.int64), LIKE_HEAT_REACH)),
    ):
        chart, column, energy_wh = _energies(loads, rows, curves)
        made = load_members(chart, like, column, energy_wh, loads["unit"][rows], seed)
        for unit, member in enumerate(loads["member"][rows].tolist()):
            total[:, member] += made[:, unit]
    return total


def _sun(members: _Members, pv: Table, curves: dict[str, NDArray[np.int16]], seed: int) -> NDArray[np.int32]:
    total = np.zeros((DAYS * STEPS_PER_DAY, len(members.node)), np.int32)
    rows = np.ones(len(pv["unit"]), np.bool_)
    chart, column, energy_wh = _energies(pv, rows, {name: curves[name] for name in curves if name.startswith("PV")})
    made = sun_members(chart, column, energy_wh, pv["unit"] + SUN_UNIT, seed)
    for unit, member in enumerate(pv["member"].tolist()):
        total[:, member] += made[:, unit]
    return total


def _energies(
    table: Table, rows: NDArray[np.bool_], curves: dict[str, NDArray[np.int16]]
) -> tuple[NDArray[np.int16], I64, I64]:
    """Return curves [T, P], and for each row of the table its curve and its energy of the year in Wh."""
    names = sorted(curves)
    chart = np.column_stack([curves[name] for name in names])
    column = np.array([names.index(name) for name in table["profile"][rows].tolist()], np.int64)
    year = chart.sum(axis=0, dtype=np.int64)
    return chart, column, np.rint(table["peak_w"][rows] * year[column] / (CURVE_ONE * 3600 / STEP_S)).astype(np.int64)


def _fleet(storages: Table, rows: I64) -> Fleet:
    columns = ("energy_wh", "power_w", "power_w", "charge_efficiency", "discharge_efficiency")
    return Fleet(*(storages[name][rows].astype(np.float64) for name in columns))


def _day_kinds() -> I64:
    """Number the days by workday, Saturday, Sunday, and by the three stretches between the clock changes."""
    year = [date(2016, 1, 1) + timedelta(days=day) for day in range(DAYS)]
    changes = [date.fromisoformat(f"2016-{day}") for day in CLOCK_CHANGES]
    weekday = [6 if f"{day:%m-%d}" in HOLIDAYS else day.weekday() for day in year]
    stretch = [sum(day >= change for change in changes) for day in year]
    return np.maximum(np.array(weekday, np.int64) - 4, 0) + 3 * np.array(stretch, np.int64)


def _read_curves(names: list[str]) -> dict[str, NDArray[np.int16]]:
    with np.load(BytesIO((_data() / "profiles.npz").read_bytes()), allow_pickle=False) as stored:
        return {name: stored[name] for name in names}


def _read_table(name: str) -> Table:
    """Read a CSV file of the village into columns; their names say whether they hold text, integers or numbers."""
    rows = list(csv.reader((_data() / f"{name}.csv").read_text(encoding="utf-8").splitlines()))
    columns = zip(*rows[1:], strict=True)
    return {head: _typed(head, column) for head, column in zip(rows[0], columns, strict=True)}


def _data() -> Traversable:
    return files("wattle") / "data" / "village"


def _typed(head: str, column: tuple[str, ...]) -> NDArray[Any]:
    text = np.array(column)
    return text if head in TEXT else text.astype(np.int64 if head in WHOLE else np.float64)
