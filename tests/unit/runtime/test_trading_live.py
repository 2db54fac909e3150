"""A laboratory session through a whole market: the same trades, journaled, replayed and settled."""

import numpy as np
import pytest

from wattle.agents.strategies import STRATEGIES
from wattle.core.tables import FIRST_MEMBER
from wattle.engine.replay import replay
from wattle.ledger.accounts import ENERGY, MONEY
from wattle.runtime.journal import SqliteJournal, broken_entry
from wattle.runtime.trading_day import BOOK, Induced, LiveMarket, trading_days

SMALL = Induced(values=((90, 70), (80, 60), (75,)), costs=((30, 50), (40, 65), (55,)))
WIDE = Induced(values=tuple((150 - 5 * n, 90) for n in range(8)), costs=tuple((50 + 5 * n, 120) for n in range(8)))


def live(market):
    return LiveMarket(len(market.values) + len(market.costs))


@pytest.mark.parametrize("name", STRATEGIES)
def test_traders_trade_as_in_the_laboratory(name):
    for market, turns in ((SMALL, 60), (WIDE, 120)):
        venue = live(market)
        day = {"days": 2, "turns": turns, "seed": 5}
        lab = trading_days(market, STRATEGIES[name], **day)
        assert trading_days(market, STRATEGIES[name], **day, venue=venue) == lab
        assert sum(len(each.prices) for each in lab) > 4
        # The money that moved is the sum of all prices, and everybody delivered what he traded.
        assert venue.engine.sealed_until == 2
        paid = venue.engine.balance[MONEY, FIRST_MEMBER : FIRST_MEMBER + len(market.values)].sum()
        assert paid == sum(sum(each.prices) for each in lab)
        assert not venue.engine.balance[MONEY].sum()
        assert venue.engine.balance[ENERGY, FIRST_MEMBER:].clip(0).sum() == sum(len(each.prices) for each in lab)


def test_a_session_is_replayed_from_its_journal(tmp_path):
    venue = LiveMarket(10, SqliteJournal(tmp_path / "session.sqlite"))
    trading_days(SMALL, STRATEGIES["zi-c"], days=2, turns=40, seed=1, venue=venue)
    venue.journal.commit()
    assert broken_entry(venue.journal) is None
    again = replay(venue.engine.rules, 10, (entry.event() for entry in venue.journal.entries()))
    venue.journal.close()
    assert again.state_hash() == venue.engine.state_hash()
    assert again.head == venue.engine.head


def test_the_book_of_a_day_can_be_read():
    venue = live(SMALL)
    venue.open()
    assert venue.best() == (None, None)
    assert venue.quote(0, 1, 60) is None
    assert venue.quote(3, -1, 70) is None
    assert venue.quote(0, 1, 65) is None  # replaces his first
    assert venue.best() == (65, 70)
    assert len(venue.engine.resting(BOOK)) == 2
    assert venue.quote(4, -1, 50) == (0, 65)
    venue.empty()
    assert venue.best() == (None, None)
    venue.close()
    assert np.flatnonzero(venue.engine.balance[ENERGY]).tolist() == [FIRST_MEMBER, FIRST_MEMBER + 4]


def test_an_empty_laboratory_and_an_empty_market_have_the_same_day():
    market = SMALL
    day = {"days": 1, "turns": 1, "seed": 3}
    venue = live(market)
    (lab,), (day_live,) = (
        trading_days(market, STRATEGIES["truthful"], **day),
        trading_days(market, STRATEGIES["truthful"], **day, venue=venue),
    )
    assert lab.prices == day_live.prices == ()
