// What the page was told: the values of `pagedata.py` and the packed series of `series.py`.

import { byId, clock } from "./format.js";

export const D = JSON.parse(byId("data").textContent);
export const N = D.members.length;

/** What is shown just now. `moment` is an interval of the page, counted from the start of the run. */
export const shown = { rule: D.first, member: 0, day: 0, moment: 0, measure: "shared", fairness: "jain" };

export const hours = (D.step * D.series.group) / 3600;
const columns = [];

/** Undo `series.py`: inflate, put the four bytes of each number together, add up the differences. */
export async function unpackSeries() {
  const bytes = Uint8Array.from(atob(byId("series").textContent), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const flat = new Uint8Array(await new Response(stream).arrayBuffer());
  const { length, scales } = D.series;
  for (let c = 0; c < scales.length; c += 1) {
    const at = c * 4 * length;
    const column = new Float64Array(length);
    let value = 0;
    for (let t = 0; t < length; t += 1) {
      const coded =
        flat[at + t] |
        (flat[at + length + t] << 8) |
        (flat[at + 2 * length + t] << 16) |
        (flat[at + 3 * length + t] << 24);
      value += (coded >>> 1) ^ -(coded & 1);
      column[t] = value * scales[c];
    }
    columns.push(column);
  }
}

const common = (name) => columns[D.series.common[name]];

/** Energy in kWh and prices in ct/kWh at one point for one rule; a price of null: nothing was shared. */
export function point(t, rule = shown.rule) {
  const at = D.series.rules[rule];
  const k = D.kwhPerLot;
  const shared = columns[at.shared][t];
  const imported = columns[at.imported][t] - shared + common("imported")[t];
  const price = columns[at.price][t];
  return {
    load: common("load")[t] * k,
    sun: common("sun")[t] * k,
    shared: shared * k,
    imported: imported * k,
    exported: (columns[at.exported][t] - shared + common("exported")[t]) * k,
    own: Math.max(0, (common("load")[t] - imported - shared) * k),
    price: price < 0 ? null : price * D.ctPerTick,
    retail: common("retail")[t] * D.ctPerTick,
    feedIn: common("feed_in")[t] * D.ctPerTick,
  };
}

/** First point of a day, and the first one after it. */
export function dayRange(day) {
  const first = Math.floor(D.days[day][1] / D.series.group);
  const next = day + 1 < D.days.length ? Math.floor(D.days[day + 1][1] / D.series.group) : D.series.length;
  return [first, next];
}

/** Local time of a point in seconds, as if UTC. */
export function localSecond(t) {
  const interval = t * D.series.group;
  let ahead = D.offsets[0][1];
  for (const [first, offset] of D.offsets) if (first <= interval) ahead = offset;
  return D.start + interval * D.step + ahead;
}

/** Clock time at which a point begins. */
export const clockAt = (t) => clock(localSecond(t));

/** Sums of a range of points in kWh; `paid` is the money for local energy in ct. */
export function sums(first, stop, rule = shown.rule) {
  const total = { load: 0, sun: 0, shared: 0, imported: 0, exported: 0, own: 0, paid: 0 };
  for (let t = first; t < stop; t += 1) {
    const p = point(t, rule);
    for (const key of ["load", "sun", "shared", "imported", "exported", "own"]) total[key] += p[key];
    if (p.price !== null) total.paid += p.price * p.shared;
  }
  return total;
}

/** Daily sums of the rule shown, made once per rule. */
const kept = new Map();
export function daily(rule = shown.rule) {
  if (!kept.has(rule))
    kept.set(
      rule,
      D.days.map((_, day) => ({ day, ...sums(...dayRange(day), rule) })),
    );
  return kept.get(rule);
}

/** The interval of the run that a point stands for. */
export const intervalOf = (t) => t * D.series.group;

/** Index of a rule: value (or null), inputs, note, and the words of the catalogue. */
export function index(rule, key) {
  const [value, inputs, note] = D.rules[rule].indices[key];
  const [label, unit, formula, source] = D.catalogue[key];
  return { key, value, inputs, note, label, unit, formula, source };
}

/** What a member saves under a rule, in cents. */
export const saving = (member, rule = shown.rule) => D.rules[0].cost[member] - D.rules[rule].cost[member];
