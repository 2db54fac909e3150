"""A run on disk: everything that is needed to read it, to compute it again and to notice the smallest change."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np

from wattle.core.checks import InputError
from wattle.core.columns import I64
from wattle.core.tables import FIRST_MEMBER, Profiles
from wattle.core.timegrid import TimeGrid
from wattle.core.units import decimal_text
from wattle.runtime.compare import Finished, Rule
from wattle.runtime.results import BILL_LINES
from wattle.runtime.simulate import months
from wattle.runtime.world import World
from wattle.scenario.build import charges_of, preferences_of, tariff_of, units_of
from wattle.scenario.load import parse_scenario
from wattle.scenario.schema import ProductSection, Scenario
from wattle.version import __version__

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True, eq=False)
class Run:
    """A run as read from its folder."""

    folder: Path
    manifest: Mapping[str, Any]
    scenario: Scenario
    world: World
    rules: tuple[Rule, ...]


def write_run(
    folder: Path, text: str, scenario: Scenario, world: World, rules: Sequence[Rule], finished: Sequence[Finished]
) -> None:
    """Write a run. The folder must be new or empty; the manifest comes last, so a broken run is seen as broken."""
    files: dict[str, bytes] = {
        "scenario.toml": text.encode(),
        "members.csv": _members_csv(world),
        "readings.npy": _npy(world.net),
    }
    for rule, done in zip(rules, finished, strict=True):
        files[f"rules/{rule.slug}/seals.npy"] = _npy(done.collector.seals)
        files[f"rules/{rule.slug}/price.npy"] = _npy(done.result.price)
        files[f"rules/{rule.slug}/bills.csv"] = _bills_csv(world, done)
    for rule in rules:
        files.update(_rule_files(rule))
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    write_parquet(folder / "results.parquet", world, finished)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    hashes["results.parquet"] = hashlib.sha256((folder / "results.parquet").read_bytes()).hexdigest()
    manifest = {
        "format": FORMAT,
        "wattle": __version__,
        "libraries": {"python": sys.version.split()[0], "numpy": np.__version__},
        "title": scenario.title,
        "seed": scenario.seed,
        "members": len(world.members),
        "intervals": world.grid.count,
        "start_s": world.grid.start_s,
        "step_s": world.grid.step_s,
        "timezone": world.timezone,
        "rules": [
            {
                "name": rule.name,
                "mechanisms": [
                    {**part.model_dump(exclude_none=True), "mechanism": _stored_name(rule, place)}
                    for place, part in enumerate(rule.products)
                ],
                "state_hash": done.result.state_hash,
                "energy_error": done.result.energy_error,
                "money_error": done.result.money_error,
            }
            for rule, done in zip(rules, finished, strict=True)
        ],
        "files": hashes,
    }
    (folder / MANIFEST).write_text(sealed_json(manifest), encoding="utf-8")


def add_file(folder: Path, name: str) -> None:
    """Take a file that was written later (a report) into the manifest."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest.pop("seal")
    manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(sealed_json(manifest), encoding="utf-8")


def sealed_json(manifest: Mapping[str, Any]) -> str:
    """Return the manifest as text with the hash of all its other lines at the end."""
    plain = json.dumps(manifest, indent=1, ensure_ascii=False)
    seal = hashlib.sha256(plain.encode()).hexdigest()
    return plain[: -len("\n}")] + f',\n "seal": "{seal}"\n}}\n'


def open_run(folder: Path, trust: bool = False) -> Run:
    """Read a run for `explain` and `verify`; the readings come from the run, not from their old source.

    A run whose rule came from a file carries that file. Its code is run only with `trust`.
    """
    manifest = read_manifest(folder)
    for rule in manifest["rules"]:
        for part in rule["mechanisms"]:
            if ".py" in part["mechanism"]:
                if not trust:
                    raise InputError(
                        f"{folder} uses a rule from a file, {part['mechanism']}. To compute it again runs that file: "
                        "read it, and if you trust it add --trust"
                    )
                part["mechanism"] = str(folder / part["mechanism"])
    text = _read(folder / "scenario.toml").decode("utf-8", "replace")
    scenario = parse_scenario(text, str(folder / "scenario.toml"))
    world = _stored_world(folder, manifest, scenario)
    rules = tuple(
        Rule(part["name"], tuple(ProductSection.model_validate(product) for product in part["mechanisms"]))
        for part in manifest["rules"]
    )
    return Run(folder, manifest, scenario, world, rules)


def _stored_world(folder: Path, manifest: Mapping[str, Any], scenario: Scenario) -> World:
    net, rows = np.load(BytesIO(_read(folder / "readings.npy"))), _member_rows(folder)
    if net.shape != (manifest["intervals"], len(rows)):
        raise InputError(f"{folder}: readings.npy and members.csv do not fit the manifest")
    units = units_of(scenario)
    charges = charges_of(scenario, units)
    facts = [name for name in rows[0] if name not in _PLAIN] if rows else []

    def column(name: str) -> I64:
        return np.array([int(row[name]) for row in rows], np.int64)

    return World(
        grid=TimeGrid(manifest["start_s"], manifest["step_s"], manifest["intervals"]),
        timezone=manifest["timezone"],
        units=units,
        members=tuple(row["member"] for row in rows),
        kinds=tuple(row["kind"] for row in rows),
        facts={name: tuple(row[name] == "1" for row in rows) for name in facts},
        net=net,
        load=np.maximum(net, 0).sum(axis=1, dtype=np.int64),
        sun=np.maximum(-net, 0).sum(axis=1, dtype=np.int64),
        demand=column("demand_lots"),
        generation=column("generation_lots"),
        tariff=tariff_of(scenario, units, manifest["intervals"]),
        charges=charges,
        limits={"buy": column("limit_buy_ticks"), "sell": column("limit_sell_ticks")},
        curve=scenario.limits.curve,
        profiles=_stored_profiles(rows),
        preferences=preferences_of(scenario, units, tuple(row["member"] for row in rows)),
    )


def _stored_profiles(rows: list[dict[str, str]]) -> Profiles:
    if not rows or _PROFILE[0] not in rows[0]:
        return Profiles.empty()
    who: list[Any] = [FIRST_MEMBER + number for number in range(len(rows))]
    return Profiles.from_lists({"participant": who, **{name: [int(row[name]) for row in rows] for name in _PROFILE}})


_PROFILE = ("east_m", "north_m", "source", "reliability")
_PLAIN = ("member", "kind", "demand_lots", "generation_lots", "limit_buy_ticks", "limit_sell_ticks", *_PROFILE)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the manifest by itself."""
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder} is not a run: it has no {MANIFEST}. Runs are made by `wattle try` and `wattle run`")
    try:
        text = _read(path).decode("utf-8")
        manifest: dict[str, Any] = json.loads(text)
        seal = manifest.pop("seal")
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, AttributeError) as problem:
        raise InputError(f"{path} is damaged ({problem}); it covers every interval of the run") from None
    if sealed_json(manifest) != text or not text.endswith(f'"seal": "{seal}"\n}}\n'):
        raise InputError(f"{path} was changed; it covers every interval of the run")
    if manifest["format"] != FORMAT:
        raise InputError(f"{path} has format {manifest['format']}, this version of wattle reads {FORMAT}")
    return manifest


def rule_by_name(run: Run, name: str | None) -> Rule:
    """Return a rule of the run; default the first one that is not the reference."""
    if name is None:
        return run.rules[min(1, len(run.rules) - 1)]
    for rule in run.rules:
        if name in (rule.name, rule.slug):
            return rule
    raise InputError(f"this run has no rule {name!r}; it has: {', '.join(rule.name for rule in run.rules)}")


def write_parquet(path: Path, world: World, finished: Sequence[Finished]) -> None:
    """Write one row for each rule, member, month and bill line: exact cash and the amount of money."""
    import duckdb

    _, names = months(world.grid, world.timezone)
    columns: dict[str, list[Any]] = {key: [] for key in ("rule", "member", "month", "line", "cash")}
    for done in finished:
        lines = done.collector.bill_lines_by_period()
        for line, _ in BILL_LINES:
            cash = lines[line]
            columns["rule"].append(np.full(cash.size, done.result.rule, object))
            columns["member"].append(np.tile(np.array(world.members, object), cash.shape[0]))
            columns["month"].append(np.repeat(np.array(names, object), cash.shape[1]))
            columns["line"].append(np.full(cash.size, line, object))
            columns["cash"].append(cash.reshape(-1))
    table = {key: np.concatenate(parts) for key, parts in columns.items()}
    unit = decimal_text(world.units.cash)
    connection = duckdb.connect()
    try:
        connection.register("bills", table)
        target = str(path).replace("'", "''")
        connection.execute(
            f"COPY (SELECT *, cash * {unit} AS amount, '{world.units.currency}' AS currency FROM bills) "
            f"TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
        )
    finally:
        connection.close()


def _stored_name(rule: Rule, place: int) -> str:
    mechanism = rule.products[place].mechanism
    _, dot, wanted = mechanism.partition(".py")
    return f"rules/{rule.slug}/rule-{place}.py{wanted}" if dot else mechanism


def _rule_files(rule: Rule) -> dict[str, bytes]:
    """Return the files of rules that are no registered names, as they are kept in the run."""
    found = {}
    for place, part in enumerate(rule.products):
        path, dot, _ = part.mechanism.partition(".py")
        if dot:
            found[_stored_name(rule, place).partition(".py")[0] + ".py"] = _read(Path(path + ".py"))
    return found


def _members_csv(world: World) -> bytes:
    rows = []
    for number, name in enumerate(world.members):
        row: dict[str, Any] = {"member": name, "kind": world.kinds[number]}
        row.update({fact: int(flags[number]) for fact, flags in world.facts.items()})
        row["demand_lots"], row["generation_lots"] = int(world.demand[number]), int(world.generation[number])
        row["limit_buy_ticks"], row["limit_sell_ticks"] = (int(world.limits[side][number]) for side in ("buy", "sell"))
        if len(world.profiles):  # one row for each member, in their order
            row.update({column: int(getattr(world.profiles, column)[number]) for column in _PROFILE})
        rows.append(row)
    return csv_bytes(rows)


def _bills_csv(world: World, done: Finished) -> bytes:
    rows = []
    for number, name in enumerate(world.members):
        row: dict[str, Any] = {"member": name}
        for column in ("bought", "sold", "from_utility", "to_utility"):
            row[f"{column}_kwh"] = decimal_text(world.units.kwh(int(getattr(done.result, column)[number])))
        for line, _ in BILL_LINES:
            row[f"{line}_{world.units.currency.lower()}"] = decimal_text(
                world.units.money(int(done.result.lines[line][number]))
            )
        row["total"] = decimal_text(world.units.money(int(done.result.cost[number])))
        rows.append(row)
    return csv_bytes(rows)


def csv_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as CSV in UTF-8."""
    text = StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue().encode()


def _member_rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(_read(folder / "members.csv").decode("utf-8"))))


def _npy(array: Any) -> bytes:
    data = BytesIO()
    np.save(data, array)
    return data.getvalue()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise InputError(f"{path} cannot be read: {problem.strerror}") from None
