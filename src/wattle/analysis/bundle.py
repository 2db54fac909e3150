"""The chart library as one script, taken out of the package `vl-convert-python` and kept in the user's cache directory.

Making it starts a JavaScript engine inside that package, which takes about two seconds; reading it back takes one
thousandth of that. No third-party code lies in this repository.
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path


def chart_script() -> str:
    """Return JavaScript that defines `vegaEmbed`, with Vega-Lite and all it needs inside."""
    kept = cache_directory() / f"charts-{version('vl-convert-python')}.js"
    try:
        return kept.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        made = _make()
    _keep(made, kept)
    return made


def cache_directory() -> Path:
    """Return the user's cache directory for wattle; WATTLE_CACHE_DIR overrides the system's habit."""
    if given := os.environ.get("WATTLE_CACHE_DIR"):
        return Path(given)
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "wattle"


def _make() -> str:
    import vl_convert

    return str(vl_convert.javascript_bundle(snippet="window.vegaEmbed = vegaEmbed;"))


def _keep(script: str, path: Path) -> None:
    """Write so that a reader sees the whole file or none; a cache that cannot be written is no fault."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            file.write(script)
        os.replace(file.name, path)
    except OSError:
        return
