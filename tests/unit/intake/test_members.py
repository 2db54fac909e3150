"""members.csv: who is there and which meters are theirs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from wattle.intake import InputError, Member, Members, Meter, read_members
from wattle.intake.members import COLUMNS


def read(folder: Path, text: str | bytes) -> Members:
    path = folder / "members.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_members(path)


FULL = """member;name;consumption_meter;feed_in_meter;share;priority;limit_buy_ct;limit_sell_ct
anna;Anna Ärmel;AT001;;1,5;1;25;
bert;"Bert; der Zweite";AT002;AT003;2;;24.5;-1,25
cleo;;;AT004;0;2;;
"""


def test_full_file(tmp_path: Path) -> None:
    members = read(tmp_path, FULL)
    assert members.ids == ("anna", "bert", "cleo")
    assert members.meters == (
        Meter("AT001", "anna", "consumption"),
        Meter("AT002", "bert", "consumption"),
        Meter("AT003", "bert", "feed-in"),
        Meter("AT004", "cleo", "feed-in"),
    )
    anna, bert, cleo = members.members
    assert anna == Member(
        "anna", "Anna Ärmel", (Meter("AT001", "anna", "consumption"),), Fraction(3, 2), 1, Fraction(25), None, 2
    )
    assert (bert.name, bert.limit_buy_ct, bert.limit_sell_ct) == ("Bert; der Zweite", Fraction(49, 2), Fraction(-5, 4))
    assert (cleo.name, cleo.share, cleo.priority, cleo.row) == ("cleo", 0, 2, 4)


def test_two_way_meters(tmp_path: Path) -> None:
    members = read(tmp_path, "member,meter\nanna,AT001\nbert,AT002\n")
    assert members.meters == (Meter("AT001", "anna", "signed"), Meter("AT002", "bert", "signed"))
    assert members.members[0].share is None


def test_both_styles_in_one_file(tmp_path: Path) -> None:
    members = read(tmp_path, "member,consumption_meter,meter\nanna,,AT001\nbert,AT002,\n")
    assert [meter.kind for meter in members.meters] == ["signed", "consumption"]


def test_excel_file_in_windows_encoding(tmp_path: Path) -> None:
    assert read(tmp_path, FULL.replace("\n", "\r\n").encode("cp1252")).members[0].name == "Anna Ärmel"


HEAD = "member,name,consumption_meter,feed_in_meter,meter,share,priority,limit_buy_ct,limit_sell_ct\n"
PLACED = "member,meter,east_m,north_m,source\n"
METRES = "whole metres such as -250"
COUNT = "a whole number from 1"
PRICE = "ct/kWh as a decimal such as 12.5"
WEIGHT = "a number of 0 or more"
BAD: dict[str, tuple[str, list[tuple[str, int, str, str, str]]]] = {
    "typing error in a column": (
        "member,meter,shares\nanna,AT001,1\n",
        [("column-unknown", 1, "shares", "shares", "share")],
    ),
    "not offered": (
        "member,meter,joined\nanna,AT001,2025-01-01\n",
        [("column-unknown", 1, "joined", "joined", "one of member, name, consumption_meter, feed_in_meter, meter ...")],
    ),
    "column twice": (
        "member,meter,meter\nanna,AT001,AT002\n",
        [("column-repeated", 1, "meter", "meter", "")],
    ),
    "no member column": (
        "name,meter\nanna,AT001\n",
        [("column-missing", 1, "member", "", "")],
    ),
    "no meter column": (
        "member,name\nanna,Anna\n",
        [("column-missing", 1, "meter", "", "")],
    ),
    "no short name": (
        "member,meter\nanna,AT001\n,AT002\n",
        [("value-empty", 3, "member", "", "a short unique name")],
    ),
    "member twice": (
        "member,meter\nanna,AT001\nbert,AT002\nanna,AT003\n",
        [("member-repeated", 4, "member", "anna", "each member once")],
    ),
    "meter twice": (
        "member,meter\nanna,AT001\nbert,AT001\n",
        [("meter-repeated", 3, "meter", "AT001", "each meter once")],
    ),
    "meter in both directions": (
        HEAD + "anna,,AT001,AT001,,,,,\n",
        [("meter-repeated", 2, "feed_in_meter", "AT001", "each meter once")],
    ),
    "no meter": (
        "member,meter\nanna,AT001\nbert,\n",
        [("meter-missing", 3, "meter", "", "the id of a meter")],
    ),
    "two-way beside one-way": (
        HEAD + "anna,,AT001,,AT002,,,,\n",
        [("meter-conflict", 2, "meter", "AT002", "either meter, or consumption_meter and feed_in_meter")],
    ),
    "share is text": (
        HEAD + "anna,,AT001,,,half,,,\n",
        [("value-not-number", 2, "share", "half", WEIGHT)],
    ),
    "share is not finite": (
        HEAD + "anna,,AT001,,,nan,,,\n",
        [("value-not-number", 2, "share", "nan", WEIGHT)],
    ),
    "share below 0": (
        HEAD + "anna,,AT001,,,-1,,,\n",
        [("value-negative", 2, "share", "-1", WEIGHT)],
    ),
    "thousands or decimal": (
        HEAD + 'anna,,AT001,,,"1,500",,,\n',
        [("value-separators", 2, "share", "1,500", WEIGHT)],
    ),
    "priority with decimals": (
        HEAD + "anna,,AT001,,,,1.5,,\n",
        [("value-not-number", 2, "priority", "1.5", COUNT)],
    ),
    "priority 0": (
        HEAD + "anna,,AT001,,,,0,,\n",
        [("value-not-number", 2, "priority", "0", COUNT)],
    ),
    "limit with currency": (
        HEAD + "anna,,AT001,,,,,25 ct,\n",
        [("value-not-number", 2, "limit_buy_ct", "25 ct", PRICE)],
    ),
    "limit with exponent": (
        HEAD + "anna,,AT001,,,,,,1e2\n",
        [("value-not-number", 2, "limit_sell_ct", "1e2", PRICE)],
    ),
    "row too short": (
        "member,name,meter\nanna,Anna\n",
        [("row-length", 2, "", "2 cells", "3 cells")],
    ),
    "only a header": (
        "member,meter\n",
        [("file-empty", 1, "", "", "")],
    ),
    "place in kilometres": (
        PLACED + "anna,AT001,1.5,0,sun\n",
        [("value-not-number", 2, "east_m", "1.5", METRES)],
    ),
    "place beyond the earth": (
        PLACED + "anna,AT001,10000001,-10000001,\n",
        [
            ("value-not-number", 2, "east_m", "10000001", METRES),
            ("value-negative", 2, "north_m", "-10000001", METRES),
        ],
    ),
    "one without a place": (
        PLACED + "anna,AT001,10,0,sun\nbert,AT002,,,\n",
        [("place-missing", 3, "east_m", "", METRES), ("place-missing", 3, "north_m", "", METRES)],
    ),
    "half a place": (
        "member,meter,east_m\nanna,AT001,10\n",
        [("place-missing", 2, "north_m", "", METRES)],
    ),
    "source without a place": (
        "member,meter,source\nanna,AT001,sun\n",
        [("place-missing", 2, "east_m", "", METRES), ("place-missing", 2, "north_m", "", METRES)],
    ),
    "source that is not known": (
        PLACED + "anna,AT001,10,0,Sun\n",
        [("source-unknown", 2, "source", "Sun", "sun")],
    ),
    "two faults": (
        HEAD + "anna,,AT001,,,x,y,,\n",
        [("value-not-number", 2, "priority", "y", COUNT), ("value-not-number", 2, "share", "x", WEIGHT)],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_members(tmp_path: Path, name: str) -> None:
    text, expected = BAD[name]
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    found = [(f.code, f.row, f.column, f.value, f.expected) for f in caught.value.findings]
    assert found == expected
    assert {f.file for f in caught.value.findings} == {"members.csv"}


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"members\.csv: there is no such file; check its name"):
        read_members(tmp_path / "members.csv")


def test_every_column_of_the_table_is_read(tmp_path: Path) -> None:
    assert HEAD.strip().split(",") + PLACED.strip().split(",")[2:] == list(COLUMNS)
    member = read(tmp_path, HEAD + "anna,Anna,AT001,AT002,,1,2,3,4\n").members[0]
    assert (member.name, member.share, member.priority) == ("Anna", 1, 2)
    assert (member.limit_buy_ct, member.limit_sell_ct) == (3, 4)
    assert (member.east_m, member.north_m, member.source) == (None, None, None)
    anna, bert = read(tmp_path, PLACED + "anna,AT001,0,-25,heat and power\nbert,AT002,7,8,\n").members
    assert (anna.east_m, anna.north_m, anna.source) == (0, -25, "heat and power")
    assert (bert.east_m, bert.north_m, bert.source) == (7, 8, None)
