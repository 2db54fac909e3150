"""The page in a real browser: offline, without a complaint, and everything on it does what it says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from wattle.analysis.metrics import by_key
from wattle.analysis.pareto import choices
from wattle.analysis.report import write_page

FIGURES = "#table tbody tr"


def cents(text: str) -> int:
    """Return −€1,234.50 as −123450."""
    digits = int(re.sub(r"\D", "", text))
    return -digits if "−" in text else digits


def test_it_opens_offline_and_draws_everything(page, village):
    assert page.run("navigator.onLine") is False
    assert page.text("title") == "Sample village – wattle"
    assert page.text("h1").startswith("Sharing saves the village €")
    charts = page.run(
        "[...document.querySelectorAll('.chart')].filter((c) => !c.hidden && !c.querySelector('svg')).length"
    )
    assert charts == 0
    assert page.texts("#table tbody th .pick") == [rule.rule for rule in village.rules]
    assert page.texts("#notes-list li") == list(village.notes)


WIDTHS = """(() => {
    const width = (what) => document.querySelector(`#hero-chart ${what}`).getBoundingClientRect().width;
    return [width(".mark-area path"), width(".mark-rule line")];
})()"""


def test_every_day_has_its_place_below_the_headline(page):
    """The last day is drawn too: the area of the sun is as wide as the line below it."""
    area, line = page.run(WIDTHS)
    assert area == pytest.approx(line, abs=2)


def test_the_content_policy_holds(page):
    page.run(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.broken = 1'}))"
    )
    assert page.run("window.broken") is None
    reached = page.run("fetch('http://127.0.0.1:9/').then(() => 'reached', () => 'refused')")
    assert reached == "refused"
    assert page.complaints()
    assert all("Content Security Policy" in text for text in page.complaints())  # refused by nothing else
    page.forget()


def test_the_table_sorts(page, village):
    found = {rule.rule: by_key(rule.indices)["saving_median"].value for rule in village.rules}
    page.click("[data-sort=saving_median]")
    assert page.texts("#table tbody .pick") == sorted(found, key=found.get, reverse=True)
    assert page.run("document.querySelectorAll('[aria-sort=descending]').length") == 1
    page.click("[data-sort=saving_median]")
    rising = page.texts("#table tbody .pick")
    assert [found[name] for name in rising] == sorted(found.values())
    page.click("[data-sort=jain]")
    assert page.texts("#table tbody .pick")[-1] == "no community"  # no value: last, whichever way
    page.click("[data-sort=jain]")
    assert page.texts("#table tbody .pick")[-1] == "no community"


def test_a_figure_explains_itself(page, village):
    page.click("[data-rule='2'] [data-key=self_sufficiency]")
    index = by_key(village.rules[2].indices)["self_sufficiency"]
    told = page.text("#explain")
    assert page.text("#explain-title") == "Self-sufficiency"
    assert page.text("#explain .big") == f"{index.value:.2f} %"
    assert index.formula in told
    assert index.source in told
    assert village.rules[2].summary in told
    for name, value in index.inputs.items():
        assert name in told
        assert f"{value:,.1f}" in told
    assert page.texts("#explain code")[0] == "wattle verify village-sample"
    assert re.fullmatch(r"wattle explain village-sample --member '.+' --interval \d+ --rule 'dynamic key'",
                        page.texts("#explain code")[1])  # fmt: skip


def test_the_books_close_exactly(page):
    page.click("[data-rule='1'] [data-key=closing_error]")
    assert page.text("#explain .big") == "0 (closes exactly)"


def test_the_explanation_works_by_keyboard(page):
    page.run("document.querySelector('#tiles .figure').focus()")
    page.press("Enter", 13)
    assert page.run("document.activeElement.id") == "explain"
    assert page.run("document.querySelector('#explain').hidden") is False
    page.press("Escape", 27)
    assert page.run("document.querySelector('#explain').hidden") is True
    assert page.run("document.activeElement === document.querySelector('#tiles .figure')") is True


def test_everything_that_acts_can_be_reached_by_keyboard(page):
    odd = page.run(
        "[...document.querySelectorAll('[onclick], .figure, .pick, .sort, .chip')]"
        ".filter((e) => e.tagName !== 'BUTTON' || e.tabIndex < 0).length"
    )
    assert odd == 0
    named = "(e) => e.textContent.trim() || e.ariaLabel || e.labels?.length"
    nameless = page.run(f"[...document.querySelectorAll('button, select, input')].filter((e) => !({named})(e)).length")
    assert nameless == 0


def test_a_rule_changes_the_whole_page(page, village):
    page.choose("#rule", "5")
    assert page.text("#rule-name") == village.rules[5].rule
    assert set(page.texts(".of-rule")) == {village.rules[5].rule}
    assert page.run("document.querySelector('tr.chosen .pick').textContent") == village.rules[5].rule
    page.click(f"{FIGURES}[data-rule='3'] .pick")
    page.settle()
    assert page.run("document.querySelector('#rule').value") == "3"
    assert village.rules[3].rule in page.text("#day-title")


def test_a_member_s_bill(page, village):
    for member in (0, 7, 23):
        page.choose("#member", str(member))
        rows = page.run(
            "[...document.querySelectorAll('#bill-table tbody tr')].map((r) => [...r.cells].map((c) => c.textContent))"
        )
        total = page.run("[...document.querySelector('#bill-table .sum').cells].map((c) => c.textContent)")
        for column in (1, 2, 3):
            assert sum(cents(row[column]) for row in rows) == cents(total[column])
        rule = next(rule for rule in village.rules if rule.rule == page.text("#rule-name"))
        assert cents(total[1]) == round(village.units.money(int(village.rules[0].cost[member])) * 100)
        assert cents(total[2]) == round(village.units.money(int(rule.cost[member])) * 100)
    page.click("#bill-sum")
    assert village.members[23] in page.text("#explain-title")
    assert village.members[23] in page.texts("#explain code")[0]


def test_another_day(page):
    before = page.text("#day-title")
    disabled = page.run("document.querySelector('#day-next').disabled")
    page.click("#day-back" if disabled else "#day-next")
    page.wait(f"document.querySelector('#day-title').textContent !== {before!r}")
    page.choose("#day-date", "2016-06-24")
    assert page.text("#day-title").startswith("Friday, 24 June 2016")
    page.choose("#moment", "50")
    assert page.text("#readout b") == "12:30–12:45"
    page.click("#readout .figure")
    assert "--interval 434 " in page.texts("#explain code")[0]  # four days of 96, and 50


def test_the_readout_is_what_the_run_says(page, village):
    page.choose("#day-date", "2016-06-22")
    page.choose("#moment", "40")
    rule = next(rule for rule in village.rules if rule.rule == page.text("#rule-name"))
    at = 2 * 96 + 40
    shown = [float(re.sub(r"[^\d.]", "", text)) for text in page.texts("#readout .figure")]
    lots = [village.load[at], village.sun[at], rule.shared[at], rule.imported[at], rule.exported[at]]
    assert shown[:5] == pytest.approx([village.units.kwh_float(lot) for lot in lots], rel=0.01)
    assert shown[5] == pytest.approx(100 * village.units.price_float(rule.price[at]), abs=0.005)


@pytest.mark.parametrize("width", [360, 390])
def test_a_phone_scrolls_down_only(page, width):
    page.size(width, 780, phone=True)
    page.run("new Promise((done) => setTimeout(done, 200))")
    assert page.run("document.documentElement.scrollWidth") <= width
    page.click("#tiles .figure")
    box = page.run(
        "(({left, right, top}) => [left, right, top])(document.querySelector('#explain').getBoundingClientRect())"
    )
    assert (box[0], box[1]) == (0, width)
    assert box[2] > 100  # part of the page stays in sight
    assert page.run("document.documentElement.scrollWidth") <= width


CONTRAST = Path(__file__).with_name("contrast.js").read_text("utf-8")


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_has_enough_contrast(page, dark):
    page.media("", dark)
    page.click("[data-rule='1'] [data-key=saving_worst]")
    page.click("#all summary")
    page.wait("document.querySelectorAll('#all-table tbody tr').length > 30")
    assert page.run(CONTRAST) == []


def test_it_prints(page, tmp_path):
    page.media("print")
    assert page.run("getComputedStyle(document.querySelector('.bar')).display") == "none"
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 20_000


def test_hostile_names_stay_text(browser, village, page_file, tmp_path):
    evil = "<script>window.broken=1</script><img src=x onerror='window.broken=1'>"
    rules = tuple(replace(rule, rule=f"{rule.rule} {evil}", summary=evil) for rule in village.rules[:3])
    wild = replace(
        village, title=evil, members=(evil, *village.members[1:]), kinds=(evil,) * 24, rules=rules, notes=(evil,)
    )
    tab = browser.page()
    tab.open(write_page(wild, tmp_path / "wild.html"))
    tab.choose("#member", "0")
    tab.click("#bill-sum")
    assert evil in tab.text("#explain")
    assert tab.run("window.broken") is None
    assert tab.run("document.querySelectorAll('img').length") == 0
    assert tab.complaints() == []
    tab.close()


def test_a_single_day_and_a_single_rule(browser, make_village, page_file, tmp_path):
    small = make_village(3, 1)
    tab = browser.page(360, 700, phone=True)
    for rules in (small.rules, small.rules[:1]):
        tab.open(write_page(replace(small, rules=rules), tmp_path / "small.html"))
        assert tab.run("document.querySelector('#months-card').hidden") is True
        assert tab.run("document.documentElement.scrollWidth") <= 360
    assert tab.complaints() == []
    tab.close()


def test_the_picture_of_welfare_and_fairness(page, village):
    fronts = {choice.fairness: choice.rules for choice in choices([by_key(rule.indices) for rule in village.rules])}
    for fairness in ("min_max", "jain"):
        page.click(f"[data-fairness={fairness}]")
        page.settle()
        told = page.text("#pareto-text")
        for rule in fronts[fairness]:
            assert village.rules[rule].rule in told
        drawn = page.run("document.querySelectorAll('#pareto-chart path.mark, #pareto-chart .mark-symbol path').length")
        assert drawn >= len(village.rules) - 1
    assert page.run("document.querySelector('[data-fairness=jain]').ariaPressed") == "true"
