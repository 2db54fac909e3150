"""The commands clear, mechanisms and check: what they print, and how they refuse."""

import json
import os
import pty
import subprocess
import sys
import typing

import pytest
import typer
from typer.testing import CliRunner

from wattle.cli import market
from wattle.market.mechanism import MECHANISMS, Claim
from wattle.scenario.plugins import load_mechanisms

BOOK = """\
member,side,quantity_kwh,limit_ct_per_kwh
Ann,buy,2,25
Bob,sell,3,8
Eve,buy,0.5,
"""

PROGRAM = "import wattle.cli; wattle.cli.main()"
NUMBA = "NUMBA_CACHE_DIR"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.csv").write_text(BOOK)
    return tmp_path


@pytest.fixture(scope="module")
def app():
    app = typer.Typer()
    market.register(app)
    return app


def run(app, *words):
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


def program(*words):
    """Run the installed command line in a process of its own."""
    return subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True)


# --- clear ---


def test_clear_prints_plain_tables_into_a_pipe(app):
    answer = run(app, "clear", "book.csv", "-m", "uniform-auction", "--retail", "30", "--feed-in", "8")
    assert answer.exit_code == 0
    assert (
        answer.stdout
        == """\
trades
interval  zone  buyer    seller  quantity_kwh  buy_price_ct_per_kwh  sell_price_ct_per_kwh
       0     0  Ann      Bob                2                     8                      8
       0     0  Eve      Bob              0.5                     8                      8
       0     0  utility  Bob              0.5                     8                      8

prices
interval  zone  price_ct_per_kwh
       0     0                 8

balances
member   bought_kwh  sold_kwh  net_kwh   pays
Ann               2         0        2   0.16
Bob               0         3       -3  -0.24
Eve             0.5         0      0.5   0.04
utility         0.5         0      0.5   0.04

unfilled: none

energy (kWh) and money (EUR) sum to 0 over all balances
"""
    )


def test_clear_prints_transfers_and_what_the_rule_reports(app):
    words = ["clear", "book.csv", "-m", "credit", "--retail", "30", "--feed-in", "8"]
    text = run(app, *words).stdout
    assert text.partition("\ntransfers\n")[2].startswith(
        """\
interval  from  to              amount  what_for
       0  Ann   community fund    0.04  sharing
"""
    )
    assert "\ncommunity fund" in text.partition("\nbalances\n")[2]
    assert "\nreport\nfigure              value  unit\n" in text
    assert "\nnot_financed_kwh        0  kWh\n" in text
    assert text.endswith("over all balances\nwhat an account pays is the sum of its trades and transfers\n")


def test_clear_says_why_nothing_trades(app):
    text = run(app, "clear", "book.csv", "-m", "fixed-key", "--set", "price_ct_per_kwh=3").stdout
    assert text.startswith(
        "Nothing trades: fixed-key found no price within the limits; it uses 3 ct/kWh, as set. "
        "Set a price with --set price_ct_per_kwh=CT (price_ct_per_kwh)\n\ntrades: none\n"
    )


def test_clear_prints_json(app):
    answer = run(app, "clear", "book.csv", "--mechanism", "uniform-auction", "--json")
    data = json.loads(answer.stdout)
    assert set(data) >= {"trades", "prices", "balances", "unfilled"}
    assert data["unfilled"] == [
        {
            "order": 1,
            "interval": 0,
            "zone": 0,
            "member": "Bob",
            "side": "sell",
            "quantity_kwh": 0.5,
            "limit_ct_per_kwh": 8,
            "partner": None,
        }
    ]


def test_settings_and_units_reach_the_rule(app):
    words = ["clear", "book.csv", "-m", "pay-as-bid-auction", "--set", "k_percent=100", "--json", "--currency", "CHF"]
    data = json.loads(run(app, *words, "--lot-wh", "1", "--tick-per-kwh", "0.001").stdout)
    assert data["currency"] == "CHF"
    assert data["trades"][1]["buy_price_ct_per_kwh"] == 25
    words = ["clear", "book.csv", "-m", "fixed-key", "--set", "shares=Ann:3,Eve:1", "--set", "price_ct_per_kwh=10"]
    data = json.loads(run(app, *words, "--json").stdout)
    assert [row["bought_kwh"] for row in data["balances"]] == [2, 0, 0.5]
    assert {row["buy_price_ct_per_kwh"] for row in data["trades"]} == {10}


def test_a_negative_price_is_a_value_and_no_option(app):
    words = ["clear", "book.csv", "-m", "mid-market-rate", "--retail", "30", "--feed-in", "-5", "--json"]
    assert json.loads(run(app, *words).stdout)["prices"][0]["price_ct_per_kwh"] == 12.5


def test_names_with_brackets_are_printed_as_they_are(app, here):
    (here / "book.csv").write_text(BOOK.replace("Ann", "[red]Ann[/red]"))
    assert "[red]Ann[/red]" in run(app, "clear", "book.csv", "-m", "uniform-auction").stdout


# --- refusals: one message, exit code 2, nothing on stdout ---

REFUSALS = {
    "no book": (["clear", "none.csv", "-m", "uniform-auction"], "wattle: none.csv: there is no such file\n"),
    "no rule": (
        ["clear", "book.csv", "-m", "uniform"],
        "wattle: no mechanism is called 'uniform'; did you mean 'uniform-auction'?\n",
    ),
    "setting": (
        ["clear", "book.csv", "-m", "uniform-auction", "--set", "k_percent"],
        "wattle: --set k_percent: expected FIELD=VALUE, such as k_percent=0\n",
    ),
    "twice": (
        ["clear", "book.csv", "-m", "uniform-auction", "--set", "k_percent=1", "--set", "k_percent=2"],
        "wattle: --set k_percent=2: k_percent is set twice\n",
    ),
    "parameter": (
        ["clear", "book.csv", "-m", "uniform-auction", "--set", "lot_wh=1"],
        "wattle: uniform-auction: there is no parameter 'lot_wh'; known: k_percent\n",
    ),
    "half a tariff": (
        ["clear", "book.csv", "-m", "uniform-auction", "--retail", "30"],
        "wattle: the retail price is given without the feed-in price; give both or none\n",
    ),
    "unknown rule": (["mechanisms", "pool"], "wattle: no mechanism is called 'pool'; known: "),
    "no file": (["check", "rule.py"], "wattle: rule.py: there is no such file; expected a Python file\n"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_one_message_and_exit_code_2(case):
    words, message = REFUSALS[case]
    answer = program(*words)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith(message)
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["clear"],
        ["clear", "book.csv"],
        ["clear", "book.csv", "-m"],
        ["check", "x", "--books", "0"],
        ["mechanisms", "a", "b"],
    ],
)
def test_wrong_usage_has_exit_code_2(words):
    answer = program(*words)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "Error" in answer.stderr


# --- mechanisms ---


def test_every_rule_is_listed_with_its_claims_and_source(app):
    load_mechanisms()
    lines = run(app, "mechanisms").stdout.splitlines()
    assert lines[0].split() == ["name", "what", "it", "does", "claims", "when", "source"]
    assert [line.split()[0] for line in lines[1:]] == MECHANISMS.names()
    for line, entry in zip(lines[1:], MECHANISMS, strict=True):
        for text in (entry.summary, entry.when, entry.source, *entry.claims):
            assert text in line


def test_one_rule_is_described_in_full(app):
    text = run(app, "mechanisms", "fixed-key").stdout
    assert "Without `shares` all members who want" in text
    assert "When: after delivery\nSource: static keys of Sibelga" in text
    assert "shares                             not given; written as A:50,B:30\n" in text
    assert "price_ct_per_kwh or price_per_kwh  not given\n" in text
    assert "budget balanced        the market operator and the community fund never pay in\n" in text


@pytest.mark.parametrize("name", ["uniform-auction", "mid-market-rate", "gift-key", "priority-key", "fixed-key-rounds"])
def test_every_rule_can_be_described(app, name):
    assert run(app, "mechanisms", name).stdout.startswith(f"{name}\n\n{MECHANISMS[name].summary}")


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("order-book", "at gate closure, or on arrival"),
        ("uniform-auction", "at gate closure"),
        ("dynamic-key", "after delivery"),
    ],
)
def test_a_rule_says_when_it_runs(app, name, when):
    assert f"When: {when}\n" in run(app, "mechanisms", name).stdout


def test_every_claim_is_explained():
    assert set(market.CLAIMS) == {str(claim) for claim in Claim}


# --- check ---

RULE = """\
from dataclasses import dataclass
from wattle.core.messages import Clearing
from wattle.market.auction_double import UniformAuction
from wattle.market.mechanism import UNIFORM_PRICE, mechanism


@mechanism("dear-auction", claims={UNIFORM_PRICE}, source="nowhere")
@dataclass(frozen=True)
class Dear:
    \"\"\"Adds a tick to what buyers pay.\"\"\"

    add: int = 1

    def step(self, memory, orders, context):
        _, clearing = UniformAuction().step(memory, orders, context)
        trades = clearing.trades.replace(buy_price=clearing.trades.buy_price + self.add)
        return None, Clearing(trades, clearing.prices, refused=clearing.refused)
"""


def test_check_passes_a_good_rule(app):
    answer = run(app, "check", "uniform-auction", "--books", "10", "--seed", "3")
    assert answer.exit_code == 0
    assert "FAILED" not in answer.stdout
    assert answer.stdout.startswith("uniform-auction\ncheck ")
    assert "\nuniform price " in answer.stdout


def test_check_shows_the_smallest_book_that_breaks_a_strangers_rule(here):
    (here / "dear.py").write_text(RULE)
    answer = program("check", "dear.py", "--books", "40")
    assert answer.returncode == 1
    failed = [line for line in answer.stdout.splitlines() if "FAILED" in line]
    assert any(line.startswith("uniform price ") for line in failed)
    assert "dear-auction fails the check 'uniform price': " in answer.stderr
    assert "member,side,quantity_kwh,limit_ct_per_kwh" in answer.stderr


def test_a_rule_that_needs_a_parameter_cannot_be_checked(here):
    (here / "dear.py").write_text(RULE.replace("add: int = 1", "add: int"))
    answer = program("check", "dear.py")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == "wattle: dear-auction: cannot be checked, its parameter add has no default\n"


# --- on a terminal, and help ---


def test_a_terminal_gets_tables_with_lines(here):
    if sys.platform == "win32":
        pytest.skip("Windows has no pseudo-terminals")
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    words = [sys.executable, "-c", PROGRAM, "clear", "book.csv", "-m", "uniform-auction"]
    process = subprocess.Popen(words, stdout=child, stderr=child, env=environment)
    os.close(child)
    shown = b""
    while True:
        try:
            part = os.read(parent, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(parent)
    assert process.wait() == 0
    assert "┃" in shown.decode()


@pytest.mark.parametrize("command", ["clear", "mechanisms", "check"])
def test_help_teaches_with_an_example(app, command):
    answer = run(app, command, "--help")
    assert answer.exit_code == 0
    assert f"Example: wattle {command}" in answer.stdout


def test_examples_in_help_run(app):
    for function in (market.clear, market.mechanisms, market.check):
        example = typing.cast(str, function.__doc__).split("Example: wattle ")[1].strip()
        words = example.replace("my_rule.py --books 1000", "uniform-auction --books 3").split()
        assert run(app, *words).exit_code == 0
