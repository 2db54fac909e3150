"""Many sellers lead by what they offer, many buyers follow with what they bid: a Stackelberg game of two crowds.

Sellers move first. Each decides how much of his surplus to offer and keeps the rest in store; he weighs what he earns
against what a stored lot is worth to him. Buyers see what is on offer and answer, each naming a unit price c_j within
his budget: he pays c_j for each lot on offer. Energy goes to the buyers in proportion to their bids, the money to the
sellers in proportion to what they offered (Lee, Guo, Choi and Zukerman 2015). With E lots on offer, sum of bids C:

    buyer j gets E c_j / C and pays c_j E <= budget_j, so his lots cost C each;
    seller i earns (E_i / E) C E and keeps stores worth worth_i (surplus_i - E_i).

Buyers want energy, so each spends his budget: c_j = budget_j / E. All money M is spent whatever is offered, and the
sellers' game has one equilibrium. Without bounds on the offers, for n sellers who all take part (`closed_form` has
bounds, and drops sellers to whom a stored lot is worth more than the price),

    price P = (sum of worth) / (n - 1),    E = M / P,    E_i = E (1 - worth_i / P).

**What is ours.** Structure and order of moves are the paper's. Its utility functions were not at hand; a store that is
worth the same per lot and budgets that are spent are ours. Limit orders carry the numbers:

- a bid of q lots at limit l has the budget `budget_percent` of q x l;
- an offer of g lots at limit v is a surplus of g, and a stored lot is worth v x `storage_percent` / 100. Offers of one
  member at several limits are one leader with a store whose first lots are the cheapest to part with;
- whoever sells in a zone and interval is a leader there, and his own bids there stay out: he does not answer himself;
- limits hold. A bid whose limit is below the price stands aside, one at the price takes part with a part of its money,
  and one whose budget would buy more than its q lots brings only the money for these. All this is settled together:
  offers rise and demand falls with the price, so there is one price at which both meet. Then the leaders play for the
  money on the table, at no price above the lowest limit among the bids that take part;
- where sellers do not press the price below all limits (one seller has no reason to), they stop at the limit of a bid:
  the one at which they earn most together, with the same shadow price of the stop for all (Rosen 1965).

The report: `deviation_gain` is the most that the largest seller of a zone would win by another offer for the money on
the table (0: nothing); `answered_gain` the same if all buyers answered anew, those who stood aside and those who kept
some of their money included. Where all buyers have spent all they have (`exact` = 1) it is 0 too, and the point is the
equilibrium of the paper's game; else a strong seller may gain by offering less, or by selling to those who stand aside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject, ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.segments import grouped
from wattle.core.tables import ANY_PRICE, SELL, Orders, Prices, Trades
from wattle.market.auction_double import has_partner, mean_prices, paired, trades_of
from wattle.market.leaders_game import Board, board_of, settle, tried_offers
from wattle.market.mechanism import BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, mechanism
from wattle.market.own_orders import without_own_answers
from wattle.market.takers import with_prices
from wattle.market.whole_lots import whole_lots

F64 = NDArray[np.float64]


@mechanism(
    "multi-leader",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE},
    source="Lee, Guo, Choi and Zukerman 2015, IEEE Transactions on Industrial Electronics 62(6) (structure)",
)
@dataclass(frozen=True)
class MultiLeader:
    """Each seller decides how much to offer, knowing that buyers answer with unit prices within their budgets.

    A bid's budget is `budget_percent` of its quantity x limit. `storage_percent` is how much a member weighs a lot in
    store: at 100 it is worth his limit, at 120 a fifth more. Energy goes to buyers in proportion to their bids.
    """

    budget_percent: int = 50
    storage_percent: int = 100

    def __post_init__(self) -> None:
        ensure(1 <= self.budget_percent <= 100, f"budget_percent is {self.budget_percent}, expected 1 to 100")
        weight = self.storage_percent
        ensure(100 <= weight <= 10_000, f"storage_percent is {weight}, expected 100 to 10000: limits must hold")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Find the equilibrium of each zone and interval and trade it."""
        if has_partner(orders):
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        book, starts = grouped(without_own_answers(orders, SELL))
        book = with_prices(book, starts, context)
        board = board_of(book, starts, self.budget_percent / 100, self.storage_percent / 100)
        if board is None:
            unpriced = bool((book.limit == ANY_PRICE).any())
            nothing = Clearing(Trades.empty(), Prices.empty())
            return None, Clearing.refuse(Reject.NO_PRICE) if unpriced else nothing
        result = settle(board)
        fill = _whole(book, starts, board, result.taken, result.offered)
        price = np.zeros(starts.size - 1, np.int64)
        # All limits are whole ticks, so the nearest tick is on the right side of every limit that the price is.
        price[board.group] = np.rint(result.price).astype(np.int64)
        buy, sell, lots = paired(book, starts, fill, np.arange(len(book)))
        trades = trades_of(book, buy, sell, lots, np.repeat(price, np.diff(starts))[buy])
        fixed, anew = tried_offers(board, result)
        report = {
            "games": float(board.group.size),
            "sellers_offering": float(np.count_nonzero(result.offers)),
            "stored_lots": float(board.surplus.sum() - result.offers.sum()),
            "bids_aside": float(np.count_nonzero(result.taken == 0)),
            "exact": float(result.exact),
            "deviation_gain": fixed,
            "answered_gain": anew,
        }
        return None, Clearing(trades, mean_prices(trades), report=report)


@dataclass(frozen=True, eq=False)
class Offers:
    """The equilibrium of one zone: what each seller offers [n], and what a lot costs."""

    lots: F64
    price: float


def closed_form(worth: F64, surplus: F64, money: float) -> Offers:
    """Return the only equilibrium of sellers who compete for a fixed sum of money, in closed form.

    `worth` [n] is what a stored lot is worth to each seller (above 0), `surplus` [n] the most he can offer. Seller i
    offers min(surplus_i, E (1 - worth_i / P)) with E = money / P; the shares of E sum to 1 at one price only. Between
    two prices at which somebody enters, meets his bound or leaves it, that is a quadratic equation in P.

    >>> found = closed_form(np.array([10.0, 10.0]), np.array([100.0, 100.0]), 400.0)
    >>> found.price, found.lots.tolist()
    (20.0, [10.0, 10.0])
    """
    ensure(
        worth.size >= 2 and bool((worth > 0).all()),
        "the game needs two sellers to whom a stored lot is worth something",
    )

    def shares(price: float) -> F64:
        found: F64 = np.minimum(surplus * price / money, np.maximum(0.0, 1.0 - worth / price))
        return found

    inside = 1.0 - 4.0 * worth * surplus / money
    meets = money * (1.0 + np.outer([-1.0, 1.0], np.sqrt(inside[inside > 0]))) / (2.0 * surplus[inside > 0])
    # Beyond the last price everybody is unbounded again and shares tend to n: the sum passes 1 before.
    corners = np.unique(np.concatenate((worth, meets.ravel(), [worth.sum() / (worth.size - 1)])))
    over = np.array([shares(float(price)).sum() for price in corners]) >= 1.0
    last = int(np.argmax(over)) if over.any() else corners.size
    low = corners[last - 1] if last else corners[0] / 2
    high = corners[last] if last < corners.size else 2 * corners[-1]
    middle = (low + high) / 2
    part = (worth < middle) & (surplus > 0)
    bound = part & (surplus * middle / money < 1.0 - worth / middle)
    free = part & ~bound
    # (lots of the bound) P^2 / M + (free sellers - 1) P - (their worth) = 0
    square, single, rest = surplus[bound].sum() / money, np.count_nonzero(free) - 1.0, -worth[free].sum()
    root = np.sqrt(single * single - 4.0 * square * rest)
    price = float(-rest / single if square == 0 else (root - single) / (2.0 * square))
    return Offers(shares(price) * money / price, price)


def _whole(book: Orders, starts: I64, board: Board, taken: F64, offered: F64) -> I64:
    """Return the lots of each row: both sides of a group sum to the same whole number."""
    wanted, given = np.zeros(len(book)), np.zeros(len(book))
    wanted[board.bid_row], given[board.step_row] = taken, offered
    most = [np.where(amount > 0, book.quantity, 0) for amount in (wanted, given)]
    sums = [np.add.reduceat(lots, starts[:-1]) for lots in most]
    volume = np.add.reduceat(given, starts[:-1])
    total = np.minimum(np.minimum(*sums), np.rint(volume).astype(np.int64))
    return whole_lots(starts, wanted, most[0], total) + whole_lots(starts, given, most[1], total)
