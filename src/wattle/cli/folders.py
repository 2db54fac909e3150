"""Commands on folders of meter files: new, settle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("new")(new)
    app.command("settle")(settle)


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make; it must be new or empty.")],
    example: Annotated[
        bool, typer.Option("--example", help="Add a week of meter files, so that it can be settled at once.")
    ] = False,
) -> None:
    """Make a folder for a community: community.toml, members.csv and a place for meter files.

    Example: wattle new our-street --example
    """
    from wattle.runtime.newfolder import make_folder

    for name in make_folder(folder, example):
        typer.echo(f"written: {folder / name}")
    if example:
        typer.echo(f"Next: wattle settle {folder}")
    else:
        typer.echo(f"Next: edit both files, put meter files into {folder / 'meters'}, then: wattle settle {folder}")


def settle(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with community.toml, made by `wattle new`.")],
) -> None:
    """Settle what is new in a folder of meter files and write a statement for each member.

    Files that were settled before stay as they are. New files with later intervals are settled; new files with
    readings of settled intervals are corrections and give difference statements to those whose bill changes.

    Example: wattle settle our-street
    """
    from wattle.cli.runs import progress_bar
    from wattle.runtime.folder import settle_folder

    with progress_bar() as tell:
        opened, done, written = settle_folder(folder, tell)
    if written is None:
        typer.echo(f"{folder}: nothing new; every meter file is settled already")
        return
    for summary in opened.book.summaries[-len(opened.rounds[-1]) :]:
        typer.echo(f"read {summary}")
    new_intervals = opened.book.grid.count - done.first
    if new_intervals:
        many = "s" * (new_intervals != 1)
        typer.echo(f"settled: {new_intervals:,} interval{many}, {len(opened.world.members)} members")
    if done.corrected.size:
        count = done.corrected.size
        typer.echo(f"corrected: {count:,} interval{'s' * (count != 1)} settled before")
    typer.echo("energy and money close exactly: all accounts sum to 0")
    typer.echo(f"statements: {written / 'index.html'}")
