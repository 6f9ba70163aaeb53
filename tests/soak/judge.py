"""Says of a soak whether all was well, and shows it as a table; it plays nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np

from tests.field.timecode import PASSES
from tests.field.watched import faults_of
from tests.soak.soak import Diary, Life, Sample
from tests.soak.surroundings import WATCHDOG_S

TOLD_MS = 2000.0
"""Frames older than 1000 ms when their turn comes are dropped (max_age_ms); inference follows, on a
processor that is overloaded."""
TRUE_MS, LATE_MS = 3000.0, 2000.0
"""With what no receiver knows, the delay in the camera, which overload makes longer as well."""
WARM_S = 15.0
"""After the start, when buffers, caches and the engine have what they need."""
THREADS_MORE, DESCRIPTORS_MORE = 1, 3
"""A connection that was given up may still end when they are counted."""
GROWTH_MB, SLOPE_MB_H = 12.0, 6.0
"""Of a life shorter than ``STEEP_S`` the slope says nothing, so its growth is judged."""
STEEP_S = 1800.0
WELL = ("opening", "live")
FATES = (
    "rendered",
    "dropped_overwritten",
    "dropped_stale",
    "failed",
    "discarded_at_stop",
    "in_flight",
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of the table."""

    name: str
    found: str
    wrong: tuple[str, ...] = ()


def judged(diary: Diary) -> list[Condition]:
    """Every condition of a soak."""
    frames = [frame for life in diary.lives for frame in life.watched.frames]
    damaged = sum(frame.taken_ns is None for frame in frames)
    return [
        Condition(
            "troubles",
            ", ".join(f"{n} × {name}" for name, n in sorted(diary.played.items())),
            tuple(diary.wrong),
        ),
        Condition("not played as meant", "; ".join(diary.skipped) or "none"),
        _ends(diary),
        Condition(
            "ledger",
            f"balanced in {sum(life.metrics is not None for life in diary.lives)} lives: "
            + ", ".join(f"{_sum(diary, fate)} {fate}" for fate in FATES[:4]),
            tuple(line for life in diary.lives for line in _unbalanced(life)),
        ),
        Condition(
            "frames",
            f"{len(frames)} shown, {damaged} of them damaged on the link",
            () if len(frames) > damaged else ("no whole frame",),
        ),
        Condition(
            "none shown twice, none too old",
            f"oldest {max((f.age_ms for f in frames), default=0):.0f} ms as told, "
            f"{max(_true_ms(diary), default=0):.0f} ms in truth",
            tuple(
                line
                for life in diary.lives
                for line in faults_of(
                    life.watched.frames,
                    told_ms=TOLD_MS,
                    true_ms=TRUE_MS,
                    late_ms=LATE_MS,
                    misread=_misread(life),
                )
            ),
        ),
        _outages(diary),
        _watchdog(diary),
        *_flat(diary),
    ]


def _misread(life: Life) -> int:
    """The most damaged pictures of a life that pass for whole ones: three deviations (Poisson)."""
    mean: float = PASSES * sum(frame.taken_ns is None for frame in life.watched.frames)
    return math.ceil(mean + 3 * math.sqrt(mean))


def as_markdown(conditions: Sequence[Condition]) -> str:
    """The table for BENCHMARKS.md."""
    lines = ["| condition | found | |", "|---|---|---|"]
    lines += [f"| {c.name} | {c.found} | {'FAILED' if c.wrong else 'ok'} |" for c in conditions]
    return "\n".join(lines)


def _sum(diary: Diary, fate: str) -> int:
    return sum(life.metrics["frames"][fate] for life in diary.lives if life.metrics)


def _true_ms(diary: Diary) -> list[float]:
    frames = (frame for life in diary.lives for frame in life.watched.frames)
    return [(f.seen_ns - f.taken_ns) / 1e6 for f in frames if f.taken_ns is not None]


def _ends(diary: Diary) -> Condition:
    """Every life ended for a full disk, the last one in order."""
    wrong = []
    for number, life in enumerate(diary.lives):
        last = life is diary.lives[-1]
        full = any(w in life.watched.log() for w in ("No space left on device", "File too large"))
        if life.exit_code != (0 if last else 5) or not (last or full):
            wrong.append(f"life {number} ended with {life.exit_code}: {life.watched.log()[-300:]}")
    found = f"{len(diary.lives) - 1} restarts after exit code 5 on a full disk, then 0 at SIGTERM"
    return Condition("ends", found, tuple(wrong))


def _unbalanced(life: Life) -> Iterator[str]:
    if life.metrics is None:
        yield "a life without metrics"
        return
    frames = life.metrics["frames"]
    if frames["captured"] != sum(frames[fate] for fate in FATES) or frames["in_flight"]:
        yield f"ledger: {frames}"


def _outages(diary: Diary) -> Condition:
    """Each was told, and what was told is in the log with its reason."""
    wrong = []
    for life in diary.lives:
        log = life.watched.log()
        states = [state for state in life.watched.states if state.name not in WELL]
        wrong += [f"{state.name} without a reason" for state in states if not state.reason]
        wrong += [f"not in the log: {s.reason}" for s in states if s.reason not in log]
        wrong += ["the password is in the log"] if "s3cret" in log else []
    told = max((felt.told_s or 0.0 for felt in diary.felt), default=0.0)
    back = max((felt.back_s for felt in diary.felt), default=0.0)
    found = f"{len(diary.felt)}, told within {told:.2f} s, back within {back:.2f} s of the repair"
    return Condition("outages", found, tuple(wrong))


def _watchdog(diary: Diary) -> Condition:
    """From READY to the end it was fed before systemd would have bitten."""
    gaps = [0.0]
    for life in diary.lives:
        fed = [at for at in diary.watchdog_ns if life.started_ns < at < life.ended_ns]
        gaps += [(b - a) / 1e9 for a, b in pairwise([*fed, life.ended_ns])] if fed else []
    wrong = [f"not fed for {gap:.1f} s" for gap in gaps if gap >= WATCHDOG_S]
    return Condition("watchdog", f"fed {max(gaps):.1f} s apart at most", tuple(wrong))


def _flat(diary: Diary) -> Iterator[Condition]:
    """The longest life is looked at: others are cut short by the full disk."""
    life = max(diary.lives, key=lambda life: len(life.samples))
    warm = [sample for sample in life.samples if sample.at_s >= WARM_S]
    if len(warm) < 8:
        yield Condition("flat", "", ("no life was long enough to tell",))
        return
    quarter = len(warm) // 4
    first, last = warm[:quarter], warm[-quarter:]
    for name, more in (("threads", THREADS_MORE), ("descriptors", DESCRIPTORS_MORE)):
        before, after = (median(getattr(s, name) for s in part) for part in (first, last))
        wrong = (f"{name}: {before} → {after}",) if after > before + more else ()
        yield Condition(
            name, f"{before:g} → {after:g}, medians of the first and the last quarter", wrong
        )
    span_s = warm[-1].at_s - warm[0].at_s
    slope = _slope_mb_h(warm)
    growth = median(s.rss_mb for s in last) - median(s.rss_mb for s in first)
    wrong = ()
    if (span_s >= STEEP_S and slope > SLOPE_MB_H) or growth > GROWTH_MB:
        wrong = (f"memory: {growth:+.1f} MB in {span_s:.0f} s, {slope:+.1f} MB/h",)
    found = f"{growth:+.1f} MB in {span_s:.0f} s to {warm[-1].rss_mb:.0f} MB, {slope:+.1f} MB/h"
    yield Condition("memory (RSS)", found, wrong)


def _slope_mb_h(samples: Sequence[Sample]) -> float:
    """Least squares over all samples."""
    hours = np.array([s.at_s for s in samples]) / 3600
    return float(np.polyfit(hours, np.array([s.rss_mb for s in samples]), 1)[0])
