"""What each evaluation index is called, its unit, its formula and where it comes from, as one table.

Documentation, terminal table, page and CSV read their words here, so that they cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass

ZHOU = "Zhou, Wu, Long 2018, Applied Energy 222"
OVERVIEW = "Tushar et al. 2020, IEEE Transactions on Smart Grid 11(4)"
COLLECTIVES = "Moret and Pinson 2019, IEEE Transactions on Power Systems 34(5)"
COURAUD = "Couraud et al. 2025, arXiv 2508.16819"
SMITH = "Smith 1962, Journal of Political Economy 70(2)"

CLIPPED = "A member who loses counts as one who gained nothing; the size of losses shows in the worst-off member."
SAME_WIRES = (
    "What members buy from and sell to the utility, added up over the village. As long as nobody changes behaviour, "
    "the current in the wires is the same under every rule; sharing changes who sells to whom."
)
TARIFF = (
    "A kWh is worth the tariff that it replaces, for every rule alike. Limits that an auction draws for members are "
    "bids, not worths, so they are not used here."
)
NO_GRID = "Needs a run with the network."


@dataclass(frozen=True)
class Definition:
    """An index without its value. In units `{cur}` stands for the currency; `note` is printed with every value."""

    key: str
    label: str
    unit: str
    formula: str
    source: str = ""
    note: str = ""


_ALL = (
    # money
    Definition("saving_total", "Saved in total", "{cur}", "sum over members of (C_ref - C)", OVERVIEW),
    Definition("saving_share", "Saved, of all bills", "%", "(C_ref - C) / C_ref, all members together", OVERVIEW),
    Definition("saving_median", "Median member saves", "{cur}", "median over members of (C_ref - C)"),
    Definition("saving_worst", "Worst-off member saves", "{cur}", "smallest of (C_ref - C)"),
    Definition("losers_share", "Members who pay more", "%", "members with C > C_ref / members, to the last unit", ZHOU),
    Definition("participation_willingness", "Members not worse off", "%", "members with C <= C_ref / members", ZHOU),
    # fairness
    Definition(
        "jain",
        "Fairness (Jain)",
        "",
        "(sum x)² / (n sum x²), x = max(0, C_ref - C)",
        "Jain, Chiu, Hawe 1984, DEC-TR-301",
        CLIPPED,
    ),
    Definition("min_max", "Fairness (min/max)", "", "min x / max x, x = max(0, C_ref - C)", COURAUD, CLIPPED),
    Definition(
        "equality",
        "Equality (1 - Gini)",
        "",
        "1 - sum|x_i - x_j| / (2 n² mean x), x = max(0, C_ref - C)",
        ZHOU,
        CLIPPED,
    ),
    Definition(
        "quality_of_experience",
        "Alike prices for buyers",
        "",
        "1 - sigma / sigma_max of the price per kWh; sigma_max = (highest retail - lowest feed-in) / 2",
        COLLECTIVES,
        "Over members who only buy: their bill divided by their kWh.",
    ),
    Definition(
        "meritocratic",
        "Who shares more gains more",
        "",
        "correlation of C_ref - C with the local kWh that a member bought and sold",
        "after " + COURAUD,
    ),
    # energy
    Definition("self_sufficiency", "Self-sufficiency", "%", "sum(D - I) / sum(D)", ZHOU),
    Definition(
        "self_consumption",
        "Self-consumption",
        "%",
        "sum(G - E) / sum(G)",
        "Luthander et al. 2015, Applied Energy 142",
    ),
    Definition(
        "shared_energy",
        "Shared between members",
        "kWh",
        "sum over t of (I_ref - I): what members buy less from the utility",
        "Italian decree CACER 2023 (energia condivisa)",
    ),
    Definition("energy_balance", "Utility exchange avoided", "%", "1 - sum(I + E) / sum(I_ref + E_ref)", ZHOU),
    Definition("reverse_flow", "Sold to the utility", "kWh", "sum over t of E", OVERVIEW),
    # power
    Definition("peak_import_kw", "Peak bought", "kW", "max over t of I / hours", OVERVIEW, SAME_WIRES),
    Definition("peak_export_kw", "Peak sold", "kW", "max over t of E / hours", OVERVIEW, SAME_WIRES),
    Definition("peak_change", "Peak bought, against no community", "%", "max I / max I_ref", OVERVIEW),
    Definition("peak_to_average", "Peak to average", "", "max I / mean I", OVERVIEW),
    Definition("power_flatness", "Flatness of power bought", "", "1 - sum|I - mean I| / (2 sum I)", ZHOU),
    # market
    Definition("mean_local_price", "Mean local price", "ct/kWh", "sum(p q) / sum(q)", SMITH),
    Definition("price_dispersion", "Spread of local prices", "ct/kWh", "standard deviation of p, weighted by q", SMITH),
    Definition(
        "price_position",
        "Local price between the tariffs",
        "%",
        "sum((p - f) q) / sum((r - f) q): 0 % is feed-in, 100 % is retail",
    ),
    Definition("liquidity", "Shared, of what could be", "%", "shared / tradable"),
    Definition(
        "concentration",
        "Concentration of sellers",
        "",
        "sum((q / sum q)²): 1 is one seller, 1/n is n equal sellers",
        "Herfindahl 1950; Hirschman 1945",
    ),
    Definition("spread", "Gap of best bid and ask", "ct/kWh", "mean of best ask - best bid", SMITH),
    Definition(
        "value_tapping",
        "Reached, of the saving possible",
        "%",
        "(C_ref - C) / (C_ref - C_opt); C_opt: every kWh that could be shared was, without any charge on it",
        ZHOU,
    ),
    Definition(
        "social_welfare", "Welfare of local trade", "{cur}", "sum(v q) of buyers - sum(c q) of sellers", OVERVIEW
    ),
    Definition(
        "allocative_efficiency",
        "Allocative efficiency",
        "%",
        "welfare / maximum welfare",
        "Gode and Sunder 1993, Journal of Political Economy 101(1)",
    ),
    # grid
    Definition("losses", "Losses in the wires", "%", "sum(R × current²) × hours / delivered", OVERVIEW, NO_GRID),
    Definition(
        "voltage_violations", "Voltage out of band", "min", "minutes with |V - 1| > 0.1, all nodes", "EN 50160", NO_GRID
    ),
    Definition("overload_hours", "Overloaded branches", "h", "hours with a branch above its rating", OVERVIEW, NO_GRID),
    Definition("curtailment", "Curtailed generation", "kWh", "sum(available - produced)", OVERVIEW, NO_GRID),
    # check
    Definition(
        "closing_error",
        "Closing error",
        "",
        "|energy bought - sold| in lots + |sum of all accounts| in units of cash; integers, must be 0",
    ),
)

CATALOGUE: dict[str, Definition] = {definition.key: definition for definition in _ALL}
"""All indices by key, in the order in which they are printed."""


LETTERS: dict[str, str] = {
    "C": "a member’s bill under the rule",
    "C_ref": "the bill without a community",
    "D": "consumption before own sun",
    "G": "own generation",
    "I": "energy bought from the utility",
    "I_ref": "the same without a community",
    "E": "energy sold to the utility",
    "E_ref": "the same without a community",
    "n": "number of members",
    "p": "local price",
    "q": "local energy",
    "r": "retail price",
    "f": "feed-in price",
    "R": "resistance",
    "V": "voltage per unit of nominal",
    "t": "every interval",
}
"""What the letters in the formulas stand for."""


@dataclass(frozen=True)
class Column:
    """A column of the comparison: its index, its group and heading, decimals, and which direction is better."""

    key: str
    group: str
    heading: str
    digits: int
    better: str = ""  # "more", "less", or "" for neither


HEADLINE: tuple[Column, ...] = (
    Column("saving_total", "Saved by sharing", "in total", 0, "more"),
    Column("saving_median", "Saved by sharing", "median member", 2, "more"),
    Column("saving_worst", "Saved by sharing", "worst-off", 2, "more"),
    Column("losers_share", "Fairness", "pay more", 1, "less"),
    Column("jain", "Fairness", "Jain", 2, "more"),
    Column("min_max", "Fairness", "min–max", 2, "more"),
    Column("self_sufficiency", "Energy", "self-sufficiency", 1, "more"),
    Column("self_consumption", "Energy", "self-consumption", 1, "more"),
    Column("mean_local_price", "Energy", "local price", 2),
    Column("peak_import_kw", "Peak power", "bought", 1, "less"),
    Column("peak_export_kw", "Peak power", "sold", 1, "less"),
    Column("closing_error", "Check", "closing error", 0),
)
"""The columns of the table that `wattle try` prints and the page shows."""
