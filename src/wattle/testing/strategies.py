"""Hypothesis strategies for order books and tariffs; the only module that needs Hypothesis installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from wattle.core.messages import Tariff
from wattle.core.tables import ANY_PRICE, ANYONE, FIRST_MEMBER, Orders
from wattle.core.units import PRICE_MAX, QUANTITY_MAX

Draw = Any


@st.composite
def order_books(
    draw: Draw,
    *,
    rows: int = 14,
    members: int = 4,
    intervals: int = 3,
    zones: int = 2,
    takers: bool = True,
    partners: bool = False,
    huge: bool = False,
    wide: bool = False,
) -> Orders:
    """Draw a book of at most `rows` orders; it shrinks to few rows, small lots and low prices.

    `takers` and `partners` allow price takers and named partners, `huge` quantities near the largest (with limits
    that keep sums of money within 64 bits), `wide` limits up to the largest.
    """
    numbers = st.integers(FIRST_MEMBER, FIRST_MEMBER + members - 1)
    limits = st.integers(0, 9).map(lambda level: 60 + 30 * level) | st.integers(-50, 400)
    if wide and not huge:
        limits |= st.integers(-PRICE_MAX, PRICE_MAX)
    if takers:
        limits |= st.just(ANY_PRICE)
    quantities = st.integers(1, 20)
    if huge:
        quantities |= st.integers(QUANTITY_MAX - 3, QUANTITY_MAX)
    row = st.tuples(
        numbers,
        st.integers(0, zones - 1),
        st.integers(0, intervals - 1),
        st.sampled_from((1, -1)),
        quantities,
        limits,
        st.just(ANYONE) | numbers if partners else st.just(ANYONE),
        st.integers(1, 3),
    )
    table = draw(st.lists(row, max_size=rows))
    ids = np.cumsum([each[7] for each in table], dtype=np.int64)
    columns: list[Any] = [np.array(column, np.int64) for column in zip(*table, strict=True)] or [np.zeros(0, int)] * 8
    who, zone, interval, side, quantity, limit, partner, _ = columns
    limit = np.where(limit == ANY_PRICE, side * ANY_PRICE, limit)
    partner = np.where(partner == who, ANYONE, partner)
    orders = Orders(ids, who, zone, interval, side, quantity, limit, partner)
    return orders.take(np.array(draw(st.permutations(range(len(table)))), np.int64))


@st.composite
def tariffs(draw: Draw, *, intervals: int = 3, none: bool = True) -> Tariff | None:
    """Draw a tariff for the intervals from 0 on, retail at or above feed-in, or (with `none`) no tariff at all."""
    if none and draw(st.booleans()):
        return None
    feed_in = draw(st.lists(st.integers(-40, 250), min_size=intervals, max_size=intervals))
    gap = draw(st.lists(st.integers(0, 250), min_size=intervals, max_size=intervals))
    return Tariff(0, np.array(feed_in, np.int64) + np.array(gap, np.int64), np.array(feed_in, np.int64))
