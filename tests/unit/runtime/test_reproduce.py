"""The register of reproductions: found by a scan, listed and refused by name, judged by their bars."""

import importlib
import pkgutil
import sys

import pytest
from typer.testing import CliRunner

import wattle.runtime
from wattle.cli.app import build
from wattle.core.checks import InputError, InvariantError
from wattle.runtime.reproduce import PREFIX, REPRODUCTIONS, Row, find_reproduction, reproduction, reproductions


def test_every_module_of_that_name_is_found_and_holds_a_reproduction():
    modules = {
        module.name for module in pkgutil.iter_modules(wattle.runtime.__path__) if module.name.startswith(PREFIX)
    }
    assert {f"wattle.runtime.{name}" for name in modules} == {each.run.__module__ for each in reproductions()}
    assert {"gode-sunder", "zhou-2018", "couraud-2025"} <= {each.name for each in reproductions()}
    assert [each.name for each in reproductions()] == sorted(REPRODUCTIONS)


def test_each_says_what_it_shows_and_what_differs():
    for each in reproductions():
        assert each.summary.endswith("."), each.name
        assert len(each.remark) > 200, each.name
        assert each.source, each.name


def test_a_module_that_appears_later_is_found(monkeypatch, tmp_path):
    reproductions()
    monkeypatch.setattr("wattle.runtime.reproduce.REPRODUCTIONS", dict(REPRODUCTIONS))
    monkeypatch.setattr(wattle.runtime, "__path__", [*wattle.runtime.__path__, str(tmp_path)])
    (tmp_path / "reproduce_moon.py").write_text(
        "from wattle.runtime.reproduce import Row, reproduction\n"
        "@reproduction('moon', source='nobody 1969')\n"
        "def moon(seed=1):\n"
        '    """Shows cheese."""\n'
        "    return [Row('what', 'cheese', 'rock', 'cheese', False)]\n"
    )
    (tmp_path / "not_a_reproduction.py").write_text("raise SystemError\n")
    importlib.invalidate_caches()
    assert find_reproduction("moon").summary == "Shows cheese."
    answer = CliRunner().invoke(build(), ["reproduce", "moon"], catch_exceptions=False)
    assert answer.exit_code == 1  # a bar is missed
    assert "NO" in answer.stdout
    assert "moon" in CliRunner().invoke(build(), ["reproduce"], catch_exceptions=False).stdout
    sys.modules.pop("wattle.runtime.reproduce_moon")


def test_the_registry(monkeypatch):
    reproductions()  # the modules register once, so before the register is exchanged
    monkeypatch.setattr("wattle.runtime.reproduce.REPRODUCTIONS", dict(REPRODUCTIONS))

    @reproduction("half-truth", source="nobody 1900")
    def half(seed):
        """Shows a number that misses its bar.

        On purpose.
        """
        return [Row("what", "1", "2", "1", False)]

    found = find_reproduction("half-truth")
    assert (found.summary, found.remark) == ("Shows a number that misses its bar.", "On purpose.")
    with pytest.raises(InvariantError, match="two reproductions"):
        reproduction("half-truth", source="")(half)
    with pytest.raises(InputError, match="did you mean 'gode-sunder'"):
        find_reproduction("gode-sundar")
