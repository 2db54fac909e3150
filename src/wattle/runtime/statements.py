"""Statements of a settled folder: one page and one table for each member and period, and the sums that close.

Totals are rounded to cents over all accounts together, house accounts too, so that they sum to exactly zero; the lines
of a statement sum to its total (`ledger.statement`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from wattle.core.columns import I64
from wattle.core.tables import FIRST_MEMBER, HOUSE_NAMES
from wattle.core.units import decimal_text
from wattle.ledger.accounts import BILL_LINE_OF, ENERGY, LOCAL, MONEY, UTILITY_ENERGY
from wattle.ledger.statement import rounded
from wattle.runtime.results import BILL_LINES
from wattle.runtime.runfolder import csv_bytes
from wattle.runtime.simulate import months
from wattle.runtime.statement_page import Statement, index_page, statement_page

if TYPE_CHECKING:
    from wattle.runtime.folder import Folder, Round


@dataclass(frozen=True, eq=False)
class _Period:
    """Cash [lines, accounts] of one period with what is said about it."""

    label: str
    title: str
    cash: NDArray[np.int64]
    energy: dict[str, I64]  # name -> lots [accounts]
    alone: I64 | None  # cash [accounts] without a community
    difference: bool


def statement_files(folder: Folder, done: Round, number: int) -> dict[str, bytes]:
    """Return the files of a round by name: an index, and for each period a summary and the members' statements."""
    files: dict[str, bytes] = {}
    listed: list[tuple[str, str, list[tuple[str, str]]]] = []
    for period in [*_new_periods(folder, done), *_corrections(folder, done)]:
        made = _period_files(folder, period, number)
        files.update(made)
        pages = [(name, name.rsplit("/", 1)[1][:-5]) for name in made if name.endswith(".html")]
        listed.append((period.title, f"{period.label}/summary.csv", pages))
    files["index.html"] = index_page(folder.scenario.title, number, listed)
    return files


def _new_periods(folder: Folder, done: Round) -> list[_Period]:
    collector = done.collector
    if collector is None:
        return []
    world = folder.world
    number, _ = months(world.grid, world.timezone)
    if folder.scenario.statements.period == "all":
        number = np.zeros_like(number)
    net = world.net[done.first :]
    retail, feed_in = world.tariff.retail[done.first :, None], world.tariff.feed_in[done.first :, None]
    cost = np.where(net > 0, net * retail, net * feed_in)
    found = []
    for value in np.unique(number[done.first :]):
        times = np.flatnonzero(number == value)
        first, stop = max(int(times[0]), done.first), int(times[-1]) + 1
        # The collector counts calendar months; "all" puts them together.
        month = slice(None) if folder.scenario.statements.period == "all" else slice(int(value), int(value) + 1)
        alone = np.zeros(folder.engine.accounts, np.int64)
        alone[FIRST_MEMBER:] = cost[first - done.first : stop - done.first].sum(axis=0)
        energy = {
            "bought from members": collector.bought[month].sum(axis=0),
            "bought from the utility": collector.from_utility[month].sum(axis=0),
            "sold to members": collector.sold[month].sum(axis=0),
            "sold to the utility": collector.to_utility[month].sum(axis=0),
        }
        label, title = _span(folder, first, stop)
        lines = collector.lines[month].sum(axis=0)
        found.append(_Period(label, title, _by_line(lines[MONEY]), energy, alone, False))
    return found


def _corrections(folder: Folder, done: Round) -> list[_Period]:
    if done.corrected.size == 0:
        return []
    sums = done.differences.sum(axis=0)
    energy = {
        "local energy, bought less sold": sums[ENERGY, LOCAL],
        "utility energy, bought less sold": sums[ENERGY, UTILITY_ENERGY],
    }
    first, stop = int(done.corrected[0]), int(done.corrected[-1]) + 1
    _, span = _span(folder, first, stop)
    title = f"Correction of {done.corrected.size} interval{'s' * (done.corrected.size != 1)}, {span}"
    return [_Period("correction", title, _by_line(sums[MONEY]), energy, None, True)]


def _by_line(money: NDArray[np.int64]) -> NDArray[np.int64]:
    cash = np.zeros((len(BILL_LINES), money.shape[1]), np.int64)
    place = {line: number for number, (line, _) in enumerate(BILL_LINES)}
    for code, line in BILL_LINE_OF.items():
        cash[place[line]] += money[code]
    return cash


def _period_files(folder: Folder, period: _Period, number: int) -> dict[str, bytes]:
    unit = folder.units.cash
    totals = rounded(period.cash.sum(axis=0), unit)
    touched = (period.cash != 0).any(axis=0)
    for lots in period.energy.values():
        touched |= lots != 0
    if not period.difference:
        touched[FIRST_MEMBER:] = True
    files: dict[str, bytes] = {}
    summary = []
    names = _file_names(folder.world.members)
    for account in np.flatnonzero(touched):
        lines = rounded(period.cash[:, account], unit, int(totals[account]))
        row: dict[str, object] = {"account": _account(folder, int(account))}
        row.update({f"{name} kWh": _kwh(folder, lots[account]) for name, lots in period.energy.items()})
        row.update({name: _money(int(cents)) for (_, name), cents in zip(BILL_LINES, lines, strict=True)})
        row[f"total {folder.units.currency}"] = _money(int(totals[account]))
        summary.append(row)
        if account >= FIRST_MEMBER:
            statement = _statement(folder, period, number, int(account), lines, int(totals[account]))
            base = f"{period.label}/{names[account - FIRST_MEMBER]}"
            files[f"{base}.html"] = statement_page(statement)
            files[f"{base}.csv"] = csv_bytes(_rows(statement))
    closing: dict[str, object] = dict.fromkeys(summary[0], "") if summary else {"account": ""}
    closing["account"] = "sum of all accounts, must be 0"
    closing[f"total {folder.units.currency}"] = _money(int(totals.sum()))
    files[f"{period.label}/summary.csv"] = csv_bytes([*summary, closing])
    return files


def _statement(folder: Folder, period: _Period, number: int, account: int, lines: I64, total: int) -> Statement:
    member = folder.book.members.members[account - FIRST_MEMBER]
    alone = None
    if period.alone is not None:
        alone = _money(round(folder.units.money(int(period.alone[account])) * 100))
    return Statement(
        community=folder.scenario.title,
        member=member.id,
        name=member.name,
        title=period.title,
        currency=folder.units.currency,
        energy=tuple((name, _kwh(folder, lots[account])) for name, lots in period.energy.items()),
        lines=tuple(
            (name, _money(int(cents)))
            for (_, name), cents in zip(BILL_LINES, lines, strict=True)
            if cents or period.alone is not None
        ),
        total=_money(total),
        alone=alone,
        difference=period.difference,
        rules=tuple(product.mechanism for product in folder.scenario.product),
        round=number,
    )


def _rows(statement: Statement) -> list[dict[str, str]]:
    rows = [{"item": name, "kwh": value, statement.currency: ""} for name, value in statement.energy]
    rows += [{"item": name, "kwh": "", statement.currency: value} for name, value in statement.lines]
    return [*rows, {"item": "total", "kwh": "", statement.currency: statement.total}]


def _span(folder: Folder, first: int, stop: int) -> tuple[str, str]:
    zone, grid = ZoneInfo(folder.world.timezone), folder.world.grid
    begin = datetime.fromtimestamp(grid.second(first), zone).date()
    end = (datetime.fromtimestamp(grid.second(stop), zone) - timedelta(seconds=1)).date()
    return f"{begin}_{end}", f"{begin} to {end}"


def _account(folder: Folder, account: int) -> str:
    return folder.world.members[account - FIRST_MEMBER] if account >= FIRST_MEMBER else HOUSE_NAMES[account]


def _kwh(folder: Folder, lots: int) -> str:
    return decimal_text(folder.units.kwh(int(lots)))


def _money(cents: int) -> str:
    from fractions import Fraction

    return decimal_text(Fraction(cents, 100), 2)


def _file_names(members: tuple[str, ...]) -> list[str]:
    """Return a file name for each member: letters, digits, dot, dash and underscore only, each name once."""
    found: list[str] = []
    for number, member in enumerate(members):
        name = re.sub(r"[^A-Za-z0-9._-]", "-", member).strip(".") or "member"
        taken = {each.lower() for each in found} | {"summary", "index"}
        found.append(f"{name}-{number + 1}" if name.lower() in taken else name)
    return found
