"""Seals: one bit of any input changes the seal of its interval and all that follow, and none before."""

from itertools import combinations
from math import lcm

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.messages import Tariff
from wattle.core.tables import FIRST_MEMBER, Orders, Prices, Trades, Transfers
from wattle.engine import events as ev
from wattle.engine.seals import chain, fingerprint, leaves
from wattle.engine.settlement import Block, Settlement
from wattle.ledger.postings import Postings

A, B, C, D = range(FIRST_MEMBER, FIRST_MEMBER + 4)
BOOK = [(time, who, side, 5, 100 + who) for time in range(4) for who, side in ((A, 1), (C, -1), (B, 1))]
ENERGY = [[4, -6, 2, 1], [5, 3, -8, 0], [1, 1, 1, 1], [0, 0, 0, 0]]


def seals(desk, book=BOOK, energy=ENERGY, retail=300, feed_in=60):
    market = desk.market(started=False)
    tariff = ev.TariffPublished(0, 0, np.full(4, retail, np.int64), np.full(4, feed_in, np.int64))
    market.tell(ev.MembersJoined(0, desk.MEMBERS), tariff, ev.GateOpened(0, "ahead", 0, 4), desk.orders(*book))
    effects = market.tell(ev.GateClosed(0, "ahead"), desk.metered(energy), ev.IntervalsEnded(0, 0, 4))
    sealed = desk.effect(effects, ev.Sealed)
    return [sealed.hashes[32 * time : 32 * time + 32] for time in range(4)]


def first_difference(one, other):
    return next((time for time, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]), None)


@given(row=st.integers(0, len(BOOK) - 1), column=st.sampled_from((1, 2, 3, 4)), bit=st.integers(0, 3))
def test_a_bit_of_an_order(desk, row, column, bit):
    changed = list(BOOK[row])
    changed[column] = (changed[column] ^ (1 << bit)) if column != 2 else -changed[column]
    if column == 1 and changed[1] not in (A, B, C, D):
        changed[1] = D  # any other member
    if column == 3 and changed[3] == 0:
        changed[3] = 9
    book = [*BOOK[:row], tuple(changed), *BOOK[row + 1 :]]
    one, other = seals(desk), seals(desk, book=book)
    time = BOOK[row][0]
    assert first_difference(one, other) == time
    assert all(mine != theirs for mine, theirs in zip(one[time:], other[time:], strict=True))  # the chain goes on


@given(time=st.integers(0, 3), member=st.integers(0, 3), bit=st.integers(0, 40))
def test_a_bit_of_a_reading(desk, time, member, bit):
    energy = [list(row) for row in ENERGY]
    energy[time][member] ^= 1 << bit
    assert first_difference(seals(desk), seals(desk, energy=energy)) == time


@pytest.mark.parametrize("change", [{"retail": 301}, {"feed_in": 61}])
def test_a_price_of_the_utility(desk, change):
    assert first_difference(seals(desk), seals(desk, **change)) == 0


def test_two_readings_that_change_places(desk):
    energy = [ENERGY[1], ENERGY[0], *ENERGY[2:]]
    assert first_difference(seals(desk), seals(desk, energy=energy)) == 0


def contents(**tables):
    """Leaves of two intervals with the given rows in some tables."""
    energy = np.zeros((2, 10), np.int64)
    block = Block(0, 2, energy, tables.get("orders", Orders.empty()), Trades.empty(), Prices.empty(), Transfers.empty())
    prices, moved = tables.get("prices", Prices.empty()), tables.get("transfers", Transfers.empty())
    settlement = Settlement(tables.get("trades", Trades.empty()), Trades.empty(), prices, moved, Postings.empty(), ())
    return leaves(block, settlement, tables.get("cost", energy), Tariff.flat(tables.get("retail", 300), 60))


def rows_of(table, rows, value=1):
    """`rows` alike rows in interval 0."""
    return table(**{name: np.full(rows, value * (name != "interval")) for name in table.__dataclass_fields__})


def row_bytes(table):
    """Bytes of a row without its interval, which is the same for all rows of a content."""
    return sum(column.itemsize for column in table.empty().arrays()) - 4


def test_a_row_counts_in_its_own_table_only():
    """The number of rows of each table is part of the content, so the same bytes elsewhere are another content."""
    tables = {"orders": Orders, "trades": Trades, "prices": Prices, "transfers": Transfers}
    width = {name: row_bytes(table) for name, table in tables.items()}
    for one, other in combinations(tables, 2):
        whole = lcm(width[one], width[other])
        same_bytes = [contents(**{name: rows_of(tables[name], whole // width[name], 0)})[0] for name in (one, other)]
        assert same_bytes[0] != same_bytes[1]
    found = [
        contents()[0],
        contents(orders=rows_of(Orders, 1))[0],
        contents(trades=rows_of(Trades, 1))[0],
        contents(prices=rows_of(Prices, 1))[0],
        contents(prices=rows_of(Prices, 2))[0],
        contents(transfers=rows_of(Transfers, 1))[0],
        contents(prices=rows_of(Prices, 1), transfers=rows_of(Transfers, 1))[0],
        contents(cost=np.ones((2, 10), np.int64))[0],
        contents(retail=301)[0],
    ]
    assert len(set(found)) == len(found)
    empty = contents()
    assert empty[0] != empty[1]  # the number of the interval counts


def test_the_order_of_intervals_in_a_table_does_not_matter():
    prices = Prices(np.array([0, 1, 0]), np.array([0, 0, 1]), np.array([5, 6, 7]))
    assert contents(prices=prices) == contents(prices=prices.take(np.array([1, 0, 2])))


def test_a_chain_begins_with_its_head():
    one, other = chain(b"a", [b"x", b"y"]), chain(b"b", [b"x", b"y"])
    assert one[0] != other[0]
    assert one[1] != other[1]
    assert chain(one[0], [b"y"]) == one[1:]


def test_a_fingerprint_tells_apart_what_is_not_the_same():
    values = [
        None, 0, 1, -1, 1.0, "1", True, (), (1,), (1, 1), ((1,), 1), [1], {"a": 1}, {"a": 2}, {"b": 1}, {},
        np.array([1]), np.array([1], np.int32), np.array([[1]]), np.array([1, 1]), np.array([], np.int64),
        Prices.empty(), rows_of(Prices, 1), Transfers.empty(),
    ]  # fmt: skip
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint({"a": 1, "b": (2, np.array([3]))}) == fingerprint({"b": (2, np.array([3])), "a": 1})
