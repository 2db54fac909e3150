"""Commands on runs: try, run, compare, explain, verify."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from wattle.analysis.execute import Progress
    from wattle.runtime.results import Comparison

RUNS = Path("wattle-runs")
VILLAGE = "village.toml"

Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run; default: a new one in wattle-runs/.")]
Open = Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser where there is a display.")]


Homes = Annotated[int | None, typer.Option(help="Take only so many members of the village (2 to 118).")]
Days = Annotated[int | None, typer.Option(help="Take only so many days (1 to 366), from a week in June on.")]
Trust = Annotated[bool, typer.Option("--trust", help="Run the code of rules that came from files with this run.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("try")(try_village)
    app.command("run")(run)
    app.command("compare")(compare)
    app.command("explain")(explain)
    app.command("verify")(verify)


def try_village(
    homes: Homes = None,
    days: Days = None,
    out: Out = None,
    open_page: Open = True,
) -> None:
    """Settle a real village's energy year under seven rules and show what it brings.

    Nothing to set up: the village is in the package. Prints one table and writes one page that works offline.

    Example: wattle try --homes 20 --days 7
    """
    text = _village(homes, days)
    _execute(text, Path(VILLAGE), "own", out, "try", open_page)


def run(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO.toml", help="The scenario to run.")],
    out: Out = None,
    open_page: Open = True,
) -> None:
    """Run one scenario with its products, beside the reference without a community.

    Example: wattle run street.toml
    """
    _execute(None, scenario, [], out, scenario.stem, open_page)


def compare(
    scenario: Annotated[
        Path | None, typer.Argument(metavar="[SCENARIO.toml]", help="The scenario to run; default: the sample village.")
    ] = None,
    mechanisms: Annotated[
        str | None,
        typer.Option(help='Rules to compare, with commas between, or "all"; default: the products of the scenario.'),
    ] = None,
    homes: Homes = None,
    days: Days = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes to run the rules in; default: one a core.")
    ] = None,
    out: Out = None,
    open_page: Open = True,
) -> None:
    """Run several rules on the same members and put them side by side: one table, and one page with all indices.

    A rule that stands in the scenario as a product keeps the parameters it has there. "all" takes every rule that the
    members can follow, and says which ones it leaves out and why.

    Example: wattle compare --mechanisms all --homes 30 --days 7
    """
    wanted: str | list[str] = "own"
    if mechanisms:
        names = [name.strip() for name in mechanisms.split(",") if name.strip()]
        wanted = "all" if names == ["all"] else names
    if scenario is None:
        text = _village(homes, days).replace(", seven market rules", ", rules side by side", 1)
        if wanted == "all":  # all rules with their defaults, so that sharing keys have one price
            text = text[: text.index("[[product]]")]
        _execute(text, Path(VILLAGE), wanted, out, "compare", open_page, workers)
        return
    if homes is not None or days is not None:
        from wattle.core.checks import InputError

        raise InputError("--homes and --days take a part of the sample village; a scenario has its own [members]")
    _execute(None, scenario, wanted, out, scenario.stem, open_page, workers)


def explain(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run, or a folder that was settled.")],
    member: Annotated[str, typer.Option("--member", "-m", help="Name of the member.")],
    interval: Annotated[
        str, typer.Option("--interval", "-t", help="Number of the interval, or its local time like 2016-06-08T12:15.")
    ],
    rule: Annotated[str | None, typer.Option(help="Rule of the run; default: the first after the reference.")] = None,
    trust: Trust = False,
) -> None:
    """Show how a number came about: inputs, formula, rule version, order or reading, source row.

    Example: wattle explain wattle-runs/try-1 --member home-001 --interval 2016-06-08T12:15
    """
    from wattle.analysis.explain import explain_lines

    for line in explain_lines(folder, member, interval, rule, trust):
        typer.echo(line)


def verify(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run, or a folder that was settled.")],
    trust: Trust = False,
) -> None:
    """Compute a run again and check every file, seal and sum; exit code 1 if anything was changed.

    Example: wattle verify wattle-runs/try-1
    """
    from wattle.runtime.verify import verify_folder

    with progress_bar() as tell:
        report = verify_folder(folder, tell, trust)
    for problem in report.problems:
        typer.echo(f"CHANGED  {problem.file}: {problem.text}", err=True)
    if report.problems:
        typer.echo(f"{folder}: {len(report.problems)} problem(s); this run is not what was computed", err=True)
        raise typer.Exit(1)
    typer.echo(report.summary)


def _execute(
    text: str | None,
    path: Path,
    mechanisms: str | list[str],
    out: Path | None,
    name: str,
    open_page: bool,
    workers: int | None = None,
) -> None:
    """Run a scenario; `mechanisms` are names, "own" (each product by itself), "all", or none (products together)."""
    from wattle.analysis.execute import PAGE, empty_folder, execute, free_folder
    from wattle.runtime.compare import every_rule, rules_of
    from wattle.scenario.load import load_scenario, parse_scenario

    if text is None:
        scenario = load_scenario(path)
        text = path.read_text(encoding="utf-8")
    else:
        scenario = parse_scenario(text, str(path))
    left_out = None
    if mechanisms == "all":
        rules, left_out = every_rule(scenario)
    elif mechanisms == "own":
        rules = rules_of(scenario, [product.name or product.mechanism for product in scenario.product])
    else:
        rules = rules_of(scenario, mechanisms)
    folder = empty_folder(out) if out is not None else free_folder(RUNS, name)
    with progress_bar() as tell:
        comparison = execute(
            scenario, text, path.parent, rules, folder, tell,
            left_out=left_out, leave_out=bool(mechanisms), workers=workers,
        )  # fmt: skip
    _print(comparison)
    _summary(comparison, folder)
    _show(folder / PAGE, open_page)


def _village(homes: int | None, days: int | None) -> str:
    from importlib.resources import files

    text = (files("wattle") / "data" / "presets" / VILLAGE).read_text(encoding="utf-8")
    return _sized(text, homes, days)


def _sized(text: str, homes: int | None, days: int | None) -> str:
    """Write the size of the village into its scenario, so that the run says what it is."""
    line = 'source = "village"'
    for key, value in (("homes", homes), ("days", days)):
        if value is not None:
            text = text.replace(line, f"{line}\n{key} = {value}", 1)
    if homes is not None or days is not None:
        members = f"{homes} members" if homes is not None else "118 members"
        span = f"{days} days" if days is not None else "a year"
        text = text.replace("A village of 118 members, a year,", f"A village of {members}, {span},", 1)
    return text


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a bar with the remaining time on a terminal; stay silent in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<22}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("starting", total=None)

        def tell(work: str, done: int, total: int) -> None:
            bars.update(task, description=work, completed=done, total=total)

        yield tell


def _print(comparison: Comparison) -> None:
    from rich.console import Console

    from wattle.analysis.table import comparison_table

    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(comparison_table(comparison, console.width))


def _summary(comparison: Comparison, folder: Path) -> None:
    from wattle.analysis.execute import LEFT_OUT
    from wattle.analysis.table import example, unbeaten_sentence
    from wattle.runtime.compare import ALIKE, OPERATOR

    for note in comparison.notes:
        if note.startswith((LEFT_OUT, ALIKE)) or OPERATOR in note:
            typer.echo(note)
    if len(comparison.rules) > 2:
        typer.echo(unbeaten_sentence(comparison))
    errors = [rule for rule in comparison.rules if rule.energy_error or rule.money_error]
    closing = "closes exactly under every rule" if not errors else "DOES NOT CLOSE; please report this"
    typer.echo(f"Energy and money: {closing}.")
    typer.echo(f"Why a number is what it is:  wattle explain {folder} {example(comparison)}")
    typer.echo(f"Is it still what was computed:  wattle verify {folder}")


def _show(page: Path, wanted: bool) -> None:
    import webbrowser

    display = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if (
        wanted
        and display
        and not os.environ.get("CI")
        and sys.stdout.isatty()
        and webbrowser.open(page.absolute().as_uri())
    ):
        typer.echo(f"Page opened: {page}")
    else:
        typer.echo(f"Page: {page}")
