"""Pages of statements: plain, printable, complete in one file each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape

_STYLE = """
:root{color-scheme:light dark;--ink:#1b2a2f;--soft:#5b6b70;--line:#d9e0e2;--paper:#fff;--accent:#0b6e4f}
@media (prefers-color-scheme:dark){:root{--ink:#e7eef0;--soft:#a3b3b8;--line:#34444a;--paper:#12191c;--accent:#6fd3a8}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:44rem;margin:2.5rem auto;
padding:0 1.25rem}h1{font-size:1.6rem;line-height:1.2;margin:0 0 .25rem}h2{font-size:1.05rem;margin:2rem 0 .5rem}
p{margin:.4rem 0}.soft{color:var(--soft)}table{width:100%;border-collapse:collapse}
td,th{padding:.45rem 0;text-align:left;border-bottom:1px solid var(--line);font-weight:400}
td:last-child,th:last-child{text-align:right;
font-variant-numeric:tabular-nums}tr.total td{border-bottom:3px double var(--ink);font-weight:650}
.result{font-size:1.25rem;font-weight:600;color:var(--accent);margin:1.2rem 0}a{color:var(--accent)}
@media print{body{margin:0;max-width:none}a{color:inherit;text-decoration:none}}
"""


@dataclass(frozen=True)
class Statement:
    """A member's bill, or the difference that a correction makes to it. All amounts are ready texts."""

    community: str
    member: str
    name: str
    title: str
    currency: str
    energy: tuple[tuple[str, str], ...]
    lines: tuple[tuple[str, str], ...]
    total: str
    alone: str | None
    difference: bool
    rules: tuple[str, ...]
    round: int


def statement_page(statement: Statement) -> bytes:
    """Return the page of one statement."""
    kind = "Difference statement" if statement.difference else "Statement"
    result = f"You {_pays(statement.total, statement.difference)} {statement.currency}"
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{value} kWh</td></tr>" for name, value in statement.energy)
    lines = "".join(
        f"<tr><td>{escape(name)}</td><td>{value} {escape(statement.currency)}</td></tr>"
        for name, value in statement.lines
    )
    alone = ""
    if statement.alone is not None:
        gain = Decimal(statement.alone) - Decimal(statement.total)
        better = "better" if gain >= 0 else "worse"
        alone = (
            f'<p class="soft">Without the community you would {_pays(statement.alone)} '
            f"{escape(statement.currency)}: {abs(gain)} {escape(statement.currency)} {better} with it.</p>"
        )
    body = f"""
<p class="soft">{escape(statement.community)}</p>
<h1>{kind}: {escape(statement.name)}</h1>
<p class="soft">{escape(statement.title)} · member {escape(statement.member)}</p>
<p class="result">{escape(result)}</p>{alone}
<h2>Energy{", change" if statement.difference else ""}</h2><table>{rows}</table>
<h2>Money{", change" if statement.difference else ""}</h2>
<table>{lines}<tr class="total"><td>Total</td><td>{statement.total} {escape(statement.currency)}</td></tr></table>
<p class="soft">Amounts above zero are to be paid, amounts below zero are received. Shared by
{escape(" + ".join(statement.rules) or "no rule")}; round {statement.round} of this folder. This is a proposal until the
community's operator confirms it.</p>"""
    return _page(f"{kind} {statement.name}", body)


def _pays(amount: str, difference: bool = False) -> str:
    """Say an amount in words: above zero is paid, below zero received."""
    plain = amount.removeprefix("-")
    if amount.startswith("-"):
        return f"get back {plain}" if difference else f"receive {plain}"
    return f"still pay {plain}" if difference else f"pay {plain}"


def index_page(title: str, number: int, periods: Sequence[tuple[str, str, list[tuple[str, str]]]]) -> bytes:
    """Return the page that lists all statements of a round: title, summary file and pages of each period."""
    parts = [f'<p class="soft">Round {number}</p><h1>{escape(title)}</h1>']
    for name, summary, pages in periods:
        links = "".join(
            f'<tr><td><a href="{escape(path)}">{escape(member)}</a></td><td></td></tr>' for path, member in pages
        )
        parts.append(
            f'<h2>{escape(name)}</h2><p><a href="{escape(summary)}">Summary of all accounts</a>; they sum to zero.</p>'
            f"<table>{links}</table>"
        )
    if not periods:
        parts.append("<p>Nothing changed.</p>")
    return _page(title, "".join(parts))


def _page(title: str, body: str) -> bytes:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    ).encode()
