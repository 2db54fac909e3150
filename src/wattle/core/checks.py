"""Invariants that stay on in production, reject codes, and the errors a person sees."""

from __future__ import annotations

from enum import IntEnum


class WattleError(Exception):
    """A problem that the person at the keyboard can solve; the text says how."""


class InputError(WattleError):
    """Input from outside that cannot be used. Nothing was changed because of it."""


class InvariantError(AssertionError):
    """A promise of the program itself is broken. The market stops: no trade is better than a wrong trade."""


class Reject(IntEnum):
    """Why an order, a reading or a whole book was not taken. The numbers are stored; never reuse one."""

    UNKNOWN_MEMBER = 1
    UNKNOWN_PRODUCT = 2
    GATE_CLOSED = 3
    WRONG_INTERVAL = 4
    WRONG_SIDE = 5
    BAD_QUANTITY = 6
    BAD_LIMIT = 7
    UNKNOWN_PARTNER = 8
    UNKNOWN_ORDER = 9
    DUPLICATE = 10
    MISSING_READINGS = 11
    TOO_LATE = 12
    UNKNOWN_ZONE = 13
    NO_TARIFF = 20
    PARTNER_NOT_SUPPORTED = 21
    NO_PRICE = 22
    TOO_LARGE = 23
    UNKNOWN_MEMBER_IN_KEY = 24
    EMPTY_BOOK = 25
    ONE_SIDED = 26
    NO_PARTNERS = 27
    NO_CURVE = 28
    UNEQUAL_NUMBERS = 29
    WRONG_STATE = 30
    TOO_MANY_MEMBERS = 31


REASONS: dict[Reject, str] = {
    Reject.UNKNOWN_MEMBER: "no member has this number",
    Reject.UNKNOWN_PRODUCT: "no product has this name",
    Reject.GATE_CLOSED: "the gate for this product is not open",
    Reject.WRONG_INTERVAL: "the interval is not part of the open gate",
    Reject.WRONG_SIDE: "side must be +1 (buy) or -1 (sell)",
    Reject.BAD_QUANTITY: "the quantity must be at least 1 lot and at most the product's limit",
    Reject.BAD_LIMIT: "the limit price is outside the product's floor and cap",
    Reject.UNKNOWN_PARTNER: "the named partner is not a member",
    Reject.UNKNOWN_ORDER: "no open order has this number",
    Reject.DUPLICATE: "this was already received",
    Reject.MISSING_READINGS: "readings are missing, so the interval cannot be settled",
    Reject.TOO_LATE: "the interval is final; its correction window has passed",
    Reject.UNKNOWN_ZONE: "no zone has this number",
    Reject.NO_TARIFF: "the rule needs the utility's tariff (retail and feed-in price)",
    Reject.PARTNER_NOT_SUPPORTED: "the rule cannot honour a named partner",
    Reject.NO_PRICE: "no order names a price, so none can be formed",
    Reject.TOO_LARGE: "quantity times price does not fit into 64 bits",
    Reject.UNKNOWN_MEMBER_IN_KEY: "the key names a member who is not there",
    Reject.EMPTY_BOOK: "the book is empty",
    Reject.ONE_SIDED: "the book has buyers only or sellers only",
    Reject.NO_PARTNERS: "nobody in the book has a partner to deal with",
    Reject.NO_CURVE: "the rule needs curves: orders at several prices, or members who answer its quotes",
    Reject.UNEQUAL_NUMBERS: "the rule needs as many buyers as sellers in each zone and interval",
    Reject.TOO_MANY_MEMBERS: "the rule looks at pairs or coalitions and takes no group with so many members",
    Reject.WRONG_STATE: "this event does not fit the state of the gate or interval",
}

NOBODY_TO_TRADE_WITH = frozenset({Reject.EMPTY_BOOK, Reject.ONE_SIDED})
"""Codes of a book in which nothing is wrong; the utility takes it as it is, and a run goes on."""


def ensure(condition: object, message: str) -> None:
    """Raise `InvariantError` unless the condition holds. Unlike `assert` it cannot be switched off."""
    if not condition:
        raise InvariantError(message)
