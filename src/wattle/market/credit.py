"""Credit for buyers: a community bank names interest and penalty, and each buyer borrows as much as that is worth.

After Z. Li, J. Kang, R. Yu, D. Ye, Q. Deng and Y. Zhang, Consortium blockchain for secure energy trading in industrial
internet of things, IEEE Transactions on Industrial Informatics 14(8), 2018. There buyers lack coins while earlier sales
wait to be confirmed; a credit bank lends them, leads by naming the loan's price and the penalty rate for what is repaid
late, and every borrower follows with the amount that is best for him. The paper's utility functions were not at hand;
what a buyer's lots are worth to him stands in his orders here, and his answer follows from them. At the price p of the
market a lot of limit l is bought with borrowed money as long as

    l >= p (1 + r + late x s)

with interest r, penalty s and the part of his loan that he repays late. Own money is free of interest, so it also buys
lots that are worth no more than their price, the best first. The bank sees these answers and takes the rates with the
largest profit, sum of (r + late x s - cost) x loan, among all whole per mille up to the two caps. Where worth falls
evenly from the price's (1 + m) fold to the price itself this is r = (m + cost) / 2, where it falls as that of a
logarithm it is a square root; the tests show both.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import ensure
from wattle.core.columns import I64
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.tables import ANY_PRICE, COMMUNITY_FUND, NO_ORDER, Orders, Trades, Transfers
from wattle.market.auction_one_sided import with_tariff
from wattle.market.inner_rule import built_inner, check_inner, cleared_at_once
from wattle.market.keys import Shares
from wattle.market.mechanism import BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, mechanism
from wattle.market.share import weights_of

COMMUNITY_SHARE = 7
"""Code of transfers between members and their community (see `ledger.accounts`)."""

WHOLE = 100_000
"""Rates are counted in per mille x percent: interest in per mille times the hundred per cent of a loan."""

RATE_MAX = 1_000
_ALWAYS = 1 << 60  # the rate up to which a lot is bought that costs nothing, or whose buyer pays any price


@mechanism(
    "credit",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL},
    source="Li et al. 2018, IEEE Transactions on Industrial Informatics 14(8): credit-based payment and loan price",
)
@dataclass(frozen=True)
class Credit:
    """Buyers who lack money borrow from the community fund, which leads by naming interest and penalty rate.

    `inner` is the rule that finds trades and prices as if everybody could pay; it must join members directly and need
    no transfers. `wallets` says what percent of his bill in an interval a member can pay himself ("A:20,B:0"), for all
    others it is `own_percent`. `late` says what percent of his loan a member repays late. Both rates are found in whole
    per mille, at most `interest_max_per_mille` and `penalty_max_per_mille`; `cost_per_mille` is what the money costs
    the fund, which it counts but pays to nobody here.

    Who finds the loan too dear buys less: the lots stay unsold, at prices that do not change. Interest and penalties
    go to the community fund; the loan itself is paid out and back within the settlement. Several pairs of rates of the
    same profit: the lowest interest, then the lowest penalty. The report counts them in `best_rates` (1: unique).

    The rule keeps its claims with the inner rule that is the default; with another one it has those of them that this
    one has too.
    """

    inner: str = "uniform-auction"
    wallets: Shares = field(default_factory=dict)
    own_percent: int = 50
    late: Shares = field(default_factory=dict)
    interest_max_per_mille: int = 500
    penalty_max_per_mille: int = 500
    cost_per_mille: int = 0

    def __post_init__(self) -> None:
        check_inner(self.inner, "credit")
        for name, most in (
            ("own_percent", 100),
            ("interest_max_per_mille", RATE_MAX),
            ("penalty_max_per_mille", RATE_MAX),
            ("cost_per_mille", RATE_MAX),
        ):
            ensure(0 <= getattr(self, name) <= most, f"{name} is {getattr(self, name)}, expected 0 to {most}")
        for name in ("wallets", "late"):
            for member, percent in getattr(self, name).items():
                ensure(0 <= percent <= 100, f"{name} gives participant {member} {percent} percent, expected 0 to 100")

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Trade as if all could pay, let the bank name its rates, and drop what is not worth a loan."""
        answer = cleared_at_once(built_inner(self.inner), orders, context, ("credit", self.inner))
        if answer.refused is not None or len(answer.trades) == 0:
            return None, answer
        direct = (answer.trades.buy_order != NO_ORDER) & (answer.trades.sell_order != NO_ORDER)
        ensure(
            direct.all() and len(answer.transfers) == 0,
            f"credit: {self.inner} moves money or energy past its trades; choose a rule that joins members directly",
        )
        bills = bills_of(answer.trades, with_tariff(orders, context), self)
        rates = best_rates(bills, self)
        lots = bills.lots_bought(rates)
        trades = bills.trades.replace(quantity=lots).take(lots > 0)
        transfers, paid = bills.repaid(rates)
        report = {
            "interest_per_mille": float(rates.interest),
            "penalty_per_mille": float(rates.penalty),
            "best_rates": float(rates.ties),
            "borrowers": float(np.count_nonzero(bills.loans(rates))),
            "not_financed_lots": float((bills.trades.quantity - lots).sum()),
            **paid,
        }
        whole = trades.take(np.lexsort((trades.sell_order, trades.buy_order, trades.zone, trades.interval)))
        return None, replace(answer, trades=whole, transfers=transfers, report={**answer.report, **report})


@dataclass(frozen=True)
class Rates:
    """What the bank names, in per mille, what that earns (in cash), and how many pairs of rates earn as much."""

    interest: int
    penalty: int
    profit: float = 0.0
    ties: int = 1


@dataclass(frozen=True, eq=False)
class Bills:
    """All trades by buyer and interval, each buyer's best lots first.

    `bearable` [T] is the largest rate (of `WHOLE`) at which a trade is worth a loan, `before` [T] what the better
    trades of the same bill cost; `own` and `late` [B] are a bill's own money in cash and the late percent of its loan.
    """

    trades: Trades
    bearable: I64
    cost: I64
    before: I64
    bill: I64
    own: I64
    late: I64

    def rate(self, rates: Rates) -> I64:
        """Return what a loan costs each bill, of `WHOLE`, [B]."""
        return 100 * rates.interest + self.late * rates.penalty

    def loans(self, rates: Rates) -> I64:
        """Return what each bill borrows at these rates, [B]."""
        bought = np.where(self.bearable >= self.rate(rates)[self.bill], self.cost, 0)
        spent = np.zeros(self.own.size, np.int64)
        np.add.at(spent, self.bill, bought)
        loans: I64 = np.maximum(0, spent - self.own)
        return loans

    def lots_bought(self, rates: Rates) -> I64:
        """Return the lots that each trade keeps, [T]: all that are worth a loan, others as far as own money goes."""
        worth_it = self.bearable >= self.rate(rates)[self.bill]
        price = np.maximum(1, self.trades.buy_price)
        own = np.maximum(0, self.own[self.bill] - self.before) // price
        return np.where(worth_it, self.trades.quantity, np.minimum(own, self.trades.quantity))

    def borrowed(self) -> I64:
        """Return the part of each trade that is paid with borrowed money if it and all better ones are bought, [T]."""
        own = self.own[self.bill]
        part: I64 = np.maximum(0, self.before + self.cost - own) - np.maximum(0, self.before - own)
        return part

    def repaid(self, rates: Rates) -> tuple[Transfers, dict[str, float]]:
        """Return what borrowers pay the fund beside their loans, and the sums for the report."""
        loans = self.loans(rates)
        interest = _part(loans, rates.interest, 1_000)
        penalty = _part(loans, self.late * rates.penalty, WHOLE)
        first = np.searchsorted(self.bill, np.arange(self.own.size))
        who, when = self.trades.buyer[first], self.trades.interval[first]
        parts = []
        for amount in (interest, penalty):
            rows = np.flatnonzero(amount)
            parts.append(
                Transfers(
                    interval=when[rows],
                    payer=who[rows],
                    payee=np.full(rows.size, COMMUNITY_FUND, np.int32),
                    amount=amount[rows],
                    code=np.full(rows.size, COMMUNITY_SHARE, np.int8),
                )
            )
        sums = {"loans_cash": loans, "interest_cash": interest, "penalty_cash": penalty}
        return Transfers.concat(*parts), {name: float(amount.sum()) for name, amount in sums.items()}


def bills_of(trades: Trades, orders: Orders, rule: Credit) -> Bills:
    """Put trades into bills of one buyer in one interval, with what is his own money and how late he repays."""
    rank = np.argsort(orders.id, kind="stable")
    worth = orders.limit[rank[np.searchsorted(orders.id[rank], trades.buy_order)]]
    price = trades.buy_price
    gain = np.where(worth == ANY_PRICE, 0, worth - price)
    free = (price <= 0) | (worth == ANY_PRICE)
    bearable = np.where(free, _ALWAYS, _part(gain, WHOLE, np.maximum(1, price)))
    order = np.lexsort((trades.sell_order, trades.buy_order, -bearable, trades.buyer, trades.interval))
    trades, bearable = trades.take(order), bearable[order]
    change = np.ones(len(trades), bool)
    change[1:] = (trades.interval[1:] != trades.interval[:-1]) | (trades.buyer[1:] != trades.buyer[:-1])
    bill, first = np.cumsum(change) - 1, np.flatnonzero(change)
    cost = np.maximum(0, trades.buy_price) * trades.quantity
    so_far = np.cumsum(cost)
    before = so_far - cost
    before = before - before[first][bill]
    percent = weights_of(rule.wallets, trades.buyer[first], rule.own_percent)
    own = _part(np.add.reduceat(cost, first), percent, 100)
    return Bills(trades, bearable, cost, before, bill, own, weights_of(rule.late, trades.buyer[first], 0))


def best_rates(bills: Bills, rule: Credit) -> Rates:
    """Return the bank's best interest and penalty of all whole per mille, the followers' answers foreseen."""
    borrowed, late = bills.borrowed(), bills.late[bills.bill]
    owing = borrowed > 0
    penalty_max = rule.penalty_max_per_mille if (late[owing] > 0).any() else 0
    interest = np.arange(rule.interest_max_per_mille + 1)[:, None]
    penalty = np.arange(penalty_max + 1)[None, :]
    profit = np.zeros((interest.size, penalty.size))
    for percent in np.unique(late[owing]).tolist():
        rows = np.flatnonzero(owing & (late == percent))
        rate = 100 * interest + percent * penalty
        profit += (rate - 100 * rule.cost_per_mille) * loans_at(bills.bearable[rows], borrowed[rows], rate)
    best = profit.max()
    tied = profit >= best - 1e-12 * abs(best)
    row, column = divmod(int(np.argmax(tied)), penalty.size)
    return Rates(row, column, float(profit[row, column]) / WHOLE, int(tied.sum()))


def loans_at(bearable: I64, borrowed: I64, rate: NDArray[Any]) -> NDArray[np.float64]:
    """Return the sum of the borrowed parts that bear a rate, for every rate of an array."""
    order = np.argsort(bearable, kind="stable")
    above = np.append(np.cumsum(borrowed[order][::-1].astype(np.float64))[::-1], 0.0)
    found: NDArray[np.float64] = above[np.searchsorted(bearable[order], rate, side="left")]
    return found


def _part(amount: I64, times: Any, by: Any) -> I64:
    """Return floor(amount x times / by) for whole numbers of any size."""
    if float(np.abs(amount).max(initial=0)) * float(np.max(times, initial=1)) < _ALWAYS:
        plain: I64 = amount * times // by
        return plain
    exact: I64 = (amount.astype(object) * times // by).astype(np.int64)
    return exact
