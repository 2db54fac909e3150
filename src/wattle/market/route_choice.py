"""Each member chooses his market: inside his community, outside with members of others, or whichever pays better.

Communities are zones; the zone above them is the outside market, where a fee is due, half from the buyer and half from
the seller. A member who stays inside is never seen outside, and the other way round. Members who are placed in the zone
of an outside market are at home there: they trade in it, without a choice and without a fee. Who lets the price decide
is asked nothing. The rule tries both markets with everybody who may come, and then each of these members, knowing both
prices,

    buys outside if   inside price - (outside price + his part of the fee) > the threshold,
    sells outside if  (outside price - his part of the fee) - inside price > the threshold.

Where a market forms no price in the trial it wins nobody: without an inside price he goes outside if there is a price
there, else he stays. Then trade is real. Communities clear with those who stay; after them the outside market clears
with those who went, and with what is left of the others, which may go outside once. An order is only ever in one market
with the lots that it still has, so no lot is traded twice, and a member can trade with his community and with a peer
of another one in the same interval.

The choice moves prices, so a member can find afterwards that the other market pays better by more than the threshold;
`would_switch` in the report counts such orders. With a threshold beyond all prices this is `nested` with one level.

Tushar et al. 2020, IEEE Transactions on Smart Grid 11(4), section VI-j, asks for such a choice and names no rule; the
rule above is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory, unfilled
from wattle.core.tables import BUY, Orders, Prices, Trades, Transfers
from wattle.market.auction_double import mean_prices
from wattle.market.between_zones import halves, parents_of, with_named_prices, zone_by_zone, zones_above
from wattle.market.inner_rule import built_inner, check_inner, cleared_at_once
from wattle.market.mechanism import (
    BUDGET_BALANCED,
    EXACT,
    INDIVIDUALLY_RATIONAL,
    SEPARABLE,
    Mechanism,
    mechanism,
)
from wattle.market.nested import carried_home, limits_with_fees
from wattle.market.share import weights_of

BY_PRICE, INSIDE, OUTSIDE = 0, 1, 2
"""The routes: where the price is better (and both if need be), the own community only, the outside market only."""

_NO_PRICE = -(1 << 62)


@mechanism(
    "route-choice",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Tushar et al. 2020, IEEE Transactions on Smart Grid 11(4), section VI-j (the wish for a choice of market)",
)
@dataclass(frozen=True)
class RouteChoice:
    """Each member trades inside his community, outside it, or where the price is better by a threshold.

    `routes` names members: 1 inside only, 2 outside only, 0 (and who is not named) by price. `levels` names the outside
    market of each community, "0:10,1:10"; members of a zone without one stay inside, whatever they chose. `fee_ticks`
    is the fee on each lot traded outside, `outside_ticks` the threshold. `inner` is the rule of both markets, with its
    default parameters; it must clear at once.

    The rule keeps its claims with the inner rule that is the default; with another one it has those of them that this
    one has too.
    """

    levels: str = ""
    routes: Mapping[int, int] = field(default_factory=dict)
    outside_ticks: int = 0
    fee_ticks: int = 0
    inner: str = "uniform-auction"

    def __post_init__(self) -> None:
        check_inner(self.inner, "route-choice")
        for name in ("fee_ticks", "outside_ticks"):
            ensure(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}, expected 0 or more")
        for member, route in self.routes.items():
            ensure(route in (BY_PRICE, INSIDE, OUTSIDE), f"routes: {member} has {route}, expected 0, 1 or 2")
        parents = parents_of(self.levels)
        for zone in parents.values():
            ensure(zone not in parents, f"levels: zone {zone} is an outside market and has itself a zone above")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Try both markets, let members choose, clear the communities, then the outside market."""
        parents = parents_of(self.levels)
        at_market = np.isin(orders.zone, sorted(set(parents.values())))
        above = np.where(at_market, orders.zone, zones_above(orders.zone, parents)).astype(np.int32)
        route = np.where(above >= 0, weights_of(self.routes, orders.participant, BY_PRICE), INSIDE)
        route[at_market] = OUTSIDE
        fee = np.where(at_market, 0, self.fee_ticks)
        limit = np.where(at_market, orders.limit, limits_with_fees(with_named_prices(orders, context), fee))
        priced = orders.replace(zone=above, limit=limit)
        markets = _Markets(built_inner(self.inner), self.inner, context)
        refusals: list[Reject] = []
        goes, free = route == OUTSIDE, route == BY_PRICE
        if free.any():
            inside = markets.clear(orders.take(route != OUTSIDE), refusals)
            outside = markets.clear(priced.take(route != INSIDE), refusals)
            goes |= free & (self._gain(orders, above, inside.prices, outside.prices) > self.outside_ticks)
        at_home = np.flatnonzero(~goes)
        home = markets.clear(orders.take(at_home), refusals)
        left = orders.quantity.copy()
        left[at_home] = unfilled(orders.take(at_home), Clearing(home.trades, Prices.empty()))
        rows = np.flatnonzero((route != INSIDE) & (left > 0))
        away = markets.clear(priced.take(rows).replace(quantity=left[rows]), refusals)
        hard = [code for code in refusals if code != Reject.NO_PRICE]
        if hard or (refusals and len(home.trades) + len(away.trades) == 0):
            return None, Clearing.refuse((hard or refusals)[0])
        gain = self._gain(orders, above, home.prices, away.prices)
        both = np.abs(gain) < -_NO_PRICE
        sorry = both & (np.where(goes, -gain, gain) > self.outside_ticks)
        whole = zone_by_zone([home.trades, carried_home(away.trades, orders, fee)])
        return None, Clearing(
            whole,
            mean_prices(whole),
            transfers=Transfers.concat(home.transfers, away.transfers),
            report={
                "traded_inside_lots": float(home.trades.quantity.sum()),
                "traded_outside_lots": float(away.trades.quantity.sum()),
                "orders_gone_outside": float((free & goes).sum()),
                "would_switch": float((free & sorry).sum()),
            },
        )

    def _gain(self, orders: Orders, above: NDArray[np.int32], inside: Prices, outside: Prices) -> I64:
        """Return for each order what a lot outside gains over one inside, in ticks; huge where only one has a price."""
        buyer_fee, seller_fee = halves(self.fee_ticks)
        here, there = _price_at(inside, orders.interval, orders.zone), _price_at(outside, orders.interval, above)
        gain = np.where(orders.side == BUY, here - (there + buyer_fee), (there - seller_fee) - here)
        alone: I64 = np.where(there == _NO_PRICE, _NO_PRICE, np.where(here == _NO_PRICE, -_NO_PRICE, gain))
        return alone


@dataclass(frozen=True)
class _Markets:
    """The inner rule, and what it may see."""

    rule: Mechanism
    name: str
    context: Context

    def clear(self, orders: Orders, refusals: list[Reject]) -> Clearing:
        """Clear these orders; a refusal is noted, and then nothing trades."""
        if len(orders) == 0:
            return Clearing(Trades.empty(), Prices.empty())
        answer = cleared_at_once(self.rule, orders, self.context, ("route-choice", self.name))
        if answer.unusable is None:
            return answer
        refusals.append(answer.unusable)
        return Clearing(Trades.empty(), Prices.empty())


def _price_at(prices: Prices, interval: NDArray[np.int32], zone: NDArray[np.int32]) -> I64:
    """Return the published price of each interval and zone [N], `_NO_PRICE` where there is none."""
    found = np.full(interval.size, _NO_PRICE, np.int64)
    if len(prices) == 0:
        return found
    base = int(max(prices.zone.max(), zone.max(initial=0))) + 2
    key = prices.interval.astype(np.int64) * base + prices.zone
    order = np.argsort(key, kind="stable")
    wanted = interval.astype(np.int64) * base + zone
    place = np.minimum(np.searchsorted(key[order], wanted), key.size - 1)
    known = key[order][place] == wanted
    found[known] = prices.price[order][place][known]
    return found
