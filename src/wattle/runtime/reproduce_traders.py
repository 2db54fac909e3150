"""Traders in a double auction: what is left of efficiency when nobody thinks (Gode and Sunder 1993)."""

from __future__ import annotations

from statistics import mean

from wattle.agents.strategies import STRATEGIES
from wattle.runtime.reproduce import Row, reproduction
from wattle.runtime.trading_day import Day, Induced, trading_days


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
