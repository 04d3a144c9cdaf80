// Plots as SVG, each with its values as a table for who does not see it.

import { fill, h, svg } from "./dom.js";
import { figure } from "./format.js";

const HEIGHT = 150;
const LEFT = 44;
const BOTTOM = 20;
const TOP = 8;
let plots = 0;

/**
 * `points`: [x, y] by x; `kind`: "curve", "dots" or "bars"; `limit`: a y to hold; `text`: x → text; `floor`, `least`,
 * `most`: the axis begins there, reaches at least so high, ends there.
 */
export function plot({ title, unit, points, kind = "curve", limit = null, text, floor = 0, least = 0, most = null, xLabel, digits = 1, heading = "h3" }) {
  const id = `plot-${++plots}`;
  const values = points.map(([, y]) => y);
  const told = points.length
    ? `From ${figure(Math.min(...values), digits)} to ${figure(Math.max(...values), digits)} ${unit}, ` +
      `${figure(middle(values), digits)} in the middle; ${points.length} ${points.length === 1 ? "value" : "values"}.`
    : "Nothing was measured.";
  const image = svg("svg", { role: "img", "aria-labelledby": `${id}-title ${id}-told` });
  const figureElement = h("figure", { class: "plot panel" },
    h(heading, { id: `${id}-title` }, title),
    h("p", { id: `${id}-told`, class: "quiet" }, told));
  if (!points.length) return figureElement;
  const draw = () => fill(image, shapes({ points, kind, limit, text, floor, least, most, digits }, image.clientWidth || 480));
  new ResizeObserver(draw).observe(image);
  figureElement.append(image, asTable({ title, unit, points, text, xLabel, digits }));
  return figureElement;
}

function shapes({ points, kind, limit, text, floor, least, most, digits }, width) {
  const bottom = HEIGHT - BOTTOM;
  const [from, to] = [points[0][0], points.at(-1)[0]];
  const high = most ?? ceiling(Math.max(least, ...points.map(([, y]) => y)), floor);
  const room = kind === "bars" ? Math.max(0, width - LEFT - 8) / points.length : 0; // a plot not laid out yet is 0 wide
  const x = (value, index) =>
    kind === "bars" ? LEFT + room * (index + 0.5) : LEFT + ((width - LEFT - 8) * (value - from)) / (to - from || 1);
  const y = (value) => bottom - ((bottom - TOP) * (value - floor)) / (high - floor || 1);
  const marks = [floor, floor + (high - floor) / 2, high];
  const places = points.map(([value, height], index) => [x(value, index), y(height)]);
  const ends = points.length > 1 ? [0, points.length - 1] : [0];
  return [
    marks.map((value) => [
      svg("line", { class: "grid", x1: LEFT, x2: width, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, figure(value, digits + 2)), // half of a round number needs more digits
    ]),
    limit !== null && limit <= high && svg("line", { class: "limit", x1: LEFT, x2: width, y1: y(limit), y2: y(limit) }),
    kind === "curve" && points.length > 1 && svg("polyline", { class: "curve", points: places.map((p) => p.join(",")).join(" ") }),
    (kind === "dots" || points.length === 1) && kind !== "bars" && places.map(([cx, cy]) => svg("circle", { class: "dot", cx, cy, r: 3.5 })),
    kind === "bars" && places.map(([at, top]) =>
      svg("rect", { class: "bar", x: at - room * 0.35, width: room * 0.7, y: top, height: Math.max(0, bottom - top), rx: 2 })),
    ends.map((index) =>
      svg("text", {
        x: places[index][0], y: HEIGHT - 4,
        "text-anchor": kind === "bars" || points.length === 1 ? anchor(index, points.length) : index ? "end" : "start",
      }, text(points[index][0]))),
  ];
}

const anchor = (index, count) => (index === 0 ? "start" : index === count - 1 ? "end" : "middle");

function asTable({ title, unit, points, text, xLabel, digits }) {
  return h("details", {},
    h("summary", {}, "Values as a table"),
    h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": title },
      h("table", { class: "small" },
        h("caption", {}, title),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, xLabel), h("th", { scope: "col", class: "number" }, unit))),
        h("tbody", {}, points.map(([x, y]) =>
          h("tr", {}, h("th", { scope: "row" }, text(x)), h("td", { class: "number" }, figure(y, Math.max(digits, 2)))))))));
}

/** A round number that is not less. */
function ceiling(value, floor) {
  const span = Math.max(value - floor, 1e-9);
  const unit = 10 ** Math.floor(Math.log10(span));
  return floor + [1, 2, 2.5, 5, 10].map((step) => step * unit).find((step) => step >= span * 0.999);
}

function middle(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}
