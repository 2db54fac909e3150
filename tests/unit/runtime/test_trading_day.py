"""Trading sessions and the experiments that are reproduced with them."""

import math

import pytest
from typer.testing import CliRunner

from wattle.agents.strategies import STRATEGIES
from wattle.cli.app import build
from wattle.core.checks import InvariantError
from wattle.runtime.reproduce_traders import LEARNING, MARKETS
from wattle.runtime.trading_day import Induced, trading_days


def test_surplus_and_equilibrium_by_hand():
    market = Induced(values=((10, 4), (8,)), costs=((3, 9), (5,)))
    # 10 with 3, 8 with 5; 4 with 9 not. Any price from 5 to 8 clears the market.
    assert market.best() == (10, 6.5)
    assert Induced(((5,),), ((5,),)).best() == (0, 5.0)
    for wrong in (lambda: Induced(((0,),), ((5,),)), lambda: Induced(((4,),), ((5,),)).best()):
        with pytest.raises(InvariantError):
            wrong()


def test_a_day_of_truthful_traders_by_hand():
    (day,) = trading_days(Induced(((90,),), ((50,),)), STRATEGIES["truthful"], days=1, turns=50, seed=3)
    assert day.efficiency == 1
    assert day.prices in ((50,), (90,))  # of him who came first
    assert day.alpha == pytest.approx(100 * 20 / 70)


def test_a_day_without_trade_has_no_scatter():
    (day,) = trading_days(MARKETS[0], STRATEGIES["truthful"], days=1, turns=1, seed=3)
    assert (day.efficiency, day.prices, math.isnan(day.alpha)) == (0, (), True)


@pytest.mark.parametrize("name", STRATEGIES)
def test_same_seed_same_days(name):
    one, same, other = (
        [day.prices for day in trading_days(LEARNING[0], STRATEGIES[name], days=2, turns=200, seed=seed)]
        for seed in (1, 1, 2)
    )
    assert one == same != other


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "zi-u"])
def test_traders_who_take_no_loss_trade_well(name):
    days = [day for market in LEARNING for day in trading_days(market, STRATEGIES[name], days=3, turns=300, seed=1)]
    assert all(0 <= day.efficiency <= 1 for day in days)
    assert sum(day.efficiency for day in days) / len(days) >= 0.9


def test_gode_sunder_comes_out_and_stands_beside_the_paper():
    answer = CliRunner().invoke(build(), ["reproduce", "gode-sunder"], catch_exceptions=False)
    assert answer.exit_code == 0
    assert answer.stdout.count("  yes\n") == 6
    assert "98.7 %" in answer.stdout
    assert "Gode and Sunder 1993" in answer.stdout
    listed = CliRunner().invoke(build(), ["reproduce"], catch_exceptions=False)
    assert "gode-sunder" in listed.stdout
