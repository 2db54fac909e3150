"""Order books from files and from Python: what is read, and the exact words with which everything else is refused."""

import json
from decimal import Decimal

import numpy as np
import pandas
import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InputError
from wattle.core.tables import ANY_PRICE, ANYONE, FIRST_MEMBER
from wattle.core.units import Units
from wattle.runtime.book import read_book

UNITS = Units.parse("0.001", "0.0000001")
HEADER = "member,side,quantity_kwh,limit_ct_per_kwh"
FULL = HEADER + ",interval,zone,partner"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def from_csv(here, *lines, name="book.csv"):
    (here / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_book(name, UNITS)


def message(source) -> str:
    with pytest.raises(InputError) as caught:
        read_book(source, UNITS)
    return str(caught.value)


# --- what is read ---


def test_a_row_becomes_an_order(here):
    book = from_csv(here, FULL, "Ann,buy,0.25,28.5,3,north,Bob", "Bob,sell,1,-0.00001,3,south,", "Ann,sell,7,,0,north,")
    orders = book.orders
    assert book.members == ("Ann", "Bob")
    assert book.zones == ("north", "south")
    assert orders.id.tolist() == [0, 1, 2]
    assert orders.participant.tolist() == [FIRST_MEMBER, FIRST_MEMBER + 1, FIRST_MEMBER]
    assert orders.zone.tolist() == [0, 1, 0]
    assert orders.interval.tolist() == [3, 3, 0]
    assert orders.side.tolist() == [1, -1, -1]
    assert orders.quantity.tolist() == [250_000, 1_000_000, 7_000_000]
    assert orders.limit.tolist() == [2_850_000, -1, -ANY_PRICE]
    assert orders.partner.tolist() == [FIRST_MEMBER + 1, ANYONE, ANYONE]


def test_columns_may_stand_in_any_order_and_optional_ones_may_be_left_out(here):
    book = from_csv(here, "limit_ct_per_kwh,quantity_kwh,side,member", "5,1,buy,Ann")
    assert (book.orders.interval.tolist(), book.orders.zone.tolist(), book.zones) == ([0], [0], (0,))


def test_blanks_quotes_empty_lines_marks_and_line_ends_of_any_system(here):
    plain = from_csv(here, HEADER, "Ann,buy,1,5", "Bob,sell,1,")
    text = '\ufeff\r\n member, side ,quantity_kwh, limit_ct_per_kwh\r\n\r\n"Ann", buy, 1 , 5\r\n Bob,sell,1,\r\n\r\n'
    (here / "windows.csv").write_bytes(text.encode("utf-8"))
    other = read_book("windows.csv", UNITS)
    assert other.orders == plain.orders
    assert other.members == plain.members


def test_only_a_header_is_an_empty_book(here):
    book = from_csv(here, FULL)
    assert len(book.orders) == 0
    assert book.members == ()
    assert len(read_book([], UNITS).orders) == 0


def test_zones_that_are_all_numbers_stay_numbers(here):
    assert from_csv(here, HEADER + ",zone", "A,buy,1,5,10", "B,buy,1,5,2").zones == (10, 2)
    assert from_csv(here, HEADER + ",zone", "A,buy,1,5,10", "B,buy,1,5,02").zones == ("10", "02")


ROWS = [
    {"member": "Ann", "side": "buy", "quantity_kwh": "0.1", "limit_ct_per_kwh": "28.35", "interval": 0, "partner": ""},
    {
        "member": "Bob",
        "side": "sell",
        "quantity_kwh": "2.675",
        "limit_ct_per_kwh": None,
        "interval": 1,
        "partner": "Ann",
    },
    {"member": "7", "side": "sell", "quantity_kwh": "3", "limit_ct_per_kwh": "0", "interval": 1, "partner": None},
]


def test_every_kind_of_source_gives_the_same_book(here):
    lists = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    floats = {
        **lists,
        "quantity_kwh": [0.1, 2.675, 3.0],
        "limit_ct_per_kwh": [28.35, None, 0.0],
        "member": ["Ann", "Bob", 7],
    }
    nullable = pandas.DataFrame(lists).astype({"quantity_kwh": float, "limit_ct_per_kwh": "Float64"})
    expected = read_book(ROWS, UNITS)
    assert expected.orders.quantity.tolist() == [100_000, 2_675_000, 3_000_000]
    assert expected.orders.limit.tolist() == [2_835_000, -ANY_PRICE, 0]
    (here / "list.json").write_text(json.dumps(ROWS))
    (here / "object.json").write_text(json.dumps({"orders": ROWS}))
    text = json.dumps(ROWS).replace('"0.1"', "0.1").replace('"2.675"', "2.675").replace('"3"', "3.0")
    (here / "numbers.json").write_text(text)
    lines = [",".join("" if value is None else str(value) for value in row.values()) for row in ROWS]
    (here / "book.csv").write_text("\n".join([",".join(ROWS[0]), *lines]))
    (here / "book").write_text(json.dumps(ROWS))
    sources = [
        "list.json",
        "object.json",
        "numbers.json",
        "book.csv",
        here / "book",
        lists,
        floats,
        tuple(ROWS),
        pandas.DataFrame(lists),
        nullable,
        polars.DataFrame(lists),
        polars.DataFrame({**floats, "member": ["Ann", "Bob", "7"]}),
        {name: np.array(values, object) for name, values in lists.items()},
    ]
    for source in sources:
        book = read_book(source, UNITS)
        assert book.orders == expected.orders, source
        assert book.members == expected.members == ("Ann", "Bob", "7")


@given(
    st.decimals(min_value="0.000001", max_value=10**6, places=6),
    st.decimals(min_value=-1000, max_value=1000, places=5),
)
def test_decimals_are_exact_in_every_form(quantity, limit):
    row = {"member": "A", "side": "buy", "quantity_kwh": quantity, "limit_ct_per_kwh": limit}
    forms = [row, {**row, "quantity_kwh": str(quantity), "limit_ct_per_kwh": f"{limit:E}"}]
    forms.append({**row, "quantity_kwh": float(quantity), "limit_ct_per_kwh": float(limit)})
    for form in forms:
        orders = read_book([form], UNITS).orders
        assert orders.quantity[0] == quantity * 10**6
        assert orders.limit[0] == limit * 10**5


def test_numpy_numbers_are_numbers():
    row = {"member": np.int64(3), "side": "buy", "quantity_kwh": np.float64(0.1), "limit_ct_per_kwh": np.int32(4)}
    book = read_book([{**row, "interval": np.int8(2), "zone": np.int64(5)}], UNITS)
    assert (book.orders.quantity[0], book.orders.limit[0], book.orders.interval[0]) == (100_000, 400_000, 2)
    assert (book.members, book.zones) == (("3",), (5,))


def test_the_largest_numbers_fit(here):
    book = from_csv(here, HEADER, f"A,buy,{(1 << 48) / Decimal(10**6)},{(1 << 36) / Decimal(10**5)}")
    assert (book.orders.quantity[0], book.orders.limit[0]) == (1 << 48, 1 << 36)


# --- what is refused: cells of a CSV file ---

CELLS = {
    "Ann,buy,0,5": "quantity_kwh is '0', expected a number of kWh above 0, such as 2.5",
    "Ann,buy,-2,5": "quantity_kwh is '-2', expected a number of kWh above 0, such as 2.5",
    "Ann,buy,nan,5": "quantity_kwh is 'nan', expected a number of kWh above 0, such as 2.5",
    "Ann,buy,inf,5": "quantity_kwh is 'inf', expected a number of kWh above 0, such as 2.5",
    "Ann,buy,two,5": "quantity_kwh is 'two', expected a number of kWh above 0, such as 2.5",
    "Ann,buy,1_000,5": "quantity_kwh is '1_000', expected a number of kWh above 0, such as 2.5",
    "Ann,buy,١,5": "quantity_kwh is '١', expected a number of kWh above 0, such as 2.5",
    "Ann,buy,2 kWh,5": "quantity_kwh is '2 kWh', expected a number of kWh above 0, such as 2.5",
    'Ann,buy,"2,5",5': "quantity_kwh is '2,5', expected a number of kWh above 0, such as 2.5",
    "Ann,buy,,5": "quantity_kwh is missing, expected a number of kWh above 0, such as 2.5",
    "Ann,buy,1e999999999,5": "quantity_kwh is '1e999999999', expected a number of kWh above 0, such as 2.5",
    "Ann,buy,0.0000005,5": "quantity_kwh is '0.0000005', expected a multiple of 0.000001 kWh, the size of a lot",
    "Ann,buy,281474976.710657,5": "quantity_kwh is '281474976.710657', expected at most 281474976.710656 kWh",
    "Ann,buy,1e30,5": "quantity_kwh is '1e30', expected at most 281474976.710656 kWh",
    "Ann,buy,1,x": "limit_ct_per_kwh is 'x', expected a price in ct/kWh, such as 12.5, or nothing for any price",
    "Ann,buy,1,nan": "limit_ct_per_kwh is 'nan', expected a price in ct/kWh, such as 12.5, or nothing for any price",
    "Ann,buy,1,-inf": "limit_ct_per_kwh is '-inf', expected a price in ct/kWh, such as 12.5, or nothing for any price",
    "Ann,buy,1,5.000001": "limit_ct_per_kwh is '5.000001', expected a multiple of 0.00001 ct/kWh, the size of a tick",
    "Ann,buy,1,687194.76737": "limit_ct_per_kwh is '687194.76737', expected at most 687194.76736 ct/kWh",
    "Ann,sell,1,-1e9": "limit_ct_per_kwh is '-1e9', expected at most 687194.76736 ct/kWh",
    "Ann,hold,1,5": "side is 'hold', expected buy or sell",
    "Ann,BUY,1,5": "side is 'BUY', expected buy or sell",
    "Ann,,1,5": "side is missing, expected buy or sell",
    ",buy,1,5": "member is missing, expected the name of a member",
    "utility,buy,1,5": "member is 'utility', expected the name of a member; this one belongs to a house account",
    "Ann,buy,1": "3 cells, the header has 4 columns",
    "Ann,buy,1,5,6": "5 cells, the header has 4 columns",
    "Ann,buy,2,5,50": "5 cells, the header has 4 columns",
}


@pytest.mark.parametrize("row", CELLS)
def test_a_wrong_cell_is_named(here, row):
    (here / "book.csv").write_text(f"{HEADER}\nBob,sell,1,4\n{row}\n", encoding="utf-8")
    assert message("book.csv") == f"book.csv, line 3: {CELLS[row]}"


OPTIONAL = {
    "-1,0,": "interval is '-1', expected a whole number from 0 to 2147483647",
    "1.5,0,": "interval is '1.5', expected a whole number from 0 to 2147483647",
    ",0,": "interval is missing, expected a whole number from 0 to 2147483647",
    "noon,0,": "interval is 'noon', expected a whole number from 0 to 2147483647",
    "2147483648,0,": "interval is '2147483648', expected a whole number from 0 to 2147483647",
    "0,,": "zone is missing, expected the name or number of a zone",
    "0,0,Bop": "partner is 'Bop', expected a member of this book, or nothing; did you mean 'Bob'?",
    "0,0,utility": "partner is 'utility', expected a member of this book, or nothing; known: Ann, Bob",
    "0,0,Ann": "partner is 'Ann', the member himself; expected another member",
}


@pytest.mark.parametrize("cells", OPTIONAL)
def test_a_wrong_optional_cell_is_named(here, cells):
    (here / "book.csv").write_text(f"{FULL}\nBob,sell,1,4,0,0,\nAnn,buy,1,5,{cells}\n", encoding="utf-8")
    assert message("book.csv") == f"book.csv, line 3: {OPTIONAL[cells]}"


# --- what is refused: headers and files ---

HEADERS = {
    "member,side,quantity_kwh": "book.csv, line 1: the column 'limit_ct_per_kwh' is missing",
    "member,side,quantity,limit_ct_per_kwh": (
        "book.csv, line 1: unknown column 'quantity'; did you mean 'quantity_kwh'?\n"
        "book.csv, line 1: the column 'quantity_kwh' is missing"
    ),
    HEADER + ",side": "book.csv, line 1: the column 'side' stands twice",
    "Member,side,quantity_kwh,limit_ct_per_kwh": (
        "book.csv, line 1: unknown column 'Member'; did you mean 'member'?\n"
        "book.csv, line 1: the column 'member' is missing"
    ),
    HEADER.replace(",", ";"): (
        "book.csv, line 1: 'member;side;quantity_kwh;limit_ct_per_kwh' is one column; expected a comma between columns"
    ),
    HEADER + ",": (
        "book.csv, line 1: unknown column ''; "
        "known: interval, limit_ct_per_kwh, member, partner, quantity_kwh, side, zone"
    ),
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_wrong_header_is_named(here, header):
    (here / "book.csv").write_text(header + "\n")
    assert message("book.csv") == HEADERS[header]


FILES = {
    b"": "book.csv: is empty, expected a line with the columns member, side, quantity_kwh, limit_ct_per_kwh",
    b" \r\n\n": "book.csv: is empty, expected a line with the columns member, side, quantity_kwh, limit_ct_per_kwh",
    b"\x89PNG\r\n\x1a\n": "book.csv: is not a text file in UTF-8 (byte 0)",
    b"member\0side": "book.csv: is not a text file (byte 6 is zero)",
    "Jürgen".encode("latin-1"): "book.csv: is not a text file in UTF-8 (byte 1)",
    f'{HEADER}\n"Ann,buy,1,5\n'.encode(): "book.csv, line 2: is not valid CSV: unexpected end of data",
    f'{HEADER}\n"Ann"x,buy,1,5\n'.encode(): "book.csv, line 2: is not valid CSV: ',' expected after '\"'",
}


@pytest.mark.parametrize("data", FILES)
def test_a_file_that_is_no_table_is_refused(here, data):
    (here / "book.csv").write_bytes(data)
    assert message("book.csv") == FILES[data]


def test_a_path_without_a_file_is_refused(here):
    (here / "folder.csv").mkdir()
    assert message("book.csv") == "book.csv: there is no such file"
    assert message("folder.csv") == "folder.csv: is a folder, expected a CSV or JSON file"


def test_lines_are_counted_as_an_editor_counts_them(here):
    (here / "book.csv").write_text(f'\n{HEADER}\n\n"An\nn",buy,1,5\n\nBob,buy,0,5\n')
    assert message("book.csv").startswith("book.csv, line 7: quantity_kwh is '0'")


def test_all_problems_are_told_at_once_and_in_order(here):
    (here / "book.csv").write_text(f"{HEADER}\nAnn,hold,0,x\n,buy,1,5\n")
    assert message("book.csv").splitlines() == [
        "book.csv, line 2: side is 'hold', expected buy or sell",
        "book.csv, line 2: quantity_kwh is '0', expected a number of kWh above 0, such as 2.5",
        "book.csv, line 2: limit_ct_per_kwh is 'x', expected a price in ct/kWh, such as 12.5, or nothing for any price",
        "book.csv, line 3: member is missing, expected the name of a member",
    ]


def test_twenty_problems_are_enough(here):
    (here / "book.csv").write_text("\n".join([HEADER, *["Ann,buy,0,5"] * 50]))
    lines = message("book.csv").splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 30 more"


# --- what is refused: JSON ---

JSONS = {
    "[": "book.json, line 1, column 2: is not valid JSON: Expecting value",
    "5": "book.json: expected a list of orders, or an object with the key 'orders'",
    '{"orders": 5}': "book.json: expected a list of orders, or an object with the key 'orders'",
    '{"order": []}': "book.json: unknown key 'order'; expected a list of orders, or {'orders': [...]}",
    '[["Ann", "buy"]]': (
        "book.json, orders[0]: is ['Ann', 'buy'], expected an object with member, side, quantity_kwh, limit_ct_per_kwh"
    ),
    '[{"member": "A", "member": "B"}]': "book.json: an object has the key 'member' twice",
    '[{"member": "A", "side": "buy", "quantity_kwh": 1, "limit": 5}]': (
        "book.json, orders[0]: unknown key 'limit'; "
        "known: interval, limit_ct_per_kwh, member, partner, quantity_kwh, side, zone"
    ),
    '[{"member": "A", "side": "buy", "quantity_kwh": 1}]': (
        "book.json, orders[0]: limit_ct_per_kwh is missing, expected a price in ct/kWh, such as 12.5, "
        "or nothing for any price"
    ),
    '[{"member": "A", "side": "buy", "quantity_kwh": NaN, "limit_ct_per_kwh": 5}]': (
        "book.json, orders[0]: quantity_kwh is 'NaN', expected a number of kWh above 0, such as 2.5"
    ),
    '[{"member": "A", "side": "buy", "quantity_kwh": 1, "limit_ct_per_kwh": -Infinity}]': (
        "book.json, orders[0]: limit_ct_per_kwh is '-Infinity', expected a price in ct/kWh, such as 12.5, "
        "or nothing for any price"
    ),
    '[{"member": "A", "side": "buy", "quantity_kwh": true, "limit_ct_per_kwh": 5}]': (
        "book.json, orders[0]: quantity_kwh is True, expected a number of kWh above 0, such as 2.5"
    ),
    '[{"member": "A", "side": "buy", "quantity_kwh": 0.0000001, "limit_ct_per_kwh": 5}]': (
        "book.json, orders[0]: quantity_kwh is 1E-7, expected a multiple of 0.000001 kWh, the size of a lot"
    ),
    '[{"member": null, "side": 1, "quantity_kwh": 1, "limit_ct_per_kwh": 5}]': (
        "book.json, orders[0]: member is missing, expected the name of a member\n"
        "book.json, orders[0]: side is 1, expected buy or sell"
    ),
    '[{"member": "A", "side": "buy", "quantity_kwh": 1, "limit_ct_per_kwh": 5, "interval": 1},'
    ' {"member": "A", "side": "buy", "quantity_kwh": 1, "limit_ct_per_kwh": 5}]': (
        "book.json, orders[1]: interval is missing, expected a whole number from 0 to 2147483647"
    ),
}


@pytest.mark.parametrize("text", JSONS)
def test_wrong_json_is_refused(here, text):
    (here / "book.json").write_text(text)
    assert message("book.json") == JSONS[text]


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000])
def test_json_that_breaks_readers_is_refused(here, text):
    (here / "book.json").write_text(text)
    assert message("book.json").startswith("book.json: is not valid JSON: ")


# --- what is refused: Python data ---


def row(**changes):
    return {"member": "A", "side": "buy", "quantity_kwh": 1, "limit_ct_per_kwh": 5} | changes


def test_wrong_python_data_is_refused():
    kinds = "expected a path, a list of dicts, a dict of lists or a data frame"
    assert message(5) == f"orders: given as int, {kinds}"
    assert message(row() | {"member": "A"}) == "orders, member: is 'A', expected a list"
    assert message({name: [1] for name in row()} | {"side": []}) == (
        "orders: the columns differ in length: member 1, side 0, quantity_kwh 1, limit_ct_per_kwh 1"
    )
    assert message([row(quantity_kwh=0.1 + 0.2)]) == (
        "orders[0]: quantity_kwh is 0.30000000000000004, expected a multiple of 0.000001 kWh, the size of a lot; "
        "round it first"
    )
    assert message([row(limit_ct_per_kwh=float("nan"))]) == (
        "orders[0]: limit_ct_per_kwh is nan, expected a price in ct/kWh, such as 12.5, or nothing for any price, "
        "as None (in pandas: a column of type Float64)"
    )
    assert message([row(member=1.5)]) == "orders[0]: member is 1.5, expected the name of a member"
    assert message([row(quantity_kwh=[1])]) == (
        "orders[0]: quantity_kwh is [1], expected a number of kWh above 0, such as 2.5"
    )


def test_wrong_frames_are_refused():
    good = pandas.DataFrame([row()])
    assert message(good.drop(columns="side")) == "orders: the column 'side' is missing"
    assert message(good.assign(sied=1)) == "orders: unknown column 'sied'; did you mean 'side'?"
    assert message(pandas.concat([good, good[["side"]]], axis=1)) == "orders: the column 'side' stands twice"
    assert message(good.assign(limit_ct_per_kwh=float("nan"))).startswith(
        "orders[0]: limit_ct_per_kwh is nan, expected"
    )
    assert message(good.assign(quantity_kwh=float("inf"))).startswith("orders[0]: quantity_kwh is inf, expected")
    assert message(polars.DataFrame([row()]).rename({"member": "name"})).startswith("orders: unknown column 'name'")
