"""`wattle.clear`: results that close exactly, the utility behind the market, one clear sentence for what cannot be."""

import json
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas
import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wattle
from wattle.core.checks import InputError, Reject
from wattle.core.messages import Clearing, Quote
from wattle.core.tables import FIRST_MEMBER, MARKET_OPERATOR, Prices, Quotes, Trades, Transfers
from wattle.market.auction_double import UniformAuction
from wattle.market.mechanism import ANSWERS, MECHANISMS, SCHEDULES
from wattle.scenario.plugins import load_mechanisms

load_mechanisms()
NAMES = MECHANISMS.names()
CLEAR_AT_ONCE = [entry.name for entry in MECHANISMS if entry.bids not in (ANSWERS, SCHEDULES)]


def order(member, side, kwh, limit=None, **more):
    return {"member": member, "side": side, "quantity_kwh": kwh, "limit_ct_per_kwh": limit, **more}


THREE = [
    *(order(f"S{number}", "sell", 2, limit) for number, limit in enumerate((8, 12, 18), 1)),
    *(order(f"B{number}", "buy", 2, limit) for number, limit in enumerate((25, 20, 14), 1)),
]
UTILITY = {"retail_ct": 30, "feed_in_ct": 8}


def balances(result):
    return {row["member"]: row for row in result.balances}


def refused(*arguments, **named) -> str:
    with pytest.raises(InputError) as caught:
        wattle.clear(*arguments, **named)
    return str(caught.value)


# --- results ---


def test_trades_prices_balances_and_what_stays():
    result = wattle.clear("uniform-auction", THREE, k_percent=0)
    assert result.trades[0] == {
        "interval": 0,
        "zone": 0,
        "buyer": "B1",
        "seller": "S1",
        "quantity_kwh": Decimal(2),
        "buy_price_ct_per_kwh": Decimal(14),
        "sell_price_ct_per_kwh": Decimal(14),
    }
    assert result.prices == [{"interval": 0, "zone": 0, "price_ct_per_kwh": Decimal(14)}]
    assert list(balances(result)) == ["S1", "S2", "S3", "B1", "B2", "B3"]
    assert balances(result)["S1"] == {
        "member": "S1",
        "bought_kwh": Decimal(0),
        "sold_kwh": Decimal(2),
        "net_kwh": Decimal(-2),
        "pays": Decimal("-0.28"),
    }
    assert [(row["order"], row["member"], row["side"], row["quantity_kwh"]) for row in result.unfilled] == [
        (2, "S3", "sell", Decimal(2)),
        (5, "B3", "buy", Decimal(2)),
    ]
    assert result.report == {"traded_kwh": Decimal(4), "welfare": Decimal("0.5")}
    assert result.refused is None


def test_json_holds_the_same_with_all_digits():
    result = wattle.clear(
        "pay-as-bid-auction", [order("Jürgen", "sell", "0.000001", "0.00002"), order("B", "buy", 1, "1e2")]
    )
    text = result.to_json()
    data = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    assert data == result.to_dict()
    assert data["trades"][0]["buy_price_ct_per_kwh"] == Decimal("50.00001")
    assert '"quantity_kwh": 0.000001,' in text
    assert '"limit_ct_per_kwh": 100,' in text
    assert "Jürgen" in text
    assert set(data) >= {"trades", "prices", "balances", "unfilled"}


def test_an_empty_book_gives_an_empty_result():
    for name in NAMES:
        result = wattle.clear(name, [], **UTILITY)
        assert (result.trades, result.prices, result.unfilled) == ([], [], [])
        assert result.refused == "the book is empty"
        assert [row["member"] for row in result.balances] == ["utility"]
        json.loads(result.to_json())


def test_names_of_zones_and_intervals_come_back():
    orders = [order("S", "sell", 1, 5, interval=7, zone="north"), order("B", "buy", 1, 5, interval=7, zone="north")]
    result = wattle.clear("uniform-auction", [*orders, order("B", "buy", 1, 5, interval=7, zone="south")])
    assert [(row["interval"], row["zone"]) for row in (*result.trades, *result.prices)] == [(7, "north")] * 2
    assert result.unfilled[0]["zone"] == "south"


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_tables_as_frames(library):
    result = wattle.clear("uniform-auction", THREE)
    frame = result.frame("balances", library)
    assert list(frame.columns) == ["member", "bought_kwh", "sold_kwh", "net_kwh", "pays"]
    assert frame["pays"].to_list() == [-0.32, -0.32, 0.0, 0.32, 0.32, 0.0]
    assert len(wattle.clear("uniform-auction", []).frame("trades", library)) == 0


def test_frames_that_cannot_be_made(monkeypatch):
    result = wattle.clear("uniform-auction", THREE)
    with pytest.raises(
        InputError, match="there is no table 'trade'; expected one of trades, prices, balances, unfilled"
    ):
        result.frame("trade")
    with pytest.raises(InputError, match="expected pandas or polars"):
        result.frame(library="numpy")
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(InputError, match="polars is not installed; install it, or use the lists of dicts as they are"):
        result.frame(library="polars")


def test_frames_and_lists_go_in_alike():
    from_dicts = wattle.clear("uniform-auction", THREE).to_dict()
    assert wattle.clear("uniform-auction", pandas.DataFrame(THREE)).to_dict() == from_dicts
    assert wattle.clear("uniform-auction", polars.DataFrame(THREE)).to_dict() == from_dicts


# --- the utility ---


def test_the_utility_takes_what_limits_allow():
    orders = [
        order("A", "buy", 3),
        order("B", "buy", 1, 30),
        order("C", "buy", 1, "29.99"),
        order("D", "sell", 1, 8),
        order("E", "sell", 1, "8.01"),
    ]
    result = wattle.clear("uniform-auction", orders, **UTILITY)
    # Bids at 30, 30 and 29.99 meet offers at 8 and 8.01: A, first of the dearest, gets both lots of them.
    assert [(row["buyer"], row["seller"], row["quantity_kwh"]) for row in result.trades] == [
        ("A", "D", 1),
        ("A", "E", 1),
        ("A", "utility", 1),
        ("B", "utility", 1),
    ]
    assert [row["member"] for row in result.unfilled] == ["C"]
    assert balances(result)["utility"]["pays"] == Decimal("-0.6")
    alone = wattle.clear("uniform-auction", [order("E", "sell", 1, "8.01"), order("F", "sell", 2)], **UTILITY)
    assert [(row["buyer"], row["seller"], row["buy_price_ct_per_kwh"]) for row in alone.trades] == [("utility", "F", 8)]
    assert [row["member"] for row in alone.unfilled] == ["E"]


def test_without_the_utility_only_members_trade():
    result = wattle.clear("uniform-auction", [order("A", "buy", 3, 20), order("B", "sell", 1, 10)])
    assert "utility" not in balances(result)
    assert result.unfilled[0]["quantity_kwh"] == 2


@given(
    rows=st.lists(
        st.builds(
            order,
            st.sampled_from("ABCDE"),
            st.sampled_from(["buy", "sell"]),
            st.decimals("0.000001", 50, places=6),
            st.one_of(st.none(), st.decimals(-5, 40, places=5)),
            interval=st.integers(0, 2),
            zone=st.integers(0, 1),
        ),
        max_size=8,
    ),
    name=st.sampled_from(CLEAR_AT_ONCE),
    tariff=st.booleans(),
)
def test_energy_and_money_close_under_every_rule(rows, name, tariff):
    try:
        result = wattle.clear(name, rows, **(UTILITY if tariff else {}))
    except InputError as problem:
        assert not tariff  # a tariff gives takers a price
        assert "retail" in str(problem)  # noqa: PT017 (which sentence it is stands in a test below)
        return
    for column in ("net_kwh", "pays"):
        assert sum(row[column] for row in result.balances) == 0
    for row in result.balances:
        assert row["net_kwh"] == row["bought_kwh"] - row["sold_kwh"]
    ordered = sum(row["quantity_kwh"] for row in rows)
    left = sum(row["quantity_kwh"] for row in result.unfilled)
    traded = sum(
        row["quantity_kwh"] * ((row["buyer"] != "utility") + (row["seller"] != "utility")) for row in result.trades
    )
    assert ordered == left + traded
    if tariff and result.refused in (None, "the book is empty", "the book has buyers only or sellers only"):
        assert not [row for row in result.unfilled if row["limit_ct_per_kwh"] is None]
    json.loads(result.to_json())


# --- rules of all kinds ---


def test_a_rule_may_be_an_object_or_a_file(tmp_path):
    expected = wattle.clear("uniform-auction", THREE, k_percent=0).prices
    result = wattle.clear(UniformAuction(0), THREE)
    assert (result.mechanism, result.prices) == ("uniform-auction", expected)
    (tmp_path / "half.py").write_text(
        "from dataclasses import dataclass\n"
        "from wattle.market.auction_double import UniformAuction\n"
        "from wattle.market.mechanism import mechanism\n"
        "@mechanism('low-auction', claims=set(), source='')\n"
        "@dataclass(frozen=True)\n"
        "class Low:\n"
        "    '''The lowest price that supports the trades.'''\n"
        "    def step(self, memory, orders, context):\n"
        "        return UniformAuction(0).step(memory, orders, context)\n"
    )
    try:
        assert wattle.clear(tmp_path / "half.py", THREE).prices == expected
        assert wattle.clear(str(tmp_path / "half.py"), THREE).mechanism == "low-auction"
    finally:
        del MECHANISMS._entries["low-auction"]


@dataclass(frozen=True)
class Answers:
    """A rule that answers what it is told to answer."""

    answer: object

    def step(self, memory, orders, context):
        return None, self.answer


def test_a_rule_that_asks_its_members_again_needs_members():
    assert refused(Answers(Quote(Quotes.empty(), 0)), THREE) == (
        "Answers answers with prices and asks its members again; a book alone cannot answer. "
        "Run this rule in a scenario, where members do"
    )


def test_a_refusal_of_another_kind_is_told_and_nothing_trades():
    result = wattle.clear(Answers(Clearing.refuse(Reject.UNKNOWN_MEMBER_IN_KEY)), THREE, **UTILITY)
    assert result.refused == "the key names a member who is not there"
    assert (result.trades, len(result.unfilled)) == ([], 6)


def test_a_gap_between_the_two_prices_is_the_operators():
    trades = Trades([0], [0], [FIRST_MEMBER + 3], [FIRST_MEMBER], [3], [0], [10**6], [2_000_000], [1_500_000])
    fee = Transfers([0], [FIRST_MEMBER], [MARKET_OPERATOR], [10**12], [6])
    report = {"rounds": np.float64(3), "residual": float("nan")}
    result = wattle.clear(Answers(Clearing(trades, Prices.empty(), transfers=fee, report=report)), THREE)
    found = {name: str(row["pays"]) for name, row in balances(result).items()}
    assert (found["B1"], found["S1"], found["market operator"]) == ("0.2", "-0.05", "-0.15")
    assert json.loads(result.to_json())["report"] == {"traded_kwh": 1, "welfare": 0.17, "rounds": 3.0, "residual": None}


# --- one clear sentence ---

GIVE = "give --retail and --feed-in (retail_ct and feed_in_ct)"
TAKERS = [order("A", "buy", 1), order("B", "sell", 1)]
NAMED = [order("A", "buy", 1, 5, partner="B"), order("B", "sell", 1, 5)]


@pytest.mark.parametrize(
    ("mechanism", "orders", "named", "words"),
    [
        ("uniform", THREE, {}, "no mechanism is called 'uniform'; did you mean 'uniform-auction'?"),
        ("mid-market-rate", THREE, {}, f"mid-market-rate needs the utility's prices; {GIVE}"),
        ("bill-sharing", THREE, {}, f"bill-sharing needs the utility's prices; {GIVE}"),
        (
            "uniform-auction",
            NAMED,
            {},
            "uniform-auction cannot honour a named partner; leave the column `partner` empty",
        ),
        ("dynamic-key", NAMED, UTILITY, "dynamic-key cannot honour a named partner; leave the column `partner` empty"),
        (
            "uniform-auction",
            TAKERS,
            {},
            "uniform-auction: all orders that could trade take any price, so none can be formed; give one of them a "
            "limit, or give --retail and --feed-in (retail_ct and feed_in_ct)",
        ),
        (
            "uniform-auction",
            THREE,
            {"retail_ct": 30},
            "the retail price is given without the feed-in price; give both or none",
        ),
        (
            "uniform-auction",
            THREE,
            {"feed_in_ct": 3},
            "the feed-in price is given without the retail price; give both or none",
        ),
        (
            "uniform-auction",
            THREE,
            {"retail_ct": 7, "feed_in_ct": 8},
            "the retail price 7 ct/kWh is below the feed-in price 8 ct/kWh",
        ),
        (
            "uniform-auction",
            THREE,
            {"retail_ct": "dear", "feed_in_ct": 8},
            "the retail price is 'dear', expected a number of ct/kWh such as 30.5",
        ),
        (
            "uniform-auction",
            THREE,
            {"retail_ct": 30, "feed_in_ct": float("nan")},
            "the feed-in price is nan, expected a number of ct/kWh such as 30.5",
        ),
        (
            "uniform-auction",
            THREE,
            {"retail_ct": "30.000001", "feed_in_ct": 8},
            "the retail price is '30.000001', expected a multiple of 0.00001 ct/kWh, the size of a tick",
        ),
        (
            "uniform-auction",
            THREE,
            {"retail_ct": "1e9", "feed_in_ct": 8},
            "the retail price is '1e9', expected at most 687194.76736 ct/kWh",
        ),
        ("uniform-auction", THREE, {"k_percent": 101}, "uniform-auction: k_percent is 101, expected 0 to 100"),
        ("uniform-auction", THREE, {"k": 1}, "uniform-auction: there is no parameter 'k'; known: k_percent"),
        (
            "fixed-key",
            THREE,
            {"shares": {"B4": 1}},
            "fixed-key: shares: no member is called 'B4'; did you mean 'B3'?",
        ),
        (
            UniformAuction(),
            THREE,
            {"k_percent": 1},
            "k_percent: a rule that is given as an object has its parameters already",
        ),
        (5, THREE, {}, "mechanism is 5, expected a name, the path of a file, or a rule object"),
        ("uniform-auction", THREE, {"lot_wh": 0}, "a lot of 0 Wh and a tick of 0.0000001 must both be above 0"),
        ("uniform-auction", THREE, {"lot_wh": "tiny"}, "'tiny' is not a number; write a decimal such as 0.25"),
        (
            "uniform-auction",
            [order("A", "buy", 10**8, 500), order("B", "sell", 10**8, 1)],
            {},
            "200000000 kWh at prices of up to 500 ct/kWh cannot be counted exactly in lots of 0.001 Wh and ticks of "
            "0.0000001 EUR/kWh; take a larger lot (--lot-wh) or tick (--tick-per-kwh)",
        ),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(mechanism, orders, named, words):
    assert refused(mechanism, orders, **named) == words


def test_a_larger_lot_or_tick_makes_room():
    orders = [order("A", "buy", 10**8, 500), order("B", "sell", 10**8, 1)]
    result = wattle.clear("uniform-auction", orders, lot_wh=1, tick_per_kwh="0.0001", currency="CHF")
    assert balances(result)["A"]["pays"] == Decimal("250500000")
    assert result.to_dict()["currency"] == "CHF"


@pytest.mark.parametrize("name", NAMES)
def test_the_largest_books_close_or_are_refused(name):
    """Quantities and prices at their limits: no sum may run over, under any rule."""
    most = (1 << 48) * Decimal("0.000001")
    for limit, tick in ((None, "0.0000001"), ("0.00001", "0.0000001"), ("687194.76736", "0.0000001")):
        orders = [order(f"M{n}", "buy" if n % 2 else "sell", most, limit) for n in range(8)]
        for prices in ({"retail_ct": "0.00001", "feed_in_ct": 0}, {"retail_ct": "0.02", "feed_in_ct": "0.01"}):
            try:
                result = wattle.clear(name, orders, tick_per_kwh=tick, **prices)
            except InputError as problem:
                words = (
                    "cannot be counted exactly",
                    "too large to be counted exactly",
                    "asks its members again",
                    "so none can be formed",
                )
                assert any(each in str(problem) for each in words)  # noqa: PT017
                continue
            assert sum(row["net_kwh"] for row in result.balances) == 0
            assert sum(row["pays"] for row in result.balances) == 0
            assert not result.unfilled or limit is not None or result.refused is not None


# --- the package ---


def test_importing_wattle_loads_nothing_heavy():
    code = "import sys, wattle; wattle.InputError, wattle.__version__; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "numba", "pandas", "polars", "pydantic", "typer", "rich"} & set(loaded)


def test_the_public_names_are_there():
    assert {"clear", "InputError", "Result", "__version__"} <= set(dir(wattle))
    with pytest.raises(AttributeError, match="module 'wattle' has no attribute 'clera'"):
        _ = wattle.clera
