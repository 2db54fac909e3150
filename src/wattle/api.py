"""`wattle.clear`: one order book, one market rule, and a result whose energy and money close exactly.

The same mechanisms and the same double entry as in a simulation or in live operation, without a scenario around them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike, fspath
from shlex import quote
from typing import Any

import numpy as np

from wattle.core.checks import InputError, Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Tariff
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, NO_ORDER, UTILITY, Orders, Trades
from wattle.core.units import PRICE_MAX, Units, decimal_text, exact
from wattle.market.keys import KEYS
from wattle.market.mechanism import ANSWERS, MECHANISMS, MONEY, SCHEDULES, Mechanism
from wattle.market.posted import EqualIncrements
from wattle.market.share import willing
from wattle.runtime.book import Book, read_book
from wattle.runtime.cleared import Result
from wattle.scenario.plugins import find_mechanism, load_mechanisms, mechanism_parameters

__all__ = ["Result", "clear"]

CASH_LIMIT = 1 << 62
"""Largest sum of cash; half of what 64 bits hold, so that sums of both signs fit."""

_REFUSALS = {
    Reject.NO_TARIFF: "{rule} needs the utility's prices; give --retail and --feed-in (retail_ct and feed_in_ct)",
    Reject.PARTNER_NOT_SUPPORTED: "{rule} cannot honour a named partner; leave the column `partner` empty",
    Reject.NO_PRICE: (
        "{rule}: all orders that could trade take any price, so none can be formed; give one of them a limit, "
        "or give --retail and --feed-in (retail_ct and feed_in_ct)"
    ),
    Reject.TOO_LARGE: "{rule}: quantity times price is too large to be counted exactly; take a larger lot or tick",
}

_SHARED_PRICE = (*KEYS, EqualIncrements)
"""Rules at whose `price_ticks` everything trades; -1 stands for the middle of the utility's two prices."""

_STANDS_ASIDE = "the last bid and the last offer that could trade stand aside in {rule}, and nobody else could trade"

_NOBODY_WAITS = (
    "orders come one after the other in {rule}, as they stand in the book, and none met one that it could trade with; "
    "an order at any price does not wait"
)

_HOW_NOBODY_TRADES = {
    "muda": "muda splits the members into two halves by chance, and here neither half could trade at the price of the "
    "other; with few members it often ends so",
    "bill-sharing": "only who accepts the utility's prices takes part in bill-sharing",
    "order-book": _NOBODY_WAITS,
    "call-then-continuous": _NOBODY_WAITS,
    "huang-auction": _STANDS_ASIDE,
    "storage-auction": _STANDS_ASIDE,
    "trade-reduction": _STANDS_ASIDE,
}


def clear(
    mechanism: str | PathLike[str] | Mechanism,
    orders: Any,
    *,
    retail_ct: str | int | float | None = None,
    feed_in_ct: str | int | float | None = None,
    lot_wh: str | int | float = "0.001",
    tick_per_kwh: str | int | float = "0.0000001",
    currency: str = "EUR",
    **parameters: Any,
) -> Result:
    """Clear an order book under one market rule.

    Parameters
    ----------
    mechanism : name of a rule (see `wattle mechanisms`), path of a Python file that registers one, or a rule itself.
    orders : path of a CSV or JSON file, list of dicts, dict of lists, or pandas or polars frame with the columns
        `member`, `side` (buy or sell), `quantity_kwh`, `limit_ct_per_kwh` (hundredths of the currency; nothing takes
        any price) and, if wanted, `interval`, `zone`, `partner`.
    retail_ct, feed_in_ct : the utility's prices in hundredths of the currency per kWh. With both, the utility sells
        what buyers still want and buys what sellers still have, where limits allow it. With neither, only members
        trade.
    lot_wh, tick_per_kwh : sizes in which energy (Wh) and prices (currency per kWh) are counted.
    parameters : parameters of the rule, such as `k_percent=0` or `price_ct_per_kwh="12.5"`.

    Returns exact numbers. Whatever cannot be used raises `InputError`, and nothing is rounded or repaired.
    """
    return clear_book(mechanism, orders, parameters, retail_ct, feed_in_ct, str(lot_wh), str(tick_per_kwh), currency)


def clear_book(
    mechanism: str | PathLike[str] | Mechanism,
    orders: Any,
    parameters: Mapping[str, Any],
    retail_ct: str | int | float | None,
    feed_in_ct: str | int | float | None,
    lot_wh: str,
    tick_per_kwh: str,
    currency: str,
) -> Result:
    """Do what `clear` says; here no parameter of a rule can be mistaken for one of these."""
    units = Units.parse(lot_wh, tick_per_kwh, currency)
    book = read_book(orders, units)
    rule, name = _rule(mechanism, parameters, units, book)
    tariff = _tariff(retail_ct, feed_in_ct, units)
    _check_size(book, rule, tariff, units)
    _, answer = rule.step(None, book.orders, Context(tariff=tariff, rng=np.random.default_rng(0)))
    bids = next((entry.bids for entry in MECHANISMS if entry.cls is type(rule)), "")
    # A rule that asks again says so first: what else it misses would not help here.
    if not isinstance(answer, Clearing) or (bids in (ANSWERS, SCHEDULES) and answer.refused in _REFUSALS):
        raise InputError(_asks_again(name, mechanism, bids))
    if answer.refused in _REFUSALS:
        raise InputError(_REFUSALS[answer.refused].format(rule=name))
    left = _left(book.orders, answer.trades)
    backed = Trades.empty()
    if tariff is not None and answer.unusable is None:
        backed = _backstop(book.orders, left, tariff)
        left = left - _left_by(book.orders, backed)
    trades = _in_order(Trades.concat(answer.trades, backed))
    notes: tuple[str, ...] = ()
    if answer.refused is None:
        market = _Market(name, rule, bids, book.orders, answer, tariff, units)
        notes = market.no_price() if len(answer.trades) else (market.no_trade(bool(len(backed))),)
    return Result(name, book, units, answer, trades, left, tariff is not None, notes)


def _asks_again(name: str, mechanism: Any, bids: str) -> str:
    """Say where a rule can be run that a book alone cannot answer, with a command that works."""
    text = f"{name} answers with prices and asks its members again; a book alone cannot answer. "
    if bids == SCHEDULES:
        return text + "Its members plan batteries and generators; an example runs with: wattle reproduce atzeni-2013"
    if not isinstance(mechanism, (str, PathLike)) and name not in MECHANISMS.names():
        return text + "Run this rule in a scenario, where members do"
    shown = quote(fspath(mechanism)) if isinstance(mechanism, (str, PathLike)) else name
    return text + f"Run it in a scenario, where members do: wattle compare --mechanisms {shown} --homes 8 --days 1"


@dataclass(frozen=True, eq=False)
class _Market:
    """A cleared book that nothing was refused of, to say in plain words what people may wonder about."""

    name: str
    rule: Mechanism
    bids: str
    orders: Orders
    answer: Clearing
    tariff: Tariff | None
    units: Units

    def no_price(self) -> tuple[str, ...]:
        """Tell that a key without a price shares for free."""
        if not isinstance(self.rule, KEYS) or not self._free:
            return ()
        return (f"{self.name} has no price, so members share at 0 ct/kWh. {self._set_price()}",)

    def no_trade(self, utility_trades: bool) -> str:
        """Tell why no member trades with another, as well as it can be seen from outside the rule."""
        head = "Members trade nothing with each other" if utility_trades else "Nothing trades"
        return f"{head}: {self._reason()}"

    @property
    def _free(self) -> bool:
        return self.tariff is None and getattr(self.rule, "price_ticks", 0) < 0

    def _set_price(self) -> str:
        text = "Set a price with --set price_ct_per_kwh=CT (price_ct_per_kwh)"
        return text + ", or give --retail and --feed-in (retail_ct and feed_in_ct)" if self._free else text

    def _reason(self) -> str:
        limit, report = self.orders.limit, self.answer.report
        shared = isinstance(self.rule, _SHARED_PRICE)
        if self.tariff is not None and not shared:  # then a price taker is worth what the utility would ask or pay
            retail, feed_in = self.tariff.at(self.orders.interval)
            limit = np.where(np.abs(limit) < ANY_PRICE, limit, np.where(self.orders.side == BUY, retail, feed_in))
        if self.bids != MONEY and not self._reaches(self.orders.replace(limit=limit)):
            return "no bid reaches an offer"
        if shared:
            return self._price_reason()
        if report.get("markets_open") == 0:
            return f"{self.name} is closed in all intervals; peers trade only where the need or the grid price is high"
        if report.get("not_financed_lots", 0) > 0:
            return "no buyer has the money for what he could buy, nor is a loan worth its interest to him"
        if self.name in _HOW_NOBODY_TRADES:
            return _HOW_NOBODY_TRADES[self.name].format(rule=self.name)
        partners = " and the partners that orders name" if (self.orders.partner != ANYONE).any() else ""
        return f"{self.name} found no price within the limits{partners}"

    def _price_reason(self) -> str:
        price, whence = int(getattr(self.rule, "price_ticks", -1)), "as set"
        if price < 0:
            retail, feed_in = (0, 0) if self.tariff is None else (self.tariff.retail[0], self.tariff.feed_in[0])
            price = int(retail + feed_in) // 2
            whence = "as no price is given" if self.tariff is None else "the middle of the utility's two prices"
        shown = f"{decimal_text(self.units.price(price) * 100)} ct/kWh"
        allowed = self.orders.take(willing(self.orders, np.full(len(self.orders), price, np.int64)))
        if self._reaches(allowed):
            return f"{self.name} has a price within the limits, {shown}, but gives no share to anybody who bids"
        return f"{self.name} found no price within the limits; it uses {shown}, {whence}. {self._set_price()}"

    def _reaches(self, orders: Orders) -> bool:
        """Tell whether a bid is as high as an offer of its interval and zone; where levels join zones, of any zone."""
        if len(orders) == 0:
            return False
        zone = np.zeros_like(orders.zone) if getattr(self.rule, "levels", "") else orders.zone
        _, group = np.unique(np.stack((orders.interval, zone)), axis=1, return_inverse=True)
        group = group.ravel()
        bid, ask = np.full(group.max() + 1, -2 * ANY_PRICE), np.full(group.max() + 1, 2 * ANY_PRICE)
        buys = orders.side == BUY
        np.maximum.at(bid, group[buys], orders.limit[buys])
        np.minimum.at(ask, group[~buys], orders.limit[~buys])
        return bool((bid >= ask).any())


def _rule(mechanism: Any, parameters: Mapping[str, Any], units: Units, book: Book) -> tuple[Mechanism, str]:
    if isinstance(mechanism, (str, PathLike)):
        entry = find_mechanism(mechanism)
        return entry.build(mechanism_parameters(entry, parameters, units, book.ids)), entry.name
    load_mechanisms()
    if isinstance(mechanism, type) or not callable(getattr(mechanism, "step", None)):
        raise InputError(f"mechanism is {mechanism!r}, expected a name, the path of a file, or a rule object")
    if parameters:
        raise InputError(f"{', '.join(parameters)}: a rule that is given as an object has its parameters already")
    names = (entry.name for entry in MECHANISMS if entry.cls is type(mechanism))
    return mechanism, next(names, type(mechanism).__name__)


def _tariff(retail_ct: Any, feed_in_ct: Any, units: Units) -> Tariff | None:
    if retail_ct is None and feed_in_ct is None:
        return None
    for one, other, value in (("retail", "feed-in", feed_in_ct), ("feed-in", "retail", retail_ct)):
        if value is None:
            raise InputError(f"the {one} price is given without the {other} price; give both or none")
    retail, feed_in = _ticks(retail_ct, "retail", units), _ticks(feed_in_ct, "feed-in", units)
    if retail < feed_in:
        raise InputError(f"the retail price {retail_ct} ct/kWh is below the feed-in price {feed_in_ct} ct/kWh")
    return Tariff.flat(retail, feed_in)


def _ticks(value: Any, name: str, units: Units) -> int:
    try:
        ticks: Fraction = exact(value) / 100 / units.tick_per_kwh
    except InputError:
        raise InputError(f"the {name} price is {value!r}, expected a number of ct/kWh such as 30.5") from None
    if ticks.denominator != 1:
        step = decimal_text(units.tick_per_kwh * 100)
        raise InputError(f"the {name} price is {value!r}, expected a multiple of {step} ct/kWh, the size of a tick")
    if abs(ticks) > PRICE_MAX:
        most = decimal_text(PRICE_MAX * units.tick_per_kwh * 100)
        raise InputError(f"the {name} price is {value!r}, expected at most {most} ct/kWh")
    return int(ticks)


def _check_size(book: Book, rule: Mechanism, tariff: Tariff | None, units: Units) -> None:
    """Refuse a book whose energy at its highest price would not fit into 64 bits."""
    limits = np.abs(book.orders.limit[np.abs(book.orders.limit) < ANY_PRICE])
    prices = [1, int(limits.max(initial=0))]
    if tariff is not None:
        prices += [abs(int(tariff.retail[0])), abs(int(tariff.feed_in[0]))]
    values = ((name, getattr(rule, name)) for name in getattr(rule, "__dataclass_fields__", {}))
    prices += [abs(value) for name, value in values if name.endswith("_ticks") and isinstance(value, int)]
    lots = int(book.orders.quantity.astype(object).sum())
    if lots * max(prices) >= CASH_LIMIT:
        kwh, ct = decimal_text(units.kwh(lots)), decimal_text(units.price(max(prices)) * 100)
        lot, tick = decimal_text(units.lot_wh), decimal_text(units.tick_per_kwh)
        raise InputError(
            f"{kwh} kWh at prices of up to {ct} ct/kWh cannot be counted exactly in lots of {lot} Wh and ticks of "
            f"{tick} {units.currency}/kWh; take a larger lot (--lot-wh) or tick (--tick-per-kwh)"
        )


def _left_by(orders: Orders, trades: Trades) -> I64:
    """Return the traded lots of each order; ids are row numbers."""
    moved = np.zeros(len(orders), np.int64)
    for ids in (trades.buy_order, trades.sell_order):
        placed = ids != NO_ORDER
        known = (ids[placed] >= 0) & (ids[placed] < len(orders))
        ensure(bool(known.all()), "a trade names an order that is not in the book")
        np.add.at(moved, ids[placed], trades.quantity[placed])
    return moved


def _left(orders: Orders, trades: Trades) -> I64:
    left = orders.quantity - _left_by(orders, trades)
    ensure(bool((left >= 0).all()), "the rule trades more than was ordered")
    return left


def _backstop(orders: Orders, left: I64, tariff: Tariff) -> Trades:
    """Return the trades with the utility: what is left of each order whose limit allows the utility's price."""
    retail, feed_in = tariff.at(orders.interval)
    buys = orders.side == BUY
    taker = np.abs(orders.limit) == ANY_PRICE
    allowed = taker | np.where(buys, orders.limit >= retail, orders.limit <= feed_in)
    rows = np.flatnonzero((left > 0) & allowed & (orders.partner == ANYONE))
    who, buying = orders.participant[rows], buys[rows]
    price = np.where(buying, retail[rows], feed_in[rows])
    return Trades(
        interval=orders.interval[rows],
        zone=orders.zone[rows],
        buyer=np.where(buying, who, np.int32(UTILITY)),
        seller=np.where(buying, np.int32(UTILITY), who),
        buy_order=np.where(buying, orders.id[rows], np.int64(NO_ORDER)),
        sell_order=np.where(buying, np.int64(NO_ORDER), orders.id[rows]),
        quantity=left[rows],
        buy_price=price,
        sell_price=price,
    )


def _in_order(trades: Trades) -> Trades:
    """Return trades by interval and zone; within them those between members come first."""
    return trades.take(np.lexsort((trades.zone, trades.interval)))
