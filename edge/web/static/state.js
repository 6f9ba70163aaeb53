// How a run is doing, in words: its badge, what is wrong, and lists of facts.

const NAMES = { opening: "Opening", live: "Live", stalled: "Stalled", reconnecting: "Reconnecting", failed: "Failed" };

// {kind: "live", "warn" or "bad", title, why}; why is "" where nothing is wrong. captured: the frames
// that had come a second before.
export function stateOf({ status, flowing, age_ms: age, counts }, captured) {
  const state = status?.state ?? "live";
  const why = status?.reason?.replace(`${status.source}: `, "") || "";
  if (flowing) {
    return { kind: state === "live" ? "live" : "warn", title: NAMES[state], why: state === "live" ? "" : why };
  }
  if (state !== "live") return { kind: "bad", title: "NO SIGNAL", why: `${NAMES[state]}${why && `: ${why}`}` };
  if (age == null) return { kind: "warn", title: "Starting", why: "No frame yet" };
  return counts.captured > captured
    ? { kind: "bad", title: "NO PICTURE", why: "Frames come, but none gets through" }
    : { kind: "bad", title: "NO SIGNAL", why: "The source gives no frames" };
}

// "12 s", "3 min 5 s", "2 h 4 min"
export function duration(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

export const clock = (unixS) => new Date(unixS * 1000).toLocaleTimeString([], { hour12: false });

export const file = (path) => path.split("/").at(-1);

// rows: [[name, value, bad?]]; only what differs is touched, so that text can be selected.
export function list(place, rows) {
  while (place.children.length > rows.length) place.lastChild.remove();
  rows.forEach(([name, value, bad = false, title = ""], i) => {
    let row = place.children[i];
    if (!row) {
      row = document.createElement("div");
      row.append(document.createElement("dt"), document.createElement("dd"));
      place.append(row);
    }
    const [term, what] = row.children;
    if (term.textContent !== name) term.textContent = name;
    if (what.textContent !== value) what.textContent = value;
    if (what.title !== title) what.title = title;
    row.classList.toggle("bad", bad);
  });
}

export function factsOf({ run, now }) {
  const c = now.counts;
  const lost = [
    [c.dropped_overwritten, "replaced by newer"], [c.dropped_stale, "too old"], [c.failed, "failed"],
    [c.source_gaps, "lost at the source"],
  ].filter(([n]) => n).map(([n, what]) => `${n} ${what}`);
  return [
    ["Source", run.source],
    [run.models.length > 1 ? "Models" : "Model", run.models.map(file).join(", "), false, run.models.join("\n")],
    ["Engine", run.engine],
    ["Precision", run.precision],
    ["Frames shown", `${c.rendered} of ${c.captured}`],
    ["Dropped", lost.join(", ") || "none"],
    ...(now.source_delay_ms ? [["Source delay", `${(now.source_delay_ms / 1000).toFixed(1)} s of the age`]] : []),
    ...(now.signal ? [["Reconnects", `${now.signal.reconnects}, stalls ${now.signal.stalls}`]] : []),
    ["Ready after", `${run.opened_s.toFixed(1)} s`],
    ...(run.version ? [["Version", run.version]] : []),
  ];
}

// A row a device: "GPU": "51 °C, 1300 MHz, 80 %"; of memory what is used. What slows it comes first.
export function machineOf({ power_mode: mode = null, readings = [], throttling = [] } = {}) {
  const rows = new Map();
  const add = (name, text) => rows.set(name, rows.has(name) ? `${rows.get(name)}, ${text}` : text);
  const memory = new Map(readings.filter(({ kind }) => kind === "memory").map(({ name, value }) => [name, value]));
  for (const { name, value, unit, kind } of readings) {
    if (kind === "memory") {
      const [, what, part] = name.match(/^(.*) (total|used|available)$/) ?? [];
      const total = memory.get(`${what} total`);
      if (!part || total == null) add(name, `${round(value)} ${unit}`);
      else if (part === "used") add(what, `${gb(value)} of ${gb(total)} GB`);
      else if (part === "available") add(what, `${gb(total - value)} of ${gb(total)} GB`);
    } else if (kind === "throttles") {
      if (value) add(`Slowed: ${name}`, `${value} times`);
    } else {
      add(name, `${round(value)} ${unit}`);
    }
  }
  const slowed = throttling.map(({ device, reason }) => `${device}: ${reason}`).join(", ");
  return {
    slowed,
    rows: [
      ...(slowed ? [["Slowed down now", slowed, true]] : []),
      ...(mode ? [["Power mode", mode]] : []),
      ...rows,
    ],
  };
}

const gb = (mb) => (mb / 1000).toFixed(1);

const round = (value) => (Math.abs(value) < 20 ? value.toFixed(1) : value.toFixed(0));
