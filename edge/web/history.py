"""The last minutes of a run, a sample a second, for charts; it measures nothing itself."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from edge.metrics.histogram import Histogram
from edge.metrics.metrics import GPU_STAGE

if TYPE_CHECKING:
    from edge.metrics.metrics import Histograms
    from edge.metrics.work import Work
    from edge.run.view import Moment, RunView

log = logging.getLogger(__name__)

PERIOD_S = 1.0
KEPT = 300
"""Samples: five minutes of them, about 150 KB of JSON."""
RECENT = 30
"""Samples by which it is judged what bounds the rate: long enough to be calm, and soon true."""
_NONE_YET = Histogram()


@dataclass(frozen=True, slots=True)
class Look:
    """A run as it was at ``at_s``, of a clock that is never set."""

    at_s: float
    now: Moment
    times: Histograms


def sample(before: Look, after: Look) -> dict[str, Any]:
    """What happened between two looks: times of the frames rendered there, and how many.

    ``fps`` and ``dropped`` count those frames, ``queue`` and ``state`` are as ``after`` found them.
    A stage that no frame went through is left out, age and delay are None then.
    """
    age = after.times.age.since(before.times.age)
    delay = after.times.source_delay.since(before.times.source_delay)
    named = {**after.times.stages, **{GPU_STAGE + k: h for k, h in after.times.gpu.items()}}
    old = {**before.times.stages, **{GPU_STAGE + k: h for k, h in before.times.gpu.items()}}
    stages = {name: times.since(old.get(name, _NONE_YET)) for name, times in named.items()}
    counts = after.now.counts
    return {
        "fps": round(age.count / (after.at_s - before.at_s), 2),
        "age_p50_ms": _ms(age, 0.50) if age.count else None,
        "age_p99_ms": _ms(age, 0.99) if age.count else None,
        "source_delay_ms": _ms(delay, 0.50) if delay.count else None,
        "stages": {
            name: {"p50_ms": _ms(times, 0.50), "p99_ms": _ms(times, 0.99)}
            for name, times in stages.items()
            if times.count
        },
        "dropped": counts.dropped - before.now.counts.dropped,
        "queue": counts.in_flight,
        "state": _state(after.now),
    }


class History:
    """Looks at a run once a period, on a thread of its own, until ``close``."""

    def __init__(self, run: RunView, *, period_s: float = PERIOD_S) -> None:
        self._run = run
        self._period_s = period_s
        self._began, self._began_s = time.time(), time.monotonic()
        self._samples: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._work: deque[Work] = deque([run.histograms().work], maxlen=RECENT + 1)
        self._lock = threading.Lock()
        self._over = threading.Event()
        threading.Thread(target=self._watch, name="web history", daemon=True).start()

    def after(self, number: int) -> dict[str, Any]:
        """All samples whose ``n`` is greater, the oldest first.

        ``began``, Unix seconds, tells one run from the next, whose numbers begin with 0 again. From
        there ``t`` counts on by a clock that is never set.
        """
        with self._lock:
            samples = [sample for sample in self._samples if sample["n"] > number]
        return {"period_s": self._period_s, "began": self._began, "samples": samples}

    @property
    def recent_work(self) -> Work:
        """What was done in the last ``RECENT`` samples."""
        with self._lock:
            return self._work[-1].since(self._work[0])

    def close(self) -> None:
        """End the thread."""
        self._over.set()

    def _watch(self) -> None:
        number, before, due_s = 0, self._look(), time.monotonic()
        while True:
            # Periods are counted on; of those that the machine slept through one is made up for.
            due_s = max(due_s + self._period_s, time.monotonic() - self._period_s)
            if self._over.wait(max(0.0, due_s - time.monotonic())):
                return
            try:
                after = self._look()
                new = {
                    "n": number,
                    "t": round(self._began + after.at_s - self._began_s, 3),
                    **sample(before, after),
                }
            except Exception:  # one sample less; the next may be good
                log.exception("a sample for the page was lost")
                continue
            with self._lock:
                self._samples.append(new)
                self._work.append(after.times.work)
            number, before = number + 1, after

    def _look(self) -> Look:
        return Look(time.monotonic(), self._run.now(), self._run.histograms())


async def history(request: Request) -> JSONResponse:
    """The samples after number ``since``, of all that are kept where it is not given."""
    text = request.query_params.get("since", "-1")
    try:
        since = int(text[:20])
    except ValueError:
        refusal = f'since: got "{text[:20]}", wanted the number n of a sample'
        return JSONResponse({"error": refusal}, 400)
    kept: History = request.app.state.history
    return JSONResponse(kept.after(since))


def _ms(times: Histogram, q: float) -> float:
    return round(times.quantile_ns(q) / 1e6, 3)


def _state(now: Moment) -> str:
    """The source's, or for one that has none what can be seen of it."""
    if now.status is not None:
        return now.status.state
    return "live" if now.flowing else "stalled"
