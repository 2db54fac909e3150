"""Generated books are what their kinds say, the same for the same seed, and readable by `wattle clear` as CSV."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings

from wattle.core.tables import ANY_PRICE, ANYONE, FIRST_MEMBER
from wattle.core.units import PRICE_MAX, QUANTITY_MAX
from wattle.runtime.book import read_book
from wattle.testing.conformance import shrink
from wattle.testing.generators import KINDS, RARELY, UNITS, Case, as_csv, book_of, books, cases, part
from wattle.testing.strategies import order_books, tariffs
from wattle.testing.trial import sorted_rows


def some(kind, count=30):
    return list(islice(books(1, kind), 3 if KINDS[kind].rare else count))


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_book_is_sound_and_drawn_from_its_seed(kind):
    for book, again in zip(some(kind), some(kind), strict=True):
        assert book == again
        assert np.unique(book.id).size == len(book)
        assert set(book.side.tolist()) <= {1, -1}
        assert ((book.quantity >= 1) & (book.quantity <= QUANTITY_MAX)).all()
        taker = book.limit == book.side.astype(np.int64) * ANY_PRICE
        assert (taker | (np.abs(book.limit) <= PRICE_MAX)).all()
        assert (book.partner != book.participant).all()
        assert np.isin(book.partner, [ANYONE, *book.participant]).all()
        assert (book.participant >= FIRST_MEMBER).all()
        # What anybody could pay fits into 64 bits, so that no check runs into the end of the numbers.
        named = np.abs(np.where(taker, 0, book.limit))
        assert float(book.quantity.sum()) * float(named.max(initial=400)) < 2.0**62
    assert any(one != other for one, other in zip(some(kind), books(2, kind), strict=False)) or kind == "empty"


def groups(book):
    return np.unique(np.stack((book.interval, book.zone)), axis=1, return_counts=True)[1]


FEATURES = {
    "ties": lambda book: np.unique(book.limit).size < len(book),
    "empty": lambda book: len(book) == 0,
    "one-sided": lambda book: np.unique(book.side).size == 1,
    "single order": lambda book: len(book) == 1,
    "huge quantities": lambda book: book.quantity.max() > QUANTITY_MAX - 9,
    "tiny quantities": lambda book: book.quantity.max() <= 2,
    "zones": lambda book: np.unique(book.zone).size > 1,
    "price takers": lambda book: (np.abs(book.limit) == ANY_PRICE).all(),
    "some price takers": lambda book: 0 < (np.abs(book.limit) == ANY_PRICE).sum() < len(book),
    "shuffled rows": lambda book: (np.diff(book.id) < 0).any(),
    "negative prices": lambda book: book.limit.min() < 0,
    "wide prices": lambda book: len(book) > 48 and np.ptp(book.limit) > 1 << 18,
    "narrow prices": lambda book: len(book) > 48 and np.ptp(book.limit) < 50,
    "named partners": lambda book: (book.partner != ANYONE).any(),
    "one large group": lambda book: groups(book).max() >= 1500,
    "thousands of intervals": lambda book: groups(book).size > 1500,
    "several orders a member": lambda book: len(book) > np.unique(book.participant).size,
    "member on both sides": lambda book: bool(
        set(book.participant[book.side > 0].tolist()) & set(book.participant[book.side < 0].tolist())
    ),
}


@pytest.mark.parametrize("kind", list(FEATURES))
def test_a_kind_has_what_its_name_says(kind):
    found = [bool(FEATURES[kind](book)) for book in some(kind)]
    assert sum(found) > len(found) / 2


def test_all_kinds_come_in_turn_and_large_ones_rarely():
    drawn = [case.kind for case in part(0, 5 * RARELY)]
    usual = [name for name in KINDS if not KINDS[name].rare]
    assert drawn[: len(usual) - 1] == usual[: len(usual) - 1]
    assert set(drawn) == set(KINDS)
    assert sum(KINDS[kind].rare for kind in drawn) < 10
    assert [case.kind for case in islice(cases(0, ["ties"]), 3)] == ["ties"] * 3


def test_cases_have_tariffs_of_all_sorts_for_all_their_intervals():
    found = part(0, 200)
    assert any(case.tariff is None for case in found)
    assert any(case.tariff is not None and (case.tariff.retail == case.tariff.feed_in).all() for case in found)
    for case in found:
        if case.tariff is not None and len(case.orders):
            case.tariff.at(case.orders.interval)


@pytest.mark.parametrize("kind", [name for name in KINDS if not KINDS[name].rare and name != "empty"])
def test_the_csv_of_a_book_is_read_back(kind, tmp_path):
    path = tmp_path / "book.csv"
    for book in some(kind, 5):
        path.write_text(as_csv(book) + "\n")
        found = read_book(path, UNITS)
        in_order = book.take(np.argsort(book.id))
        for name in ("interval", "side", "quantity", "limit"):
            assert np.array_equal(getattr(found.orders, name), getattr(in_order, name))
        assert [found.name(who) for who in found.orders.participant] == [f"m{who}" for who in in_order.participant]
        named = found.orders.partner != ANYONE
        assert [found.name(who) for who in found.orders.partner[named]] == [f"m{w}" for w in in_order.partner[named]]
        assert [found.zones[zone] for zone in found.orders.zone] == in_order.zone.tolist()


@settings(max_examples=40)
@given(order_books(partners=True, huge=True), tariffs())
def test_drawn_books_and_tariffs_are_sound(book, tariff):
    assert np.unique(book.id).size == len(book)
    assert set(book.side.tolist()) <= {1, -1}
    assert tariff is None or (tariff.retail >= tariff.feed_in).all()


def test_shrinking_keeps_what_fails_and_drops_the_rest():
    """The complaint needs one buyer of at least 7 lots; everything else goes."""

    def complains(trial):
        orders = trial.case.orders
        return "too much" if (orders.quantity[orders.side > 0] >= 7).any() else None

    class Idle:
        def step(self, memory, orders, context):
            from wattle.core.checks import Reject
            from wattle.core.messages import Clearing

            return None, Clearing.refuse(Reject.NO_PRICE)

    large = next(case for case in part(0, 60) if case.kind == "zones" and case.tariff is not None)
    small = shrink(complains, Idle(), large)
    assert sorted_rows(small.orders.replace(id=[0], participant=[8])) == sorted_rows(book_of([(8, 1, 7, 100)]))
    assert small.tariff is None
    assert isinstance(small, Case)
