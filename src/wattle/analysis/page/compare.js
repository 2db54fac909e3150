// The table of rules, the key figures of one rule, and who gains.

import { byId, el, fill, legend, money, number } from "./format.js";
import { D, N, index, saving, shown } from "./data.js";
import { figure, indexDetails, indexText } from "./explain.js";
import { draw } from "./charts.js";
import { bars, strips } from "./shapes.js";

const SENTENCES_UP_TO = 12;
const order = { key: null, down: true };

const TILES = [
  ["saving_total", "saved in total", 0],
  ["saving_median", "saved by the median member", 0],
  ["losers_share", "of members pay more", 1],
  ["shared_energy", "shared between members", 0],
  ["self_sufficiency", "of consumption from own sun", 1],
  ["closing_error", "closing error: energy and money all accounted for", 0],
];

/** Show the rule's one line and its key figures. */
export function showSummary() {
  const rule = D.rules[shown.rule];
  byId("rule-name").textContent = rule.name;
  byId("rule-summary").textContent = rule.summary;
  fill(
    "tiles",
    ...TILES.map(([key, text, whole]) => {
      const digits = key.startsWith("saving") ? D.columns[0][3] : whole; // small sums have cents
      const found = index(shown.rule, key);
      const before = key === "self_sufficiency" && shown.rule ? `before: ${indexText(index(0, key), digits)}` : "";
      const mega = found.unit === "kWh" && found.value >= 10000;
      const shownText = mega ? `${number(found.value / 1000, 1)} MWh` : indexText(found, digits);
      return el(
        "div",
        { class: "tile" },
        figure(shownText, () => indexDetails(shown.rule, key), { class: "huge", "data-key": key }),
        el("span", { text }),
        before ? el("small", { text: before }) : null,
      );
    }),
  );
  for (const node of document.querySelectorAll(".of-rule")) node.textContent = rule.name;
}

/** Draw the table of rules; called again when it is sorted. */
export function showTable() {
  const groups = [];
  for (const column of D.columns) {
    const last = groups[groups.length - 1];
    if (last && last[0] === column[1]) last[1] += 1;
    else groups.push([column[1], 1]);
  }
  const top = el(
    "tr",
    {},
    el("td"),
    ...groups.map(([name, span]) => el("th", { colspan: span, scope: "colgroup", class: "group", text: name })),
  );
  const heads = D.columns.map(([key, , heading], i) =>
    el(
      "th",
      {
        scope: "col",
        class: starts(i),
        "aria-sort": order.key === key ? (order.down ? "descending" : "ascending") : "none",
      },
      el(
        "button",
        { type: "button", class: "sort", "data-sort": key, onclick: () => sortBy(key) },
        heading,
        el("small", { text: unitOf(key) }),
      ),
    ),
  );
  const rows = sorted().map((rule) =>
    el(
      "tr",
      { class: rule === shown.rule ? "chosen" : "", "data-rule": rule },
      el(
        "th",
        { scope: "row" },
        el("button", {
          type: "button",
          class: "pick",
          "aria-pressed": String(rule === shown.rule),
          text: D.rules[rule].name,
          onclick: () => document.dispatchEvent(new CustomEvent("rule", { detail: rule })),
        }),
        // Of many rules the sentences would drown the figures; they all stand at the end of the page.
        D.rules.length > SENTENCES_UP_TO ? null : el("small", { text: D.rules[rule].summary }),
      ),
      ...D.columns.map(([key, , , digits], i) => {
        const best = D.best[key].includes(rule);
        return el(
          "td",
          { class: `${starts(i)} ${best ? "best" : ""} ${isBad(rule, key) ? "bad" : ""}`.trim() },
          figure(tableText(rule, key, digits), () => indexDetails(rule, key), { "data-key": key }),
          best
            ? el(
                "span",
                { class: "star", title: "best value of this column" },
                "★",
                el("span", { class: "hidden", text: " best" }),
              )
            : null,
        );
      }),
    ),
  );
  fill(
    "table",
    el("caption", { class: "hidden", text: "One row per rule; select a column head to sort" }),
    el("thead", {}, top, el("tr", {}, el("th", { scope: "col", class: "corner", text: "rule" }), ...heads)),
    el("tbody", {}, ...rows),
  );
}

const isBad = (rule, key) =>
  key === "losers_share" || key === "closing_error"
    ? index(rule, key).value > 0
    : key.startsWith("saving") && index(rule, key).value < 0;
const starts = (i) => (i === 0 || D.columns[i][1] !== D.columns[i - 1][1] ? "first" : "");
const unitOf = (key) => D.catalogue[key][1].replace(D.currency, D.sign.trim());
const tableText = (rule, key, digits) => indexText(index(rule, key), digits, false);

function sortBy(key) {
  order.down = order.key === key ? !order.down : D.columns.find((column) => column[0] === key)[4] !== "less";
  order.key = key;
  showTable();
  document.querySelector(`[data-sort="${key}"]`).focus();
}

function sorted() {
  const rules = D.rules.map((_, i) => i);
  if (order.key === null) return rules;
  const value = (rule) => index(rule, order.key).value;
  return rules.sort((a, b) => {
    if (value(a) === null || value(b) === null) return (value(a) === null) - (value(b) === null);
    return (order.down ? -1 : 1) * (value(a) - value(b)) || a - b;
  });
}

/** Fill the table of all indices; made when it is first opened. */
export function showAll() {
  const keys = Object.keys(D.catalogue);
  fill(
    "all-table",
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        el("th", { scope: "col", text: "index" }),
        ...D.rules.map((rule) => el("th", { scope: "col", text: rule.name })),
      ),
    ),
    el(
      "tbody",
      {},
      ...keys.map((key) =>
        el(
          "tr",
          {},
          el("th", { scope: "row" }, D.catalogue[key][0], el("small", { text: ` ${unitOf(key)}` })),
          ...D.rules.map((_, rule) =>
            el(
              "td",
              {},
              figure(tableText(rule, key, digitsOf(key)), () => indexDetails(rule, key)),
            ),
          ),
        ),
      ),
    ),
  );
}

const digitsOf = (key) => ({ "%": 1, kW: 1, kWh: 0, "ct/kWh": 2, [D.currency]: 2 })[D.catalogue[key][1]] ?? 2;

/** Show each member's saving under the rule, and all rules in strips. */
export async function showGains() {
  const sun = D.facts.sun ?? [];
  const rows = D.members
    .map((name, member) => ({
      member,
      name,
      kind: D.kinds[member],
      saving: saving(member) / 100,
      group: saving(member) < 0 ? "loses" : sun[member] ? "sun" : "no sun",
    }))
    .sort((a, b) => b.saving - a.saving || a.member - b.member);
  rows.forEach((row, place) => {
    row.place = place + 1;
  });
  const losing = rows.filter((row) => row.saving < 0).length;
  const even = rows.filter((row) => row.saving === 0).length;
  const gaining = N - losing - even;
  byId("gains-intro").textContent =
    shown.rule === 0
      ? "This is the reference: everyone alone. Choose a rule above to see who gains by it."
      : `${gaining} of ${N} members save money${losing ? `, ${losing} pay more` : ", none pays more"}${even ? `, ${even} notice nothing` : ""}. ` +
        `The best-off saves ${money(rows[0].saving, D.sign)}, the worst-off ${money(rows[N - 1].saving, D.sign)}.`;
  legend("gains-legend", [
    ["sun", "has own sun"],
    ["shared", "has none"],
    ...(losing ? [["loss", "pays more than alone"]] : []),
  ]);
  const label = `Savings of ${N} members under ${D.rules[shown.rule].name}, sorted`;
  await draw("gains-chart", bars(rows), label, pickMember);
  await showStrips();
}

async function showStrips() {
  byId("strip-card").hidden = D.rules.length < 2;
  if (D.rules.length < 2) return;
  const rows = D.rules
    .slice(1)
    .flatMap((rule, i) =>
      D.members.map((name, member) => ({
        rule: rule.name,
        r: i + 1,
        member,
        name,
        saving: saving(member, i + 1) / 100,
      })),
    );
  const names = D.rules.slice(1).map((rule) => rule.name);
  await draw("strip-chart", strips(rows, names), "Savings of all members under each rule", (datum) => {
    if (datum.r !== undefined) document.dispatchEvent(new CustomEvent("rule", { detail: datum.r }));
  });
}

function pickMember(datum) {
  if (datum.member === undefined) return;
  document.dispatchEvent(new CustomEvent("member", { detail: datum.member }));
  byId("bill").scrollIntoView({ behavior: "smooth" });
}
