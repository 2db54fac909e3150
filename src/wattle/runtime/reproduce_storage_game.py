"""Batteries and generators at home against a price that rises with everybody's load (Atzeni et al. 2013)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattle.agents.cohort import FixedLimits, View
from wattle.agents.storage_game import Devices, StorageGameMembers, safe_inertia
from wattle.assets.storage import Fleet
from wattle.core.checks import ensure
from wattle.core.tables import ANY_PRICE, FIRST_MEMBER
from wattle.engine.engine import Engine, Rules
from wattle.engine.events import Cleared, MembersJoined
from wattle.engine.gate import Product
from wattle.market.mechanism import GATE
from wattle.market.storage_game import StorageGame
from wattle.runtime.reproduce import Row, reproduction
from wattle.runtime.rounds import run_rounds

SLOTS, DAY_FIRST = 24, 8
TICKS_PER_POUND = 10_000_000  # a tick is 1e-7 pounds per kWh, a lot 1 Wh
PRICE_BEFORE = 0.1412
"""Mean price in pounds per kWh before anybody moves any load."""

PRODUCTION_COST, PRODUCTION_W, PRODUCTION_SHARE = 0.039, 400.0, 0.8
"""Pounds per kWh, largest power, and the part of it that a day's energy may come to."""

ROOM_WH, RATE_SHARE, START_SHARE, INTO, OUT, KEPT_A_DAY = 4000.0, 0.125, 0.25, 0.9, 1.1, 0.9
"""A battery: room, stored energy per hour in parts of it, content at midnight, efficiencies, and leakage in a day."""

F64 = NDArray[np.float64]
KINDS = ("storage", "generation", "both")


@dataclass(frozen=True, eq=False)
class _Day:
    """Loads before and after [24], cost before and after [N] in cash, the kind of each active user, and the report."""

    load: tuple[F64, F64]
    cost: tuple[F64, F64]
    kind: NDArray[np.int64]
    report: dict[str, float]

    def peak(self, after: int) -> float:
        """Return the peak-to-average ratio."""
        return float(self.load[after].max() / self.load[after].mean())

    def saved(self, who: NDArray[np.bool_]) -> float:
        """Return by which part the cost of these users falls, all together."""
        return float(1 - self.cost[1][who].sum() / self.cost[0][who].sum())


@reproduction(
    "atzeni-2013",
    source="Atzeni, Ordonez, Scutari, Palomar and Fonollosa 2013, IEEE Transactions on Smart Grid 4(2), 866-876",
)
def atzeni(seed: int = 1) -> list[Row]:
    """Users with batteries and generators level the load of all, and those who do nothing pay less too.

    1,000 users for 24 hours, 180 of them active: a third with a battery, a third with a generator, a third with
    both. Only the abstract of the paper was at hand, not its tables; where its column says so, the bar is our own,
    and what the abstract names is an aim without a number. Parameters, numbers of users included, are cited from
    memory: mean price 0.1412 pounds per kWh, K by day (8 to 24 h) 1.5 times that by night, production at 0.039
    pounds per kWh, 400 W and at most 0.8 of 24 hours of that, batteries of 4 kWh that store an eighth of it in an
    hour, begin and end the day a quarter full, with charging efficiency 0.9, 1.1 stored for each kWh taken out, and
    a tenth leaking away in a day. Its demand curves are not published: ours are drawn, 8 to 16 kWh a day, higher by
    day with a peak in the evening. All data go through the engine as orders in whole Wh. The rule ends when prices
    rest within 1e-4; the inertia is 3 K for each active user, with which answers at the same time are a
    contraction.
    """
    day, all_active = _played(1000, 180, seed), _played(1000, 1000, seed)
    passive = np.arange(1000) >= day.kind.size
    rows = [
        Row(
            "peak-to-average ratio",
            "not at hand",
            f"{day.peak(0):.3f} to {day.peak(1):.3f}",
            "falls by a tenth",
            day.peak(1) <= 0.9 * day.peak(0),
        )
    ]
    for number, name in enumerate(KINDS):
        mine = np.zeros(1000, bool)
        mine[: day.kind.size] = day.kind == number
        saved = day.saved(mine)
        rows.append(
            Row(f"expense of users with {name}", "lower", f"-{100 * saved:.1f} %", "at least a tenth", saved >= 0.1)
        )
    saved = day.saved(passive)
    rows.append(Row("expense of passive users", "not at hand", f"-{100 * saved:.1f} %", "falls", saved > 0))
    active = day.saved(~passive)
    own = f"-{100 * active:.1f} % to -{100 * saved:.1f} %"
    rows.append(Row("active to passive users", "not at hand", own, "active gain more", active > saved))
    rounds = int(day.report["rounds"])
    rows.append(Row("rounds until prices rest", "not at hand", str(rounds), "at most 100", rounds <= 100))
    peak = all_active.peak(1)
    rows.append(
        Row("peak-to-average ratio, all active", "not at hand", f"{peak:.3f}", "below the first", peak < day.peak(1))
    )
    return rows


def _played(users: int, active: int, seed: int) -> _Day:
    """Play one day through the engine; the first `active` users have devices, in turn of each kind."""
    need = _drawn_need(users, seed)
    hour = np.arange(SLOTS)
    by_day = np.where(hour >= DAY_FIRST, 1.5, 1.0)
    load = need.sum(axis=1).astype(np.float64)
    ticks = PRICE_BEFORE * TICKS_PER_POUND * load.sum() / (by_day * load * load).sum()
    rule = StorageGame(ticks, 1.5, DAY_FIRST, SLOTS, SLOTS)
    grid = rule.grid(hour)
    kind = np.arange(active) % 3
    who = np.arange(FIRST_MEMBER, FIRST_MEMBER + users, dtype=np.int32)
    players = StorageGameMembers(
        who[:active], *_devices(kind), grid, safe_inertia(grid, active), rule.inner, rule.tolerance
    )
    rest = users - active
    crowd = FixedLimits(who[active:], np.full(rest, ANY_PRICE), np.full(rest, -ANY_PRICE))
    engine = Engine(Rules((Product("day ahead", rule, GATE, separable=False),)), members=users)
    engine.handle(MembersJoined(0, tuple(who.tolist())))
    views = [View(need[:, :active]), View(need[:, active:])]
    cleared = run_rounds(engine, "day ahead", 0, SLOTS, [players, crowd], views)[-1]
    ensure(isinstance(cleared, Cleared), "the gate did not clear")
    assert isinstance(cleared, Cleared)
    net, paid = _net_and_paid(cleared, users)
    made = players.plan("day ahead")[0].sum(axis=0)
    paid[:active] += made * PRODUCTION_COST * TICKS_PER_POUND
    before = ((grid * load)[:, None] * need).sum(axis=0)
    return _Day((load, net.sum(axis=1)), (before, paid), kind, dict(cleared.report))


def _drawn_need(users: int, seed: int) -> NDArray[np.int64]:
    """Draw what users need in Wh [24, users]: 8 to 16 kWh a day, more by day, most in the evening."""
    rng = np.random.default_rng(seed)
    hour = np.arange(SLOTS)
    shape = np.where(hour >= DAY_FIRST, 1.0, 0.5)
    shape = shape * (1 + 0.5 * np.exp(-(((hour - 20) / 2.5) ** 2)) + 0.25 * np.exp(-(((hour - 13) / 2) ** 2)))
    weight = shape[:, None] * rng.uniform(0.5, 1.5, (SLOTS, users))
    need: NDArray[np.int64] = np.rint(rng.uniform(8000, 16000, users) * weight / weight.sum(axis=0)).astype(np.int64)
    return need


def _devices(kind: NDArray[np.int64]) -> tuple[Fleet, Devices]:
    """Return batteries and generators; the paper bounds the rate at which a battery fills, not at which it empties."""
    one = np.ones(kind.size)
    room = np.where(kind != 1, ROOM_WH, 0.0)
    power = np.where(kind != 0, PRODUCTION_W, 0.0)
    fleet = Fleet(room, RATE_SHARE * room / INTO, room / OUT, INTO * one, one / OUT)
    cost = PRODUCTION_COST * TICKS_PER_POUND * one
    keeps = KEPT_A_DAY ** (1 / SLOTS) * one
    return fleet, Devices(keeps, START_SHARE * one, 0 * one, power, PRODUCTION_SHARE * SLOTS * power, cost, 0 * one)


def _net_and_paid(cleared: Cleared, users: int) -> tuple[F64, F64]:
    """Return net loads [24, users] in lots and what each user pays [users] in cash."""
    trades = cleared.trades
    net, paid = np.zeros((SLOTS, users)), np.zeros(users)
    for sign, who, price in ((1, trades.buyer, trades.buy_price), (-1, trades.seller, trades.sell_price)):
        mine = who >= FIRST_MEMBER
        place, lots = who[mine] - FIRST_MEMBER, sign * trades.quantity[mine].astype(np.float64)
        np.add.at(net, (trades.interval[mine], place), lots)
        np.add.at(paid, place, lots * price[mine])
    return net, paid
