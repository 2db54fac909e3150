"""A plain auction written with loops, and rules that each twist it in one way: what the suite must catch."""

import itertools
from dataclasses import dataclass, field

import numpy as np

from wattle.core.checks import Reject
from wattle.core.compiled import kernel
from wattle.core.messages import Clearing, Context, Quote
from wattle.core.tables import ANY_PRICE, COMMUNITY_FUND, Prices, Quotes, Trades, Transfers
from wattle.market.mechanism import nobody_to_trade_with


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
        return None, cleared(rows, refused=None if rows else nobody_to_trade_with(orders))

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
class PublishesTheMoon(Plain):
    """Trade at good prices and publish others."""

    def step(self, memory, orders, context):
        memory, clearing = super().step(memory, orders, context)
        return memory, Clearing(clearing.trades, clearing.prices.replace(price=clearing.prices.price + ANY_PRICE))


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
    made = kernel("i")(lambda price: price // 2)
    made._fast = lambda price: (price + 1) // 2  # rounds up
    return made


HALF = _compiled_double()


@dataclass(frozen=True)
class MachineDiffers(Plain):
    """Round halves otherwise in machine code than in plain Python."""

    def price(self, limit, pairs, bids, asks, left):
        return HALF(2 * super().price(limit, pairs, bids, asks, left) - 1)
