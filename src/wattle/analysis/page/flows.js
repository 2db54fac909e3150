// What is drawn of energy and prices: days, months and the whole run.

import { clock, longDate, number, shortMonth } from "./format.js";
import { D } from "./data.js";
import { ZERO, tooltips } from "./charts.js";

const LINE = {
  data: { values: [{}] },
  mark: { type: "rule", color: "var(--ink)", strokeWidth: 1, strokeDash: [2, 2] },
  encoding: { x: { datum: { expr: "at" }, type: "quantitative" } },
};

const PARTS = ["own", "shared", "imported", "exported"];
const COLOURS = { domain: PARTS, range: ["var(--sun)", "var(--shared)", "var(--utility)", "var(--sold)"] };

function hourAxis(points) {
  const labels = {};
  for (const p of points) if (Number.isInteger(p.x) && p.x % 3 === 0) labels[p.x] = p.clock;
  const end = Math.round(points[points.length - 1].stop);
  labels[end] = end % 3 === 0 ? "24:00" : "";
  return {
    values: Object.keys(labels).map(Number),
    labelExpr: `${JSON.stringify(labels)}[datum.value]`,
    title: null,
    labelFlush: true,
  };
}

const flow = (p) => ({
  clock: `${p.clock}–${p.until}`,
  load: `${number(p.loadKw, 1)} kW`,
  sun: `${number(p.sunKw, 1)} kW`,
  shared: `${number(p.sharedKw, 1)} kW`,
  bought: `${number(p.importedKw, 1)} kW`,
  sold: `${number(p.exportedKw, 1)} kW`,
  price: p.price === null ? "–" : `${number(p.price, 2)} ct/kWh`,
});
const FLOW_TIPS = tooltips(
  ["clock", "time"],
  ["load", "consumption"],
  ["sun", "sun"],
  ["shared", "from neighbours"],
  ["bought", "from the utility"],
  ["sold", "to the utility"],
  ["price", "local price"],
);

/** Where a day's electricity came from, in kW; what is sold to the utility hangs below the line. */
export function dayFlow(points, at) {
  const values = [];
  for (const p of points) {
    PARTS.forEach((part, place) => {
      const kw = part === "exported" ? -p.exportedKw : p[`${part}Kw`];
      values.push(
        { x: p.x, part, place, kw },
        ...(p === points[points.length - 1] ? [{ x: p.stop, part, place, kw }] : []),
      );
    });
  }
  const x = {
    field: "x",
    type: "quantitative",
    axis: hourAxis(points),
    scale: { domain: [0, points[points.length - 1].stop], nice: false },
  };
  const y = { field: "kw", type: "quantitative", title: "kW" };
  return {
    height: 270,
    params: [{ name: "at", value: at }],
    layer: [
      {
        data: { values },
        mark: { type: "area", interpolate: "step-after", opacity: 0.92 },
        encoding: {
          x,
          y: { ...y, stack: "zero" },
          order: { field: "place" },
          color: { field: "part", type: "nominal", scale: COLOURS, legend: null },
        },
      },
      {
        data: { values: points.map((p) => ({ x: p.x, kw: p.sunKw })) },
        mark: { type: "line", interpolate: "step-after", color: "var(--sun-ink)", strokeWidth: 1.8 },
        encoding: { x, y },
      },
      { ...ZERO, encoding: { y: { datum: 0 } } },
      LINE,
      {
        data: { values: points.map((p) => ({ x: p.x, stop: p.stop, t: p.t, ...flow(p) })) },
        mark: { type: "rect", opacity: 0, cursor: "crosshair" },
        encoding: { x: { ...x, title: null }, x2: { field: "stop" }, tooltip: FLOW_TIPS },
      },
    ],
  };
}

/** The local price of a day between feed-in and retail, in ct/kWh. */
export function dayPrice(points, at) {
  const x = {
    field: "x",
    type: "quantitative",
    axis: hourAxis(points),
    scale: { domain: [0, points[points.length - 1].stop], nice: false },
  };
  const last = points[points.length - 1];
  const closed = [...points, { ...last, x: last.stop }];
  const tariffs = closed.flatMap((p) => [
    { x: p.x, kind: "retail", ct: p.retail },
    { x: p.x, kind: "feed-in", ct: p.feedIn },
  ]);
  const local = {
    data: { values: closed.map((p) => ({ x: p.x, ct: p.price })) },
    mark: {
      type: "line",
      interpolate: "step-after",
      strokeWidth: 2.4,
      color: "var(--shared)",
      invalid: "break-paths-show-path-domains",
    },
    encoding: { x, y: { field: "ct", type: "quantitative" } },
  };
  const ends = [
    { kind: "retail price", ct: last.retail },
    { kind: "feed-in price", ct: last.feedIn },
  ];
  return {
    height: 110,
    params: [{ name: "at", value: at }],
    layer: [
      {
        data: { values: tariffs },
        mark: { type: "line", interpolate: "step-after", strokeDash: [3, 3], strokeWidth: 1.2, color: "var(--muted)" },
        encoding: {
          x,
          y: {
            field: "ct",
            type: "quantitative",
            title: "ct/kWh for local energy",
            axis: { tickCount: 3 },
            scale: { zero: true },
          },
          detail: { field: "kind" },
        },
      },
      ...(points.some((p) => p.price !== null) ? [local] : []),
      {
        data: { values: ends },
        mark: { type: "text", align: "right", dy: -7, color: "var(--muted)", fontSize: 11.5 },
        encoding: { x: { datum: last.stop }, y: { field: "ct", type: "quantitative" }, text: { field: "kind" } },
      },
      LINE,
      {
        data: { values: points.map((p) => ({ x: p.x, stop: p.stop, t: p.t, ...flow(p) })) },
        mark: { type: "rect", opacity: 0, cursor: "crosshair" },
        encoding: { x: { ...x, title: null }, x2: { field: "stop" }, tooltip: FLOW_TIPS },
      },
    ],
  };
}

/** The whole run, day by day, in kWh: where the village's own sun went. */
export function skyline(rows) {
  const parts = PARTS.filter((part) => part !== "imported");
  const end = { ...rows[rows.length - 1], day: rows.length }; // the last day is as wide as the others
  const values = [...rows, end].flatMap((row) =>
    parts.map((part, place) => ({ day: row.day, part, place, kwh: row[part] })),
  );
  const tips = rows.map((row) => ({ day: row.day, next: row.day + 1, ...row.texts }));
  const x = {
    field: "day",
    type: "quantitative",
    title: null,
    scale: { domain: [0, rows.length], nice: false },
    axis: { ...dayTicks(), domain: false, ticks: false, labelAlign: "left", labelFlush: false },
  };
  return {
    height: 130,
    layer: [
      {
        data: { values },
        mark: { type: "area", interpolate: rows.length > 62 ? "linear" : "step-after" },
        encoding: {
          x,
          y: { field: "kwh", type: "quantitative", stack: "zero", axis: null },
          order: { field: "place" },
          color: { field: "part", type: "nominal", scale: COLOURS, legend: null },
        },
      },
      { ...ZERO, encoding: { y: { datum: 0 } } },
      {
        data: { values: tips },
        mark: { type: "rect", opacity: 0, cursor: "pointer" },
        encoding: {
          x,
          x2: { field: "next" },
          tooltip: tooltips(
            ["date", "day"],
            ["own", "used at home"],
            ["shared", "shared with neighbours"],
            ["exported", "sold to the utility"],
          ),
        },
      },
    ],
  };
}

/** Ticks of an axis of days: months in a long run, days in a short one. */
function dayTicks() {
  const ticks = {};
  D.days.forEach(([date], day) => {
    const [, month, dayOfMonth] = date.split("-").map(Number);
    if (D.days.length > 62) {
      if (dayOfMonth === 1) ticks[day] = shortMonth(month - 1);
    } else if (D.days.length <= 10 || dayOfMonth % 5 === 1) {
      ticks[day] = `${dayOfMonth} ${shortMonth(month - 1)}`;
    }
  });
  return { values: Object.keys(ticks).map(Number), labelExpr: `${JSON.stringify(ticks)}[datum.value]`, labelAngle: 0 };
}

/** A year as a carpet: a column per day, a row per hour. */
export function carpet(cells, domain, text) {
  return {
    height: 240,
    data: {
      values: cells.map((c) => ({
        ...c,
        date: longDate(D.days[c.day][0]),
        time: `${clock(c.hour * 3600)}–${clock(c.hour * 3600 + 3600)}`,
        text: text(c.value),
      })),
    },
    mark: { type: "rect", cursor: "pointer" },
    encoding: {
      x: {
        field: "day",
        type: "ordinal",
        scale: { domain: D.days.map((_, day) => day), paddingInner: 0, paddingOuter: 0 },
        axis: { ...dayTicks(), labelAlign: "left", title: null, ticks: true, tickBand: "extent" },
      },
      y: {
        field: "hour",
        type: "ordinal",
        scale: { domain: [...Array(24).keys()].reverse(), paddingInner: 0, paddingOuter: 0 },
        axis: {
          values: [0, 6, 12, 18],
          labelExpr: "{'0':'00:00','6':'06:00','12':'12:00','18':'18:00'}[datum.value]",
          title: null,
          labelBaseline: "bottom",
        },
      },
      color: { field: "value", type: "quantitative", legend: null, scale: { type: "quantize", domain, range: RAMP } },
      tooltip: tooltips(["date", "day"], ["time", "hour"], ["text", "value"]),
    },
  };
}

export const RAMP = [1, 2, 3, 4, 5, 6, 7].map((step) => `var(--heat-${step})`);

/** Energy by month in MWh: where it came from, and what was sold. */
export function monthly(rows) {
  const values = rows.flatMap((row) =>
    PARTS.map((part, place) => ({
      month: row.label,
      part,
      place,
      mwh: ((part === "exported" ? -1 : 1) * row[part]) / 1000,
      ...row.texts,
    })),
  );
  return {
    height: 230,
    data: { values },
    layer: [
      {
        mark: { type: "bar", width: { band: 0.72 } },
        encoding: {
          x: {
            field: "month",
            type: "ordinal",
            sort: null,
            axis: { title: null, labelAngle: 0, ticks: false, domain: false, labelOverlap: true },
          },
          y: { field: "mwh", type: "quantitative", title: "MWh", stack: "zero" },
          order: { field: "place" },
          color: { field: "part", type: "nominal", scale: COLOURS, legend: null },
          tooltip: tooltips(
            ["month", "month"],
            ["own", "own sun"],
            ["shared", "from neighbours"],
            ["imported", "from the utility"],
            ["exported", "sold to the utility"],
          ),
        },
      },
      { ...ZERO, encoding: { y: { datum: 0 } } },
    ],
  };
}
