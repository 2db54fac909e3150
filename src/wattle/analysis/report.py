"""One self-contained HTML page per comparison, and one CSV row per rule.

The page holds everything: text, figures, charts, scripts. It opens from a file, offline, and its content policy forbids
the browser to fetch anything or to run any script but the ones written here.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import json
import os
import re
from importlib.resources import files
from pathlib import Path

from wattle.analysis.bundle import chart_script
from wattle.analysis.catalogue import CATALOGUE
from wattle.analysis.metrics import by_key
from wattle.analysis.pagedata import page_data, with_indices
from wattle.analysis.pareto import choices
from wattle.runtime.results import Comparison

MODULES = ("format", "data", "explain", "charts", "shapes", "flows", "compare", "pareto", "village", "bill", "page")
"""Our ES modules in the order in which they depend on each other; each lies in `page/NAME.js`."""


def write_page(comparison: Comparison, path: Path | str) -> Path:
    """Write the comparison as one HTML file and return its path. Nothing half-written is left behind."""
    data, packed = page_data(comparison)
    target = Path(path)
    _write(target, _assemble(data, packed))
    return target


def _assemble(data: dict[str, object], packed: str) -> str:
    folder = files("wattle.analysis").joinpath("page")
    own = joined_modules({name: folder.joinpath(f"{name}.js").read_text("utf-8") for name in MODULES})
    scripts = [_harmless(chart_script()), _harmless(own)]
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    policy += "script-src " + " ".join(_fingerprint(script) for script in scripts)
    parts = {
        "policy": policy,
        "title": html.escape(str(data["title"])),
        "headline": html.escape(str(data["headline"])),
        "lead": html.escape(str(data["lead"])),
        "style": folder.joinpath("page.css").read_text("utf-8"),
        "data": safe_json(data),
        "series": packed,
        "charts": scripts[0],
        "own": scripts[1],
    }
    text = folder.joinpath("page.html").read_text("utf-8")
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: parts[found[1]], text)


def safe_json(data: object) -> str:
    """Return JSON that cannot end the script element it stands in, whatever names it holds.

    >>> safe_json("</script>")
    '"\\\\u003c/script\\\\u003e"'
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def joined_modules(modules: dict[str, str]) -> str:
    """Join ES modules into one script: imports of one another are dropped, since all share one scope.

    >>> joined_modules({"a": "export const one = 1;\\n", "b": 'import { one } from "./a.js";\\nlog(one);\\n'})
    '// a.js\\nconst one = 1;\\n\\n// b.js\\nlog(one);\\n'
    """
    parts = []
    for name, text in modules.items():
        text = re.sub(r'^import \{[^}]*\} from "\./\w+\.js";\n', "", text, flags=re.MULTILINE)
        parts.append(f"// {name}.js\n" + re.sub(r"^export ", "", text, flags=re.MULTILINE))
    return "\n".join(parts)


def _harmless(script: str) -> str:
    """Return a script without signs that would end or hide the element it stands in; its strings mean the same."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _fingerprint(script: str) -> str:
    """Return the content policy's name for exactly this script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def write_comparison_csv(comparison: Comparison, path: Path | str) -> Path:
    """Write one row per rule with all indices; an index without a value is an empty cell. Return the path.

    `unbeaten_jain` and its like say which rules no other rule beats in welfare and that kind of fairness.
    """
    currency = comparison.units.currency
    units = {key: definition.unit.format(cur=currency) for key, definition in CATALOGUE.items()}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    fronts = choices([by_key(found) for found in with_indices(comparison)])
    unbeaten = [f"unbeaten_{choice.fairness}" for choice in fronts]
    writer.writerow(
        ["rule", "mechanism", *(f"{key} [{unit}]" if unit else key for key, unit in units.items()), *unbeaten]
    )
    for number, (rule, found) in enumerate(zip(comparison.rules, with_indices(comparison), strict=True)):
        values = by_key(found)
        cells = ["" if values[key].value is None else f"{values[key].value:.10g}" for key in units]
        marks = ["yes" if number in choice.rules else "" for choice in fronts]
        writer.writerow([_cell(rule.rule), _cell(rule.mechanism), *cells, *marks])
    target = Path(path)
    _write(target, buffer.getvalue())
    return target


def _cell(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return "'" + text if text[:1] in "=+-@\t\r" and text else text


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, "utf-8", newline="\n")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
