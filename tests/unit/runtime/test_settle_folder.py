"""Folders of meter files: rounds, corrections, statements that close, and what is refused."""

from __future__ import annotations

import csv
import re
from decimal import Decimal
from pathlib import Path

import pytest

from wattle.core.checks import InputError
from wattle.core.tables import SOURCES
from wattle.runtime.compare import Rule, run_rule
from wattle.runtime.folder import JOURNAL, open_folder, settle_folder
from wattle.runtime.newfolder import make_folder
from wattle.runtime.runfolder import open_run, write_run
from wattle.runtime.verify import verify_folder

HEAD = "time;M001 kWh;M002 kWh;M003 kWh;M004 kWh\n"


def silent(work: str, done: int, total: int) -> None:
    assert done <= total


def day(date: str, shift: int = 0) -> str:
    """Return a day of four meters: M001 and M002 are Anna's, she feeds in around noon."""
    lines = []
    for step in range(96):
        hour, minute = divmod(15 * step, 60)
        sun = max(0, 400 - abs(step - 50) * 20)
        drawn = 10 if sun == 0 else 0
        values = (drawn, sun, 50 + step % 7 + shift, 30 + step % 5)
        cells = ";".join(f"0,{value:03d}" for value in values)
        lines.append(f"{date} {hour:02d}:{minute:02d};{cells}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def street(tmp_path: Path) -> Path:
    folder = tmp_path / "street"
    make_folder(folder, example=False)
    (folder / "meters" / "01.csv").write_text(HEAD + day("02.06.2025") + day("03.06.2025"), encoding="utf-8")
    return folder


def totals(path: Path) -> dict[str, Decimal]:
    with path.open(encoding="utf-8") as file:
        return {row["account"]: Decimal(row["total EUR"]) for row in csv.DictReader(file)}


def test_first_round_closes(street: Path) -> None:
    folder, done, written = settle_folder(street, silent)
    assert written == street / "statements" / "round-001"
    assert done.corrected.size == 0
    assert folder.book.grid.count == 192
    found = totals(written / "2025-06-02_2025-06-03" / "summary.csv")
    closing = found.pop("sum of all accounts, must be 0")
    assert closing == sum(found.values()) == 0
    assert found["anna"] < 0 < found["ben"]
    names = {path.name for path in (written / "2025-06-02_2025-06-03").iterdir()}
    assert names == {f"{name}.{kind}" for name in ("anna", "ben", "clara") for kind in ("csv", "html")} | {
        "summary.csv"
    }
    with (written / "2025-06-02_2025-06-03" / "ben.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [Decimal(row["EUR"]) for row in rows if row["EUR"] and row["item"] != "total"]
    assert sum(lines) == Decimal(rows[-1]["EUR"]) == found["ben"]


def test_nothing_new_is_said_and_nothing_is_written(street: Path) -> None:
    settle_folder(street, silent)
    before = (street / JOURNAL).read_bytes()
    _, done, written = settle_folder(street, silent)
    assert written is None
    assert done.corrected.size == 0
    assert (street / JOURNAL).read_bytes() == before


def test_correction_reaches_only_those_whose_bill_changes(street: Path) -> None:
    settle_folder(street, silent)
    # At night nobody has a surplus, so only Ben and the utility are concerned.
    (street / "meters" / "02-fix.csv").write_text(
        "time;meter;value kWh\n02.06.2025 01:00;M003;0,555\n", encoding="utf-8"
    )
    folder, done, written = settle_folder(street, silent)
    assert written is not None
    assert done.corrected.tolist() == [4]
    found = totals(written / "correction" / "summary.csv")
    assert set(found) == {"utility", "ben", "sum of all accounts, must be 0"}
    assert sum(found.values()) == 0
    old = 50 + 4 % 7
    assert found["ben"] == round(Decimal(555 - old) / 1000 * Decimal("0.30"), 2)
    assert {path.name for path in (written / "correction").iterdir()} == {"ben.csv", "ben.html", "summary.csv"}
    assert folder.engine.balance.sum(axis=1).tolist() == [0, 0]


def test_corrected_folder_equals_a_folder_settled_with_the_right_readings(street: Path, tmp_path: Path) -> None:
    settle_folder(street, silent)
    (street / "meters" / "02-fix.csv").write_text(HEAD + day("03.06.2025", shift=9), encoding="utf-8")
    corrected, _, _ = settle_folder(street, silent)
    other = tmp_path / "other"
    make_folder(other, example=False)
    (other / "meters" / "01.csv").write_text(HEAD + day("02.06.2025") + day("03.06.2025", 9), encoding="utf-8")
    right, _, _ = settle_folder(other, silent)
    assert (corrected.engine.balance == right.engine.balance).all()


def test_later_months_follow_and_may_bring_corrections(street: Path) -> None:
    settle_folder(street, silent)
    text = HEAD + day("03.06.2025", shift=5) + day("04.06.2025")
    (street / "meters" / "02.csv").write_text(text, encoding="utf-8")
    folder, done, written = settle_folder(street, silent)
    assert written is not None
    assert done.first == 192
    assert done.corrected.tolist() == list(range(96, 192))
    assert {path.name for path in written.iterdir()} == {"index.html", "correction", "2025-06-04_2025-06-04"}
    assert folder.book.grid.count == 288
    assert verify_folder(street).problems == []
    opened, journal = open_folder(street)
    assert journal is not None
    journal.close()
    assert opened.engine.state_hash() == folder.engine.state_hash()


def test_gap_between_rounds_is_refused_and_nothing_is_written(street: Path) -> None:
    settle_folder(street, silent)
    before = sorted(str(path) for path in street.rglob("*"))
    (street / "meters" / "02.csv").write_text(HEAD + day("05.06.2025"), encoding="utf-8")
    with pytest.raises(InputError, match=r"M001.*2025-06-04"):
        settle_folder(street, silent)
    after = sorted(str(path) for path in street.rglob("*"))
    assert after == sorted([*before, str(street / "meters" / "02.csv")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda street: (street / "meters" / "01.csv").write_text(HEAD + day("02.06.2025")),
            "01.csv is missing or was",
        ),
        (
            lambda street: (street / "meters" / "01.csv").unlink(),
            "01.csv is missing or was changed after it was settled",
        ),
        (lambda street: (street / "members.csv").write_text("member,meter\na,M001\n"), "members.csv was changed after"),
        (
            lambda street: (street / "community.toml").write_text((street / "community.toml").read_text() + "# x"),
            "community.toml was changed after",
        ),
    ],
)
def test_what_was_settled_must_stay(street: Path, change: object, message: str) -> None:
    settle_folder(street, silent)
    change(street)  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        settle_folder(street, silent)


def test_key_by_demand_is_refused_because_it_would_change_with_each_round(street: Path) -> None:
    text = (street / "community.toml").read_text(encoding="utf-8")
    text = text.replace('mechanism = "dynamic-key"', 'mechanism = "fixed-key"\nshares = "by demand"')
    (street / "community.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"shares.*by demand"):
        settle_folder(street, silent)


def test_key_from_the_table_of_members(street: Path) -> None:
    text = (street / "community.toml").read_text(encoding="utf-8")
    text = text.replace('mechanism = "dynamic-key"', 'mechanism = "fixed-key"\nshares = "from members"')
    (street / "community.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="no column for it"):
        settle_folder(street, silent)
    table = "member,consumption_meter,feed_in_meter,share\nanna,M001,M002,0\nben,M003,,62.5\nclara,M004,,37.5\n"
    (street / "members.csv").write_text(table, encoding="utf-8")
    folder, done, _ = settle_folder(street, silent)
    assert done.collector is not None
    assert folder.products[0].mechanism.shares == {8: 0, 9: 125, 10: 75}  # type: ignore[attr-defined]


def test_the_near_neighbour_gets_the_sun_that_is_scarce(street: Path, tmp_path: Path) -> None:
    """Places in members.csv reach the rule, are kept by a run of the folder, and are read from there again."""
    text = (street / "community.toml").read_text(encoding="utf-8")
    text = text.replace('mechanism = "dynamic-key"', 'mechanism = "preference-lists"\nper_km_ct_per_kwh = "5"')
    text = re.sub(r"(?m)^price_per_kwh.*$", "", text)
    (street / "community.toml").write_text(text, encoding="utf-8")
    bought = {}
    for near, far in (("ben", "clara"), ("clara", "ben")):
        meters = {"ben": "M003", "clara": "M004"}
        rows = ("anna,M001,M002,0,0,sun", f"{near},{meters[near]},,30,40,", f"{far},{meters[far]},,-3000,4000,")
        table = "member,consumption_meter,feed_in_meter,east_m,north_m,source\n" + "\n".join(rows) + "\n"
        (street / "members.csv").write_text(table, encoding="utf-8")
        folder, _ = open_folder(street)
        world = folder.world
        assert world.profiles.source.tolist() == [SOURCES.index("sun"), 0, 0]
        assert world.profiles.east_m.tolist() == [0, 30, -3000]
        done = run_rule(world, folder.scenario, Rule("lists", folder.scenario.product))
        bought[near] = dict(zip(world.members, done.result.bought.tolist(), strict=True))
        write_run(tmp_path / near, text, folder.scenario, world, [Rule("lists", folder.scenario.product)], [done])
        assert open_run(tmp_path / near).world.profiles == world.profiles
    assert bought["ben"]["ben"] > bought["clara"]["ben"]
    assert bought["clara"]["clara"] > bought["ben"]["clara"]


def test_member_names_with_strange_letters_make_safe_pages(street: Path) -> None:
    table = 'member,name,consumption_meter,feed_in_meter\nanna,"<script>alert(1)</script>",M001,M002\n'
    (street / "members.csv").write_text(table + "../ben,Ben,M003,\nindex,Ind & Ex,M004,\n", encoding="utf-8")
    _, _, written = settle_folder(street, silent)
    assert written is not None
    pages = list((written / "2025-06-02_2025-06-03").glob("*.html"))
    assert len(pages) == 3
    assert all("<script>" not in page.read_text(encoding="utf-8") for page in written.rglob("*.html"))
    assert not (street / "ben.html").exists()


@pytest.mark.parametrize(
    "part", ["statements/round-001/index.html", "meters/01.csv", "journal.sqlite", "journal.sha256"]
)
def test_one_flipped_bit_is_found(street: Path, part: str) -> None:
    settle_folder(street, silent)
    assert verify_folder(street).problems == []
    path = street / part
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    assert verify_folder(street).problems


def test_a_changed_event_names_its_intervals(street: Path) -> None:
    settle_folder(street, silent)
    data = (street / JOURNAL).read_bytes()
    place = data.index(b'"energy":[') + len(b'"energy":[')
    changed = data[:place] + b"7" + data[place + 1 :]
    (street / JOURNAL).write_bytes(changed)
    problem = verify_folder(street).problems[0]
    assert problem.file == JOURNAL
    assert "ReadingsReceived, intervals 0 to 191" in problem.text


def test_new_folder_refuses_a_full_one(street: Path) -> None:
    with pytest.raises(InputError, match="exists and is not empty"):
        make_folder(street, example=False)


def test_example_folder_settles(tmp_path: Path) -> None:
    make_folder(tmp_path / "street", example=True)
    folder, done, _ = settle_folder(tmp_path / "street", silent)
    assert folder.book.grid.count == 672
    assert done.collector is not None
    assert done.collector.shared.sum() > 0
