"""A small market for the tests of the engine: four members, an auction before delivery, a pool after it."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from wattle.core.messages import Clearing, Quote
from wattle.core.tables import ANYONE, FIRST_MEMBER, GRID_OPERATOR, Orders, Prices, Quotes, Readings, Trades
from wattle.engine import events as ev
from wattle.engine.engine import Engine, Rules
from wattle.engine.gate import Product
from wattle.ledger.accounts import NETWORK
from wattle.ledger.fees import LOCAL_KWH, Charge
from wattle.market.auction_double import UniformAuction
from wattle.market.mechanism import ARRIVAL, GATE, METERED
from wattle.market.order_book import OrderBook
from wattle.market.pools import BillSharing, MidMarketRate

MEMBERS = tuple(range(FIRST_MEMBER, FIRST_MEMBER + 4))


@dataclass(frozen=True)
class AsksTwice:
    """Ask two times, then trade nothing."""

    def step(self, memory, orders, context):
        asked = 0 if memory is None else memory["asked"]
        if asked < 2:
            return {"asked": asked + 1}, Quote(Quotes.empty(), asked)
        return None, Clearing(Trades.empty(), Prices.empty())


AHEAD = Product("ahead", UniformAuction(), GATE, cap=1000, floor=-100)
POOL = Product("pool", MidMarketRate(), METERED)
BILLS = Product("bills", BillSharing(), METERED, separable=False)
HAGGLE = Product("haggle", AsksTwice(), GATE, rounds_max=2)
BOOK = Product("book", OrderBook(), ARRIVAL, cap=1000, floor=-100)
CHARGES = (Charge("grid", LOCAL_KWH, 20, GRID_OPERATOR, NETWORK),)


@dataclass
class Market:
    """An engine, and every event that it was told, with its effects."""

    engine: Engine
    told: list = field(default_factory=list)

    def tell(self, *events):
        """Handle the events and return the effects of the last one."""
        effects = []
        for event in events:
            effects = self.engine.handle(event)
            self.told.append(event)
        return effects

    def codes(self, *events):
        """Tell the events; return the reject codes of the last one by row."""
        found = {}
        for effect in self.tell(*events):
            if isinstance(effect, ev.Rejected):
                found.update(zip(effect.rows.tolist(), effect.codes, strict=True))
        return found

    def again(self):
        """Return a fresh engine that was told the same."""
        other = Engine(self.engine.rules, self.engine.accounts - FIRST_MEMBER)
        for event in self.told:
            other.handle(event)
        return other


def market(products=(AHEAD, POOL), charges=CHARGES, started=True, **rules):
    found = Market(Engine(Rules(products, charges, **rules), len(MEMBERS)))
    if started:
        retail = np.arange(300, 312, dtype=np.int64)
        found.tell(ev.MembersJoined(0, MEMBERS), ev.TariffPublished(0, 0, retail, retail - 240))
    return found


def readings(*rows):
    """Rows of interval, participant, energy."""
    return ev.ReadingsReceived(0, Readings(*np.array(rows, np.int64).reshape(-1, 3).T))


def metered(energy, first=0):
    """Energy [T, members] as readings of all members."""
    table = np.array(energy, np.int64)
    times, places = np.indices(table.shape)
    return ev.ReadingsReceived(0, Readings((times + first).ravel(), (places + FIRST_MEMBER).ravel(), table.ravel()))


def orders(*rows, product="ahead", partner=ANYONE):
    """Rows of interval, participant, side, quantity, limit."""
    interval, who, side, lots, limit = np.array(rows, np.int64).reshape(-1, 5).T
    size, nought = len(rows), np.zeros(len(rows), np.int64)
    book = Orders(nought - 1, who, nought, interval, side, lots, limit, np.full(size, partner))
    return ev.OrdersSubmitted(0, product, book)


def effect(effects, kind):
    """Return the only effect of a kind."""
    (found,) = [each for each in effects if isinstance(each, kind)]
    return found


@pytest.fixture(scope="session")
def desk():
    """All of the above under one name."""

    class Desk:
        pass

    for name, value in globals().items():
        if not name.startswith("_"):
            setattr(Desk, name, staticmethod(value) if callable(value) and not isinstance(value, type) else value)
    return Desk
