// Asks status.json every two seconds and shows the answer. Whatever comes from
// outside is set as text, never as markup.

import { TIMES, draw } from "./chart.js";
import { Flow } from "./flow.js";
import { bytes, clock, count, many, roughly, span } from "./words.js";

const EVERY_MS = 2_000;
const HOURS = 6;
const SHOWN_MAX = 20;
const OUTCOMES = {
  stored: ["stored", "good"],
  throttled: ["slot not open yet", ""],
  too_large: ["over the body limit", "warn"],
  not_sent: ["not sent", "warn"],
  unknown: ["fate unknown, goes again", "warn"],
  refused_operator: ["refused: needs an operator", "bad"],
  refused_data: ["data refused", "bad"],
};

const $ = (id) => document.getElementById(id);
const flow = new Flow(document.querySelector("#flow svg"));
const width = matchMedia("(min-width: 56rem)");
let samples = [];
let status = null;
let aheadMs = 0; // our clock before the server's
let held = false;

function set(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

async function ask() {
  const since = samples.at(-1)?.at_ms ?? 0;
  const answer = await fetch(`status.json?since=${since}`, { cache: "no-store", signal: AbortSignal.timeout(10_000) });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const fresh = await answer.json();
  if (!fresh.live) throw new Error("it is starting");
  const { samples: newer, samples_max: most } = fresh.history;
  if (status && fresh.live.started_ms !== status.live.started_ms) samples = [];
  const last = samples.at(-1)?.at_ms ?? 0;
  samples = [...samples, ...newer.filter((sample) => sample.at_ms > last)].slice(-most);
  aheadMs = Date.now() - fresh.live.at_ms;
  status = fresh;
}

async function turn() {
  if (!held && !document.hidden) {
    try {
      await ask();
      show();
    } catch (error) {
      const since = status ? `, last at ${clock(status.live.at_ms)}` : "";
      state("bad", `No answer from Spoolhouse (${error.message})${since}`);
    }
  }
  setTimeout(turn, EVERY_MS);
}

function state(mark, text, busy = false) {
  $("state").className = `state ${mark}${busy ? " busy" : ""}`;
  set("state-text", text);
}

function left() {
  const ms = status.next_slot_ms - (Date.now() - aheadMs);
  return ms > 0 ? `in ${span(Math.ceil(ms / 1000))}` : "open";
}

// What waits for somebody, worst first.
function needs() {
  const found = [];
  if (status.refusal) found.push(["ClickHouse refuses every batch", status.refusal]);
  if (status.held) found.push(["Nothing is taken in", status.held]);
  for (const { file, why } of status.concerns ?? []) found.push([file, why]);
  const named = status.concerns?.length ?? 0;
  const all = ["rejected", "doubtful"].reduce((sum, room) => sum + (status.rooms?.[room]?.files ?? 0), 0);
  if (all > named) found.push([`and ${count(all - named)} files more`, "in rejected/ and doubtful/"]);
  return found;
}

function showNeeds() {
  const found = needs();
  $("person").classList.toggle("needed", found.length > 0);
  $("person-none").hidden = found.length > 0;
  const list = $("person-list");
  const said = JSON.stringify(found);
  if (list.dataset.said === said) return;
  list.dataset.said = said;
  list.replaceChildren(
    ...found.map(([what, why]) => {
      const item = document.createElement("li");
      const strong = document.createElement("strong");
      strong.textContent = what;
      item.append(strong, `: ${why}`);
      return item;
    }),
  );
}

function showState() {
  const { live } = status;
  const waits = waiting().rows;
  const concerns = status.concerns?.length ?? 0;
  if (status.refusal) state("bad", "Held up: ClickHouse refuses every batch");
  else if (status.held) state("bad", "Held: nothing is taken in");
  else if (concerns) state("warn", `At work, and ${many(concerns, "file")} for a person`);
  else if (live.since_success > 5) state("warn", `${count(live.since_success)} requests since the last success`);
  else if (waits > 0 || live.lag > 0) state("good", "At work", true);
  else state("good", "Idle: everything is stored");
}

function waiting() {
  const rooms = ["sealed", "ready", "batches", "sending"].map((name) => status.rooms?.[name] ?? { rows: 0, files: 0 });
  const sum = (key) => rooms.reduce((total, room) => total + room[key], 0);
  return { rows: sum("rows"), files: sum("files") };
}

function showFigures() {
  const { live, drain, slot } = status;
  const { rows, files } = waiting();
  set("slot", left());
  set("slot-aside", slot ? `then every ${slot.interval_s.toFixed(1)} s` : "");
  set("waiting", `${count(rows)} rows`);
  set("waiting-aside", status.oldest_unsent_s === null ? "nothing waits" : `${many(files, "file")}, oldest ${span(status.oldest_unsent_s)}`);
  set("drain", drain?.batches ? span(Math.ceil(drain.seconds)) : "–");
  set("drain-aside", drain?.batches ? many(drain.batches, "request") : "nothing to send");
  set("lag", live.lag === null ? "–" : count(live.lag));
  set("lag-aside", `${live.partitions} partitions${live.paused ? ", paused" : ""}`);
  set("unsealed", live.unsealed_s > 0 ? span(live.unsealed_s) : "–");
  set("unsealed-aside", live.retention_s ? `Kafka keeps ${span(live.retention_s)}` : "Kafka's retention is not known");
  set("spool", bytes(status.bytes ?? 0));
  set("spool-aside", `of ${bytes(status.bytes_max ?? 0)}`);
}

function showPast() {
  const end = status.live.at_ms;
  const rows = samples.map((sample) => [sample.at_ms, sample.waiting_rows]);
  draw($("depth"), { curves: [{ points: rows, filled: true }], end, hours: HOURS, words: count });
  const of = (which) => samples.filter((sample) => sample.latency_s).map((sample) => [sample.at_ms, sample.latency_s[which]]);
  draw($("latency"), { curves: [{ points: of(0) }, { points: of(1), dashed: true }], end, hours: HOURS, words: roughly, ends: TIMES });
  const most = Math.max(0, ...rows.map((row) => row[1]));
  set("depth-words", samples.length ? `now ${count(rows.at(-1)[1])}, at most ${count(most)}` : "no sample yet");
  const last = of(0).at(-1);
  set("latency-words", last ? `median now ${span(last[1])}, oldest at most ${span(Math.max(...of(1).map((p) => p[1])))}` : "nothing was stored yet");
}

function cell(label, text, mark) {
  const made = document.createElement("td");
  made.dataset.label = label;
  made.textContent = text;
  if (mark) made.className = mark;
  return made;
}

function row(attempt) {
  const [words, mark] = OUTCOMES[attempt.outcome] ?? [attempt.outcome, ""];
  const outcome = cell("", attempt.attempt > 1 ? `${words} (attempt ${attempt.attempt})` : words, mark);
  if (attempt.message) {
    const message = document.createElement("span");
    message.className = "message";
    message.textContent = attempt.message;
    outcome.append(message);
  }
  const fill = cell("Fill", "");
  const meter = document.createElement("meter");
  meter.max = 1;
  meter.value = attempt.fill;
  const percent = `${Math.round(attempt.fill * 100)} %`;
  meter.setAttribute("aria-label", `fill ${percent}`);
  fill.append(meter, percent);
  const made = document.createElement("tr");
  const age = attempt.latency ? `${span(attempt.latency.median_s)}, oldest ${span(attempt.latency.most_s)}` : "–";
  made.append(
    cell("", clock(attempt.at_ms)),
    outcome,
    cell("Rows", count(attempt.rows)),
    fill,
    cell("Took", span(attempt.took_s)),
    cell("Age", age),
  );
  return made;
}

function showRequests() {
  const attempts = (status.attempts ?? []).slice(-SHOWN_MAX).reverse();
  const table = $("requests");
  table.hidden = attempts.length === 0;
  $("requests-none").hidden = attempts.length > 0;
  const said = JSON.stringify(attempts);
  if (table.dataset.said === said) return;
  table.dataset.said = said;
  table.tBodies[0].replaceChildren(...attempts.map(row));
}

function showFlow() {
  flow.layOut(width.matches);
  flow.update(status, left());
  const { rows } = waiting();
  set("flow-words", `${count(status.live.lag)} messages in Kafka not read, ${count(rows)} rows waiting, next slot ${left()}.`);
}

function show() {
  showState();
  showNeeds();
  showFlow();
  showFigures();
  showPast();
  showRequests();
  $("main").classList.remove("asking");
  document.title = `${needs().length ? "! " : ""}Spoolhouse`;
  set("about", `Spoolhouse ${status.live.version}, up for ${span((status.live.at_ms - status.live.started_ms) / 1000)}, spool ${status.dir ?? ""}`);
}

flow.layOut(width.matches);
addEventListener("resize", () => {
  if (!status) return;
  showFlow();
  showPast();
});
$("hold").addEventListener("click", () => {
  held = !held;
  $("hold").setAttribute("aria-pressed", String(held));
  set("hold", held ? "Go on" : "Hold still");
});
// The countdown moves between two answers, too.
setInterval(() => {
  if (!status || held || document.hidden) return;
  showFlow();
  set("slot", left());
}, 1_000);
turn();
