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
TAKERS = [order("A", "buy", 1), order("B", "sell", 1)]
NAMED = [order("A", "buy", 1, 5, partner="B"), order("B", "sell", 1, 5)]


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
        InputError, match="there is no table 'trade'; expected one of trades, prices, transfers, balances, unfilled"
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


ALONE = "answers with prices and asks its members again; a book alone cannot answer. "


def test_a_rule_that_asks_its_members_again_needs_members():
    found = refused(Answers(Quote(Quotes.empty(), 0)), THREE)
    assert found == f"Answers {ALONE}Run this rule in a scenario, where members do"
    for name in ("bilateral-admm", "contract-network", "price-adjustment", "shared-facility", "stackelberg"):
        for tariff in ({}, UTILITY):
            assert refused(name, THREE, **tariff) == (
                f"{name} {ALONE}Run it in a scenario, where members do: "
                f"wattle compare --mechanisms {name} --homes 8 --days 1"
            )
    # Scenarios have no members with devices; and this rule asks nobody, so a tariff is all that it misses.
    assert refused("storage-game", THREE) == (
        f"storage-game {ALONE}Its members plan batteries and generators; an example runs with: "
        "wattle reproduce atzeni-2013"
    )
    assert "compare" not in refused("proportional-allocation", TAKERS)


def test_a_rule_of_a_file_that_asks_again_is_run_by_its_file(tmp_path):
    path = tmp_path / "my rule.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "from wattle.core.messages import Quote\n"
        "from wattle.core.tables import Quotes\n"
        "from wattle.market.mechanism import mechanism\n"
        "@mechanism('asking', claims=set(), source='')\n"
        "@dataclass(frozen=True)\n"
        "class Asking:\n"
        "    'Asks for ever.'\n"
        "    def step(self, memory, orders, context):\n"
        "        return None, Quote(Quotes.empty(), 0)\n"
    )
    try:
        assert f"wattle compare --mechanisms '{path}' --homes 8" in refused(path, THREE)
    finally:
        del MECHANISMS._entries["asking"]


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


# --- transfers, and what rules report ---


def by_hand(result) -> dict[str, Decimal]:
    """Add up what each account pays, from the tables alone."""
    found: dict[str, Decimal] = {}

    def pays(account, amount):
        found[account] = found.get(account, Decimal(0)) + amount

    for row in result.trades:
        buys, sells = (row["quantity_kwh"] * row[f"{side}_price_ct_per_kwh"] / 100 for side in ("buy", "sell"))
        pays(row["buyer"], buys)
        pays(row["seller"], -sells)
        pays("market operator", sells - buys)
    for row in result.transfers:
        pays(row["from"], row["amount"])
        pays(row["to"], -row["amount"])
    return {account: amount for account, amount in found.items() if amount}


@pytest.mark.parametrize("name", CLEAR_AT_ONCE)
def test_balances_are_the_sums_of_trades_and_transfers(name):
    more = [*THREE, order("B4", "buy", 1), order("S4", "sell", "0.7")]
    orders = [row | {"interval": when} for when, rows in enumerate((more, THREE)) for row in rows]
    for tariff in (UTILITY, {"retail_ct": 30, "feed_in_ct": "8.00001"}):
        result = wattle.clear(name, orders, **tariff)
        assert by_hand(result) == {member: row["pays"] for member, row in balances(result).items() if row["pays"]}


@pytest.mark.parametrize(
    ("name", "orders"),
    [
        (
            "bill-sharing",
            [
                *(order("A", "buy", 3, interval=0), order("C", "sell", 2, interval=0)),
                *(order("B", "buy", 1, interval=1), order("C", "sell", 2, interval=1)),
            ],
        ),
        ("credit", THREE),
        ("nash-bargaining", [*THREE, order("S4", "sell", 2, 8)]),
        ("nucleolus", [order("S", "sell", 2, 8), order("A", "buy", 2, 25), order("B", "buy", 2, 20)]),
        ("shapley", THREE),
    ],
)
def test_rules_that_move_money_without_energy_show_it(name, orders):
    result = wattle.clear(name, orders, **UTILITY)
    assert result.transfers
    for row in result.transfers:
        assert list(row) == ["interval", "from", "to", "amount", "what_for"]
        assert row["amount"] > 0
        assert "community fund" in (row["from"], row["to"])
        assert row["what_for"] == "sharing"
    assert by_hand(result) == {member: row["pays"] for member, row in balances(result).items() if row["pays"]}
    assert len(result.frame("transfers")) == len(result.transfers)
    assert len(json.loads(result.to_json())["transfers"]) == len(result.transfers)


def test_rules_without_transfers_have_an_empty_table():
    result = wattle.clear("uniform-auction", THREE)
    assert (result.transfers, result.figures, result.notes) == ([], [], ())
    assert list(result.frame("transfers").columns) == ["interval", "from", "to", "amount", "what_for"]


def figures(result):
    return {row["figure"]: (row["value"], row["unit"]) for row in result.figures}


def test_what_a_rule_reports_is_told_in_kwh_and_currency():
    result = wattle.clear("vickrey-clarke-groves", THREE, currency="CHF")
    assert figures(result) == {"deficit": (Decimal("0.16"), "CHF")}
    assert result.report["deficit"] == 16 * 10**11  # as the rule gives it, in cash
    credit = wattle.clear("credit", THREE, lot_wh=1, tick_per_kwh="0.0001", wallets="B1:1")
    found = figures(credit)
    assert found["not_financed_kwh"] == (Decimal(1), "kWh")
    assert credit.report["not_financed_lots"] == 1000
    assert found["loans_cash"][1] == "EUR"
    assert found["borrowers"][1] == ""
    report = {"held_lots": 1500.0, "top_ticks": 2.0, "cap_price": 12345.678, "ratio": 1 / 3, "cost": 2.5e9, "x": np.inf}
    odd = wattle.clear(Answers(Clearing(Trades.empty(), Prices.empty(), report=report)), THREE)
    assert figures(odd) == {
        "held_kwh": (Decimal("0.0015"), "kWh"),
        "top_ticks": (Decimal("0.00002"), "ct/kWh"),
        "cap_price": (Decimal("0.123457"), "ct/kWh"),
        "ratio": (Decimal("0.333333"), ""),
        "cost": (Decimal("0.00025"), "EUR"),
        "x": (None, ""),
    }


# --- why nothing trades ---

PAIR = [order("A", "buy", 2, 25), order("B", "sell", 2, 8)]
SET_PRICE = "Set a price with --set price_ct_per_kwh=CT (price_ct_per_kwh)"
OR_TARIFF = ", or give --retail and --feed-in (retail_ct and feed_in_ct)"
ASIDE = "the last bid and the last offer that could trade stand aside in {}, and nobody else could trade"
APART = [order("A", "buy", 2, 7), order("B", "sell", 2, 8)]
PLACES = [order("A", "buy", 2, 25, interval=0, zone="a"), order("B", "sell", 2, 8, interval=0, zone="b")]
DEAR = [order("A", "buy", 2, 50), order("B", "sell", 2, 40)]


@pytest.mark.parametrize(
    ("name", "orders", "named", "words"),
    [
        *((name, APART, {}, "Nothing trades: no bid reaches an offer") for name in ("uniform-auction", "fixed-key")),
        ("uniform-auction", PLACES, {}, "Nothing trades: no bid reaches an offer"),
        (
            "uniform-auction",
            [order("A", "buy", 2), order("B", "sell", 2, 35)],
            UTILITY,
            "Members trade nothing with each other: no bid reaches an offer",
        ),
        *(
            (
                name,
                PAIR,
                {},
                f"Nothing trades: {name} found no price within the limits; it uses 0 ct/kWh, as no price is given. "
                f"{SET_PRICE}{OR_TARIFF}",
            )
            for name in ("fixed-key", "dynamic-key", "equal-fill", "fixed-key-rounds", "gift-key", "priority-key")
        ),
        (
            "equal-increments",
            DEAR,
            UTILITY,
            "Members trade nothing with each other: equal-increments found no price within the limits; it uses 19 "
            f"ct/kWh, the middle of the utility's two prices. {SET_PRICE}",
        ),
        (
            "dynamic-key",
            PAIR,
            {"price_ct_per_kwh": "25.5"},
            f"Nothing trades: dynamic-key found no price within the limits; it uses 25.5 ct/kWh, as set. {SET_PRICE}",
        ),
        (
            "fixed-key",
            PAIR,
            {"price_ct_per_kwh": 10, "shares": "B:1"},
            "Nothing trades: fixed-key has a price within the limits, 10 ct/kWh, but gives no share to anybody who "
            "bids",
        ),
        ("huang-auction", PAIR, {}, f"Nothing trades: {ASIDE.format('huang-auction')}"),
        (
            "muda",
            PAIR,
            {},
            "Nothing trades: muda splits the members into two halves by chance, and here neither half could trade at "
            "the price of the other; with few members it often ends so",
        ),
        (
            "grid-signal",
            PAIR,
            {"peak_lots": 10**9},
            "Nothing trades: grid-signal is closed in all intervals; peers trade only where the need or the grid price "
            "is high",
        ),
        (
            "order-book",
            [order("A", "buy", 2), order("B", "sell", 2, 8)],
            {},
            "Nothing trades: orders come one after the other in order-book, as they stand in the book, and none met "
            "one that it could trade with; an order at any price does not wait",
        ),
        (
            "mid-market-rate",
            [order("A", "buy", 1, 18), order("B", "sell", 2, 10)],
            UTILITY,
            "Nothing trades: mid-market-rate found no price within the limits",
        ),
        (
            "bill-sharing",
            PAIR,
            UTILITY,
            "Members trade nothing with each other: only who accepts the utility's prices takes part in bill-sharing",
        ),
        (
            Answers(Clearing(Trades.empty(), Prices.empty())),
            NAMED,
            {},
            "Nothing trades: Answers found no price within the limits and the partners that orders name",
        ),
        (
            Answers(Clearing(Trades.empty(), Prices.empty(), report={"not_financed_lots": 5.0})),
            PAIR,
            {},
            "Nothing trades: no buyer has the money for what he could buy, nor is a loan worth its interest to him",
        ),
    ],
)
def test_where_nothing_trades_and_nothing_was_refused_one_sentence_says_why(name, orders, named, words):
    result = wattle.clear(name, orders, **named)
    assert (len(result.clearing.trades), result.refused) == (0, None)
    assert result.notes == (words,)
    assert json.loads(result.to_json())["notes"] == [words]


def test_zones_that_levels_join_are_looked_at_together():
    orders = [order("A", "buy", 2, 25, zone=0), order("B", "sell", 2, 8, zone=1)]
    assert wattle.clear("nested", orders, levels="0:10,1:10").trades
    result = wattle.clear("nested", orders, levels="0:10,1:10", between_ct_per_kwh=20)
    assert result.notes == ("Nothing trades: nested found no price within the limits",)


@pytest.mark.parametrize("name", ["fixed-key", "dynamic-key", "equal-fill", "fixed-key-rounds", "priority-key"])
def test_a_key_without_a_price_says_that_it_shares_for_free(name):
    found = wattle.clear(name, TAKERS)
    assert found.prices[0]["price_ct_per_kwh"] == 0
    assert found.notes == (f"{name} has no price, so members share at 0 ct/kWh. {SET_PRICE}{OR_TARIFF}",)
    assert wattle.clear(name, TAKERS, price_ct_per_kwh=0).notes == ()
    assert wattle.clear(name, TAKERS, **UTILITY).notes == ()


# --- one clear sentence ---

GIVE = "give --retail and --feed-in (retail_ct and feed_in_ct)"


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
