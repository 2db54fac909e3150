"""The comparison of rules as a table for the terminal: the same columns as on the page, in plain words."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from wattle.analysis.catalogue import Column
from wattle.analysis.metrics import by_key
from wattle.analysis.pagedata import SIGNS, best_rules, first_choice, paid_in, period_text, table_columns, with_indices
from wattle.analysis.pareto import choices
from wattle.runtime.results import Comparison, Index

if TYPE_CHECKING:
    from rich.table import Table

HEADS = {
    "saving_total": "saved\ntotal\n{sign}",
    "saving_median": "median\nmember\n{sign}",
    "saving_worst": "worst-\noff\n{sign}",
    "losers_share": "pay\nmore\n%",
    "jain": "Jain",
    "min_max": "min–\nmax",
    "self_sufficiency": "self-\nsuff.\n%",
    "self_consumption": "self-\ncons.\n%",
    "mean_local_price": "local\nprice\nct/kWh",
    "peak_import_kw": "peak\nbought\nkW",
    "peak_export_kw": "peak\nsold\nkW",
    "closing_error": "closing\nerror",
}
NARROW_WITHOUT = ("min_max", "self_consumption", "peak_import_kw", "peak_export_kw")
WIDE, ROOMY = 100, 112  # characters


def comparison_table(comparison: Comparison, width: int = WIDE) -> Table:
    """Return the rules side by side; below 100 columns of text the less important ones are left out and named.

    Bold marks the best value of a column, unless doing nothing or nearly every rule is as good.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    found = [by_key(indices) for indices in with_indices(comparison)]
    best = best_rules(found)
    left_out = NARROW_WITHOUT if width < WIDE else ()
    columns = [column for column in table_columns(found) if column.key not in left_out]
    sign = SIGNS.get(comparison.units.currency, comparison.units.currency).strip()
    table = Table(
        title=Text(f"What sharing saves {period_text(comparison)}, against everyone alone"),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0) if width >= ROOMY or left_out else 0,
        pad_edge=False,
        show_edge=False,
        title_justify="left",
        caption=_caption(left_out),
        caption_justify="left",
    )
    longest = max((len(word) for rule in comparison.rules for word in rule.rule.split()), default=4)
    table.add_column("rule", min_width=min(longest, 24), overflow="fold")
    for column in columns:
        table.add_column(HEADS[column.key].format(sign=sign), justify="right", no_wrap=True)
    for i, rule in enumerate(comparison.rules):
        cells = [
            Text(cell_text(found[i][column.key], column), style="bold green" if i in best[column.key] else "")
            for column in columns
        ]
        table.add_row(Text(rule.rule), *cells)
    return table


def unbeaten_sentence(comparison: Comparison) -> str:
    """Say in a sentence which rules no other rule beats in welfare and fairness (Jain) together."""
    choice = choices([by_key(indices) for indices in with_indices(comparison)])[0]
    names = [comparison.rules[rule].rule for rule in choice.rules]
    if not names:
        return "No rule brings a gain that could be shared fairly or unfairly."
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"No rule both brings more welfare and shares it more evenly (Jain) than {listed}."


def example(comparison: Comparison) -> str:
    """Return options of `wattle explain` that show a trade in the best rule: who bought most, when most was traded."""
    found = [by_key(indices) for indices in with_indices(comparison)]
    rule = comparison.rules[first_choice(found, paid_in(comparison))]
    member = comparison.members[int(rule.bought.argmax())]
    named = f" --rule {shlex.quote(rule.rule)}" if len(comparison.rules) > 2 else ""
    return f"--member {shlex.quote(member)} --interval {int(rule.shared.argmax())}{named}"


def _caption(left_out: tuple[str, ...]) -> str:
    words = {"min_max": "min–max", "self_consumption": "self-consumption", "peak_import_kw": "peaks"}
    more = f" A window of {WIDE} columns also shows {', '.join(words.values())}." if left_out else ""
    return "Bold: best of the column. Jain, min–max: 1 is the same saving for everyone." + more


def cell_text(index: Index, column: Column) -> str:
    """Return a value as the column prints it; a dash where there is none."""
    if index.value is None:
        return "–"
    text = f"{index.value:,.{column.digits}f}"
    return text.replace("-", "" if not text.strip("-0.,") else "−")
