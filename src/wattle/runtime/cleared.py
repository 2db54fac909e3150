"""What clearing one order book brought: trades, prices, balances, what stayed; exact decimals with names.

Tables are rows of plain dicts, made when first asked for. Energy is in kWh, prices in hundredths of the currency per
kWh, money in the currency; positive is buying and paying.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from importlib import import_module
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import REASONS, InputError, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, FIRST_MEMBER, HOUSE_NAMES, UTILITY, Trades
from wattle.core.units import Units
from wattle.ledger.accounts import BILL_LINE_OF, ENERGY, MONEY
from wattle.ledger.postings import balances
from wattle.ledger.settle import settle
from wattle.runtime.book import Book

Row = dict[str, Any]

TABLES = ("trades", "prices", "transfers", "balances", "unfilled")

MONEY_FIGURES = frozenset({
    "answered_gain", "cost", "cost_from_grid_only", "deficit", "deviation_gain", "expected_information_rent",
    "first_best_welfare", "grid_cost", "information_rent", "leader_profit", "local_cost", "menu_welfare",
    "peak_cost_saved",
})  # fmt: skip
"""What rules report in cash, besides names that end in `_cash`. Energy ends in `_lots`."""

PRICE_FIGURES = frozenset({"cap_price"})
"""What rules report in ticks, besides names that end in `_ticks`."""


@dataclass(frozen=True, eq=False)
class Result:
    """A cleared book. `left` [orders] are the lots that neither members nor the utility took.

    `notes` are sentences for people, such as why nothing trades although nothing is refused.
    """

    mechanism: str
    book: Book
    units: Units
    clearing: Clearing
    all_trades: Trades
    left: I64
    has_utility: bool = False
    notes: tuple[str, ...] = ()

    @cached_property
    def trades(self) -> list[Row]:
        """One row for each trade, those with the utility included."""
        kwh, price = self._kwh, self._price
        table = self.all_trades
        columns = (table.interval, table.zone, table.buyer, table.seller, table.quantity)
        return [
            {
                "interval": interval,
                "zone": self.book.zones[zone],
                "buyer": self.book.name(buyer),
                "seller": self.book.name(seller),
                "quantity_kwh": kwh(quantity),
                "buy_price_ct_per_kwh": price(buy_price),
                "sell_price_ct_per_kwh": price(sell_price),
            }
            for interval, zone, buyer, seller, quantity, buy_price, sell_price in _rows(
                *columns, table.buy_price, table.sell_price
            )
        ]

    @cached_property
    def prices(self) -> list[Row]:
        """The price that the rule publishes, for each interval and zone in which it formed one."""
        table = self.clearing.prices
        return [
            {"interval": interval, "zone": self.book.zones[zone], "price_ct_per_kwh": self._price(price)}
            for interval, zone, price in _rows(table.interval, table.zone, table.price)
        ]

    @cached_property
    def transfers(self) -> list[Row]:
        """Money without energy, from one account to another; `what_for` is the line of a bill on which it stands.

        What an account pays in `balances` is the sum of its trades and transfers. A gap between the two prices of a
        trade goes to the market operator.
        """
        cash, table = _Decimals(self.units.cash), self.clearing.transfers
        return [
            {
                "interval": interval,
                "from": self.book.name(payer),
                "to": self.book.name(payee),
                "amount": cash(amount),
                "what_for": BILL_LINE_OF.get(code, f"code {code}"),
            }
            for interval, payer, payee, amount, code in _rows(
                table.interval, table.payer, table.payee, table.amount, table.code
            )
        ]

    @cached_property
    def balances(self) -> list[Row]:
        """Energy and money of each member, and of each house account that took part; both sum to zero."""
        bought, sold, energy, money = self._accounts
        took_part = (bought != 0) | (sold != 0) | (money != 0)
        took_part[UTILITY] |= self.has_utility
        houses = [number for number, name in enumerate(HOUSE_NAMES) if name and took_part[number]]
        cash = _Decimals(self.units.cash)
        return [
            {
                "member": self.book.name(account),
                "bought_kwh": self._kwh(int(bought[account])),
                "sold_kwh": self._kwh(int(sold[account])),
                "net_kwh": self._kwh(int(energy[account])),
                "pays": cash(int(money[account])),
            }
            for account in [*range(FIRST_MEMBER, bought.size), *houses]
        ]

    @cached_property
    def unfilled(self) -> list[Row]:
        """Orders with lots that nobody took, in the order of the book; `quantity_kwh` is what is left."""
        orders, rows = self.book.orders, np.flatnonzero(self.left)
        table = orders.take(rows)
        columns = (rows, table.participant, table.zone, table.interval, table.side, table.limit, table.partner)
        return [
            {
                "order": row,
                "interval": interval,
                "zone": self.book.zones[zone],
                "member": self.book.name(member),
                "side": "buy" if side == BUY else "sell",
                "quantity_kwh": self._kwh(lots),
                "limit_ct_per_kwh": None if abs(limit) == ANY_PRICE else self._price(limit),
                "partner": None if partner == ANYONE else self.book.name(partner),
            }
            for (row, member, zone, interval, side, limit, partner), lots in zip(
                _rows(*columns), self.left[rows].tolist(), strict=True
            )
        ]

    @property
    def refused(self) -> str | None:
        """Why the rule took none of the book, if it did not."""
        return None if self.clearing.refused is None else REASONS[self.clearing.refused]

    @cached_property
    def report(self) -> Row:
        """Energy that members trade with each other, their welfare in the currency, and what the rule itself tells.

        The rule's own numbers stand as it gives them, in lots, ticks and cash (lots x ticks); see `figures`.
        Welfare is the worth of that energy to its buyers less its worth to its sellers, by their limits; None if
        somebody in a trade named no limit.
        """
        return {
            "traded_kwh": self._kwh(int(self.clearing.trades.quantity.sum())),
            "welfare": self._welfare(),
            **self.clearing.report,
        }

    @cached_property
    def figures(self) -> list[Row]:
        """What the rule itself reports, in kWh, ct/kWh and the currency; `unit` is empty for counts and ratios.

        `value` is exact if the rule reports whole lots, ticks or cash, else rounded to six digits; None if it is no
        finite number. A name that ends in `_lots` ends in `_kwh` here.
        """
        return [self._figure(name, float(value)) for name, value in self.clearing.report.items()]

    def to_dict(self) -> Row:
        """Return everything as plain lists and dicts; numbers are exact decimals."""
        return {
            "mechanism": self.mechanism,
            "currency": self.units.currency,
            **{name: getattr(self, name) for name in TABLES},
            "refused": self.refused,
            "notes": list(self.notes),
            "report": self.report,
        }

    def to_json(self) -> str:
        """Return everything as JSON; numbers stand there with all their digits."""
        return "\n".join(_json_lines(self.to_dict()))

    def frame(self, table: str = "trades", library: str = "pandas") -> Any:
        """Return a table as a data frame of pandas or polars, for analysis: its decimals become floats."""
        if table not in TABLES:
            raise InputError(f"there is no table {table!r}; expected one of {', '.join(TABLES)}")
        if library not in ("pandas", "polars"):
            raise InputError(f"there is no frame of {library!r}; expected pandas or polars")
        try:
            maker = import_module(library).DataFrame
        except ModuleNotFoundError:
            raise InputError(f"{library} is not installed; install it, or use the lists of dicts as they are") from None
        rows: list[Row] = getattr(self, table)
        return maker({name: [_inexact(row[name]) for row in rows] for name in _COLUMNS[table]})

    @cached_property
    def _kwh(self) -> _Decimals:
        return _Decimals(self.units.lot_wh / 1000)

    @cached_property
    def _price(self) -> _Decimals:
        return _Decimals(self.units.tick_per_kwh * 100)

    @cached_property
    def _accounts(self) -> tuple[I64, I64, NDArray[np.int64], NDArray[np.int64]]:
        """Lots bought, sold and net, and cash to pay, of each account."""
        count, trades = FIRST_MEMBER + len(self.book.members), self.all_trades
        bought, sold = np.zeros(count, np.int64), np.zeros(count, np.int64)
        np.add.at(bought, trades.buyer, trades.quantity)
        np.add.at(sold, trades.seller, trades.quantity)
        found = balances(settle(trades, self.clearing.transfers), count)
        ensure(not found.sum(axis=1).any(), "the accounts do not sum to zero")
        ensure(bool((found[ENERGY] == bought - sold).all()), "the energy accounts do not agree with the trades")
        return bought, sold, found[ENERGY], found[MONEY]

    def _figure(self, name: str, value: float) -> Row:
        size, unit = Fraction(1), ""
        if name.endswith("_lots"):
            name, size, unit = name.removesuffix("_lots") + "_kwh", self.units.lot_wh / 1000, "kWh"
        elif name.endswith("_cash") or name in MONEY_FIGURES:
            size, unit = self.units.cash, self.units.currency
        elif name.endswith("_ticks") or name in PRICE_FIGURES:
            size, unit = self.units.tick_per_kwh * 100, "ct/kWh"
        return {"figure": name, "value": _sized(value, size), "unit": unit}

    def _welfare(self) -> Decimal | None:
        trades, limit = self.clearing.trades, self.book.orders.limit
        if ((trades.buy_order < 0) | (trades.sell_order < 0)).any():
            return None
        bid, ask = limit[trades.buy_order], limit[trades.sell_order]
        if (bid == ANY_PRICE).any() or (ask == -ANY_PRICE).any():
            return None
        cash = sum(lots * (high - low) for lots, high, low in _rows(trades.quantity, bid, ask))
        return _Decimals(self.units.cash)(cash)


_COLUMNS = {
    "trades": (
        "interval", "zone", "buyer", "seller", "quantity_kwh", "buy_price_ct_per_kwh", "sell_price_ct_per_kwh",
    ),
    "prices": ("interval", "zone", "price_ct_per_kwh"),
    "transfers": ("interval", "from", "to", "amount", "what_for"),
    "balances": ("member", "bought_kwh", "sold_kwh", "net_kwh", "pays"),
    "unfilled": (
        "order", "interval", "zone", "member", "side", "quantity_kwh", "limit_ct_per_kwh", "partner",
    ),
}  # fmt: skip


class _Decimals:
    """Exact decimals for whole numbers of a unit, without zeros at the end."""

    def __init__(self, unit: Fraction) -> None:
        self._places = 0
        while (unit * 10**self._places).denominator != 1:
            self._places += 1
        self._factor = int(unit * 10**self._places)
        self._known: dict[int, Decimal] = {}

    def __call__(self, count: int) -> Decimal:
        if count not in self._known:
            whole, places = count * self._factor, self._places
            while places and whole % 10 == 0:
                whole, places = whole // 10, places - 1
            self._known[count] = Decimal(f"{whole}e-{places}")
        return self._known[count]


def _sized(value: float, size: Fraction) -> Decimal | None:
    """Return a float times a unit: exact if the float is whole, else with six digits."""
    if not isfinite(value):
        return None
    if value.is_integer():
        return _Decimals(size)(int(value))
    return Decimal(f"{value * float(size):.6g}")


def _rows(*columns: NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.tolist() for column in columns), strict=True)


def _inexact(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _json_lines(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield JSON with one line for each row of a table."""
    yield "{"
    last = len(content) - 1
    for number, (key, value) in enumerate(content.items()):
        comma = "," if number < last else ""
        if isinstance(value, list) and value:
            yield f"  {json.dumps(key)}: ["
            yield from (f"    {_json(row)}{',' if place < len(value) - 1 else ''}" for place, row in enumerate(value))
            yield f"  ]{comma}"
        else:
            yield f"  {json.dumps(key)}: {_json(value)}{comma}"
    yield "}"


@lru_cache(1 << 16)
def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _json(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)}: {_json(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_json(part) for part in value) + "]"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not isfinite(value):
        return "null"
    return json.dumps(value, ensure_ascii=False)
