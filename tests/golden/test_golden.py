"""Published numbers, one folder each: what `wattle.clear` and `wattle clear --json` answer, and where it is from.

A number in `expected.json` is compared to as many digits as are written there.
"""

import json
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import wattle
from wattle.cli import market

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/case.toml"))
TABLES = {"trades", "prices", "members", "unfilled", "report"}


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal, parse_int=Decimal)


def through_python(folder: Path, case: dict) -> dict:
    prices = {key: case[key] for key in ("retail_ct", "feed_in_ct") if key in case}
    result = wattle.clear(case["mechanism"], folder / "book.csv", **prices, **case.get("parameters", {}))
    return json.loads(result.to_json(), parse_float=Decimal, parse_int=Decimal)


def through_the_command(folder: Path, case: dict) -> dict:
    app = typer.Typer()
    market.register(app)
    words = ["clear", str(folder / "book.csv"), "--mechanism", case["mechanism"], "--json"]
    for key, option in (("retail_ct", "--retail"), ("feed_in_ct", "--feed-in")):
        if key in case:
            words += [option, str(case[key])]
    for key, value in case.get("parameters", {}).items():
        words += ["--set", f"{key}={value}"]
    answer = CliRunner().invoke(app, words, catch_exceptions=False)
    assert answer.exit_code == 0
    return json.loads(answer.stdout, parse_float=Decimal, parse_int=Decimal)


def same(found: object, expected: object) -> bool:
    if isinstance(expected, Decimal) and isinstance(found, Decimal):
        return round(found, max(0, -int(expected.as_tuple().exponent))) == expected
    return found == expected


def mean_price(trades: list[dict], side: str, member: str) -> Decimal | None:
    mine = [trade for trade in trades if trade[side] == member]
    price = "buy_price_ct_per_kwh" if side == "buyer" else "sell_price_ct_per_kwh"
    energy = sum(trade["quantity_kwh"] for trade in mine)
    return sum(trade["quantity_kwh"] * trade[price] for trade in mine) / energy if energy else None


def members(answer: dict) -> dict[str, dict]:
    trades = answer["trades"]
    return {
        row["member"]: row
        | {
            "buying_price_ct": mean_price(trades, "buyer", row["member"]),
            "selling_price_ct": mean_price(trades, "seller", row["member"]),
        }
        for row in answer["balances"]
    }


@pytest.mark.parametrize("ask", [through_python, through_the_command])
@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_published_numbers_come_out(folder, ask):
    case = tomllib.loads((folder / "case.toml").read_text(encoding="utf-8"))
    answer, expected = ask(folder, case), read(folder / "expected.json")
    assert set(expected) <= TABLES
    found = members(answer)
    for member, numbers in expected["members"].items():
        # Who took no part has no row; then nothing but zeros may be expected of him.
        row = found.get(member) or dict.fromkeys(numbers, Decimal(0))
        for name, number in numbers.items():
            assert same(row[name], number), f"{member}: {name} is {row[name]}, expected {number}"
    left = {row["member"]: row["quantity_kwh"] for row in answer["unfilled"]}
    assert set(left) == set(expected["unfilled"])
    for member, lots in expected["unfilled"].items():
        assert same(left[member], lots), f"{member} has {left[member]} kWh left, expected {lots}"
    for table in ("trades", "prices"):
        if table in expected:
            assert len(answer[table]) == len(expected[table])
            for row, wanted in zip(answer[table], expected[table], strict=True):
                assert all(same(row[name], value) for name, value in wanted.items()), f"{row} is not {wanted}"
    for name, number in expected.get("report", {}).items():
        assert same(answer["report"][name], number), f"{name} is {answer['report'][name]}, expected {number}"
    for name in ("net_kwh", "pays"):
        assert sum(row[name] for row in answer["balances"]) == 0


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_each_case_says_where_it_is_from(folder):
    assert {path.name for path in folder.iterdir()} == {"book.csv", "case.toml", "expected.json", "SOURCE.md"}
    source = (folder / "SOURCE.md").read_text(encoding="utf-8")
    assert source.startswith("# ")
    assert any(word in source for word in ("Golden number", "Closed form", "Worked by hand"))


def test_a_wrong_number_is_found():
    assert same(Decimal("3.4285714"), Decimal("3.428571"))
    assert not same(Decimal("3.428570"), Decimal("3.428571"))
    assert not same(Decimal("3.4"), Decimal("3.428571"))
    assert not same(None, Decimal(0))
