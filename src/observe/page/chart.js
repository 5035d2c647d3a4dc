// A line chart over the last hours: time on a fixed axis, gaps where nothing is known.

import { element } from "./flow.js";

const WIDTH_MIN = 260;
const HEIGHT = 190;
const LEFT = 58;
const RIGHT = 8;
const TOP = 12;
const BOTTOM = 26;

// Ends of an axis of time: whole units, and so are their halves.
export const TIMES = [2, 10, 20, 60, 120, 240, 600, 1200, 2400, 7200, 14400, 28800, 86400, 172800];

// A round number at or above the largest, so that the axis seldom changes.
function ceiling(most, ends) {
  if (!(most > 0)) return ends[0] ?? 1;
  const power = 10 ** Math.floor(Math.log10(most));
  const round = [1, 2, 5, 10].map((step) => step * power);
  return [...ends, ...round].find((end) => end >= most * 0.999);
}

// Points with a value, cut where one is missing or two lie far apart.
function runs(points, apart) {
  const found = [];
  let run = [];
  for (const point of points) {
    const last = run.at(-1);
    if (point[1] === null || (last && point[0] - last[0] > apart)) {
      if (run.length) found.push(run);
      run = [];
    }
    if (point[1] !== null) run.push(point);
  }
  if (run.length) found.push(run);
  return found;
}

// Draws curves of [ms, value] points that end at `end` and begin `hours` before.
export function draw(svg, { curves, end, hours, words, ends = [], apart = 300_000 }) {
  const wide = Math.max(WIDTH_MIN, svg.clientWidth);
  const begin = end - hours * 3_600_000;
  const most = ceiling(Math.max(0, ...curves.flatMap((curve) => curve.points.map((point) => point[1] ?? 0))), ends);
  const x = (ms) => LEFT + ((ms - begin) / (end - begin)) * (wide - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - (value / most) * (HEIGHT - TOP - BOTTOM);
  const parts = [];
  for (const share of [0, 0.5, 1]) {
    const at = y(most * share);
    parts.push(element("line", { x1: LEFT, x2: wide - RIGHT, y1: at, y2: at, class: "grid" }));
    parts.push(element("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end", class: "aside" }, words(most * share)));
  }
  for (let hour = 0; hour <= hours; hour += 2) {
    const text = hour === 0 ? "now" : `−${hour} h`;
    const anchor = hour === 0 ? "end" : hour === hours ? "start" : "middle";
    parts.push(element("text", { x: x(end - hour * 3_600_000), y: HEIGHT - 7, "text-anchor": anchor, class: "aside" }, text));
  }
  for (const { points, dashed, filled } of curves) {
    const seen = points.filter((point) => point[0] >= begin);
    for (const run of runs(seen, apart)) {
      const line = run.map(([ms, value]) => `${x(ms).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
      if (filled) {
        const base = y(0);
        parts.push(element("path", { d: `M${x(run[0][0])} ${base}L${line}L${x(run.at(-1)[0])} ${base}Z`, class: "area" }));
      }
      // A lone point would be invisible.
      const path = run.length === 1 ? `M${line}h1.5` : `M${line}`;
      parts.push(element("path", { d: path, class: dashed ? "curve dashed" : "curve" }));
    }
  }
  svg.setAttribute("viewBox", `0 0 ${wide} ${HEIGHT}`);
  svg.replaceChildren(...parts);
}
