"""Write the reference pages from the code, so that page and program cannot differ.

    python tools/reference.py            write docs/reference/*.md
    python tools/reference.py --check    write nothing; exit with 1 if a page is stale

What a page says about a key, a command or a rule stands in the code beside it: help texts, field descriptions,
docstrings. To change a page, change them and run this again.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel

from wattle.cli.app import build
from wattle.cli.market import CLAIMS
from wattle.core.checks import REASONS, Reject
from wattle.core.registry import Entry
from wattle.intake import csvtable, findings, layouts, members, meters, timestamps
from wattle.intake.cells import DIRECTIONS, STATUSES
from wattle.intake.settings import MeterSettings
from wattle.market.mechanism import MECHANISMS, Claim, moments
from wattle.scenario import schema
from wattle.scenario.plugins import load_mechanisms, setting_keys

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
NOTE = "<!-- Written by tools/reference.py from the code. Change the code, then run it again. -->"


# --- Markdown ---


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def code(text: object) -> str:
    """Return a text in code marks, nothing for nothing."""
    return f"`{text}`" if text not in ("", None) else ""


def page(title: str, *parts: str) -> str:
    """Return a whole page."""
    return "\n\n".join([NOTE, f"# {title}", *(part.strip("\n") for part in parts if part)]) + "\n"


def prose(doc: str | None) -> str:
    """Return a docstring as Markdown; examples in it become fenced."""
    parts = [part.rstrip() for part in inspect.cleandoc(doc or "").split("\n\n")]
    return "\n\n".join(f"```python\n{part}\n\n```" if part.startswith(">>>") else part for part in parts)


def type_word(hint: Any) -> str:
    """Return a type in words for people who do not program."""
    if get_origin(hint) is Literal:
        return " or ".join(f'`"{value}"`' for value in get_args(hint))
    if NoneType in get_args(hint):
        return next(_word(each) for each in get_args(hint) if each is not NoneType)
    return _word(hint)


def _word(hint: Any) -> str:
    words = {int: "whole number", str: "text", bool: "true or false", float: "number", Path: "path"}
    if hint in words:
        return words[hint]
    if get_origin(hint) is Literal:
        return type_word(hint)
    if get_origin(hint) is list:
        return f"{_word(get_args(hint)[0])}, any number"
    return "member → whole number" if get_args(hint) == (int, int) else getattr(hint, "__name__", str(hint))


# --- pages ---


def commands() -> str:
    """Return the page of all commands and options."""
    root: Any = typer.main.get_command(build())
    parts = [
        "Everything `wattle` can do at a command line. `wattle COMMAND --help` shows the same.",
        table(("Command", "What it does"), ([f"[`{n}`](#{n})", _lines(c.help)[0]] for n, c in root.commands.items())),
        "A problem that you can solve is one plain message on the error output and exit code 2; nothing is left "
        "half-written. `wattle --version` prints the version.",
    ]
    for name, command in root.commands.items():
        head, *more = _lines(command.help)
        words = [_argument(param) for param in command.params if param.param_type_name == "argument"]
        options = [param for param in command.params if param.param_type_name == "option" and param.name != "help"]
        usage = " ".join([f"wattle {name}", *words, *(["[OPTIONS]"] if options else [])])
        parts += [f"## {name}", head, f"Usage: `{usage}`", *(_example(line) for line in more)]
        parts.append(table(("Argument or option", "Value", "Default", "Meaning"), _parameters(command)))
    return page("Commands", *parts)


def _argument(param: Any) -> str:
    name = param.metavar or param.name.upper()
    return name if param.required else f"[{name}]"


def _lines(help_text: str | None) -> list[str]:
    return [" ".join(part.split()) for part in inspect.cleandoc(help_text or "").split("\n\n")]


def _example(line: str) -> str:
    word, colon, rest = line.partition(": ")
    return f"Example: `{rest}`" if word == "Example" and colon else line


def _parameters(command: Any) -> Iterable[list[str]]:
    hints = get_type_hints(inspect.unwrap(command.callback))
    for param in command.params:
        if param.name == "help":
            continue
        argument, flag = param.param_type_name == "argument", getattr(param, "is_flag", False)
        name = param.metavar or param.name.upper() if argument else ", ".join([*param.opts, *param.secondary_opts])
        value = "" if flag else type_word(hints.get(param.name, str))
        if param.metavar and not argument:
            value = code(param.metavar)
        if param.required:
            default = "required"
        elif flag:
            default = code((param.opts if param.default else param.secondary_opts or ["off"])[0])
        else:
            default = code("" if isinstance(param.default, (list, tuple)) else param.default)
        yield [code(name), value, default, param.help or ""]


def scenario() -> str:
    """Return the page of all sections and keys of a scenario."""
    village, new = (
        (files("wattle") / "data" / Path(name)).read_text(encoding="utf-8").rstrip()
        for name in ("presets/village.toml", "new/community.toml")
    )
    parts = [
        "A scenario is one TOML file. Keys carry their unit. Decimals are written as texts, in quotes, so that they "
        "stay exact. A key that is not listed here stops the run with a message that names the nearest valid key; so "
        "does a missing one. `community.toml`, which `wattle settle` reads, is a scenario too.",
        "## Top level",
        _keys(schema.Scenario),
    ]
    for name, section in sections(schema.Scenario):
        parts += [f"## {name}", prose(section.__doc__), _keys(section)]
        if section is schema.ProductSection:
            parts.append(
                "Every other key is a parameter of the rule; [mechanisms](mechanisms.md) lists them. A table of "
                'members, such as `shares`, may also be `"by demand"` (each member\'s energy of the whole run), '
                '`"equal"`, or `"from members"` (a column of the table of members).'
            )
    parts += ["## The sample village", f"```toml\n{village}\n```"]
    parts += ["## What `wattle new` writes", f"```toml\n{new}\n```"]
    return page("Scenario", *parts)


def sections(model: type[BaseModel]) -> list[tuple[str, type[BaseModel]]]:
    """Return the sections of a scenario as they are written in TOML, with their models."""
    found = []
    for name, field in model.model_fields.items():
        for candidate in (field.annotation, *get_args(field.annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                many = get_origin(field.annotation) is tuple
                found.append((f"[[{name}]]" if many else f"[{name}]", candidate))
    return found


def _keys(model: type[BaseModel]) -> str:
    inner = {name.strip("[]") for name, _ in sections(model)}
    rows = [
        [code(name), _kind(field), _default(field), _described(field)]
        for name, field in model.model_fields.items()
        if name not in inner
    ]
    listed = [[name, section_doc(found)] for name, found in sections(model)]
    shown = table(("Key", "Type", "Default", "Meaning"), rows)
    return f"{shown}\n\n{table(('Section', 'Holds'), [[code(a), b] for a, b in listed])}" if listed else shown


def section_doc(model: type[BaseModel]) -> str:
    """Return the first sentence of a section's docstring."""
    return inspect.cleandoc(model.__doc__ or "").split("\n")[0]


def _kind(field: Any) -> str:
    default = field.default if isinstance(field.default, str) else ""
    checks = re.findall(r"<function (\w+)", f"{field.metadata} {field.annotation}")
    if "_not_negative" in checks:
        return "decimal in quotes, 0 or more"
    if "_decimal" in checks or re.fullmatch(r"[0-9.]+", default):
        return "decimal in quotes"
    bounds = {key: getattr(each, key) for each in field.metadata for key in ("ge", "gt", "le") if hasattr(each, key)}
    words = {"ge": "at least", "gt": "above", "le": "at most"}
    limits = ", ".join(f"{words[key]} {value}" for key, value in bounds.items())
    return f"{type_word(field.annotation)}{f', {limits}' if limits else ''}"


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None:
        return ""
    return code(f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else value)


def _described(field: Any) -> str:
    examples = ", ".join(code(f'"{each}"') for each in field.examples or ())
    return (field.description or "") + (f"; for example {examples}" if examples else "")


def mechanisms() -> str:
    """Return the page of all market rules that come with wattle."""
    load_mechanisms()
    own = [entry for entry in MECHANISMS if entry.cls.__module__.startswith("wattle.market.")]
    parts = [
        "The market rules that come with wattle. `wattle mechanisms` prints this list together with the rules of other "
        "packages; [write a mechanism](../how-to/write-a-mechanism.md) shows how to add one. "
        "[Sharing rules](../concepts/sharing-rules.md) explains them with numbers.",
        table(("Rule", "In one line"), ([f"[`{entry.name}`](#{entry.name})", entry.summary] for entry in own)),
        "A *price* parameter can be given in currency (`price_per_kwh`, decimals in quotes) or in hundredths of it "
        "(`price_ct_per_kwh`). A table of members is written `{ anna = 50, ben = 30 }` in a scenario and "
        "`anna:50,ben:30` with `wattle clear --set`.",
    ]
    for module in dict.fromkeys(entry.cls.__module__ for entry in own):
        family, _, rest = prose(sys.modules[module].__doc__).partition(": ")
        parts += [f"## {family}", rest[:1].upper() + rest[1:]]
        parts += [_mechanism(entry) for entry in own if entry.cls.__module__ == module]
    parts += ["## Claims", "What a rule may promise. `wattle check` tries to break each claim on generated books."]
    parts.append(table(("Claim", "Meaning"), ([claim.value, CLAIMS[claim]] for claim in Claim)))
    return page("Mechanisms", *parts)


def _mechanism(entry: Entry) -> str:
    keys: dict[str, list[str]] = {}
    for key, field in setting_keys(entry).items():
        keys.setdefault(field, []).append(key)
    hints = get_type_hints(entry.cls)
    rows = []
    for field, default in entry.parameters.items():
        price = field.endswith("_ticks")
        kind = "price" if price else type_word(hints[field])
        unset = default in ({}, ()) or (price and isinstance(default, int) and default < 0)
        shown = "required" if default is ... else "not set" if unset else code(default)
        rows.append([" or ".join(code(key) for key in reversed(keys[field])), kind, shown])
    listed = table(("Parameter", "Type", "Default"), rows) if rows else "It has no parameters."
    claims = "\n".join(f"- **{claim.value}**: {CLAIMS[claim]}" for claim in Claim if claim in entry.claims)
    facts = f"Runs {moments(entry)}. Source: {entry.source}."
    return f"### {entry.name}\n\n{prose(entry.cls.__doc__)}\n\n{facts}\n\n{listed}\n\nClaims:\n\n{claims}"


def meter_files() -> str:
    """Return the page of meter settings, columns and finding codes."""
    text = inspect.cleandoc(MeterSettings.__doc__ or "").replace("None:", "not set:")
    parts = re.findall(r"^([a-z_, ]+)\n((?:    .+\n?)+)", text, re.MULTILINE)
    described = {name: " ".join(lines.split()) for names, lines in parts for name in names.split(", ")}
    keys = schema.MetersSection.model_fields
    rows = [
        [code(name), _kind(field), _default(field), _described(field), described.get(name, "")]
        for name, field in keys.items()
    ]
    forms = ", ".join(code(form) for form in timestamps._DATES)
    columns = {
        "time": layouts.TIME_NAMES,
        "meter": layouts.METER_NAMES,
        "value": layouts.VALUE_NAMES,
        "direction": tuple(layouts.LONG_NAMES)[:1],
        "status": tuple(layouts.LONG_NAMES)[1:],
    }
    return page(
        "Meter files",
        "What `wattle settle` accepts, and what it says when it does not. Nothing is repaired and nothing is filled "
        "in. [Settle a community](../how-to/settle-a-community.md) shows the files at work.",
        "## Settings\n\nThe section `[meters]` of `community.toml`.",
        table(("Key", "Type", "Default", "In short", "In full"), rows),
        f"Readers: {', '.join(code(name) for name in meters.readers())}.",
        "## Columns of a meter file\n\n*Wide*: a time column and one column per meter, named by the meter's id and, "
        "if wanted, its unit (`M001 kWh`, `M001 [kW]`). *Long*: one row per reading. A file is long if it has a meter "
        "column.",
        table(("Column", "May be called"), ([a, ", ".join(map(code, names))] for a, names in columns.items())),
        f"`direction` is one of {', '.join(map(code, DIRECTIONS))}; `status` one of {', '.join(map(code, STATUSES))}. "
        f"Dates are written {forms}, times `HH:MM` or `HH:MM:SS`, with a UTC offset if wanted.",
        "## Columns of members.csv",
        table(("Column", "Holds"), ([code(name), text] for name, text in members.COLUMNS.items())),
        "## Finding codes",
        f"Every message names file, row, column, value and what was expected. At most {findings.FINDINGS_MAX} are "
        "written out, the others are counted.",
        table(("Code", "Meaning"), ([code(name), text] for name, text in findings.CODES.items())),
        "## Limits",
        table(("Limit", "At most"), [
            ["size of a file", f"{csvtable.FILE_BYTES_MAX:,} bytes"],
            ["files in one settlement", f"{meters.FILES_MAX:,}"],
            ["intervals in one settlement", f"{meters.INTERVALS_MAX:,}"],
        ]),
    )  # fmt: skip


def reject_codes() -> str:
    """Return the page of reject codes."""
    return page(
        "Reject codes",
        "Why an order, a reading or a whole book was not taken. What is wrong is refused with a code; it is never cut "
        "to fit. The numbers are stored in journals and never change their meaning.",
        table(("Number", "Code", "Meaning"), ([str(int(each)), code(each.name), REASONS[each]] for each in Reject)),
        "In Python: `wattle.core.checks.Reject` holds the codes, `REASONS` the sentences. At the command line you see "
        "the sentence. What is wrong with a file has [finding codes](meter-files.md#finding-codes) of its own.",
    )


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "scenario.md": scenario,
    "mechanisms.md": mechanisms,
    "meter-files.md": meter_files,
    "reject-codes.md": reject_codes,
}


def stale() -> list[str]:
    """Return the pages that are not what the code says now."""
    return [
        name
        for name, write in PAGES.items()
        if not (FOLDER / name).is_file() or (FOLDER / name).read_text(encoding="utf-8") != write()
    ]


def main(arguments: Sequence[str]) -> int:
    """Write or check the pages."""
    if list(arguments) not in ([], ["--check"]):
        print(__doc__)
        return 2
    old = stale()
    if arguments:
        for name in old:
            print(f"docs/reference/{name} is stale; run: python tools/reference.py")
        return 1 if old else 0
    for name in old:
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"written: docs/reference/{name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
