"""The tables that the layers exchange. Positive is consumption, buying, import, in every one of them."""

from __future__ import annotations

from dataclasses import dataclass

from wattle.core.columns import I8, I32, I64, Columns

UTILITY = 0
MARKET_OPERATOR = 1
GRID_OPERATOR = 2
COMMUNITY_FUND = 3
STATE = 4
FIRST_MEMBER = 8
"""House accounts are participants too; members are numbered from here on, and 5 to 7 are kept free."""

HOUSE_NAMES = ("utility", "market operator", "grid operator", "community fund", "state", "", "", "")

BUY = 1
SELL = -1
ANYONE = -1
NO_ORDER = -1


@dataclass(frozen=True, eq=False)
class Orders(Columns):
    """Limit orders; a step curve is several rows. Equal prices are served by `id`, lowest first."""

    id: I64  # stamped by the engine: time priority
    participant: I32
    zone: I32  # where one carrier must balance: a feeder, a node, a heat network
    interval: I32
    side: I8  # +1 buy, -1 sell
    quantity: I64  # lots, at least 1
    limit: I64  # ticks; ANY_PRICE (buying) or -ANY_PRICE (selling) marks a price taker
    partner: I32  # -1 anyone, else the only counterparty


@dataclass(frozen=True, eq=False)
class Trades(Columns):
    """Energy that changes hands. The gap between the two prices is a fee, a congestion rent or a subsidy."""

    interval: I32
    zone: I32
    buyer: I32
    seller: I32
    buy_order: I64  # -1 where a house account has no order
    sell_order: I64
    quantity: I64  # lots
    buy_price: I64  # ticks
    sell_price: I64


@dataclass(frozen=True, eq=False)
class Quotes(Columns):
    """What a mechanism asks in a round: at this price, how much? -1 stands for anyone."""

    interval: I32
    zone: I32
    buyer: I32
    seller: I32
    price: I64


@dataclass(frozen=True, eq=False)
class Prices(Columns):
    """Published prices, one row for each zone and interval in which one was formed."""

    interval: I32
    zone: I32
    price: I64


@dataclass(frozen=True, eq=False)
class Transfers(Columns):
    """Money without energy: sharing, fees, levies. `amount` is cash, positive from payer to payee."""

    interval: I32
    payer: I32
    payee: I32
    amount: I64
    code: I8


@dataclass(frozen=True, eq=False)
class Readings(Columns):
    """Metered energy of one participant in one interval, in signed lots; positive is consumption."""

    interval: I32
    participant: I32
    energy: I64


@dataclass(frozen=True, eq=False)
class Profiles(Columns):
    """Public facts about participants, for rules that match by place, source or reliability; one row each."""

    participant: I32
    east_m: I64  # place in metres on a local map
    north_m: I64
    source: I8  # what a seller's energy comes from, see SOURCES
    reliability: I32  # delivered share of what was promised so far, in per mille


SOURCES = ("unknown", "sun", "wind", "water", "biomass", "heat and power", "grid")
"""Names of the energy sources, by number."""


@dataclass(frozen=True, eq=False)
class Preferences(Columns):
    """What a participant adds to a price for trading with one partner: a premium he would pay, in ticks per lot."""

    participant: I32
    partner: I32
    premium: I64  # positive: wanted, negative: avoided


@dataclass(frozen=True, eq=False)
class Envelopes(Columns):
    """Offered flexibility: power between two bounds in watts, energy between two bounds in lots."""

    interval: I32
    participant: I32
    power_min: I64
    power_max: I64
    energy_min: I64
    energy_max: I64


ANY_PRICE = 1 << 40
"""The limit of a price taker: `ANY_PRICE` when buying, `-ANY_PRICE` when selling. No real limit is that large."""
