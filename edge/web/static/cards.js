// What bounds the rate, and what is recorded: the parts of the page that show them.

import { list } from "./state.js";

const PARTS = { source: "Source", inference: "Inference", output: "Output" };
const BOUND_AS = { engine: "inference", host: "inference" };

// verdict: as /api/status has it.
export function showVerdict(place, { bound, busy, words, helps }) {
  place.querySelector("p").textContent = words;
  const said = place.querySelector("ul");
  const lines = helps.map((help) => Object.assign(document.createElement("li"), { textContent: help }));
  said.replaceChildren(...lines);
  said.hidden = lines.length === 0;
  for (const [part, name] of Object.entries(PARTS)) {
    const bar = place.querySelector(`.${part}`);
    bar.hidden = busy[part] == null;
    if (bar.hidden) continue;
    const percent = `${Math.round(100 * busy[part])} %`;
    bar.classList.toggle("bounds", (BOUND_AS[bound] ?? bound) === part);
    bar.querySelector("output").textContent = percent;
    // Of inference the host's part stands before the engine's.
    const shares = part === "inference" ? [Math.min(busy.host, busy[part]), busy[part]] : [busy[part]];
    const drawn = bar.querySelector("[role=img]");
    drawn.ariaLabel = `${name}: ${percent}`;
    shares.forEach((share, i) => {
      drawn.children[i].style.width = `${100 * (share - (shares[i - 1] ?? 0))}%`;
    });
  }
}

const size = (bytes) => (bytes < 1e9 ? `${(bytes / 1e6).toFixed(0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`);

// {badge: null or {kind, title}, why, rows}
function recordingOf(recordings) {
  const alarms = recordings.filter(({ alarm }) => alarm);
  const rows = recordings.flatMap(({ folder, alarm, clip, kept_bytes: bytes, clips, missed }) => [
    ["Into", folder],
    ["Records", alarm ? `not everything: ${alarm}` : "yes", Boolean(alarm)],
    ["Kept", size(bytes)],
    ["Clips", clip ? `${clips}, writing ${clip}` : `${clips}`],
    ...(missed ? [["Pictures missed", `${missed}`, true]] : []),
  ]);
  const badge = recordings.length === 0 ? null
    : alarms.length ? { kind: "bad", title: "Recording fails" } : { kind: "on", title: "Recording" };
  return { badge, why: alarms.map(({ folder, alarm }) => `${folder}: ${alarm}`).join("; "), rows };
}

// recordings, blurred: as /api/status has them; `at` finds a place, `write` puts text where it differs.
export function showRecording(recordings, blurred, at, write) {
  const { badge, why, rows } = recordingOf(recordings);
  at("records").hidden = !badge;
  if (badge) {
    at("records").dataset.kind = badge.kind;
    write("records-title", badge.title);
  }
  at("unrecorded").hidden = !why;
  write("unrecorded", why && `Not everything is recorded: ${why}.`);
  at("clip").hidden = !badge;
  at("recording-panel").hidden = !badge;
  list(at("recording"), rows);
  at("blurred").hidden = blurred.length === 0;
  write("blurred", `Blurred here: ${blurred.join(", ")}`);
}
