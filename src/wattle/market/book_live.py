"""The order book one message at a time, in plain Python: for experiments, and as a check of what the engine does.

It keeps the rules of `book_rules` by other means than `book_batch`: queues in dictionaries by price, and a heap of
prices on each side. The two are tested against each other message by message.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from heapq import heappop, heappush

from wattle.core.tables import ANY_PRICE
from wattle.core.units import PRICE_MAX, QUANTITY_MAX
from wattle.market.book_rules import (
    ADD,
    AMEND,
    CANCEL,
    CANCEL_INCOMING,
    CANCEL_RESTING,
    FILL_OR_KILL,
    GOOD_UNTIL_GATE,
    Code,
    Matches,
    Messages,
    Outcomes,
)

Answer = tuple[int, int, int, int]
"""Code, lots traded, lots that rest, lots dropped; the columns of `Outcomes`."""

Match = tuple[int, int, int, int]
"""Id of the resting order, lots, price, 1 for a trade or 0 for an order taken out."""

_Order = list[int]
_LEFT, _OWNER, _SIDE, _KEY, _ID = range(5)
_DONE, _EXPIRED, _SELF_TRADE = int(Code.DONE), int(Code.EXPIRED), int(Code.SELF_TRADE)


class _Side:
    """The resting orders of one side. A key is a price, negative for bids, so that the lowest key is always the best.

    The heap may name levels that are empty by now; they are dropped when they come up. Each is named once at most.
    """

    __slots__ = ("heap", "levels", "listed")

    def __init__(self) -> None:
        self.heap: list[int] = []
        self.listed: set[int] = set()
        self.levels: dict[int, OrderedDict[int, _Order]] = {}

    def append(self, key: int, order_id: int, order: _Order) -> None:
        queue = self.levels.get(key)
        if queue is None:
            queue = self.levels[key] = OrderedDict()
            if key not in self.listed:
                self.listed.add(key)
                heappush(self.heap, key)
        queue[order_id] = order

    def remove(self, key: int, order_id: int) -> None:
        queue = self.levels[key]
        del queue[order_id]
        if not queue:
            del self.levels[key]

    def best(self) -> int | None:
        heap, levels = self.heap, self.levels
        while heap:
            if heap[0] in levels:
                return heap[0]
            self.listed.discard(heappop(heap))
        return None


class LiveBook:
    """The book of one zone and interval while orders arrive.

    >>> book = LiveBook()
    >>> book.add(1, participant=8, side=-1, quantity=10, limit=120)
    (0, 0, 10, 0)
    >>> book.add(2, participant=9, side=1, quantity=4, limit=150)
    (0, 4, 0, 0)
    >>> book.matches
    [(1, 4, 120, 1)]
    """

    def __init__(self, self_trade: int = CANCEL_INCOMING) -> None:
        self.matches: list[Match] = []
        """Whom the last message met, in order."""
        self._self_trade = self_trade
        self._orders: dict[int, _Order] = {}
        self._bids, self._asks = _Side(), _Side()

    @property
    def best_bid(self) -> int | None:
        """The dearest price that somebody would pay."""
        key = self._bids.best()
        return None if key is None else -key

    @property
    def best_ask(self) -> int | None:
        """The cheapest price that somebody would take."""
        return self._asks.best()

    def __len__(self) -> int:
        return len(self._orders)

    def handle(
        self, kind: int, order_id: int, participant: int, side: int, quantity: int, limit: int, flags: int
    ) -> Answer:
        """Answer one message; the arguments are the columns of `Messages`."""
        if kind == ADD:
            return self.add(order_id, participant, side, quantity, limit, flags)
        if kind == CANCEL:
            return self.cancel(order_id, participant)
        if kind == AMEND:
            return self.amend(order_id, participant, quantity, limit)
        self.matches = []
        return int(Code.BAD_MESSAGE), 0, 0, max(quantity, 0)

    def add(
        self, order_id: int, participant: int, side: int, quantity: int, limit: int, flags: int = GOOD_UNTIL_GATE
    ) -> Answer:
        """Place an order."""
        self.matches = []
        taker = limit == side * ANY_PRICE
        possible = (side == 1 or side == -1) and 0 < quantity <= QUANTITY_MAX and 0 <= flags <= FILL_OR_KILL
        if not possible or not (taker or -PRICE_MAX <= limit <= PRICE_MAX):
            return int(Code.BAD_MESSAGE), 0, 0, max(quantity, 0)
        if order_id in self._orders:
            return int(Code.DUPLICATE), 0, 0, quantity
        if flags == FILL_OR_KILL and not self._can_fill(participant, side, quantity, limit):
            return int(Code.KILLED), 0, 0, quantity
        return self._enter(order_id, participant, side, quantity, limit, flags == GOOD_UNTIL_GATE and not taker)

    def cancel(self, order_id: int, participant: int) -> Answer:
        """Take an order out of the book."""
        self.matches = []
        order = self._orders.get(order_id)
        if order is None:
            return int(Code.UNKNOWN_ORDER), 0, 0, 0
        if order[_OWNER] != participant:
            return int(Code.NOT_YOURS), 0, 0, 0
        self._drop(order_id, order)
        return _DONE, 0, 0, order[_LEFT]

    def amend(self, order_id: int, participant: int, quantity: int, limit: int) -> Answer:
        """Let `quantity` lots of an order rest at `limit` from now on."""
        self.matches = []
        order = self._orders.get(order_id)
        if order is None:
            return int(Code.UNKNOWN_ORDER), 0, 0, max(quantity, 0)
        if order[_OWNER] != participant:
            return int(Code.NOT_YOURS), 0, 0, max(quantity, 0)
        side = order[_SIDE]
        taker = limit == side * ANY_PRICE
        if not 0 < quantity <= QUANTITY_MAX or not (taker or -PRICE_MAX <= limit <= PRICE_MAX):
            return int(Code.BAD_MESSAGE), 0, 0, max(quantity, 0)
        if order[_KEY] == -side * limit and quantity <= order[_LEFT]:
            order[_LEFT] = quantity
            return _DONE, 0, quantity, 0
        self._drop(order_id, order)
        return self._enter(order_id, participant, side, quantity, limit, not taker)

    def resting(self) -> Messages:
        """Return adds that rebuild the book: bids from the dearest on, offers from the cheapest on, by queue."""
        rows = [
            (ADD, order_id, order[_OWNER], order[_SIDE], order[_LEFT], -order[_SIDE] * key, GOOD_UNTIL_GATE)
            for half in (self._bids, self._asks)
            for key in sorted(half.levels)
            for order_id, order in half.levels[key].items()
        ]
        return Messages.from_lists(dict(zip(Messages.empty().to_lists(), map(list, _columns(rows, 7)), strict=True)))

    def _enter(self, order_id: int, participant: int, side: int, quantity: int, limit: int, rests: bool) -> Answer:
        far = self._asks if side > 0 else self._bids
        bound, left, code = side * limit, quantity, _EXPIRED
        matches, rule = self.matches, self._self_trade
        heap, levels = far.heap, far.levels
        while left:
            key = heap[0] if heap and heap[0] in levels else far.best()
            if key is None or key > bound:
                break
            queue = levels[key]
            order = next(iter(queue.values()))
            have = order[_LEFT]
            if rule and order[_OWNER] == participant:
                if rule != CANCEL_RESTING:
                    rests, code = False, _SELF_TRADE
                    break
                matches.append((order[_ID], have, side * key, 0))
            elif have > left:
                matches.append((order[_ID], left, side * key, 1))
                order[_LEFT] = have - left
                left = 0
                break
            else:
                matches.append((order[_ID], have, side * key, 1))
                left -= have
            del queue[order[_ID]], self._orders[order[_ID]]
            if not queue:
                del levels[key]
        if not left:
            return _DONE, quantity, 0, 0
        if not rests:
            return code, quantity - left, 0, left
        own = self._bids if side > 0 else self._asks
        order = self._orders[order_id] = [left, participant, side, -bound, order_id]
        own.append(-bound, order_id, order)
        return _DONE, quantity - left, left, 0

    def _can_fill(self, participant: int, side: int, quantity: int, limit: int) -> bool:
        far = self._asks if side > 0 else self._bids
        for key in sorted(far.levels):
            if key > side * limit:
                return False
            for order in far.levels[key].values():
                if not self._self_trade or order[_OWNER] != participant:
                    quantity -= order[_LEFT]
                elif self._self_trade == CANCEL_INCOMING:
                    return False
                if quantity <= 0:
                    return True
        return False

    def _drop(self, order_id: int, order: _Order) -> None:
        del self._orders[order_id]
        (self._bids if order[_SIDE] > 0 else self._asks).remove(order[_KEY], order_id)


def replay(messages: Messages, book: LiveBook) -> tuple[Outcomes, Matches]:
    """Hand messages to a book one by one and return the tables that a batch would give."""
    answers: list[Answer] = []
    met: list[tuple[int, int, int, int, int]] = []
    columns = (column.tolist() for column in messages.arrays())
    for row, message in enumerate(zip(*columns, strict=True)):
        answers.append(book.handle(*message))
        met.extend((row, *match) for match in book.matches)
    return (
        Outcomes.from_lists(dict(zip(Outcomes.empty().to_lists(), _columns(answers, 4), strict=True))),
        Matches.from_lists(dict(zip(Matches.empty().to_lists(), _columns(met, 5), strict=True))),
    )


def _columns(rows: Sequence[tuple[int, ...]], width: int) -> list[list[int]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
