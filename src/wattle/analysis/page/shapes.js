// What is drawn of members: savings and bills.

import { money } from "./format.js";
import { D } from "./data.js";
import { ZERO, tooltips } from "./charts.js";

const euros = (field, title) => ({ field, type: "quantitative", title, axis: { format: ",~f" } });

/** One bar per member, sorted; what is below the line is a loss. */
export function bars(rows) {
  const values = rows.map((row) => ({
    ...row,
    text: money(row.saving, D.sign, 2, true),
    fact: `${row.kind}${row.group === "sun" ? ", own sun" : ""}`,
  }));
  return {
    height: 250,
    data: { values },
    layer: [
      {
        mark: { type: "bar", cursor: "pointer", binSpacing: 0, width: { band: rows.length > 300 ? 1 : 0.78 } },
        encoding: {
          x: {
            field: "place",
            type: "ordinal",
            axis: {
              labels: false,
              ticks: false,
              domain: false,
              title: "members, best-off to worst-off",
              titleAnchor: "middle",
            },
          },
          y: euros("saving", `${D.sign.trim()} saved ${D.period}`),
          color: {
            field: "group",
            type: "nominal",
            legend: null,
            scale: { domain: ["sun", "no sun", "loses"], range: ["var(--sun)", "var(--shared)", "var(--loss)"] },
          },
          tooltip: tooltips(["name", "member"], ["fact", "kind"], ["text", "saves"]),
        },
      },
      { ...ZERO, encoding: { y: { datum: 0 } } },
    ],
  };
}

/** One strip per rule, one mark per member, the median as a longer stroke. */
export function strips(rows, names) {
  const values = rows.map((row) => ({ ...row, text: money(row.saving, D.sign, 2, true) }));
  const y = {
    field: "rule",
    type: "ordinal",
    sort: names,
    title: null,
    axis: { labelColor: "var(--ink)", labelFontSize: 13, minExtent: 0, maxExtent: 200, labelLimit: 150, grid: false },
  };
  return {
    height: 38 * names.length,
    data: { values },
    layer: [
      { ...ZERO, encoding: { x: { datum: 0 } } },
      {
        mark: { type: "tick", thickness: 1.6, size: 18, opacity: 0.55, cursor: "pointer" },
        encoding: {
          y,
          x: { ...euros("saving", `${D.sign.trim()} saved ${D.period}`), scale: { nice: true } },
          color: { condition: { test: "datum.saving < 0", value: "var(--loss)" }, value: "var(--shared)" },
          tooltip: tooltips(["name", "member"], ["rule", "rule"], ["text", "saves"]),
        },
      },
      {
        transform: [{ aggregate: [{ op: "median", field: "saving", as: "median" }], groupby: ["rule"] }],
        mark: { type: "tick", thickness: 3, size: 30, color: "var(--ink)" },
        encoding: { y, x: { field: "median", type: "quantitative" } },
      },
    ],
  };
}

/** A member's bill by month: before in grey, after in colour. */
export function billMonths(rows) {
  const values = rows.flatMap(({ label, before, after }) =>
    [
      ["before", before],
      ["after", after],
    ].map(([when, cents]) => ({
      month: label,
      when,
      amount: cents / 100,
      was: money(before / 100, D.sign),
      now: money(after / 100, D.sign),
      saved: money((before - after) / 100, D.sign, 2, true),
    })),
  );
  return {
    height: 170,
    data: { values },
    layer: [
      {
        mark: { type: "bar", width: { band: 0.9 } },
        encoding: {
          x: {
            field: "month",
            type: "ordinal",
            sort: null,
            axis: { title: null, labelAngle: 0, ticks: false, domain: false, labelOverlap: true },
            scale: { paddingInner: 0.35 },
          },
          xOffset: { field: "when", sort: ["before", "after"] },
          y: { field: "amount", type: "quantitative", title: D.sign.trim() },
          color: {
            field: "when",
            type: "nominal",
            legend: null,
            scale: { domain: ["before", "after"], range: ["var(--utility)", "var(--shared)"] },
          },
          tooltip: tooltips(["month", "month"], ["was", "before"], ["now", "after"], ["saved", "saved"]),
        },
      },
      { ...ZERO, encoding: { y: { datum: 0 } } },
    ],
  };
}
