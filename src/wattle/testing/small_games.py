"""Claims that need every alternative tried: misreports (TRUTHFUL) and coalitions (IN_CORE). For small books only."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from wattle.core.tables import ANY_PRICE, Orders
from wattle.testing.checks_claimed import _best_welfare, _groups, surpluses
from wattle.testing.trial import Trial, values

ORDERS_MAX = 12
MEMBERS_MAX = 8
QUANTITIES_MAX = 40


def truthful(trial: Trial) -> str | None:
    """No order gains its owner more by another limit, or by fewer lots, than by the truth.

    Tried are all limits that can matter, those of the book with one tick more and less, and every smaller quantity, or
    `QUANTITIES_MAX` of them from 1 up at even distances.
    Members with one order only: what two orders of one member gain together is another claim.
    """
    orders = trial.case.orders
    worth = values(trial.case, orders)
    if len(orders) > ORDERS_MAX or (np.abs(worth) == ANY_PRICE).any():
        return None
    honest = surpluses(orders, worth, trial.outcome.clearing)
    who, times = np.unique(orders.participant, return_counts=True)
    limits = sorted({int(limit) + step for limit in worth for step in (-1, 0, 1)})
    for row in np.flatnonzero(np.isin(orders.participant, who[times == 1])).tolist():
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


def in_core(trial: Trial) -> str | None:
    """No coalition of members can do better among themselves, to one unit of cash for each member (rounding).

    The worth of a coalition is the largest welfare of a market with its orders only; lots that it cannot trade gain
    nothing. A price taker's lot is worth the utility's price, so what is shared is what the utility would keep.
    """
    case, orders = trial.case, trial.case.orders
    if (orders.partner >= 0).any():  # a rule may refuse named partners; then nothing was shared
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
