"""A made-up village with a made-up year: a `Comparison` whose books close exactly, for tests of pages and indices.

The arithmetic of the rules is plausible, not that of the real mechanisms.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from wattle.analysis.metrics import indices
from wattle.core.timegrid import TimeGrid
from wattle.core.units import Units
from wattle.runtime.results import BILL_LINES, Comparison, RuleResult

Ints = NDArray[np.int64]
ZONE = ZoneInfo("Europe/Berlin")
UNITS = Units.parse("1", "0.0001")
ENERGY, NETWORK, LEVY, FEED_IN = 1900, 850, 450, 800  # ticks of 0.01 ct/kWh
RETAIL = ENERGY + NETWORK + LEVY
STREETS = ("Mill Lane", "Church Road", "Orchard Way", "High Street", "The Green", "Station Road")


def village(homes: int = 24, days: int = 14, seed: int = 7, first: str = "2016-06-20") -> Comparison:
    """Return a village of `homes` members over `days` local days from `first`."""
    rng = np.random.default_rng(seed)
    begin = datetime.fromisoformat(first).replace(tzinfo=ZONE)
    start_s = int(begin.timestamp())
    stop_s = int((begin + timedelta(days=days)).timestamp())
    grid = TimeGrid(start_s, 900, (stop_s - start_s) // 900)
    load, sun, kinds, size = _profiles(grid, homes, rng)
    net = load - sun
    draw, give = np.maximum(net, 0), np.maximum(-net, 0)
    limits = {
        "buy": rng.integers(FEED_IN, RETAIL, homes).astype(np.int64),
        "sell": rng.integers(FEED_IN, RETAIL, homes).astype(np.int64),
    }
    months = _months(grid)
    shares = _splits(draw, give, limits, rng)
    rules = tuple(
        _settle(name, text, *shares[name], draw=draw, give=give, months=months) for name, text in SUMMARIES.items()
    )
    comparison = Comparison(
        title="Sample village",
        grid=grid,
        timezone="Europe/Berlin",
        units=UNITS,
        members=tuple(f"{STREETS[i % len(STREETS)]} {i // len(STREETS) + 1}" for i in range(homes)),
        kinds=kinds,
        facts={"sun": tuple((size > 0).tolist()), "battery": tuple((size > 8).tolist())},
        demand=load.sum(axis=0),
        generation=sun.sum(axis=0),
        load=load.sum(axis=1),
        sun=sun.sum(axis=1),
        retail=np.full(grid.count, RETAIL, np.int64),
        feed_in=np.full(grid.count, FEED_IN, np.int64),
        rules=rules,
        limits=limits,
        notes=NOTES,
        run_name="village-sample",
    )
    return replace(comparison, rules=tuple(replace(rule, indices=indices(comparison, rule)) for rule in rules))


SUMMARIES = {
    "no community": ("", "Everyone alone at the tariff."),
    "fixed key": ("fixed-key", "Each member has a fixed share of the surplus of every quarter-hour."),
    "dynamic key": ("dynamic-key", "The surplus is shared in proportion to what each member draws."),
    "equal fill": ("equal-fill", "Every member gets the same amount until his need is met."),
    "mid-market rate": ("mid-market-rate", "Local energy costs the mean of the retail and the feed-in price."),
    "supply-demand ratio": ("supply-demand-ratio", "The scarcer local energy is, the closer its price is to retail."),
    "double auction": ("uniform-auction", "Members bid and ask; one price clears each quarter-hour."),
}
NOTES = (
    "The homes are diversified: each takes each day from a like day, shifted by up to an hour, with a fixed seed. "
    "Annual energy is kept. The result is like a village, it is not one.",
    "In the auction each member's limit is drawn once, with a fixed seed, between the feed-in and the retail price.",
    "Profiles and grid: SimBench, 1-LV-rural3--2-sw, © the SimBench project, Open Database Licence (ODbL) 1.0.",
)


def _profiles(grid: TimeGrid, homes: int, rng: np.random.Generator) -> tuple[Ints, Ints, tuple[str, ...], Ints]:
    """Return consumption and sun `[T, N]` in Wh, kinds and the size of the roofs in kW."""
    day = grid.start_s / 86400 + np.arange(grid.count) * grid.step_s / 86400
    hour = (day % 1) * 24 + 1
    season = np.cos(2 * np.pi * ((day % 365.25) - 15) / 365.25)  # 1 in winter, -1 in summer
    length = 12 - 4.3 * season
    arch = np.maximum(0, np.sin(np.pi * (hour - 12.4 + length / 2) / length)) ** 1.4
    arch = np.where(np.abs(hour - 12.4) < length / 2, arch, 0)
    number = (np.floor(day) - np.floor(day[0])).astype(int)
    cloud = np.clip(rng.beta(1.6, 1.1, number[-1] + 1), 0.06, 1)[number]
    cloud = np.clip(cloud * (1 + 0.25 * rng.standard_normal(grid.count)), 0.03, 1)
    roof = np.where(rng.random(homes) < 0.3, rng.integers(4, 13, homes), 0)
    kinds = tuple("farm" if i % 17 == 5 else "shop" if i % 23 == 11 else "household" for i in range(homes))
    scale = np.where([kind == "farm" for kind in kinds], 5.0, np.where([k == "shop" for k in kinds], 3.0, 1.0))
    load, sun = np.empty((2, grid.count, homes), np.int64)
    for i in range(homes):
        morning, evening = 7.2 + rng.normal(0, 0.7), 19 + rng.normal(0, 1)
        shape = 0.16 + 0.5 * np.exp(-((hour - morning) ** 2) / 2.2) + 0.75 * np.exp(-((hour - evening) ** 2) / 5)
        noise = rng.gamma(0.8, 1.25, grid.count)
        watts = 1350 * scale[i] * rng.lognormal(0, 0.35) * shape * (1 + 0.22 * season) * (0.45 + 0.55 * noise)
        load[:, i] = watts / 4
        sun[:, i] = roof[i] * 820 * arch * (1 - 0.35 * season) * cloud / 4
    return load, sun, kinds, roof


def _months(grid: TimeGrid) -> NDArray[np.int64]:
    """Return the number of the local month of each interval, counted from the first."""
    every = [datetime.fromtimestamp(grid.second(t), ZONE) for t in range(0, grid.count, 4)]
    number = np.repeat([12 * when.year + when.month for when in every], 4)[: grid.count]
    return number - number[0]


def _portion(weights: Ints, total: Ints) -> Ints:
    """Share total[t] by weights[t, n] so that whole lots sum exactly and no row gets more than its weight."""
    summed = np.cumsum(weights, axis=1)
    whole = np.maximum(summed[:, -1:], 1)
    edges = summed * total[:, None] // whole
    return np.diff(edges, axis=1, prepend=0)


def _splits(
    draw: Ints, give: Ints, limits: dict[str, Ints], rng: np.random.Generator
) -> dict[str, tuple[Ints, Ints, Ints]]:
    """Return local energy bought and sold `[T, N]` and the price `[T]` by rule."""
    pool = np.minimum(draw.sum(axis=1), give.sum(axis=1))
    homes = draw.shape[1]
    fixed = np.minimum(draw, give.sum(axis=1)[:, None] * rng.integers(1, 4, homes) // (2 * homes))
    equal = np.minimum(draw, pool[:, None] // homes)
    rest = _portion(draw - equal, pool - equal.sum(axis=1))
    ratio = np.minimum(1, give.sum(axis=1) / np.maximum(1, draw.sum(axis=1)))
    scarce = np.rint(FEED_IN * RETAIL / ((RETAIL - FEED_IN) * ratio + FEED_IN)).astype(np.int64)
    cleared = np.rint((0.75 - 0.5 * ratio) * RETAIL + (0.25 + 0.5 * ratio) * FEED_IN).astype(np.int64)
    bids = np.where(limits["buy"] >= cleared[:, None], draw, 0)
    asks = np.where(limits["sell"] <= cleared[:, None], give, 0)
    deal = np.minimum(bids.sum(axis=1), asks.sum(axis=1))
    flat, middle = np.full(len(pool), 1900), np.full(len(pool), (RETAIL + FEED_IN) // 2)
    nothing = np.zeros_like(draw)
    everything = (_portion(draw, pool), _portion(give, pool))
    return {
        "no community": (nothing, nothing, flat),
        "fixed key": (fixed, _portion(give, fixed.sum(axis=1)), flat),
        "dynamic key": (*everything, flat),
        "equal fill": (equal + rest, _portion(give, pool), flat),
        "mid-market rate": (*everything, middle),
        "supply-demand ratio": (*everything, scarce),
        "double auction": (_portion(bids, deal), _portion(asks, deal), cleared),
    }


def _settle(
    name: str, text: tuple[str, str], bought: Ints, sold: Ints, price: Ints, *, draw: Ints, give: Ints, months: Ints
) -> RuleResult:
    imported, exported = draw - bought, give - sold
    fee = 20 if text[0] else 0  # ticks per local kWh, paid by the buyer
    flat = 24_000 if name == "fixed key" else 0  # cash per interval and member: 84 EUR a year, so that somebody loses
    cash = {
        "local": price[:, None] * (bought - sold),
        "utility": ENERGY * imported - FEED_IN * exported,
        "network": NETWORK * imported,
        "levy": LEVY * imported,
        "platform": fee * bought + flat,
        "sharing": np.zeros_like(bought),
    }
    cost = sum(cash.values())
    first = np.searchsorted(months, np.unique(months))
    shared = bought.sum(axis=1)
    energy_error = int(abs(bought.sum(axis=1) - sold.sum(axis=1)).max())
    utility = int((imported * RETAIL - exported * FEED_IN).sum()) + int((fee * bought + flat).sum())
    return RuleResult(
        rule=name,
        mechanism=text[0],
        parameters={"price_ct_per_kwh": "19"} if "key" in name or "fill" in name else {},
        summary=text[1],
        price=np.where(shared > 0, price, -1),
        shared=shared,
        imported=imported.sum(axis=1),
        exported=exported.sum(axis=1),
        bought=bought.sum(axis=0),
        sold=sold.sum(axis=0),
        from_utility=imported.sum(axis=0),
        to_utility=exported.sum(axis=0),
        lines={key: cash[key].sum(axis=0) for key, _ in BILL_LINES},
        cost=cost.sum(axis=0),
        cost_by_month=np.add.reduceat(cost, first, axis=0),
        energy_error=energy_error,
        money_error=int(cost.sum()) - utility,
        state_hash=sha256(f"{name} {int(cost.sum())}".encode()).hexdigest(),
        seconds=0.1,
    )
