"""How far TensorRT's builder is, from its own phases, and how it is asked to stop.

The builder calls from threads of its own, so nothing here may raise or take long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, SupportsInt

from edge.progress import Line

if TYPE_CHECKING:
    import tensorrt

    from engines.tensorrt.library import Library

Say = Callable[[str], None]
QUARTER = 0.25
"""Without a terminal to draw a bar in, every quarter is a line."""


@dataclass(slots=True)
class _Phase:
    """A stretch of the whole from ``begin``, ``width`` long, ``done`` of ``steps`` over."""

    begin: float
    width: float
    steps: int
    done: int = 0

    @property
    def at(self) -> float:
        return self.begin + self.width * min(self.done, self.steps) / self.steps


class Progress:
    """Takes the calls of ``IProgressMonitor``; one bar over all phases, which never goes back.

    A phase fills the step of its parent during which it runs (IProgressMonitor, NVIDIA's API
    reference). ``stop`` set ends the build at the builder's next step.
    """

    def __init__(self, *, stop: threading.Event, say: Say) -> None:
        self._stop, self._say = stop, say
        self._phases: dict[str, _Phase] = {}
        self._lock = threading.Lock()
        self._said = 0.0
        self._stopping = False
        self.share = 0.0
        """Of the work, 0 to 1, as far as the phases tell."""
        self._line = Line()

    def phase_start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of ``steps`` steps begins, within the present step of ``parent``."""
        with self._lock:
            around = self._phases.get(parent or "")
            if around is None:
                begin, width = self.share, 1 - self.share
            else:
                begin, width = around.at, around.width / around.steps
            self._phases[name] = _Phase(begin, width, max(steps, 1))
            self._show(begin, name)

    def step_complete(self, name: str, step: int) -> bool:
        """A step is over; False asks the builder to give up."""
        with self._lock:
            phase = self._phases.get(name)
            if phase is not None:
                phase.done = max(phase.done, step + 1)
                self._show(phase.at, name)
        if self._stop.is_set() and not self._stopping:
            self._stopping = True
            self._say("stopping     at the builder's next step")
        return not self._stop.is_set()

    def phase_finish(self, name: str) -> None:
        """A phase is over, whether all of its steps were or not."""
        with self._lock:
            phase = self._phases.pop(name, None)
            if phase is not None:
                self._show(phase.begin + phase.width, name)

    def close(self) -> None:
        """Wipe the bar off the terminal."""
        self._line.close()

    def _show(self, share: float, name: str) -> None:
        self.share = max(self.share, min(share, 1.0))
        if self._line.drawn:
            self._line.offer(f"building, {name[:40]}", done=100 * self.share, total=100)
        elif self.share >= self._said + QUARTER:
            self._said = self.share // QUARTER * QUARTER
            self._say(f"building     {self._said:.0%}, {name}")


def monitor(trt: Library, progress: Progress) -> tensorrt.IProgressMonitor:
    """TensorRT's own interface, which hands every call to ``progress``."""
    if not TYPE_CHECKING:
        tensorrt = trt.module

    class Monitor(tensorrt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.IProgressMonitor.__init__(self)  # pybind11 wants it by name

        def phase_start(
            self, phase_name: str, parent_phase: str | None, num_steps: SupportsInt
        ) -> None:
            progress.phase_start(phase_name, parent_phase, int(num_steps))

        def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
            return progress.step_complete(phase_name, int(step))

        def phase_finish(self, phase_name: str) -> None:
            progress.phase_finish(phase_name)

    return Monitor()
