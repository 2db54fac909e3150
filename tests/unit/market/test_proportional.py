"""Proportional allocation: a twin by bisection, exact money, and how much is lost when buyers see their own weight."""

from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import Reject
from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, BUY, MARKET_OPERATOR, SELL, Orders
from wattle.market.proportional import ProportionalAllocation
from wattle.testing.checks_claimed import surpluses
from wattle.testing.generators import book_of

books = st.lists(
    st.tuples(st.integers(8, 12), st.sampled_from([BUY, SELL]), st.integers(1, 40), st.integers(-3, 60)), max_size=10
).map(book_of)


def clear(orders: Orders, tariff: Tariff | None = None):
    return ProportionalAllocation().step(None, orders, Context(tariff))[1]


def filled(orders: Orders, trades) -> np.ndarray:
    fill = np.zeros(len(orders), np.int64)
    for ids in (trades.buy_order, trades.sell_order):
        np.add.at(fill, ids, trades.quantity)
    return fill


def paid(orders: Orders) -> dict[int, int]:
    """Return what each member pays in all, transfers counted."""
    nothing = np.zeros(len(orders), np.int64)
    gains = surpluses(orders, nothing, clear(orders))
    return {who: -gain for who, gain in gains.items() if who != MARKET_OPERATOR}


# --- against a twin ---


def wanted(orders: Orders, price: float) -> float:
    """Return the lots that the money of all bids buys at a price."""
    total = 0.0
    for side, lots, limit in zip(orders.side.tolist(), orders.quantity.tolist(), orders.limit.tolist(), strict=True):
        if side > 0 and limit > 0:
            total += lots if limit >= price else lots * limit / price
    return total


def by_bisection(orders: Orders) -> tuple[float, float]:
    """Return the price at which wanted and offered lots meet, and the lots, not rounded."""
    asks = [(int(orders.limit[row]), int(orders.quantity[row])) for row in np.flatnonzero(orders.side < 0)]

    def offered(price: float) -> float:
        return sum(lots for limit, lots in asks if limit <= price)

    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if offered(middle) >= wanted(orders, middle) else (middle, high)
    return high, min(wanted(orders, high), offered(high))


@given(orders=books)
def test_price_and_lots_are_those_of_a_bisection(orders):
    price, lots = by_bisection(orders)
    clearing = clear(orders)
    traded = clearing.trades.quantity.sum()
    assert traded in (floor(lots + 1e-6), round(lots))
    if traded:
        assert clearing.prices.price.tolist() in ([floor(price + 1e-6)], [floor(price - 1e-6)])


@given(orders=books)
def test_shares_follow_money_to_the_lot_and_sums_are_never_exceeded(orders):
    clearing = clear(orders)
    fill = filled(orders, clearing.trades)
    price, _ = by_bisection(orders)
    for row in np.flatnonzero((orders.side > 0) & (fill > 0)):
        money = int(orders.quantity[row] * orders.limit[row])
        fair = min(int(orders.quantity[row]), money / max(price, 1e-9))
        assert abs(fill[row] - fair) < 2  # lots in all are whole, and then each share
    for who, pays in paid(orders).items():
        named = (orders.participant == who) & (orders.side > 0) & (orders.limit > 0)
        assert pays <= (orders.quantity * orders.limit)[named].sum()


@given(orders=books)
def test_all_money_goes_from_buyers_to_sellers(orders):
    clearing = clear(orders)
    transfers = clearing.transfers
    into = transfers.amount[transfers.payee == MARKET_OPERATOR].sum()
    assert into == transfers.amount[transfers.payer == MARKET_OPERATOR].sum()
    assert (clearing.trades.buy_price == clearing.trades.sell_price).all()


# --- by hand ---


def test_two_buyers_who_name_sums():
    # 30 lots for 60 and 120 of money: price 6, 10 and 20 lots.
    book = book_of([(8, BUY, 30, 2), (9, BUY, 30, 4), (10, SELL, 30, 0)])
    clearing = clear(book)
    assert filled(book, clearing.trades).tolist() == [10, 20, 30]
    assert clearing.prices.price.tolist() == [6]
    assert paid(book) == {8: 60, 9: 120, 10: -180}
    assert clearing.trades.buy_price.tolist() == [6, 6]  # above both limits: they are no ceiling here
    assert len(clearing.transfers) == 0


def test_who_wants_little_keeps_the_rest_of_his_money():
    book = book_of([(8, BUY, 4, 50), (9, BUY, 20, 3), (10, SELL, 16, 0)])
    assert filled(book, clear(book).trades).tolist() == [4, 12, 16]
    assert paid(book) == {8: 20, 9: 60, 10: -80}


def test_the_last_offer_sells_a_part_at_its_limit():
    book = book_of([(8, BUY, 30, 4), (9, SELL, 10, 1), (10, SELL, 30, 5)])
    assert filled(book, clear(book).trades).tolist() == [24, 10, 14]
    assert clear(book).prices.price.tolist() == [5]


def test_plenty_costs_the_reserve():
    book = book_of([(8, BUY, 3, 9), (9, BUY, 4, 5), (10, SELL, 20, 2)])
    assert filled(book, clear(book).trades).tolist() == [3, 4, 7]
    assert paid(book) == {8: 6, 9: 8, 10: -14}


def test_a_bid_without_money_gets_nothing():
    book = book_of([(8, BUY, 3, 0), (9, BUY, 3, -5), (10, SELL, 20, -2)])
    assert len(clear(book).trades) == 0


def test_what_cannot_be_priced_is_refused():
    book = book_of([(8, BUY, 5, ANY_PRICE), (9, SELL, 5, -ANY_PRICE)])
    assert clear(book).refused == Reject.NO_TARIFF
    assert clear(book, Tariff.flat(30, 8)).trades.quantity.tolist() == [5]
    assert clear(book_of([(8, BUY, 5, 9)]).replace(partner=np.array([9]))).refused == Reject.PARTNER_NOT_SUPPORTED
    assert clear(book_of([(8 + n, BUY, 1 << 48, 1 << 12) for n in range(8)])).refused == Reject.TOO_LARGE


# --- theorems ---

SUPPLY = 1.0


def worth(utility, share):
    kind, scale, shape = utility
    return scale * (share if kind == "linear" else np.log1p(shape * share) if kind == "log" else share ** (1 / shape))


def slope(utility, share):
    kind, scale, shape = utility
    if kind == "linear":
        return scale + 0 * share
    return scale * shape / (1 + shape * share) if kind == "log" else scale / shape * share ** (1 / shape - 1)


def share_where(utility, value_at) -> float:
    """Return the share at which a falling value crosses zero, by bisection on 0 ... 1."""
    low, high = 1e-12, SUPPLY - 1e-12
    if value_at(low) <= 0:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if value_at(middle) > 0 else (low, middle)
    return low


def efficient_shares(utilities) -> np.ndarray:
    """Return shares with equal slopes, the price at which the supply is taken up found by bisection."""
    low, high = 1e-9, 1e4
    for _ in range(100):
        price = (low + high) / 2
        shares = [share_where(u, lambda x, u=u, price=price: slope(u, x) - price) for u in utilities]
        low, high = (price, high) if sum(shares) > SUPPLY else (low, price)
    return np.array(shares) * SUPPLY / max(sum(shares), 1e-12)


def best_reply(utility, others: float) -> float:
    """Return the money that is best against the money of the others: U'(x) (1 - x) = all money / supply."""
    share = share_where(utility, lambda x: slope(utility, x) * (1 - x) - others / (1 - x))
    return others * share / (1 - share)


def anticipating_shares(utilities) -> tuple[np.ndarray, np.ndarray]:
    money = np.array([slope(u, 0.5) / 4 for u in utilities])
    for _ in range(400):
        before = money.copy()
        for buyer, utility in enumerate(utilities):
            money[buyer] = (money[buyer] + best_reply(utility, max(money.sum() - money[buyer], 1e-9))) / 2
        if np.abs(money - before).max() < 1e-10:
            break
    return money / money.sum(), money


def through_the_rule(money: np.ndarray, lots: int = 100_000) -> np.ndarray:
    """Return the shares that the rule gives to these sums of money."""
    rows = [(8 + n, BUY, lots, max(1, round(1e6 * each))) for n, each in enumerate(money)]
    book = book_of([*rows, (100, SELL, lots, 0)])
    return filled(book, clear(book).trades)[: len(rows)] / lots


utility = st.tuples(st.sampled_from(["linear", "log", "root"]), st.floats(0.2, 5), st.floats(1.2, 6))
markets = st.lists(utility, min_size=2, max_size=6)


@pytest.mark.parametrize("count", [2, 4])
@given(data=st.data())
def test_price_takers_reach_the_best(count, data):
    strictly = st.tuples(st.sampled_from(["log", "root"]), st.floats(0.2, 5), st.floats(1.2, 6))
    utilities = data.draw(st.lists(strictly, min_size=count, max_size=count))
    shares = efficient_shares(utilities)
    # A price taker at price m names m x his share, where his slope is m; so money is slope x share.
    money = np.array([slope(u, max(x, 1e-9)) * x for u, x in zip(utilities, shares, strict=True)])
    got = through_the_rule(money)
    reached = sum(worth(u, x) for u, x in zip(utilities, got, strict=True))
    assert reached == pytest.approx(sum(worth(u, x) for u, x in zip(utilities, shares, strict=True)), rel=1e-3)


@given(utilities=markets)
def test_buyers_who_see_their_weight_lose_at_most_a_quarter(utilities):
    shares, money = anticipating_shares(utilities)
    for buyer, each in enumerate(utilities):  # an equilibrium: nobody gains by another sum
        others = money.sum() - money[buyer]
        own = worth(each, shares[buyer]) - money[buyer]
        for factor in (0.0, 0.5, 0.9, 1.1, 2.0):
            other = money[buyer] * factor
            assert worth(each, other / max(other + others, 1e-300)) - other <= own + 1e-6
    got = through_the_rule(money)
    best = sum(worth(u, x) for u, x in zip(utilities, efficient_shares(utilities), strict=True))
    assert sum(worth(u, x) for u, x in zip(utilities, got, strict=True)) >= (0.75 - 1e-3) * best


@pytest.mark.parametrize(
    ("offers", "worth", "limits", "chosen", "left"),
    [
        # A marginal cost that is almost straight: below 3/4, above 4 sqrt(2) - 5.
        ([(950, 0), *((10, 10 * step) for step in range(1, 101))], 1000, range(1, 400), 25, 0.691),
        # One high step: no bound of the two papers holds.
        ([(100, 0), (890, 90_000)], 100_000, [1, 2, 100, 5000, *range(40_000, 60_000, 500)], 1, 0.529),
    ],
)
def test_more_than_a_quarter_can_be_lost_where_offers_have_limits(offers, worth, limits, chosen, left):
    sellers = [(9 + number, SELL, lots, limit) for number, (lots, limit) in enumerate(offers)]
    gains, welfare = {}, {}
    for said in limits:
        book = book_of([(8, BUY, 2000, said), *sellers])
        clearing, true = clear(book), np.where(book.side == BUY, worth, book.limit)
        trades = clearing.trades
        welfare[said] = int((trades.quantity * (worth - true[trades.sell_order])).sum())
        gains[said] = surpluses(book, true, clearing)[8]
    assert gains[chosen] == max(gains.values())
    best = sum(lots * (worth - limit) for lots, limit in offers)
    assert welfare[chosen] / best == pytest.approx(left, abs=1e-3)


def test_the_worst_case_tends_to_a_quarter():
    # Johari and Tsitsiklis, section 3: a buyer with slope 1 and many with a smaller slope a. Buyers of slope b take
    # 1 - m / b at the price m, so m = n a / (n + a), and 1 - m (1 - a) is reached of the best, which is 1.
    reached = []
    for small in (1, 4, 16, 64):
        slopes = np.linspace(0.3, 0.7, 4001)
        prices = small * slopes / (small + slopes)
        worst = int(np.argmin(1 - prices * (1 - slopes)))
        low, price = slopes[worst], prices[worst]
        shares, money = anticipating_shares([("linear", 1.0, 1.0)] + [("linear", low, 1.0)] * small)
        assert money.sum() == pytest.approx(price, abs=1e-4)
        assert shares == pytest.approx([1 - price] + [1 - price / low] * small, abs=1e-4)
        got = through_the_rule(money)
        reached.append(got[0] + low * got[1:].sum())
        assert reached[-1] == pytest.approx(1 - price * (1 - low), abs=1e-3)
    assert reached == sorted(reached, reverse=True)
    assert reached[0] == pytest.approx(2 * (np.sqrt(2) - 1), abs=1e-3)
    assert 0.75 <= reached[-1] < 0.755
