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
  if (state !== "live") return { kind: "bad", title: "NO SIGNAL", why: `${state}${why && `: ${why}`}` };
  if (age == null) return { kind: "warn", title: "Starting", why: "no frame yet" };
  return counts.captured > captured
    ? { kind: "bad", title: "NO PICTURE", why: "frames come, but none gets through" }
    : { kind: "bad", title: "NO SIGNAL", why: "the source gives no frames" };
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
    [c.source_gaps, "lost before"],
  ].filter(([n]) => n).map(([n, what]) => `${n} ${what}`);
  return [
    ["Source", run.source],
    [run.models.length > 1 ? "Models" : "Model", run.models.map(file).join(", "), false, run.models.join("\n")],
    ["Engine", run.engine],
    ["Precision", run.precision],
    ["Frames shown", `${c.rendered} of ${c.captured}`],
    ["Dropped", lost.join(", ") || "none"],
    ...(now.signal ? [["Reconnects", `${now.signal.reconnects}, stalls ${now.signal.stalls}`]] : []),
    ["Ready after", `${run.opened_s.toFixed(1)} s`],
    ...(run.version ? [["Version", run.version]] : []),
  ];
}
