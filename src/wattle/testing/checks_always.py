"""What every market rule owes, whatever it claims. Each check takes a trial and says what is wrong, or None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from wattle.core.columns import Columns
from wattle.core.messages import Clearing
from wattle.core.tables import ANY_PRICE, ANYONE, FIRST_MEMBER, NO_ORDER, Orders, Prices, Trades, Transfers
from wattle.core.units import PRICE_MAX
from wattle.market.mechanism import MONEY, nobody_to_trade_with
from wattle.testing.generators import book_of
from wattle.testing.trial import Trial, differs, rows_of, run, values


def conserves(trial: Trial) -> str | None:
    """Each lot is traded, resting or left; trades name orders of the book and agree with them."""
    orders, clearing = trial.outcome.orders, trial.outcome.clearing
    trades, resting = clearing.trades, clearing.resting
    left = orders.quantity.copy()
    for side, ids, who in ((1, trades.buy_order, trades.buyer), (-1, trades.sell_order, trades.seller)):
        word = "buys" if side > 0 else "sells"
        house = ids == NO_ORDER
        if (who[house] >= FIRST_MEMBER).any():
            return f"a member {word} without an order"
        rows = rows_of(orders, ids[~house])
        if (rows < 0).any():
            return f"order {ids[~house][rows < 0][0]} {word} but is not in the book"
        for name, given in (("participant", who), ("interval", trades.interval), ("zone", trades.zone)):
            wrong = np.flatnonzero(getattr(orders, name)[rows] != given[~house])
            if wrong.size:
                return f"a trade of order {ids[~house][wrong[0]]} has another {name} than the order"
        if (orders.side[rows] != side).any():
            return f"order {ids[~house][orders.side[rows] != side][0]} {word} but is on the other side"
        np.subtract.at(left, rows, trades.quantity[~house])
    if (trades.quantity < 1).any():
        return f"a trade of {trades.quantity.min()} lots"
    rows = rows_of(orders, resting.id)
    if (rows < 0).any():
        return f"order {resting.id[rows < 0][0]} rests but is not in the book"
    if orders.take(rows).replace(quantity=resting.quantity) != resting or (resting.quantity < 1).any():
        return "a resting order is not what was ordered"
    np.subtract.at(left, rows, resting.quantity)
    if (left < 0).any():
        worst = int(np.argmin(left))
        return f"order {orders.id[worst]} wanted {orders.quantity[worst]} lots and was given {-left[worst]} more"
    return _transfers_fit(orders, clearing.transfers) or _prices_fit(orders, clearing.prices)


def _transfers_fit(orders: Orders, transfers: Transfers) -> str | None:
    if (transfers.amount < 0).any():
        return "a transfer is negative; swap payer and payee"
    for who in (transfers.payer, transfers.payee):
        stranger = (who >= FIRST_MEMBER) & ~np.isin(who, orders.participant)
        if stranger.any():
            return f"participant {who[stranger][0]} has a transfer but no order"
    if not np.isin(transfers.interval, orders.interval).all():
        return "a transfer stands in an interval without orders"
    return None


def _prices_fit(orders: Orders, prices: Prices) -> str | None:
    named = list(zip(prices.interval.tolist(), prices.zone.tolist(), strict=True))
    if len(set(named)) < len(named):
        return "an interval and zone has two prices"
    known = set(zip(orders.interval.tolist(), orders.zone.tolist(), strict=True))
    return None if set(named) <= known else "a price is published where there is no order"


def deterministic(trial: Trial) -> str | None:
    """Same in, same out, row for row; what was cleared in between leaves no trace."""
    first = trial.outcome
    other = book_of([(FIRST_MEMBER, 1, 3, 200), (FIRST_MEMBER + 1, -1, 2, 100)])
    run(trial.rule, replace(trial.case, orders=other, tariff=None))
    again = trial.again()
    different = differs(first.clearing, again.clearing, in_order=True)
    if different is None and _plain(first.memory) != _plain(again.memory):
        different = "the memory"
    return f"{different} differ when the same book is cleared again" if different else None


def row_order(trial: Trial) -> str | None:
    """The order of the rows does not matter; ids decide between equal orders."""
    orders = trial.case.orders
    rng = np.random.default_rng(trial.case.seed)
    for index in (np.arange(len(orders))[::-1], rng.permutation(len(orders))):
        different = differs(trial.outcome.clearing, trial.again(orders.take(index)).clearing)
        if different:
            return f"{different} differ when the rows are given in another order"
    return None


def whole_numbers(trial: Trial) -> str | None:
    """Results are tables of whole numbers; the report holds plain numbers."""
    clearing = trial.outcome.clearing
    for name, table in (("trades", Trades), ("prices", Prices), ("resting", Orders), ("transfers", Transfers)):
        found = getattr(clearing, name)
        if type(found) is not table:
            return f"{name} are {type(found).__name__}, expected {table.__name__}"
        if any(column.dtype.kind != "i" for column in found.arrays()):
            return f"{name} hold something else than integers"
    for name, value in clearing.report.items():
        if not isinstance(name, str) or isinstance(value, complex) or not np.isscalar(value):
            return f"the report holds {name!r}: {value!r}, expected a number"
    return None


def inputs_untouched(trial: Trial) -> str | None:
    """A rule reads its arguments and leaves them as they are."""
    given = trial.case.orders
    own = Orders(*(column.copy() for column in given.arrays()))
    case = replace(trial.case, orders=own)
    before = None if case.tariff is None else (case.tariff.retail.copy(), case.tariff.feed_in.copy())
    run(trial.rule, case)
    if own != given:
        return "the orders were changed in place"
    if case.tariff is not None and before is not None:
        same = np.array_equal(before[0], case.tariff.retail) and np.array_equal(before[1], case.tariff.feed_in)
        return None if same else "the tariff was changed in place"
    return None


def prices_within(trial: Trial) -> str | None:
    """No price lies beyond what somebody named: the limits of its group, the tariff, or nought.

    Price takers without a tariff leave a rule free to post a price of its own, up to the largest. Where bids are sums
    of money, all money of a group may meet a single lot.
    """
    orders, clearing, tariff = trial.outcome.orders, trial.outcome.clearing, trial.case.tariff
    trades, prices = clearing.trades, clearing.prices
    interval = np.concatenate((trades.interval, trades.interval, prices.interval))
    zone = np.concatenate((trades.zone, trades.zone, prices.zone))
    price = np.concatenate((trades.buy_price, trades.sell_price, prices.price))
    worth = values(trial.case, orders)
    for when, where in dict.fromkeys(zip(interval.tolist(), zone.tolist(), strict=True)):
        group = (orders.interval == when) & (orders.zone == where)
        takers = group & (np.abs(worth) == ANY_PRICE)
        known = [0, *worth[group & ~takers].tolist()]
        if takers.any():
            known += [-PRICE_MAX, PRICE_MAX]
        if trial.bids == MONEY:
            money = np.maximum(worth, 0).astype(object) * orders.quantity * (orders.side > 0)
            known.append(int(money[group & ~takers].sum()))
        if tariff is not None:
            known += [int(each[0]) for each in tariff.at(np.array([when], np.int32))]
        here = price[(interval == when) & (zone == where)]
        if here.max() > max(known):
            return f"price {here.max()} is above everything that was named ({max(known)})"
        if here.min() < min(known):
            return f"price {here.min()} is below everything that was named ({min(known)})"
    return None


def partner_honoured(trial: Trial) -> str | None:
    """A named partner is the counterparty of every trade of the order, or the book is refused."""
    orders, trades = trial.outcome.orders, trial.outcome.clearing.trades
    for ids, other in ((trades.buy_order, trades.seller), (trades.sell_order, trades.buyer)):
        placed = ids != NO_ORDER
        rows = rows_of(orders, ids[placed])
        if (rows < 0).any():
            return None  # conservation says so
        partner = orders.partner[rows]
        wrong = (partner != ANYONE) & (partner != other[placed])
        if wrong.any():
            return f"order {ids[placed][wrong][0]} names a partner and trades with another"
    return None


def refused_whole(trial: Trial) -> str | None:
    """A refused book comes back whole: no trade, price, transfer or resting order."""
    clearing = trial.outcome.clearing
    if clearing.refused is None:
        return None
    for name in ("trades", "prices", "transfers", "resting"):
        if len(getattr(clearing, name)):
            return f"the book is refused ({clearing.refused.name}), and yet there are {name}"
    return None


def says_why(trial: Trial) -> str | None:
    """A book that is empty or has one side only is answered with its code, unless something came of it all the same."""
    expected, outcome = nobody_to_trade_with(trial.case.orders), trial.outcome
    clearing = outcome.clearing
    done = any(len(table) for table in (clearing.trades, clearing.prices, clearing.transfers, clearing.resting))
    if expected is None or outcome.rounds > 0 or done or clearing.unusable is not None:
        return None
    return None if clearing.refused == expected else f"expected the code {expected.name}, found {clearing.refused}"


def storable(trial: Trial) -> str | None:
    """The memory holds tables, arrays and numbers only, so that the engine can store and hash it."""
    return _not_storable(trial.outcome.memory, "memory")


def _not_storable(value: Any, path: str) -> str | None:
    if value is None or isinstance(value, (bool, int, float, str, np.number, Columns)):
        return None
    if isinstance(value, np.ndarray):
        return None if value.dtype.kind in "iufb" else f"{path} is an array of {value.dtype}"
    inner: Any = ()
    if isinstance(value, Mapping):
        if not all(isinstance(key, (str, int)) for key in value):
            return f"{path} has keys that are neither texts nor numbers"
        inner = value.items()
    elif isinstance(value, (tuple, list)):
        inner = enumerate(value)
    else:
        return f"{path} holds a {type(value).__name__}"
    return next((found for key, part in inner if (found := _not_storable(part, f"{path}[{key!r}]"))), None)


def _plain(value: Any) -> Any:
    if isinstance(value, Columns):
        return value.to_lists()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    return value


def answers_at_all(trial: Trial) -> str | None:
    """`step` gives (memory, Clearing) or (memory, Quote), and a Clearing before the rounds run out."""
    clearing: Any = trial.outcome.clearing
    return None if isinstance(clearing, Clearing) else f"step answered with {type(clearing).__name__}"
