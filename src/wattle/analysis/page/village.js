// The village's day and year.

import { byId, clock, el, energy, fill, legend, longDate, number, shortMonth } from "./format.js";
import { D, clockAt, daily, dayRange, hours, intervalOf, localSecond, point, shown, sums } from "./data.js";
import { explainCommand, figure, verifyCommand } from "./explain.js";
import { draw, moveLine } from "./charts.js";
import { RAMP, carpet, dayFlow, dayPrice, monthly, skyline } from "./flows.js";

const FLOWS = [
  ["sun", (D.facts.battery ?? []).some(Boolean) ? "own sun and battery" : "own sun"],
  ["shared", "from neighbours"],
  ["utility", "from the utility"],
  ["sold", "sold to the utility"],
];

/** Days worth a look, found in the run itself. */
export function picks() {
  const days = daily();
  const most = (value) => days.reduce((best, day) => (value(day) > value(best) ? day : best), days[0]).day;
  const found = [
    ["Sunniest day", most((d) => d.sun)],
    ["Most bought", most((d) => d.imported)],
  ];
  if (days.some((d) => d.shared > 0)) found.push(["Most shared", most((d) => d.shared)]);
  return found;
}

/** Go to a day (kept within the run) at the point with the most sharing. */
export function goTo(day) {
  shown.day = Math.max(0, Math.min(D.days.length - 1, day));
  const [first, stop] = dayRange(shown.day);
  shown.moment = first;
  for (let t = first; t < stop; t += 1) if (point(t).shared > point(shown.moment).shared) shown.moment = t;
}

/** Draw the whole run below the headline. */
export async function showSkyline() {
  legend("hero-legend", [
    ["sun", "used at home"],
    ["shared", "shared with neighbours"],
    ["sold", "sold to the utility"],
  ]);
  const parts = ["own", "shared", "exported"];
  const rows = daily().map((row) => ({
    ...row,
    texts: {
      date: longDate(D.days[row.day][0]),
      ...Object.fromEntries(parts.map((part) => [part, energy(row[part])])),
    },
  }));
  const label = `Where the village's sun went each day under ${D.rules[shown.rule].name}`;
  await draw("hero-chart", skyline(rows), label, (datum) => datum.next && visit(datum.day));
}

function visit(day) {
  show(day);
  byId("day").scrollIntoView({ behavior: "smooth" });
}

/** Draw the day shown. */
export async function showDay() {
  const [first, stop] = dayRange(shown.day);
  const date = D.days[shown.day][0];
  byId("day-date").value = date;
  byId("day-back").disabled = shown.day === 0;
  byId("day-next").disabled = shown.day === D.days.length - 1;
  byId("day-title").textContent = `${longDate(date)}, ${D.rules[shown.rule].name}`;
  fill(
    "day-picks",
    ...picks().map(([text, day]) =>
      el("button", {
        type: "button",
        class: "chip",
        "aria-pressed": String(day === shown.day),
        text,
        onclick: () => show(day),
      }),
    ),
  );
  legend("day-legend", [...FLOWS, ["line-sun", "all sun of the village"], ["line-price", "local price"]]);
  const points = [];
  for (let t = first; t < stop; t += 1) {
    const p = point(t);
    const kw = Object.fromEntries(
      ["load", "sun", "own", "shared", "imported", "exported"].map((key) => [`${key}Kw`, p[key] / hours]),
    );
    points.push({
      t,
      x: (t - first) * hours,
      stop: (t - first + 1) * hours,
      clock: clockAt(t),
      until: clock(localSecond(t) + hours * 3600),
      ...p,
      ...kw,
    });
  }
  byId("moment").max = String(stop - first - 1);
  showMoment();
  const total = sums(first, stop);
  const label = `${longDate(date)}: consumption ${energy(total.load)}, sun ${energy(total.sun)}, shared ${energy(total.shared)}, bought ${energy(total.imported)}, sold ${energy(total.exported)}`;
  const choose = (datum) => {
    if (datum.t !== undefined) {
      shown.moment = datum.t;
      showMoment();
    }
  };
  await draw("day-chart", dayFlow(points, lineAt()), label, choose);
  await draw("price-chart", dayPrice(points, lineAt()), `Local price in ct/kWh on ${longDate(date)}`, choose);
}

const lineAt = () => (shown.moment - dayRange(shown.day)[0] + 0.5) * hours;

const MOMENT = [
  ["load", "consumption"],
  ["sun", "sun"],
  ["shared", "from neighbours"],
  ["imported", "from the utility"],
  ["exported", "to the utility"],
];

/** Show the figures of the moment chosen in the day. */
export function showMoment() {
  const [first] = dayRange(shown.day);
  const p = point(shown.moment);
  byId("check-explain").textContent = explainCommand();
  byId("moment").value = String(shown.moment - first);
  byId("moment").setAttribute("aria-valuetext", clockAt(shown.moment));
  const when = `${clockAt(shown.moment)}–${clock(localSecond(shown.moment) + hours * 3600)}`;
  const figures = MOMENT.map(([key, text]) =>
    el(
      "span",
      {},
      figure(energy(p[key]), () => momentDetails(key, text, when, p)),
      ` ${text}`,
    ),
  );
  const price = el(
    "span",
    {},
    figure(p.price === null ? "–" : `${number(p.price, 2)} ct/kWh`, () =>
      momentDetails("price", "local price", when, p),
    ),
    " local price",
  );
  moveLine("day-chart", lineAt());
  moveLine("price-chart", lineAt());
  fill("readout", el("b", { text: when }), ...figures, price);
}

const MOMENT_FORMULAS = {
  load: "sum over members of consumption behind and at the meter",
  sun: "sum over members of own generation",
  shared: "energy that members buy less from the utility than without a community",
  imported: "sum over members of (drawn from the grid - bought from members)",
  exported: "sum over members of (fed into the grid - sold to members)",
  price: "energy-weighted mean of what buyers pay for local energy",
};

function momentDetails(key, label, when, p) {
  const unit = key === "price" ? "ct/kWh" : "kWh";
  const value = p[key] === null ? "nothing was shared" : `${number(p[key], 3)} ${unit}`;
  return {
    title: `${label[0].toUpperCase()}${label.slice(1)}, ${when}`,
    value,
    rule: shown.rule,
    formula: MOMENT_FORMULAS[key],
    inputs: [
      ["day", longDate(D.days[shown.day][0])],
      ["interval", number(intervalOf(shown.moment))],
      ...MOMENT.map(([k, text]) => [`${text} [kWh]`, number(p[k], 3)]),
      ["retail price [ct/kWh]", number(p.retail, 2)],
      ["feed-in price [ct/kWh]", number(p.feedIn, 2)],
    ],
    note: D.series.group > 1 ? `The page shows sums of ${D.series.group} intervals; the run holds each of them.` : "",
    commands: [explainCommand(), verifyCommand()],
  };
}

const MEASURES = {
  shared: ["Shared", "Energy shared between members", "kW"],
  imported: ["Bought", "Bought from the utility", "kW"],
  exported: ["Sold", "Sold to the utility", "kW"],
  price: ["Price", "Local price", "ct/kWh"],
};

/** Draw the year of the measure chosen. */
export async function showYear() {
  const [, title, unit] = MEASURES[shown.measure];
  fill(
    "measures",
    ...Object.entries(MEASURES).map(([key, [text]]) =>
      el("button", {
        type: "button",
        "aria-pressed": String(key === shown.measure),
        text,
        onclick: () => {
          shown.measure = key;
          showYear();
        },
      }),
    ),
  );
  byId("year-title").textContent = `${title}, ${D.rules[shown.rule].name}`;
  const cells = hourly(shown.measure);
  const values = cells.map((c) => c.value);
  const top = niceTop(values.length ? Math.max(...values) : 0);
  const bottom = shown.measure === "price" ? Math.floor(Math.min(top, ...values)) : 0;
  const text = (value) => `${number(value, unit === "kW" ? 1 : 2)} ${unit}`;
  ramp(bottom, top, unit, values.length > 0);
  await draw(
    "year-chart",
    carpet(cells, [bottom, top], text),
    `${title} by day and hour, up to ${number(top, 1)} ${unit}`,
    (datum) => {
      if (datum.day !== undefined) visit(datum.day);
    },
  );
}

function hourly(measure) {
  const cells = [];
  D.days.forEach((_, day) => {
    const sum = new Float64Array(24),
      weight = new Float64Array(24);
    const [first, stop] = dayRange(day);
    for (let t = first; t < stop; t += 1) {
      const p = point(t);
      const hour = Math.floor((((localSecond(t) % 86400) + 86400) % 86400) / 3600);
      const share = measure === "price" ? p.shared : hours;
      if (share <= 0) continue;
      sum[hour] += measure === "price" ? p.price * share : p[measure];
      weight[hour] += share;
    }
    sum.forEach((value, hour) => {
      if (weight[hour] > 0 && value > 0) cells.push({ day, hour, value: value / weight[hour] });
    });
  });
  return cells;
}

function niceTop(value) {
  if (value <= 0) return 1;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * size >= value) * size;
}

function ramp(bottom, top, unit, any) {
  fill(
    "ramp",
    ...(any
      ? [
          el("span", { text: `${number(bottom)} ${unit}` }),
          ...RAMP.map((_, i) => el("i", { class: `heat-${i + 1}` })),
          el("span", { text: `${number(top)} ${unit}` }),
          el("span", { class: "quiet", text: "blank: none" }),
        ]
      : [el("span", { text: "Nothing was shared under this rule." })]),
  );
}

/** Draw energy by month; hidden for runs within one month. */
export async function showMonths() {
  const months = new Map();
  for (const row of daily()) {
    const key = D.days[row.day][0].slice(0, 7);
    const sum = months.get(key) ?? { own: 0, shared: 0, imported: 0, exported: 0 };
    for (const part of Object.keys(sum)) sum[part] += row[part];
    months.set(key, sum);
  }
  byId("months-card").hidden = months.size < 2;
  if (months.size < 2) return;
  legend("months-legend", FLOWS);
  const rows = [...months].map(([key, sum]) => ({
    label: monthLabel(key, months.size),
    ...sum,
    texts: Object.fromEntries(Object.entries(sum).map(([part, kwh]) => [part, energy(kwh)])),
  }));
  await draw("months-chart", monthly(rows), "Energy by month and where it came from");
}

/** Return "Jun", or "Jun 16" where a run covers more than a year. */
export function monthLabel(key, count) {
  const [year, month] = key.split("-").map(Number);
  return count > 12 ? `${shortMonth(month - 1)} ${String(year).slice(2)}` : shortMonth(month - 1);
}

function show(day) {
  goTo(day);
  showDay();
}

/** Listen to the tools of the day. */
export function listen() {
  byId("day-back").addEventListener("click", () => show(shown.day - 1));
  byId("day-next").addEventListener("click", () => show(shown.day + 1));
  const date = byId("day-date");
  date.min = D.days[0][0];
  date.max = D.days[D.days.length - 1][0];
  date.addEventListener("change", () => {
    const day = D.days.findIndex(([iso]) => iso === date.value);
    if (day >= 0) show(day);
    else date.value = D.days[shown.day][0];
  });
  byId("moment").addEventListener("input", (event) => {
    shown.moment = dayRange(shown.day)[0] + Number(event.target.value);
    showMoment();
  });
}
