"""The one table type: what it refuses, that it is frozen, and the round trip through plain lists."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError
from wattle.core.tables import Orders, Prices, Readings, Trades
from wattle.testing.strategies import order_books


def prices(*rows):
    return Prices(*(np.array(column, np.int64) for column in zip(*rows, strict=True))) if rows else Prices.empty()


@given(order_books(partners=True, huge=True))
def test_lists_and_json_bring_the_table_back(book):
    assert Orders.from_lists(json.loads(json.dumps(book.to_lists()))) == book


@given(order_books(), st.data())
def test_take_and_concat_undo_each_other(book, data):
    cut = data.draw(st.integers(0, len(book)))
    assert Orders.concat(book.take(slice(0, cut)), book.take(slice(cut, None))) == book
    mask = np.arange(len(book)) < cut
    assert Orders.concat(book.take(mask), Orders.empty(), book.take(~mask)) == book
    assert len(Orders.concat()) == 0


def test_columns_have_the_declared_types_whatever_integers_come_in():
    table = Prices(np.array([1], np.uint8), np.array([True]), np.array([2], np.int16))
    assert [column.dtype for column in table.arrays()] == [np.int32, np.int32, np.int64]
    assert [column.dtype for column in Prices.empty().arrays()] == [np.int32, np.int32, np.int64]


def test_rows_cannot_be_changed_and_the_callers_array_stays_writeable():
    own = np.array([1, 2], np.int64)
    table = Readings(np.array([0, 0], np.int32), np.array([8, 9], np.int32), own)
    with pytest.raises(ValueError, match="read-only"):
        table.energy[0] = 5
    with pytest.raises(AttributeError):
        table.energy = own
    assert own.flags.writeable


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.array([1.0]), "float64 given, int64 expected"),
        (np.array(["1"]), "expected"),
        (np.array([None]), "expected"),
        (np.array([[1]]), "one dimension"),
        (np.array([1, 2]), "2 rows, the columns before have 1"),
        (np.array([1 << 63], np.uint64), "do not fit into int64"),
        ([float("nan")], "float64 given"),
    ],
)
def test_a_wrong_column_is_refused(column, message):
    with pytest.raises(InvariantError, match=message):
        Prices(np.array([0]), np.array([0]), column)


def test_a_number_that_is_too_large_for_its_column_is_refused():
    with pytest.raises(InvariantError, match=r"interval: values 2147483648 to 2147483648 do not fit into int32"):
        Prices(np.array([1 << 31]), np.array([0]), np.array([0]))


@pytest.mark.parametrize(
    "change",
    [
        {"price": [1.5]},
        {"price": [1 << 70]},
        {"price": ["1"]},
        {"price": [None]},
        {"price": []},
        {"zone": [1 << 40]},
        {"surplus": [1]},
    ],
)
def test_lists_that_do_not_fit_are_refused(change):
    with pytest.raises(InvariantError):
        Prices.from_lists({**prices((0, 0, 7)).to_lists(), **change})
    with pytest.raises(InvariantError):
        Prices.from_lists({"price": [1]})


def test_equality_looks_at_type_and_content():
    assert prices((0, 0, 7)) == prices((0, 0, 7))
    assert prices((0, 0, 7)) != prices((0, 0, 8))
    assert prices((0, 0, 7)) != prices((0, 0, 7), (1, 0, 7))
    assert Prices.empty() != Readings.empty()
    with pytest.raises(TypeError):
        hash(Prices.empty())


def test_replace_exchanges_columns_and_knows_its_names():
    changed = prices((0, 0, 7)).replace(price=np.array([9]))
    assert changed.to_lists() == {"interval": [0], "zone": [0], "price": [9]}
    with pytest.raises(InvariantError, match="Trades has no column cost"):
        Trades.empty().replace(cost=np.zeros(0))
