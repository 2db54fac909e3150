"""Members with batteries and generators who plan the whole day against a price that rises with everybody's load.

The user's side of the day-ahead game of Atzeni, Ordonez, Scutari, Palomar and Fonollosa 2013, IEEE Transactions on
Smart Grid 4(2), 866-876. The grid charges K_h L_h a lot in slot h, where L_h is the load of all. A member who knows K_h
and hears the price p_h knows the others' load too: L_h less his own. He answers with the plan that is best for him
against it, plus inertia / 2 times the squared distance of all his decisions from a *centroid*. When prices have come to
rest the centroid moves to where he is now: the proximal decomposition algorithm of the paper. Only net loads leave this
file, as orders; devices, costs and centroids stay here. Members without devices are passive: they need what they need.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wattle.agents.cohort import View
from wattle.agents.storage_plan import DEVICE_COLUMNS, plan_members
from wattle.assets.storage import Fleet
from wattle.core.checks import ensure
from wattle.core.columns import F64, I32, I64, Columns
from wattle.core.messages import Call
from wattle.core.segments import cells
from wattle.core.tables import ANY_PRICE, ANYONE, Orders

Matrix = NDArray[np.float64]

WAIT_MAX = 12
"""After so many rounds the centroid moves in any case; the rule counts in the same way."""


@dataclass(frozen=True, eq=False)
class Devices(Columns):
    """What `Fleet` does not say of K batteries, and their owners' generators; all columns are [K].

    A battery begins the day with `start_share` of its room and must end within `slack_share` of that. A generator makes
    up to `power_w_max`, and in all slots of a gate together up to `energy_wh_max`; its lot costs `cost_ticks` plus
    `slope_ticks` for each lot made in the same slot (half of that on average).
    """

    keeps: F64  # share of the content that a slot leaves, above 0, at most 1: the paper's leakage rate alpha
    start_share: F64
    slack_share: F64
    power_w_max: F64
    energy_wh_max: F64
    cost_ticks: F64
    slope_ticks: F64

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(((self.keeps > 0) & (self.keeps <= 1)).all(), "keeps must be above 0 and at most 1")
        for name in ("start_share", "slack_share"):
            column = getattr(self, name)
            ensure(((column >= 0) & (column <= 1)).all(), f"{name} must lie between 0 and 1")
        for name in ("power_w_max", "energy_wh_max", "cost_ticks", "slope_ticks"):
            column = getattr(self, name)
            ensure(np.isfinite(column).all() and (column >= 0).all(), f"{name} must be finite and not negative")

    @classmethod
    def none(cls, count: int) -> Devices:
        """Return columns for members without a generator, whose batteries (if any) lose nothing and begin half full."""
        nought, one = np.zeros(count), np.ones(count)
        return cls(one, one / 2, nought, nought, nought, nought, nought)


def no_batteries(count: int) -> Fleet:
    """Return a fleet of batteries without room, for members who have none."""
    nought, one = np.zeros(count), np.ones(count)
    return Fleet(nought, nought, nought, one, one)


def device_table(fleet: Fleet, devices: Devices, hours: float, lot_wh: float) -> Matrix:
    """Return the devices of N members in lots and ticks, [N, 12], as `storage_plan` reads them.

    A battery that cannot make good in a slot what it leaks in a slot could not end the day as it began; it is refused.
    """
    ensure(len(fleet) == len(devices), f"{len(fleet)} batteries and {len(devices)} rows of devices")
    ensure(hours > 0 and lot_wh > 0, "hours and lot_wh must be above 0")
    slot, room = hours / lot_wh, fleet.energy_wh_max / lot_wh
    start = devices.start_share * room
    into = fleet.charge_efficiency
    charge = np.where(room > 0, fleet.charge_w_max * slot, 0.0)
    ensure((into * charge >= (1 - devices.keeps) * start * (1 - 1e-12)).all(), "a battery leaks faster than it charges")
    columns = (
        devices.cost_ticks,
        devices.slope_ticks,
        np.where(devices.energy_wh_max > 0, devices.power_w_max * slot, 0.0),
        devices.energy_wh_max / lot_wh,
        charge,
        np.where(room > 0, fleet.discharge_w_max * slot, 0.0),
        into,
        1 / fleet.discharge_efficiency,
        devices.keeps,
        room,
        start,
        devices.slack_share * room,
    )
    ensure(len(columns) == DEVICE_COLUMNS, "the table of devices has another width")
    return np.ascontiguousarray(np.stack(columns, axis=1))


def safe_inertia(grid: F64, users: int) -> float:
    """Return an inertia in ticks a lot with which the rounds are sure to come to rest, for so many users with devices.

    A net load is the sum of three decisions with signs, so one user's marginal costs change with another's decisions by
    at most 3 K, and his answer by 3 K / inertia. With more than 3 (users - 1) max K all answers at the same time are a
    contraction: the condition of the proximal decomposition algorithm, worked out for this game.
    """
    return 3.0 * max(1, users) * float(np.max(grid))


@dataclass
class _Known:
    """What the members keep in mind while a gate is open. Plans are [N T, 3]: production, charge, discharge."""

    plan: Matrix
    centroid: Matrix
    extra: F64
    net: NDArray[np.int64]  # [T, N] lots that were ordered last
    price: F64
    resting: F64  # prices when the centroid moved last
    waited: int = 0  # rounds since then


@dataclass
class StorageGameMembers:
    """Members who answer prices of a gate with the net load of their best plan for all its intervals at once.

    `grid` are the grid's K in ticks a lot for the intervals of a day, repeated (interval modulo their number); they are
    public, as are `inertia` (ticks a lot), `inner` and `tolerance`, which must be those of the rule. An interval has
    `hours`, a lot `lot_wh`. Members take any price: the game is what they do about it.
    """

    members: I32
    fleet: Fleet
    devices: Devices
    grid: F64
    inertia: float
    inner: float = 0.3
    tolerance: float = 1e-4
    hours: float = 1.0
    lot_wh: float = 1.0
    zone: int = 0
    _table: Matrix = field(init=False)
    _known: dict[str, _Known] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ensure(self.inertia > 0, f"inertia is {self.inertia}, expected more than 0")
        ensure(self.grid.size > 0 and (self.grid > 0).all(), "grid: expected K above 0 for each interval of a day")
        ensure(len(self.fleet) == self.members.size, f"{len(self.fleet)} batteries for {self.members.size} members")
        self._table = device_table(self.fleet, self.devices, self.hours, self.lot_wh)

    def respond(self, call: Call, view: View) -> Orders:
        """Order the need as it is when the gate opens, then the best answer to the prices of each round."""
        if call.round == 0:
            self._known[call.product] = self._idle(view)
        else:
            self._answer(call, view, self._known[call.product])
        return self._orders(call, self._known[call.product].net)

    def plan(self, product: str) -> Matrix:
        """Return what the members plan, [3, T, N] lots: production, charge and discharge at the meter."""
        known = self._known[product]
        slots = known.net.shape[0]
        return known.plan.reshape(self.members.size, slots, 3).transpose(2, 1, 0)

    def _idle(self, view: View) -> _Known:
        """Batteries that only make good their leaks, generators that stand still: a plan that anybody can keep."""
        slots = view.expected.shape[0]
        plan = np.zeros((self.members.size, slots, 3))
        plan[:, :, 1] = self._leak()[:, None]
        flat = plan.reshape(-1, 3)
        net = _net_load(plan, view)
        return _Known(flat, flat.copy(), np.zeros(self.members.size), net, np.zeros(0), np.zeros(0))

    def _leak(self) -> F64:
        table = self._table
        leak: F64 = (1 - table[:, 8]) * table[:, 10] / table[:, 6]
        return np.minimum(leak, table[:, 4])

    def _answer(self, call: Call, view: View, known: _Known) -> None:
        slots = view.expected.shape[0]
        grid = self.grid[(call.first + np.arange(slots)) % self.grid.size]
        price = np.zeros(slots)  # nobody was in an interval without a price
        mine = call.quotes.zone == self.zone
        price[call.quotes.interval[mine] - call.first] = call.quotes.price[mine]
        if known.price.size == 0:
            known.resting = price
        else:
            known.waited += 1
            floor = 2.0 * float(self.grid.max())
            if at_rest(price, known.price, known.resting, self.inner, self.tolerance, floor, known.waited):
                known.resting, known.centroid, known.waited = price, known.plan.copy(), 0
        known.price = price
        others = price[:, None] - grid[:, None] * known.net
        plan_members(
            np.ascontiguousarray(others.T), grid, np.ascontiguousarray(view.expected.T, np.float64), self._table,
            self.inertia, known.centroid, known.plan, known.extra,
        )  # fmt: skip
        known.net = _net_load(known.plan.reshape(self.members.size, slots, 3), view)

    def _orders(self, call: Call, net: NDArray[np.int64]) -> Orders:
        time, who, lots = cells(net)
        side = np.sign(lots)
        return Orders(
            id=np.zeros(who.size, np.int64),
            participant=self.members[who],
            zone=np.full(who.size, self.zone, np.int32),
            interval=time + np.int32(call.first),
            side=side.astype(np.int8),
            quantity=np.abs(lots),
            limit=side * ANY_PRICE,
            partner=np.full(who.size, ANYONE, np.int32),
        )


def at_rest(now: F64, before: F64, resting: F64, inner: float, tolerance: float, floor: float, waited: int) -> bool:
    """Tell from published prices alone whether a centroid moves: the round moved them little.

    Little is `inner` of the way since the centroid moved last, a tenth of `tolerance` of the largest price, or `floor`,
    what two lots do to a price: orders are whole lots. What has not come to rest after `WAIT_MAX` rounds never will:
    lots of many members swing to and fro with each other.
    """
    moved, away = float(np.abs(now - before).max()), float(np.abs(now - resting).max())
    return waited >= WAIT_MAX or moved <= max(inner * away, 0.1 * tolerance * float(np.abs(now).max()), floor, 1.0)


def _net_load(plan: Matrix, view: View) -> I64:
    """Return net loads in whole lots, [T, N]; running totals are rounded, so that a day is right to half a lot."""
    total = np.rint(np.cumsum((plan[:, :, 1] - plan[:, :, 2] - plan[:, :, 0]).T, axis=0)).astype(np.int64)
    net: I64 = view.expected + np.diff(total, axis=0, prepend=np.zeros((1, total.shape[1]), np.int64))
    return net
