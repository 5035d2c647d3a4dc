// The way of a record as a picture: boxes and ways are made once for a width,
// figures only change their text.

import { count, many, rate, roughly } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const MAIN = ["kafka", "sealed", "ready", "batches", "sending", "clickhouse"];
const ASIDE = ["undecodable", "doubtful", "rejected"];
const TITLES = { kafka: "Kafka", clickhouse: "ClickHouse" };

export function element(name, attributes = {}, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Where the boxes are: side by side, or one below the other.
function places(wide) {
  const boxes = {};
  if (wide) {
    MAIN.forEach((name, at) => (boxes[name] = [1 + at * 165, 1, 133, 104]));
    ASIDE.forEach((name, at) => (boxes[name] = [1 + [1, 3, 4][at] * 165, 150, 133, 78]));
    return { size: [960, 230], boxes };
  }
  MAIN.forEach((name, at) => (boxes[name] = [1, 1 + at * 88, 318, 62]));
  ASIDE.forEach((name, at) => (boxes[name] = [1 + at * 108, 556, 102, 84]));
  return { size: [320, 642], boxes };
}

export class Flow {
  constructor(svg) {
    this.svg = svg;
  }

  layOut(wide) {
    if (this.wide === wide) return;
    this.wide = wide;
    const { size, boxes } = places(wide);
    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
    this.svg.setAttribute("class", wide ? "wide" : "tall");
    this.ways = {};
    MAIN.slice(1).forEach((name, at) => {
      const [fx, fy, fw, fh] = boxes[MAIN[at]];
      const [x, y, , h] = boxes[name];
      const path = wide ? `M${fx + fw + 3} ${fy + fh / 2}H${x - 4}` : `M160 ${fy + fh + 3}V${y - 4}`;
      const head = wide ? `m-7 -5l7 5l-7 5` : `m-5 -7l5 7l5 -7`;
      this.ways[name] = element("path", { d: path, class: "way" });
      this.svg.append(this.ways[name], element("path", { d: (wide ? `M${x - 4} ${y + h / 2}` : `M160 ${y - 4}`) + head, class: "way" }));
    });
    if (wide) {
      for (const name of ASIDE) {
        const [x, y, w] = boxes[name];
        this.svg.append(element("path", { d: `M${x + w / 2} 108V${y - 3}`, class: "way off" }));
      }
    }
    this.parts = {};
    for (const name of [...MAIN, ...ASIDE]) this.parts[name] = this.box(name, boxes[name], wide);
  }

  box(name, [x, y, w, h], wide) {
    const outside = name in TITLES ? "outside" : ASIDE.includes(name) ? "small" : "";
    const group = element("g", { class: outside });
    const beside = !wide && MAIN.includes(name);
    const middle = x + w / 2;
    const at = beside
      ? { title: [x + 14, y + 26, "start"], figure: [x + w - 14, y + 27, "end"], aside: [x + 14, y + 48, "start"] }
      : { title: [middle, y + 23, "middle"], figure: [middle, y + (h > 90 ? 56 : 46), "middle"], aside: [middle, y + h - (h > 90 ? 12 : 10), "middle"] };
    group.append(element("rect", { x, y, width: w, height: h, rx: 9, class: "box" }));
    const texts = {};
    for (const [role, [tx, ty, anchor]] of Object.entries(at)) {
      texts[role] = element("text", { x: tx, y: ty, "text-anchor": anchor, class: role });
      group.append(texts[role]);
    }
    texts.title.textContent = TITLES[name] ?? `${name}/`;
    this.svg.append(group);
    return { group, outside, ...texts };
  }

  show(name, figure, aside, mark = "") {
    const part = this.parts[name];
    part.figure.textContent = figure;
    part.aside.textContent = aside;
    part.group.setAttribute("class", `${part.outside} ${mark}`);
  }

  // Draws a status; `left` is how long until the next slot, in words.
  update(status, left) {
    const { live, rooms = {} } = status;
    const behind = live.lag === null ? "–" : live.lag === 0 ? "read up" : `${count(live.lag)} left`;
    this.show("kafka", behind, live.paused ? "paused" : `${rate(live.read_per_s)} per second`, live.paused || live.partitions === 0 ? "bad" : "");
    for (const name of ["sealed", "ready", "batches", "sending"]) {
      const room = rooms[name] ?? { rows: 0, files: 0 };
      this.show(name, `${count(room.rows)} rows`, many(room.files, "file"), room.files > 0 ? "full" : "");
    }
    for (const [name, mark] of [["undecodable", "warn"], ["doubtful", "bad"], ["rejected", "bad"]]) {
      const room = rooms[name] ?? { files: 0 };
      this.show(name, count(room.files), room.files === 1 ? "file" : "files", room.files > 0 ? mark : "");
    }
    const stored = (status.attempts ?? []).findLast((attempt) => attempt.outcome === "stored");
    const last = stored ? `${roughly(Math.max(0, live.at_ms - stored.at_ms) / 1000)} ago` : "none yet";
    this.show("clickhouse", left, `last: ${last}`, status.refusal ? "bad" : "");
    const reads = live.read_per_s > 0 && !live.paused;
    this.ways.sealed.setAttribute("class", reads ? "way moving" : live.paused ? "way off" : "way");
    this.ways.clickhouse.setAttribute("class", status.refusal ? "way off" : (rooms.sending?.files ?? 0) > 0 ? "way moving" : "way");
  }
}
