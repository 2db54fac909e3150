"""Members of a contract network: each chooses the bundle of contracts that is best for him; costs stay in this file.

A member is a generator, a supplier, a prosumer or a mixture: numbers say what he uses, what he can produce and what he
may pass on. What he holds, x lots net bought in an interval, is worth

    V(x) = E[max over g of (tariff(x + g - d) - cost(g))]    with 0 <= g <= capacity,
    cost(g) = cost_first g + cost_slope g^2 / 2,

where d is his net energy, uncertain in the forward stage and known in the real-time stage, and tariff(y) what the
utility pays for a surplus y, or charges for a deficit, at its two prices. Retail is at least feed-in and costs rise, so
V is concave: marginal values fall. A contract bought upstream adds a block to x, one sold downstream takes one away,
and for a concave function of their balance contracts are full substitutes (Morstyn, Teytelboym and McCulloch 2019): a
dearer contract never makes him drop another of the same side, nor take one more of the other side. Loads that can be
moved from one interval to another are not modelled; each interval stands by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.agents.cohort import View
from wattle.core.columns import F64, I32, I64
from wattle.core.messages import Call, Tariff
from wattle.core.tables import ANYONE, BUY, SELL, Orders, Trades

TIE_TICKS = 1e-6
"""Values as close as this are equal; a member who is indifferent signs."""

PARTICIPANTS_MAX = 1 << 31


def _nobody() -> I64:
    return np.zeros((1, 1), np.int64)


@dataclass(frozen=True, eq=False)
class ContractMembers:
    """Members who answer quotes for contracts of `block_lots` with the bundle that is worth most to them.

    Each of the numbers is one for all or one for each member [N]. `capacity` lots can be produced (or not used) at
    `cost_first` ticks for the first lot and `cost_slope` ticks more for each further one. A supplier passes on at most
    `throughput` lots in an interval, and each lot that he sells costs him `handling` ticks. `charge` ticks go to
    the grid for each lot that a member buys from another. `errors` [W, N] are equally likely scenarios of what net
    energy may differ from what is expected. `tariff` prices what no contract covers.

    `links` [2, E] are the buyer and seller of each pair that may sign contracts; without them a member deals with
    anyone. `held` [T, N] is what was bought, less what was sold, in earlier gates from interval `held_first` on.
    """

    members: I32
    tariff: Tariff
    block_lots: int = 100
    cost_first: F64 | float = 0.0
    cost_slope: F64 | float = 0.0
    capacity: I64 | int = 0
    throughput: I64 | int = 0
    handling: F64 | float = 0.0
    charge: float = 0.0
    errors: I64 = field(default_factory=_nobody)
    links: NDArray[np.int32] | None = None
    held: I64 = field(default_factory=_nobody)
    held_first: int = 0

    def respond(self, call: Call, view: View) -> Orders:
        """Open with the contracts that might be of use, or answer the quotes of a round."""
        return self._open(call, view) if call.round == 0 else self._answer(call, view)

    def real_time(self, trades: Trades, first: int, stop: int) -> ContractMembers:
        """Return these members in the real-time stage of the intervals: nothing is uncertain, and positions count."""
        held = self._held(np.arange(first, stop))
        for who, sign in ((trades.buyer, 1), (trades.seller, -1)):
            place = np.minimum(np.searchsorted(self.members, who), self.members.size - 1)
            mine = (self.members[place] == who) & (trades.interval >= first) & (trades.interval < stop)
            np.add.at(held, (trades.interval[mine] - first, place[mine]), sign * trades.quantity[mine])
        return replace(self, errors=_nobody(), held=held, held_first=first)

    def metered(self, net: I64, first: int) -> I64:
        """Return what meters will read [K, N]: net energy less what is best produced with what members hold."""
        span = np.arange(first, first + net.shape[0])
        retail, feed_in = (price.astype(np.float64)[:, None] for price in self.tariff.at(span.astype(np.int32)))
        numbers = (self._each(name)[None, :] for name in ("cost_first", "cost_slope", "capacity"))
        made = _produced(net - self._held(span).astype(np.float64), retail, feed_in, *numbers)
        read: I64 = net - np.rint(made).astype(np.int64)
        return read

    def worth(self, x: F64, interval: I64, member: I64, expected: I64) -> F64:
        """Return V(x) in ticks x lots for positions [R] of members (by place) in intervals with expected net energy."""
        retail, feed_in = (price.astype(np.float64) for price in self.tariff.at(interval.astype(np.int32)))
        first, slope, most = (self._each(name)[member] for name in ("cost_first", "cost_slope", "capacity"))
        total = np.zeros(x.size)
        for error in np.broadcast_to(self.errors, (self.errors.shape[0], self.members.size)):
            short = expected + error[member] - x
            made = _produced(short, retail, feed_in, first, slope, most)
            left = made - short
            total += np.where(left < 0, retail, feed_in) * left - first * made - slope * made * made / 2
        mean: F64 = total / self.errors.shape[0]
        return mean

    def _each(self, name: str) -> F64:
        return np.broadcast_to(np.asarray(getattr(self, name), np.float64), self.members.shape)

    def _held(self, span: I64) -> I64:
        """Return what members hold [K, N] in a span of intervals; nothing outside those that are known."""
        held = np.zeros((span.size, self.members.size), np.int64)
        row = span - self.held_first
        known = (row >= 0) & (row < self.held.shape[0])
        held[known] = np.broadcast_to(self.held, (self.held.shape[0], self.members.size))[row[known]]
        return held

    def _most(self, call: Call, view: View) -> tuple[I64, I64]:
        """Return the lots that members might want to buy and to sell [K, N], in whole blocks."""
        held, block = self._held(np.arange(call.first, call.stop)), self.block_lots
        errors = np.broadcast_to(self.errors, (self.errors.shape[0], self.members.size))
        passed, capacity = (self._each(name).astype(np.int64) for name in ("throughput", "capacity"))
        buys = np.maximum(0, view.expected + errors.max(axis=0) - held) + passed
        sells = np.maximum(0, held - view.expected - errors.min(axis=0)) + capacity + passed
        return -(-buys // block) * block, -(-sells // block) * block

    def _open(self, call: Call, view: View) -> Orders:
        """Name partners and lots. Beyond the limits, which follow from the utility's prices, none is of use."""
        span, parts = np.arange(call.first, call.stop, dtype=np.int32), []
        for place, side in enumerate((BUY, SELL)):
            lots, price = self._most(call, view)[place], self.tariff.at(span)[place]
            if side == BUY:
                price = np.floor(price - self.charge).astype(np.int64)
            who, partner = self._partners(place)
            time, row = np.nonzero(lots[:, who])
            parts.append(
                Orders(
                    id=np.zeros(time.size, np.int64),
                    participant=self.members[who[row]],
                    zone=np.zeros(time.size, np.int32),
                    interval=span[time],
                    side=np.full(time.size, side, np.int8),
                    quantity=lots[time, who[row]],
                    limit=price[time],
                    partner=partner[row].astype(np.int32),
                )
            )
        return Orders.concat(*parts)

    def _partners(self, place: int) -> tuple[I64, I64]:
        """Return each own member (by place) beside a partner of his."""
        if self.links is None:
            return np.arange(self.members.size), np.full(self.members.size, ANYONE)
        mine = np.isin(self.links[place], self.members)
        return np.searchsorted(self.members, self.links[place][mine]), self.links[1 - place][mine].astype(np.int64)

    def _answer(self, call: Call, view: View) -> Orders:
        """Answer with the best bundle: one order for each pair of which contracts are wanted."""
        up, down = (
            _Side.of(self, call, side, most) for side, most in zip((BUY, SELL), self._most(call, view), strict=True)
        )
        bought, sold = self._best(call, view, up, down)
        return Orders.concat(up.orders(self, call, bought), down.orders(self, call, sold))

    def _best(self, call: Call, view: View, up: _Side, down: _Side) -> tuple[I64, I64]:
        """Return the contracts in the best bundle of each node (member and interval), as rows of both sides.

        Inside a member what he might buy meets what he might sell, his own use and his own means among them: the
        cheapest is taken for the best use as long as that pays. This is the maximum of V(x) plus money, because V is
        concave.
        """
        node = np.unique(np.concatenate((up.node, down.node)))
        own_node, own_value, own_bid = self._own(call, view, node, up.node, down.node)
        bids = _Sorted.of(node, down, own_node[own_bid], own_value[own_bid])
        asks = _Sorted.of(node, up, own_node[~own_bid], own_value[~own_bid])
        both = np.minimum(bids.count, asks.count)
        place = np.arange(both.sum()) - np.repeat(np.cumsum(both) - both, both)
        at = np.repeat(np.arange(node.size), both)
        pays = bids.value[bids.first[at] + place] >= asks.value[asks.first[at] + place] - TIE_TICKS
        # Values fall and prices rise, so the first pair that does not pay is the last one to look at.
        fits = np.bincount(at, pays, node.size).astype(np.int64)
        return asks.within(fits), bids.within(fits)

    def _own(self, call: Call, view: View, node: I64, up: I64, down: I64) -> tuple[I64, F64, NDArray[np.bool_]]:
        """Return what one block more is worth (`bid`) and what one less costs, from each node's position on."""
        counts = [np.bincount(np.searchsorted(node, side), minlength=node.size) for side in (up, down)]
        time, member = node // self.members.size, node % self.members.size
        points = counts[0] + counts[1] + 1
        at = np.repeat(np.arange(node.size), points)
        blocks = np.arange(at.size) - np.repeat(np.cumsum(points) - points + counts[1], points)
        held = self._held(np.arange(call.first, call.stop))[time, member]
        x = (held[at] + blocks * self.block_lots).astype(np.float64)
        worth = self.worth(x, call.first + time[at], member[at], view.expected[time[at], member[at]])
        step = np.flatnonzero(at[1:] == at[:-1])
        return node[at[step]], (worth[step + 1] - worth[step]) / self.block_lots, blocks[step] >= 0


def _produced(short: Any, retail: Any, feed_in: Any, first: Any, slope: Any, capacity: Any) -> Any:
    """Return the best production: what is short, as long as it costs less than retail; at least what feed-in pays."""
    flat = np.maximum(slope, 1e-300)
    dear, cheap = (
        np.where(price > first, np.minimum((price - first) / flat, capacity), 0) for price in (retail, feed_in)
    )
    return np.clip(short, cheap, dear)


@dataclass(frozen=True, eq=False)
class _Side:
    """Contracts seen from one side, at most as many as are of use: node (member and interval), quote, worth, rank.

    `rank` decides between equal prices: first contracts of all partners come before second ones, and partners are
    looked at in turn from the member's own number on, so that not everybody goes to the same one.
    """

    side: int
    node: I64
    row: I64
    worth: F64
    rank: I64

    @classmethod
    def of(cls, who: ContractMembers, call: Call, side: int, most: I64) -> _Side:
        """Return the quotes that these members are asked on one side, the best ones up to `most` lots [K, N]."""
        quotes = call.quotes
        mine, other = (quotes.buyer, quotes.seller) if side == BUY else (quotes.seller, quotes.buyer)
        row = np.flatnonzero(np.isin(mine, who.members))
        member = np.searchsorted(who.members, mine[row])
        time = quotes.interval[row].astype(np.int64) - call.first
        node = time * who.members.size + member
        worth = quotes.price[row].astype(np.float64)
        worth += who.charge if side == BUY else -who._each("handling")[member]
        partner = other[row].astype(np.int64)
        number = _count_from_0(np.lexsort((row, partner, node)), node, partner)
        rank = number * PARTICIPANTS_MAX + (partner - mine[row]) % PARTICIPANTS_MAX
        best = _count_from_0(np.lexsort((rank, side * worth, node)), node)
        kept = np.flatnonzero(best < most[time, member] // who.block_lots)
        return cls(side, node[kept], row[kept], worth[kept], rank[kept])

    def orders(self, who: ContractMembers, call: Call, chosen: I64) -> Orders:
        """Return one order for each pair, with the chosen contracts and the worst of their prices as limit."""
        quotes = call.quotes.take(self.row[chosen])
        mine, other = (quotes.buyer, quotes.seller) if self.side == BUY else (quotes.seller, quotes.buyer)
        order = np.lexsort((quotes.price * self.side, other, mine, quotes.zone, quotes.interval))
        columns = [column[order] for column in (quotes.interval, quotes.zone, mine, other)]
        last = np.ones(order.size, bool)
        if order.size:
            last[:-1] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
        place = np.flatnonzero(last)
        interval, zone, member, partner = (column[place] for column in columns)
        return Orders(
            id=np.zeros(place.size, np.int64),
            participant=member,
            zone=zone,
            interval=interval,
            side=np.full(place.size, self.side, np.int8),
            quantity=np.diff(place, prepend=-1) * who.block_lots,
            limit=quotes.price[order][place],
            partner=partner,
        )


def _count_from_0(order: I64, *keys: I64) -> I64:
    """Return the number of each row within its run of equal keys, in the given order of the rows."""
    first = np.ones(order.size, bool)
    first[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    start = np.flatnonzero(first)
    number = np.empty(order.size, np.int64)
    number[order] = np.arange(order.size) - np.repeat(start, np.diff(start, append=order.size))
    return number


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Bids (or asks) of all nodes, best first; `row` is -1 for what is the member's own."""

    first: I64
    count: I64
    value: F64
    row: I64

    @classmethod
    def of(cls, node: I64, contracts: _Side, own_node: I64, own_value: F64) -> _Sorted:
        """Sort by node and value; of equals contracts come before what is own."""
        at = np.concatenate((contracts.node, own_node))
        value = np.concatenate((contracts.worth, own_value))
        row = np.concatenate((np.arange(contracts.node.size), np.full(own_node.size, -1)))
        rank = np.concatenate((contracts.rank, np.full(own_node.size, np.iinfo(np.int64).max)))
        order = np.lexsort((rank, contracts.side * value, at))
        first, stop = (np.searchsorted(at[order], node, end) for end in ("left", "right"))
        return cls(first, stop - first, value[order], row[order])

    def within(self, fits: I64) -> I64:
        """Return the contracts among the first `fits` of each node."""
        place = np.arange(fits.sum()) - np.repeat(np.cumsum(fits) - fits, fits)
        found = self.row[np.repeat(self.first, fits) + place]
        return np.sort(found[found >= 0])
