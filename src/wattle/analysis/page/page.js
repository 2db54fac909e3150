// Start: fill what never changes, then draw what depends on the rule, the day and the member shown.

import { byId, el, fill, number } from "./format.js";
import { D, N, shown, unpackSeries } from "./data.js";
import { closePanel, explainCommand, verifyCommand } from "./explain.js";
import { showAll, showGains, showSummary, showTable } from "./compare.js";
import { showPareto } from "./pareto.js";
import { goTo, listen, picks, showDay, showMonths, showSkyline, showYear } from "./village.js";
import { fillMembers, middleMember, showBill } from "./bill.js";

const WORDS = [
  ["Self-sufficiency", "the part of consumption that was not bought from the utility"],
  ["Self-consumption", "the part of the sun’s energy that was not sold to the utility"],
  ["Local price", "what a kilowatt-hour from a neighbour cost, on average"],
  ["Median member", "half of the members save more, half save less"],
  ["Worst-off", "the member who saves least; below zero: that member pays more than alone"],
  ["Jain", "how evenly the savings are spread: 1 is the same for everyone; a few who get all come close to 0"],
  ["Min–max", "the smallest saving divided by the largest"],
  ["Peak", "the largest power bought from or sold to the utility, all members together"],
  ["Closing error", "energy bought less energy sold, and the sum of all accounts; whole numbers, and they must be 0"],
];

function fillFixed() {
  const withSun = (D.facts.sun ?? []).filter(Boolean).length;
  const sun = withSun ? `, ${withSun} of them with own sun` : "";
  byId("size").textContent =
    `${number(N)} members${sun}; ${number(D.count)} intervals over ${number(D.days.length)} days; ${D.rules.length} rules.`;
  if (D.days.length < 300) byId("h-year").textContent = "All days";
  byId("reference-name").textContent = D.rules[0].name;
  for (const node of document.querySelectorAll(".of-reference")) node.textContent = D.rules[0].name;
  fill("rule", ...D.rules.map((rule, i) => el("option", { value: String(i), text: rule.name })));
  byId("rule").addEventListener("change", (event) => chooseRule(Number(event.target.value)));
  fill("notes-list", ...D.notes.map((text) => el("li", { text })));
  fill("rule-list", ...D.rules.flatMap((rule) => [el("dt", { text: rule.name }), el("dd", { text: rule.summary })]));
  fill("words", ...WORDS.flatMap(([word, text]) => [el("dt", { text: word }), el("dd", { text })]));
  const errors = D.rules.every((rule) => rule.errors.every((error) => error === 0));
  fill(
    "check",
    el("p", {
      text: errors
        ? `Energy and money are counted in whole units from end to end. Under each of the ${D.rules.length} rules both books close: the closing error is 0.`
        : "At least one book does not close: see the column “closing error”.",
    }),
    el("p", { text: "Recompute the run, its hash chain and its sums:" }),
    el("code", { text: verifyCommand() }),
    el("p", { text: "See how one member’s quarter-hour came about:" }),
    el("code", { id: "check-explain" }),
    el("p", { text: "The state of each rule’s books, as a fingerprint:" }),
    el(
      "dl",
      { class: "hashes" },
      ...D.rules.flatMap((rule) => [el("dt", { text: rule.name }), el("dd", { text: rule.hash.slice(0, 16) })]),
    ),
  );
}

async function showRule() {
  byId("rule").value = String(shown.rule);
  showSummary();
  showTable();
  await showSkyline();
  await showPareto();
  await showGains();
  await showDay();
  await showYear();
  await showMonths();
  await showMember();
}

/** Do some work; `<html data-ready>` says "no" meanwhile. */
async function during(work) {
  const root = document.documentElement;
  root.dataset.ready = "no";
  await work();
  root.dataset.ready = "yes";
}

async function showMember() {
  byId("check-explain").textContent = explainCommand();
  await showBill();
}

function chooseRule(rule) {
  shown.rule = rule;
  closePanel(false);
  return during(showRule);
}

async function start() {
  await unpackSeries();
  fillFixed();
  fillMembers();
  listen();
  document.addEventListener("rule", (event) => chooseRule(event.detail));
  document.addEventListener("member", (event) => {
    shown.member = event.detail;
    during(showMember);
  });
  byId("all").addEventListener("toggle", showAll, { once: true });
  shown.member = middleMember();
  goTo(picks().at(-1)[1]);
  await during(showRule);
}

start();
