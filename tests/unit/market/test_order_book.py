"""The order book: each rule by hand, and three implementations against each other on streams of messages."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, Orders
from wattle.core.units import PRICE_MAX, QUANTITY_MAX
from wattle.market.book_batch import match
from wattle.market.book_live import LiveBook, replay
from wattle.market.book_rules import (
    ADD,
    ALLOW,
    AMEND,
    CANCEL,
    CANCEL_INCOMING,
    CANCEL_RESTING,
    FILL_OR_KILL,
    GOOD_UNTIL_GATE,
    IMMEDIATE_OR_CANCEL,
    Code,
    Messages,
)
from wattle.market.order_book import CallThenContinuous, OrderBook
from wattle.testing.generators import book_of

BUY, SELL = 1, -1
POLICIES = (ALLOW, CANCEL_INCOMING, CANCEL_RESTING)


def messages(rows):
    columns = np.array(rows, np.int64).reshape(-1, 7).T
    return Messages(*(np.ascontiguousarray(column) for column in columns))


def add(number, who, side, lots, limit, flags=GOOD_UNTIL_GATE):
    return (ADD, number, who, side, lots, limit, flags)


def cancel(number, who):
    return (CANCEL, number, who, 0, 0, 0, 0)


def amend(number, who, lots, limit):
    return (AMEND, number, who, 0, lots, limit, 0)


def rows_of(table):
    return list(zip(*(column.tolist() for column in table.arrays()), strict=True))


def naive(stream, policy):
    """The rules once more, as slowly and plainly as possible: one list, sorted anew for each trade."""
    book, answers, met, clock = [], [], [], 0

    def reaches(taker_side, limit, order):
        return order["side"] == -taker_side and taker_side * (limit - order["limit"]) >= 0

    def crossing(side, limit):
        return sorted((o for o in book if reaches(side, limit, o)), key=lambda o: (side * o["limit"], o["time"]))

    def fillable(who, side, lots, limit):
        for order in crossing(side, limit):
            if policy != ALLOW and order["who"] == who:
                if policy == CANCEL_INCOMING:
                    return False
                continue
            lots -= order["left"]
        return lots <= 0

    for row, (kind, number, who, side, lots, limit, flags) in enumerate(stream):
        clock += 1
        mine = next((order for order in book if order["id"] == number), None)
        size, price = 1 <= lots <= QUANTITY_MAX, abs(limit) <= PRICE_MAX
        refused = max(lots, 0)
        if kind == CANCEL:
            if mine is None or mine["who"] != who:
                answers.append((Code.UNKNOWN_ORDER if mine is None else Code.NOT_YOURS, 0, 0, 0))
            else:
                book.remove(mine)
                answers.append((Code.DONE, 0, 0, mine["left"]))
            continue
        if kind == AMEND:
            if mine is None or mine["who"] != who:
                answers.append((Code.UNKNOWN_ORDER if mine is None else Code.NOT_YOURS, 0, 0, refused))
                continue
            side, flags = mine["side"], GOOD_UNTIL_GATE
        if kind not in (ADD, AMEND) or side not in (1, -1) or not size or flags not in (0, 1, 2):
            answers.append((Code.BAD_MESSAGE, 0, 0, refused))
            continue
        if not price and limit != side * ANY_PRICE:
            answers.append((Code.BAD_MESSAGE, 0, 0, refused))
            continue
        if kind == AMEND:
            if limit == mine["limit"] and lots <= mine["left"]:
                mine["left"] = lots
                answers.append((Code.DONE, 0, lots, 0))
                continue
            book.remove(mine)
        elif mine is not None:
            answers.append((Code.DUPLICATE, 0, 0, lots))
            continue
        if flags == FILL_OR_KILL and not fillable(who, side, lots, limit):
            answers.append((Code.KILLED, 0, 0, lots))
            continue
        left, blocked = lots, False
        while left and (ahead := crossing(side, limit)):
            best = ahead[0]
            if policy != ALLOW and best["who"] == who:
                if policy == CANCEL_INCOMING:
                    blocked = True
                    break
                met.append((row, best["id"], best["left"], best["limit"], 0))
                book.remove(best)
                continue
            moved = min(left, best["left"])
            met.append((row, best["id"], moved, best["limit"], 1))
            best["left"] -= moved
            left -= moved
            if best["left"] == 0:
                book.remove(best)
        rests = price and flags == GOOD_UNTIL_GATE and not blocked
        if left and rests:
            book.append({"id": number, "who": who, "side": side, "left": left, "limit": limit, "time": clock})
            answers.append((Code.DONE, lots - left, left, 0))
        else:
            code = Code.SELF_TRADE if blocked else Code.EXPIRED if left else Code.DONE
            answers.append((code, lots - left, 0, left))
    rest = sorted(book, key=lambda o: (-o["side"], -o["side"] * o["limit"], o["time"]))
    return answers, met, [(ADD, o["id"], o["who"], o["side"], o["left"], o["limit"], 0) for o in rest]


def everywhere(stream, policy=CANCEL_INCOMING):
    """Run a stream through the three implementations; they must agree. Return outcomes, matches, what rests."""
    table = messages(stream)
    batch, book = match(table, policy), LiveBook(policy)
    outcomes, matches = replay(table, book)
    answers, met, rest = naive(stream, policy)
    assert rows_of(outcomes) == rows_of(batch.outcomes) == [tuple(map(int, answer)) for answer in answers]
    assert rows_of(matches) == rows_of(batch.matches) == met
    assert rows_of(book.resting()) == rows_of(batch.resting) == rest
    return rows_of(outcomes), met, rest


def test_best_price_first_then_the_oldest():
    stream = [add(1, 8, SELL, 5, 12), add(2, 9, SELL, 5, 10), add(3, 10, SELL, 5, 10), add(4, 11, BUY, 12, 12)]
    _, met, rest = everywhere(stream)
    assert met == [(3, 2, 5, 10, 1), (3, 3, 5, 10, 1), (3, 1, 2, 12, 1)]
    assert rest == [add(1, 8, SELL, 3, 12)]


def test_the_resting_order_makes_the_price():
    assert everywhere([add(1, 8, BUY, 1, 20), add(2, 9, SELL, 1, 5)])[1] == [(1, 1, 1, 20, 1)]


@pytest.mark.parametrize(("flags", "code"), [(IMMEDIATE_OR_CANCEL, Code.EXPIRED), (FILL_OR_KILL, Code.KILLED)])
def test_orders_that_do_not_wait(flags, code):
    outcomes, _, rest = everywhere([add(1, 8, SELL, 3, 10), add(2, 9, BUY, 5, 10, flags)])
    assert outcomes[1] == ((code, 3, 0, 2) if flags == IMMEDIATE_OR_CANCEL else (code, 0, 0, 5))
    assert len(rest) == (flags == FILL_OR_KILL)


def test_fill_or_kill_takes_all_of_it_over_several_levels():
    stream = [add(1, 8, SELL, 3, 10), add(2, 8, SELL, 3, 11), add(3, 9, BUY, 6, 11, FILL_OR_KILL)]
    assert everywhere(stream)[0][2] == (Code.DONE, 6, 0, 0)
    assert everywhere([*stream[:2], add(3, 9, BUY, 6, 10, FILL_OR_KILL)])[0][2] == (Code.KILLED, 0, 0, 6)


@pytest.mark.parametrize("flags", [GOOD_UNTIL_GATE, IMMEDIATE_OR_CANCEL, FILL_OR_KILL])
def test_a_market_order_takes_any_price_and_never_rests(flags):
    outcomes, _, rest = everywhere(
        [add(1, 8, SELL, 3, 900), add(2, 9, BUY, 2, ANY_PRICE, flags), add(3, 9, SELL, 2, -ANY_PRICE, flags)]
    )
    assert outcomes[1] == (Code.DONE, 2, 0, 0)
    assert outcomes[2] == (Code.KILLED if flags == FILL_OR_KILL else Code.EXPIRED, 0, 0, 2)
    assert rest == [add(1, 8, SELL, 1, 900)]


@pytest.mark.parametrize(
    ("change", "first"), [(amend(1, 8, 2, 10), 1), (amend(1, 8, 9, 10), 2), (amend(1, 8, 5, 9), 1)]
)
def test_less_keeps_the_place_and_more_loses_it(change, first):
    _, met, _ = everywhere([add(1, 8, SELL, 5, 10), add(2, 9, SELL, 5, 10), change, add(3, 10, BUY, 1, 10)])
    assert met[0][1] == first


def test_a_new_price_that_comes_back_has_lost_its_place():
    changes = [amend(1, 8, 5, 11), amend(1, 8, 5, 10)]
    _, met, _ = everywhere([add(1, 8, SELL, 5, 10), add(2, 9, SELL, 5, 10), *changes, add(3, 10, BUY, 1, 10)])
    assert met[0][1] == 2


def test_an_amended_order_may_trade_on_the_way():
    outcomes, met, rest = everywhere([add(1, 8, SELL, 5, 10), add(2, 9, BUY, 3, 8), amend(2, 9, 7, 10)])
    assert outcomes[2] == (Code.DONE, 5, 2, 0)
    assert met == [(2, 1, 5, 10, 1)]
    assert rest == [add(2, 9, BUY, 2, 10)]


def test_a_cancelled_order_is_gone():
    outcomes, met, rest = everywhere(
        [add(1, 8, SELL, 5, 10), cancel(1, 9), cancel(1, 8), cancel(1, 8), add(2, 9, BUY, 5, 10)]
    )
    assert [row[0] for row in outcomes] == [0, Code.NOT_YOURS, 0, Code.UNKNOWN_ORDER, 0]
    assert outcomes[2] == (Code.DONE, 0, 0, 5)
    assert (met, rest) == ([], [add(2, 9, BUY, 5, 10)])


@pytest.mark.parametrize(
    ("policy", "answer", "resting"),
    [
        (ALLOW, (Code.DONE, 4, 0, 0), [add(2, 9, SELL, 1, 11)]),
        (CANCEL_INCOMING, (Code.SELF_TRADE, 0, 0, 4), [add(1, 8, SELL, 3, 10), add(2, 9, SELL, 2, 11)]),
        (CANCEL_RESTING, (Code.DONE, 2, 2, 0), [add(3, 8, BUY, 2, 11)]),
    ],
)
def test_nobody_trades_with_himself_unless_he_may(policy, answer, resting):
    stream = [add(1, 8, SELL, 3, 10), add(2, 9, SELL, 2, 11), add(3, 8, BUY, 4, 11)]
    outcomes, _, rest = everywhere(stream, policy)
    assert (outcomes[2], rest) == (answer, resting)


@pytest.mark.parametrize(
    "bad",
    [
        (7, 1, 8, BUY, 1, 1, 0),
        (-1, 1, 8, BUY, 1, 1, 0),
        add(1, 8, 0, 1, 1),
        add(1, 8, 2, 1, 1),
        add(1, 8, BUY, 0, 1),
        add(1, 8, BUY, -5, 1),
        add(1, 8, BUY, QUANTITY_MAX + 1, 1),
        add(1, 8, BUY, 1, PRICE_MAX + 1),
        add(1, 8, BUY, 1, -ANY_PRICE),
        add(1, 8, SELL, 1, ANY_PRICE),
        add(1, 8, BUY, 1, 1, 3),
        add(1, 8, BUY, 1, 1, -1),
    ],
)
def test_impossible_messages_are_answered_and_change_nothing(bad):
    outcomes, met, rest = everywhere([bad, add(2, 9, SELL, 1, 1)])
    assert outcomes[0] == (Code.BAD_MESSAGE, 0, 0, max(bad[4], 0))
    assert (met, len(rest)) == ([], 1)


def test_an_id_that_rests_cannot_be_used_again():
    outcomes, _, rest = everywhere([add(1, 8, SELL, 5, 10), add(1, 9, BUY, 5, 10)])
    assert (outcomes[1], len(rest)) == ((Code.DUPLICATE, 0, 0, 5), 1)


def test_prices_far_apart_and_huge_quantities():
    far = PRICE_MAX
    stream = [add(10**15, 8, SELL, QUANTITY_MAX, far), add(-4, 9, BUY, QUANTITY_MAX, -far), add(3, 10, BUY, 7, far)]
    assert everywhere(stream)[1] == [(2, 10**15, 7, far, 1)]


@st.composite
def streams(draw):
    wide = draw(st.booleans())
    limit = st.integers(95, 105) | st.sampled_from((ANY_PRICE, -ANY_PRICE))
    limit |= st.sampled_from((-PRICE_MAX, PRICE_MAX, PRICE_MAX + 1, 0, 10**7)) if wide else st.just(100)
    kind = st.sampled_from((ADD, ADD, ADD, CANCEL, AMEND, AMEND) if draw(st.booleans()) else (ADD, ADD, ADD, 3))
    side, lots = st.sampled_from((1, 1, -1, -1, 0)), st.integers(0, 9)
    number = st.integers(0, 12) if draw(st.booleans()) else st.integers(0, 12).map(lambda n: n * 10**12)
    row = st.tuples(kind, number, st.integers(8, 10), side, lots, limit, st.sampled_from((0, 0, 0, 1, 2)))
    return draw(st.lists(row, max_size=40))


@settings(max_examples=400)
@given(stream=streams(), policy=st.sampled_from(POLICIES))
def test_three_implementations_agree_message_by_message(stream, policy):
    outcomes, met, _ = everywhere(stream, policy)
    for (kind, *_, lots, _, _), (_, traded, rested, dropped) in zip(stream, outcomes, strict=True):
        if kind in (ADD, AMEND):
            assert traded + rested + dropped == lots  # every lot is accounted for
    for row in range(len(stream)):
        assert sum(m[2] for m in met if m[0] == row and m[4]) == outcomes[row][1]


@settings(max_examples=100)
@given(stream=streams(), policy=st.sampled_from(POLICIES), cut=st.integers(0, 40))
def test_a_book_that_goes_on_is_one_that_never_stopped(stream, policy, cut):
    whole = match(messages(stream), policy)
    first = match(messages(stream[:cut]), policy)
    second = match(messages(stream[cut:]), policy, first.resting)
    assert rows_of(first.outcomes) + rows_of(second.outcomes) == rows_of(whole.outcomes)
    assert second.resting == whole.resting


def test_long_random_streams_agree():
    rng = np.random.default_rng(4)
    for policy, spread in ((CANCEL_INCOMING, 40), (CANCEL_RESTING, 4), (ALLOW, 100_000), (CANCEL_RESTING, 10**10)):
        size = 6000
        kind = rng.choice([ADD, CANCEL, AMEND], size, p=[0.7, 0.2, 0.1])
        number = np.where(kind == ADD, np.arange(size), np.arange(size) - rng.integers(1, 40, size))
        who = 8 + number % 7
        columns = (kind, number, who, rng.choice([1, -1], size), rng.integers(1, 50, size))
        table = Messages(*columns, rng.integers(-spread, spread, size), rng.choice([0, 0, 0, 0, 1, 2], size))
        batch, book = match(table, policy), LiveBook(policy)
        assert replay(table, book) == (batch.outcomes, batch.matches)
        assert book.resting() == batch.resting
        assert len(batch.matches) > 1000
        assert len(book) == len(batch.resting)


def test_best_prices_of_the_live_book():
    book = LiveBook()
    assert (book.best_bid, book.best_ask) == (None, None)
    book.add(1, 8, BUY, 1, 90)
    book.add(2, 9, SELL, 1, 110)
    book.add(3, 8, BUY, 1, 95)
    assert (book.best_bid, book.best_ask) == (95, 110)
    book.cancel(3, 8)
    assert (book.best_bid, book.best_ask) == (90, 110)


# --- as market rules ---


def test_the_rule_keeps_the_book_between_steps():
    rule = OrderBook()
    memory, first = rule.step(None, book_of([(8, -1, 5, 10)]), Context())
    later = book_of([(9, 1, 3, 12)]).replace(id=[7])
    memory, second = rule.step(memory, later, Context())
    assert (len(first.trades), len(second.trades)) == (0, 1)
    assert (second.trades.sell_order[0], second.trades.buy_price[0]) == (0, 10)
    assert second.resting.quantity.tolist() == [2]
    assert memory["book"] == second.resting
    _, third = rule.step(memory, Orders.empty(), Context())
    assert third.resting == second.resting


def test_a_market_order_does_not_go_beyond_the_utility():
    book = book_of([(8, -1, 5, 310), (9, 1, 5, ANY_PRICE)])
    assert len(OrderBook().step(None, book, Context())[1].trades) == 1
    assert len(OrderBook().step(None, book, Context(tariff=Tariff.flat(300, 60)))[1].trades) == 0


def test_time_in_force_holds_for_all_that_arrive():
    memory, _ = OrderBook().step(None, book_of([(8, -1, 5, 100)]), Context())
    late = book_of([(9, 1, 9, 100)]).replace(id=[5])
    for words, traded in (("immediate-or-cancel", 5), ("fill-or-kill", 0), ("good-until-gate", 5)):
        _, clearing = OrderBook(words).step(memory, late, Context())
        assert clearing.trades.quantity.sum() == traded
        assert clearing.resting.side.tolist() == {5: [1] if words == "good-until-gate" else [], 0: [-1]}[traded]


@pytest.mark.parametrize("rule", [OrderBook(), CallThenContinuous()])
def test_books_that_cannot_be_priced_come_back(rule):
    takers = book_of([(8, -1, 5, -ANY_PRICE), (9, 1, 5, ANY_PRICE)])
    named = book_of([(8, -1, 5, 10), (9, 1, 5, 10)]).replace(partner=[9, 8])
    for book, code in ((takers, Reject.NO_PRICE), (named, Reject.PARTNER_NOT_SUPPORTED)):
        memory, clearing = rule.step(None, book, Context())
        assert (memory, clearing.refused, len(clearing.trades)) == (None, code, 0)
    for book in (Orders.empty(), book_of([(8, -1, 5, 10)])):
        assert len(rule.step(None, book, Context())[1].trades) == 0


def test_with_a_utility_takers_alone_trade_in_the_call_and_pass_each_other_in_the_book():
    takers = book_of([(8, -1, 5, -ANY_PRICE), (9, 1, 5, ANY_PRICE)])
    context = Context(tariff=Tariff.flat(300, 100))
    called = CallThenContinuous(call_percent=100).step(None, takers, context)[1]
    assert called.trades.buy_price.tolist() == [200]
    passed = OrderBook().step(None, takers, context)[1]
    assert (passed.refused, len(passed.trades), len(passed.resting)) == (None, 0, 0)


def test_a_call_of_everything_is_the_uniform_auction_and_of_nothing_the_order_book():
    book = book_of([(8, -1, 2, 80), (9, -1, 2, 120), (10, 1, 2, 250), (11, 1, 2, 200), (12, 1, 2, 90)])
    called = CallThenContinuous(call_percent=100).step(None, book, Context())[1]
    assert set(called.trades.buy_price.tolist()) == {160}
    continuous = CallThenContinuous(call_percent=0).step(None, book, Context())[1]
    assert continuous.trades == OrderBook().step(None, book, Context())[1].trades


def test_wrong_fields_are_refused():
    for wrong in (
        lambda: OrderBook("forever"),
        lambda: OrderBook(self_trade="sometimes"),
        lambda: CallThenContinuous(call_orders=-1),
        lambda: CallThenContinuous(call_percent=101),
        lambda: CallThenContinuous(k_percent=101),
    ):
        with pytest.raises(InvariantError, match="expected"):
            wrong()
