"""Contract menus: who needs energy does not know what it costs the others, and offers them contracts to choose from.

A contract names a quantity and a sum of money. The menu has one for each cost that a seller may have, made so that each
seller likes the one that is meant for his cost best. Cheap sellers could pass for dear ones, so they must be left a
gain, their *information rent*; the principal keeps that small by asking dear sellers for less than would be efficient.

With costs c_1 < c_2 < ... of probability f and F = f_1 + ... the best menu gives type k the quantity that is best at
the *virtual cost* c_k + (c_k - c_{k-1}) F_{k-1} / f_k. Each type but the dearest is just kept from taking the next
contract, so the sums are t_k = t_{k+1} + c_k (q_k - q_{k+1}). The cheapest type delivers the efficient quantity, the
dearest one that is served gains nothing. Virtual costs are the slopes between the points (F_k, F_k c_k); where they
fall, types are pooled (ironing), and the slopes of the largest convex function below these points take their place.

D. Baron and R. Myerson, Regulating a monopolist with unknown costs, Econometrica 50, 1982; J.-J. Laffont and
D. Martimort, *The Theory of Incentives*, 2002, chapters 2 and 3; M. Mussa and S. Rosen, Monopoly and product quality,
Journal of Economic Theory 18, 1978, for the other side. In energy: B. Zhang, C. Jiang, J.-L. Yu and Z. Han, A contract
game for direct energy trading in smart grid, IEEE Transactions on Smart Grid, 2016 (one consumer, several sellers).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import grouped
from wattle.core.tables import ANY_PRICE, BUY, SELL, Orders, Trades
from wattle.market.auction_double import has_partner, mean_prices, trades_of
from wattle.market.auction_one_sided import with_tariff
from wattle.market.mechanism import BUDGET_BALANCED, EXACT, INDIVIDUALLY_RATIONAL, SEPARABLE, mechanism

F64 = NDArray[np.float64]

GRID = 256
"""Into how many types a continuous range of costs is cut at most."""

_CASH_MAX = 2.0**60


@mechanism(
    "contract-menu",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Laffont and Martimort 2002, The Theory of Incentives; Baron and Myerson 1982, Econometrica 50; "
    "Zhang et al. 2016, IEEE Transactions on Smart Grid (contract game)",
)
@dataclass(frozen=True)
class ContractMenu:
    """The largest buyer offers sellers of unknown cost a menu of quantities and sums; each takes what suits his cost.

    `principal` is "buyer" or "seller" (who then offers buyers of unknown worth a menu). In each zone and interval he is
    the member with the largest order on that side, and his order tells what energy is worth to him: the limit for the
    first lot, falling evenly by `fall_percent` of it until the last (a seller's cost rises). He splits what he wants
    evenly among the members on the other side and makes the same menu for all.

    `types` names the costs that he thinks possible, with their chances in percent: "8:30,12:50,18:20", or "8..18" if
    all between two costs are equally likely; in ticks, or in multiples of `type_unit_ticks`. Empty: all between the
    utility's two prices are equally likely.

    A member's limit is his type: he gets the contract that is best at that cost, of those that he has energy for (his
    largest order counts). The menu does not depend on what he says, so nobody on the other side gains by naming another
    limit or less energy. The principal is not asked to be truthful. A sum that is no multiple of the quantity is paid
    in two trades, one tick apart.
    """

    principal: str = "buyer"
    types: str = ""
    type_unit_ticks: int = 1
    fall_percent: int = 100

    def __post_init__(self) -> None:
        ensure(self.principal in ("buyer", "seller"), f'principal is {self.principal!r}, expected "buyer" or "seller"')
        ensure(0 <= self.fall_percent <= 1000, f"fall_percent is {self.fall_percent}, expected 0 to 1000")
        ensure(self.type_unit_ticks > 0, f"type_unit_ticks is {self.type_unit_ticks}, expected 1 or more")
        types_of(self.types, self.type_unit_ticks)

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Offer one menu in every zone and interval, and let the members choose."""
        if has_partner(orders):
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        if not self.types and context.tariff is None:
            return None, Clearing.refuse(Reject.NO_TARIFF)
        book, starts = grouped(with_tariff(orders, context))
        leads = BUY if self.principal == "buyer" else SELL
        known: dict[tuple[int, ...], Types] = {}
        parts, report = [Trades.empty()], np.zeros(5)
        for first, stop in pairwise(starts.tolist()):
            here = book.take(slice(first, stop))
            parties = parties_of(here, leads)
            if parties is None:
                continue
            principal, agents = parties
            if abs(int(here.limit[principal])) == ANY_PRICE:
                return None, Clearing.refuse(Reject.NO_TARIFF)
            span = () if self.types else _tariff_at(here, context)
            if span not in known:
                possible = types_of(self.types, self.type_unit_ticks) or evenly(*span)
                known[span] = Types.of(*possible, turned=leads == SELL)
            types = known[span]
            deal = Deal.between(here, principal, agents, leads, self.fall_percent, types)
            if deal.lots * (abs(deal.worth) + deal.fall + float(np.abs(types.cost).max())) > _CASH_MAX:
                return None, Clearing.refuse(Reject.TOO_LARGE)
            menu = best_menu(deal, types)
            chosen = menu.chosen(deal.cost, deal.most)
            parts.append(_contracted(here, principal, agents, leads, menu, chosen))
            report += _figures(deal, menu, types, chosen)
        trades = Trades.concat(*parts)
        names = ("information_rent", "expected_information_rent", "menu_welfare", "first_best_welfare", "contracts")
        return None, Clearing(trades, mean_prices(trades), report=dict(zip(names, report.tolist(), strict=True)))


@dataclass(frozen=True, eq=False)
class Types:
    """Costs that an agent may have, rising, their chances (whole-number weights) and virtual costs, [K] each."""

    cost: I64
    weight: I64
    virtual: F64

    @classmethod
    def of(cls, cost: I64, weight: I64, *, turned: bool = False) -> Types:
        """Return the types; `turned` if they are worths of buyers, which count as costs below nought."""
        if turned:
            cost, weight = -cost[::-1], weight[::-1]
        return cls(cost, weight, virtual_costs(cost, weight))


@dataclass(frozen=True, eq=False)
class Deal:
    """One principal and his agents, turned so that he buys: `worth` of the first lot, and how far it falls to the last.

    `lots` is what each agent may deliver at most by the principal's wish, `most` [N] by what he has, `cost` [N] is his
    limit. A principal who sells at cost c has the worth -c, a buyer of worth v the cost -v.
    """

    worth: int
    fall: float
    lots: int
    cost: I64
    most: I64

    @classmethod
    def between(cls, book: Orders, principal: int, agents: I64, leads: int, fall_percent: int, types: Types) -> Deal:
        """Read one group of a book; an agent of any price counts as the cheapest type."""
        limit, cost = int(book.limit[principal]), leads * book.limit[agents]
        return cls(
            leads * limit,
            abs(limit) * fall_percent / 100,
            int(book.quantity[principal]) // agents.size,
            np.where(cost == -ANY_PRICE, types.cost[0], cost),
            book.quantity[agents],
        )

    def value(self, lots: I64) -> F64:
        """Return what so many lots of one agent are worth to the principal, in cash."""
        amount = lots.astype(np.float64)
        worth: F64 = self.worth * amount - self.fall * amount * amount / (2 * max(self.lots, 1))
        return worth

    def best(self, cost: NDArray[np.generic]) -> I64:
        """Return the whole lots that are best for a principal to whom each costs so much."""
        margin = self.worth - cost.astype(np.float64)
        if self.fall == 0:
            return np.where(margin > 0, self.lots, 0).astype(np.int64)
        # The q-th lot is worth what the value grows by it, so it counts half a lot above its end.
        wanted = np.floor(self.lots * margin / self.fall + 0.5)
        lots: I64 = np.where(margin > 0, np.clip(wanted, 0, self.lots), 0).astype(np.int64)
        return lots


@dataclass(frozen=True, eq=False)
class Menu:
    """Contracts by rising cost: whole lots, none larger than the one before, and sums in cash, [K] each."""

    cost: I64
    lots: I64
    cash: I64

    def chosen(self, cost: I64, most: I64) -> I64:
        """Return the best contract of each agent, K for none; of several the one with the most lots.

        What an agent gains first rises and then falls along the menu, so the best is the first contract that is meant
        for a cost as high as his, or the first one after it that he has energy for.
        """
        meant = np.searchsorted(self.cost, cost, side="left")
        able = np.searchsorted(-self.lots, -most, side="left")
        place: I64 = np.maximum(meant, able)
        return np.where(np.append(self.lots, 0)[place] > 0, place, self.cost.size)


def types_of(text: str, unit: int) -> tuple[I64, I64] | None:
    """Read costs and chances from a text; None if it is empty.

    >>> [part.tolist() for part in types_of("8:30,12:50,18:20", 1)]
    [[8, 12, 18], [30, 50, 20]]
    """
    if not text.strip():
        return None
    if ".." in text:
        low, high = (_whole(word, text) for word in text.split("..", 1))
        ensure(low < high, f"types: {text!r} is no range from a lower to a higher cost")
        return evenly(low * unit, high * unit)
    rows = []
    for part in text.split(","):
        cost, colon, chance = part.partition(":")
        ensure(colon, f"types: {part.strip()!r} is not cost:percent, such as 8:30")
        rows.append((_whole(cost, text) * unit, _whole(chance, text)))
    costs, weights = np.ascontiguousarray(np.array(sorted(rows), np.int64).T)
    ensure((np.diff(costs) > 0).all(), f"types: {text!r} names a cost twice")
    ensure((weights > 0).all() and weights.sum() == 100, f"types: the chances in {text!r} do not sum to 100 percent")
    return costs, weights


def evenly(low: int, high: int) -> tuple[I64, I64]:
    """Return costs that stand for a continuous range, cut into steps of a tick or `GRID` steps.

    A contract is taken by all costs of a step, so the dearest of them is its type, and the width is its weight.

    >>> [part.tolist() for part in evenly(3, 6)]
    [[4, 5, 6], [1, 1, 1]]
    """
    if low == high:
        return np.array([low], np.int64), np.ones(1, np.int64)
    edges = np.linspace(low, high, min(high - low, GRID) + 1).round().astype(np.int64)
    return edges[1:], np.diff(edges)


def virtual_costs(costs: I64, weights: I64) -> F64:
    """Return what a lot of each type costs with the rents that it leaves to cheaper types, never falling (ironed), [K].

    >>> virtual_costs(np.array([8, 12, 18]), np.array([30, 50, 20])).tolist()
    [8.0, 14.4, 42.0]
    """
    # In whole numbers of any size: chance times cost, and products of both, do not fit into 64 bits.
    chance = [0, *accumulate(weights.tolist())]
    paid = [0, *(so_far * cost for so_far, cost in zip(chance[1:], costs.tolist(), strict=True))]
    corners = [0]  # of the largest convex function below the points (chance, paid)
    for point in range(1, len(chance)):
        while len(corners) > 1:
            last, before = corners[-1], corners[-2]
            rise = (paid[last] - paid[before]) * (chance[point] - chance[last])
            if rise < (paid[point] - paid[last]) * (chance[last] - chance[before]):
                break
            corners.pop()
        corners.append(point)
    slopes = [(paid[b] - paid[a]) / (chance[b] - chance[a]) for a, b in pairwise(corners)]
    return np.repeat(slopes, np.diff(corners)).astype(np.float64)


def best_menu(deal: Deal, types: Types) -> Menu:
    """Return the menu that is best for the principal of all under which no type likes another's contract better."""
    lots = deal.best(types.virtual)
    # A type gains what the next dearer one gains, and what it saves on that one's quantity.
    gains = np.append(np.diff(types.cost) * lots[1:], 0)
    return Menu(types.cost, lots, types.cost * lots + np.cumsum(gains[::-1])[::-1])


def parties_of(book: Orders, leads: int) -> tuple[int, I64] | None:
    """Return the row of the principal and one row of each member on the other side of a group, their largest orders."""
    side = book.side == leads
    if side.all() or not side.any():
        return None
    principal = int(np.argmax(np.where(side, book.quantity, 0)))
    others = np.flatnonzero(~side & (book.participant != book.participant[principal]))
    order = others[np.lexsort((others, -book.quantity[others]))]
    _, first = np.unique(book.participant[order], return_index=True)
    return (principal, np.sort(order[first])) if first.size else None


def _contracted(book: Orders, principal: int, agents: I64, leads: int, menu: Menu, chosen: I64) -> Trades:
    taken = np.flatnonzero(chosen < menu.cost.size)
    lots, cash = menu.lots[chosen[taken]], menu.cash[chosen[taken]]
    price = cash // lots
    odd = cash - price * lots
    rows = np.repeat(agents[taken], 2)
    parts = np.column_stack((lots - odd, odd)).ravel()
    prices = np.column_stack((price, price + 1)).ravel()
    kept = parts > 0
    rows, parts, prices = rows[kept], parts[kept], prices[kept]
    head = np.full(rows.size, principal, np.int64)
    buy, sell = (head, rows) if leads == BUY else (rows, head)
    return trades_of(book, buy, sell, parts, leads * prices)


def _figures(deal: Deal, menu: Menu, types: Types, chosen: I64) -> F64:
    """Return rents left and expected, welfare reached and possible, and how many contracts were taken."""
    lots, cash = np.append(menu.lots, 0)[chosen], np.append(menu.cash, 0)[chosen]
    left = (menu.cash - menu.cost * menu.lots).astype(np.float64)
    expected = (left * types.weight).sum() / types.weight.sum() * deal.cost.size
    first_best = np.minimum(deal.best(deal.cost), deal.most)
    cost = deal.cost.astype(np.float64)
    return np.array(
        [
            (cash - cost * lots).sum(),
            expected,
            (deal.value(lots) - cost * lots).sum(),
            (deal.value(first_best) - cost * first_best).sum(),
            np.count_nonzero(lots),
        ]
    )


def _tariff_at(book: Orders, context: Context) -> tuple[int, int]:
    assert context.tariff is not None
    retail, feed_in = context.tariff.at(book.interval[:1])
    return int(feed_in[0]), int(retail[0])


def _whole(word: str, text: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"types: {word.strip()!r} in {text!r} is no whole number") from None
