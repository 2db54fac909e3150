// Drawing: Vega-Lite specifications become SVG whose colours are the page's own CSS variables, so that light, dark and
// print need no second drawing.

import { byId, el } from "./format.js";

const views = new Map();
const PAPER = 640; // CSS pixels inside a card on A4

const CONFIG = {
  font: getComputedStyle(document.body).fontFamily,
  background: "transparent",
  view: { stroke: null },
  axis: {
    labelColor: "var(--muted)",
    titleColor: "var(--muted)",
    labelFontSize: 12,
    titleFontSize: 12,
    titleFontWeight: "normal",
    gridColor: "var(--hair)",
    domainColor: "var(--line)",
    tickColor: "var(--line)",
    labelPadding: 6,
    titlePadding: 10,
  },
  axisX: { grid: false, titleAnchor: "end" },
  axisY: {
    domain: false,
    ticks: false,
    tickCount: 5,
    minExtent: 40,
    maxExtent: 40,
    titleAngle: 0,
    titleAlign: "left",
    titleAnchor: "end",
    titleX: -40,
    titleY: -14,
    titleBaseline: "bottom",
  },
};

/** Draw a chart into the element; `label` is what a screen reader says, `onclick` gets the datum that was clicked. */
export async function draw(id, spec, label, onclick = null) {
  const node = byId(id);
  const turn = (views.get(id)?.turn ?? 0) + 1;
  views.set(id, { ...views.get(id), turn });
  const stage = el("div", { class: "stage" });
  stage.style.visibility = "hidden";
  node.append(stage);
  const result = await embed(stage, spec);
  if (views.get(id).turn !== turn) {
    result.finalize();
    stage.remove();
    return;
  }
  const old = views.get(id);
  old.finalize?.();
  old.stage?.remove();
  stage.style.visibility = "";
  views.set(id, { turn, stage, view: result.view, finalize: () => result.finalize() });
  const drawing = stage.querySelector("svg");
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", label);
  if (onclick) result.view.addEventListener("click", (_, item) => item?.datum && onclick(item.datum));
}

function embed(stage, spec) {
  const frame = {
    width: "container",
    autosize: { type: "fit-x", contains: "padding" },
    padding: { left: 0, right: 8, top: 4, bottom: 4 },
    config: CONFIG,
  };
  // `ast`: expressions are interpreted, so that the content policy can forbid eval.
  const options = { ast: true, actions: false, renderer: "svg", tooltip: showTip, defaultStyle: false };
  return globalThis.vegaEmbed(stage, { ...frame, ...spec }, options);
}

/** Give all charts the width of a sheet of paper, so that their text stays readable in print. */
function fitPaper() {
  for (const { view } of views.values()) view?.width(PAPER).run();
}

addEventListener("beforeprint", fitPaper);
addEventListener("afterprint", () => dispatchEvent(new Event("resize")));

/** Move the vertical line of a day's chart to this hour. */
export function moveLine(id, hour) {
  views.get(id)?.view?.signal("at", hour).runAsync();
}

function showTip(_, event, item, value) {
  const tip = byId("tip");
  tip.hidden = !value;
  if (!value) return;
  const rows = typeof value === "object" ? Object.entries(value) : [["", String(value)]];
  tip.replaceChildren(
    ...rows.map(([key, text], i) =>
      el(
        "div",
        { class: i === 0 ? "tip-title" : "" },
        i === 0 ? null : el("span", { text: key }),
        el("b", { text: String(text) }),
      ),
    ),
  );
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(6, Math.min(event.clientX + 14, innerWidth - box.width - 10))}px`;
  tip.style.top = `${event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 14 : event.clientY + 18}px`;
}

/** Fields of a tooltip: pairs of a field and its name. */
export const tooltips = (...pairs) => pairs.map(([field, title]) => ({ field, title, type: "nominal" }));
/** The line at nothing. */
export const ZERO = { mark: { type: "rule", color: "var(--ink)", strokeWidth: 1 }, data: { values: [{}] } };
