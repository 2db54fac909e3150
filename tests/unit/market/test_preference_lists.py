"""Ranking of offers by hand and by a plain formula; matching by lists against plain loops."""

import tomllib
from fractions import Fraction
from math import isqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, SELL, SOURCES, Orders, Preferences, Profiles
from wattle.market.preference_lists import PreferenceLists, RankWeights, rank_offers
from wattle.testing.generators import book_of
from wattle.testing.strategies import order_books

GOLDEN = Path(__file__).parents[2] / "golden" / "five-seller-ranking"
BUYER = 8


def rows(clearing):
    columns = (
        clearing.trades.buy_order,
        clearing.trades.sell_order,
        clearing.trades.quantity,
        clearing.trades.buy_price,
    )
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


@pytest.fixture(scope="module")
def fixture():
    facts = tomllib.loads((GOLDEN / "ranking.toml").read_text(encoding="utf-8"))
    names = list(facts["seller"])
    sellers = list(facts["seller"].values())
    offers = book_of([(9 + place, SELL, s["lots"], s["price"]) for place, s in enumerate(sellers)])
    places = [(BUYER, 0, 0, 0, 1000)]
    for place, s in enumerate(sellers):
        places.append((9 + place, s["east_m"], s["north_m"], SOURCES.index(s["source"]), s["reliability"]))
    wishes = [(BUYER, 9 + names.index(name), premium) for name, premium in facts["premium"].items()]
    return facts, names, offers, Profiles(*np.array(places).T), Preferences(*np.array(wishes).T)


def test_five_sellers_are_ranked_as_by_hand(fixture):
    facts, names, offers, profiles, preferences = fixture
    ranking = rank_offers(BUYER, offers, profiles, RankWeights(**facts["weights"]), preferences)
    assert [names[row] for row in ranking.rows] == facts["by_weights"]
    assert ranking.effective_millis.tolist() == [1000 * ticks for ticks in facts["effective_ticks"]]
    assert ranking.distance_m.tolist() == [0, 1000, 5000, 3500, 8000]
    assert [names[row] for row in rank_offers(BUYER, offers, profiles).rows] == facts["by_price"]


def test_five_sellers_are_matched_as_by_hand(fixture):
    facts, names, offers, profiles, preferences = fixture
    wish = book_of([(BUYER, BUY, facts["wanted_lots"], 200)]).replace(id=np.array([99]))
    context = Context(profiles=profiles, preferences=preferences)
    _, clearing = PreferenceLists(**facts["weights"]).step(None, Orders.concat(offers, wish), context)
    bought = {
        names[seller - 9]: lots for seller, lots in zip(clearing.trades.seller, clearing.trades.quantity, strict=True)
    }
    assert bought == facts["buys"]
    prices = {name: facts["seller"][name]["price"] for name in bought}
    assert clearing.trades.buy_price.tolist() == [prices[names[seller - 9]] for seller in clearing.trades.seller]


def test_what_a_buyer_cannot_have_is_not_ranked():
    offers = book_of(
        [
            (9, SELL, 1, 50),
            (9, BUY, 1, 50),
            (BUYER, SELL, 1, 50),
            (10, SELL, 1, -ANY_PRICE),
            (11, SELL, 1, 40),
            (12, SELL, 1, 40),
        ]
    )
    offers = offers.replace(partner=np.array([-1, -1, -1, -1, 9, BUYER]))
    assert rank_offers(BUYER, offers, Profiles.empty()).rows.tolist() == [5, 0]
    assert rank_offers(BUYER, Orders.empty(), Profiles.empty()).rows.tolist() == []


WEIGHTS = st.builds(
    RankWeights,
    per_km_ticks=st.sampled_from((0, 5, 40)),
    unreliable_ticks=st.integers(0, 50),
    sun_ticks=st.integers(-20, 40),
    wind_ticks=st.integers(0, 40),
    water_ticks=st.integers(0, 40),
    biomass_ticks=st.integers(0, 40),
)


@st.composite
def contexts(draw):
    who = range(8, 13)
    pairs = draw(st.lists(st.tuples(st.sampled_from(who), st.sampled_from(who)), unique=True, max_size=8))
    wishes = [(*pair, draw(st.integers(-80, 80))) for pair in pairs]
    known = draw(st.lists(st.sampled_from(who), unique=True))
    metres = st.integers(-3000, 3000)
    facts = [(one, draw(metres), draw(metres), draw(st.integers(0, 6)), draw(st.integers(0, 1000))) for one in known]
    preferences = Preferences(*np.array(wishes, np.int64).reshape(-1, 3).T)
    return Context(profiles=Profiles(*np.array(facts, np.int64).reshape(-1, 5).T), preferences=preferences)


class Plain:
    """The words of the docstrings in plain Python, on rows of a book without price takers."""

    def __init__(self, book, context, weights):
        self.rows = [
            dict(zip(book.to_lists(), row, strict=True)) for row in zip(*book.to_lists().values(), strict=True)
        ]
        self.facts = {row[0]: row[1:] for row in zip(*context.profiles.to_lists().values(), strict=True)}
        self.premium = {(who, other): p for who, other, p in zip(*context.preferences.to_lists().values(), strict=True)}
        self.weights = weights

    def wish(self, one, other):
        return self.premium.get((one["participant"], other["participant"]), 0)

    def far(self, one, other):
        mine, theirs = (self.facts.get(row["participant"]) for row in (one, other))
        return isqrt((mine[0] - theirs[0]) ** 2 + (mine[1] - theirs[1]) ** 2) if mine and theirs else 0

    def effective(self, bid, offer):
        _, _, source, reliability = self.facts.get(offer["participant"], (0, 0, 0, 1000))
        liked = {
            SOURCES.index(name): getattr(self.weights, f"{name}_ticks") for name in ("sun", "wind", "water", "biomass")
        }
        unreliable = Fraction((1000 - reliability) * self.weights.unreliable_ticks, 1000)
        far = Fraction(self.far(bid, offer) * self.weights.per_km_ticks, 1000)
        return offer["limit"] + far + unreliable - liked.get(source, 0) - self.wish(bid, offer)

    def fits(self, bid, offer):
        if bid["side"] != BUY or offer["side"] != SELL or bid["participant"] == offer["participant"]:
            return False
        if (bid["zone"], bid["interval"]) != (offer["zone"], offer["interval"]):
            return False
        if bid["partner"] not in (ANYONE, offer["participant"]) or offer["partner"] not in (ANYONE, bid["participant"]):
            return False
        return bid["limit"] + min(0, self.wish(bid, offer)) >= offer["limit"] and self.wish(offer, bid) >= 0

    def matched(self):
        """Rounds: everybody stands at his best offer, each offer serves the nearest."""
        for row in self.rows:
            row["left"] = row["quantity"]
        found = []
        while True:
            standing = []
            for bid in self.rows:
                offers = [offer for offer in self.rows if bid["left"] and offer["left"] and self.fits(bid, offer)]
                if offers:
                    standing.append((bid, min(offers, key=lambda offer: (self.effective(bid, offer), offer["id"]))))
            if not standing:
                return sorted(found)
            for bid, offer in sorted(standing, key=lambda pair: (self.far(*pair), pair[0]["id"])):
                lots = min(bid["left"], offer["left"])
                if lots:
                    found.append((bid["id"], offer["id"], lots, offer["limit"]))
                    bid["left"] -= lots
                    offer["left"] -= lots


@given(book=order_books(takers=False, partners=True, members=5), context=contexts(), weights=WEIGHTS)
def test_lists_are_matched_as_in_plain_loops(book, context, weights):
    fields = {name: getattr(weights, name) for name in weights.__dataclass_fields__}
    _, clearing = PreferenceLists(**fields).step(None, book, context)
    assert rows(clearing) == Plain(book, context, weights).matched()


@given(
    book=order_books(takers=False, partners=True, members=5, intervals=1, zones=1), context=contexts(), weights=WEIGHTS
)
def test_offers_are_ranked_as_by_the_formula(book, context, weights):
    plain = Plain(book, context, weights)
    bid = {"participant": BUYER, "side": BUY, "zone": 0, "interval": 0, "partner": ANYONE, "limit": ANY_PRICE}
    effective = {row: plain.effective(bid, offer) for row, offer in enumerate(plain.rows) if plain.fits(bid, offer)}
    ranking = rank_offers(BUYER, book, context.profiles, weights, context.preferences)
    assert ranking.rows.tolist() == sorted(effective, key=lambda row: (effective[row], book.id[row]))
    assert ranking.effective_millis.tolist() == [1000 * effective[row] for row in ranking.rows.tolist()]


def test_the_near_come_before_the_early():
    book = book_of([(9, SELL, 5, 100), (10, BUY, 4, 200), (11, BUY, 4, 150)])
    profiles = Profiles(*np.array([(9, 0, 0, 1, 1000), (10, 3000, 0, 0, 1000), (11, 500, 0, 0, 1000)]).T)
    assert rows(PreferenceLists().step(None, book, Context(profiles=profiles))[1]) == [(1, 0, 1, 100), (2, 0, 4, 100)]
    assert rows(PreferenceLists().step(None, book, Context())[1]) == [(1, 0, 4, 100), (2, 0, 1, 100)]


def test_first_choices_come_before_second_choices():
    """Buyer 11 is nearer to seller 9 but likes 12 better; when 12 is sold out, 9 has gone to 10."""
    book = book_of([(9, SELL, 4, 100), (10, BUY, 4, 200), (11, BUY, 4, 200), (12, SELL, 1, 90), (13, BUY, 1, 90)])
    wishes = Preferences(np.array([10]), np.array([9]), np.array([50]))
    assert rows(PreferenceLists().step(None, book, Context(preferences=wishes))[1]) == [(1, 0, 4, 100), (2, 3, 1, 90)]


def test_sellers_without_a_price_need_a_tariff():
    book = book_of([(8, SELL, 2, -ANY_PRICE), (9, BUY, 2, 100)])
    assert PreferenceLists().step(None, book, Context())[1].refused == Reject.NO_PRICE
    assert rows(PreferenceLists().step(None, book, Context(Tariff.flat(300, 60)))[1]) == [(1, 0, 2, 60)]


@pytest.mark.parametrize("name", ["per_km_ticks", "unreliable_ticks", "sun_ticks"])
def test_weights_beyond_the_largest_price_are_refused(name):
    for kind in (RankWeights, PreferenceLists):
        with pytest.raises(InvariantError, match=name):
            kind(**{name: 1 << 40})
