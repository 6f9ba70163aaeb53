"""What others may ask of a run and change in it, from any thread; it never waits for a frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge.metrics.ledger import Counts
from edge.metrics.metrics import Histograms
from edge.metrics.verdict import Setup, Verdict, verdict
from edge.metrics.work import Work
from edge.sinks.base import Recording
from edge.sources.live.status import SignalCounts, SourceStatus

if TYPE_CHECKING:
    from edge.run.pipeline import Pipeline
    from edge.settings.settings import Settings

Change = Callable[[Mapping[str, Any]], "Future[None]"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change during a run; ``source`` is without credentials.

    ``version`` is Outrider's, "unknown" where it is not installed; ``colours`` are those of
    ``classes``, as '#rrggbb'; ``masks`` names the semantic masks; ``conf`` and ``nms_iou`` are what
    the first model with boxes recommends, None where it has no use for it.
    """

    version: str
    source: str
    models: tuple[str, ...]
    engine: str
    precision: str
    classes: tuple[str, ...]
    colours: tuple[str, ...]
    masks: tuple[str, ...]
    conf: float | None
    nms_iou: float | None
    opened_s: float


@dataclass(frozen=True, slots=True)
class Moment:
    """A run at one moment.

    ``status`` and ``signal`` are None where the source is not one that may come and go; ``fps``
    and ``age_ms``, of the newest frame, are None before the second and the first. Of the age
    ``source_delay_ms`` is the part by which a source in bursts is held back. ``silent_s`` is the
    time since then, ``flowing`` whether that is shorter than ``stall_s``.
    """

    counts: Counts
    status: SourceStatus | None
    signal: SignalCounts | None
    fps: float | None
    age_ms: float | None
    silent_s: float
    flowing: bool
    source_delay_ms: float | None = None


class RunView:
    """One run, whose models, source and sinks are open."""

    def __init__(
        self, pipeline: Pipeline, settings: Callable[[], Settings], change: Change
    ) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self.change = change
        """Takes values by dotted key, of [detect] and [overlay], in place of those of the settings,
        until these are read again. What is wrong with one is raised by the future's result, which
        never comes where the run has ended."""

    @property
    def settings(self) -> Settings:
        """Those in force."""
        return self._settings()

    @property
    def facts(self) -> Facts:
        """What does not change."""
        from edge.version import VERSION
        from edge.vision.palette import colours_of
        from engines.redact import redact

        settings, perception = self._settings(), self._pipeline.perception
        head = perception.first_head
        return Facts(
            version=VERSION or "unknown",
            source=redact(settings.source.uri),
            models=tuple(str(path) for path in settings.model.files),
            engine=perception.engine,
            precision=perception.precision,
            classes=perception.class_names,
            colours=tuple(
                f"#{red:02x}{green:02x}{blue:02x}"
                for blue, green, red in colours_of(perception.class_names)
            ),
            masks=perception.mask_names,
            conf=None if head is None else head.conf,
            nms_iou=None if head is None else head.nms_iou,
            opened_s=self._pipeline.opened_s,
        )

    @property
    def setup(self) -> Setup:
        """What of it says which advice applies, with the settings in force."""
        from engines import OVERLAP
        from engines.redact import redact

        pipeline, settings, perception = self._pipeline, self.settings, self._pipeline.perception
        source, model = pipeline.source, settings.model
        assert source is not None
        return Setup(
            drops=not self.waits,
            live=source.live,
            nominal_fps=source.fps,
            slots=perception.slots,
            overlaps=OVERLAP.issuperset(perception.engine.split(", ")),
            below_f32=model.precision == "default" or perception.engine == "onnxruntime",
            threads=model.threads,
            cores=len(os.sched_getaffinity(0)),
            host_letterbox=perception.on_gpu and model.letterbox == "host",
            max_age_ms=settings.pipeline.max_age_ms,
            inputs_wh=perception.inputs_wh,
            draws_masks=settings.overlay.masks and bool(perception.mask_names),
            sinks=tuple(redact(sink.name) for sink in pipeline.renderer.sinks),
        )

    def verdict(self, work: Work | None = None) -> Verdict:
        """What bounds its rate, of a part of it where ``work`` is given."""
        return verdict(self._pipeline.metrics.work if work is None else work, self.setup)

    def now(self) -> Moment:
        """What changes from frame to frame.

        Raises:
            LedgerError: it does not balance.
        """
        pipeline, renderer = self._pipeline, self._pipeline.renderer
        newest, silent_s = renderer.newest, renderer.silent_ns / 1e9
        flowing = newest is not None and silent_s < self._settings().source.stall_s
        return Moment(
            counts=pipeline.counts(),
            status=pipeline.status,
            signal=pipeline.signal,
            fps=pipeline.metrics.live_fps if flowing else None,
            age_ms=None if newest is None else newest.frame_age_ns / 1e6,
            source_delay_ms=None if newest is None else newest.delay_ns / 1e6,
            silent_s=silent_s,
            flowing=flowing,
        )

    @property
    def waits(self) -> bool:
        """Whether every frame is waited for, as of a file, and none is dropped."""
        source = self._pipeline.source
        assert source is not None, "it is open"
        return not self._pipeline.limits.drops(source)

    @property
    def recordings(self) -> list[Recording]:
        """The sinks that record it."""
        return [sink for sink in self._pipeline.renderer.sinks if isinstance(sink, Recording)]

    def histograms(self) -> Histograms:
        """All times so far, as they are between two frames."""
        return self._pipeline.metrics.copies()
