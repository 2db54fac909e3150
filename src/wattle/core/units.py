"""Lots, ticks and cash, and the exact way between them and the decimals that people write.

A product counts energy in lots, prices in ticks (of currency per kWh) and money in cash = lots x ticks, so that
`quantity * price` is exact and nothing is rounded before a bill is printed. Conversions stand only at the edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import InputError

QUANTITY_MAX = 1 << 48
PRICE_MAX = 1 << 36
CASH_MAX = (1 << 63) - 1
CASH_ORDER_MAX = 1 << 60
DIGITS_MAX = 60


def exact(text: str | int | Decimal | Fraction) -> Fraction:
    """Return a decimal text as an exact number; anything else (nan, inf, words) is an `InputError`."""
    if isinstance(text, (int, Fraction)) and not isinstance(text, bool):
        return Fraction(text)
    try:
        number = Decimal(str(text).strip())
    except InvalidOperation:
        raise InputError(f"{text!r} is not a number; write a decimal such as 0.25") from None
    if not number.is_finite():
        raise InputError(f"{text!r} is not a finite number; write a decimal such as 0.25")
    # Without a limit "1e999999999" would fill the memory with zeros.
    if number.adjusted() > DIGITS_MAX or int(number.as_tuple().exponent) < -DIGITS_MAX:
        raise InputError(f"{str(text)[:40]!r} has more than {DIGITS_MAX} digits before or after the decimal point")
    return Fraction(number)


@dataclass(frozen=True)
class Units:
    """The size of a lot in Wh and of a tick in currency per kWh; exact fractions.

    >>> Units.parse("1", "0.0001").lots_from_kwh("0.25")
    250
    """

    lot_wh: Fraction
    tick_per_kwh: Fraction
    currency: str = "EUR"

    @classmethod
    def parse(cls, lot_wh: str, tick_per_kwh: str, currency: str = "EUR") -> Units:
        """Build from decimal texts; both must be above zero."""
        lot, tick = exact(lot_wh), exact(tick_per_kwh)
        if lot <= 0 or tick <= 0:
            raise InputError(f"a lot of {lot_wh} Wh and a tick of {tick_per_kwh} must both be above 0")
        return cls(lot, tick, currency)

    @property
    def cash(self) -> Fraction:
        """Currency per unit of cash."""
        return self.lot_wh / 1000 * self.tick_per_kwh

    def lots_from_kwh(self, kwh: str | Fraction) -> int:
        """Return whole lots; a quantity between two lots is refused, never rounded."""
        lots = exact(kwh) * 1000 / self.lot_wh
        if lots.denominator != 1:
            raise InputError(f"{_shown(kwh)} kWh is not a whole number of lots of {decimal_text(self.lot_wh)} Wh")
        return int(lots)

    def ticks_from_price(self, per_kwh: str | Fraction) -> int:
        """Return whole ticks for a price in currency per kWh; a price between two ticks is refused."""
        ticks = exact(per_kwh) / self.tick_per_kwh
        if ticks.denominator != 1:
            raise InputError(
                f"{_shown(per_kwh)} {self.currency}/kWh is not a whole number of ticks of "
                f"{decimal_text(self.tick_per_kwh)} {self.currency}/kWh"
            )
        return int(ticks)

    def kwh(self, lots: int) -> Fraction:
        """Return exact kWh."""
        return int(lots) * self.lot_wh / 1000

    def price(self, ticks: int) -> Fraction:
        """Return an exact price in currency per kWh."""
        return int(ticks) * self.tick_per_kwh

    def money(self, cash: int) -> Fraction:
        """Return an exact amount of currency."""
        return int(cash) * self.cash

    def kwh_float(self, lots: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return kWh for pictures and indices; never for settlement."""
        return np.asarray(lots, np.float64) * float(self.lot_wh / 1000)

    def price_float(self, ticks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return currency per kWh for pictures and indices."""
        return np.asarray(ticks, np.float64) * float(self.tick_per_kwh)

    def money_float(self, cash: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return currency for pictures and indices."""
        return np.asarray(cash, np.float64) * float(self.cash)


def _shown(number: str | Fraction) -> str:
    return number if isinstance(number, str) else decimal_text(number, 12).rstrip("0").rstrip(".")


def decimal_text(number: Fraction | int, digits: int | None = None) -> str:
    """Write a number as a plain decimal: exactly if `digits` is None, else rounded half to even.

    >>> decimal_text(Fraction(1, 8)), decimal_text(Fraction(1, 3), 4)
    ('0.125', '0.3333')
    """
    number = Fraction(number)
    if digits is None:
        digits = _digits(number.denominator)
        scaled = number.numerator * 10**digits // number.denominator
    else:
        scaled = round(number * 10**digits)
    sign = "-" if scaled < 0 else ""
    whole, part = divmod(abs(scaled), 10**digits)
    return f"{sign}{whole}.{part:0{digits}d}" if digits else f"{sign}{whole}"


@cache
def _digits(denominator: int) -> int:
    """Return how many decimals a fraction in lowest terms needs; a third has no finite form."""
    rest, twos, fives = denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        raise InputError(f"a number with the denominator {denominator} has no finite decimal form")
    return max(twos, fives)
