"""Rules are found by name, by file and by package, and their parameters are converted strictly or refused."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import SimpleNamespace
from typing import Literal

import pytest

from wattle.core.checks import InputError
from wattle.core.registry import Entry
from wattle.core.units import Units
from wattle.market.mechanism import MECHANISMS
from wattle.scenario import plugins
from wattle.scenario.plugins import find_mechanism, find_mechanisms, load_file, load_mechanisms, mechanism_parameters

UNITS = Units.parse("1", "0.0001")
IDS = {"Ann": 8, "Bob": 9, "Our house": 10}

RULE = '''
from dataclasses import dataclass
from wattle.market.auction_double import UniformAuction
from wattle.market.mechanism import mechanism


@mechanism("{name}", claims=set(), source="nowhere")
@dataclass(frozen=True)
class Rule:
    """Does what the uniform auction does."""

    k_percent: int = 50

    def step(self, memory, orders, context):
        return UniformAuction(self.k_percent).step(memory, orders, context)
'''


@pytest.fixture
def rule_file(tmp_path, monkeypatch):
    """Write a file with a rule, and leave the registry as it was."""
    monkeypatch.chdir(tmp_path)
    load_mechanisms()
    before = dict(MECHANISMS._entries)

    def write(text: str, name: str = "my_rule.py") -> str:
        (tmp_path / name).write_text(text)
        return name

    yield write
    MECHANISMS._entries.clear()
    MECHANISMS._entries.update(before)
    for name in [name for name in sys.modules if name.startswith("wattle_rule_file_")]:
        del sys.modules[name]


def refused(call, *arguments, **named) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **named)
    return str(caught.value)


# --- by name ---


def test_wattles_own_rules_are_found_by_scan():
    load_mechanisms()
    assert {"uniform-auction", "mid-market-rate", "fixed-key", "bill-sharing", "gift-key"} <= set(MECHANISMS.names())
    assert find_mechanism("uniform-auction").name == "uniform-auction"


def test_an_unknown_name_gets_the_nearest():
    assert refused(find_mechanism, "unifrm-auction") == (
        "no mechanism is called 'unifrm-auction'; did you mean 'uniform-auction'?"
    )


# --- by file ---


def test_a_file_registers_its_rule_and_may_be_changed_and_loaded_again(rule_file):
    name = rule_file(RULE.format(name="stranger"))
    assert [entry.name for entry in load_file(name)] == ["stranger"]
    assert find_mechanism("stranger").cls.__qualname__ == "Rule"
    rule_file(RULE.format(name="stranger").replace("class Rule", "class Better"))
    assert find_mechanism(name).cls.__qualname__ == "Better"
    rule_file(RULE.format(name="renamed"))
    assert [entry.name for entry in find_mechanisms(name)] == ["renamed"]
    assert "stranger" not in MECHANISMS


def test_a_file_with_two_rules_needs_a_choice(rule_file):
    name = rule_file(RULE.format(name="one") + RULE.format(name="two").replace("class Rule", "class Other"))
    assert refused(find_mechanism, name) == "my_rule.py: holds 2 rules; choose one: my_rule.py:one, my_rule.py:two"
    assert find_mechanism("my_rule.py:two").name == "two"
    assert refused(find_mechanism, "my_rule.py:tow") == "my_rule.py: holds no rule 'tow'; did you mean 'two'?"


def test_a_file_of_wattle_itself_is_not_loaded_twice():
    from wattle.market import pools

    names = [entry.name for entry in load_file(pools.__file__)]
    assert names == ["bill-sharing", "mid-market-rate", "supply-demand-ratio"]
    assert MECHANISMS["bill-sharing"].cls is pools.BillSharing


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", "my_rule.py: registers no market rule; put wattle.market.mechanism.mechanism above a class"),
        ("x = 1\ny = 1 / 0\n", "my_rule.py, line 2: cannot be loaded: ZeroDivisionError: division by zero"),
        (
            "import nowhere_at_all\n",
            "my_rule.py, line 1: cannot be loaded: ModuleNotFoundError: No module named 'nowhere",
        ),
        ("\ndef f(:\n", "my_rule.py, line 2: cannot be loaded: SyntaxError: invalid syntax"),
        ("raise SystemExit(3)\n", "my_rule.py, line 1: cannot be loaded: SystemExit: 3"),
        (RULE.format(name="dynamic-key"), "cannot be loaded: two different classes want to be mechanism 'dynamic-key'"),
        (
            RULE.format(name="dynamic-key").replace("class Rule", "class DynamicKey"),
            "my_rule.py: cannot be loaded: the name 'dynamic-key' is taken by another rule; choose a name of its own",
        ),
        (RULE.format(name="x").replace('"""', "#"), "cannot be loaded: mechanism x: the docstring is missing"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_leaves_no_trace(rule_file, text, words):
    before = dict(MECHANISMS._entries)
    assert words in refused(load_file, rule_file(text))
    assert dict(MECHANISMS._entries) == before


def test_a_path_without_a_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused(find_mechanism, "no.py") == "no.py: there is no such file; expected a Python file"
    (tmp_path / "folder.py").mkdir()
    assert refused(find_mechanism, "folder.py") == "folder.py: is a folder; expected a Python file"


# --- by package ---


def test_entry_points_are_loaded_and_a_broken_one_is_named(monkeypatch):
    loaded = []
    point = SimpleNamespace(name="good", dist=None, value="good:Rule", load=lambda: loaded.append("good"))
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == "wattle.mechanisms" else [])
    load_mechanisms.__wrapped__()
    assert loaded == ["good"]
    broken = SimpleNamespace(name="bad", dist=SimpleNamespace(name="other"), value="", load=lambda: 1 / 0)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [broken])
    assert refused(load_mechanisms.__wrapped__) == (
        "the market rule 'bad' of the package other cannot be loaded: ZeroDivisionError: division by zero; "
        "repair or uninstall other"
    )


# --- parameters ---


@dataclass(frozen=True)
class Everything:
    """A rule with a field of each type."""

    count: int
    floor_ticks: int = 0
    price_ticks: int = -1
    shares: Mapping[int, int] = field(default_factory=dict)
    word: str = "a"
    flag: bool = False
    share: float = 0.5
    choice: Literal["demand", "level"] = "demand"
    limit: int | None = None
    table: list[int] = field(default_factory=list)


EVERYTHING = Entry("everything", Everything)


def parameters(**settings):
    return mechanism_parameters(EVERYTHING, {"count": 1, **settings}, UNITS, IDS)


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        ({"count": "12"}, "count", 12),
        ({"count": " -3 "}, "count", -3),
        ({"price_ct_per_kwh": "12.5"}, "price_ticks", 1250),
        ({"price_ct_per_kwh": 12}, "price_ticks", 1200),
        ({"price_per_kwh": "0.1249"}, "price_ticks", 1249),
        ({"price_per_kwh": 0.1}, "price_ticks", 1000),
        ({"floor_per_kwh": "-0.1"}, "floor_ticks", -1000),
        ({"shares": "Ann:50,Bob:30,Our house:20"}, "shares", {8: 50, 9: 30, 10: 20}),
        ({"shares": " Ann : 33.3 , Bob : 66.7"}, "shares", {8: 333, 9: 667}),
        ({"shares": {"Ann": "33.3", "Bob": 33.35, "Our house": 33}}, "shares", {8: 666, 9: 667, 10: 660}),
        ({"shares": {"Ann": Fraction(1, 3), "Bob": 1}}, "shares", {8: 1, 9: 3}),
        ({"shares": {}}, "shares", {}),
        ({"word": "12"}, "word", "12"),
        ({"flag": "true"}, "flag", True),
        ({"flag": False}, "flag", False),
        ({"share": "0.25"}, "share", 0.25),
        ({"choice": "level"}, "choice", "level"),
        ({"limit": "7"}, "limit", 7),
    ],
)
def test_texts_and_values_become_fields(settings, field, value):
    assert parameters(**settings)[field] == value


WRONG = {
    "a whole number": ({"count": "1.0"}, "count is '1.0', expected a whole number"),
    "no word": ({"count": "ten"}, "count is 'ten', expected a whole number"),
    "no float": ({"count": 2.0}, "count is 2.0, expected a whole number"),
    "no truth for a number": ({"count": True}, "count is True, expected a whole number"),
    "64 bits": ({"count": "9" * 25}, f"count is '{'9' * 25}', expected a whole number"),
    "endless": ({"count": "9" * 9999}, "expected a whole number"),
    "unknown": ({"cuont": 1}, "there is no parameter 'cuont'; did you mean 'count'?"),
    "ticks": ({"price_ticks": 5}, "'price_ticks'; ticks depend on the units; write price_ct_per_kwh or price_per_kwh"),
    "twice": (
        {"price_ct_per_kwh": 1, "price_per_kwh": 1},
        "price_per_kwh: this price is given twice, in currency and in ct; keep one of the two",
    ),
    "price": ({"price_ct_per_kwh": "cheap"}, "price_ct_per_kwh is 'cheap', expected a number such as 50 or 33.3"),
    "nan": ({"price_per_kwh": float("nan")}, "price_per_kwh is nan, expected a number such as 50 or 33.3"),
    "tick": ({"price_ct_per_kwh": "1.005"}, "price_ct_per_kwh is '1.005', expected a multiple of 0.01 (a tick)"),
    "tick in currency": ({"price_per_kwh": "0.00001"}, "is '0.00001', expected a multiple of 0.0001 (a tick)"),
    "huge": ({"price_per_kwh": "1e9"}, "price_per_kwh is '1e9', expected a price of at most 68719476736 ticks"),
    "negative": ({"price_per_kwh": "-0.0001"}, "price_per_kwh is '-0.0001', expected 0 or more"),
    "stranger": ({"shares": "Ann:50,Bop:50"}, "shares: no member is called 'Bop'; did you mean 'Bob'?"),
    "no number": ({"shares": "Ann:50,Bob"}, "'Ann:50,Bob', expected members and numbers such as A:50,B:30"),
    "empty": ({"shares": ""}, "shares is '', expected members and numbers such as A:50,B:30"),
    "a list": ({"shares": [1, 2]}, "shares is [1, 2], expected members and numbers such as A:50,B:30"),
    "weight": ({"shares": "Ann:many"}, "shares: Ann is 'many', expected a number such as 50 or 33.3"),
    "weight below 0": ({"shares": {"Ann": -1}}, "shares: Ann is -1, expected 0 or more"),
    "member twice": ({"shares": "Ann:1,Ann:2"}, "shares: Ann is given twice"),
    "digits": ({"shares": "Ann:0.12345678901234567"}, "shares: the weights have too many digits to be counted exactly"),
    "text": ({"word": 5}, "word is 5, expected a text"),
    "truth": ({"flag": "yes"}, "flag is 'yes', expected true or false"),
    "infinite": ({"share": "inf"}, "share is 'inf', expected a number such as 50 or 33.3"),
    "choice": ({"choice": "size"}, "choice is 'size', expected one of demand, level"),
    "type": ({"table": "1,2"}, "table: a field of type list[int] cannot be set here; build the rule in Python"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_is_refused(case):
    settings, words = WRONG[case]
    text = refused(parameters, **settings)
    assert text.startswith("everything: ")
    assert words in text


def test_a_needed_parameter_is_asked_for():
    assert refused(mechanism_parameters, EVERYTHING, {}, UNITS, IDS) == "everything: needs the parameter count"


def test_what_the_rule_itself_refuses_is_told():
    load_mechanisms()
    entry = find_mechanism("uniform-auction")
    assert refused(mechanism_parameters, entry, {"k_percent": "101"}, UNITS, IDS) == (
        "uniform-auction: k_percent is 101, expected 0 to 100"
    )
    assert refused(mechanism_parameters, find_mechanism("mid-market-rate"), {"k": 1}, UNITS, IDS) == (
        "mid-market-rate: there is no parameter 'k'; it has none"
    )
