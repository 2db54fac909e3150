"""Posted offers and equal increments against plain loops, and cases worked by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError, Reject
from wattle.core.messages import Context, Tariff, unfilled
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, SELL, Orders, Preferences, Profiles
from wattle.market.posted import EqualIncrements, PostedOffers
from wattle.testing.generators import book_of
from wattle.testing.strategies import order_books, tariffs


def rows(clearing):
    columns = (
        clearing.trades.buy_order,
        clearing.trades.sell_order,
        clearing.trades.quantity,
        clearing.trades.buy_price,
    )
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


# --- posted offers ---


def choose(book, premiums, places, per_km_ticks):
    """Serve buyers by id; each looks at every offer that is left. Books without price takers."""
    left = dict(zip(book.id.tolist(), book.quantity.tolist(), strict=True))
    orders = {row[0]: row for row in sorted(zip(*(column.tolist() for column in book.arrays()), strict=True))}
    found = []
    for number, who, zone, interval, side, _, limit, partner in orders.values():
        if side == SELL:
            continue

        def worth(offer, who=who):
            _, seller, _, _, _, _, ask, _ = orders[offer]
            far = 0
            if who in places and seller in places:
                far = int(np.hypot(*np.subtract(places[who], places[seller])))
            return ask + Fraction(far * per_km_ticks, 1000) - premiums.get((who, seller), 0), offer

        def fits(offer, who=who, zone=zone, interval=interval, limit=limit, partner=partner):
            _, seller, its_zone, its_interval, its_side, _, ask, wants = orders[offer]
            same = (its_side, its_zone, its_interval) == (SELL, zone, interval) and seller != who
            named = partner in (ANYONE, seller) and wants in (ANYONE, who)
            allowed = limit + min(0, premiums.get((who, seller), 0)) >= ask and premiums.get((seller, who), 0) >= 0
            return same and named and allowed and left[offer] > 0

        while left[number] and (offers := [offer for offer in orders if fits(offer)]):
            best = min(offers, key=worth)
            lots = min(left[number], left[best])
            found.append((number, best, lots, orders[best][6]))
            left[number] -= lots
            left[best] -= lots
    return sorted(found)


@given(
    book=order_books(takers=False, partners=True, members=5),
    premiums=st.dictionaries(
        st.tuples(st.integers(8, 12), st.integers(8, 12)), st.integers(-80, 80) | st.just(1 << 36), max_size=8
    ),
    places=st.dictionaries(st.integers(8, 12), st.tuples(*(st.integers(-3000, 3000),) * 2)),
    per_km_ticks=st.sampled_from((0, 30)),
)
def test_each_buyer_chooses_what_is_best_for_him(book, premiums, places, per_km_ticks):
    wishes = np.array([(*pair, premium) for pair, premium in premiums.items()], np.int64).reshape(-1, 3)
    known = np.array([(who, *place, 0, 1000) for who, place in places.items()], np.int64).reshape(-1, 5)
    context = Context(profiles=Profiles(*known.T), preferences=Preferences(*wishes.T))
    _, clearing = PostedOffers(per_km_ticks).step(None, book, context)
    assert rows(clearing) == choose(book, premiums, places, per_km_ticks)


def test_who_comes_first_chooses_first():
    book = book_of([(8, SELL, 2, 100), (9, SELL, 2, 90), (10, BUY, 3, 200), (11, BUY, 3, 95)])
    assert rows(PostedOffers().step(None, book, Context())[1]) == [(2, 0, 1, 100), (2, 1, 2, 90)]
    later = book.replace(id=np.array([0, 1, 3, 2]))
    assert rows(PostedOffers().step(None, later, Context())[1]) == [(2, 1, 2, 90), (3, 0, 2, 100)]


def test_a_premium_changes_the_choice_and_not_the_price():
    book = book_of([(8, SELL, 2, 100), (9, SELL, 2, 90), (10, BUY, 2, 200)])
    wishes = Preferences(np.array([10]), np.array([8]), np.array([11]))
    assert rows(PostedOffers().step(None, book, Context(preferences=wishes))[1]) == [(2, 0, 2, 100)]


def test_the_near_offer_wins_when_a_kilometre_is_dear():
    book = book_of([(8, SELL, 2, 100), (9, SELL, 2, 90), (10, BUY, 2, 200)])
    profiles = Profiles(*np.array([(8, 0, 0, 1, 1000), (9, 3000, 4000, 1, 1000), (10, 0, 0, 0, 1000)]).T)
    for per_km_ticks, seller in ((1, 9), (2, 8), (3, 8)):  # 5 km: at 2 ticks equal, and the earlier offer wins
        trades = PostedOffers(per_km_ticks).step(None, book, Context(profiles=profiles))[1].trades
        assert trades.seller.tolist() == [seller]


def test_sellers_without_a_price_post_the_feed_in_price_or_nothing():
    book = book_of([(8, SELL, 2, -ANY_PRICE), (9, BUY, 2, ANY_PRICE)])
    assert PostedOffers().step(None, book, Context())[1].refused == Reject.NO_PRICE
    assert rows(PostedOffers().step(None, book, Context(Tariff.flat(300, 60)))[1]) == [(1, 0, 2, 60)]
    more = Orders.concat(book, book_of([(10, SELL, 1, 80)]).replace(id=np.array([7])))
    assert rows(PostedOffers().step(None, more, Context())[1]) == [(1, 7, 1, 80)]


def test_nobody_buys_from_himself():
    assert rows(PostedOffers().step(None, book_of([(8, SELL, 2, 10), (8, BUY, 2, 90)]), Context())[1]) == []


@pytest.mark.parametrize("book", [Orders.empty(), book_of([(8, SELL, 2, 10)]), book_of([(8, BUY, 2, 10)])])
def test_one_side_alone_trades_nothing(book):
    for rule in (PostedOffers(), EqualIncrements(price_ticks=5)):
        clearing = rule.step(None, book, Context())[1]
        assert len(clearing.trades) == 0
        assert clearing.unusable is None


def test_a_negative_weight_is_refused():
    with pytest.raises(InvariantError, match="per_km_ticks"):
        PostedOffers(-1)


def test_facts_that_cannot_be_used_stop_the_rule():
    book = book_of([(8, SELL, 2, 10), (9, BUY, 2, 90)])
    twice = Preferences(np.array([9, 9]), np.array([8, 8]), np.array([1, 2]))
    two_homes = Profiles(*np.array([(8, 0, 0, 1, 1000), (8, 1, 0, 1, 1000)]).T)
    far_off = Profiles(*np.array([(8, 1 << 26, 0, 1, 1000)]).T)
    dear = Preferences(np.array([9]), np.array([8]), np.array([1 << 37]))
    for context, said in (
        (Context(preferences=twice), "two premiums"),
        (Context(preferences=dear), "premium is beyond"),
        (Context(profiles=two_homes), "two profiles"),
        (Context(profiles=far_off), "east_m is beyond"),
    ):
        with pytest.raises(InvariantError, match=said):
            PostedOffers().step(None, book, context)


# --- equal increments ---


def increments(wants: list[int], volume: int) -> list[int]:
    """Give everybody who still wants some one lot in turn."""
    got = [0] * len(wants)
    while volume:
        for place, lots in enumerate(wants):
            if volume and got[place] < lots:
                got[place] += 1
                volume -= 1
    return got


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_both_sides_are_filled_lot_by_lot(wanted, offered):
    book = book_of(
        [(8 + place, BUY, lots, ANY_PRICE) for place, lots in enumerate(wanted)]
        + [(30 + place, SELL, lots, -ANY_PRICE) for place, lots in enumerate(offered)]
    )
    clearing = EqualIncrements().step(None, book, Context(Tariff.flat(300, 100)))[1]
    filled = (book.quantity - unfilled(book, clearing)).tolist()
    volume = min(sum(wanted), sum(offered))
    assert filled == increments(wanted, volume) + increments(offered, volume)
    assert set(clearing.trades.buy_price.tolist()) == {200}


@given(book=order_books(), tariff=tariffs(none=False))
def test_levels_differ_by_a_lot_at_most_where_orders_are_left(book, tariff):
    clearing = EqualIncrements().step(None, book, Context(tariff))[1]
    left, filled = unfilled(book, clearing), book.quantity - unfilled(book, clearing)
    retail, feed_in = tariff.at(book.interval)
    price = (retail + feed_in) // 2
    willing = np.where(book.side == BUY, book.limit >= price, book.limit <= price)
    assert not filled[~willing].any()
    groups = np.stack((book.interval, book.zone), axis=1)
    for group in np.unique(groups, axis=0):
        here = (groups == group).all(axis=1) & willing
        for side in (BUY, SELL):
            mine = here & (book.side == side)
            members = np.unique(book.participant[mine])
            got = np.array([filled[mine & (book.participant == who)].sum() for who in members])
            short = np.array([left[mine & (book.participant == who)].sum() for who in members]) > 0
            if short.any():
                assert got[short].min() >= got.max() - 1
        assert not (left[here & (book.side == BUY)].any() and left[here & (book.side == SELL)].any())


def test_what_equal_increments_cannot_do_is_refused():
    book = book_of([(8, SELL, 2, 10), (9, BUY, 2, 90)])
    assert EqualIncrements().step(None, book, Context())[1].refused == Reject.NO_TARIFF
    named = book.replace(partner=np.array([9, 8]))
    assert EqualIncrements(20).step(None, named, Context())[1].refused == Reject.PARTNER_NOT_SUPPORTED
    assert rows(EqualIncrements(20).step(None, book, Context())[1]) == [(1, 0, 2, 20)]
