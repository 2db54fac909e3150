"""Published experiments that anybody can run again: paper and own result side by side.

A reproduction is a function from a seed to rows, registered under a name. `wattle reproduce NAME` prints it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean

from wattle.agents.strategies import STRATEGIES
from wattle.core.checks import InputError, ensure
from wattle.core.registry import nearest
from wattle.runtime.trading_day import Day, Induced, trading_days


@dataclass(frozen=True)
class Row:
    """One number of a paper and ours; `bar` says in words what ours must reach, `passed` whether it does."""

    what: str
    paper: str
    own: str
    bar: str
    passed: bool


Run = Callable[[int], list[Row]]


@dataclass(frozen=True)
class Reproduction:
    """A published experiment by name. `summary` and `remark` are the two parts of the docstring."""

    name: str
    source: str
    run: Run

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (self.run.__doc__ or "").strip().partition("\n")[0]

    @property
    def remark(self) -> str:
        """The rest of the docstring: what differs from the paper."""
        return " ".join((self.run.__doc__ or "").strip().partition("\n")[2].split())


REPRODUCTIONS: dict[str, Reproduction] = {}


def reproduction(name: str, *, source: str) -> Callable[[Run], Run]:
    """Return a decorator that registers a function from a seed to rows."""

    def file(run: Run) -> Run:
        ensure(name not in REPRODUCTIONS, f"two reproductions are called {name!r}")
        ensure(run.__doc__, f"reproduction {name}: the docstring is missing")
        REPRODUCTIONS[name] = Reproduction(name, source, run)
        return run

    return file


def find_reproduction(name: str) -> Reproduction:
    """Return a reproduction by name."""
    if name not in REPRODUCTIONS:
        raise InputError(f"no reproduction is called {name!r}; {nearest(name, REPRODUCTIONS)}")
    return REPRODUCTIONS[name]


def _market(values: range, costs: range, traders: int = 6) -> Induced:
    """Deal the units of both curves to so many buyers and sellers in turn."""
    buyers, sellers = (tuple(tuple(units[first::traders]) for first in range(traders)) for units in (values, costs))
    return Induced(buyers, sellers)


MARKETS = (
    _market(range(180, 60, -5), range(20, 140, 5)),  # both curves alike
    _market(range(150, 102, -2), range(10, 130, 5)),  # flat demand, steep supply
    _market(range(190, 70, -5), range(60, 108, 2)),  # steep demand, flat supply
    _market(range(120, 84, -3), range(40, 112, 6)),  # few units, a price near the values
    _market(range(190, 118, -3), range(80, 188, 6)),  # a high price
)
"""Five markets of six buyers and six sellers, prices from 1 to 200, of different slopes and equilibrium prices."""


LEARNING = (
    _market(range(180, 70, -10), range(30, 140, 10), 11),
    _market(range(150, 106, -4), range(20, 130, 10), 11),
    _market(range(190, 80, -10), range(60, 104, 4), 11),
)
"""Three markets of eleven buyers and eleven sellers with one unit each, the form in which Cliff tested ZIP."""


@reproduction("gode-sunder", source="Gode and Sunder 1993, Journal of Political Economy 101(1), 119-137")
def gode_sunder(seed: int = 1) -> list[Row]:
    """Traders without intelligence trade almost perfectly, if only they may not trade at a loss.

    The paper's supply and demand curves are drawn, not printed as numbers, so five markets of our own stand in for
    its five, and its table was not at hand: 98.7 % is its mean as commonly quoted, and its abstract says "close to
    100 percent". How far unconstrained traders fall depends on how many units had better not be traded, so only the
    order is compared. Smith's alpha is the scatter of prices around equilibrium in per cent; that it falls from day
    to day is the finding of Cliff 1997 for ZIP and of Vytelingum et al. 2008 for adaptive-aggressive traders (AA).
    It holds here with one unit for each trader, as Cliff had it; where a trader has several units of different worth,
    as in our five markets, both kinds do not converge within six days.
    """
    free, bound = (_efficiency(_runs(name, MARKETS, seed, 3, 1500)) for name in ("zi-u", "zi-c"))
    rows = [
        Row("efficiency of ZI-C", "98.7 %", _percent(bound), "at least 97 %", bound >= 0.97),
        Row("efficiency of ZI-U", "lower", _percent(free), "5 points below ZI-C", free <= bound - 0.05),
    ]
    for name, title in (("zip", "ZIP"), ("aa", "AA")):
        runs = _runs(name, LEARNING, seed, 6, 300)
        first, last = (mean(run[place].alpha for run in runs) for place in (0, -1))
        own = f"{first:.1f} to {last:.1f}"
        rows.append(Row(f"Smith's alpha of {title}, day 1 to 6", "falls", own, "falls by half", last <= first / 2))
        share = _efficiency(runs)
        rows.append(Row(f"efficiency of {title}", "near 100 %", _percent(share), "at least 95 %", share >= 0.95))
    return rows


def _runs(name: str, markets: tuple[Induced, ...], seed: int, days: int, turns: int) -> list[list[Day]]:
    return [
        trading_days(market, STRATEGIES[name], days=days, turns=turns, seed=seed * 100 + number * 10 + again)
        for number, market in enumerate(markets)
        for again in range(2)
    ]


def _efficiency(runs: list[list[Day]]) -> float:
    return mean(day.efficiency for run in runs for day in run)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
