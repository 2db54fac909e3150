"""The table for the terminal: all columns in 100 characters, the main ones in 80."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from wattle.analysis.table import NARROW_WITHOUT, comparison_table


def lines(village, width: int, **console) -> list[str]:
    out = StringIO()
    Console(file=out, width=width, **console).print(comparison_table(village, width))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_each_rule_is_one_line_within_the_window(village, width):
    printed = lines(village, width)
    assert max(map(len, printed)) <= width
    for rule in village.rules:
        row = [line for line in printed if line.startswith(rule.rule)]
        assert len(row) == 1
        assert row[0].rstrip().endswith(" 0")  # the closing error


def test_a_narrow_window_says_what_it_leaves_out(village):
    narrow, wide = "\n".join(lines(village, 80)), "\n".join(lines(village, 100))
    assert "peaks" in narrow
    assert "peaks" not in wide
    assert len(comparison_table(village, 100).columns) == len(comparison_table(village, 80).columns) + len(
        NARROW_WITHOUT
    )


def test_the_best_is_bold_and_not_only_coloured(village):
    printed = "\n".join(lines(village, 120, force_terminal=True, color_system="standard"))
    assert "\x1b[1;32m" in printed
