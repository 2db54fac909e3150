"""The command line. Each command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import sys

from wattle.cli.app import build


def main() -> None:
    """Run the command line; a problem that the user can solve is one plain message and exit code 2."""
    from wattle.core.checks import WattleError

    try:
        build()(standalone_mode=True)
    except WattleError as problem:
        sys.stderr.write(f"wattle: {problem}\n")
        raise SystemExit(2) from None
