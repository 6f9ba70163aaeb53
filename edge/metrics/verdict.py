"""What bounds a run's rate, from how busy each part was; it measures nothing and guesses nothing.

Parts are what works side by side: the source, inference (the infer thread and the engine that it
waits for) and output (overlay and sinks). One that is busy all the time is what bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edge.metrics.work import Work

Part = Literal["source", "inference", "output"]
Bound = Literal["source", "engine", "host", "output"]
"""Of inference, the engine's part or the host's: letterbox and decode."""

FEWEST = 30
"""Frames, a second of a usual camera: fewer tell more of the start than of the run."""
SATURATED = 0.9
"""Busy for so much of the time is all of it: threads hand over, and frames differ."""
_MATTERS = 0.1
"""A share of the time, or of the frames, that is worth words of its own."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What of a run says which advice applies.

    ``drops`` is the policy in force, ``live`` whether frames come on their own, ``nominal_fps``
    what the source says of itself. ``overlaps``: more ``slots`` let the host work while the engine
    runs. ``below_f32``: the engine may take less, or never does. ``host_letterbox``: it was asked
    for though there is a device. ``inputs_wh`` are the networks', in px; ``sinks`` are names.
    """

    drops: bool
    live: bool
    nominal_fps: float | None = None
    slots: int = 1
    overlaps: bool = False
    below_f32: bool = True
    threads: int | None = None
    cores: int = 1
    host_letterbox: bool = False
    max_age_ms: float | None = None
    inputs_wh: tuple[tuple[int, int], ...] = ()
    draws_masks: bool = False
    sinks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What bounds the rate, None where nothing does all the time or too little is known.

    ``busy`` is the share of the time, 0 to 1, in which each part worked, of a source that drops the
    share of its frames that were shown; 'engine' and 'host' are those of inference. ``alone_fps``
    is the rate that each alone would allow, ``floor_fps`` that of the part that bounds, and
    ``next`` the part that would bound after it. ``words`` say so, ``helps`` what would help.
    """

    bound: Bound | None
    fps: float | None
    floor_fps: float | None
    next: Part | None
    frames: int
    away_s: float
    busy: Mapping[str, float]
    alone_fps: Mapping[str, float]
    words: str
    helps: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Its fields, numbers rounded."""
        return {
            **asdict(self),
            "fps": _rounded(self.fps),
            "floor_fps": _rounded(self.floor_fps),
            "away_s": _rounded(self.away_s),
            "busy": {part: round(share, 4) for part, share in self.busy.items()},
            "alone_fps": {part: round(fps, 2) for part, fps in self.alone_fps.items()},
            "helps": list(self.helps),
        }


def verdict(work: Work, setup: Setup) -> Verdict:
    """Judge a run, or a stretch of it."""
    away_s = work.away_ns / 1e9
    if work.frames < FEWEST or work.span_ns <= 0:
        said = (
            f"Too few frames to tell what bounds the rate: {work.frames} after the first, wanted "
            f"{FEWEST}."
        )
        return Verdict(None, None, None, None, work.frames, away_s, {}, {}, said, ())
    busy, fps = _shares(work, setup), work.frames * 1e9 / work.span_ns
    parts: tuple[Part, ...] = ("source", "inference", "output")
    busiest, second, _ = sorted(parts, key=lambda part: -busy[part])
    alone = {part: fps / share for part, share in busy.items() if share > 0}
    bound = _bound(busiest, busy, setup) if busy[busiest] >= SATURATED else None
    words = _Words(work, setup, fps, busy, alone)
    return Verdict(
        bound=bound,
        fps=fps,
        floor_fps=None if bound is None else alone[busiest],
        next=None if bound is None else second,
        frames=work.frames,
        away_s=away_s,
        busy=busy,
        alone_fps=alone,
        words=words.of(bound, busiest, second),
        helps=tuple(words.helps(bound)),
    )


def _shares(work: Work, setup: Setup) -> dict[str, float]:
    """How busy each part was; a stage that began before the first frame counts to 1 at most."""
    span = work.span_ns
    engine, host = work.engine / span, (work.letterbox + work.decode) / span
    inference = host + work.waited / span
    if setup.slots > 1 and inference < SATURATED:
        inference = max(engine, host)  # what was done in turn would be done side by side
    taken = work.frames / (work.frames + work.dropped)
    shares = {
        "source": taken if setup.drops else work.capture / span,
        "inference": inference,
        "engine": engine,
        "host": host,
        "output": (work.overlay + work.sinks) / span,
    }
    return {part: min(share, 1.0) for part, share in shares.items()}


def _bound(busiest: Part, busy: Mapping[str, float], setup: Setup) -> Bound:
    if busiest != "inference":
        return busiest
    if setup.slots > 1:  # while the host is busy all the time, the engine waits for it
        return "host" if busy["host"] >= SATURATED else "engine"
    return "host" if busy["host"] > busy["inference"] / 2 else "engine"


@dataclass(frozen=True, slots=True)
class _Words:
    """The verdict in sentences."""

    work: Work
    setup: Setup
    fps: float
    busy: Mapping[str, float]
    alone: Mapping[str, float]

    def of(self, bound: Bound | None, busiest: Part, second: Part) -> str:
        """What bounds the rate, and what would next."""
        if bound is None:
            said = (
                f"Nothing bounds the rate all the time: {_CALLED[busiest]} is the busiest, for "
                f"{_percent(self.busy[busiest])} of it"
            )
        else:
            said = f"{self._name(bound)} bounds the rate at {self.fps:.1f} fps: {self._why(bound)}"
        if self.setup.drops and 1 - self.busy["source"] >= _MATTERS:
            said += f"; {_percent(1 - self.busy['source'])} of the frames are dropped"
            if bound is None and not self.setup.max_age_ms:
                said += ", as at times they come faster than they are taken"
        if bound is not None and second in self.alone:
            said += f". Next is {_CALLED[second]}, which alone allows {self.alone[second]:.1f}"
        away_s = self.work.away_ns / 1e9
        return f"{said}." + (f" Without {away_s:.1f} s of no signal." if self.work.away_ns else "")

    def helps(self, bound: Bound | None) -> Iterator[str]:
        """What would help, each only where it applies."""
        setup = self.setup
        if bound == "source":
            nominal, gives = setup.nominal_fps, self.alone["source"]
            if setup.live and nominal and gives < (1 - _MATTERS) * nominal:
                yield f"The source says {nominal:g} fps and gives {gives:.1f}."
            return
        if bound in ("engine", "host"):
            if setup.slots == 1 and setup.overlaps and self.busy["host"] >= _MATTERS:
                share = _percent(self.busy["host"])
                yield (
                    "[model] slots = 2 does letterbox and decode while the engine runs; they are "
                    f"{share} of the time."
                )
            yield from self._engine_helps() if bound == "engine" else self._host_helps()
        elif bound == "output":
            yield from self._output_helps()
        elif setup.max_age_ms and 1 - self.busy["source"] >= _MATTERS:
            yield f"Frames older than [pipeline] max_age_ms = {setup.max_age_ms:g} are dropped."
        if setup.live and not setup.drops and bound is not None:
            yield "--policy drop shows the newest frame instead of every one."

    def _engine_helps(self) -> Iterator[str]:
        setup = self.setup
        if not setup.below_f32:
            yield '[model] precision = "default" lets the device take less than f32.'
        if setup.threads is not None and setup.threads < setup.cores:
            yield f"[model] threads = {setup.threads} uses {setup.threads} of {setup.cores} cores."
        sizes = " and ".join(f"{w}x{h}" for w, h in setup.inputs_wh)
        yield "A smaller network takes less" + (f": its input is {sizes} now." if sizes else ".")

    def _host_helps(self) -> Iterator[str]:
        if self.work.decode > self.work.letterbox:
            yield "Fewer boxes take less: a higher --conf."
            return
        if self.setup.host_letterbox:
            yield '[model] letterbox = "auto" has the device do it where that is faster.'
        yield "Smaller pictures of the source take less."

    def _output_helps(self) -> Iterator[str]:
        if self.work.overlay > self.work.sinks:
            if self.setup.draws_masks:
                yield "[overlay] masks = false draws less."
            yield "Sinks without a picture, such as FILE.jsonl, need no overlay."
        else:
            one = len(self.setup.sinks) == 1
            other = "Another sink" if one else "One sink less, or a faster one,"
            yield f"{other} takes less; --sink null tells the rate without."

    def _name(self, bound: Bound) -> str:
        work = self.work
        if bound == "output":
            sinks = self.setup.sinks[0] if len(self.setup.sinks) == 1 else "the sinks"
            return "The overlay" if work.overlay > work.sinks else f"Writing to {sinks}"
        if bound == "host":
            return "The decode" if work.decode > work.letterbox else "The letterbox"
        return f"The {bound}"

    def _why(self, bound: Bound) -> str:
        work = self.work
        if bound == "source":
            if self.setup.drops:
                return f"{_percent(self.busy['source'])} of its frames are shown"
            return f"reading it takes {_percent(self.busy['source'])} of the time"
        if bound == "output":
            times = f"overlay {self._ms(work.overlay)}, sinks {self._ms(work.sinks)}"
            return f"the main thread is busy {_percent(self.busy['output'])} of the time ({times})"
        host = f"letterbox {self._ms(work.letterbox)}, decode {self._ms(work.decode)}"
        if self.setup.slots > 1:
            beside = f"{host} beside it" if bound == "engine" else host
            return f"it is busy {_percent(self.busy[bound])} of the time ({beside})"
        took = f"engine {self._ms(work.engine)}, {host}, in turn"
        return f"inference is busy {_percent(self.busy['inference'])} of the time ({took})"

    def _ms(self, ns: int) -> str:
        return f"{ns / self.work.frames / 1e6:.1f} ms"


_CALLED: Mapping[Part, str] = {
    "source": "the source",
    "inference": "inference",
    "output": "drawing and writing",
}


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
