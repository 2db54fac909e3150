"""Speed of cooperative sharing: Shapley value by sampling and exact, nucleolus, coalition formation.

`rows(quick)` returns (name, figure, ratio, reference, bar). The reference is measured in the same run: drawing and
summing as many random numbers as the sample needs, one matrix product over all coalitions, or the rule without a game.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from wattle.core.messages import Context, Tariff
from wattle.core.tables import ANY_PRICE, ANYONE, FIRST_MEMBER, Orders, Profiles
from wattle.market.bargaining import NashBargaining
from wattle.market.coalition import Game, all_values
from wattle.market.coalition_formation import MergeAndSplit
from wattle.market.nucleolus import nucleolus
from wattle.market.shapley import Shapley

ROW = tuple[str, str, str, str, str]
TARIFF = Tariff.flat(3000, 800)


def metered_day(members: int, intervals: int = 96, seed: int = 1) -> Orders:
    """Return metered net positions of a sunny day: load always, PV on 40 % of the homes."""
    chance = np.random.default_rng(seed)
    hour = np.arange(intervals) / intervals * 24
    sun = np.maximum(0.0, np.sin((hour - 6) / 12 * np.pi))[:, None]
    peak = np.where(chance.random(members) < 0.4, chance.integers(300, 1500, members), 0)
    net = chance.integers(50, 400, (intervals, members)) - (sun * peak).astype(np.int64)
    interval, member = (column.astype(np.int32) for column in np.nonzero(net))
    lots = net[interval, member]
    side = np.sign(lots).astype(np.int8)
    return Orders(
        id=np.arange(lots.size),
        participant=member + np.int32(FIRST_MEMBER),
        zone=np.zeros(lots.size, np.int32),
        interval=interval,
        side=side,
        quantity=np.abs(lots),
        limit=side.astype(np.int64) * ANY_PRICE,
        partner=np.full(lots.size, ANYONE, np.int32),
    )


def rows(quick: bool) -> list[ROW]:
    """Measure; `quick` takes smaller communities."""
    return [_sampled(quick), _exact(quick), _nucleolus(quick), _formed(quick)]


def _seconds(work: Callable[[], object], times: int = 3) -> float:
    work()  # compiles
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def _context(members: int = 0) -> Context:
    chance = np.random.default_rng(7)
    places = Profiles(
        FIRST_MEMBER + np.arange(members),
        chance.integers(0, 3000, members),
        chance.integers(0, 3000, members),
        np.zeros(members, np.int8),
        np.full(members, 1000),
    )
    return Context(tariff=TARIFF, profiles=places, rng=np.random.default_rng(7))


def _sampled(quick: bool) -> ROW:
    members, samples = (200, 512) if quick else (1000, 512)
    book, rule = metered_day(members), Shapley(samples)
    seconds = _seconds(lambda: rule.step(None, book, _context()))
    report = rule.step(None, book, _context())[1].report
    groups = int(report["groups sampled"])
    chance = np.random.default_rng(1)
    draw = _seconds(lambda: [chance.random((samples, members)).sum() for _ in range(groups)], 1)
    error = report["standard error, % of mean share"]
    return (
        f"Shapley value of {members:,} members over a day of 96 intervals, sampled",
        f"{seconds:.2f} s, standard error {error:.2f} % of the mean share",
        f"{seconds / draw:.1f}",
        "NumPy drawing and summing that many numbers",
        "<= 10 s, <= 1 %",
    )


def _exact(quick: bool) -> ROW:
    members = 12 if quick else 16
    book, rule = metered_day(members), Shapley()
    seconds = _seconds(lambda: rule.step(None, book, _context()))
    held = (np.arange(1 << members)[:, None] >> np.arange(members) & 1).astype(float)
    gain = np.ones((members, 2))
    product = _seconds(lambda: [(held @ gain).min(axis=1) for _ in range(96)], 1)
    return (
        f"Shapley value of {members} members over a day, exact",
        f"{seconds:.2f} s",
        f"{seconds / product:.1f}",
        "NumPy worth of all coalitions, 96 times",
        "",
    )


def _nucleolus(quick: bool) -> ROW:
    members = 10 if quick else 12
    chance = np.random.default_rng(3)
    game = Game(np.arange(members, dtype=np.int32), chance.integers(0, 1000, (members, 6)))
    values = all_values(game)
    seconds = _seconds(lambda: nucleolus(values))
    single = _seconds(lambda: all_values(game))
    return (
        f"nucleolus of {members} members",
        f"{seconds * 1e3:.0f} ms",
        f"{seconds / single:.0f}",
        "worth of all coalitions once",
        "<= 10 s",
    )


def _formed(quick: bool) -> ROW:
    members = 40 if quick else 100
    book, context = metered_day(members), _context(members)
    seconds = _seconds(lambda: MergeAndSplit().step(None, book, context), 1)
    shared = _seconds(lambda: NashBargaining().step(None, book, context))
    return (
        f"merge and split, {members} members over a day",
        f"{seconds:.2f} s",
        f"{seconds / shared:.0f}",
        "Nash bargaining on the same book",
        "",
    )
