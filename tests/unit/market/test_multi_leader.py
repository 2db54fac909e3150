"""Leaders and followers: closed form, best replies in turn, fine grids of deviations, a naive search, brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, Orders
from wattle.market.multi_leader import MultiLeader, closed_form
from wattle.testing.generators import book_of, books
from wattle.testing.strategies import order_books


def clear(rows, tariff=None, **parameters):
    return MultiLeader(**parameters).step(None, book_of(rows), Context(tariff=tariff))[1]


def earns(lots, others, worth, money):
    """What a leader wins by selling rather than storing when the others offer `others` lots."""
    return money * lots / np.maximum(lots + others, 1e-300) - worth * lots


def replies_in_turn(worth, surplus, money, start):
    """Let each leader in turn take his best offer to what the others offer, until nobody moves."""
    lots = start.copy()
    for _ in range(20_000):
        before = lots.copy()
        for i in range(lots.size):
            others = lots.sum() - lots[i]
            best = np.clip(np.sqrt(money * others / worth[i]) - others, 1e-12, surplus[i])
            lots[i] += 0.5 * (best - lots[i])
        if np.abs(lots - before).max() <= 1e-13 * lots.max():
            break
    return lots


def draw(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 7))
    surplus = rng.uniform(1, 60, count) if seed % 2 else np.full(count, 1e6)
    return rng.uniform(2, 20, count), surplus, float(rng.uniform(100, 3000))


# --- the game itself ---


@pytest.mark.parametrize("seed", range(30))
def test_closed_form_is_where_best_replies_come_to_rest_from_any_start(seed):
    worth, surplus, money = draw(seed)
    found = closed_form(worth, surplus, money)
    assert found.lots.sum() * found.price == pytest.approx(money, rel=1e-9)
    rng = np.random.default_rng(seed)
    for start in (surplus, 1e-3 * surplus, rng.uniform(0, 1, worth.size) * surplus):
        rest = replies_in_turn(worth, surplus, money, np.minimum(start, 10 * money))
        assert rest == pytest.approx(found.lots, rel=1e-5, abs=1e-5 * money / found.price)


@pytest.mark.parametrize("seed", range(30))
def test_no_leader_gains_on_a_fine_grid(seed):
    worth, surplus, money = draw(seed)
    found = closed_form(worth, surplus, money)
    for i, lots in enumerate(found.lots):
        others = found.lots.sum() - lots
        grid = np.linspace(0, min(surplus[i], 3 * money / found.price), 5001)
        assert earns(grid, others, worth[i], money).max() <= earns(lots, others, worth[i], money) + 1e-9 * money


def test_formula_without_bounds():
    worth = np.array([6.0, 9.0, 12.0, 40.0])  # 40 is above the price: that seller stores everything
    found = closed_form(worth, np.full(4, 1e6), 27.0)
    assert found.price == pytest.approx((6 + 9 + 12) / 2)
    assert found.lots == pytest.approx([10 / 9, 6 / 9, 2 / 9, 0])


def test_all_surplus_is_offered_where_it_is_scarce():
    found = closed_form(np.array([2.0, 3.0]), np.array([4.0, 6.0]), 500.0)
    assert found.price == pytest.approx(50)
    assert found.lots == pytest.approx([4, 6])


def test_a_lonely_leader_has_no_closed_form():
    with pytest.raises(InvariantError):
        closed_form(np.array([5.0]), np.array([10.0]), 100.0)


# --- the rule against the closed form, and followers ---


@pytest.mark.parametrize("seed", range(20))
def test_rule_finds_the_closed_form(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 6))
    worth = rng.integers(1000, 1400, count)
    surplus = rng.integers(200_000, 400_000, count) if seed % 2 else np.full(count, 10_000_000)
    limit, lots = rng.integers(2400, 2800, 4), rng.integers(100_000, 300_000, 4)
    rows = [(8 + i, -1, int(surplus[i]), int(worth[i])) for i in range(count)]
    rows += [(20 + j, 1, int(lots[j]), int(limit[j])) for j in range(4)]
    budget = limit * lots * 0.5
    expected = closed_form(worth.astype(float), surplus.astype(float), budget.sum())
    assume_fits = (limit * 0.5 <= expected.price).all() and (limit >= expected.price).all()
    clearing = clear(rows)
    assert clearing.report["exact"] == assume_fits
    if not assume_fits:
        return
    assert clearing.prices.price[0] == pytest.approx(expected.price, abs=0.51)
    trades = clearing.trades
    sold = np.bincount(trades.seller, trades.quantity, 30)[8 : 8 + count]
    bought = np.bincount(trades.buyer, trades.quantity, 30)[20:24]
    assert sold == pytest.approx(expected.lots, abs=1.01)
    # Each follower's unit price is his budget over what is on offer; energy goes in proportion to it.
    assert bought == pytest.approx(expected.lots.sum() * budget / budget.sum(), abs=1.01)
    assert clearing.report["deviation_gain"] <= 1e-6 * budget.sum()
    assert clearing.report["answered_gain"] <= 1e-6 * budget.sum()


def test_rule_meets_the_closed_form_often_enough():
    """The test above would say nothing if its books never fitted."""
    rows = [(8, -1, 10_000_000, 1200), (9, -1, 10_000_000, 1100), (20, 1, 200_000, 2500), (21, 1, 100_000, 2700)]
    clearing = clear(rows)
    assert clearing.report["exact"] == 1
    assert clearing.prices.price.tolist() == [2300]


@pytest.mark.parametrize("seed", range(5))
def test_no_follower_gets_more_by_another_unit_price(seed):
    rng = np.random.default_rng(seed)
    budget, energy = rng.uniform(10, 100, 5), 40.0
    unit = budget / energy
    for j in range(5):
        others = unit.sum() - unit[j]
        grid = np.linspace(0, budget[j] / energy, 2001)  # a higher one is beyond his budget
        assert (energy * grid / (grid + others)).max() <= energy * unit[j] / unit.sum() + 1e-12


# --- bids that stand aside, keep money, or stop the sellers: a naive twin ---


def naive_demand(bids, price, share):
    return sum(min(q, share * q * limit / price) for q, limit in bids if limit >= price)


def naive_shares(leaders, price, sold):
    total = 0.0
    for store in leaders:
        best, reach = 0.0, 0
        for worth, lots in sorted(store):
            reach += lots
            if worth <= price:
                best = max(best, min(reach / sold, 1 - max(0, worth) / price))
        total += best
    return total


@settings(max_examples=150)
@given(order_books(rows=12, intervals=1, zones=1, takers=False), st.sampled_from([10, 50, 100]))
def test_price_is_where_the_shares_of_the_leaders_sum_to_one(book, percent):
    # Lots are a thousand times larger, so that whole lots do not blur the price.
    book = book.replace(quantity=book.quantity * 1000)
    who = {int(p) for p, s in zip(book.participant, book.side, strict=True) if s < 0}
    bids = [
        (q, p)
        for m, s, q, p in zip(book.participant, book.side, book.quantity, book.limit, strict=True)
        if s > 0 and p > 0 and m not in who  # he who leads does not answer himself
    ]
    leaders = [
        [
            (p, q)
            for m, s, q, p in zip(book.participant, book.side, book.quantity, book.limit, strict=True)
            if s < 0 and m == each
        ]
        for each in who
    ]
    clearing = MultiLeader(percent).step(None, book, Context())[1]
    assert clearing.report.get("deviation_gain", 0) <= 1e-6 * sum(q * p for q, p in bids)
    if len(clearing.prices) == 0:
        return
    price, share = float(clearing.prices.price[0]), percent / 100
    top = max(p for _, p in bids)
    lonely = sum(min(store)[0] < top for store in leaders) == 1
    if lonely or naive_shares(leaders, top, naive_demand(bids, top, share)) < 1:
        assert price in {p for _, p in bids}  # they stop at a limit
        return
    low, high = price - 0.51, price + 0.51
    if low > 0:
        assert naive_shares(leaders, low, naive_demand(bids, low, share)) <= 1 + 1e-9
    if high <= top:
        assert naive_shares(leaders, high, naive_demand(bids, high, share)) >= 1 - 1e-9


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(10, 300)), min_size=1, max_size=6), st.data())
def test_one_seller_alone_takes_his_best_price(bids, data):
    worth, percent = data.draw(st.integers(1, 250)), data.draw(st.sampled_from([20, 50, 100]))
    surplus = data.draw(st.integers(1, 200)) * 1000
    rows = [(8, -1, surplus, worth)] + [(9 + n, 1, q * 1000, p) for n, (q, p) in enumerate(bids)]
    clearing = clear(rows, budget_percent=percent)
    scaled = [(q * 1000, p) for q, p in bids]
    best = 0.0
    for price in np.linspace(1, 300, 599):  # half ticks
        best = max(best, (price - worth) * min(surplus, naive_demand(scaled, price, percent / 100)))
    trades = clearing.trades
    won = float((trades.quantity * (trades.sell_price - worth)).sum())
    assert won >= best - 300  # a lot of rounding at any price
    assert clearing.report.get("answered_gain", 0) <= 300


def test_no_answer_of_the_buyers_makes_a_deviation_pay_where_all_money_is_spent():
    rng, seen = np.random.default_rng(8), 0
    for _ in range(150):
        sellers, buyers = (int(number) for number in rng.integers(2, 5, 2))
        rows = [(8 + i, -1, int(rng.integers(1000, 90_000)), int(rng.integers(0, 200))) for i in range(sellers)]
        rows += [(20 + j, 1, int(rng.integers(1000, 40_000)), int(rng.integers(200, 330))) for j in range(buyers)]
        clearing = clear(rows)
        if clearing.report.get("exact") == 1:
            seen += 1
            assert clearing.report["answered_gain"] <= 1e-6 * sum(q * p for _, side, q, p in rows if side > 0)
    assert seen >= 10


def test_a_strong_seller_would_withhold_and_the_report_says_so():
    rows = [(8, -1, 50_000, 1000), (9, -1, 50_000, 1000), (10, 1, 10_000, 9000)]
    clearing = clear(rows)  # the buyer could pay up to 4500 for all his lots and needs only 2000
    assert clearing.prices.price.tolist() == [2000]
    assert clearing.trades.quantity.sum() == 10_000
    assert clearing.report["exact"] == 0
    assert clearing.report["deviation_gain"] == pytest.approx(0, abs=1e-3)
    assert clearing.report["answered_gain"] > 0


# --- what the order book carries ---


def test_several_offers_of_one_member_are_one_leader():
    bids = [(20, 1, 100_000, 2000), (21, 1, 100_000, 1900)]
    whole = clear([(8, -1, 500_000, 800), (9, -1, 500_000, 800), *bids])
    split = clear([(8, -1, 200_000, 800), (8, -1, 300_000, 800), (9, -1, 500_000, 800), *bids])
    three = clear([(8, -1, 200_000, 800), (10, -1, 300_000, 800), (9, -1, 500_000, 800), *bids])
    assert whole.prices.price.tolist() == split.prices.price.tolist() == [1600]
    assert three.prices.price.tolist() == [1200]  # more competitors
    assert whole.trades.quantity.sum() == split.trades.quantity.sum()


def test_the_leaders_own_bids_stay_out():
    rows = [(8, -1, 10_000, 1000), (8, 1, 5000, 10_000), (9, 1, 4000, 4000)]
    clearing = clear(rows)
    assert clearing.trades.buyer.tolist() == [9]
    assert clearing.trades == clear([rows[0], rows[2]]).trades.replace(buy_order=np.array([2]))
    other_place = book_of(rows).replace(zone=np.array([0, 1, 0]))  # in another zone he may buy, if somebody sells
    assert MultiLeader().step(None, other_place, Context())[1].trades.buyer.tolist() == [9]
    assert len(clear(rows[:2]).trades) == 0


def test_a_store_with_two_values_sells_the_cheap_lots_first():
    bids = [(20, 1, 100_000, 2000), (21, 1, 100_000, 1900)]
    trades = clear([(8, -1, 30_000, 500), (8, -1, 500_000, 900), (9, -1, 500_000, 800), *bids]).trades
    sold = {order: trades.quantity[trades.sell_order == order].sum() for order in (0, 1)}
    assert sold[0] == 30_000
    assert sold[1] > 0


def test_storage_weight_makes_energy_dearer():
    rows = [(8, -1, 500_000, 800), (9, -1, 500_000, 800), (20, 1, 100_000, 3000)]
    assert clear(rows).prices.price.tolist() == [1600]
    assert clear(rows, storage_percent=125).prices.price.tolist() == [2000]


def test_bids_below_the_price_stand_aside():
    rows = [(8, -1, 500_000, 1000), (9, -1, 500_000, 1000), (20, 1, 100_000, 3000), (21, 1, 100_000, 1999)]
    clearing = clear(rows)
    assert clearing.prices.price.tolist() == [2000]
    assert set(clearing.trades.buyer.tolist()) == {20}
    assert clearing.report["bids_aside"] == 1


def test_energy_that_nobody_would_store_is_given_away():
    clearing = clear([(8, -1, 3000, 0), (9, -1, 1000, -50), (20, 1, 2000, 300)])
    assert clearing.prices.price.tolist() == [0]
    trades = clearing.trades
    assert np.bincount(trades.seller, trades.quantity)[8:10].tolist() == [1500, 500]


def test_members_who_take_any_price():
    book = [(8, -1, 5000, -ANY_PRICE), (9, -1, 5000, -ANY_PRICE), (20, 1, 6000, ANY_PRICE)]
    assert clear(book).refused == Reject.NO_PRICE
    # The utility pays 60 and asks 300: the leaders value their stores at 60, and the price is 60 + 60.
    assert clear(book, Tariff.flat(300, 60)).prices.price.tolist() == [120]
    # Without a tariff the highest named price stands for any price.
    named = clear([*book[:2], (20, 1, 6000, ANY_PRICE), (21, 1, 6000, 250)])
    assert set(named.trades.buyer.tolist()) == {20, 21}


def test_partners_and_lonely_sides():
    book = book_of([(8, -1, 5, 50), (9, 1, 20, 100)])
    assert MultiLeader().step(None, book.replace(partner=np.array([9, -1])), Context())[1].refused == (
        Reject.PARTNER_NOT_SUPPORTED
    )
    for lonely, code in ((Orders.empty(), Reject.EMPTY_BOOK), (book.take(slice(0, 1)), Reject.ONE_SIDED)):
        assert MultiLeader().step(None, lonely, Context())[1].refused == code


def test_many_intervals_at_once_are_settled_one_by_one():
    book = next(books(5, "thousands of intervals"))
    whole = MultiLeader().step(None, book, Context())[1].trades
    for interval in np.unique(book.interval)[:40]:
        part = MultiLeader().step(None, book.take(book.interval == interval), Context())[1].trades
        assert part == whole.take(whole.interval == interval)


@pytest.mark.parametrize("bad", [{"budget_percent": 0}, {"budget_percent": 101}, {"storage_percent": 99}])
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InvariantError):
        MultiLeader(**bad)
