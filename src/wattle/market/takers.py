"""What stands for "any price" in a rule that reads limits as numbers."""

from __future__ import annotations

import numpy as np

from wattle.core.columns import I64
from wattle.core.messages import Context
from wattle.core.tables import ANY_PRICE, Orders


def with_prices(book: Orders, starts: I64, context: Context) -> Orders:
    """Return the grouped book with a number for each price taker, as far as there is one.

    A taker can always turn to the utility, so its price is his limit where there is a tariff. Where there is none he
    gets the farthest price that his group names: the highest if he buys, the lowest if he sells. Takers of a group that
    names no price stay as they are.
    """
    limit, taker = book.limit, np.abs(book.limit) == ANY_PRICE
    if not taker.any():
        return book
    if context.tariff is not None:
        retail, feed_in = context.tariff.at(book.interval)
        return book.replace(limit=np.where(taker, np.where(limit > 0, retail, feed_in), limit))
    sizes = np.diff(starts)
    highest = np.repeat(np.maximum.reduceat(np.where(taker, -ANY_PRICE, limit), starts[:-1]), sizes)
    lowest = np.repeat(np.minimum.reduceat(np.where(taker, ANY_PRICE, limit), starts[:-1]), sizes)
    named = taker & (lowest <= highest)
    return book.replace(limit=np.where(named, np.where(limit > 0, highest, lowest), limit))
