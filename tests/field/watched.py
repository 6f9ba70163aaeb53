"""``edge run`` as a process of its own on coded frames, and all that it says, as it says it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.edge.door import EDGE
from tests.field.timecode import reader_model, time_in_record

PATIENCE_S = 60
"""For what comes at once on a quiet machine."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A rendered frame; all times are nanoseconds of CLOCK_MONOTONIC.

    ``taken_ns`` is when the camera really took it, read from the picture, None where that is
    damaged; ``told_ns`` is what the app believes; ``seen_ns`` when its line was here.
    """

    id: int
    taken_ns: int | None
    told_ns: int
    seen_ns: int
    age_ms: float
    wh: tuple[int, int]


@dataclass(frozen=True, slots=True)
class State:
    """A state of the source; ``seen_ns`` is when its line was here."""

    name: str
    reason: str
    since_ns: int
    seen_ns: int


class Watched:
    """A run from ``start`` to ``stop``; what it wrote is in ``frames`` and ``states``."""

    def __init__(
        self,
        folder: Path,
        source: str,
        *,
        settings: str = "",
        sinks: Sequence[str] = ("-",),
        env: Mapping[str, str] | None = None,
    ) -> None:
        """``settings`` are lines of TOML below ``[source]`` and ``uri``; ``env`` adds to ours."""
        self.frames: list[Seen] = []
        self.states: list[State] = []
        self.metrics_file = folder / "metrics.json"
        self.log_file = folder / "log.txt"
        self.settings_file = folder / "field.toml"
        reader_model(folder / "reader.onnx")
        self.settings_file.write_text(
            f'[source]\nuri = "{source}"\n{settings}\n'
            '[model]\nfiles = ["reader.onnx"]\nengine = "onnxruntime"\nthreads = 1\n'
            f'[output]\nsinks = {list(sinks)}\nmetrics = "metrics.json"\n'
        )
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*EDGE, "run", str(self.settings_file), "--reconnect"],
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"DISPLAY": "", "OMP_NUM_THREADS": "1"} | dict(env or {}),
                text=True,
            )
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, name="watching")
        self._reader.start()

    def wait_for(self, what: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
        """Wait until ``what`` gives something, which is returned; looks at every new line.

        Raises:
            AssertionError: it does not, or the run ended before.
        """
        with self._news:
            self._news.wait_for(lambda: what() or self._ended, timeout_s)
            found = what()
        assert found, f"not within {timeout_s:g} s: {self.states[-3:]}; {self.log()[-2000:]}"
        return found

    def frame_taken_after(self, ns: int, timeout_s: float = PATIENCE_S) -> Seen:
        """The first frame that shows the world as it was after ``ns``."""

        def first() -> Seen | None:
            later = itertools.takewhile(lambda f: f.seen_ns > ns, reversed(self.frames))
            return min((f for f in later if f.taken_ns and f.taken_ns > ns), default=None, key=_id)

        seen = self.wait_for(first, timeout_s)
        assert isinstance(seen, Seen)
        return seen

    def state_after(self, ns: int, *names: str, timeout_s: float = PATIENCE_S) -> State:
        """The first such state that began after ``ns``."""

        def first() -> State | None:
            return next((s for s in self.states if s.name in names and s.since_ns > ns), None)

        state = self.wait_for(first, timeout_s)
        assert isinstance(state, State)
        return state

    def is_live(self) -> bool:
        """Whether the source gives frames, by what was told last."""
        return not self.states or self.states[-1].name == "live"

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the run; returns its exit code."""
        self.process.send_signal(number)
        return self.join()

    def join(self) -> int:
        """Wait for the run's own end; returns its exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def metrics(self) -> dict[str, Any]:
        """The metrics file of the run that ended."""
        loaded = json.loads(self.metrics_file.read_text())
        assert isinstance(loaded, dict)
        return loaded

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the run at once, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            seen_ns = time.monotonic_ns()
            record = json.loads(line)
            with self._news:
                if "frame" in record:
                    self.frames.append(_seen(record, seen_ns))
                else:
                    s = record["state"], record["reason"], record["since_ns"]
                    self.states.append(State(*s, seen_ns))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


def _id(frame: Seen) -> int:
    return frame.id


def _seen(record: dict[str, Any], seen_ns: int) -> Seen:
    told_ns = record["t_capture_ns"]
    return Seen(
        id=record["frame"],
        taken_ns=time_in_record(record, near_ns=told_ns),
        told_ns=told_ns,
        seen_ns=seen_ns,
        age_ms=record["frame_age_ms"],
        wh=tuple(record["wh"]),
    )


EARLY_MS = 50.0
"""Jitter of timestamps: a capture time may be so much before the true one."""


LONG_MS = 60_000.0
"""No camera of the tests is on for so long before its first picture is seen."""


def _could_be(frame: Seen, first: Seen) -> bool:
    """Whether its picture can have been taken when it says."""
    if frame.taken_ns is None:
        return True
    ahead_ms = (frame.taken_ns - frame.seen_ns) / 1e6
    return ahead_ms <= EARLY_MS and first.seen_ns - frame.taken_ns <= LONG_MS * 1e6


def faults_of(
    frames: Sequence[Seen], *, told_ms: float, true_ms: float, late_ms: float, misread: int = 0
) -> list[str]:
    """What is wrong with frames that were shown as new, one line each; empty if nothing.

    Ids and capture times grow, no picture comes twice or after a newer one, and no frame is older
    than ``told_ms`` by what the app says, or than ``true_ms`` in truth. A capture time is at most
    ``late_ms`` after the true one: by the delay of camera and link that no receiver knows. No
    picture is from after its capture time: so many as ``misread`` are taken for damaged ones whose
    checksum fits by chance (``timecode.PASSES``), which an old picture shown as new never is. One
    from after it was seen, or from long before the first, is such a one for certain.
    """
    wrong, early = [], []
    before: Seen | None = None
    newest_ns = 0
    for shown in frames:
        frame = shown
        if not _could_be(shown, frames[0]):
            frame = replace(shown, taken_ns=None)
        what = f"frame {frame.id}"
        if before is not None and frame.id <= before.id:
            wrong.append(f"{what} came after {before.id}")
        if before is not None and frame.told_ns <= before.told_ns:
            wrong.append(f"{what} was captured before {before.id}, it says")
        if not 0 <= frame.age_ms <= told_ms:
            wrong.append(f"{what} is {frame.age_ms:.0f} ms old, it says")
        if frame.taken_ns is not None:
            age_ms = (frame.seen_ns - frame.taken_ns) / 1e6
            if not 0 <= age_ms <= true_ms:
                wrong.append(f"{what} is {age_ms:.0f} ms old and says {frame.age_ms:.0f}")
            dated_ms = (frame.told_ns - frame.taken_ns) / 1e6
            said = f"{what} says it was captured {dated_ms:.0f} ms after it was"
            if dated_ms > late_ms:
                wrong.append(said)
            if dated_ms < -EARLY_MS:
                early.append(said)
            elif frame.taken_ns <= newest_ns:
                old_ms = (newest_ns - frame.taken_ns) / 1e6
                wrong.append(f"{what} shows what was shown before, {old_ms:.0f} ms older")
            if dated_ms >= -EARLY_MS:
                newest_ns = max(newest_ns, frame.taken_ns)
        before = frame
    return wrong + (early if len(early) > misread else [])
