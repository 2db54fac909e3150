"""The engine: one entry, `handle(event) -> effects`. No clock, no I/O, no unseeded chance.

Simulation, live operation, settlement of meter files and replay differ only in who supplies the events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import singledispatchmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import InvariantError, Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Call, Clearing, Context, Tariff
from wattle.core.tables import FIRST_MEMBER, Orders, Preferences, Prices, Profiles, Readings, Trades, Transfers
from wattle.core.units import CASH_ORDER_MAX, QUANTITY_MAX
from wattle.engine import events as ev
from wattle.engine import live
from wattle.engine.effects import cleared, dropped, happened, rejections, settled
from wattle.engine.gate import ASKING, OPEN, TRADING, Gate, Product, admit
from wattle.engine.seals import chain, fingerprint, leaves
from wattle.engine.settlement import Block, Settlement, dense_energy, settle_block
from wattle.ledger.accounts import BOOKS, CODES, ENERGY
from wattle.ledger.fees import Charge, net_tariff
from wattle.ledger.postings import Postings, tally
from wattle.ledger.settle import difference

FOREVER = 1 << 31


@dataclass(frozen=True)
class Rules:
    """What never changes while a market runs: products in order of trading, charges, seed, limits.

    `correctable` is how many intervals back a corrected reading is accepted; older blocks are forgotten. `profiles` and
    `preferences` are what rules may know of members that match by place, source, reliability or taste.
    """

    products: tuple[Product, ...]
    charges: tuple[Charge, ...] = ()
    seed: int = 0
    zones: int = 1
    correctable: int = FOREVER
    profiles: Profiles = field(default_factory=Profiles.empty)
    preferences: Preferences = field(default_factory=Preferences.empty)


class Engine:
    """A market. Give it events, tell the world its effects; read its state, never write it.

    Parameters
    ----------
    rules : products, charges and limits of this market.
    members : how many members may ever join; they are the participants from `FIRST_MEMBER` on.
    """

    def __init__(self, rules: Rules, members: int) -> None:
        self.rules = rules
        self.accounts = FIRST_MEMBER + members
        self.sequence = 0
        self.next_order = 0
        self.balance = np.zeros((BOOKS, self.accounts), np.int64)
        self.head = hashlib.sha256(b"wattle").digest()
        self.sealed_until: int | None = None
        self._active = np.zeros(self.accounts, bool)
        self._tariff: Tariff | None = None
        self._net_tariff: Tariff | None = None  # what rules see
        self._price_max = 0  # of the tariff, in ticks
        self._gates: dict[str, Gate] = {}
        self._gate_count: dict[str, int] = {}
        self._delivering: list[Clearing] = []
        self._ordered: list[Orders] = []
        self._readings: list[Readings] = []
        self._blocks: list[Block] = []
        self._revision = 0

    def handle(self, event: ev.Event) -> list[ev.Effect]:
        """Apply one event and return what the world must be told. The only way to change the engine."""
        self.sequence += 1
        return self._handle(event)

    def state_hash(self) -> str:
        """Return one hash over everything that the future depends on; equal states have equal hashes."""
        tariff = self._tariff
        gates = {
            name: (gate.number, gate.first, gate.stop, gate.state, gate.round, gate.book(), gate.memory, gate.traded())
            for name, gate in self._gates.items()
        }
        # Settled intervals are part of `head`; here stands what is not settled yet.
        waiting = (
            Readings.concat(*self._readings),
            Orders.concat(*self._ordered),
            Trades.concat(*(each.trades for each in self._delivering)),
            Prices.concat(*(each.prices for each in self._delivering)),
            Transfers.concat(*(each.transfers for each in self._delivering)),
        )
        known = None if tariff is None else (tariff.first, tariff.retail, tariff.feed_in)
        numbers = (self.next_order, self._revision, self.sealed_until, self._gate_count)
        return fingerprint((self.head, self.balance, self._active, numbers, known, gates, waiting)).hex()

    @property
    def members(self) -> NDArray[np.int64]:
        """Participants that take part now."""
        return np.flatnonzero(self._active)

    def depth(self, name: str) -> live.Depth:
        """Return the price levels of the book of a product that trades on arrival; no rows unless its gate is open."""
        return live.depth_of(self.resting(name))

    def resting(self, name: str) -> Orders:
        """Return the orders that rest there, with the lots that are left, each queue in its order."""
        gate, product = self._gates.get(name), self._product(name)
        if gate is None or product is None or gate.state != TRADING:
            return Orders.empty()
        return live.resting(gate, product)

    @singledispatchmethod
    def _handle(self, event: Any) -> list[ev.Effect]:
        raise TypeError(f"the engine does not know the event {type(event).__name__}")

    @_handle.register
    def _(self, event: ev.MembersJoined) -> list[ev.Effect]:
        return self._set_active(event.participants, True)

    @_handle.register
    def _(self, event: ev.MembersLeft) -> list[ev.Effect]:
        return self._set_active(event.participants, False)

    def _set_active(self, participants: tuple[int, ...], active: bool) -> list[ev.Effect]:
        who = np.array(participants, np.int64)
        known = (who >= FIRST_MEMBER) & (who < self.accounts)
        self._active[who[known]] = active
        return rejections(np.where(known, 0, Reject.UNKNOWN_MEMBER))

    @_handle.register
    def _(self, event: ev.TariffPublished) -> list[ev.Effect]:
        new = Tariff(event.first, event.retail, event.feed_in)
        old = self._tariff
        if old is not None:
            kept = event.first - old.first
            if not 0 <= kept <= old.retail.size or not self._open_from(event.first):
                return rejections(np.array([Reject.WRONG_INTERVAL]))
            new = Tariff(
                old.first,
                np.concatenate((old.retail[:kept], new.retail)),
                np.concatenate((old.feed_in[:kept], new.feed_in)),
            )
        self._tariff, self._net_tariff = new, net_tariff(new, self.rules.charges)
        self._price_max = int(max(np.abs(new.retail).max(initial=0), np.abs(new.feed_in).max(initial=0)))
        return []

    @_handle.register
    def _(self, event: ev.GateOpened) -> list[ev.Effect]:
        product = self._product(event.product)
        if product is None or product.metered:
            return rejections(np.array([Reject.UNKNOWN_PRODUCT]))
        if event.product in self._gates:
            return rejections(np.array([Reject.WRONG_STATE]))
        if not 0 <= event.first < event.stop or not self._open_from(event.first):
            return rejections(np.array([Reject.WRONG_INTERVAL]))
        number = self._gate_count.get(event.product, 0)
        self._gate_count[event.product] = number + 1
        self._gates[event.product] = Gate(number, event.first, event.stop, TRADING if product.continuous else OPEN)
        return [ev.Called(Call(event.product, event.first, event.stop))]

    @_handle.register
    def _(self, event: ev.OrdersSubmitted) -> list[ev.Effect]:
        gate, product = self._gates.get(event.product), self._product(event.product)
        if gate is None or product is None:
            code = Reject.UNKNOWN_PRODUCT if product is None else Reject.GATE_CLOSED
            return rejections(np.full(len(event.orders), code))
        codes = admit(event.orders, product, gate, self._active, self.rules.zones)
        good = codes == 0
        taken = event.orders if good.all() else event.orders.take(good)
        ids = np.arange(self.next_order, self.next_order + len(taken), dtype=np.int64)
        self.next_order += len(taken)
        if gate.state == TRADING:
            step = live.arrive(gate, product, taken.replace(id=ids), self._context(product, gate.number))
            codes[good], ids = step.codes, ids[step.codes == 0]
            return [ev.Accepted(event.product, ids), *happened(gate, product, step), *rejections(codes)]
        gate.parts.append(taken.replace(id=ids))
        return [ev.Accepted(event.product, ids), *rejections(codes)]

    @_handle.register
    def _(self, event: ev.OrdersCancelled) -> list[ev.Effect]:
        gate = self._gates.get(event.product)
        ids = np.array(event.ids, np.int64)
        if gate is not None and gate.state == TRADING:
            return self._change(event.product, ids, None)
        if gate is None or gate.state != OPEN:
            return rejections(np.full(ids.size, Reject.GATE_CLOSED if gate is None else Reject.WRONG_STATE))
        book = gate.book()
        known = np.isin(ids, book.id)
        gate.parts = [book.take(~np.isin(book.id, ids))]
        return rejections(np.where(known, 0, Reject.UNKNOWN_ORDER))

    @_handle.register
    def _(self, event: ev.OrdersAmended) -> list[ev.Effect]:
        wanted = np.array(event.quantity, np.int64), np.array(event.limit, np.int64)
        return self._change(event.product, np.array(event.ids, np.int64), wanted)

    def _change(self, name: str, ids: I64, wanted: tuple[I64, I64] | None) -> list[ev.Effect]:
        """Change orders that rest in a gate which trades on arrival."""
        gate, product = self._gates.get(name), self._product(name)
        if gate is None or product is None or gate.state != TRADING:
            return rejections(np.full(ids.size, Reject.GATE_CLOSED if gate is None else Reject.WRONG_STATE))
        context = self._context(product, gate.number)
        step = live.change(gate, product, ids, wanted, context, self._active, self.rules.zones)
        return [*happened(gate, product, step), *rejections(step.codes)]

    @_handle.register
    def _(self, event: ev.GateClosed) -> list[ev.Effect]:
        gate, product = self._gates.get(event.product), self._product(event.product)
        if gate is None or product is None:
            return rejections(np.array([Reject.GATE_CLOSED]))
        book = gate.book()
        if gate.state == TRADING:
            whole, step = live.close(gate, product)
            self._end(gate, product, book, whole)
            return [*dropped(product.name, step), cleared(product.name, gate.first, gate.stop, step.clearing)]
        gate.memory, answer = product.mechanism.step(gate.memory, book, self._context(product, gate.number))
        if not isinstance(answer, Clearing):
            gate.state, gate.round = ASKING, gate.round + 1
            ensure(gate.round <= product.rounds_max, f"{product.name} still asks after {product.rounds_max} rounds")
            gate.parts = []
            return [ev.Asked(product.name, gate.round, answer.quotes)]
        self._end(gate, product, book, answer)
        return [cleared(product.name, gate.first, gate.stop, answer)]

    def _end(self, gate: Gate, product: Product, book: Orders, clearing: Clearing) -> None:
        """Forget a gate; its orders and trades wait for the delivery of their intervals."""
        del self._gates[product.name]
        if len(book):
            self._ordered.append(book)
        self._delivering.append(clearing)

    @_handle.register
    def _(self, event: ev.ReadingsReceived) -> list[ev.Effect]:
        readings = event.readings
        who = readings.participant
        # What the utility might pay or be paid must fit into 64 bits, with room for the sums of an account.
        lots_max = CASH_ORDER_MAX // max(self._price_max, 1)
        codes = np.where((readings.energy >= -lots_max) & (readings.energy <= lots_max), 0, Reject.TOO_LARGE)
        codes[(readings.energy < -QUANTITY_MAX) | (readings.energy > QUANTITY_MAX)] = Reject.BAD_QUANTITY
        codes[(who < FIRST_MEMBER) | (who >= self.accounts)] = Reject.UNKNOWN_MEMBER
        known = codes == 0
        late = known & (readings.interval < (self.sealed_until if self.sealed_until is not None else -FOREVER))
        if not late.any():
            self._readings.append(readings if known.all() else readings.take(known))
            return rejections(codes)
        self._readings.append(readings.take(known & ~late))
        return self._correct(readings, late, codes)

    @_handle.register
    def _(self, event: ev.IntervalsEnded) -> list[ev.Effect]:
        first, stop = event.first, event.stop
        if not 0 <= first < stop or (self.sealed_until is not None and first != self.sealed_until):
            return rejections(np.array([Reject.WRONG_INTERVAL]))
        if any(gate.first < stop for gate in self._gates.values()):
            return rejections(np.array([Reject.WRONG_STATE]))
        if self._tariff is None or not self._tariff.covers(first, stop):
            return rejections(np.array([Reject.NO_TARIFF]))
        traded = [each.interval for each in self._ordered] + [each.trades.interval for each in self._delivering]
        if any((interval < first).any() for interval in traded):
            return rejections(np.array([Reject.WRONG_INTERVAL]))
        metered = Readings.concat(*self._readings)
        now = (metered.interval >= first) & (metered.interval < stop)
        mine = metered if now.all() else metered.take(now)
        energy, given = dense_energy(mine.interval, mine.participant, mine.energy, first, stop, self.accounts)
        if (given[:, self._active] == 0).any():
            return rejections(np.array([Reject.MISSING_READINGS]))
        self._readings = [] if now.all() else [metered.take(~now)]
        block = self._block(first, stop, energy)
        self.sealed_until = stop
        return self._settle(block)

    def _block(self, first: int, stop: int, energy: NDArray[np.int64]) -> Block:
        """Collect what was traded before delivery for these intervals; later intervals stay."""

        def due(tables: list[Any], empty: Any) -> tuple[Any, Any]:
            whole = type(empty).concat(empty, *tables) if tables else empty
            now = whole.interval < stop
            return (whole, empty) if now.all() else (whole.take(now), whole.take(~now))

        orders, later_orders = due(self._ordered, Orders.empty())
        trades, later_trades = due([each.trades for each in self._delivering], Trades.empty())
        prices, later_prices = due([each.prices for each in self._delivering], Prices.empty())
        transfers, later_transfers = due([each.transfers for each in self._delivering], Transfers.empty())
        self._ordered = [later_orders] if len(later_orders) else []
        later = Clearing(later_trades, later_prices, transfers=later_transfers)
        self._delivering = [later] if len(later_trades) or len(later_prices) or len(later_transfers) else []
        return Block(first, stop, energy, orders, trades, prices, transfers)

    def _settle(self, block: Block) -> list[ev.Effect]:
        settlement = self._settlement(block)
        cost, lines = self._book(settlement.postings, block.first, block.stop)
        self._check(block, lines)
        seals = chain(self.head, leaves(block, settlement, cost, self._known_tariff()))
        self.head = seals[-1]
        if self.rules.correctable > 0:
            self._blocks.append(block)
            oldest = block.stop - self.rules.correctable
            self._blocks = [kept for kept in self._blocks if kept.stop > oldest]
        found: list[ev.Effect] = [
            cleared(name, block.first, block.stop, clearing) for name, clearing in settlement.clearings
        ]
        found.append(settled(block, settlement, settlement.postings, lines, 0))
        found.append(ev.Sealed(np.arange(block.first, block.stop), b"".join(seals), 0))
        return found

    def _settlement(self, block: Block) -> Settlement:
        metered = [product for product in self.rules.products if product.metered]
        context = self._context(metered[0], block.first) if metered else Context()
        return settle_block(block, self.rules.products, self._known_tariff(), self.rules.charges, context)

    def _known_tariff(self) -> Tariff:
        if self._tariff is None:
            raise InvariantError("a block is settled before a tariff is known")
        return self._tariff

    def _book(self, postings: Postings, first: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        lines = np.zeros((1, BOOKS, CODES, self.accounts), np.int64)
        cost = tally(postings, first, np.zeros(stop - first, np.int64), lines, self.accounts)
        changed: NDArray[np.int64] = lines[0].sum(axis=1)
        ensure(not changed.sum(axis=1).any(), "a book does not sum to zero")
        self.balance += changed
        return cost, lines[0]

    def _check(self, block: Block, lines: NDArray[np.int64]) -> None:
        # What each account received in the energy book must be what its meter says.
        members = slice(FIRST_MEMBER, None)
        same = (lines[ENERGY].sum(axis=0)[members] == block.energy.sum(axis=0)[members]).all()
        ensure(same, "booked and metered energy differ")

    def _correct(self, readings: Readings, late: NDArray[np.bool_], codes: NDArray[np.int64]) -> list[ev.Effect]:
        """Settle touched blocks again with the new readings and book the differences."""
        found: list[ev.Effect] = []
        reached = np.zeros(len(readings), bool)
        # Counted in intervals and not in blocks, so that it does not matter in which portions a market was settled.
        in_window = late & (readings.interval >= (self.sealed_until or 0) - self.rules.correctable)
        for number, block in enumerate(self._blocks):
            mine = in_window & (readings.interval >= block.first) & (readings.interval < block.stop)
            reached |= mine
            if not mine.any():
                continue
            energy = block.energy.copy()
            energy[readings.interval[mine] - block.first, readings.participant[mine]] = readings.energy[mine]
            times = np.flatnonzero((energy != block.energy).any(axis=1))
            if times.size == 0:
                continue
            new = Block(block.first, block.stop, energy, block.orders, block.trades, block.prices, block.transfers)
            self._blocks[number] = new
            found.extend(self._correct_block(block, new, times + block.first))
        codes[late & ~reached] = Reject.TOO_LATE
        return [*found, *rejections(codes)]

    def _correct_block(self, old: Block, new: Block, times: I64) -> list[ev.Effect]:
        self._revision += 1
        if all(product.separable for product in self.rules.products):
            spans = [(int(time), int(time) + 1) for time in times]
        else:
            spans = [(old.first, old.stop)]
        found: list[ev.Effect] = []
        for first, stop in spans:
            before, after = self._settlement(old.part(first, stop)), self._settlement(new.part(first, stop))
            postings = difference(before.postings, after.postings, self.accounts)
            _, lines = self._book(postings, first, stop)
            sums = np.zeros((1, BOOKS, CODES, self.accounts), np.int64)
            cost = tally(after.postings, first, np.zeros(stop - first, np.int64), sums, self.accounts)
            seals = chain(self.head, leaves(new.part(first, stop), after, cost, self._known_tariff()))
            self.head = seals[-1]
            found.append(settled(new.part(first, stop), after, postings, lines, self._revision))
            found.append(ev.Sealed(np.arange(first, stop), b"".join(seals), self._revision))
        return found

    def _open_from(self, interval: int) -> bool:
        return self.sealed_until is None or interval >= self.sealed_until

    def _product(self, name: str) -> Product | None:
        return next((product for product in self.rules.products if product.name == name), None)

    def _context(self, product: Product, number: int) -> Context:
        known = Context(self._net_tariff, profiles=self.rules.profiles, preferences=self.rules.preferences)
        if product.continuous:
            return known  # no chance: a batch must lead where single orders would
        # A stream of chance of its own for each product and gate: another product never shifts it.
        place = self.rules.products.index(product)
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.rules.seed, place, number % (1 << 32)])))
        return replace(known, rng=rng)


Handler = Callable[[ev.Event], list[ev.Effect]]
"""How the shell calls an engine; a recorder or a remote engine has the same form."""
