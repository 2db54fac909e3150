"""Commands on market rules: clear, mechanisms, check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wattle.core.checks import InputError

if TYPE_CHECKING:
    from wattle.core.registry import Entry
    from wattle.runtime.cleared import Result

CLAIMS = {
    "budget balanced": "the market operator and the community fund never pay in",
    "individually rational": "nobody pays above or earns below his limit",
    "efficient": "the welfare of members is the largest possible; it equals that of a linear programme",
    "uniform price": "one price for each zone and interval, and no unfilled order is better than it",
    "truthful": "nobody gains by a limit other than his true one",
    "in the core": "no group of members gains by trading among themselves only",
    "separable": "all intervals at once give the same as one at a time",
    "incremental": "all orders at once give the same as one at a time",
    "exact": "the same result, to the last bit, on every machine",
}
"""What each claim of a rule means; `wattle check` tests it on generated books."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("clear")(clear)
    app.command("mechanisms")(mechanisms)
    app.command("check")(check)


def clear(
    book: Annotated[
        str,
        typer.Argument(
            metavar="BOOK",
            help="CSV file with the columns member, side (buy or sell), quantity_kwh, limit_ct_per_kwh (empty: any "
            "price) and, if wanted, interval, zone, partner; or a JSON list of such objects.",
        ),
    ],
    mechanism: Annotated[
        str, typer.Option("--mechanism", "-m", help="Name of a rule, see: wattle mechanisms. Or a Python file.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Parameter of the rule, like k_percent=0. May be repeated."),
    ] = None,
    retail: Annotated[
        str | None, typer.Option(metavar="CT", help="Price of the utility's energy in ct/kWh; needs --feed-in too.")
    ] = None,
    feed_in: Annotated[
        str | None, typer.Option(metavar="CT", help="Price that the utility pays in ct/kWh; needs --retail too.")
    ] = None,
    lot_wh: Annotated[str, typer.Option(metavar="WH", help="Smallest amount of energy that is counted.")] = "0.001",
    tick_per_kwh: Annotated[
        str, typer.Option(metavar="PRICE", help="Smallest step of a price, in currency per kWh.")
    ] = "0.0000001",
    currency: Annotated[str, typer.Option(metavar="NAME", help="The currency; ct is a hundredth of it.")] = "EUR",
    json: Annotated[bool, typer.Option("--json", help="Print JSON with exact numbers instead of tables.")] = False,
) -> None:
    """Clear an order book under one market rule: trades, prices, balances, and what stayed unfilled.

    With --retail and --feed-in the utility takes every remainder that its prices allow; else only members trade.

    Example: wattle clear book.csv --mechanism uniform-auction --set k_percent=0 --retail 30 --feed-in 8
    """
    from wattle.api import clear_book

    result = clear_book(mechanism, book, _settings(settings or []), retail, feed_in, lot_wh, tick_per_kwh, currency)
    if json:
        typer.echo(result.to_json())
    else:
        _show_result(result)


def mechanisms(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One rule by its name, or the Python file of a rule.")
    ] = None,
) -> None:
    """List the market rules: what each does, what it claims, when it runs, where it comes from.

    With a name: its whole description, its parameters with their defaults, and its claims explained.

    Example: wattle mechanisms uniform-auction
    """
    from wattle.market.mechanism import MECHANISMS, moments
    from wattle.scenario.plugins import find_mechanisms, load_mechanisms

    load_mechanisms()
    if name is not None:
        for entry in find_mechanisms(name):
            _describe(entry)
        return
    rows = [(entry.name, entry.summary, _claims(entry), moments(entry), entry.source) for entry in MECHANISMS]
    _table("", ("name", "what it does", "claims", "when", "source"), rows)


def check(
    mechanism: Annotated[
        str, typer.Argument(metavar="MECHANISM", help="Name of a rule, or a Python file that registers one.")
    ],
    seed: Annotated[int, typer.Option(min=0, help="Other seeds draw other books.")] = 0,
    books: Annotated[int, typer.Option(min=1, help="Number of generated books for each check.")] = 200,
) -> None:
    """Try to break a market rule: what every rule must keep, and each claim it makes, on generated order books.

    Exit code 1 if anything fails; then the smallest book that shows it is printed as CSV.

    Example: wattle check my_rule.py --books 1000
    """
    from wattle.cli.runs import progress_bar
    from wattle.scenario.plugins import find_mechanisms
    from wattle.testing.conformance import check_mechanism

    failed = []
    for entry in find_mechanisms(mechanism):
        needed = [field for field, default in entry.parameters.items() if default is ...]
        if needed:
            raise InputError(f"{entry.name}: cannot be checked, its parameter {needed[0]} has no default")
        with progress_bar() as tell:
            results = check_mechanism(entry, seed=seed, books=books, progress=_progress(entry.name, tell))
        rows = [
            (result.name, "passed" if result.passed else "FAILED", result.books, result.message.partition("\n")[0])
            for result in results
        ]
        _table(entry.name, ("check", "result", "books", "remark"), rows)
        failed += [(entry, result) for result in results if not result.passed]
    for entry, result in failed:
        typer.echo(f"\n{entry.name} fails the check '{result.name}': {result.message}", err=True)
    if failed:
        raise typer.Exit(1)


def _progress(name: str, tell: Callable[[str, int, int], None]) -> Callable[[int, int], None]:
    return lambda done, total: tell(f"checking {name}", done, total)


def _settings(given: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for setting in given:
        field, equals, value = setting.partition("=")
        if not equals or not field.strip():
            raise InputError(f"--set {setting}: expected FIELD=VALUE, such as k_percent=0")
        if field.strip() in found:
            raise InputError(f"--set {setting}: {field.strip()} is set twice")
        found[field.strip()] = value.strip()
    return found


def _show_result(result: Result) -> None:
    from wattle.runtime.cleared import TABLES

    if result.refused:
        typer.echo(f"{result.mechanism} trades nothing: {result.refused}\n")
    for note in result.notes:
        typer.echo(f"{note}\n")
    for name in TABLES:
        rows = getattr(result, name)
        if rows:
            _table(name, tuple(rows[0]), [tuple(row.values()) for row in rows])
            typer.echo()
        elif name != "transfers":  # few rules have any
            typer.echo(f"{name}: none\n")
    if result.figures:
        _table("report", tuple(result.figures[0]), [tuple(row.values()) for row in result.figures])
        typer.echo()
    typer.echo(f"energy (kWh) and money ({result.units.currency}) sum to 0 over all balances")
    if result.transfers:
        typer.echo("what an account pays is the sum of its trades and transfers")


def _describe(entry: Entry) -> None:
    from inspect import cleandoc

    from wattle.market.mechanism import moments
    from wattle.scenario.plugins import setting_keys

    typer.echo(f"{entry.name}\n\n{cleandoc(entry.cls.__doc__ or '')}\n")
    typer.echo(f"When: {moments(entry) or 'not said'}\nSource: {entry.source or 'not said'}\n")
    rows = [
        (" or ".join(key for key, target in setting_keys(entry).items() if target == field), _default(field, default))
        for field, default in entry.parameters.items()
    ]
    _table("parameters", ("name", "default"), rows or [("none", "")])
    typer.echo()
    _table("claims", ("name", "meaning"), [(str(claim), CLAIMS.get(claim, "")) for claim in sorted(entry.claims)])
    typer.echo()


def _default(field: str, default: Any) -> str:
    if default is ...:
        return "must be given"
    if isinstance(default, dict):
        return "not given; written as A:50,B:30" if not default else str(default)
    if field.endswith("_ticks"):
        return "not given" if default < 0 else f"{default} ticks"
    return str(default)


def _claims(entry: Entry) -> str:
    return ", ".join(sorted(entry.claims))


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table: with lines on a terminal, as plain aligned text in a pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    texts = [[_text(cell) for cell in row] for row in rows]
    right = [any(isinstance(row[place], (int, Decimal)) for row in rows) for place in range(len(header))]
    console = Console()
    if console.is_terminal:
        table = Table(title=title or None, title_justify="left")
        for place, (name, number) in enumerate(zip(header, right, strict=True)):
            table.add_column(name, justify="right" if number else "left", overflow="fold", no_wrap=place == 0)
        for row in texts:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
        return
    widths = [max(len(row[place]) for row in [list(header), *texts]) for place in range(len(header))]
    if title:
        typer.echo(title)
    for row in [list(header), *texts]:
        cells = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        )
        typer.echo("  ".join(cells).rstrip())


def _text(cell: Any) -> str:
    return "" if cell is None else format(cell, "f") if isinstance(cell, Decimal) else str(cell)
