// One member's bill, before and after.

import { byId, el, energy, fill, legend, money, number } from "./format.js";
import { D, N, saving, shown } from "./data.js";
import { explainCommand, figure, verifyCommand } from "./explain.js";
import { draw } from "./charts.js";
import { billMonths } from "./shapes.js";
import { monthLabel } from "./village.js";

const FACTS = { sun: "own sun", battery: "battery", vehicle: "electric car", "heat pump": "heat pump" };
const cents = (amount, plus = false) => money(amount / 100, D.sign, 2, plus);

/** Fill the list of members, grouped by kind, and the short cuts. */
export function fillMembers() {
  const kinds = [...new Set(D.kinds)];
  const option = (member) => el("option", { value: String(member), text: D.members[member] });
  const of = (kind) =>
    D.members
      .map((_, member) => member)
      .filter((member) => D.kinds[member] === kind)
      .map(option);
  fill(
    "member",
    ...(kinds.length > 1 ? kinds.map((kind) => el("optgroup", { label: kind }, ...of(kind))) : of(kinds[0])),
  );
  byId("member").addEventListener("change", (event) => choose(Number(event.target.value)));
}

/** Return the member whose saving under the rule lies in the middle. */
export function middleMember() {
  const members = D.members.map((_, member) => member).sort((a, b) => saving(a) - saving(b));
  return members[Math.floor((N - 1) / 2)];
}

function choose(member) {
  document.dispatchEvent(new CustomEvent("member", { detail: member }));
}

/** Show the member's bill under the rule. */
export async function showBill() {
  const { member, rule } = shown;
  byId("member").value = String(member);
  shortCuts();
  facts(member);
  billTable(member, rule);
  across(member);
  await months(member, rule);
}

function shortCuts() {
  const members = D.members.map((_, member) => member).sort((a, b) => saving(b) - saving(a) || a - b);
  const pairs = [
    ["Best-off", members[0]],
    ["In the middle", middleMember()],
    ["Worst-off", members[N - 1]],
  ];
  fill(
    "member-picks",
    ...pairs.map(([text, member]) =>
      el("button", {
        type: "button",
        class: "chip",
        "aria-pressed": String(member === shown.member),
        text,
        onclick: () => choose(member),
      }),
    ),
  );
}

function facts(member) {
  const has = Object.entries(D.facts)
    .filter(([, flags]) => flags[member])
    .map(([name]) => FACTS[name] ?? name);
  const parts = [D.kinds[member], ...has, `consumes ${energy(D.demand[member] * D.kwhPerLot)}`];
  if (D.generation[member]) parts.push(`generates ${energy(D.generation[member] * D.kwhPerLot)}`);
  byId("member-facts").textContent = parts.join(" · ");
}

function billTable(member, rule) {
  const before = D.rules[0],
    after = D.rules[rule];
  const rows = D.lines
    .map((line, i) => ({ line, i, was: before.lines[i][member], now: after.lines[i][member] }))
    .filter(({ was, now }) => was !== 0 || now !== 0);
  const amount = (r, line, value) => figure(cents(value), () => lineDetails(member, r, line));
  const body = rows.map(({ line, was, now }) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", text: line[1] }),
      el("td", {}, amount(0, line, was)),
      el("td", {}, amount(rule, line, now)),
      el("td", { class: change(was - now), text: cents(now - was, true) }),
    ),
  );
  const was = before.cost[member],
    now = after.cost[member];
  fill(
    "bill-table",
    head(["", "before", "after", "change"]),
    el("tbody", {}, ...body),
    el(
      "tfoot",
      {},
      el(
        "tr",
        { class: "sum" },
        el("th", { scope: "row", text: "sum" }),
        el(
          "td",
          {},
          figure(cents(was), () => sumDetails(member, 0)),
        ),
        el(
          "td",
          {},
          figure(cents(now), () => sumDetails(member, rule), { id: "bill-sum" }),
        ),
        el("td", { class: change(was - now), text: cents(now - was, true) }),
      ),
      ...energyRows(member, rule),
    ),
  );
}

const change = (saved) => (saved > 0 ? "gain" : saved < 0 ? "lose" : "");
const head = (texts) =>
  el("thead", {}, el("tr", {}, ...texts.map((text) => (text ? el("th", { scope: "col", text }) : el("td", {})))));

function energyRows(member, rule) {
  const pairs = [
    ["bought from members", "bought"],
    ["bought from the utility", "fromUtility"],
    ["sold to members", "sold"],
    ["sold to the utility", "toUtility"],
  ];
  return pairs
    .filter(([, key]) => D.rules[0][key][member] || D.rules[rule][key][member])
    .map(([text, key]) => {
      const was = D.rules[0][key][member],
        now = D.rules[rule][key][member];
      const kwh = (lots) => `${number(lots * D.kwhPerLot)} kWh`;
      return el(
        "tr",
        { class: "energy" },
        el("th", { scope: "row", text }),
        el("td", { text: kwh(was) }),
        el("td", { text: kwh(now) }),
        el("td", { text: `${now > was ? "+" : ""}${kwh(now - was)}` }),
      );
    });
}

function lineDetails(member, rule, [key, name, formula]) {
  const at = D.lines.findIndex((line) => line[0] === key);
  const r = D.rules[rule];
  const kwh = (lots) => number(lots * D.kwhPerLot, 3);
  const inputs =
    key === "local"
      ? [
          ["bought from members [kWh]", kwh(r.bought[member])],
          ["sold to members [kWh]", kwh(r.sold[member])],
        ]
      : [
          ["bought from the utility [kWh]", kwh(r.fromUtility[member])],
          ["sold to the utility [kWh]", kwh(r.toUtility[member])],
          ...(key === "utility" ? [] : [["bought from members [kWh]", kwh(r.bought[member])]]),
        ];
  return {
    title: `${D.members[member]}: ${name}`,
    value: cents(r.lines[at][member]),
    rule,
    formula,
    inputs,
    note: "Settled in whole units of cash; rounded to cents only here, so that the lines add up to the sum.",
    commands: [explainCommand({ member, rule }), verifyCommand()],
  };
}

function sumDetails(member, rule) {
  const r = D.rules[rule];
  return {
    title: `${D.members[member]}: the bill`,
    value: cents(r.cost[member]),
    rule,
    formula: "sum of the lines",
    inputs: D.lines
      .map(([, name], i) => [name, r.lines[i][member]])
      .filter(([, value]) => value)
      .map(([name, value]) => [name, cents(value)]),
    note: rule
      ? `Without a community the bill is ${cents(D.rules[0].cost[member])}; the member saves ${cents(saving(member, rule))}.`
      : "",
    commands: [explainCommand({ member, rule }), verifyCommand()],
  };
}

function across(member) {
  const least = Math.min(...D.rules.map((rule) => rule.cost[member]));
  fill(
    "across",
    head(["rule", "bill", "saves"]),
    el(
      "tbody",
      {},
      ...D.rules.map((rule, r) =>
        el(
          "tr",
          { class: r === shown.rule ? "chosen" : "" },
          el(
            "th",
            { scope: "row" },
            rule.name,
            rule.cost[member] === least ? el("span", { class: "star", title: "the smallest bill" }, " ★") : null,
          ),
          el(
            "td",
            {},
            figure(cents(rule.cost[member]), () => sumDetails(member, r)),
          ),
          el("td", { class: change(saving(member, r)), text: r ? cents(saving(member, r), true) : "–" }),
        ),
      ),
    ),
  );
}

async function months(member, rule) {
  const count = D.rules[rule].months.length;
  for (const id of ["bill-months-title", "bill-legend", "bill-chart"]) byId(id).hidden = count < 2;
  if (count < 2) return;
  legend("bill-legend", [
    ["utility", `before: ${D.rules[0].name}`],
    ["shared", `after: ${D.rules[rule].name}`],
  ]);
  const [year, month] = D.days[0][0].split("-").map(Number);
  const key = (i) => `${year + Math.floor((month - 1 + i) / 12)}-${((month - 1 + i) % 12) + 1}`;
  const rows = D.rules[rule].months.map((row, i) => ({
    label: monthLabel(key(i), count),
    before: D.rules[0].months[i][member],
    after: row[member],
  }));
  await draw("bill-chart", billMonths(rows), `Monthly bills of ${D.members[member]} before and after`);
}
