"""Every kernel in the tree: machine code and its plain twin agree on what they return and what they write.

Calls are recorded while real work is done, so the inputs are of the kind that a kernel is made for. A new kernel that
no work here reaches makes the test fail; add the work.
"""

import importlib
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest

import wattle
from wattle.agents.cohort import FixedLimits, View
from wattle.agents.quadratic import QuadraticMembers
from wattle.agents.storage_game import Devices, StorageGameMembers
from wattle.assets.storage import Fleet
from wattle.core.compiled import Kernel, kernel
from wattle.core.messages import Call
from wattle.core.tables import FIRST_MEMBER, Quotes, Readings
from wattle.engine.engine import Engine, Rules
from wattle.engine.events import (
    GateClosed,
    GateOpened,
    IntervalsEnded,
    MembersJoined,
    OrdersSubmitted,
    ReadingsReceived,
    TariffPublished,
)
from wattle.engine.gate import Product
from wattle.market.auction_double import PayAsBidAuction
from wattle.market.generalised_nash import GeneralisedNash
from wattle.market.keys import GiftKey
from wattle.market.mechanism import GATE, MECHANISMS, METERED
from wattle.market.negotiation import Curves, solve_bilateral
from wattle.runtime.collect import Collector
from wattle.runtime.prosumer_day import Day, respond
from wattle.runtime.prosumer_day import Devices as Units
from wattle.scenario.plugins import load_mechanisms
from wattle.testing.generators import part
from wattle.testing.trial import Trial

CALLS_MAX = 60
CELLS_MAX = 4000  # plain Python is slow


def name_of(found):
    return f"{found.plain.__module__.removeprefix('wattle.')}.{found.plain.__name__}"


def kernels():
    found = {}
    top = Path(wattle.__file__).parent
    for path in sorted(top.rglob("*.py")):
        if "@kernel(" not in path.read_text(encoding="utf-8"):
            continue
        module = importlib.import_module(".".join(("wattle", *path.relative_to(top).with_suffix("").parts)))
        found.update((name_of(value), value) for value in vars(module).values() if isinstance(value, Kernel))
    return found


def inner(found):
    """A kernel and all kernels that it calls."""
    reached = {name_of(found)}
    for name in found.plain.__code__.co_names:
        value = found.plain.__globals__.get(name)
        if isinstance(value, Kernel):
            reached |= inner(value)
    return reached


def copied(arguments):
    return [value.copy() if isinstance(value, np.ndarray) else value for value in arguments]


def work():
    """Clear books by every rule, and run a small market."""
    load_mechanisms()
    for case in part(3, 42):
        for entry in MECHANISMS:
            _ = Trial(entry.build(), case).outcome
        gift = GiftKey(gift_to={FIRST_MEMBER: 2, FIRST_MEMBER + 1: 1})
        _ = Trial(gift, case).outcome
    products = (Product("ahead", PayAsBidAuction(), GATE), Product("pool", GiftKey(), METERED))
    engine = Engine(Rules(products, seed=1), members=4)
    collector = Collector(np.array([0, 0, 1], np.int64), engine.accounts)
    members = tuple(range(FIRST_MEMBER, FIRST_MEMBER + 4))
    book = part(5, 1, ["random"])[0].orders
    energy = np.array([5, -3, 0, -9] * 3, np.int64)
    readings = Readings(np.repeat(np.arange(3), 4).astype(np.int32), np.tile(members, 3), energy)
    for event in (
        MembersJoined(0, members),
        TariffPublished(0, 0, np.array([300]), np.array([60])),
        GateOpened(0, "ahead", 0, 3),
        OrdersSubmitted(0, "ahead", book),
        GateClosed(0, "ahead"),
        ReadingsReceived(0, readings),
        IntervalsEnded(0, 0, 3),
    ):
        collector.take(engine.handle(event))
    negotiation()
    answers()
    days()
    relaxed()
    homes_plan_a_day()


def answers():
    """Let members answer quotes, at fixed limits and by curves."""
    who, limits = np.arange(8, 12, dtype=np.int32), np.array([250, 200, 150, 100])
    pairs = np.array([[0, 8, 10], [0, 9, 10], [1, 8, 11], [1, -1, 10]]).T
    quotes = Quotes(pairs[0], np.zeros(4, np.int32), pairs[1], pairs[2], np.array([180, 190, 220, 170]))
    view = View(np.array([[30, 20, -25, -10], [12, 0, -5, -40]]))
    call = Call("p", 0, 2, 1, quotes)
    FixedLimits(who, limits, limits).respond(call, view)
    QuadraticMembers(who, limits / 50, limits * 1.0, limits * 1.0, 2.0).respond(call, view)


def days():
    """Let members with and without devices plan two days against a price."""
    one = np.ones(4)
    room = np.array([4000.0, 0.0, 4000.0, 0.0])
    make = np.array([0.0, 400.0, 400.0, 0.0])
    members = StorageGameMembers(
        np.arange(8, 12, dtype=np.int32),
        Fleet(room, room / 8, room / 2, 0.9 * one, 0.9 * one),
        Devices(0.99 * one, one / 4, one / 50, make, 3 * make, 4000 * one, one),
        np.array([1.0, 1.5]),
        20.0,
    )
    view = View(np.array([[500, 400, 600, 300]] * 3 + [[900, 700, 800, 1000]] * 3))
    members.respond(Call("day", 0, 6), view)
    for number, price in enumerate((np.arange(6) * 1000, np.arange(6) * 900 + 500)):
        nobody = np.full(6, -1, np.int32)
        quotes = Quotes(np.arange(6), np.zeros(6, int), nobody, nobody, price)
        members.respond(Call("day", 0, 6, number + 1, quotes), view)


def homes_plan_a_day():
    """Let a home with a battery and a load that may wait answer prices."""
    whole = {"home": [0, 0], "levels": [4, 3], "down": [2, 0], "up": [2, 1], "first": [2, 0], "last": [2, 3]}
    parts = {"level_wh": [100.0, 50.0], "per_in": [1.1, 1.0], "per_out": [0.9, 1.0]}
    units = Units(**{name: np.array(value) for name, value in {**whole, **parts}.items()})
    content = np.array([[200.0] * 9, [0, 50, 100, 150, 150, 150, 150, 150, 150]])
    habit = np.array([[0.0] * 8, [50.0] * 3 + [0.0] * 5])
    day = Day(np.array([[300.0, 200, -400, -500, -100, 200, 600, 500]]), units, habit, content)
    buy = np.linspace(20, 40, 8)
    for together in (False, True):
        respond(day.copy(), buy, buy - 15, 0.5, 0.5, together=together)


def relaxed():
    """Solve a game by the relaxation algorithm."""
    case = part(3, 1, ["random"])[0]
    _ = Trial(GeneralisedNash(method="relaxation"), case).outcome


def negotiation():
    """Let four buyers and five sellers agree, with some messages lost."""
    rng = np.random.default_rng(4)
    worth = Curves(rng.uniform(0.02, 0.1, 4), rng.uniform(10, 30, 4), rng.uniform(50, 400, 4))
    cost = Curves(rng.uniform(0.02, 0.1, 5), rng.uniform(1, 9, 5), rng.uniform(50, 400, 5))
    edges = np.repeat(np.arange(4), 5), np.tile(np.arange(5), 4)
    solve_bilateral(worth, cost, *edges, np.full(20, 1.0), np.full(20, 1.0), lost_per_mille=100)


@pytest.fixture(scope="module")
def recorded():
    """Arguments of the calls of each kernel: the first ones, and every one in a while."""
    calls, count = {}, {}
    plain_call = Kernel.__call__

    def call(self, *arguments):
        name = name_of(self)
        seen = count[name] = count.get(name, 0) + 1
        kept = calls.setdefault(name, [])
        cells = sum(value.size for value in arguments if isinstance(value, np.ndarray))
        if cells <= CELLS_MAX and len(kept) < CALLS_MAX and (seen <= 10 or seen % 7 == 0):
            kept.append(copied(arguments))
        return plain_call(self, *arguments)

    Kernel.__call__ = call
    try:
        work()
    finally:
        Kernel.__call__ = plain_call
    return calls


KERNELS = kernels()


def test_all_kernels_are_reached(recorded):
    reached = set().union(*(inner(KERNELS[name]) for name in recorded))
    assert set(KERNELS) - reached == set()
    assert len(KERNELS) >= 20


def same(left, right):
    """Tell whether two results, numbers, arrays or tuples of them, are equal."""
    if isinstance(left, tuple):
        return len(left) == len(right) and all(same(*pair) for pair in zip(left, right, strict=True))
    return np.array_equal(left, right)


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_machine_code_and_plain_twin_agree(name, recorded):
    fast, plain = KERNELS[name].compiled(), KERNELS[name].twin()
    assert isinstance(plain, FunctionType)
    for arguments in recorded.get(name, []):
        mine, theirs = copied(arguments), copied(arguments)
        # Array elements wrap around as they do in machine code; whole numbers of Python would not.
        theirs = [np.int64(value) if type(value) is int else value for value in theirs]
        with np.errstate(over="ignore"):
            assert same(fast(*mine), plain(*theirs))
        for left, right in zip(mine, theirs, strict=True):
            assert np.array_equal(left, right)


def test_a_change_of_an_inner_kernel_or_constant_gives_new_machine_code():
    """Numba's cache on disk looks at the outer file only; the fingerprint in the name looks further."""

    def made(body, constant=1):
        space = {"kernel": kernel, "CONSTANT": constant}
        source = (
            f"@kernel('i')\ndef inner(x):\n    return {body}\n@kernel('i')\ndef outer(x):\n    return inner(x) * 10\n"
        )
        exec(source, space)
        return space["outer"]

    before = made("x + CONSTANT")
    assert made("x + CONSTANT").fingerprint() == before.fingerprint()
    others = [made("x - CONSTANT"), made("x + CONSTANT", 2), made("x + 1"), made("x + 2")]
    assert len({before.fingerprint(), *(other.fingerprint() for other in others)}) == 5
