"""The community manager: the uniform auction with the utility as a bidder, fairness terms, splits."""

import numpy as np
import pytest
from scipy.optimize import linprog

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff, unfilled
from wattle.core.tables import ANY_PRICE, ANYONE, UTILITY, Orders
from wattle.market.auction_double import UniformAuction
from wattle.market.community import CommunityManager
from wattle.testing import checks_always as always
from wattle.testing import checks_claimed as claimed
from wattle.testing.generators import book_of, part
from wattle.testing.trial import Trial

RETAIL, FEED_IN = 300, 80


def with_utility(book, retail, feed_in, lots=10**6):
    """Return the book with the utility's offer and bid in each interval and zone, behind everybody at equal prices."""
    places = sorted(set(zip(book.interval.tolist(), book.zone.tolist(), strict=True)))
    rows, last = [], int(book.id.max(initial=0)) + 1
    for number, (interval, zone) in enumerate(places):
        for side, price in ((-1, retail), (1, feed_in)):
            rows.append((last + 2 * number + (side > 0), UTILITY, zone, interval, side, lots, price, ANYONE))
    return Orders.concat(book, Orders(*np.array(rows, np.int64).T))


def steps(seed, count=30):
    """Books whose limits are step curves around the tariff, without price takers."""
    return [case.orders for case in part(seed, count, ["random", "ties", "zones", "several orders a member"])]


def test_without_fairness_it_is_the_uniform_auction_with_the_utility():
    tariff = Tariff.flat(RETAIL, FEED_IN)
    for book in steps(5):
        _, mine = CommunityManager().step(None, book, Context(tariff=tariff))
        _, theirs = UniformAuction().step(None, with_utility(book, RETAIL, FEED_IN), Context())
        of_members = theirs.trades.take((theirs.trades.buyer != UTILITY) | (theirs.trades.seller != UTILITY))
        bought = of_members.quantity[of_members.buyer != UTILITY].sum()
        sold = of_members.quantity[of_members.seller != UTILITY].sum()
        local = mine.trades.quantity.sum()
        assert mine.report["import_lots"] - mine.report["export_lots"] == bought - sold
        assert local + mine.report["import_lots"] == bought
        published = {(i, z): p for i, z, p in zip(*(c.tolist() for c in theirs.prices.arrays()), strict=True)}
        for interval, zone, price in zip(*(c.tolist() for c in mine.prices.arrays()), strict=True):
            assert price == published[interval, zone]


def planned(book, retail, feed_in, peak):
    """Return the optimum of the linear programme with a price on the largest import, and that import; one zone."""
    intervals, of = np.unique(book.interval, return_inverse=True)
    orders, times = len(book), intervals.size
    # Variables: lots of each order, import and export of each interval, peak.
    cost = np.concatenate((-book.side * book.limit, np.full(times, retail), np.full(times, -feed_in), [peak]))
    balance = np.zeros((times, orders + 2 * times + 1))
    balance[of, np.arange(orders)] = book.side
    balance[np.arange(times), orders + np.arange(times)] = -1
    balance[np.arange(times), orders + times + np.arange(times)] = 1
    below = np.zeros((times, orders + 2 * times + 1))
    below[np.arange(times), orders + np.arange(times)] = 1
    below[:, -1] = -1
    bounds = [(0, lots) for lots in book.quantity] + [(0, None)] * (2 * times + 1)
    found = linprog(cost, A_ub=below, b_ub=np.zeros(times), A_eq=balance, b_eq=np.zeros(times), bounds=bounds)
    assert found.success
    return -found.fun, found.x[-1]


@pytest.mark.parametrize("peak", [0, 20, 75, 400])
def test_peak_price_gives_the_optimum_of_the_linear_programme(peak):
    tariff = Tariff.flat(RETAIL, FEED_IN)
    for case in part(6, 15, ["random", "ties"]):
        book = case.orders.replace(limit=case.orders.limit + 100)
        _, mine = CommunityManager(peak_ticks=peak).step(None, book, Context(tariff=tariff))
        assert mine.report["residual"] == 0
        best, _ = planned(book, RETAIL, FEED_IN, peak)
        # What was imported and exported is worth what the plan says.
        largest = mine.report["largest_import_lots"]
        capped, _ = planned_with_cap(book, largest)
        assert capped - peak * largest == pytest.approx(best, abs=1e-6)


def planned_with_cap(book, cap):
    """Return the optimum when no interval imports more than `cap` lots, from the programme with a bounded peak."""
    welfare = 0.0
    for interval in np.unique(book.interval):
        here = book.take(book.interval == interval)
        orders = len(here)
        cost = np.concatenate((-here.side * here.limit, [RETAIL, -FEED_IN]))
        balance = np.concatenate((here.side, [-1, 1]))[None, :].astype(float)
        bounds = [(0, lots) for lots in here.quantity] + [(0, cap), (0, None)]
        found = linprog(cost, A_eq=balance, b_eq=[0], bounds=bounds)
        assert found.success
        assert orders
        welfare -= found.fun
    return welfare, cap


def test_a_peak_price_shaves_the_peak():
    rows = [(8, 1, 10, 320), (9, 1, 10, 350), (10, -1, 2, 50)]
    book = book_of([*rows, (8, 1, 3, 320)]).replace(interval=np.array([0, 0, 0, 1]))
    tariff = Tariff.flat(RETAIL, FEED_IN)
    largest = [
        CommunityManager(peak_ticks=peak).step(None, book, Context(tariff=tariff))[1].report["largest_import_lots"]
        for peak in (0, 19, 20, 49, 50, 70)
    ]
    assert largest == [18, 18, 8, 8, 3, 0]  # below 3 lots the other interval wants some too: 50 + 20


def test_autonomy_prefers_dear_local_energy():
    book = book_of([(8, 1, 10, 400), (9, -1, 10, 310), (10, 1, 3, 60), (11, -1, 3, 70)])
    tariff = Tariff.flat(RETAIL, FEED_IN)
    plain = CommunityManager().step(None, book, Context(tariff=tariff))[1]
    proud = CommunityManager(autonomy_ticks=20).step(None, book, Context(tariff=tariff))[1]
    assert plain.report["import_lots"] - plain.report["export_lots"] == 7
    assert plain.trades.seller.tolist() == [11]
    assert proud.report["import_lots"] == 0
    assert proud.report["autonomy"] == 1
    assert proud.trades.quantity.sum() == 10


def test_splits():
    book = book_of([(8, 1, 4, 350), (9, 1, 6, 320), (10, -1, 5, 100)])
    tariff = Tariff.flat(RETAIL, FEED_IN)
    local = {}
    for percent in (0, 40, 100):
        _, clearing = CommunityManager(equal_percent=percent).step(None, book, Context(tariff=tariff))
        local[percent] = np.bincount(clearing.trades.buyer, clearing.trades.quantity)[8:].tolist()
    assert local[0] == [2, 3]
    assert sum(local[40]) == 5
    assert local[100] in ([1, 4], [2, 3])  # 5 lots of import are 3 and 2
    assert unfilled(book, clearing).sum() == 5


def test_exports_are_split_among_sellers():
    book = book_of([(8, 1, 5, 350), (9, -1, 12, 60), (10, -1, 8, 60)])
    tariff = Tariff.flat(RETAIL, FEED_IN)
    _, clearing = CommunityManager().step(None, book, Context(tariff=tariff))
    assert clearing.report["export_lots"] == 15
    assert clearing.trades.quantity.tolist() == [3, 2]
    assert clearing.prices.price.tolist() == [FEED_IN]


@pytest.mark.parametrize(
    "rule", [CommunityManager(15, 30, 50, 0), CommunityManager(peak_ticks=200), CommunityManager(equal_percent=100)]
)
def test_promises_hold_with_fairness_terms(rule):
    checks = [
        always.conserves,
        always.deterministic,
        always.row_order,
        always.inputs_untouched,
        always.prices_within,
        claimed.budget_balanced,
        claimed.individually_rational,
        claimed.exact,
    ]
    for number, case in enumerate(part(7, 40, ["random", "ties", "zones", "some price takers", "negative prices"])):
        trial = Trial(rule, case)
        for check in checks:
            if check is not claimed.exact or number < 10:
                assert check(trial) is None, check.__name__


def test_what_cannot_be_planned():
    book = book_of([(8, 1, 5, 350), (9, -1, 12, 60)])
    assert CommunityManager().step(None, book, Context())[1].refused == Reject.NO_TARIFF
    tariff = Context(tariff=Tariff.flat(RETAIL, FEED_IN))
    named = book.replace(partner=np.array([9, -1]))
    assert CommunityManager().step(None, named, tariff)[1].refused == Reject.PARTNER_NOT_SUPPORTED
    assert len(CommunityManager().step(None, Orders.empty(), tariff)[1].trades) == 0
    takers = book_of([(8, 1, 5, ANY_PRICE), (9, -1, 12, -ANY_PRICE)])
    assert CommunityManager().step(None, takers, tariff)[1].trades.quantity.tolist() == [5]


@pytest.mark.parametrize("bad", [{"autonomy_ticks": -1}, {"peak_ticks": -1}, {"equal_percent": 101}, {"k_percent": -1}])
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InvariantError):
        CommunityManager(**bad)
