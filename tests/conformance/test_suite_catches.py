"""The suite itself: each deliberately broken rule must be caught, by the check that is meant for it.

All rules here are twists of one plain auction, written with loops. The plain one passes everything that it claims.
"""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest

from wattle.core.checks import Reject
from wattle.core.messages import Clearing, Context, Quote, Tariff
from wattle.core.registry import Entry
from wattle.core.tables import (
    ANY_PRICE,
    COMMUNITY_FUND,
    Orders,
    Prices,
    Quotes,
    Trades,
    Transfers,
)
from wattle.market.auction_double import UniformAuction
from wattle.market.mechanism import Claim
from wattle.market.pools import MidMarketRate
from wattle.testing.conformance import ALWAYS, BY_CLAIM, check_mechanism, checks_for, judge, shown
from wattle.testing.generators import KINDS, Case, as_csv, book_of, part
from wattle.testing.trial import ROUNDS_MAX, Trial

PLAIN_CLAIMS = {
    Claim.BUDGET_BALANCED,
    Claim.INDIVIDUALLY_RATIONAL,
    Claim.EFFICIENT,
    Claim.UNIFORM_PRICE,
    Claim.SEPARABLE,
    Claim.EXACT,
}


@dataclass(frozen=True)
class Plain:
    """A uniform auction with loops."""

    def step(self, memory, orders, context):
        if (orders.partner >= 0).any():
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        rows = []
        for interval, zone in sorted(set(zip(orders.interval.tolist(), orders.zone.tolist(), strict=True))):
            mine = (orders.interval == interval) & (orders.zone == zone)
            rows += self.group(orders.take(mine), context)
        return None, cleared(rows)

    def group(self, book, context):
        limit = worth(book, context)
        if (np.abs(limit) >= ANY_PRICE).all():
            return []
        bids, asks = self.merit(book, limit, 1), self.merit(book, limit, -1)
        left = book.quantity.tolist()
        pairs, wait = [], list(reversed(asks))
        for bid in bids:
            while wait and left[bid] and limit[bid] >= limit[wait[-1]]:
                lots = min(left[bid], left[wait[-1]])
                left[bid] -= lots
                left[wait[-1]] -= lots
                pairs.append((bid, wait[-1], lots))
                if left[wait[-1]] == 0:
                    wait.pop()
        if not pairs:
            return []
        return self.priced(book, limit, pairs, self.price(limit, pairs, bids, asks, left))

    def merit(self, book, limit, side):
        return sorted(np.flatnonzero(book.side == side).tolist(), key=lambda row: (-side * limit[row], book.id[row]))

    def price(self, limit, pairs, bids, asks, left):
        """Return the middle of the prices that support the result; without a tariff takers name no price."""
        low = max([limit[ask] for _, ask, _ in pairs] + [limit[bid] for bid in bids if left[bid]])
        high = min([limit[bid] for bid, _, _ in pairs] + [limit[ask] for ask in asks if left[ask]])
        named = [price for price in limit[bids + asks].tolist() if abs(price) < ANY_PRICE]
        low, high = (min(max(bound, min(named)), max(named)) for bound in (low, high))
        return (low + high) // 2

    def priced(self, book, limit, pairs, price):
        return [trade(book, bid, ask, lots, price, price) for bid, ask, lots in pairs]


def worth(book, context):
    if context.tariff is None:
        return book.limit
    retail, feed_in = context.tariff.at(book.interval)
    return np.where(book.limit == ANY_PRICE, retail, np.where(book.limit == -ANY_PRICE, feed_in, book.limit))


def trade(book, bid, ask, lots, buy_price, sell_price):
    names = (book.interval[bid], book.zone[bid], book.participant[bid], book.participant[ask])
    return (*names, book.id[bid], book.id[ask], lots, buy_price, sell_price)


def cleared(rows, **more):
    trades = Trades(*(np.array(column, np.int64) for column in zip(*rows, strict=True))) if rows else Trades.empty()
    prices = {(row[0], row[1]): (row[0], row[1], row[7]) for row in rows}
    columns = zip(*prices.values(), strict=True)
    return Clearing(trades, Prices(*(np.array(c, np.int64) for c in columns)) if prices else Prices.empty(), **more)


# --- rules that break what every rule owes ---


@dataclass(frozen=True)
class CreatesEnergy(Plain):
    """Fill each cheaper offer in full while the bid wants anything, like HAMLET's double auction."""

    def group(self, book, context):
        limit = worth(book, context)
        bids, asks = self.merit(book, limit, 1), self.merit(book, limit, -1)
        pairs = [
            (bid, ask, int(min(book.quantity[bid], book.quantity[ask])))
            for bid, ask in itertools.product(bids[:1], asks)
            if limit[bid] >= limit[ask] and abs(limit[bid]) < ANY_PRICE
        ]
        return self.priced(book, limit, pairs, limit[bids[0]]) if pairs else []


@dataclass(frozen=True)
class Overfills(Plain):
    """Round every trade up to the next ten lots."""

    def priced(self, book, limit, pairs, price):
        return [trade(book, bid, ask, -(-lots // 10) * 10, price, price) for bid, ask, lots in pairs]


@dataclass(frozen=True)
class WrongSeller(Plain):
    """Write the buyer's number into the seller's column."""

    def priced(self, book, limit, pairs, price):
        rows = super().priced(book, limit, pairs, price)
        return [(*row[:3], row[2], *row[4:]) for row in rows]


@dataclass(frozen=True)
class FreeEnergy(Plain):
    """Let members sell without an order."""

    def priced(self, book, limit, pairs, price):
        return [(*row[:5], -1, *row[6:]) for row in super().priced(book, limit, pairs, price)]


@dataclass(frozen=True)
class TwoPrices(Plain):
    """Publish every price twice."""

    def step(self, memory, orders, context):
        memory, clearing = super().step(memory, orders, context)
        return memory, Clearing(clearing.trades, Prices.concat(clearing.prices, clearing.prices))


DICE = itertools.cycle((0, 1, 1))


@dataclass(frozen=True)
class RandomTie(Plain):
    """Serve equal prices by a chance of its own."""

    def merit(self, book, limit, side):
        rows = np.flatnonzero(book.side == side).tolist()
        return sorted(rows, key=lambda row: (-side * limit[row], next(DICE), -row))


@dataclass(frozen=True)
class Remembers(Plain):
    """Keep state in a field and let it leak into prices."""

    seen: list = field(default_factory=list)

    def price(self, limit, pairs, bids, asks, left):
        self.seen.append(1)
        return super().price(limit, pairs, bids, asks, left) - len(self.seen)


@dataclass(frozen=True)
class RowTie(Plain):
    """Serve equal prices in the order of rows."""

    def merit(self, book, limit, side):
        return sorted(np.flatnonzero(book.side == side).tolist(), key=lambda row: (-side * limit[row], row))


@dataclass(frozen=True)
class Mutates(Plain):
    """Count down the caller's own quantities."""

    def step(self, memory, orders, context):
        memory, clearing = super().step(memory, orders, context)
        owner = orders.quantity
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if owner.flags.writeable:
            owner -= 1
        return memory, clearing


@dataclass(frozen=True)
class TakesTheMoon(Plain):
    """Treat the limit of a price taker as a price."""

    def group(self, book, context):
        return super().group(book, Context())

    def price(self, limit, pairs, bids, asks, left):
        return (limit[pairs[-1][0]] + limit[pairs[-1][1]]) // 2


@dataclass(frozen=True)
class IgnoresPartner(Plain):
    """Clear named partners like anyone."""

    def step(self, memory, orders, context):
        return super().step(memory, orders.replace(partner=np.full(len(orders), -1)), context)


@dataclass(frozen=True)
class RefusesAndTrades(Plain):
    """Say no and trade all the same."""

    def step(self, memory, orders, context):
        memory, clearing = super().step(memory, orders, context)
        return memory, Clearing(clearing.trades, clearing.prices, refused=Reject.NO_PRICE)


@dataclass(frozen=True)
class KeepsAnObject(Plain):
    """Remember a set."""

    def step(self, memory, orders, context):
        return {"seen": {1, 2}}, super().step(memory, orders, context)[1]


@dataclass(frozen=True)
class AsksForEver(Plain):
    """Never clear."""

    def step(self, memory, orders, context):
        return None, Quote(Quotes.empty(), 0)


@dataclass(frozen=True)
class NeverTrades(Plain):
    """Clear nothing."""

    def step(self, memory, orders, context):
        return None, cleared([])


@dataclass(frozen=True)
class Raises(Plain):
    """Fall over when a member buys and sells."""

    def group(self, book, context):
        if set(book.participant[book.side > 0]) & set(book.participant[book.side < 0]):
            raise KeyError("both sides")
        return super().group(book, context)


@dataclass(frozen=True)
class ReportsAText(Plain):
    """Report a table."""

    def step(self, memory, orders, context):
        memory, clearing = super().step(memory, orders, context)
        return memory, Clearing(clearing.trades, clearing.prices, report={"book": [1]})


@dataclass(frozen=True)
class FinesStrangers(Plain):
    """Send a bill to somebody without an order."""

    def step(self, memory, orders, context):
        memory, clearing = super().step(memory, orders, context)
        if len(orders) == 0:
            return memory, clearing
        fine = Transfers(orders.interval[:1], np.array([999]), np.array([COMMUNITY_FUND]), np.array([5]), np.array([7]))
        return memory, Clearing(clearing.trades, clearing.prices, transfers=fine)


# --- rules that break a claim ---


@dataclass(frozen=True)
class LosesALot(Plain):
    """Lose one lot of every larger trade, like a rounding."""

    def priced(self, book, limit, pairs, price):
        return [trade(book, bid, ask, max(lots - 1, 1), price, price) for bid, ask, lots in pairs]


@dataclass(frozen=True)
class DropsSecondOrder(Plain):
    """Forget a member's second order at the same price, like lemlab."""

    def group(self, book, context):
        seen, keep = set(), []
        for row in np.argsort(book.id).tolist():
            key = (book.participant[row], book.side[row], book.limit[row])
            keep.append(row) if key not in seen else None
            seen.add(key)
        return super().group(book.take(np.array(keep, np.int64)), context)


@dataclass(frozen=True)
class OwnPrices(Plain):
    """Settle each trade at its own bid's price, like gsy-e's pay-as-clear."""

    def priced(self, book, limit, pairs, price):
        named = [limit[bid] if limit[bid] < ANY_PRICE else price for bid, _, _ in pairs]
        return [trade(book, *pair, own, own) for pair, own in zip(pairs, named, strict=True)]


@dataclass(frozen=True)
class AboveLimit(Plain):
    """Charge one tick more than the dearest bid that trades."""

    def price(self, limit, pairs, bids, asks, left):
        dearest = limit[pairs[0][0]]
        return dearest + 1 if dearest < ANY_PRICE else super().price(limit, pairs, bids, asks, left)


@dataclass(frozen=True)
class TaxedByTransfer(Plain):
    """Take from each buyer by transfer what the price left him, and a little more."""

    def step(self, memory, orders, context):
        memory, clearing = super().step(memory, orders, context)
        trades = clearing.trades
        fund, code = np.full(len(trades), COMMUNITY_FUND), np.full(len(trades), 7)
        taken = Transfers(trades.interval, trades.buyer, fund, trades.quantity * 1000, code)
        return memory, Clearing(trades, clearing.prices, transfers=taken)


@dataclass(frozen=True)
class Subsidised(Plain):
    """Pay sellers one tick more than buyers pay."""

    def priced(self, book, limit, pairs, price):
        return [trade(book, bid, ask, lots, price, price + 1) for bid, ask, lots in pairs]


@dataclass(frozen=True)
class FundPays(Plain):
    """Give each seller a present from the community fund."""

    def step(self, memory, orders, context):
        memory, clearing = super().step(memory, orders, context)
        trades = clearing.trades
        fund, code = np.full(len(trades), COMMUNITY_FUND), np.full(len(trades), 7)
        present = Transfers(trades.interval, fund, trades.seller, trades.quantity, code)
        return memory, Clearing(trades, clearing.prices, transfers=present)


@dataclass(frozen=True)
class LimitsAcross(Plain):
    """Price the first interval higher when there are others."""

    def step(self, memory, orders, context):
        memory, clearing = super().step(memory, orders, context)
        shift = int(np.unique(orders.interval).size > 2)
        trades = clearing.trades.replace(buy_price=clearing.trades.buy_price - shift)
        return memory, Clearing(trades, clearing.prices)


def _compiled_double():
    from wattle.core.compiled import kernel

    made = kernel("i")(lambda price: price // 2)
    made._fast = lambda price: (price + 1) // 2  # rounds up
    return made


HALF = _compiled_double()


@dataclass(frozen=True)
class MachineDiffers(Plain):
    """Round halves otherwise in machine code than in plain Python."""

    def price(self, limit, pairs, bids, asks, left):
        return HALF(2 * super().price(limit, pairs, bids, asks, left) - 1)


CONSERVES = "every lot traded, resting or left"
BROKEN = [
    (CreatesEnergy, CONSERVES),
    (Overfills, CONSERVES),
    (WrongSeller, CONSERVES),
    (FreeEnergy, CONSERVES),
    (TwoPrices, CONSERVES),
    (FinesStrangers, CONSERVES),
    (RandomTie, "same in, same out"),
    (Remembers, "same in, same out"),
    (RowTie, "order of rows irrelevant"),
    (ReportsAText, "whole numbers only"),
    (Mutates, "inputs untouched"),
    (TakesTheMoon, "no price beyond what was named"),
    (IgnoresPartner, "partner honoured or refused"),
    (RefusesAndTrades, "refused book comes back whole"),
    (KeepsAnObject, "memory can be stored"),
    (AsksForEver, "answers within the rounds"),
    (NeverTrades, "answers within the rounds"),
    (Raises, "answers within the rounds"),
    (LosesALot, Claim.EFFICIENT),
    (LosesALot, Claim.UNIFORM_PRICE),
    (DropsSecondOrder, Claim.EFFICIENT),
    (NeverTrades, Claim.EFFICIENT),
    (OwnPrices, Claim.UNIFORM_PRICE),
    (AboveLimit, Claim.INDIVIDUALLY_RATIONAL),
    (TaxedByTransfer, Claim.INDIVIDUALLY_RATIONAL),
    (Subsidised, Claim.BUDGET_BALANCED),
    (FundPays, Claim.BUDGET_BALANCED),
    (LimitsAcross, Claim.SEPARABLE),
    (MachineDiffers, Claim.EXACT),
]


@pytest.mark.parametrize(("cls", "name"), BROKEN, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_broken_rule_is_caught(cls, name):
    claims = frozenset({name} if isinstance(name, Claim) else ())
    results = {result.name: result for result in check_mechanism(Entry("broken", cls, claims), books=60)}
    assert not results[name].passed
    assert results[name].message


def test_the_plain_auction_passes_all_that_it_claims():
    results = check_mechanism(Entry("plain", Plain, frozenset(PLAIN_CLAIMS)), books=60)
    assert [result for result in results if not result.passed] == []
    assert {result.name for result in results} == {c.name for c in ALWAYS} | {str(claim) for claim in PLAIN_CLAIMS}


# --- claims that only small games can test, and claims about time ---


@dataclass(frozen=True)
class PostedPrice(Plain):
    """Everybody trades at the posted price or not at all; first come, first served. Proof against misreports."""

    posted: int = 180

    def group(self, book, context):
        limit = worth(book, context)
        willing = np.where(book.side > 0, limit >= self.posted, limit <= self.posted)
        return super().group(book.replace(limit=np.full(len(book), self.posted)).take(willing), Context())


@dataclass(frozen=True)
class ContinuousBook(Plain):
    """Match each order on arrival at the price of the order that waits; what is left of it waits too."""

    def step(self, memory, orders, context):
        if (orders.partner >= 0).any():
            return memory, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        waiting = [] if memory is None else [list(row) for row in zip(*memory["book"].arrays(), strict=True)]
        rows = []
        for new in sorted((list(row) for row in zip(*orders.arrays(), strict=True)), key=lambda row: row[0]):
            crossing = [w for w in waiting if w[2:4] == new[2:4] and w[4] == -new[4] and new[4] * (new[6] - w[6]) >= 0]
            for old in sorted(crossing, key=lambda row: (new[4] * row[6], row[0])):
                lots, price = min(new[5], old[5]), old[6] if abs(old[6]) < ANY_PRICE else new[6]
                if lots > 0 and abs(price) < ANY_PRICE:
                    buy, sell = (new, old) if new[4] > 0 else (old, new)
                    rows.append((new[3], new[2], buy[1], sell[1], buy[0], sell[0], lots, price, price))
                    new[5] -= lots
                    old[5] -= lots
            waiting = [row for row in [*waiting, new] if row[5] > 0]
        resting = Orders(*(np.array(c, np.int64) for c in zip(*waiting, strict=True))) if waiting else Orders.empty()
        trades = cleared(rows).trades
        return {"book": resting}, Clearing(trades, Prices.empty(), resting)


@dataclass(frozen=True)
class Haggles(Plain):
    """Ask at a rising price until no more is wanted than offered, then let the shorter side trade."""

    def step(self, memory, orders, context):
        if (orders.partner >= 0).any() and memory is None:
            return None, Clearing.refuse(Reject.PARTNER_NOT_SUPPORTED)
        price = 0 if memory is None else memory["price"] + 25
        places = sorted(set(zip(orders.interval.tolist(), orders.zone.tolist(), strict=True)))
        wanted = orders.quantity[orders.side > 0].sum()
        if memory is not None and (wanted <= orders.quantity[orders.side < 0].sum() or price > 500):
            at_price = orders.replace(limit=np.full(len(orders), memory["price"]), partner=np.full(len(orders), -1))
            return memory, Plain().step(None, at_price, Context())[1]
        nobody = np.full(len(places), -1)
        interval, zone = (np.array(column, np.int64) for column in (zip(*places, strict=True) if places else ((), ())))
        return {"price": price}, Quote(Quotes(interval, zone, nobody, nobody, nobody + 1 + price), price // 25)


def failed(cls, *claims, books=80):
    return [r.name for r in check_mechanism(Entry("rule", cls, frozenset(claims)), books=books) if not r.passed]


def test_a_posted_price_is_truthful_and_an_auction_is_not():
    assert failed(PostedPrice, Claim.TRUTHFUL, Claim.BUDGET_BALANCED, Claim.INDIVIDUALLY_RATIONAL) == []
    assert failed(Plain, Claim.TRUTHFUL) == [Claim.TRUTHFUL]
    assert failed(OwnPrices, Claim.TRUTHFUL) == [Claim.TRUTHFUL]


def test_an_equilibrium_is_in_the_core_and_a_pool_is_not():
    assert failed(UniformAuction, Claim.IN_CORE) == []
    assert failed(MidMarketRate, Claim.IN_CORE) == [Claim.IN_CORE]
    assert failed(PostedPrice, Claim.IN_CORE) == [Claim.IN_CORE]


def test_a_continuous_book_is_incremental_and_an_auction_is_not():
    assert failed(ContinuousBook, Claim.INCREMENTAL, Claim.INDIVIDUALLY_RATIONAL, books=20) == []
    assert failed(Plain, Claim.INCREMENTAL) == [Claim.INCREMENTAL]


def test_quotes_are_answered_until_the_rule_clears():
    assert failed(Haggles, Claim.BUDGET_BALANCED, Claim.INDIVIDUALLY_RATIONAL, books=20) == []
    book = book_of([(8, 1, 10, 200), (9, 1, 10, 120), (10, -1, 10, 60)])
    outcome = Trial(Haggles(), Case("by hand", book, None, 0)).outcome
    assert outcome.rounds == 6  # 0, 25, ... 125; at 125 the second buyer has gone
    assert outcome.clearing.trades.buy_price.tolist() == [125]
    assert outcome.clearing.trades.buyer.tolist() == [8]


# --- the report ---


def test_each_claim_has_a_check_and_each_check_a_broken_rule():
    assert set(BY_CLAIM) == set(Claim)
    small_games = {Claim.TRUTHFUL, Claim.IN_CORE, Claim.INCREMENTAL}  # broken rules for these stand above
    assert {name for _, name in BROKEN} | small_games == {check.name for check in checks_for(Claim)}


def test_the_failing_book_is_small_and_printed():
    results = {result.name: result for result in check_mechanism(Entry("broken", CreatesEnergy), books=60)}
    complaint, head, *rows = results[CONSERVES].message.split("\n")
    assert "wanted" in complaint
    assert "more" in complaint
    assert head == "member,side,quantity_kwh,limit_ct_per_kwh,interval,zone,partner"
    assert len([row for row in rows if row.startswith("m")]) == 3  # one bid and two offers show the defect
    assert sorted(row.split(",")[1] for row in rows if row.startswith("m")) == ["buy", "sell", "sell"]


def test_progress_runs_to_the_end():
    steps = []
    check_mechanism(UniformAuction(), books=5, progress=lambda done, whole: steps.append((done, whole)))
    assert steps[0] == (0, len(steps) - 1)
    assert steps[-1] == (len(steps) - 1, len(steps) - 1)


def test_an_instance_brings_its_parameters_and_the_claims_of_its_class():
    names = {result.name for result in check_mechanism(UniformAuction(k_percent=0), books=5)}
    assert Claim.UNIFORM_PRICE in names
    assert {result.name for result in check_mechanism(Plain(), books=5)} == {check.name for check in ALWAYS}


def test_a_tariff_is_printed_with_the_book():
    book = book_of([(8, 1, 10, 200)])
    assert shown(Case("", book, None, 0)) == as_csv(book)
    assert shown(Case("", book, Tariff.flat(300, 60, 5), 0)) == f"{as_csv(book)}\nwith --retail 3 --feed-in 0.6"
    changing = Tariff(0, np.array([300, 310]), np.array([60, 60]))
    assert "with a tariff that changes: retail [300, 310]" in shown(Case("", book, changing, 0))


def test_a_rule_that_asks_for_ever_is_stopped():
    trial = Trial(AsksForEver(), part(0, 1)[0])
    assert f"after {ROUNDS_MAX} rounds" in judge(ALWAYS[0].test, trial)


def test_all_kinds_of_books_appear_in_the_usual_number_of_books():
    assert {case.kind for case in part(0, 200)} == set(KINDS)
