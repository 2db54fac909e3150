"""Take the README's picture of a page: `python tools/picture.py page.html`, 1280 pixels wide.

Needs Chromium or Chrome on the path. The picture holds the first screen of the page: the result, the key figures and
the table of rules.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=20000"
).split()
WIDTH, BYTES_MAX = 1280, 400_000


def main() -> int:
    """Write the picture and return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="a page that wattle wrote")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "assets" / "page.png")
    parser.add_argument("--height", type=int, default=1810, help="pixels from the top of the page")
    options = parser.parse_args()
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        print("no Chromium or Chrome on the path", file=sys.stderr)
        return 2
    if not options.page.is_file():
        print(f"{options.page} is not there; make it with `wattle try`", file=sys.stderr)
        return 2
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        size = [f"--window-size={WIDTH},{options.height}", f"--user-data-dir={profile}"]
        shot = [f"--screenshot={options.out.resolve()}", options.page.resolve().as_uri()]
        subprocess.run([browser, *FLAGS, *size, *shot], check=True, capture_output=True, timeout=120)
    written = options.out.stat().st_size
    print(f"{options.out}: {written / 1000:.0f} kB")
    if written > BYTES_MAX:
        print(f"larger than {BYTES_MAX / 1000:.0f} kB; choose a smaller --height", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
