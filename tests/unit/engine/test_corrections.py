"""Late and corrected readings: differences sum to zero, nobody else is touched, the end is as if known at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import Reject
from wattle.core.tables import FIRST_MEMBER
from wattle.engine import events as ev
from wattle.ledger.accounts import ENERGY
from wattle.ledger.postings import balances

A, B, C, D = range(FIRST_MEMBER, FIRST_MEMBER + 4)
energy = st.lists(st.lists(st.integers(-9, 9), min_size=4, max_size=4), min_size=3, max_size=3)
changes = st.lists(st.tuples(st.integers(0, 2), st.sampled_from((A, B, C, D)), st.integers(-9, 9)), max_size=5)


def traded(desk, products):
    """A market in which A buys 5 from C in each of three intervals before delivery."""
    market = desk.market(products=products)
    if desk.AHEAD in products:
        rows = [(time, who, side, 5, 100) for time in range(3) for who, side in ((A, 1), (C, -1))]
        market.tell(ev.GateOpened(0, "ahead", 0, 3), desk.orders(*rows), ev.GateClosed(0, "ahead"))
    return market


def settled(desk, products, table):
    market = traded(desk, products)
    market.tell(desk.metered(table), ev.IntervalsEnded(0, 0, 3))
    return market


PRODUCTS = ["AHEAD POOL", "POOL", "BILLS", "AHEAD BILLS", "AHEAD"]


@pytest.mark.parametrize("names", PRODUCTS)
@given(table=energy, late=changes)
def test_a_correction_ends_where_right_readings_would_have_led(desk, names, table, late):
    products = tuple(getattr(desk, name) for name in names.split())
    market = settled(desk, products, table)
    before = market.engine.balance.copy()
    effects = market.tell(desk.readings(*late)) if late else []
    right = np.array(table)
    for time, who, lots in late:
        right[time, who - FIRST_MEMBER] = lots
    assert np.array_equal(market.engine.balance, settled(desk, products, right).engine.balance)
    found = [each for each in effects if isinstance(each, ev.Settled)]
    change = sum(balances(each.postings, market.engine.accounts) for each in found)
    assert np.array_equal(market.engine.balance - before, change if found else 0 * before)
    for each in found:
        assert not balances(each.postings, market.engine.accounts).sum(axis=1).any()
        assert np.array_equal(each.lines.sum(axis=1), balances(each.postings, market.engine.accounts))
    assert bool(found) == (right != table).any()


@given(table=energy, place=st.integers(0, 2), lots=st.integers(1, 9))
def test_only_who_is_concerned_sees_a_difference(desk, table, place, lots):
    """D trades with the utility alone, so a late reading of D changes his account and the utility's only."""
    market = settled(desk, (desk.AHEAD,), table)
    effects = market.tell(desk.readings((place, D, table[place][3] + lots)))
    change = desk.effect(effects, ev.Settled)
    touched = np.flatnonzero(balances(change.postings, market.engine.accounts).any(axis=0))
    assert touched.tolist() == [0, D]
    assert (change.first, change.stop) == (place, place + 1)
    assert change.postings.interval.tolist() == [place] * len(change.postings)


def test_differences_of_a_pool_by_hand(desk):
    """C sells 10; A and B want 10 each and get 5. Then B is found to have used nothing: A gets all."""
    market = desk.market(products=(desk.POOL,), charges=())
    market.tell(desk.metered([[10, 10, -10, 0]]), ev.IntervalsEnded(0, 0, 1))
    effects = market.tell(desk.readings((0, B, 0)))
    change = desk.effect(effects, ev.Settled)
    # Pool price 180, retail 300: A pays 5 lots 120 less, B nothing at all any more, C and D as before.
    assert change.lines[1].sum(axis=0)[[A, B, C, D]].tolist() == [-5 * 120, -5 * 180 - 5 * 300, 0, 0]
    assert change.revision == 1
    sealed = desk.effect(effects, ev.Sealed)
    assert (sealed.intervals.tolist(), sealed.revision) == ([0], 1)
    assert sealed.hashes == market.engine.head


def test_each_correction_has_a_number_and_a_new_seal(desk):
    market = settled(desk, (desk.POOL,), [[1, 2, -3, 0]] * 3)
    heads = {market.engine.head}
    for number, lots in enumerate((5, 6, 5), start=1):
        assert desk.effect(market.tell(desk.readings((1, A, lots))), ev.Settled).revision == number
        heads.add(market.engine.head)
    assert len(heads) == 4
    assert market.again().head == market.engine.head


def test_the_same_reading_again_changes_nothing(desk):
    market = settled(desk, (desk.AHEAD, desk.POOL), [[1, 2, -3, 0]] * 3)
    before = market.engine.state_hash()
    assert market.tell(desk.readings((0, A, 1), (2, C, -3))) == []
    assert market.engine.state_hash() == before


def test_one_message_may_hold_late_new_and_wrong_readings(desk):
    market = settled(desk, (desk.POOL,), [[1, 2, -3, 0]] * 3)
    codes = market.codes(desk.readings((3, A, 4), (0, B, 7), (1, 99, 5), (3, B, 4), (3, C, 0), (3, D, 0)))
    assert codes == {2: Reject.UNKNOWN_MEMBER}
    assert market.engine.balance[ENERGY, B] == 7 + 2 + 2
    assert market.codes(ev.IntervalsEnded(0, 3, 4)) == {}
    assert market.engine.balance[ENERGY, [A, B]].tolist() == [1 + 1 + 1 + 4, 7 + 2 + 2 + 4]


def settle_in(desk, market, portions):
    first = 0
    for count in portions:
        market.tell(desk.metered([[1, 2, -3, 0]] * count, first), ev.IntervalsEnded(0, first, first + count))
        first += count
    return market


@pytest.mark.parametrize("portions", [(6,), (1, 1, 1, 1, 1, 1), (4, 2), (3, 3)])
@pytest.mark.parametrize("window", [0, 1, 2, 5, 6, 100])
def test_the_window_is_counted_in_intervals_however_they_were_settled(desk, portions, window):
    market = settle_in(desk, desk.market(products=(desk.POOL,), correctable=window), portions)
    for time in range(6):
        late = time < 6 - window
        expected = {0: Reject.TOO_LATE} if late else {}
        before = market.engine.balance.copy()
        assert market.codes(desk.readings((time, A, 9))) == expected
        assert np.array_equal(before, market.engine.balance) == late


def test_portions_do_not_change_seals_or_state(desk):
    """Settled in one go or bit by bit: same seals, same balances, same hash, before and after a correction."""
    markets = [settle_in(desk, desk.market(), portions) for portions in ((6,), (1, 1, 1, 1, 1, 1), (4, 2))]
    assert len({market.engine.head for market in markets}) == 1
    assert len({market.engine.state_hash() for market in markets}) == 1
    for market in markets:
        market.tell(desk.readings((2, B, 5), (4, B, 5)))
    assert len({market.engine.balance.tobytes() for market in markets}) == 1


def test_a_reading_before_the_first_interval_is_too_late(desk):
    market = desk.market(products=(desk.POOL,))
    market.tell(desk.metered([[0] * 4], 3), ev.IntervalsEnded(0, 3, 4))
    assert market.codes(desk.readings((1, A, 5))) == {0: Reject.TOO_LATE}
