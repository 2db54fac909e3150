"""One entry for all events: states and their transitions, reject codes, and what the effects say."""

from dataclasses import replace

import numpy as np
import pytest

from wattle.core.checks import InvariantError, Reject
from wattle.core.tables import ANY_PRICE, FIRST_MEMBER, GRID_OPERATOR, UTILITY
from wattle.engine import events as ev
from wattle.engine.gate import ASKING, OPEN, TRADING, TRANSITIONS
from wattle.ledger.accounts import ENERGY, LOCAL, MONEY, NETWORK, UTILITY_ENERGY
from wattle.ledger.fees import UTILITY_KWH, Charge

A, B, C, D = range(FIRST_MEMBER, FIRST_MEMBER + 4)
IDLE = [[0, 0, 0, 0]]


# --- members and tariff ---


def test_members_come_and_go(desk):
    market = desk.market(started=False)
    assert market.codes(ev.MembersJoined(0, (A, 99, 0, C))) == {1: Reject.UNKNOWN_MEMBER, 2: Reject.UNKNOWN_MEMBER}
    assert market.engine.members.tolist() == [A, C]
    assert market.codes(ev.MembersLeft(0, (C, D))) == {}
    assert market.engine.members.tolist() == [A]


def test_a_tariff_replaces_what_is_not_settled_yet(desk):
    market = desk.market()
    market.tell(desk.metered(IDLE), ev.IntervalsEnded(0, 0, 1))

    def publish(first, *prices):
        column = np.array(prices, np.int64)
        return market.codes(ev.TariffPublished(0, first, column, column - 100))

    assert publish(0, 500) == {0: Reject.WRONG_INTERVAL}  # settled
    assert publish(13, 500) == {0: Reject.WRONG_INTERVAL}  # a gap after interval 11
    assert publish(1, 500, 600) == {}
    settled = desk.effect(market.tell(desk.metered([[1, 0, 0, 0]], 1), ev.IntervalsEnded(0, 1, 2)), ev.Settled)
    assert settled.utility.buy_price.tolist() == [500]
    assert publish(3, 700) == {}
    assert market.codes(desk.metered([[0] * 4] * 3, 2), ev.IntervalsEnded(0, 2, 5)) == {0: Reject.NO_TARIFF}
    assert market.codes(ev.IntervalsEnded(0, 2, 4)) == {}


# --- gates: every event in every state ---


def in_state(desk, state):
    product = desk.HAGGLE if state != TRADING else replace(desk.BOOK, name="haggle")
    market = desk.market(products=(product,))
    if state:
        market.tell(ev.GateOpened(0, "haggle", 0, 2), desk.orders((0, A, 1, 5, 100), product="haggle"))
    if state == ASKING:
        market.tell(ev.GateClosed(0, "haggle"), desk.orders((0, A, 1, 5, 100), product="haggle"))
    return market


EVENTS_OF_A_GATE = sorted({kind for _, kind in TRANSITIONS})


@pytest.mark.parametrize("state", ["", OPEN, ASKING, TRADING])
@pytest.mark.parametrize("kind", EVENTS_OF_A_GATE)
def test_the_table_of_transitions_is_what_the_engine_does(desk, state, kind):
    market = in_state(desk, state)
    before = market.engine.state_hash()
    event = {
        "GateOpened": ev.GateOpened(0, "haggle", 0, 2),
        "OrdersSubmitted": desk.orders((0, B, -1, 5, 100), product="haggle"),
        "OrdersCancelled": ev.OrdersCancelled(0, "haggle", (0,)),
        "OrdersAmended": ev.OrdersAmended(0, "haggle", (0,), (4,), (100,)),
        "GateClosed": ev.GateClosed(0, "haggle"),
    }[kind]
    codes = market.codes(event)
    if (state, kind) in TRANSITIONS:
        assert codes == {}
        assert market.engine.state_hash() != before
    else:
        assert set(codes.values()) <= {Reject.WRONG_STATE, Reject.GATE_CLOSED}
        assert codes
        assert market.engine.state_hash() == before  # a refused event leaves no trace


def test_a_rule_asks_until_its_rounds_are_used_up(desk):
    market = desk.market(products=(desk.HAGGLE,))
    market.tell(ev.GateOpened(0, "haggle", 0, 2))
    for number in (1, 2):
        asked = desk.effect(market.tell(ev.GateClosed(0, "haggle")), ev.Asked)
        assert (asked.product, asked.round) == ("haggle", number)
    assert desk.effect(market.tell(ev.GateClosed(0, "haggle")), ev.Cleared).refused is None
    impatient = type(desk.HAGGLE)(**{**vars(desk.HAGGLE), "rounds_max": 1})
    market = desk.market(products=(impatient,))
    market.tell(ev.GateOpened(0, "haggle", 0, 2), ev.GateClosed(0, "haggle"))
    with pytest.raises(InvariantError, match="still asks after 1 rounds"):
        market.tell(ev.GateClosed(0, "haggle"))


def test_gates_need_a_product_and_an_interval_that_is_not_settled(desk):
    market = desk.market()
    assert market.codes(ev.GateOpened(0, "nothing", 0, 2)) == {0: Reject.UNKNOWN_PRODUCT}
    assert market.codes(ev.GateOpened(0, "pool", 0, 2)) == {0: Reject.UNKNOWN_PRODUCT}
    assert market.codes(desk.orders((0, A, 1, 5, 100), product="nothing")) == {0: Reject.UNKNOWN_PRODUCT}
    assert market.codes(ev.GateOpened(0, "ahead", 2, 2)) == {0: Reject.WRONG_INTERVAL}
    market.tell(desk.metered(IDLE), ev.IntervalsEnded(0, 0, 1))
    assert market.codes(ev.GateOpened(0, "ahead", 0, 2)) == {0: Reject.WRONG_INTERVAL}
    called = desk.effect(market.tell(ev.GateOpened(0, "ahead", 1, 2)), ev.Called).call
    assert (called.product, called.first, called.stop, called.round) == ("ahead", 1, 2, 0)


def test_intervals_are_counted_from_zero(desk):
    market = desk.market()
    assert market.codes(ev.GateOpened(0, "ahead", -2, 2)) == {0: Reject.WRONG_INTERVAL}
    assert market.codes(desk.metered([[0] * 4] * 2, -2), ev.IntervalsEnded(0, -2, 0)) == {0: Reject.WRONG_INTERVAL}
    assert market.engine.sealed_until is None


def test_ids_are_stamped_in_order_whatever_the_batch(desk):
    rows = [(0, A, 1, 5, 100), (0, B, -1, 0, 100), (1, C, -1, 7, 50), (1, 99, 1, 1, 1), (0, D, 1, 2, 80)]
    batch, single = desk.market(), desk.market()
    effects = batch.tell(ev.GateOpened(0, "ahead", 0, 2), desk.orders(*rows))
    assert desk.effect(effects, ev.Accepted).ids.tolist() == [0, 1, 2]
    rejected = desk.effect(effects, ev.Rejected)
    assert (rejected.rows.tolist(), rejected.codes) == ([1, 3], (Reject.BAD_QUANTITY, Reject.UNKNOWN_MEMBER))
    single.tell(ev.GateOpened(0, "ahead", 0, 2), *(desk.orders(row) for row in rows))
    assert single.engine.state_hash() == batch.engine.state_hash()


def test_cancelled_orders_do_not_trade(desk):
    market = desk.market()
    market.tell(ev.GateOpened(0, "ahead", 0, 1), desk.orders((0, A, 1, 5, 100), (0, B, -1, 5, 50), (0, C, -1, 5, 60)))
    assert market.codes(ev.OrdersCancelled(0, "ahead", (1, 7))) == {1: Reject.UNKNOWN_ORDER}
    assert market.codes(ev.OrdersCancelled(0, "ahead", (1,))) == {0: Reject.UNKNOWN_ORDER}
    cleared = desk.effect(market.tell(ev.GateClosed(0, "ahead")), ev.Cleared)
    assert (cleared.trades.seller.tolist(), cleared.trades.buy_price.tolist()) == ([C], [80])
    assert (cleared.product, cleared.first, cleared.stop) == ("ahead", 0, 1)


def test_a_book_that_cannot_be_priced_is_told_and_trades_nothing(desk):
    market = desk.market(started=False)
    market.tell(ev.MembersJoined(0, desk.MEMBERS), ev.GateOpened(0, "ahead", 0, 1))
    market.tell(desk.orders((0, A, 1, 5, ANY_PRICE), (0, B, -1, 5, -ANY_PRICE)))
    cleared = desk.effect(market.tell(ev.GateClosed(0, "ahead")), ev.Cleared)
    assert cleared.refused is Reject.NO_PRICE
    assert len(cleared.trades) == 0


# --- readings and settlement ---


def test_an_interval_needs_all_readings_a_tariff_closed_gates_and_its_turn(desk):
    market = desk.market(started=False)
    market.tell(ev.MembersJoined(0, desk.MEMBERS))
    assert market.codes(ev.IntervalsEnded(0, 0, 1)) == {0: Reject.NO_TARIFF}
    market.tell(ev.TariffPublished(0, 0, np.array([300, 310]), np.array([60, 60])))
    assert market.codes(ev.IntervalsEnded(0, 0, 1)) == {0: Reject.MISSING_READINGS}
    market.tell(desk.readings((0, A, 1), (0, B, 2), (0, D, 0), (1, C, 9)))
    assert market.codes(ev.IntervalsEnded(0, 0, 1)) == {0: Reject.MISSING_READINGS}
    market.tell(desk.readings((0, C, -3)), ev.GateOpened(0, "ahead", 0, 2))
    assert market.codes(ev.IntervalsEnded(0, 0, 1)) == {0: Reject.WRONG_STATE}
    market.tell(ev.GateClosed(0, "ahead"))
    assert market.codes(ev.IntervalsEnded(0, 1, 1)) == {0: Reject.WRONG_INTERVAL}
    assert market.codes(ev.IntervalsEnded(0, 0, 1)) == {}
    assert market.codes(ev.IntervalsEnded(0, 0, 1)) == {0: Reject.WRONG_INTERVAL}
    assert market.codes(ev.IntervalsEnded(0, 2, 3)) == {0: Reject.WRONG_INTERVAL}
    # The reading of interval 1 that came early has been kept.
    market.tell(desk.readings((1, A, 0), (1, B, 0), (1, D, 0)))
    assert market.codes(ev.IntervalsEnded(0, 1, 2)) == {}


def test_who_has_left_needs_no_reading(desk):
    market = desk.market()
    market.tell(ev.MembersLeft(0, (D,)), desk.readings((0, A, 1), (0, B, 2), (0, C, -3)))
    assert market.codes(ev.IntervalsEnded(0, 0, 1)) == {}


def test_wrong_readings_are_refused_and_the_last_one_counts(desk):
    market = desk.market()
    most = 1 << 48
    rows = [(0, A, 1), (0, 3, 5), (0, 99, 5), (0, B, most + 1), (0, B, -(1 << 63)), (0, B, 7), (0, B, 2)]
    wrong = {1: Reject.UNKNOWN_MEMBER, 2: Reject.UNKNOWN_MEMBER, 3: Reject.BAD_QUANTITY, 4: Reject.BAD_QUANTITY}
    assert market.codes(desk.readings(*rows)) == wrong
    market.tell(desk.readings((0, C, 0), (0, D, -3)), ev.IntervalsEnded(0, 0, 1))
    assert market.engine.balance[ENERGY, [A, B, C, D]].tolist() == [1, 2, 0, -3]


def test_a_reading_that_could_not_be_paid_for_in_64_bits_is_too_large(desk):
    market = desk.market(started=False)
    dear = np.array([1 << 20])
    market.tell(ev.MembersJoined(0, desk.MEMBERS), ev.TariffPublished(0, 0, dear, dear))
    most = 1 << 40
    rows = [(0, A, most), (0, B, -most), (0, C, most + 1), (0, D, -most - 1), (0, C, 0), (0, D, 0)]
    assert market.codes(desk.readings(*rows)) == {2: Reject.TOO_LARGE, 3: Reject.TOO_LARGE}
    assert market.codes(ev.IntervalsEnded(0, 0, 1)) == {}


def test_trades_before_the_first_interval_are_not_lost_in_it(desk):
    market = desk.market()
    market.tell(ev.GateOpened(0, "ahead", 0, 2), desk.orders((0, A, 1, 5, 100), (0, B, -1, 5, 50)))
    market.tell(ev.GateClosed(0, "ahead"), desk.metered(IDLE, 1))
    assert market.codes(ev.IntervalsEnded(0, 1, 2)) == {0: Reject.WRONG_INTERVAL}
    assert not market.engine.balance.any()


def test_an_interval_is_settled_line_by_line(desk):
    """Worked by hand. Retail 300, feed-in 60, 20 on local energy; the pool pays (280 + 60) / 2 = 170."""
    market = desk.market()
    market.tell(ev.GateOpened(0, "ahead", 0, 1), desk.orders((0, A, 1, 10, 200), (0, C, -1, 10, 100)))
    market.tell(ev.GateClosed(0, "ahead"))  # 10 lots at 150
    effects = market.tell(desk.metered([[14, 6, -18, 0]]), ev.IntervalsEnded(0, 0, 1))
    settled, sealed = desk.effect(effects, ev.Settled), desk.effect(effects, ev.Sealed)
    # Left are A 4, B 6 and C -8: the pool shares 8 as 3.2 and 4.8, so 3 and 5; the utility brings 1 and 1.
    local = sorted(zip(settled.local.buyer.tolist(), settled.local.quantity.tolist(), strict=True))
    assert local == [(A, 3), (A, 10), (B, 5)]
    utility = zip(settled.utility.buyer.tolist(), settled.utility.quantity.tolist(), strict=True)
    assert sorted(utility) == [(A, 1), (B, 1)]
    money = settled.lines[MONEY]
    assert money[LOCAL, [A, B, C]].tolist() == [10 * 150 + 3 * 170, 5 * 170, -10 * 150 - 8 * 170]
    assert money[NETWORK, [A, B]].tolist() == [13 * 20, 5 * 20]
    assert money[UTILITY_ENERGY, [A, B, UTILITY]].tolist() == [300, 300, -600]
    assert market.engine.balance[ENERGY, [A, B, C, D]].tolist() == [14, 6, -18, 0]
    assert np.array_equal(market.engine.balance, settled.lines.sum(axis=1))
    assert (settled.revision, sealed.revision, sealed.intervals.tolist(), len(sealed.hashes)) == (0, 0, [0], 32)
    assert sealed.hashes == market.engine.head


def test_charges_in_the_retail_price_split_the_bill_and_leave_its_total(desk):
    charge = Charge("network", UTILITY_KWH, 80, GRID_OPERATOR, NETWORK)
    market = desk.market(products=(), charges=(charge,))
    settled = desk.effect(market.tell(desk.metered([[5, 0, -2, 0]]), ev.IntervalsEnded(0, 0, 1)), ev.Settled)
    money = settled.lines[MONEY]
    assert money[UTILITY_ENERGY, [A, C]].tolist() == [5 * (300 - 80), -2 * 60]
    assert money[NETWORK, [A, C, GRID_OPERATOR]].tolist() == [5 * 80, 0, -5 * 80]
    assert market.engine.balance[MONEY, [A, C]].tolist() == [5 * 300, -2 * 60]


def test_members_who_trade_less_or_more_than_they_ordered_meet_the_utility(desk):
    market = desk.market(products=(desk.AHEAD,), charges=())
    market.tell(ev.GateOpened(0, "ahead", 0, 1), desk.orders((0, A, 1, 10, 200), (0, C, -1, 10, 100)))
    effects = market.tell(ev.GateClosed(0, "ahead"), desk.metered([[4, 0, 0, 0]]), ev.IntervalsEnded(0, 0, 1))
    utility = desk.effect(effects, ev.Settled).utility
    rows = sorted(zip(utility.buyer.tolist(), utility.seller.tolist(), utility.quantity.tolist(), strict=True))
    assert rows == [(UTILITY, A, 6), (C, UTILITY, 10)]  # A feeds 6 back, C buys what he sold but did not make
    assert utility.buy_price.tolist() == [60 if buyer == UTILITY else 300 for buyer in utility.buyer.tolist()]


def test_a_rule_that_asks_after_delivery_stops_the_market(desk):
    metered = type(desk.HAGGLE)(**{**vars(desk.HAGGLE), "when": desk.POOL.when})
    market = desk.market(products=(metered,))
    market.tell(desk.metered(IDLE))
    with pytest.raises(InvariantError, match="asks for answers after delivery"):
        market.tell(ev.IntervalsEnded(0, 0, 1))


def test_an_event_of_another_kind_is_an_error(desk):
    with pytest.raises(TypeError, match="does not know the event str"):
        desk.market().tell("GateOpened")


# --- the state hash ---


def test_the_state_hash_covers_all_that_the_future_depends_on(desk):
    """Each of these events changes what follows, so each must change the hash."""
    events = [
        ev.MembersLeft(0, (D,)),
        ev.TariffPublished(0, 5, np.array([301]), np.array([60])),
        ev.GateOpened(0, "ahead", 0, 2),
        desk.orders((0, A, 1, 5, 100)),
        desk.readings((0, A, 1)),
        desk.readings((1, A, 1)),
    ]
    hashes = {desk.market().engine.state_hash()}
    for event in events:
        market = desk.market()
        market.tell(*([events[2]] if isinstance(event, ev.OrdersSubmitted) else []), event)
        hashes.add(market.engine.state_hash())
    assert len(hashes) == len(events) + 1
    # What has been traded and waits for delivery counts too.
    waiting = []
    for limit in (100, 102):
        market = desk.market()
        market.tell(ev.GateOpened(0, "ahead", 0, 2), desk.orders((0, A, 1, 5, limit), (0, B, -1, 5, 50)))
        market.tell(ev.GateClosed(0, "ahead"))
        waiting.append(market.engine.state_hash())
    assert waiting[0] != waiting[1]


def test_the_memory_of_a_rule_is_part_of_the_state(desk):
    market = desk.market(products=(desk.HAGGLE,))
    market.tell(ev.GateOpened(0, "haggle", 0, 2), ev.GateClosed(0, "haggle"))
    before = market.engine.state_hash()
    market.engine._gates["haggle"].memory = {"asked": 7}
    assert market.engine.state_hash() != before


def test_the_same_events_give_the_same_hash(desk):
    market = desk.market()
    market.tell(desk.metered([[1, -2, 3, 0]]), ev.IntervalsEnded(0, 0, 1))
    assert market.again().state_hash() == market.engine.state_hash()
