"""What a run was, in figures and words, on one page of HTML with all data inside; it runs nothing.

It hears of every frame on the way (3 µs each) and adds up at the end.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.metrics.ledger import Outcome
from edge.metrics.metrics import Rendered
from edge.profile.frames import STEPS, Frames, Times
from edge.profile.slowest import Slowest, in_words, parts_of, picture
from edge.profile.statistics import bars, engine_waits, quantile, rates, summary
from edge.profile.timeline import Throttled, Timeline
from edge.sources.live.status import SourceStatus
from edge.telemetry.sample import Sample
from edge.vision.types import Frame, Result
from engines.files import write_whole

if TYPE_CHECKING:
    from edge.settings.settings import Settings

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).with_name("template.html")
PLACE = "null/*DATA*/"
"""Where the data go in the template."""
SLOWED = 0.9
"""A frame in a throttled time is named as slowed where it took longer than this share of the frames
out of such times."""
MOST_NAMED = 50


class Report:
    """An Observer of one run, and a listener of the machine."""

    def __init__(self) -> None:
        self._began = datetime.now().astimezone()
        self._began_s = time.monotonic()
        self._frames = Frames()
        self._timeline = Timeline(self._frames)
        self._slowest = Slowest()
        self._power_mode: str | None = None

    def rendered(self, result: Result, times: Rendered) -> None:
        """A frame was taken by all sinks."""
        row = self._frames.add(result, times)
        self._timeline.frame(row)
        self._slowest.look(row, result)

    def lost(self, frame: Frame, outcome: Outcome, at_ns: int) -> None:
        """A frame became anything but rendered."""
        if outcome == "dropped_overwritten":
            self._frames.overwritten(frame)
        self._timeline.lost(outcome, at_ns)

    def source(self, status: SourceStatus, at_ns: int) -> None:
        """A live source has a new state."""
        self._timeline.source(status, at_ns)

    def sample(self, sample: Sample, at_ns: int) -> None:
        """The machine was looked at."""
        self._power_mode = sample.power_mode or self._power_mode
        self._timeline.sample(sample, at_ns)

    def data(
        self, settings: Settings, metrics: Mapping[str, Any], what: Sequence[tuple[str, str]]
    ) -> dict[str, Any]:
        """All that the page shows, as JSON values.

        Args:
            settings: those of the run.
            metrics: what the run reported, or why it did not: 'ended' and 'error' alone.
            what: names and values of what was run, for the page's head.
        """
        columns = self._frames.newest()
        kept = int(columns["at"].size)
        power = [("power mode", self._power_mode)] if self._power_mode else []
        return {
            "begun": self._began.isoformat(timespec="seconds"),
            "took_s": round(time.monotonic() - self._began_s, 1),
            "ended": metrics["ended"],
            "error": metrics.get("error"),
            "what": [*map(list, what), *map(list, power)],
            "verdict": metrics.get("verdict"),
            "frames": metrics.get("frames"),
            "signal": metrics.get("signal"),
            "kept": {"frames": kept, "of": self._frames.count},
            "rates": rates(columns),
            "stages": _stages(columns, metrics.get("gpu", {})),
            "bars": {name: bars(ns) for name, ns in _durations(columns).items() if ns.size},
            "utilisation": _utilisation(columns, metrics.get("verdict")) if kept > 1 else None,
            "timeline": self._timeline.as_json(),
            "throttled": _slowed(columns, self._timeline.throttled),
            "slowest": self._slow(columns, settings),
        }

    def _slow(self, columns: Mapping[str, Times], settings: Settings) -> list[dict[str, Any]]:
        from edge.sinks.overlay.overlay import Overlay

        frames = self._slowest.frames()
        if not frames:
            return []
        steps = {**columns, "queue": columns["infer"] - columns["engine"]}
        names = (*STEPS, "queue", "engine", "took")
        usual = {name: float(np.median(steps[name])) for name in names}
        overlay = Overlay(**settings.overlay.model_dump())
        rows = []
        for slow in frames:
            parts = parts_of(slow)
            rows.append(
                {
                    "id": slow.id,
                    "s": round((slow.times.at - self._timeline.begin_ns) / 1e9, 3),
                    "took": round(slow.took_ns / 1e6, 3),
                    "words": in_words(parts, usual),
                    "parts": [[part.step, round(part.ns / 1e6, 3)] for part in parts],
                    "boxes": len(slow.result.detections),
                    "dropped": slow.result.dropped,
                    "picture": picture(slow.result, overlay),
                }
            )
        return rows


def page(data: Mapping[str, Any]) -> bytes:
    """The page with its data; nothing in them can end the script that holds them."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    safe = text.replace("<", "\\u003c")  # "</script>" and "<!--"
    return TEMPLATE.read_text(encoding="utf-8").replace(PLACE, safe, 1).encode()


def write_page(path: Path, data: Mapping[str, Any]) -> None:
    """Write the page in one step.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(path, page(data))


def _durations(columns: Mapping[str, Times]) -> dict[str, Times]:
    """What has a row in the table, ns."""
    drawn = columns["overlay"]
    return {
        "interval": np.diff(columns["at"]),
        **{step: columns[step] for step in STEPS if step != "overlay"},
        "engine": columns["engine"],
        "overlay": drawn[drawn > 0],
        "end_to_end": columns["end_to_end"],
        "age": columns["age"],
        "delay": columns["delay"][columns["delay"] > 0],
    }


ROWS = (
    "interval", "capture", "inbox", "letterbox", "infer", "engine", "decode", "outbox", "overlay",
    "sinks", "end_to_end", "age", "delay",
)  # fmt: skip
"""Of the table, in its order."""


def _stages(columns: Mapping[str, Times], gpu: Mapping[str, Any]) -> list[dict[str, Any]]:
    durations = _durations(columns)
    rows = [
        {"name": name, **summary(durations[name])}
        for name in ROWS
        if name != "delay" or durations[name].size
    ]
    for name, times in gpu.items():
        values = {key.removesuffix("_ms"): value for key, value in times.items()}
        rows.append({"name": f"gpu {name}", **values, "p99.9": None})
    return rows


def _utilisation(columns: Mapping[str, Times], verdict: Mapping[str, Any] | None) -> dict[str, Any]:
    """Shares of the time, and sentences that say them, and where the verdict is of less time."""
    waits = engine_waits(columns)
    whole = sum(waits.values())
    span = int(columns["at"][-1] - columns["at"][0])
    shares = {name: 100 * ns / whole if whole else 0.0 for name, ns in waits.items()}
    busy = {
        "host": (columns["letterbox"] + columns["decode"])[1:],
        "main": (columns["overlay"] + columns["sinks"])[1:],
    }
    of = {
        name: min(100.0, 100 * int(ns.sum()) / span) if span else 0.0 for name, ns in busy.items()
    }
    words = {
        "engine": "works",
        "source": "waits for the source",
        "pipeline": "waits for older frames to be decoded, drawn or written",
        "letterbox": "waits for the letterbox",
    }
    told = sorted((name for name in words if shares[name] >= 0.5), key=lambda name: -shares[name])
    sentences = [
        "The engine: "
        + ", ".join(f"{shares[n]:.0f} % of the time it {words[n]}" for n in told)
        + ".",
        f"Letterbox and decoding take {of['host']:.0f} % of the time, "
        f"overlay and sinks {of['main']:.0f} %.",
    ]
    if verdict and verdict.get("away_s"):
        sentences.append(
            f"All but the verdict counts the {verdict['away_s']:.1f} s without signal, too."
        )
    return {"engine": {n: round(v, 2) for n, v in shares.items()}, "sentences": sentences}


def _slowed(columns: Mapping[str, Times], times: Sequence[Throttled]) -> dict[str, Any] | None:
    """The frames that were done in a throttled time and took longer than most of the others."""
    if not times:
        return None
    at, took = columns["at"], columns["end_to_end"]
    inside = np.zeros(at.size, bool)
    for time_ in times:
        first, last = np.searchsorted(at, (time_.begin_ns, time_.end_ns))
        inside[first:last] = True
    seconds = sum(time_.end_ns - time_.begin_ns for time_ in times) / 1e9
    why = "; ".join(sorted({time_.why for time_ in times}))
    said = f"The machine was slowed down for {seconds:.0f} s ({why})"
    ids: list[int] = []
    if inside.all():
        said += ", the whole run: there is nothing to compare its frames with."
    else:
        limit = quantile(took[~inside], SLOWED)
        ids = columns["id"][inside & (took > limit)].tolist()
        said += (
            f": {len(ids)} of the {int(inside.sum())} frames then took longer than "
            f"{limit / 1e6:.1f} ms, which 9 of 10 others do not."
        )
    return {"said": said, "ids": ids[:MOST_NAMED], "count": len(ids)}
