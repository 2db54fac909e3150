"""Whose orders are whose: a player of a game does not trade with himself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.tables import Orders

Whole = NDArray[np.integer[Any]]


def owned(orders: Orders, interval: Whole, zone: Whole, member: Whole) -> NDArray[np.bool_]:
    """Tell which orders belong to one of these members in his zone and interval."""
    theirs = np.column_stack((interval, zone, member)).astype(np.int64)
    places = np.column_stack((orders.interval, orders.zone, orders.participant)).astype(np.int64)
    _, key = np.unique(np.concatenate((places, theirs)), axis=0, return_inverse=True)
    found: NDArray[np.bool_] = np.isin(key[: len(orders)], key[len(orders) :])
    return found


def without_own_answers(orders: Orders, side: int) -> Orders:
    """Leave out what the players, all who have an order on `side`, want on the other side in that zone and interval.

    He who plays for a good price on one side does not answer himself on the other.
    """
    plays = orders.side == side
    players = orders.take(plays)
    return orders.take(plays | ~owned(orders, players.interval, players.zone, players.participant))
