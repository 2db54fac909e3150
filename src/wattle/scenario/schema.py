"""The sections of a scenario. Keys carry units, decimals are texts, unknown keys are errors.

An option exists only when it works. Every key is described here once; the reference page is made from this file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from wattle.core.checks import InputError
from wattle.core.units import exact


def _decimal(text: str) -> str:
    try:
        exact(text)
    except InputError as problem:
        raise ValueError(str(problem)) from None
    return text


def _not_negative(text: str) -> str:
    if exact(_decimal(text)) < 0:
        raise ValueError("must not be negative")
    return text


Price = Annotated[str, AfterValidator(_decimal)]
Charged = Annotated[str, AfterValidator(_not_negative)]


class Section(BaseModel):
    """A part of a scenario; keys that are not listed are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class UnitsSection(Section):
    """How finely energy and money are counted."""

    lot_wh: str = Field("1", description="smallest amount of energy, in Wh", examples=["1", "0.001"])
    tick_per_kwh: str = Field("0.0001", description="smallest step of a price, in currency per kWh")
    currency: str = Field("EUR", description="name of the currency, as printed on statements", min_length=1)


class TariffSection(Section):
    """What the utility charges and pays for every kWh that members do not trade with each other."""

    retail_per_kwh: Price = Field(description="price of energy bought from the utility, all charges included")
    feed_in_per_kwh: Price = Field(description="price that the utility pays for surplus")


class ChargeSection(Section):
    """A charge on energy, shown as its own line of the bill."""

    name: str = Field(description="name on statements", min_length=1)
    on: Literal["local-kwh", "utility-kwh"] = Field(
        description='"local-kwh" is added to local energy; "utility-kwh" is the named part of the retail price'
    )
    per_kwh: Charged = Field(description="currency per kWh, paid by the buyer")
    payee: Literal["grid operator", "state", "market operator", "community fund", "utility"] = Field(
        "grid operator", description="account that receives it"
    )
    line: Literal["network", "levy", "tax", "platform"] = Field("network", description="line of the bill")


class MembersSection(Section):
    """Who takes part, and where their energy comes from."""

    source: Literal["village", "files"] = Field(description='"village" is the sample village, "files" your own data')
    homes: int | None = Field(None, description="village: take only so many members", ge=2)
    days: int | None = Field(None, description="village: take only so many days", ge=1, le=366)
    seed: int = Field(1, description="village: seed of the diversification", ge=0)
    list: str = Field("members.csv", description="files: table of members, beside the scenario")
    meters: str = Field("meters/*.csv", description="files: meter files, beside the scenario")


class MetersSection(Section):
    """How to read meter files. Leave a key out and it is detected where the file leaves no doubt."""

    timezone: str = Field(description='IANA name of the zone of local times, e.g. "Europe/Vienna"')
    step_s: int = Field(900, description="length of an interval in seconds", gt=0)
    stamp: Literal["start", "end"] = Field(description="a time names the start or the end of its interval")
    unit: Literal["kWh", "Wh", "kW", "W"] | None = Field(None, description="unit of the values")
    separator: Literal[",", ";"] | None = Field(None, description="between columns")
    decimal: Literal[".", ","] | None = Field(None, description="decimal sign")
    date_order: Literal["dmy", "mdy"] | None = Field(None, description="order of day and month in dates like 3/4/2025")
    rounding: Literal["largest-remainder"] | None = Field(
        None, description="carry what is finer than a lot to the meter's next interval; default: refuse such values"
    )


class LimitsSection(Section):
    """Limit prices of members for rules that trade before delivery."""

    seed: int = Field(1, description="seed of the draw", ge=0)
    from_per_kwh: Price | None = Field(None, description="lowest limit drawn; default: feed-in price")
    to_per_kwh: Price | None = Field(None, description="highest limit drawn; default: retail less local charges")
    curve: Literal["fixed", "logarithmic"] = Field(
        "fixed",
        description='how members answer rules that ask at prices: all or nothing at the limit ("fixed"), or less and '
        "less as the price gets worse; the limit is then what a lot in the middle is worth",
    )


class PreferenceSection(Section):
    """What a member adds to a price for trading with one other member, under rules that match by taste."""

    member: str = Field(description="name of the member", min_length=1)
    partner: str = Field(description="name of the member he likes, or not", min_length=1)
    premium_per_kwh: Price = Field(description="what he would pay (or forgo) more for it; below zero: avoided")


class ProductSection(BaseModel):
    """A market rule. Further keys are parameters of the rule."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    name: str | None = Field(None, description="name of the product; default: the mechanism's", min_length=1)
    mechanism: str = Field(description="registered name of a rule, see `wattle mechanisms`")
    when: Literal["at gate closure", "on arrival"] | None = Field(
        None,
        description='"on arrival": an order book trades each order as it comes; default: when the rule usually runs',
    )

    def parameters(self) -> dict[str, Any]:
        """Keys that belong to the rule."""
        return dict(self.model_extra or {})


class StatementsSection(Section):
    """The bills that `wattle settle` writes."""

    period: Literal["month", "all"] = Field("month", description="one bill a calendar month, or one for all")


class Scenario(Section):
    """A whole run on one page."""

    title: str = Field(description="what this is, for people", min_length=1)
    seed: int = Field(0, description="seed of everything that is left to chance", ge=0)
    units: UnitsSection = UnitsSection()
    tariff: TariffSection = Field(description="the utility's prices")
    charge: tuple[ChargeSection, ...] = Field((), description="charges, any number", strict=False)
    members: MembersSection = Field(description="who takes part")
    meters: MetersSection | None = Field(None, description="how to read meter files; needed for files")
    limits: LimitsSection = LimitsSection()
    preference: tuple[PreferenceSection, ...] = Field((), description="who likes to trade with whom", strict=False)
    product: tuple[ProductSection, ...] = Field((), description="market rules, in order of trading", strict=False)
    statements: StatementsSection = StatementsSection()
