"""From a checked scenario to the objects of the pure layers: units, tariff, charges, products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import InputError
from wattle.core.messages import Tariff
from wattle.core.registry import Entry, nearest
from wattle.core.tables import (
    COMMUNITY_FUND,
    FIRST_MEMBER,
    GRID_OPERATOR,
    MARKET_OPERATOR,
    STATE,
    UTILITY,
    Preferences,
)
from wattle.core.units import PRICE_MAX, Units, exact
from wattle.engine.gate import Product
from wattle.ledger.accounts import LEVY, NETWORK, PLATFORM, TAX
from wattle.ledger.fees import LOCAL_KWH, UTILITY_KWH, Charge, ticks_on
from wattle.market.mechanism import CAPACITY, GATE, MONEY, SCHEDULES, Claim, runs_on_arrival
from wattle.scenario.schema import ProductSection, Scenario

_PAYEE = {
    "grid operator": GRID_OPERATOR,
    "state": STATE,
    "market operator": MARKET_OPERATOR,
    "community fund": COMMUNITY_FUND,
    "utility": UTILITY,
}
_CODE = {"network": NETWORK, "levy": LEVY, "tax": TAX, "platform": PLATFORM}


def units_of(scenario: Scenario) -> Units:
    """Return lot, tick and currency."""
    part = scenario.units
    try:
        return Units.parse(part.lot_wh, part.tick_per_kwh, part.currency)
    except InputError as problem:
        raise InputError(f"section [units]: {problem}") from None


def charges_of(scenario: Scenario, units: Units) -> tuple[Charge, ...]:
    """Return the charges; more on utility energy than the retail price can hold is refused."""
    found = tuple(
        Charge(
            part.name, part.on, _ticks(units, part.per_kwh, f"charge {part.name}"), _PAYEE[part.payee], _CODE[part.line]
        )
        for part in scenario.charge
    )
    retail = _ticks(units, scenario.tariff.retail_per_kwh, "tariff.retail_per_kwh")
    if ticks_on(found, UTILITY_KWH) > retail:
        raise InputError("the charges on utility energy are more than tariff.retail_per_kwh, which includes them")
    return found


def tariff_of(scenario: Scenario, units: Units, count: int) -> Tariff:
    """Return the utility's prices for `count` intervals."""
    retail = _ticks(units, scenario.tariff.retail_per_kwh, "tariff.retail_per_kwh")
    feed_in = _ticks(units, scenario.tariff.feed_in_per_kwh, "tariff.feed_in_per_kwh")
    if retail < feed_in:
        raise InputError(
            f"tariff.retail_per_kwh is {scenario.tariff.retail_per_kwh}, expected at least the feed-in price "
            f"{scenario.tariff.feed_in_per_kwh}"
        )
    return Tariff.flat(retail, feed_in, count)


def limit_range(scenario: Scenario, units: Units, charges: tuple[Charge, ...]) -> tuple[int, int]:
    """Return lowest and highest limit that may be drawn, in ticks."""
    part = scenario.limits
    retail = _ticks(units, scenario.tariff.retail_per_kwh, "tariff.retail_per_kwh") - ticks_on(charges, LOCAL_KWH)
    low = _ticks(units, part.from_per_kwh or scenario.tariff.feed_in_per_kwh, "limits.from_per_kwh")
    high = retail if part.to_per_kwh is None else _ticks(units, part.to_per_kwh, "limits.to_per_kwh")
    if high < low:
        raise InputError("limits: the highest limit is below the lowest; check tariff, charges and limits")
    return low, high


def preferences_of(scenario: Scenario, units: Units, members: tuple[str, ...]) -> Preferences:
    """Return who likes to trade with whom; unknown members and pairs that are named twice are refused."""
    number = {name: FIRST_MEMBER + place for place, name in enumerate(members)}
    rows: dict[tuple[int, int], int] = {}
    for place, part in enumerate(scenario.preference, 1):
        for key, name in (("member", part.member), ("partner", part.partner)):
            if name not in number:
                raise InputError(f"preference.{place}.{key} is {name!r}, no member; {nearest(name, number)}")
        pair = number[part.member], number[part.partner]
        if pair[0] == pair[1]:
            raise InputError(f"preference.{place}: {part.member!r} names himself; expected another member as partner")
        if pair in rows:
            raise InputError(f"preference.{place}: {part.member!r} and {part.partner!r} are named twice; keep one")
        rows[pair] = _ticks(units, part.premium_per_kwh, f"preference.{place}.premium_per_kwh")
    who, other = (np.array([pair[side] for pair in rows], np.int32) for side in (0, 1))
    return Preferences(who, other, np.array(list(rows.values()), np.int64))


UNFIT = {
    MONEY: "reads bids as sums of money, and the members of a scenario name limits",
    SCHEDULES: "decides when energy is used, and here the readings are given",
    CAPACITY: "sells room in batteries, and the members of a scenario order energy",
}
"""Why rules with some bidding formats cannot run on the members of a scenario."""


def product_of(
    part: ProductSection,
    units: Units,
    members: tuple[str, ...],
    demand: NDArray[np.int64],
    listed: Mapping[str, Mapping[str, Any]] | None = None,
) -> Product:
    """Return a product.

    A key may be given as "by demand" (each member's energy, `demand` [N]), "equal", or "from members": then `listed`
    holds the value of each member, by the name of the parameter.
    """
    from wattle.scenario.plugins import find_mechanism, mechanism_parameters

    try:
        entry = find_mechanism(part.mechanism)
        if entry.bids in UNFIT:
            raise InputError(f"the rule {UNFIT[entry.bids]}")
        settings = {key: _filled(part, key, value, members, demand, listed) for key, value in part.parameters().items()}
        ids = {name: FIRST_MEMBER + number for number, name in enumerate(members)}
        parameters: Mapping[str, Any] = mechanism_parameters(entry, settings, units, ids)
        when = _moment(part, entry)
    except InputError as problem:
        raise InputError(f"section [[product]] {part.name or part.mechanism}: {problem}") from None
    return Product(
        name=part.name or part.mechanism,
        mechanism=entry.build(dict(parameters)),
        when=when,
        cap=PRICE_MAX,
        floor=-PRICE_MAX,
        separable=Claim.SEPARABLE in entry.claims,
    )


def _moment(part: ProductSection, entry: Entry) -> str:
    """Return the moment at which the rule is called: the one that is asked for, if the rule can do that."""
    if part.when is None or part.when == entry.when:
        return entry.when
    if entry.when != GATE:
        raise InputError(f"when is {part.when!r}, but {entry.name} trades {entry.when}")
    if not runs_on_arrival(entry):
        raise InputError(f"when is {part.when!r}, but {entry.name} needs all orders at once; order-book does not")
    return part.when


def _filled(
    part: ProductSection,
    key: str,
    value: Any,
    members: tuple[str, ...],
    demand: NDArray[np.int64],
    listed: Mapping[str, Mapping[str, Any]] | None,
) -> Any:
    """Return the value of a key, with "by demand", "equal" and "from members" written out for each member."""
    if value == "by demand":
        return dict(zip(members, (int(lots) for lots in demand), strict=True))
    if value == "equal":
        return dict.fromkeys(members, 1)
    if value == "from members":
        found = (listed or {}).get(key)
        if not found:
            raise InputError(f"{part.mechanism}.{key}: the table of members has no column for it")
        return found
    return value


def _ticks(units: Units, text: str, key: str) -> int:
    try:
        return units.ticks_from_price(exact(text))
    except InputError as problem:
        raise InputError(f"{key}: {problem}") from None
