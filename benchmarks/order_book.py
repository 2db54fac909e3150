"""Speed of the order book, in batches and one message at a time, on a mixed stream of adds, cancels and trades."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from wattle.core.columns import I8, I64
from wattle.core.tables import ANYONE, FIRST_MEMBER, Orders
from wattle.engine.engine import Engine, Rules
from wattle.engine.events import GateOpened, MembersJoined, OrdersSubmitted
from wattle.engine.gate import Product
from wattle.market.book_batch import match
from wattle.market.book_live import LiveBook
from wattle.market.book_rules import ADD, CANCEL, Messages
from wattle.market.mechanism import ARRIVAL
from wattle.market.order_book import OrderBook

ROW = tuple[str, str, str, str, str]


def stream(size: int, seed: int = 1) -> Messages:
    """Return messages of which 20 % cancel, 20 % are patient orders, and the rest takes what it finds."""
    chance = np.random.default_rng(seed)
    draw, row = chance.random(size), np.arange(size)
    patient = (draw < 0.2) | (row < 200)
    cancel = (draw >= 0.8) & ~patient
    # Each cancel names another patient order, some twenty places after it came; a part of them has traded by then.
    target = np.flatnonzero(patient)[np.minimum(np.cumsum(patient) - 1, np.maximum(0, np.cumsum(cancel) - 20))]
    who = chance.integers(FIRST_MEMBER, FIRST_MEMBER + 1_000, size, dtype=np.int32)
    side = np.where(chance.random(size) < 0.5, 1, -1)
    limit = 2_048 + np.where(patient, -side * chance.integers(1, 100, size), side * 400)
    lots = np.where(patient, chance.integers(1, 4_000, size), chance.integers(1, 700, size))
    return Messages(
        kind=np.where(cancel, np.int8(CANCEL), np.int8(ADD)),
        id=np.where(cancel, target, row),
        participant=np.where(cancel, who[target], who),
        side=side.astype(np.int8),
        quantity=lots,
        limit=limit,
        flags=np.where(patient, np.int8(0), np.int8(1)),
    )


def order_book(quick: bool) -> list[ROW]:
    """Batches of growing size, then the live path; CPU seconds, for the machine may be shared."""
    rows = []
    for size in (10**5, 10**6) if quick else (10**5, 10**6, 5 * 10**6):
        messages = stream(size)
        code = match(messages).outcomes
        trading = float((code.traded > 0).mean())
        gone = float(((messages.kind == CANCEL) & (code.code == 0)).mean())
        seconds = _best(lambda messages=messages: match(messages))
        ratio = seconds / _best(lambda messages=messages: np.argsort(messages.limit, kind="stable"))
        name = f"order book, batch of {size:,} ({trading:.0%} trade, {gone:.0%} cancel an order)"
        figure = f"{size / seconds / 1e6:.1f} M messages/s"
        rows.append((name, figure, f"{ratio:.2f}", "NumPy stable argsort of the limits", ">= 10 M/s"))
    size = 200_000
    messages = stream(size)
    listed = list(zip(*(column.tolist() for column in messages.arrays()), strict=True))
    seconds = _best(lambda: _one_by_one(listed))
    ratio = seconds / _best(lambda: np.argsort(messages.limit, kind="stable"))
    figure = f"{size / seconds / 1e6:.2f} M messages/s"
    name = f"order book, {size:,} messages one by one in plain Python"
    rows.append((name, figure, f"{ratio:.0f}", "NumPy stable argsort of the limits", ">= 0.3 M/s"))
    rows += [_through_the_engine(resting) for resting in (100, 1_000)]
    return rows


def _through_the_engine(resting: int, size: int = 500) -> ROW:
    """Single orders through an engine that trades on arrival, against the same orders in one event."""
    chance = np.random.default_rng(resting)

    def orders(side: I8, distance: I64) -> Orders:
        nought = np.zeros(side.size, np.int64)
        who = chance.integers(FIRST_MEMBER, FIRST_MEMBER + 1_000, side.size)
        return Orders(nought, who, nought, nought, side, nought + 5, 2_048 - side * distance, nought + ANYONE)

    waiting = orders(np.where(np.arange(resting) % 2, 1, -1), chance.integers(1, 100, resting))
    coming = orders(chance.choice(np.array([1, -1]), size), chance.integers(-20, 100, size))
    single = [OrdersSubmitted(0, "book", coming.take(slice(row, row + 1))) for row in range(size)]

    def seconds(events: list[OrdersSubmitted]) -> float:
        engine = Engine(Rules((Product("book", OrderBook(), ARRIVAL),)), 1_000)
        engine.handle(MembersJoined(0, tuple(range(FIRST_MEMBER, FIRST_MEMBER + 1_000))))
        engine.handle(GateOpened(0, "book", 0, 1))
        engine.handle(OrdersSubmitted(0, "book", waiting))
        return _best(lambda: [engine.handle(event) for event in events], 1)

    slow, quick = (
        min(seconds(single) for _ in range(3)),
        min(seconds([OrdersSubmitted(0, "book", coming)]) for _ in range(3)),
    )
    name = f"engine on arrival, {size} single orders, {resting:,} rest"
    return name, f"{slow / size * 1e3:.2f} ms an order", f"{slow / quick:.0f}", "the same orders in one event", ""


def _one_by_one(messages: list[tuple[int, ...]]) -> None:
    handle = LiveBook().handle
    for message in messages:
        handle(*message)


def _best(work: Callable[[], object], times: int = 3) -> float:
    found = []
    for _ in range(times):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


if __name__ == "__main__":
    for each in order_book(quick=False):
        print(*each, sep=" | ")
