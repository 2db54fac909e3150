"""Any events in any order: after each one both books sum to zero and every member's energy is what his meter says.

Hypothesis plays the world. It may send what is late, double, unknown or out of turn; the engine answers with codes and
goes on. A second engine that hears the same must end in the same state.
"""

from typing import ClassVar

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wattle.core.checks import Reject
from wattle.core.tables import ANY_PRICE, ANYONE, FIRST_MEMBER, GRID_OPERATOR, Orders, Readings
from wattle.engine import events as ev
from wattle.engine.engine import Engine, Rules
from wattle.engine.gate import Product
from wattle.ledger.accounts import ENERGY, NETWORK
from wattle.ledger.fees import LOCAL_KWH, UTILITY_KWH, Charge
from wattle.ledger.postings import balances
from wattle.market.auction_double import PayAsBidAuction, UniformAuction
from wattle.market.keys import DynamicKey
from wattle.market.mechanism import GATE, METERED
from wattle.market.pools import BillSharing

MEMBERS, WINDOW = 3, 3
AUCTIONS = ("spot", "block")
SPOT, BLOCK = Product("spot", UniformAuction(), GATE), Product("block", PayAsBidAuction(), GATE, cap=200, floor=-50)
CHARGES = (
    Charge("local", LOCAL_KWH, 15, GRID_OPERATOR, NETWORK),
    Charge("network", UTILITY_KWH, 80, GRID_OPERATOR, NETWORK),
)

who = st.integers(FIRST_MEMBER - 1, FIRST_MEMBER + MEMBERS)  # one house account and one stranger among them
ahead = st.integers(-4, 4)
order = st.tuples(who, ahead, st.sampled_from((1, 1, -1, -1, 0)), st.integers(0, 30), st.none() | st.integers(-60, 210))
member = st.integers(FIRST_MEMBER, FIRST_MEMBER + MEMBERS - 1)
good_order = st.tuples(
    member, st.integers(0, 2), st.sampled_from((1, -1)), st.integers(1, 30), st.none() | st.integers(50, 120)
)
reading = st.tuples(ahead, who, st.integers(-20, 20) | st.just(1 << 50))


def columns(rows, width):
    return np.array(rows, np.int64).reshape(-1, width).T


class AnyWorld(RuleBasedStateMachine):
    """The world of a market with two auctions and a rule after delivery."""

    last: ClassVar[Product] = Product("key", DynamicKey(), METERED)

    def __init__(self):
        super().__init__()
        self.rules = Rules((SPOT, BLOCK, self.last), CHARGES, seed=5, correctable=WINDOW)
        self.engine = Engine(self.rules, MEMBERS)
        self.told = []
        self.waiting, self.metered = {}, {}  # interval and participant -> lots, before and after settlement
        self.settled = np.zeros_like(self.engine.balance)

    @property
    def now(self):
        return self.engine.sealed_until or 0

    def tell(self, event):
        self.told.append(event)
        effects = self.engine.handle(event)
        for effect in effects:
            if isinstance(effect, ev.Settled):
                self.settled += balances(effect.postings, self.engine.accounts)
        codes = [effect for effect in effects if isinstance(effect, ev.Rejected)]
        return dict(zip(codes[0].rows.tolist(), codes[0].codes, strict=True)) if codes else {}

    @initialize(joined=st.sampled_from((True, True, True, False)))
    def start(self, joined):
        self.tell(ev.TariffPublished(0, 0, np.arange(300, 340), np.arange(60, 100)))
        if joined:
            self.tell(ev.MembersJoined(0, tuple(range(FIRST_MEMBER, FIRST_MEMBER + MEMBERS))))

    @rule(participants=st.lists(who, max_size=2).map(tuple), joins=st.booleans())
    def membership(self, participants, joins):
        self.tell((ev.MembersJoined if joins else ev.MembersLeft)(0, participants))

    @rule(step=ahead, retail=st.integers(200, 400))
    def tariff(self, step, retail):
        self.tell(ev.TariffPublished(0, self.now + step, np.full(30, retail), np.full(30, 70)))

    @rule(name=st.sampled_from((*AUCTIONS, "key", "none")), first=ahead, count=st.integers(0, 3))
    def open(self, name, first, count):
        self.tell(ev.GateOpened(0, name, self.now + first, self.now + first + count))

    @rule(name=st.sampled_from(AUCTIONS), rows=st.lists(order | good_order, max_size=8))
    def submit(self, name, rows):
        """Orders of any quality, into an open gate if there is one."""
        if name not in self.engine._gates and self.engine._gates:
            name = next(iter(self.engine._gates))
        table = [(p, self.now + t, s, q, s * ANY_PRICE if limit is None else limit) for p, t, s, q, limit in rows]
        participant, interval, side, lots, limit = columns(table, 5)
        nought = np.zeros(len(rows), np.int64)
        book = Orders(nought, participant, nought, interval, side, lots, limit, nought + ANYONE)
        self.tell(ev.OrdersSubmitted(0, name, book))

    @rule(name=st.sampled_from(AUCTIONS), rows=st.lists(good_order, min_size=2, max_size=8), close=st.booleans())
    def trade(self, name, rows, close):
        """What should happen: members send good orders into an open gate."""
        self.tell(ev.GateOpened(0, name, self.now, self.now + 3))
        self.submit(name, rows)
        if close:
            self.tell(ev.GateClosed(0, name))

    @rule(name=st.sampled_from(AUCTIONS), back=st.lists(st.integers(0, 9), max_size=3))
    def cancel(self, name, back):
        self.tell(ev.OrdersCancelled(0, name, tuple(self.engine.next_order - step for step in back)))

    @rule(name=st.sampled_from((*AUCTIONS, "key")))
    def close(self, name):
        self.tell(ev.GateClosed(0, name))

    @rule(rows=st.lists(reading, max_size=5))
    def receive(self, rows):
        now, settled = self.now, self.engine.sealed_until is not None
        table = [(now + step, participant, lots) for step, participant, lots in rows]
        codes = self.tell(ev.ReadingsReceived(0, Readings(*columns(table, 3))))
        for row, (time, participant, lots) in enumerate(table):
            if row not in codes:
                late = settled and time < now
                (self.metered if late else self.waiting)[time, participant] = lots

    @rule(count=st.integers(1, 2))
    def meter_and_end(self, count):
        """What should happen: every gate is closed, every member is metered, the intervals end."""
        for name in AUCTIONS:
            self.tell(ev.GateClosed(0, name))
        members = self.engine.members.tolist()
        now = self.now
        table = [(time, each, (7 * time + 5 * each) % 23 - 11) for time in range(now, now + count) for each in members]
        assert self.tell(ev.ReadingsReceived(0, Readings(*columns(table, 3)))) == {}
        self.waiting.update({(time, each): lots for time, each, lots in table})
        self.end(count)

    @rule(count=st.integers(-1, 2))
    def end(self, count):
        before, first = self.engine.sealed_until, self.now
        codes = self.tell(ev.IntervalsEnded(0, first, first + count))
        assert bool(codes) == (self.engine.sealed_until == before)
        if not codes:
            self.metered.update({key: lots for key, lots in self.waiting.items() if first <= key[0] < first + count})
            self.waiting = {key: lots for key, lots in self.waiting.items() if key[0] >= first + count}

    @precondition(lambda self: self.metered)
    @rule(data=st.data(), lots=st.integers(-20, 20))
    def correct(self, data, lots):
        now = self.now
        recent = sorted(key for key in self.metered if key[0] >= now - WINDOW)
        if recent:
            time, participant = data.draw(st.sampled_from(recent))
            assert self.tell(ev.ReadingsReceived(0, Readings(*columns([(time, participant, lots)], 3)))) == {}
            self.metered[time, participant] = lots

    @precondition(lambda self: self.engine.sealed_until is not None and self.now > WINDOW)
    @rule()
    def too_late(self):
        table = [(self.now - WINDOW - 1, FIRST_MEMBER, 3)]
        assert self.tell(ev.ReadingsReceived(0, Readings(*columns(table, 3)))) == {0: Reject.TOO_LATE}

    @invariant()
    def both_books_sum_to_zero(self):
        assert self.engine.balance.sum(axis=1).tolist() == [0, 0]

    @invariant()
    def booked_is_metered(self):
        expected = np.zeros(self.engine.accounts, np.int64)
        for (_, participant), lots in self.metered.items():
            expected[participant] += lots
        members = slice(FIRST_MEMBER, None)
        assert self.engine.balance[ENERGY, members].tolist() == expected[members].tolist()

    @invariant()
    def balances_are_the_sum_of_all_postings(self):
        assert np.array_equal(self.engine.balance, self.settled)

    def teardown(self):
        again = Engine(self.rules, MEMBERS)
        for event in self.told:
            again.handle(ev.event_from(type(event).__name__, event.payload()))
        assert again.state_hash() == self.engine.state_hash()


class AnyWorldWithBills(AnyWorld):
    """The same with a rule that looks across intervals, so that corrections settle whole blocks."""

    last = Product("bills", BillSharing(), METERED, separable=False)


TestAnyWorld, TestAnyWorldWithBills = AnyWorld.TestCase, AnyWorldWithBills.TestCase
TestAnyWorld.settings = TestAnyWorldWithBills.settings = settings(max_examples=50, stateful_step_count=30)
