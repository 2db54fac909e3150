"""The page is one harmless, complete file; its figures add up; the CSV and the packed series say what the run says."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import zlib
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wattle.analysis import bundle, pagedata, report, series
from wattle.analysis.catalogue import CATALOGUE, HEADLINE
from wattle.analysis.metrics import by_key
from wattle.analysis.pareto import FAIRNESS, choices
from wattle.core.timegrid import TimeGrid
from wattle.core.units import Units

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>&\"'"


@pytest.fixture(scope="module")
def page(village, tmp_path_factory, chart_cache) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert report.write_page(village, path) == path
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]
    return path.read_text("utf-8")


def told(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


# --- one file that reaches for nothing ---


def without_charts(page: str) -> str:
    scripts = re.findall(r"<script[^>]*>.*?</script>", page, re.DOTALL)
    return page.replace(max(scripts, key=len), "")


def test_nothing_is_fetched(page):
    own = without_charts(page)
    tags = re.findall(r"<(?:script|link|img|iframe|source|video|audio|object|embed|use)\b[^>]*>", own)
    for tag in tags:
        assert not re.search(r"\b(?:src|srcset|href|data)\s*=\s*[\"']?(?!data:)[^\"'\s>]*[/.]", tag), tag
    for reach in ("fetch(", "XMLHttpRequest", "WebSocket", "EventSource", "sendBeacon", "import(", "@import", "url("):
        assert reach not in own, reach
    assert not re.search(r"https?://", own)


def test_the_policy_allows_exactly_the_scripts_in_the_file(page):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert re.search(r"script-src ([^;]*)", policy)[1].count("sha256-") == 2
    for script in re.findall(r'<script(?: type="module")?>(.*?)</script>', page, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_no_name_becomes_markup(village, tmp_path, chart_cache):
    names = (HOSTILE, *village.members[1:])
    rules = (village.rules[0], replace(village.rules[1], rule=HOSTILE, summary=HOSTILE, parameters={HOSTILE: HOSTILE}))
    wild = replace(
        village, title=HOSTILE, members=names, notes=(HOSTILE,), kinds=(HOSTILE,) * len(names), rules=rules,
        run_name=HOSTILE,
    )  # fmt: skip
    text = report.write_page(wild, tmp_path / "wild.html").read_text("utf-8")
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert len(re.findall(r"<script", without_charts(text))) == 3
    assert told(text)["members"][0] == HOSTILE
    assert told(text)["title"] == HOSTILE


@given(st.text())
def test_json_in_a_page_is_safe_and_the_same(text):
    made = report.safe_json([text])
    assert not set(made) & set("<>&\u2028\u2029")
    assert json.loads(made) == [text]


def test_scripts_cannot_end_their_element():
    assert "</script" not in report._harmless("a = '</script>'; b = '<!--'")


# --- what the page says ---


def test_every_rule_and_every_headline_is_told(page, village):
    data = told(page)
    assert [rule["name"] for rule in data["rules"]] == [rule.rule for rule in village.rules]
    assert [column[0] for column in data["columns"]] == [column.key for column in HEADLINE]
    for rule in data["rules"]:
        assert set(rule["indices"]) == set(CATALOGUE)
    assert data["notes"] == list(village.notes)
    assert data["members"] == list(village.members)
    assert f"<h1>{data['headline']}</h1>" in page


def test_every_bill_adds_up_to_the_cent(page, village):
    for told_rule, rule in zip(told(page)["rules"], village.rules, strict=True):
        lines, months, cost = (np.array(told_rule[key]) for key in ("lines", "months", "cost"))
        assert (lines.sum(axis=0) == cost).all()
        assert (months.sum(axis=0) == cost).all()
        exact = [float(village.units.money(int(cash)) * 100) for cash in rule.cost]
        assert np.abs(cost - exact).max() <= 0.5


def test_a_year_stays_small(make_village, tmp_path, chart_cache):
    year = make_village(40, 366, first="2016-01-01")
    path = report.write_page(year, tmp_path / "year.html")
    assert path.stat().st_size < 3_000_000
    data = told(path.read_text("utf-8"))
    assert len(data["days"]) == 366
    assert data["headline"].endswith(" a year.")


def test_indices_are_computed_when_a_result_has_none(village):
    bare = replace(village, rules=tuple(replace(rule, indices=()) for rule in village.rules))
    assert pagedata.with_indices(bare) == pagedata.with_indices(village)


def found_of(village):
    return [by_key(rule.indices) for rule in village.rules]


def test_the_result_in_a_sentence(village):
    headline, lead = pagedata.result_sentences(village, found_of(village))
    assert re.fullmatch(r"Sharing saves the village €[\d,]+ in 14 days\.", headline)
    assert "% of all bills" in lead


def test_the_sentence_when_nothing_is_saved(village):
    alone = replace(village, rules=(village.rules[0], village.rules[0]))
    headline, lead = pagedata.result_sentences(alone, found_of(alone))
    assert headline == "Sharing saves the village nothing here."
    assert "as much as everyone alone" in lead


def test_the_sentence_names_rules_that_cost_members_money(village):
    costly = replace(village.rules[2], cost=village.rules[2].cost + 10**9, indices=())
    found = [by_key(indices) for indices in pagedata.with_indices(replace(village, rules=(*village.rules[:2], costly)))]
    _, lead = pagedata.result_sentences(replace(village, rules=(*village.rules[:2], costly)), found)
    assert "pay more than alone under “dynamic key”" in lead


def test_what_the_operator_pays_in_is_not_called_saved(village):
    """A rule that hands out money from outside is neither shown first nor in the headline."""
    gift = int(village.rules[0].cost.sum()) // 10
    size = len(village.members)
    richer = replace(village.rules[1], cost=village.rules[1].cost - gift, operator_pays=gift * size, indices=())
    paid = replace(village, rules=(*village.rules, richer))
    found = [by_key(indices) for indices in pagedata.with_indices(paid)]
    best = max(range(len(found)), key=lambda i: found[i]["saving_total"].value)
    assert best == len(found) - 1
    before = pagedata.first_choice(found_of(village), pagedata.paid_in(village))
    assert pagedata.first_choice(found, pagedata.paid_in(paid)) == before
    assert pagedata.result_sentences(paid, found)[0] == pagedata.result_sentences(village, found_of(village))[0]


def test_small_totals_have_cents(village):
    found = found_of(village)
    assert pagedata.table_columns(found)[0].digits == 0
    small = [index | {"saving_total": replace(index["saving_total"], value=7.12)} for index in found]
    assert pagedata.table_columns(small)[0].digits == 2


def test_best_values(village):
    best = pagedata.best_rules(found_of(village))
    assert best["mean_local_price"] == []  # no direction is better
    assert best["closing_error"] == []
    assert 0 not in best["saving_total"]
    assert best["saving_total"]
    top = max(index["saving_total"].value for index in found_of(village))
    assert all(round(found_of(village)[i]["saving_total"].value) == round(top) for i in best["saving_total"])


def test_what_nearly_all_rules_reach_is_not_marked(village):
    none, rule = found_of(village)[:2]
    other = rule | {"saving_total": replace(rule["saving_total"], value=rule["saving_total"].value / 2)}
    assert pagedata.best_rules([none, rule, rule, rule])["saving_total"] == [1, 2, 3]
    assert pagedata.best_rules([none, rule, rule, rule, other])["saving_total"] == [1, 2, 3]
    assert pagedata.best_rules([none, rule, rule, rule, rule])["saving_total"] == []


def test_money_text():
    assert pagedata.money_text(1234.5, "EUR") == "€1,234"
    assert pagedata.money_text(Fraction(-1, 1000), "EUR", 2) == "€0.00"
    assert pagedata.money_text(-5, "XYZ", 2) == "-XYZ 5.00"


cash = arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.integers(-(10**15), 10**15))


@given(cash, st.integers(1, 10**6))
def test_rounding_to_cents_closes_and_moves_nobody_by_a_cent(parts, size):
    cents_per_cash = Fraction(1, size)
    total = parts.sum(axis=0)
    cents, whole = pagedata.closing_cents(parts, total, cents_per_cash)
    assert (cents.sum(axis=0) == whole).all()
    for rounded, exact in zip([*cents.ravel(), *whole], [*parts.ravel(), *total], strict=True):
        assert abs(int(rounded) - int(exact) * cents_per_cash) <= 1


# --- packed series ---


def unpacked(where: dict, text: str) -> list[np.ndarray]:
    """What `page/data.js` does."""
    length = where["length"]
    flat = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    columns = []
    for place, scale in enumerate(where["scales"]):
        planes = flat[place * 4 * length : (place + 1) * 4 * length].reshape(4, length)
        coded = np.ascontiguousarray(planes.T).view("<u4").ravel().astype(np.int64)
        columns.append(np.cumsum((coded >> 1) ^ -(coded & 1)) * scale)
    return columns


def test_packed_series_are_the_run_s_own(village):
    where, text = series.pack(village)
    columns, reference = unpacked(where, text), village.rules[0]
    assert (columns[where["common"]["load"]] == village.load).all()
    for place, rule in zip(where["rules"], village.rules, strict=True):
        shared = columns[place["shared"]]
        assert (shared == rule.shared).all()
        assert (columns[place["price"]] == rule.price).all()
        assert (columns[place["imported"]] - shared + reference.imported == rule.imported).all()
        assert (columns[place["exported"]] - shared + reference.exported == rule.exported).all()


def test_large_numbers_are_scaled_not_cut():
    packer = series.Packer(2)
    packer.add(np.array([5 * 10**12, -(10**12)]))
    where = {"length": 2, "scales": packer.scales}
    assert unpacked(where, packer.text())[0] == pytest.approx([5 * 10**12, -(10**12)], rel=1e-8)


@pytest.mark.parametrize(
    ("step", "count", "size"), [(900, 35136, 1), (300, 105408, 3), (900, 3 * 35136, 3), (60, 527040, 15)]
)
def test_long_runs_are_added_up(step, count, size):
    found = series.group_size(TimeGrid(0, step, count))
    assert found == size
    assert count / found <= series.POINTS_MAX
    assert 86400 % (found * step) == 0


def test_added_up_energy_is_all_there(village, monkeypatch):
    monkeypatch.setattr(series, "POINTS_MAX", 400)
    where, text = series.pack(village)
    columns = unpacked(where, text)
    assert where["group"] > 1
    for place, rule in zip(where["rules"], village.rules, strict=True):
        assert columns[place["shared"]].sum() == rule.shared.sum()


def test_days_of_92_and_100_quarter_hours():
    zone = ZoneInfo("Europe/Berlin")
    start = int(datetime(2016, 1, 1, tzinfo=zone).timestamp())
    days, offsets = series.local_days(TimeGrid(start, 900, 35136), "Europe/Berlin")
    length = {date: after - first for (date, first), (_, after) in pairwise(days)}
    assert (length["2016-03-27"], length["2016-10-30"], length["2016-06-01"]) == (92, 100, 96)
    assert [ahead for _, ahead in offsets] == [3600, 7200, 3600]


def test_a_run_may_begin_in_the_middle_of_a_day():
    noon = int(datetime(2016, 6, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
    days, _ = series.local_days(TimeGrid(noon, 900, 100), "Europe/Berlin")
    assert days == [("2016-06-01", 0), ("2016-06-02", 48)]


# --- CSV ---


def test_csv_has_a_row_per_rule_and_all_indices(village, tmp_path):
    path = report.write_comparison_csv(village, tmp_path / "rules.csv")
    rows = list(csv.reader(path.read_text("utf-8").splitlines()))
    assert [row[0] for row in rows[1:]] == [rule.rule for rule in village.rules]
    assert rows[0][:3] == ["rule", "mechanism", "saving_total [EUR]"]
    assert rows[0][2 + len(CATALOGUE) :] == [f"unbeaten_{key}" for key in FAIRNESS]
    columns = list(zip(*rows, strict=True))[2 + len(CATALOGUE) :]
    for choice, marks in zip(choices([by_key(rule.indices) for rule in village.rules]), columns, strict=True):
        assert [number for number, mark in enumerate(marks[1:]) if mark == "yes"] == sorted(choice.rules)
    for row, rule in zip(rows[1:], village.rules, strict=True):
        for cell, index in zip(row[2 : 2 + len(CATALOGUE)], rule.indices, strict=True):
            assert (cell == "") == (index.value is None)
            assert index.value is None or float(cell) == pytest.approx(index.value, rel=1e-9)


def test_csv_names_are_no_formulas(village, tmp_path):
    sly = replace(village, rules=(replace(village.rules[0], rule="=1+1"),), units=Units.parse("1", "0.0001", "CHF"))
    text = report.write_comparison_csv(sly, tmp_path / "sly.csv").read_text("utf-8")
    assert "\n'=1+1," in text
    assert "saving_total [CHF]" in text


# --- where the chart library comes from ---


def test_the_chart_script_is_made_once(tmp_path, monkeypatch):
    made = []
    monkeypatch.setenv("WATTLE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(bundle, "_make", lambda: made.append(1) or "let charts;")
    assert [bundle.chart_script(), bundle.chart_script()] == ["let charts;"] * 2
    assert made == [1]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("WATTLE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(bundle, "_make", lambda: "let charts;")
    assert bundle.chart_script() == "let charts;"


def test_a_page_that_cannot_be_written_leaves_nothing(village, tmp_path, chart_cache):
    (tmp_path / "page.html").mkdir()
    with pytest.raises(OSError, match=r"page\.html"):
        report.write_page(village, tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
