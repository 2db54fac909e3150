"""Every event goes into the journal and comes back the same."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError
from wattle.core.columns import Columns
from wattle.core.tables import Readings
from wattle.engine import events as ev
from wattle.testing.strategies import order_books

second, interval, name = st.integers(0, 1 << 40), st.integers(-5, 40_000), st.text(max_size=8)
participants = st.lists(st.integers(0, 1 << 31), max_size=5).map(tuple)
prices = st.lists(st.integers(-(1 << 36), 1 << 36), max_size=5).map(lambda values: np.array(values, np.int64))
reading = st.tuples(st.integers(0, 1 << 30), st.integers(0, 1 << 30), st.integers(-(1 << 48), 1 << 48))
metered = st.lists(reading, max_size=6).map(lambda rows: Readings(*np.array(rows, np.int64).reshape(-1, 3).T))

DRAWN = {
    "MembersJoined": st.builds(ev.MembersJoined, second, participants),
    "MembersLeft": st.builds(ev.MembersLeft, second, participants),
    "TariffPublished": st.builds(ev.TariffPublished, second, interval, prices, prices),
    "GateOpened": st.builds(ev.GateOpened, second, name, interval, interval),
    "OrdersSubmitted": st.builds(ev.OrdersSubmitted, second, name, order_books(partners=True, huge=True)),
    "OrdersCancelled": st.builds(ev.OrdersCancelled, second, name, participants),
    "OrdersAmended": st.lists(st.tuples(*[st.integers(-5, 1 << 48)] * 3), max_size=4).flatmap(
        lambda rows: st.builds(
            ev.OrdersAmended, second, name, *(st.just(tuple(row[i] for row in rows)) for i in range(3))
        )
    ),
    "GateClosed": st.builds(ev.GateClosed, second, name),
    "ReadingsReceived": st.builds(ev.ReadingsReceived, second, metered, name),
    "IntervalsEnded": st.builds(ev.IntervalsEnded, second, interval, interval),
}


def same(one, other):
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and one == other


def test_each_event_is_drawn_here():
    assert set(DRAWN) == set(ev.EVENTS)
    assert {cls.__name__ for cls in ev.Event.__subclasses__()} == set(ev.EVENTS)


@pytest.mark.parametrize("kind", list(DRAWN))
@given(data=st.data())
def test_an_event_comes_back_from_json(kind, data):
    event = data.draw(DRAWN[kind])
    back = ev.event_from(kind, json.loads(json.dumps(event.payload())))
    assert type(back) is type(event)
    assert all(same(getattr(back, field), value) for field, value in vars(event).items())


@pytest.mark.parametrize("kind", list(DRAWN))
@given(data=st.data())
def test_an_event_cannot_be_changed(kind, data):
    event = data.draw(DRAWN[kind])
    with pytest.raises(AttributeError):
        event.at_s = 5
    for value in vars(event).values():
        if isinstance(value, Columns):
            assert not any(column.flags.writeable for column in value.arrays())


def test_an_unknown_event_is_refused():
    with pytest.raises(InvariantError, match="unknown event 'GateLost'"):
        ev.event_from("GateLost", {})


def test_a_damaged_entry_is_refused():
    with pytest.raises(InvariantError, match="lacks a number"):
        ev.event_from("OrdersAmended", {"at_s": 0, "product": "book", "ids": [1, 2], "quantity": [3], "limit": [4, 5]})
    payload = ev.GateOpened(0, "ahead", 0, 4).payload()
    del payload["stop"]
    with pytest.raises((KeyError, InvariantError)):
        ev.event_from("GateOpened", payload)
    lots = ev.ReadingsReceived(0, Readings(np.array([0]), np.array([8]), np.array([5]))).payload()
    lots["readings"]["energy"] = [5.5]
    with pytest.raises(InvariantError, match="energy: float64 given, int64 expected"):
        ev.event_from("ReadingsReceived", lots)
