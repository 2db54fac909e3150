"""Every registered rule against the conformance suite: seeded books, Hypothesis's books, and SciPy's linear programme.

The rules are found by scan; a new file in `wattle.market` is tested without an entry here.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from wattle.core.messages import Tariff
from wattle.core.tables import ANY_PRICE
from wattle.market.mechanism import MECHANISMS, Claim
from wattle.scenario.plugins import load_mechanisms
from wattle.testing.conformance import check_mechanism, checks_for, judge
from wattle.testing.generators import Case, book_of
from wattle.testing.strategies import order_books, tariffs
from wattle.testing.trial import Trial, rows_of, values

load_mechanisms()
RULES = list(MECHANISMS)
NAMES = [entry.name for entry in RULES]

every_rule = pytest.mark.parametrize("entry", RULES, ids=NAMES)


def with_claim(claim):
    return pytest.mark.parametrize("entry", [entry for entry in RULES if claim in entry.claims], ids=lambda e: e.name)


def test_the_scan_finds_the_rules_of_the_house():
    assert {"uniform-auction", "mid-market-rate", "fixed-key"} <= set(NAMES)


@every_rule
def test_rule_keeps_its_promises_on_seeded_books(entry):
    results = check_mechanism(entry, seed=1, books=105)
    assert {result.name for result in results} >= {str(claim) for claim in entry.claims}
    for result in results:
        assert result.passed, f"{entry.name}, {result.name}: {result.message}"
        assert result.books > 0


@every_rule
@settings(max_examples=30)
@given(data=st.data())
def test_rule_keeps_its_promises_on_drawn_books(entry, data):
    huge = data.draw(st.booleans(), label="huge")
    book = data.draw(order_books(partners=data.draw(st.booleans(), label="partners"), huge=huge, wide=not huge))
    trial = Trial(entry.build(), Case("drawn", book, data.draw(tariffs()), 0))
    for check in checks_for(entry.claims):
        complaint = judge(check.test, trial)
        assert complaint is None, f"{check.name}: {complaint}"


@with_claim(Claim.EFFICIENT)
@settings(max_examples=60)
@given(book=order_books(rows=16, intervals=2, zones=2, takers=False), tariff=tariffs())
def test_welfare_equals_that_of_a_linear_programme(entry, book, tariff):
    trial = Trial(entry.build(), Case("drawn", book, tariff, 0))
    worth, trades = values(trial.case, book), trial.outcome.clearing.trades
    for interval, zone in set(zip(book.interval.tolist(), book.zone.tolist(), strict=True)):
        group = (book.interval == interval) & (book.zone == zone)
        here = trades.take((trades.interval == interval) & (trades.zone == zone))
        bids, asks = worth[rows_of(book, here.buy_order)], worth[rows_of(book, here.sell_order)]
        best = transport(*(column[group] for column in (book.side, worth, book.quantity)))
        assert ((bids - asks) * here.quantity).sum() == best


def transport(side, worth, quantity):
    """Return the largest sum of (bid - offer) x lots over all pairs of a bid and an offer."""
    bids, asks = np.flatnonzero(side > 0), np.flatnonzero(side < 0)
    if bids.size == 0 or asks.size == 0:
        return 0
    gain = (worth[bids][:, None] - worth[asks][None, :]).ravel()
    takes = np.kron(np.eye(bids.size), np.ones(asks.size))
    gives = np.kron(np.ones(bids.size), np.eye(asks.size))
    room = np.concatenate((quantity[bids], quantity[asks]))
    result = linprog(-gain, A_ub=np.vstack((takes, gives)), b_ub=room, method="highs")
    assert result.success
    assert abs(result.fun - round(result.fun)) < 1e-6
    return -round(result.fun)


@with_claim(Claim.EFFICIENT)
def test_huge_quantities_trade_to_the_last_lot(entry):
    most = 1 << 48
    bids = [(8, 1, most, 300), (9, 1, 1, 200)]
    offers = [(10, -1, most, 100), (11, -1, most, 150), (11, -1, 5, -ANY_PRICE)]
    utility = Tariff.flat(400, 60)  # some rules do not price takers without one
    trades = Trial(entry.build(), Case("huge", book_of(bids + offers), utility, 0)).outcome.clearing.trades
    assert trades.quantity.sum() == most + 1
    assert trades.quantity[trades.seller == 11].sum() == 5  # the price taker is served before all others
