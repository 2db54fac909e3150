"""The suite itself: each deliberately broken rule must be caught, by the check that is meant for it.

All rules here are twists of one plain auction, written with loops. The plain one passes everything that it claims.
"""

import broken_rules as broken
import numpy as np
import pytest

from wattle.core.messages import Tariff
from wattle.core.registry import Entry
from wattle.market.auction_double import UniformAuction
from wattle.market.mechanism import Claim
from wattle.testing.conformance import ALWAYS, BY_CLAIM, check_mechanism, checks_for, judge, shown
from wattle.testing.generators import KINDS, Case, as_csv, book_of, part
from wattle.testing.trial import ROUNDS_MAX, Trial

PLAIN_CLAIMS = {
    Claim.BUDGET_BALANCED,
    Claim.INDIVIDUALLY_RATIONAL,
    Claim.EFFICIENT,
    Claim.UNIFORM_PRICE,
    Claim.SEPARABLE,
    Claim.EXACT,
}
CONSERVES = "every lot traded, resting or left"
BROKEN = [
    (broken.CreatesEnergy, CONSERVES),
    (broken.Overfills, CONSERVES),
    (broken.WrongSeller, CONSERVES),
    (broken.FreeEnergy, CONSERVES),
    (broken.TwoPrices, CONSERVES),
    (broken.FinesStrangers, CONSERVES),
    (broken.RandomTie, "same in, same out"),
    (broken.Remembers, "same in, same out"),
    (broken.RowTie, "order of rows irrelevant"),
    (broken.ReportsAText, "whole numbers only"),
    (broken.Mutates, "inputs untouched"),
    (broken.TakesTheMoon, "no price beyond what was named"),
    (broken.PublishesTheMoon, "no price beyond what was named"),
    (broken.IgnoresPartner, "partner honoured or refused"),
    (broken.RefusesAndTrades, "refused book comes back whole"),
    (broken.KeepsAnObject, "memory can be stored"),
    (broken.AsksForEver, "answers within the rounds"),
    (broken.NeverTrades, "answers within the rounds"),
    (broken.Raises, "answers within the rounds"),
    (broken.NeverTrades, "says why nothing trades"),
    (broken.LosesALot, Claim.EFFICIENT),
    (broken.LosesALot, Claim.UNIFORM_PRICE),
    (broken.DropsSecondOrder, Claim.EFFICIENT),
    (broken.NeverTrades, Claim.EFFICIENT),
    (broken.OwnPrices, Claim.UNIFORM_PRICE),
    (broken.AboveLimit, Claim.INDIVIDUALLY_RATIONAL),
    (broken.TaxedByTransfer, Claim.INDIVIDUALLY_RATIONAL),
    (broken.Subsidised, Claim.BUDGET_BALANCED),
    (broken.FundPays, Claim.BUDGET_BALANCED),
    (broken.LimitsAcross, Claim.SEPARABLE),
    (broken.MachineDiffers, Claim.EXACT),
]


@pytest.mark.parametrize(("cls", "name"), BROKEN, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_broken_rule_is_caught(cls, name):
    claims = frozenset({name} if isinstance(name, Claim) else ())
    results = {result.name: result for result in check_mechanism(Entry("broken", cls, claims), books=60)}
    assert not results[name].passed
    assert results[name].message


def test_the_plain_auction_passes_all_that_it_claims():
    results = check_mechanism(Entry("plain", broken.Plain, frozenset(PLAIN_CLAIMS)), books=60)
    assert [result for result in results if not result.passed] == []
    assert {result.name for result in results} == {c.name for c in ALWAYS} | {str(claim) for claim in PLAIN_CLAIMS}


# --- the report ---


def test_each_claim_has_a_check_and_each_check_a_broken_rule():
    assert set(BY_CLAIM) == set(Claim)
    small_games = {Claim.TRUTHFUL, Claim.IN_CORE, Claim.INCREMENTAL}  # broken rules for these stand above
    assert {name for _, name in BROKEN} | small_games == {check.name for check in checks_for(Claim)}


def test_the_failing_book_is_small_and_printed():
    results = {result.name: result for result in check_mechanism(Entry("broken", broken.CreatesEnergy), books=60)}
    complaint, head, *rows = results[CONSERVES].message.split("\n")
    assert "wanted" in complaint
    assert "more" in complaint
    assert head == "member,side,quantity_kwh,limit_ct_per_kwh,interval,zone,partner"
    assert len([row for row in rows if row.startswith("m")]) == 3  # one bid and two offers show the defect
    assert sorted(row.split(",")[1] for row in rows if row.startswith("m")) == ["buy", "sell", "sell"]


def test_progress_runs_to_the_end():
    steps = []
    check_mechanism(UniformAuction(), books=5, progress=lambda done, whole: steps.append((done, whole)))
    assert steps[0] == (0, len(steps) - 1)
    assert steps[-1] == (len(steps) - 1, len(steps) - 1)


def test_an_instance_brings_its_parameters_and_the_claims_of_its_class():
    names = {result.name for result in check_mechanism(UniformAuction(k_percent=0), books=5)}
    assert Claim.UNIFORM_PRICE in names
    assert {result.name for result in check_mechanism(broken.Plain(), books=5)} == {check.name for check in ALWAYS}


def test_a_tariff_is_printed_with_the_book():
    book = book_of([(8, 1, 10, 200)])
    assert shown(Case("", book, None, 0)) == as_csv(book)
    assert shown(Case("", book, Tariff.flat(300, 60, 5), 0)) == f"{as_csv(book)}\nwith --retail 3 --feed-in 0.6"
    changing = Tariff(0, np.array([300, 310]), np.array([60, 60]))
    assert "with a tariff that changes: retail [300, 310]" in shown(Case("", book, changing, 0))


def test_a_rule_that_asks_for_ever_is_stopped():
    trial = Trial(broken.AsksForEver(), part(0, 1)[0])
    assert f"after {ROUNDS_MAX} rounds" in judge(ALWAYS[0].test, trial)


def test_all_kinds_of_books_appear_in_the_usual_number_of_books():
    assert {case.kind for case in part(0, 200)} == set(KINDS)
