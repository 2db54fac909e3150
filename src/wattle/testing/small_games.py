"""Claims that need every alternative tried: misreports (TRUTHFUL) and coalitions (IN_CORE). For small books only."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from wattle.core.tables import ANY_PRICE, BUY, Orders
from wattle.testing.checks_claimed import _best_welfare, _groups, surpluses
from wattle.testing.generators import Case
from wattle.testing.trial import Trial, values

ORDERS_MAX = 12
MEMBERS_MAX = 8
QUANTITIES_MAX = 40

TAKERS = 0.3
"""The chance that an order of a book `with_takers` takes any price."""


def truthful(trial: Trial) -> str | None:
    """No order gains its owner more by another limit, or by fewer lots, than by the truth.

    Tried are all limits that can matter, those of the book with one tick more and less, and every smaller quantity, or
    `QUANTITIES_MAX` of them from 1 up at even distances. Without a tariff a lot has no worth to a price taker, so he
    tells no lies; the others do.
    Members with one order only: what two orders of one member gain together is another claim, and so is what a member
    gains who trades with himself.
    """
    orders = trial.case.orders
    worth = values(trial.case, orders)
    if len(orders) > ORDERS_MAX:
        return None
    honest = surpluses(orders, worth, trial.outcome.clearing)
    who, times = np.unique(orders.participant, return_counts=True)
    named = np.abs(worth) < ANY_PRICE
    limits = sorted({int(limit) + step for limit in worth[named] for step in (-1, 0, 1)})
    for row in np.flatnonzero(np.isin(orders.participant, who[times == 1]) & named).tolist():
        said = [(limit, int(orders.quantity[row])) for limit in limits]
        step = 1 + int(orders.quantity[row]) // QUANTITIES_MAX
        said += [(int(worth[row]), lots) for lots in range(1, int(orders.quantity[row]), step)]
        for limit, lots in said:
            lie = _with(orders, row, limit, lots)
            outcome = trial.again(lie)
            member = int(orders.participant[row])
            gain = surpluses(lie, worth, outcome.clearing)[member]
            if gain > honest[member]:
                return (
                    f"participant {member} gains {gain} by saying limit {limit} and {lots} lots, "
                    f"and {honest[member]} by the truth ({worth[row]} and {orders.quantity[row]})"
                )
    return None


def with_takers(case: Case) -> Case:
    """Return a case in which some orders take any price, one at least, and there is no tariff that gives them a worth.

    >>> from wattle.testing.generators import book_of
    >>> taken = with_takers(Case("by hand", book_of([(8, 1, 3, 200)]), None, 0))
    >>> taken.orders.limit.tolist() == [ANY_PRICE]
    True
    """
    orders, rng = case.orders, np.random.default_rng(case.seed)
    if len(orders) == 0:
        return replace(case, tariff=None)
    takes = rng.random(len(orders)) < TAKERS
    takes[rng.integers(len(orders))] = True
    limit = np.where(takes, np.where(orders.side == BUY, ANY_PRICE, -ANY_PRICE), orders.limit)
    return replace(case, orders=orders.replace(limit=limit), tariff=None)


def in_core(trial: Trial) -> str | None:
    """No coalition of members can do better among themselves, to one unit of cash for each member (rounding).

    The worth of a coalition is the largest welfare of a market with its orders only; lots that it cannot trade gain
    nothing. A price taker's lot is worth the utility's price, so what is shared is what the utility would keep. In a
    book that the rule refuses nothing is shared.
    """
    case, orders = trial.case, trial.case.orders
    if (orders.partner >= 0).any() or trial.outcome.clearing.unusable is not None:
        return None
    worth = values(case, orders)
    members = np.unique(orders.participant).tolist()
    if len(members) > MEMBERS_MAX or (np.abs(worth) == ANY_PRICE).any():
        return None
    gain = surpluses(orders, worth, trial.outcome.clearing)
    for size in range(1, len(members) + 1):
        for coalition in combinations(members, size):
            own = orders.take(np.isin(orders.participant, coalition))
            alone = sum(_best_welfare(*group) for *_, group in _groups(trial, own))
            together = sum(gain[member] for member in coalition)
            if together < alone - size:
                return f"participants {', '.join(map(str, coalition))} gain {together}, by themselves {alone}"
    return None


def _with(orders: Orders, row: int, limit: int, lots: int) -> Orders:
    limits, quantities = orders.limit.copy(), orders.quantity.copy()
    limits[row], quantities[row] = limit, lots
    return orders.replace(limit=limits, quantity=quantities)
