// What is gained in all against how evenly it is shared: one point per rule, and the line of those that are not beaten.

import { byId, el, fill, legend, money, number } from "./format.js";
import { D, index, shown } from "./data.js";
import { draw, tooltips } from "./charts.js";

const FAIRNESS = {
  jain: "Jain",
  min_max: "Min–max",
  equality: "Gini",
  quality_of_experience: "Alike prices",
  meritocratic: "Merit",
};

const WORTH = "social_welfare";
const HEIGHT = 300; // CSS pixels

/** Draw the picture for the kind of fairness chosen. */
export async function showPareto() {
  const key = shown.fairness;
  const found = rulePoints(key);
  byId("pareto-card").hidden = D.rules.length < 3 || !Object.keys(FAIRNESS).some((name) => rulePoints(name).length);
  if (byId("pareto-card").hidden) return;
  const [label] = D.catalogue[key];
  fill(
    "fairness",
    ...Object.entries(FAIRNESS).map(([name, text]) =>
      el("button", {
        type: "button",
        "aria-pressed": String(name === key),
        "data-fairness": name,
        text,
        onclick: () => {
          shown.fairness = name;
          showPareto();
        },
      }),
    ),
  );
  const best = D.pareto[key];
  legend("pareto-legend", [
    ["shared", "not beaten: more of one means less of the other"],
    ["utility", "another rule is better in one and no worse in the other"],
  ]);
  const text = best.length
    ? `No rule both brings more and shares it more fairly than ${inWords(best.map((rule) => D.rules[rule].name))}. `
    : "No rule has both values here. ";
  byId("pareto-text").textContent = `${text}Measure of fairness: ${label}.`;
  byId("pareto-chart").hidden = !found.length;
  if (found.length) await draw("pareto-chart", scatter(found, label), `Welfare and ${label} of ${D.rules.length - 1} rules`, pickRule);
}

const inWords = (names) =>
  names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;

function rulePoints(key) {
  const best = new Set(D.pareto[key]);
  const found = D.rules
    .map((rule, i) => ({ rule: i, name: rule.name, x: index(i, WORTH).value, y: index(i, key).value }))
    .filter((point) => point.rule > 0 && point.x !== null && point.y !== null)
    .map((point) => ({ ...point, front: best.has(point.rule) }));
  // Rules close to each other share a label; it names the first and counts the others.
  const widest = Math.max(...found.map((point) => Math.abs(point.x)), 1);
  const places = new Map();
  for (const point of found) {
    const place = `${Math.round((8 * point.x) / widest)} ${Math.round(11 * point.y)}`;
    places.set(place, [...(places.get(place) ?? []), point]);
  }
  const boxes = [];
  const groups = [...places.values()].map((here) => here.sort((a, b) => b.front - a.front || a.rule - b.rule));
  for (const here of groups.sort((a, b) => b[0].front - a[0].front || b.length - a.length)) {
    const [first] = here;
    const others = here.length - 1;
    const text = `${first.name}${others ? ` + ${others}` : ""}`;
    first.left = first.x > widest / 2;
    const box = labelBox(first, text, widest);
    if (boxes.some((other) => overlap(box, other))) continue;
    boxes.push(box);
    first.label = text;
  }
  found.sort((a, b) => a.front - b.front); // what is drawn last lies on top
  return found.map((point) => ({
    ...point,
    worth: money(point.x, D.sign),
    fair: number(point.y, 2),
    where: point.front ? "not beaten" : "beaten by another rule",
  }));
}

/** Where a label would stand, in pixels of the chart, near enough to keep labels off each other. */
function labelBox(point, text, widest) {
  const wide = (byId("pareto-chart").clientWidth - 60) * 0.92;
  const at = (point.x / widest) * wide;
  const long = 6.6 * text.length + 9;
  return { from: point.left ? at - long : at, to: point.left ? at : at + long, y: HEIGHT * (1 - point.y) };
}

const overlap = (a, b) => a.from < b.to && b.from < a.to && Math.abs(a.y - b.y) < 15;

function scatter(values, label) {
  const x = {
    field: "x",
    type: "quantitative",
    title: `${D.sign.trim()} of welfare ${D.period}: saved, or passed on in charges`,
    axis: { format: ",~f", grid: true, tickCount: 6 },
    scale: { nice: true, zero: true },
  };
  const y = { field: "y", type: "quantitative", title: label, scale: { nice: true, zero: true } };
  const named = (left) => ({
    transform: [{ filter: `datum.label && ${left ? "" : "!"}datum.left` }],
    mark: {
      type: "text",
      align: left ? "right" : "left",
      dx: left ? -9 : 9,
      dy: -8,
      fontSize: 12,
      color: "var(--ink)",
    },
    encoding: { x, y, text: { field: "label" } },
  });
  return {
    height: HEIGHT,
    data: { values },
    layer: [
      ...(values.filter((point) => point.front).length < 2 ? [] : [{
        transform: [{ filter: "datum.front" }],
        mark: { type: "line", color: "var(--shared)", strokeWidth: 1.5, interpolate: "step-before", strokeDash: [4, 3] },
        encoding: { x, y, order: { field: "x" } },
      }]),
      {
        mark: { type: "point", filled: true, size: 90, opacity: 0.9, cursor: "pointer" },
        encoding: {
          x,
          y,
          color: {
            field: "front",
            type: "nominal",
            legend: null,
            scale: { domain: [true, false], range: ["var(--shared)", "var(--utility)"] },
          },
          tooltip: tooltips(["name", "rule"], ["worth", "welfare"], ["fair", label], ["where", "place"]),
        },
      },
      ...[true, false].filter((left) => values.some((point) => point.label && point.left === left)).map(named),
    ],
  };
}

function pickRule(datum) {
  if (datum.rule !== undefined) document.dispatchEvent(new CustomEvent("rule", { detail: datum.rule }));
}
