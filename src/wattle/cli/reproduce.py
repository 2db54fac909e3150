"""The command that runs published experiments again."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reproduce")(reproduce)


def reproduce(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which experiment; without a name all are listed.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds throw other dice.")] = 1,
) -> None:
    """Run a published experiment again: the paper's numbers and ours side by side.

    Exit code 1 if a number of ours misses its bar.

    Example: wattle reproduce gode-sunder
    """
    from wattle.cli.market import _table
    from wattle.runtime.reproduce import find_reproduction, reproductions

    if name is None:
        rows = [(each.name, each.summary, each.source) for each in reproductions()]
        _table("", ("name", "what it shows", "source"), rows)
        return
    found = find_reproduction(name)
    typer.echo(f"{found.summary}\nSource: {found.source}\n")
    results = found.run(seed)
    marks = [(row.what, row.paper, row.own, row.bar, "yes" if row.passed else "NO") for row in results]
    _table("", ("what", "paper", "wattle", "bar", "reached"), marks)
    typer.echo(f"\n{found.remark}")
    if not all(row.passed for row in results):
        raise typer.Exit(1)
