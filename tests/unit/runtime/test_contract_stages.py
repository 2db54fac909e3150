"""Forward and real-time stage of a contract network through an engine: energy adds up, and forward trading pays."""

from dataclasses import replace

import numpy as np
import pytest

from wattle.agents.cohort import View
from wattle.agents.contracts import ContractMembers
from wattle.core.messages import Tariff
from wattle.core.tables import Readings, Trades
from wattle.engine.engine import Engine, Rules
from wattle.engine.events import (
    IntervalsEnded,
    MembersJoined,
    ReadingsReceived,
    Settled,
    TariffPublished,
)
from wattle.engine.gate import Product
from wattle.market.contract_network import ContractNetwork
from wattle.market.mechanism import GATE
from wattle.runtime.rounds import run_rounds

INTERVALS, SLOW, FAST, SUPPLIER, HOMES = 3, 8, (9, 10), 11, tuple(range(12, 17))
EVERYBODY = np.arange(SLOW, 17, dtype=np.int32)
TARIFF = Tariff.flat(3000, 500)
RULE = ContractNetwork(block_lots=100, step_ticks=20, rounds_max=400)


def world(seed, handling):
    """Return cohorts (slow plant, then everybody else), what is expected, and what comes."""
    rng = np.random.default_rng(seed)
    plants = (SLOW, *FAST)
    links = [(SUPPLIER, each) for each in (*plants, *HOMES)] + [(each, SUPPLIER) for each in (*plants, *HOMES)]
    links = np.array(sorted(links), np.int32).T
    errors = np.concatenate((np.zeros((5, 3), np.int64), rng.integers(-200, 201, (5, 5))), axis=1)
    slow = ContractMembers(
        np.array([SLOW], np.int32), TARIFF, cost_first=700.0, cost_slope=0.4, capacity=800, links=links
    )
    rest = ContractMembers(
        EVERYBODY[1:],
        TARIFF,
        cost_first=np.array([1300.0, 1600.0] + [0.0] * 6),
        cost_slope=np.array([1.0, 0.5] + [0.0] * 6),
        capacity=np.array([900, 900] + [0] * 6),
        throughput=np.array([0, 0, 2000] + [0] * 5),
        handling=np.array([0.0, 0.0, handling] + [0.0] * 5),
        errors=errors,
        links=links,
    )
    nobody = np.zeros((INTERVALS, 3), np.int64)
    expected = np.concatenate((nobody, rng.integers(-300, 700, (INTERVALS, 5))), axis=1)
    came = expected + errors[rng.integers(0, 5, INTERVALS)]
    return [slow, rest], expected, came


def views(net):
    return [View(np.zeros((INTERVALS, 1), np.int64)), View(net)]


def market():
    engine = Engine(Rules((Product("forward", RULE, GATE), Product("real-time", RULE, GATE))), members=EVERYBODY.size)
    engine.handle(MembersJoined(0, tuple(EVERYBODY.tolist())))
    engine.handle(TariffPublished(0, 0, np.full(INTERVALS, 3000), np.full(INTERVALS, 500)))
    return engine


def settled(engine, cohorts, came):
    """Deliver, meter and settle; return readings [K, N] and the settlement."""
    nets = [np.zeros((INTERVALS, 1), np.int64), came][-len(cohorts) :]
    read = np.concatenate([each.metered(net, 0) for each, net in zip(cohorts, nets, strict=True)], axis=1)
    if read.shape[1] < EVERYBODY.size:  # the slow plant stands still
        read = np.concatenate((np.zeros((INTERVALS, 1), np.int64), read), axis=1)
    who, when = np.tile(EVERYBODY, INTERVALS), np.repeat(np.arange(INTERVALS, dtype=np.int32), EVERYBODY.size)
    engine.handle(ReadingsReceived(1, Readings(when, who, read.reshape(-1))))
    return read, next(each for each in engine.handle(IntervalsEnded(1, 0, INTERVALS)) if isinstance(each, Settled))


def position(trades):
    """Return lots bought less lots sold [K, N]."""
    net = np.zeros((INTERVALS, EVERYBODY.max() + 1), np.int64)
    np.add.at(net, (trades.interval, trades.buyer), trades.quantity)
    np.add.at(net, (trades.interval, trades.seller), -trades.quantity)
    return net[:, SLOW:]


def cost(cohorts, read, came, settlement):
    """Return what all members pay in all: to the utility, for production and handling. Local money stays inside."""
    bought = settlement.utility
    money = np.where(bought.buyer >= SLOW, bought.quantity * bought.buy_price, -bought.quantity * bought.sell_price)
    total, column = float(money.sum()), EVERYBODY.size
    for each in reversed(cohorts):
        net = came if each.members.size > 1 else np.zeros((INTERVALS, 1), np.int64)
        column -= each.members.size
        made = net - read[:, column : column + each.members.size]
        total += float((each.cost_first * made + np.asarray(each.cost_slope) * made * made / 2).sum())
    handled = settlement.local.quantity[settlement.local.seller == SUPPLIER].sum()
    return total + float(handled * cohorts[-1].handling[2])


def both_stages(seed, handling=0.0, slow=1):
    """Run both gates; with `slow` the first cohort signs in the forward gate only, without it stays away."""
    cohorts, expected, came = world(seed, handling)
    engine = market()
    start = cohorts if slow else cohorts[1:]
    forward = run_rounds(engine, "forward", 0, INTERVALS, start, views(expected)[1 - slow :])[-1].trades
    held = [each.real_time(forward, 0, INTERVALS) for each in start]
    later = run_rounds(engine, "real-time", 0, INTERVALS, held[slow:], [View(came)])[-1].trades
    held = held[:slow] + [each.real_time(later, 0, INTERVALS) for each in held[slow:]]
    return engine, held, came, (forward, later)


def real_time_only(seed, handling=0.0):
    cohorts, _, came = world(seed, handling)
    engine = market()
    now = cohorts[1].real_time(Trades.empty(), 0, INTERVALS)
    effects = run_rounds(engine, "real-time", 0, INTERVALS, [now], [View(came)])
    held = [now.real_time(effects[-1].trades, 0, INTERVALS)]
    read, settlement = settled(engine, held, came)
    return cost(held, read, came, settlement)


@pytest.mark.parametrize("seed", range(4))
def test_positions_and_balancing_are_what_meters_say(seed):
    engine, held, came, (forward, later) = both_stages(seed, handling=30.0)
    assert len(forward) > 10
    assert len(later) > 0
    read, settlement = settled(engine, held, came)
    parts = [position(trades) for trades in (forward, later, settlement.utility)]
    assert (sum(parts) == read).all()  # each member and interval: forward + real-time + utility = metered
    assert (np.concatenate([each.held for each in held], axis=1) == parts[0] + parts[1]).all()
    assert (position(settlement.local) == parts[0] + parts[1]).all()
    assert (engine.balance.sum(axis=1) == 0).all()


def test_the_real_time_gate_does_not_ask_the_slow_plant():
    _, held, _, (forward, later) = both_stages(1)
    assert (forward.seller == SLOW).any()
    assert not ((later.seller == SLOW) | (later.buyer == SLOW)).any()
    assert held[0].held.min() < 0


def test_the_second_stage_corrects_the_first_and_no_more():
    """Who bought forward just what he needs has nothing to do in real time."""
    cohorts, expected, _ = world(2, 10.0)
    known = replace(cohorts[1], errors=np.zeros((1, 1), np.int64))
    engine = market()
    effects = run_rounds(engine, "forward", 0, INTERVALS, [known], [View(expected)])
    now = known.real_time(effects[-1].trades, 0, INTERVALS)
    again = run_rounds(engine, "real-time", 0, INTERVALS, [now], [View(expected)])
    forward, later = effects[-1].trades, again[-1].trades
    assert later.quantity.sum() <= 0.05 * forward.quantity.sum()


def test_forward_trading_costs_nothing_where_the_second_stage_could_do_all():
    """Without handling costs all can be undone in real time: on average both ways cost the same, up to the steps."""
    pairs = []
    for seed in range(6):
        engine, held, came, _ = both_stages(seed, slow=0)
        read, settlement = settled(engine, held, came)
        pairs.append((cost(held, read, came, settlement), real_time_only(seed)))
    with_forward, without = np.mean(pairs, axis=0)
    assert with_forward <= without * 1.001


def test_forward_trading_pays_where_a_cheap_plant_needs_notice():
    saved = []
    for seed in range(6):
        engine, held, came, _ = both_stages(seed, handling=30.0)
        read, settlement = settled(engine, held, came)
        alone = real_time_only(seed, handling=30.0)
        saved.append((alone - cost(held, read, came, settlement)) / abs(alone))
    assert np.mean(saved) > 0.02
    assert np.min(saved) > -0.02
