"""How meter files are written: the part that only a person can know.

A setting that is None is read from the file, but only where the file leaves exactly one reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from wattle.core.checks import InputError as CoreInputError
from wattle.core.units import decimal_text, exact
from wattle.intake.findings import Findings, suggest

Unit = Literal["kWh", "Wh", "kW", "W"]
Stamp = Literal["start", "end"]
Separator = Literal[",", ";"]
DecimalMark = Literal[".", ","]
DateOrder = Literal["dmy", "mdy"]
Rounding = Literal["largest-remainder"]

DAY_S = 86_400
_CHOICES = {
    "stamp": get_args(Stamp),
    "unit": (None, *get_args(Unit)),
    "separator": (None, *get_args(Separator)),
    "decimal": (None, *get_args(DecimalMark)),
    "date_order": (None, *get_args(DateOrder)),
    "rounding": (None, *get_args(Rounding)),
}


@dataclass(frozen=True, kw_only=True)
class MeterSettings:
    """How the meter files of a community are written.

    timezone
        IANA name of the zone whose clock the files show, such as Europe/Vienna.
    stamp
        Whether a time in the file is the "start" or the "end" of its interval.
    step_s
        Length of an interval in seconds; a whole number of them makes a day.
    unit
        kWh or Wh (energy of the interval), kW or W (mean power over it); None: the header says it.
    separator, decimal
        What stands between cells and before decimals; None: the file leaves one reading.
    lot_wh
        Size of a lot in Wh, as a decimal text, an integer or a fraction.
    date_order
        "dmy" or "mdy" for dates like 03/04/2025; None: some day is above 12.
    rounding
        None: a value that is not a whole number of lots is refused. "largest-remainder": what is left of a value
        is carried to the meter's next interval of the same local day, so that daily totals are kept.
    format
        Name of a registered reader.
    """

    timezone: str
    stamp: Stamp
    step_s: int = 900
    unit: Unit | None = None
    separator: Separator | None = None
    decimal: DecimalMark | None = None
    lot_wh: Fraction | str | int | Decimal = 1
    date_order: DateOrder | None = None
    rounding: Rounding | None = None
    format: str = "generic-csv"

    def __post_init__(self) -> None:
        findings = Findings()
        _check_zone(self.timezone, findings)
        for key, choices in _CHOICES.items():
            value = getattr(self, key)
            if value not in choices:
                words = ", ".join(f'"{choice}"' for choice in choices if choice is not None)
                findings.add("settings", f"{key} must be one of {words}", column=key, value=str(value), expected=words)
        step_s = self.step_s
        if not isinstance(step_s, int) or isinstance(step_s, bool) or step_s <= 0 or DAY_S % step_s:
            findings.add(
                "settings",
                "step_s must be a whole number of seconds that divides a day",
                column="step_s",
                value=str(step_s),
                expected="300, 900, 1800 or 3600",
            )
        _check_lot(self.lot_wh, findings)
        findings.raise_if_any()

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.timezone)

    @property
    def lot(self) -> Fraction:
        """Size of a lot in Wh, exact."""
        return exact(self.lot_wh)

    @property
    def lot_text(self) -> str:
        """Say what a whole number of lots is: "Wh" for lots of 1 Wh."""
        return "Wh" if self.lot == 1 else f"lots of {decimal_text(self.lot)} Wh"

    def lots_per(self, unit: Unit) -> Fraction:
        """Return lots per 1 `unit` in one interval, exact: power is the mean over the interval."""
        hours = Fraction(self.step_s, 3600)
        watt_hours = {"kWh": Fraction(1000), "Wh": Fraction(1), "kW": 1000 * hours, "W": hours}
        return watt_hours[unit] / self.lot


def _check_zone(name: object, findings: Findings) -> None:
    try:
        if isinstance(name, str) and name:
            ZoneInfo(name)
            return
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    zones = available_timezones()
    if not zones:
        message, expected = "this computer has no time zone data; install the package tzdata", "tzdata"
    else:
        message, expected = "no time zone has this name", suggest(str(name), sorted(zones))
    findings.add("settings", message, column="timezone", value=str(name), expected=expected)


def _check_lot(lot_wh: object, findings: Findings) -> None:
    try:
        fine = not isinstance(lot_wh, float) and exact(lot_wh) > 0  # type: ignore[arg-type]
        decimal_text(exact(lot_wh))  # type: ignore[arg-type]  # a third of a Wh has no decimal form
    except CoreInputError:
        fine = False
    if not fine:
        findings.add(
            "settings",
            "lot_wh must be an exact number above 0",
            column="lot_wh",
            value=str(lot_wh),
            expected='a decimal text such as "1" or "0.1"',
        )
