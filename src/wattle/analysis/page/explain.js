// The explanation of a figure: what it is, how it came about, and the commands that check it.

import { byId, el, money, number, plain } from "./format.js";
import { D, index, intervalOf, shown } from "./data.js";

let opener = null;

/** Return a figure that can be clicked: a button that opens its explanation. */
export function figure(text, details, set = {}) {
  return el("button", {
    type: "button",
    ...set,
    class: `figure ${set.class ?? ""}`.trim(),
    text,
    onclick: (event) => openPanel(event.currentTarget, details()),
  });
}

/** Return the text of an index, with its unit unless the column's head already has it. */
export function indexText(found, digits, unit = true) {
  if (found.value === null) return "–";
  if (found.key === "closing_error") return found.value === 0 ? "0" : number(found.value);
  if (found.unit === D.currency) return money(found.value, D.sign, digits);
  return number(found.value, digits) + (unit && found.unit ? (found.unit === "%" ? " %" : ` ${found.unit}`) : "");
}

/** Return what the panel says about an index of a rule. */
export function indexDetails(rule, key) {
  const found = index(rule, key);
  const exactly = key === "closing_error" && found.value === 0;
  const digits =
    { "%": 2, kW: 2, kWh: 1, "ct/kWh": 3, [D.currency]: 2 }[found.unit] ?? (Number.isInteger(found.value) ? 0 : 4);
  return {
    title: found.label,
    value: exactly ? "0 (closes exactly)" : found.value === null ? "no value" : indexText(found, digits),
    rule,
    formula: found.formula,
    letters: lettersOf(found.formula),
    inputs: Object.entries(found.inputs).map(([name, value]) => [name, value === null ? "–" : plain(value)]),
    note: found.note,
    source: found.source,
    commands: [verifyCommand(), explainCommand({ rule })],
  };
}

/** Return what the letters of a formula stand for. */
function lettersOf(formula) {
  const used = new Set(formula.match(/[A-Za-z]_[a-z]+|\b[A-Za-z]\b/g) ?? []);
  return Object.entries(D.letters)
    .filter(([letter]) => used.has(letter))
    .map(([letter, text]) => `${letter}: ${text}`)
    .join("; ");
}

/** Return the command that explains one member's quarter-hour. */
export function explainCommand({ member = shown.member, rule = shown.rule } = {}) {
  const what = `--member ${quoted(D.members[member])} --interval ${intervalOf(shown.moment)} --rule ${quoted(D.rules[rule].name)}`;
  return `wattle explain ${quoted(D.run)} ${what}`;
}

/** Return the command that checks the whole run. */
export const verifyCommand = () => `wattle verify ${quoted(D.run)}`;

function quoted(name) {
  return /^[\w./-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
}

/** Open the panel beside the page (below it on a phone). */
export function openPanel(button, details) {
  closePanel(false);
  opener = button;
  opener.classList.add("open");
  const panel = byId("explain");
  const rule = details.rule === undefined ? null : D.rules[details.rule];
  panel.replaceChildren(
    ...[
      el("button", {
        type: "button",
        class: "close",
        "aria-label": "Close the explanation",
        text: "×",
        onclick: () => closePanel(),
      }),
      el("h2", { id: "explain-title", text: details.title }),
      el("p", { class: "big", text: details.value }),
      part("How it is computed", el("p", { class: "formula", text: details.formula }), where(details.letters)),
      details.inputs?.length ? part("What went in", inputs(details.inputs)) : null,
      details.note ? part("To know", el("p", { text: details.note })) : null,
      rule ? part("The rule", el("p", {}, el("b", { text: rule.name }), ` – ${rule.summary}`), parameters(rule)) : null,
      details.source ? part("Source", el("p", { text: details.source })) : null,
      details.commands ? part("Check it", ...details.commands.map((text) => el("code", { text }))) : null,
    ].filter((child) => child !== null),
  );
  panel.hidden = false;
  document.body.classList.add("explaining");
  panel.focus({ preventScroll: true });
}

function where(letters) {
  return letters ? el("p", { class: "where", text: letters }) : null;
}

function part(title, ...content) {
  return el("section", {}, el("h3", { text: title }), ...content);
}

function inputs(pairs) {
  return el("dl", {}, ...pairs.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]));
}

function parameters(rule) {
  const pairs = Object.entries(rule.parameters);
  return pairs.length ? inputs(pairs) : null;
}

/** Close the panel and give the focus back to the figure that opened it. */
export function closePanel(refocus = true) {
  const panel = byId("explain");
  if (panel.hidden) return;
  panel.hidden = true;
  document.body.classList.remove("explaining");
  opener?.classList.remove("open");
  if (refocus && opener?.isConnected) opener.focus({ preventScroll: true });
  opener = null;
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closePanel();
});
