"""The list of commands, in the order in which a newcomer meets them."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from wattle.version import __version__


def build() -> typer.Typer:
    """Return the application with all commands."""
    # One known folder for compiled kernels, so that every command after the first starts quickly.
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(cache) / "wattle" / "kernels"))
    app = typer.Typer(
        name="wattle",
        help="The open platform for peer-to-peer electricity trading: what if, now, after. Start with: wattle try",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback()(_top)
    from wattle.cli import folders, market, reproduce, runs

    runs.register(app)
    market.register(app)
    folders.register(app)
    reproduce.register(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wattle {__version__}")
        raise typer.Exit


def _top(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Settle, compare and explain energy communities, to the last unit of energy and money."""
