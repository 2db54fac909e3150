"""How a number came about: inputs, formula, rule version, order or reading, source row.

Nothing is looked up that could have been written to please: the block of the interval is traded and settled again by
a fresh engine, with the same members and the same chance, and every step is printed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from wattle.core.checks import InputError, ensure
from wattle.core.registry import nearest
from wattle.core.tables import FIRST_MEMBER, HOUSE_NAMES, UTILITY, Orders, Quotes
from wattle.core.units import decimal_text
from wattle.engine.events import Asked, Effect, Event, GateOpened, OrdersSubmitted, Settled
from wattle.engine.gate import Product
from wattle.ledger.accounts import BILL_LINE_OF, MONEY
from wattle.ledger.fees import LOCAL_KWH, UTILITY_KWH, net_tariff, ticks_on
from wattle.ledger.postings import Postings
from wattle.runtime.world import World
from wattle.scenario.plugins import find_mechanism
from wattle.scenario.schema import ProductSection
from wattle.version import __version__


@dataclass(frozen=True, eq=False)
class Case:
    """All that an explanation needs: the world, the rule, and where each reading comes from."""

    world: World
    rule: str
    parts: tuple[ProductSection, ...]
    products: tuple[Product, ...]
    told: Callable[[int], Iterable[tuple[Event, list[Effect]]]]  # all events and effects that concern an interval
    source: Callable[[int, int], list[str]]  # interval, member -> lines
    seal: Callable[[int], str]
    others: tuple[str, ...] = ()


def explain_lines(folder: Path, member: str, interval: str, rule: str | None = None, trust: bool = False) -> list[str]:
    """Explain one member's interval of a run or of a settled folder, as lines of text."""
    from wattle.analysis.cases import open_case

    case = open_case(folder, rule, trust)
    world = case.world
    if member not in world.members:
        raise InputError(f"no member is called {member!r}; {nearest(member, world.members)}")
    who = world.members.index(member)
    time = interval_number(world, interval)
    settlement, orders, rounds = settled_again(case.told(time), time)
    lines = _head(case, member, time)
    sections = (
        _reading(case, who, time),
        [*_orders(case, orders, who, time), *_answers(case, rounds, who)],
        _rule(case, who, time),
        _trades(case, settlement, who, time),
        _money(case, settlement, who, time),
    )
    for number, (title, *rest) in enumerate((section for section in sections if section), 1):
        lines += ["", f"{number}. {title}", *rest]
    lines += ["", f"Seal of this interval: {case.seal(time)}"]
    if case.others:
        lines.append(f"Other rules of this run (--rule NAME): {', '.join(case.others)}")
    return lines


def interval_number(world: World, text: str) -> int:
    """Return the interval for a number or a local time."""
    grid = world.grid
    if text.isdigit():
        number = int(text)
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise InputError(f"--interval is {text!r}, expected a number or a time like 2016-06-08T12:15") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(world.timezone))
        number = grid.interval(int(moment.timestamp()))
    if not 0 <= number < grid.count:
        raise InputError(
            f"--interval is {text!r}, expected 0 to {grid.count - 1}, "
            f"or {_local(world, 0)} to {_local(world, grid.count - 1)}"
        )
    return number


@dataclass(eq=False)
class Round:
    """What a rule asked in one round of an interval, and what it heard."""

    product: str
    number: int
    quotes: Quotes
    answers: Orders = field(default_factory=Orders.empty)


def settled_again(told: Iterable[tuple[Event, list[Effect]]], time: int) -> tuple[Settled, Orders, tuple[Round, ...]]:
    """Return how an interval was settled last, the orders of its gates before any quote, and the rounds of quotes."""
    settled: Settled | None = None
    opened: dict[str, Orders] = {}
    rounds: list[Round] = []
    for event, effects in told:
        match event:
            case GateOpened(first=first, stop=stop) if first <= time < stop:
                opened.pop(event.product, None)
            case OrdersSubmitted() if (event.orders.interval == time).any():
                opened.setdefault(event.product, event.orders)
                if rounds and rounds[-1].product == event.product:
                    rounds[-1].answers = event.orders.take(event.orders.interval == time)
        for effect in effects:
            if isinstance(effect, Asked):
                quotes = effect.quotes.take(effect.quotes.interval == time)
                rounds.append(Round(effect.product, effect.round, quotes))
            if isinstance(effect, Settled) and effect.first <= time < effect.stop:
                settled = effect
    ensure(settled is not None, f"interval {time} was never settled")
    assert settled is not None
    orders = Orders.concat(*opened.values()) if opened else Orders.empty()
    return settled, orders, tuple(each for each in rounds if len(each.quotes))


def _head(case: Case, member: str, time: int) -> list[str]:
    return [
        f"{member}, {_local(case.world, time)}, interval {time}",
        f"Rule: {case.rule}; wattle {__version__}",
    ]


def _reading(case: Case, who: int, time: int) -> list[str]:
    world = case.world
    lots = int(world.net[time, who])
    kind = "consumption" if lots > 0 else "surplus" if lots < 0 else "neither consumption nor surplus"
    lines = [f"Reading: {_kwh(world, abs(lots))} kWh {kind}"]
    return [*lines, *(f"   {line}" for line in case.source(time, who))]


def _orders(case: Case, orders: Orders, who: int, time: int) -> list[str]:
    if not any(not product.metered for product in case.products):
        return []
    mine = orders.take((orders.interval == time) & (orders.participant == who + FIRST_MEMBER))
    lines = ["Orders sent before delivery"]
    for row in range(len(mine)):
        side = "buy" if mine.side[row] > 0 else "sell"
        word = "at most" if side == "buy" else "at least"
        lines.append(
            f"   {side} {_kwh(case.world, int(mine.quantity[row]))} kWh for {word} "
            f"{_cents(case.world, int(mine.limit[row]))} ct/kWh"
        )
    return lines if len(mine) else [*lines, "   none"]


def _answers(case: Case, rounds: tuple[Round, ...], who: int) -> list[str]:
    """Return what this member was asked and answered in the first and the last rounds."""
    account = who + FIRST_MEMBER
    lines: list[str] = []
    heard = []
    for each in rounds:
        quotes, answers = each.quotes, each.answers.take(each.answers.participant == account)
        named = (quotes.buyer == account) | (quotes.seller == account)
        price = quotes.price[named if named.any() else (quotes.buyer < 0) | (quotes.seller < 0)]
        if price.size:
            heard.append((each, price, answers))
    for place, (each, price, answers) in enumerate(heard):
        if place == FIRST_ROUNDS and len(heard) > FIRST_ROUNDS + LAST_ROUNDS:
            lines.append("   ...")
        if FIRST_ROUNDS <= place < len(heard) - LAST_ROUNDS:
            continue
        low, high = (_cents(case.world, int(bound)) for bound in (price.min(), price.max()))
        wanted = int((answers.side * answers.quantity).sum())
        word = "buy" if wanted > 0 else "sell"
        answer = f"would {word} {_kwh(case.world, abs(wanted))} kWh" if wanted else "would not trade"
        asked = low if low == high else f"{low} to {high}"
        lines.append(f"   round {each.number}: asked at {asked} ct/kWh, {answer}")
    return ["   then the rule asked", *lines] if lines else []


FIRST_ROUNDS, LAST_ROUNDS = 2, 3
"""So many rounds of a negotiation are printed at its beginning and at its end."""


def _rule(case: Case, who: int, time: int) -> list[str]:
    world = case.world
    row = world.net[time].astype(np.int64)
    wanted, offered = int(row[row > 0].sum()), int(-row[row < 0].sum())
    seen = net_tariff(world.tariff, world.charges)
    place = np.array([time], np.int32)
    retail, feed_in = (int(price[0]) for price in seen.at(place))
    full = int(world.tariff.at(place)[0][0])
    mine = int(row[who])
    whole, word = (wanted, "need") if mine > 0 else (offered, "surplus")
    portion = f"; this member's part of the {word} is {abs(mine) / whole:.4%}" if mine else ""
    lines = [
        "Rule",
        f"   all members together need {_kwh(world, wanted)} kWh and have {_kwh(world, offered)} kWh to spare{portion}",
        f"   the utility sells at {_cents(world, full)} and buys at {_cents(world, feed_in)} ct/kWh; "
        f"the rule sees {_cents(world, retail)} and {_cents(world, feed_in)} (retail less charges on local energy)",
    ]
    for part in case.parts:
        entry = find_mechanism(part.mechanism)
        lines.append(f"   {entry.name}: source {entry.source}")
        text = inspect.cleandoc(entry.cls.__doc__ or "")
        lines += [f"   | {line}".rstrip() for line in text.split("\n")]
        given = part.parameters()
        lines += [f"   parameter {key} = {value}" for key, value in given.items()]
        plain = {key: value for key, value in entry.parameters.items() if isinstance(value, (int, float, str))}
        if not given and plain:
            lines.append(f"   with its usual parameters: {', '.join(f'{key} {value}' for key, value in plain.items())}")
    if not case.products:
        lines.append("   no community: the utility takes everything")
    return lines


def _trades(case: Case, settlement: Settled, who: int, time: int) -> list[str]:
    world, account = case.world, who + FIRST_MEMBER
    lines = ["Trades"]
    for trades in (settlement.local, settlement.utility):
        mine = trades.take((trades.interval == time) & ((trades.buyer == account) | (trades.seller == account)))
        for row in range(len(mine)):
            buys = mine.buyer[row] == account
            other = int(mine.seller[row] if buys else mine.buyer[row])
            price = int(mine.buy_price[row] if buys else mine.sell_price[row])
            contained = ticks_on(world.charges, UTILITY_KWH) if buys and other == UTILITY else 0
            note = f", which with its charges of {_cents(world, contained)} is the retail price" if contained else ""
            lines.append(
                f"   {'buys' if buys else 'sells'} {_kwh(world, int(mine.quantity[row]))} kWh "
                f"{'from' if buys else 'to'} {_name(world, other)} at {_cents(world, price)} ct/kWh{note}"
            )
    return lines if len(lines) > 1 else [*lines, "   none"]


def _money(case: Case, settlement: Settled, who: int, time: int) -> list[str]:
    world, account, postings = case.world, who + FIRST_MEMBER, settlement.postings
    now = (postings.interval == time) & (postings.book == MONEY)
    total = 0
    lines = ["Money (above zero: to pay)"]
    mine = postings.take(now & ((postings.debit == account) | (postings.credit == account)))
    for row in range(len(mine)):
        pays = mine.debit[row] == account
        cash = int(mine.amount[row]) * (1 if pays else -1)
        other = int(mine.credit[row] if pays else mine.debit[row])
        total += cash
        lines.append(
            f"   {BILL_LINE_OF[int(mine.code[row])]:<9} {_money_text(world, cash):>16} {world.units.currency}  "
            f"{'to' if pays else 'from'} {_name(world, other)}{_charge(world, settlement, mine, row)}"
        )
    lines.append(f"   {'total':<9} {_money_text(world, total):>16} {world.units.currency}")
    return lines


def _charge(world: World, settlement: Settled, mine: Postings, row: int) -> str:
    """Return the name of the charge that a posting is for, where only one fits."""
    bought = {LOCAL_KWH: settlement.local, UTILITY_KWH: settlement.utility}
    names = set()
    for charge in world.charges:
        trades = bought[charge.on]
        now = trades.quantity[(trades.interval == mine.interval[row]) & (trades.buyer == mine.debit[row])]
        same = charge.code == mine.code[row] and charge.payee == mine.credit[row]
        if same and (now * charge.ticks == mine.amount[row]).any():
            names.add(charge.name)
    return f": {names.pop()}" if len(names) == 1 else ""


def _local(world: World, time: int) -> str:
    return datetime.fromtimestamp(world.grid.second(time), ZoneInfo(world.timezone)).strftime("%Y-%m-%d %H:%M")


def _name(world: World, account: int) -> str:
    return world.members[account - FIRST_MEMBER] if account >= FIRST_MEMBER else f"the {HOUSE_NAMES[account]}"


def _kwh(world: World, lots: int) -> str:
    return decimal_text(world.units.kwh(lots))


def _cents(world: World, ticks: int) -> str:
    return decimal_text(world.units.price(ticks) * 100)


def _money_text(world: World, cash: int) -> str:
    return decimal_text(world.units.money(cash))
