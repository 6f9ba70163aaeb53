// The page: asks for status and history once a second while it is seen, and shows them.

import * as api from "./api.js";
import { showRecording, showVerdict } from "./cards.js";
import { Chart, spanOf } from "./charts.js";
import { Controls } from "./controls.js";
import { showPicture } from "./picture.js";
import { clock, duration, factsOf, list, machineOf, stateOf } from "./state.js";

const PERIOD_MS = 1000;
const KEPT = 300;
const STAGES = {
  letterbox: "--letterbox", infer: "--infer", decode: "--decode", overlay: "--overlay", sinks: "--sinks",
};
const at = (id) => document.getElementById(id);
const ms = (value) => (value == null ? "–" : value < 10 ? value.toFixed(1) : value.toFixed(0));
const timesOf = (sample, stage) => sample.stages[stage];

const seen = { samples: [], began: 0, pointed: null, lostAt: 0, captured: 0, live: false };

const onPoint = (t) => {
  seen.pointed = t;
  drawCharts();
};
const charts = [
  new Chart(at("chart-times"), {
    label: "Frame time by stage",
    say: (sample) => Object.entries(sample.stages).map(([name, t]) => `${words(name)} ${ms(t.p50_ms)}`).join(", "),
    series: [
      ...Object.entries(STAGES).map(([name, colour]) => (
        { colour, kind: "stack", of: (sample) => timesOf(sample, name)?.p50_ms })),
      { colour: "--text", kind: "line", of: (sample) => timesOf(sample, "end_to_end")?.p50_ms },
      { colour: "--text", kind: "dashed", of: (sample) => timesOf(sample, "end_to_end")?.p99_ms },
    ],
    onPoint,
  }),
  new Chart(at("chart-fps"), {
    label: "Frames a second", say: (sample) => `${sample.fps}`, onPoint,
    series: [{ colour: "--accent", kind: "area", of: (sample) => sample.fps }],
  }),
  new Chart(at("chart-age"), {
    label: "Age of the frames when shown", onPoint,
    say: (sample) => `median ${ms(sample.age_p50_ms)}, 99th percentile ${ms(sample.age_p99_ms)} milliseconds`
      + (sample.source_delay_ms ? `, of it source delay ${ms(sample.source_delay_ms)}` : ""),
    series: [
      { colour: "--accent", kind: "area", of: (sample) => sample.age_p50_ms },
      { colour: "--accent", kind: "dashed", of: (sample) => sample.age_p99_ms },
      { colour: "--text", kind: "dashed", of: (sample) => sample.source_delay_ms || undefined },
    ],
  }),
  new Chart(at("chart-dropped"), {
    label: "Frames dropped a second", say: (sample) => `${sample.dropped}`, whole: true, onPoint,
    series: [{ colour: "--warn", kind: "bar", of: (sample) => sample.dropped }],
  }),
  new Chart(at("chart-queue"), {
    label: "Frames in flight", say: (sample) => `${sample.queue}`, whole: true, onPoint,
    series: [{ colour: "--accent", kind: "bar", of: (sample) => sample.queue }],
  }),
];

const controls = new Controls(api.change);

const words = (stage) => stage.replace(/^gpu_/, "GPU ").replaceAll("_", " ");

function drawCharts() {
  const { samples, pointed } = seen;
  const span = spanOf(samples);
  for (const chart of charts) chart.show(samples, span, pointed);
  const last = samples.at(-1);
  const shown = samples.find(({ t }) => t === pointed) ?? last;
  at("when").textContent = shown === last
    ? `the last ${span === 60 ? "minute" : `${span / 60} minutes`}`
    : `at ${clock(shown.t)}, ${duration(last.t - shown.t)} ago`;
  if (!shown) return;
  at("value-fps").textContent = shown.fps.toFixed(1);
  at("value-age").textContent = ms(shown.age_p50_ms);
  at("value-age-p99").textContent = `p99 ${ms(shown.age_p99_ms)}`;
  at("value-dropped").textContent = `${shown.dropped}`;
  at("value-queue").textContent = `${shown.queue}`;
  drawStages(shown);
}

function drawStages(sample) {
  const body = at("stages").tBodies[0];
  const names = Object.keys(sample.stages).filter((name) => name !== "capture");
  while (body.rows.length > names.length) body.deleteRow(-1);
  names.forEach((name, i) => {
    const row = body.rows[i] ?? newRow(body);
    const [stage, p50, p99] = row.cells;
    row.className = name;
    stage.lastChild.textContent = words(name);
    stage.firstChild.style.background = STAGES[name] ? `var(${STAGES[name]})` : "none";
    p50.textContent = ms(sample.stages[name].p50_ms);
    p99.textContent = ms(sample.stages[name].p99_ms);
  });
}

function newRow(body) {
  const row = body.insertRow();
  const head = document.createElement("th");
  head.scope = "row";
  head.append(document.createElement("i"), "");
  row.append(head, document.createElement("td"), document.createElement("td"));
  return row;
}

function showStatus(status) {
  const { run, now, settings, machine, login, verdict, recording, blurred } = status;
  const state = stateOf(now, seen.captured);
  seen.captured = now.counts.captured;
  at("badge").dataset.kind = state.kind;
  write("state", state.title);
  at("source").textContent = run.source;
  document.title = `${state.title} · Outrider`;
  at("trouble").hidden = !state.why;
  at("trouble").dataset.kind = state.kind;
  write("trouble-why", state.why && `${state.why}.`);
  at("trouble-since").textContent = now.age_ms == null
    ? ""
    : `No frame for ${duration(now.silent_s)}, since ${clock(Date.now() / 1000 - now.silent_s)}.`;
  controls.show(run, settings);
  showVerdict(at("verdict"), verdict);
  showRecording(recording, blurred, at, write);
  list(at("run"), factsOf(status));
  const { slowed, rows } = machineOf(machine);
  list(at("machine"), rows);
  at("machine-panel").hidden = rows.length === 0;
  at("slowed").hidden = !slowed;
  at("slowed").title = slowed;
  at("leave").hidden = !login;
}

// A screen reader says again what is written again.
function write(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

function take({ began, samples }) {
  if (began !== seen.began) Object.assign(seen, { began, samples: [], pointed: null });
  seen.samples = [...seen.samples, ...samples].slice(-KEPT);
  drawCharts();
}

function found() {
  if (!seen.lostAt) return;
  seen.lostAt = 0;
  at("lost").hidden = true;
  document.body.classList.remove("lost");
  picture.again();
}

function lost(error) {
  seen.lostAt ||= Date.now() / 1000;
  document.body.classList.add("lost");
  at("badge").dataset.kind = "off";
  write("state", "Lost");
  document.title = "Lost · Outrider";
  const what = error instanceof api.Refused ? `The server refuses: ${error.message}` : "The server does not answer";
  write("lost", `${what}, since ${clock(seen.lostAt)}. What is shown is from before; trying again.`);
  at("lost").hidden = false;
}

async function tick() {
  try {
    const newest = seen.samples.at(-1)?.n ?? -1;
    const [status, history] = await Promise.all([api.status(), api.history(newest)]);
    found();
    showStatus(status);
    shape();
    if (history.began !== seen.began && newest >= 0) take(await api.history(-1));
    else take(history);
  } catch (error) {
    if (error instanceof api.Lost || error instanceof api.Refused) lost(error);
    else console.error(error); // a fault of the page; the next second may do
  }
}

async function watch() {
  for (;;) {
    if (!document.hidden) await tick();
    await new Promise((done) => setTimeout(done, PERIOD_MS));
  }
}

async function snapshot() {
  const button = at("snapshot");
  button.disabled = true;
  try {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await api.snapshot());
    link.download = `outrider-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.jpg`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    write("note", "");
  } catch (error) {
    write("note", `No snapshot: ${error.message}`);
  } finally {
    button.disabled = false;
  }
}

async function keepClip() {
  const button = at("clip");
  button.disabled = true;
  try {
    const { clip } = await api.clip("the page");
    write("note", `Keeps the clip ${clip}`);
  } catch (error) {
    write("note", `No clip: ${error.message}`);
  } finally {
    button.disabled = false;
  }
}

// The frame of the picture has the picture's shape, whatever shows it, and nothing beside a narrow one.
function shape() {
  const shown = at("picture").firstChild;
  const [width, height] = [shown?.videoWidth ?? shown?.width, shown?.videoHeight ?? shown?.height];
  if (!seen.live || !width) return;
  at("picture").style.setProperty("--shape", `${width} / ${height}`);
  at("picture").classList.add("shown");
}

// A browser may keep nothing.
function remembered() {
  try {
    return localStorage.getItem("way");
  } catch {
    return null;
  }
}

function remember(way) {
  try {
    localStorage.setItem("way", way);
  } catch {
    // it holds for this visit
  }
}

// A phone that has no full screen for pictures shows it over the whole page.
function fill() {
  const view = at("view");
  if (document.fullscreenElement) document.exitFullscreen();
  else if (view.requestFullscreen) view.requestFullscreen();
  else view.classList.toggle("filling");
}

at("theme").addEventListener("click", () => document.dispatchEvent(new Event("themeswitch")));
document.addEventListener("themechange", drawCharts);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") at("view").classList.remove("filling");
});
at("leave").addEventListener("click", () => api.leave().catch(lost));
at("snapshot").addEventListener("click", snapshot);
at("clip").addEventListener("click", keepClip);
at("full").addEventListener("click", fill);

const picture = showPicture(at("picture"), {
  way: remembered() === "h264" ? "h264" : "mjpeg",
  alt: "What the camera sees, with what was found on it",
  onState: ({ way, live, why }) => {
    seen.live = live;
    at("ways").querySelector(`[value=${way}]`).checked = true;
    write("note", why);
  },
});
at("ways").addEventListener("change", ({ target }) => {
  remember(target.value);
  picture.use(target.value);
});
watch();
