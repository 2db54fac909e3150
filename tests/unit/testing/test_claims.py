"""Which claims an instance is held to, and on which books a claim says something."""

import pytest

from wattle.core.messages import Tariff
from wattle.core.tables import ANY_PRICE, BUY, SELL
from wattle.market.auction_double import UniformAuction
from wattle.market.auction_truthful import VickreyClarkeGroves
from wattle.market.credit import Credit
from wattle.market.grid_signal import GridSignal
from wattle.market.mechanism import MECHANISMS, Claim
from wattle.market.nested import Nested
from wattle.market.route_choice import RouteChoice
from wattle.testing import checks_claimed as claimed
from wattle.testing.conformance import check_mechanism, subject
from wattle.testing.generators import Case, book_of
from wattle.testing.small_games import in_core, truthful, with_takers
from wattle.testing.trial import Trial

LARGE = [(8 + n, BUY if n % 2 else SELL, 1 << 48, (1 << 12) + n % 2) for n in range(6)]


@pytest.mark.parametrize("check", [claimed.efficient, in_core])
def test_a_refused_book_breaks_no_claim(check):
    trial = Trial(VickreyClarkeGroves(), Case("by hand", book_of(LARGE), None, 0))
    assert trial.outcome.clearing.unusable is not None
    assert check(trial) is None
    # One side only is no refusal of that kind.
    assert check(Trial(VickreyClarkeGroves(), Case("by hand", book_of(LARGE[:1]), None, 0))) is None


@pytest.mark.parametrize("cls", [Nested, RouteChoice, GridSignal, Credit])
def test_another_inner_rule_takes_away_the_claims_that_it_does_not_have(cls):
    registered = next(entry.claims for entry in MECHANISMS if entry.cls is cls)
    assert Claim.BUDGET_BALANCED in registered
    assert subject(cls())[1] == subject(cls(inner="uniform-auction"))[1] == registered
    rule = cls(inner="vickrey-clarke-groves")
    assert subject(rule)[1] == registered & MECHANISMS["vickrey-clarke-groves"].claims
    assert Claim.BUDGET_BALANCED not in subject(rule)[1]
    assert [result for result in check_mechanism(rule, books=24) if not result.passed] == []


def test_the_truth_is_tried_beside_takers():
    # The uniform auction is not truthful: a seller who meets a taker gets his own offer.
    book = book_of([(8, SELL, 1, 3), (9, BUY, 1, ANY_PRICE), (10, BUY, 1, 9)])
    assert "participant 8 gains" in str(truthful(Trial(UniformAuction(), Case("by hand", book, None, 0))))


def test_a_book_gets_takers_and_loses_its_tariff():
    book = book_of([(8 + n, BUY if n % 2 else SELL, 1, 5) for n in range(40)])
    case = with_takers(Case("by hand", book, Tariff.flat(30, 8), 3))
    takes = abs(case.orders.limit) == ANY_PRICE
    assert 5 < takes.sum() < 20
    assert (case.orders.limit[takes] == case.orders.side[takes].astype(int) * ANY_PRICE).all()
    assert case.tariff is None
    assert len(with_takers(Case("by hand", book_of([]), None, 0)).orders) == 0
