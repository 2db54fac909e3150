"""Trading on arrival through the engine: by hand, and message by message against the book in plain Python."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.tables import ANY_PRICE, FIRST_MEMBER
from wattle.core.units import QUANTITY_MAX
from wattle.engine import events as ev
from wattle.engine.gate import Product
from wattle.ledger.accounts import ENERGY, LOCAL, MONEY
from wattle.market.auction_double import UniformAuction
from wattle.market.book_live import LiveBook
from wattle.market.book_rules import ALLOW, CANCEL_INCOMING, CANCEL_RESTING, Code
from wattle.market.mechanism import ARRIVAL
from wattle.market.order_book import CallThenContinuous, OrderBook

A, B, C, D = range(FIRST_MEMBER, FIRST_MEMBER + 4)
BUY, SELL = 1, -1


def rows_of(table, *names):
    return list(zip(*(getattr(table, name).tolist() for name in names), strict=True))


def opened(desk, rule=None, **rules):
    product = desk.BOOK if rule is None else replace(desk.BOOK, mechanism=rule)
    market = desk.market(products=(product, desk.POOL), charges=(), **rules)
    market.tell(ev.GateOpened(0, "book", 0, 2))
    return market


def sent(desk, market, *rows, **more):
    """Submit rows of interval, participant, side, quantity, limit; return the effects."""
    return market.tell(desk.orders(*rows, product="book", **more))


def cancel(*ids):
    return ev.OrdersCancelled(0, "book", ids)


def amend(*rows):
    """Rows of id, quantity, limit."""
    return ev.OrdersAmended(0, "book", *(tuple(column) for column in zip(*rows, strict=True)))


def trades_in(effects):
    found = [each.trades for each in effects if isinstance(each, ev.Cleared)]
    return [row for table in found for row in rows_of(table, "buyer", "seller", "quantity", "buy_price")]


def dropped_in(effects):
    found = [each for each in effects if isinstance(each, ev.Dropped)]
    return [row for each in found for row in rows_of(each, "ids", "quantity")]


def levels(market):
    return rows_of(market.engine.depth("book"), "interval", "side", "price", "quantity", "orders")


# --- by hand ---


def test_orders_trade_as_they_come(desk):
    market = opened(desk)
    effects = sent(desk, market, (0, A, SELL, 3, 100), (0, B, SELL, 3, 100), (1, A, SELL, 5, 90))
    assert desk.effect(effects, ev.Accepted).ids.tolist() == [0, 1, 2]
    assert (trades_in(effects), dropped_in(effects)) == ([], [])
    assert levels(market) == [(0, SELL, 100, 6, 2), (1, SELL, 90, 5, 1)]
    effects = sent(desk, market, (0, C, BUY, 4, 130))
    cleared = desk.effect(effects, ev.Cleared)
    assert (cleared.product, cleared.first, cleared.stop, cleared.refused) == ("book", 0, 2, None)
    assert trades_in(effects) == [(C, A, 3, 100), (C, B, 1, 100)]
    assert len(cleared.prices) == 0  # they are published at closure
    assert levels(market) == [(0, SELL, 100, 2, 1), (1, SELL, 90, 5, 1)]
    sent(desk, market, (0, D, BUY, 1, 80), (0, C, BUY, 2, 80), (0, C, BUY, 2, 70))
    assert levels(market)[:3] == [(0, BUY, 80, 3, 2), (0, BUY, 70, 2, 1), (0, SELL, 100, 2, 1)]
    assert rows_of(market.engine.resting("book"), "id", "quantity")[:3] == [(4, 1), (5, 2), (6, 2)]


def test_at_closure_the_rest_expires_and_prices_are_published(desk):
    market = opened(desk)
    sent(desk, market, (0, A, SELL, 3, 100), (0, B, SELL, 3, 120), (0, C, BUY, 5, 130))  # 3 at 100, 2 at 120
    effects = market.tell(ev.GateClosed(0, "book"))
    cleared = desk.effect(effects, ev.Cleared)
    assert dropped_in(effects) == [(1, 1)]
    assert (len(cleared.trades), cleared.prices.price.tolist(), cleared.refused) == (0, [108], None)
    assert market.engine.depth("book") == type(market.engine.depth("book")).empty()
    assert market.codes(cancel(1)) == {0: Reject.GATE_CLOSED}
    # The trades are settled with their interval: C has bought 5 of the 9 lots that he takes.
    effects = market.tell(desk.metered([[-3, -2, 9, 0], [0, 0, 0, 0]]), ev.IntervalsEnded(0, 0, 2))
    settled = desk.effect(effects, ev.Settled)
    assert settled.lines[MONEY][LOCAL, [A, B, C]].tolist() == [-300, -240, 540]
    assert market.engine.balance[ENERGY, [A, B, C, D]].tolist() == [-3, -2, 9, 0]
    assert settled.prices.price.tolist() == [108]
    assert market.again().state_hash() == market.engine.state_hash()


def test_a_gate_in_which_nobody_met_says_why(desk):
    for rows, code in (((), Reject.EMPTY_BOOK), (((0, A, BUY, 1, 5),), Reject.ONE_SIDED)):
        market = opened(desk)
        for row in rows:
            sent(desk, market, row)
        assert desk.effect(market.tell(ev.GateClosed(0, "book")), ev.Cleared).refused is code
    market = opened(desk)
    sent(desk, market, (0, A, BUY, 1, 5), (0, B, SELL, 1, 6))
    assert desk.effect(market.tell(ev.GateClosed(0, "book")), ev.Cleared).refused is None


def test_partly_filled_orders_are_cancelled(desk):
    market = opened(desk)
    sent(desk, market, (0, A, SELL, 5, 100), (0, B, BUY, 2, 100))
    before = market.engine.state_hash()
    assert market.codes(cancel(7, 1, 0)) == {0: Reject.UNKNOWN_ORDER, 1: Reject.UNKNOWN_ORDER}  # 1 has traded
    assert before != market.engine.state_hash()
    assert levels(market) == []
    assert dropped_in(sent(desk, market, (0, A, SELL, 5, 100))) == []
    assert dropped_in(market.tell(cancel(2, 2))) == [(2, 5)]
    assert market.codes(cancel(2)) == {0: Reject.UNKNOWN_ORDER}


def test_a_second_cancel_in_one_event_finds_nothing(desk):
    market = opened(desk)
    sent(desk, market, (0, A, SELL, 5, 100))
    assert market.codes(cancel(0, 0)) == {1: Reject.UNKNOWN_ORDER}


def test_less_at_the_same_price_keeps_the_place_in_the_queue_and_all_else_loses_it(desk):
    for row, first in (((0, 3, 100), A), ((0, 5, 100), A), ((0, 6, 100), B), ((0, 3, 99), A), ((0, 3, 101), B)):
        market = opened(desk)
        sent(desk, market, (0, A, SELL, 5, 100), (0, B, SELL, 5, 100))
        assert market.codes(amend(row)) == {}
        assert trades_in(sent(desk, market, (0, C, BUY, 1, 200)))[0][1] == first
    market = opened(desk)
    sent(desk, market, (0, A, SELL, 5, 100), (0, B, SELL, 5, 100))
    market.tell(amend((0, 3, 101)), amend((0, 3, 100)))  # away and back again
    assert trades_in(sent(desk, market, (0, C, BUY, 1, 200))) == [(C, B, 1, 100)]


def test_an_amendment_of_a_partly_filled_order_says_what_rests_from_now_on(desk):
    market = opened(desk)
    sent(desk, market, (0, A, SELL, 5, 100), (0, B, BUY, 2, 100))
    assert dropped_in(market.tell(amend((0, 2, 100)))) == []
    assert levels(market) == [(0, SELL, 100, 2, 1)]
    sent(desk, market, (0, C, BUY, 4, 90))
    effects = market.tell(amend((0, 7, 80)))  # crosses the bid, at whose price it trades
    assert trades_in(effects) == [(C, A, 4, 90)]
    assert levels(market) == [(0, SELL, 80, 3, 1)]
    effects = sent(desk, market, (0, D, BUY, 3, 90))
    assert trades_in(effects) == [(D, A, 3, 80)]  # the new limit counts


def test_amendments_that_cannot_be_are_refused_row_by_row(desk):
    market = opened(desk)
    sent(desk, market, *[(0, A, SELL, 5, 100)] * 7)
    rows = [
        (0, 0, 100),
        (1, QUANTITY_MAX + 1, 1),
        (2, 5, 1001),
        (3, 5, -101),
        (4, 5, -ANY_PRICE),
        (9, 5, 100),
        (5, 4, 100),
    ]
    assert market.codes(amend(*rows)) == {
        0: Reject.BAD_QUANTITY,
        1: Reject.BAD_QUANTITY,
        2: Reject.BAD_LIMIT,
        3: Reject.BAD_LIMIT,
        4: Reject.BAD_LIMIT,
        5: Reject.UNKNOWN_ORDER,
    }
    assert levels(market) == [(0, SELL, 100, 34, 7)]
    market.tell(ev.MembersLeft(0, (A,)))
    assert market.codes(amend((0, 4, 100))) == {0: Reject.UNKNOWN_MEMBER}
    assert market.codes(cancel(0)) == {}


def test_rows_of_one_amendment_come_one_after_the_other(desk):
    """The first row sells the second order out, and the third comes too late for it."""
    market = opened(desk)
    sent(desk, market, (0, A, SELL, 5, 100), (0, B, BUY, 5, 90))
    event = amend((0, 5, 90), (1, 9, 90), (0, 1, 90))
    assert market.codes(event) == {1: Reject.UNKNOWN_ORDER, 2: Reject.UNKNOWN_ORDER}
    market = opened(desk)
    sent(desk, market, (0, A, SELL, 5, 100), (0, B, BUY, 5, 90))
    effects = market.tell(amend((0, 8, 90), (0, 1, 95)))
    assert trades_in(effects) == [(B, A, 5, 90)]
    assert levels(market) == [(0, SELL, 95, 1, 1)]


def test_only_a_gate_that_trades_on_arrival_takes_amendments(desk):
    market = desk.market(products=(desk.AHEAD, desk.BOOK))
    codes = [Reject.GATE_CLOSED, Reject.WRONG_STATE, Reject.GATE_CLOSED]
    market.tell(ev.GateOpened(0, "ahead", 0, 2), desk.orders((0, A, 1, 5, 100)))
    for product, code in zip(("nothing", "ahead", "book"), codes, strict=True):
        assert market.codes(ev.OrdersAmended(0, product, (0,), (4,), (100,))) == {0: code}
        assert len(market.engine.resting(product)) == len(market.engine.depth(product)) == 0


@pytest.mark.parametrize(
    ("rule", "sold", "left", "lost"),
    [
        (OrderBook(), [], [(0, BUY, 100, 5, 1)], [(1, 4)]),
        (OrderBook(self_trade="cancel-resting"), [], [(0, SELL, 90, 4, 1)], [(0, 5)]),
        (OrderBook(self_trade="allow"), [(A, A, 4, 100)], [(0, BUY, 100, 1, 1)], []),
    ],
)
def test_nobody_trades_with_himself_unless_he_may(desk, rule, sold, left, lost):
    market = opened(desk, rule)
    sent(desk, market, (0, A, BUY, 5, 100))
    effects = sent(desk, market, (0, A, SELL, 4, 90))
    assert (trades_in(effects), levels(market), dropped_in(effects)) == (sold, left, lost)


def test_orders_that_do_not_wait(desk):
    market = opened(desk, OrderBook(time_in_force="fill-or-kill"))
    effects = sent(desk, market, (0, A, SELL, 5, 100))
    assert (dropped_in(effects), levels(market)) == ([(0, 5)], [])
    market = opened(desk)
    sent(desk, market, (0, A, SELL, 5, 100))
    effects = sent(desk, market, (0, B, BUY, 8, ANY_PRICE))  # a market order
    assert (trades_in(effects), dropped_in(effects)) == ([(B, A, 5, 100)], [(1, 3)])


def test_one_order_that_the_rule_cannot_use_does_not_spoil_the_others(desk):
    rows = [(0, A, SELL, 5, 100), (0, B, BUY, 2, 100)]
    market, single = opened(desk), opened(desk)
    event = desk.orders(*rows, (0, C, BUY, 3, 100), product="book")
    event = replace(event, orders=event.orders.replace(partner=np.array([-1, A, -1])))
    effects = market.tell(event)
    assert desk.effect(effects, ev.Accepted).ids.tolist() == [0, 2]
    refused = desk.effect(effects, ev.Rejected)
    assert (refused.rows.tolist(), refused.codes) == ([1], (Reject.PARTNER_NOT_SUPPORTED,))
    assert trades_in(effects) == [(C, A, 3, 100)]
    for row in range(3):
        single.tell(replace(event, orders=event.orders.take(slice(row, row + 1))))
    assert single.engine.state_hash() == market.engine.state_hash()


def test_price_takers_alone_leave_the_same_state_together_or_apart(desk):
    rows = [(0, A, SELL, 5, -ANY_PRICE), (0, B, BUY, 2, ANY_PRICE)]
    together, apart = opened(desk), opened(desk)
    assert dropped_in(sent(desk, together, *rows)) == [(0, 5), (1, 2)]
    for row in rows:
        sent(desk, apart, row)
    assert together.engine.state_hash() == apart.engine.state_hash()


def test_refused_rows_are_numbered_within_their_event(desk):
    market = opened(desk)
    effects = sent(desk, market, (5, A, SELL, 5, 100), (0, B, BUY, 0, 100), (0, B, BUY, 1, 100))
    assert desk.effect(effects, ev.Rejected).rows.tolist() == [0, 1]
    assert desk.effect(effects, ev.Accepted).ids.tolist() == [0]


def test_the_state_hash_covers_the_book_and_what_was_traded(desk):
    hashes = set()
    ways = [
        [],
        [(0, A, SELL, 5, 100)],
        [(0, A, SELL, 4, 100)],
        [(0, A, SELL, 5, 100), (0, B, BUY, 1, 100)],
        [(0, A, SELL, 5, 100), (0, C, BUY, 1, 100)],
    ]
    for rows in ways:
        market = opened(desk)
        for row in rows:
            sent(desk, market, row)
        hashes.add(market.engine.state_hash())
    market.engine._gates["book"].memory = {"book": market.engine.resting("book").replace(limit=np.array([101]))}
    assert len(hashes | {market.engine.state_hash()}) == len(ways) + 1


def test_rules_that_need_all_orders_at_once_cannot_be_called_on_arrival():
    for rule in (UniformAuction(), CallThenContinuous()):
        with pytest.raises(InvariantError, match="cannot trade on arrival"):
            Product("book", rule, ARRIVAL)
    with pytest.raises(InvariantError, match="when is 'sometimes'"):
        Product("book", OrderBook(), "sometimes")


# --- against the book in plain Python ---


POLICIES = {ALLOW: "allow", CANCEL_INCOMING: "cancel-incoming", CANCEL_RESTING: "cancel-resting"}
step = st.tuples(
    st.sampled_from(["add", "add", "add", "cancel", "amend"]),
    st.integers(0, 3),  # member
    st.sampled_from([BUY, SELL]),
    st.integers(1, 6),  # lots
    st.integers(98, 103),  # limit
    st.integers(0, 12),  # which order is cancelled or amended
)


def told(desk, market, message, adds):
    """Tell the engine one message; return its outcome (code, traded, rested, dropped) and its trades."""
    kind, who, side, lots, limit, target = message
    number = adds if kind == "add" else target
    if kind == "add":
        row = np.array([[0, FIRST_MEMBER + who, side, lots, limit]])
        event = desk.orders(*row, product="book")
    else:
        event = cancel(target) if kind == "cancel" else amend((target, lots, limit))
    effects = market.tell(event)
    refused = any(isinstance(effect, ev.Rejected) for effect in effects)
    met = []
    for effect in effects:
        if isinstance(effect, ev.Cleared):
            for row in rows_of(effect.trades, "buy_order", "sell_order", "quantity", "buy_price"):
                other = row[1] if row[0] == number else row[0]
                met.append((other, row[2], row[3]))
    rest = dict(rows_of(market.engine.resting("book"), "id", "quantity")).get(number, 0)
    lost = dict(dropped_in(effects))
    return refused, met, rest, lost


@settings(max_examples=120)
@given(messages=st.lists(step, max_size=25), policy=st.sampled_from(list(POLICIES)))
def test_each_message_is_answered_as_by_the_book_in_plain_python(desk, messages, policy):
    market, book, owner = opened(desk, OrderBook(self_trade=POLICIES[policy])), LiveBook(policy), []
    for message in messages:
        kind, who, side, lots, limit, target = message
        if kind == "add":
            number, who = len(owner), FIRST_MEMBER + who
            answer = book.add(number, who, side, lots, limit)
            owner.append(who)
        else:
            number, who = target, owner[target] if target < len(owner) else 99
            answer = book.cancel(target, who) if kind == "cancel" else book.amend(target, who, lots, limit)
        refused, met, rest, lost = told(desk, market, message, len(owner) - 1)
        code, traded, rested, dropped = answer
        assert refused == (code == Code.UNKNOWN_ORDER)
        assert met == [(other, moved, price) for other, moved, price, done in book.matches if done]
        assert sum(moved for _, moved, _ in met) == traded
        if not refused:
            assert (rest, lost.pop(number, 0)) == (rested, dropped)
            assert lost == {other: moved for other, moved, _, done in book.matches if not done}
    mine = market.engine.resting("book")
    assert rows_of(mine, "id", "participant", "side", "quantity", "limit") == rows_of(
        book.resting(), "id", "participant", "side", "quantity", "limit"
    )
