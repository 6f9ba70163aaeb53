"""Settings that are read again during a run: what can change does, what cannot is named and left.

They are read and checked on a thread of their own; the main thread takes them between two pictures,
all of them or none.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import OutriderError

if TYPE_CHECKING:
    from edge.run.pipeline import Pipeline
    from edge.settings.settings import Settings
    from edge.sinks.base import Sink
    from edge.sinks.overlay.overlay import Overlay
    from edge.sources.base import Source

log = logging.getLogger(__name__)

CHANGE = ("detect", "overlay", "output.sinks", "pipeline.max_age_ms", "log.verbose")
"""Sections and keys that can change while a run goes on."""


class Reload:
    """Owns what of a run the settings can change: asked by SIGHUP, also before the run begins."""

    def __init__(
        self, settings: Settings, again: Callable[[], Settings], *, keep: bool = False
    ) -> None:
        """``again`` reads the settings anew; it may raise any of the project's errors.

        With ``keep`` no sink writes over the file of the run before.
        """
        self._settings = settings
        self._again = again
        self._keep = keep
        self._pipeline: Pipeline | None = None
        self._lock = threading.Lock()
        self._asked = self._reading = False
        self._source: Source | None = None
        self._sinks: dict[str, Sink] = {}

    def open_sinks(self, source: Source) -> Iterator[Sink]:
        """Open the sinks of the settings, on the main thread."""
        from edge.sinks import open_sink

        self._source = source
        for text in self._settings.output.sinks:
            self._sinks[text] = open_sink(text, fps=source.fps, keep=self._keep)
            yield self._sinks[text]

    def open_overlay(self) -> Overlay:
        """The overlay as the settings say."""
        from edge.sinks.overlay.overlay import Overlay

        return Overlay(**self._settings.overlay.model_dump())

    def attach(self, pipeline: Pipeline) -> None:
        """Change this run from now; a request that came before included."""
        self._pipeline = pipeline
        if self._asked:
            self.request()

    def request(self) -> None:
        """Have the settings read again and taken; returns at once and never raises.

        A thread of its own reads them: a file on a dead network must not hold a signal to stop.
        """
        with self._lock:
            self._asked = True
            if self._pipeline is None or self._reading:
                return
            self._reading = True
        threading.Thread(target=self._answer, name="reload", daemon=True).start()

    def _answer(self) -> None:
        """Body of the thread: as many readings as were asked for while one went on, and one."""
        pipeline = self._pipeline
        assert pipeline is not None
        while True:
            with self._lock:
                if not self._asked:
                    self._reading = False
                    return
                self._asked = False
            pipeline.reloading()
            try:
                new = self._read()
            except Exception as exc:  # of any kind: a service goes on as it was
                pipeline.between_frames(partial(self._refuse, exc))
            else:
                pipeline.between_frames(partial(self._take, new))

    def _read(self) -> Settings:
        """The new settings, with those of the run in the place of what cannot change."""
        from edge.settings.settings import check_outputs
        from edge.sinks import sink_opener

        new = self._again()
        for text in new.output.sinks:
            sink_opener(text)  # a mistake shows here, and what it imports delays no frame
        left = [key for key in _differing(self._settings, new) if not _can_change(key)]
        for key in left:
            section, _, name = key.partition(".")
            old = {name: getattr(getattr(self._settings, section), name)}
            new = new.model_copy(update={section: getattr(new, section).model_copy(update=old)})
        if left:
            check_outputs(new, None)  # new outputs beside the old source and models
            log.warning("left as they are, only a restart changes them: %s", ", ".join(left))
        return new

    def _take(self, new: Settings) -> None:
        """Change what is new; on the main thread."""
        from edge.logs import set_up_logs
        from edge.run.workers import release_quietly
        from edge.vision.perception import check_names

        pipeline, old = self._pipeline, self._settings
        assert pipeline is not None
        try:
            check_names(new.detect.classes, pipeline.class_names)
            sinks = self._opened(new.output.sinks)
        except Exception as exc:
            self._refuse(exc)
            return
        gone = {text: sink for text, sink in self._sinks.items() if text not in sinks}
        self._settings, self._sinks = new, sinks
        pipeline.renderer.change(
            list(sinks.values()), self.open_overlay, anew=old.overlay != new.overlay
        )
        pipeline.keep(new.detect.model_dump(), max_age_ms=new.pipeline.max_age_ms)
        for text, sink in gone.items():
            release_quietly(f"sink {text}", sink.close)
        if old.log != new.log:
            set_up_logs(verbose=new.log.verbose)
        changed = ", ".join(_differing(old, new))
        log.info("the settings were read again: %s", changed or "nothing to change")
        pipeline.reloaded()

    def _opened(self, texts: Sequence[str]) -> dict[str, Sink]:
        """The sinks of ``texts``: those that are open as they are, the others opened now."""
        from edge.run.workers import release_quietly
        from edge.sinks import open_sink, writes_file
        from edge.sinks.place import check_alone

        assert self._source is not None
        sinks: dict[str, Sink] = {}
        try:
            for text in texts:
                kept = self._sinks.get(text)
                if kept is None:
                    kept = open_sink(text, fps=self._source.fps, keep=self._keep)
                    if writes_file(text):  # it is opened with the next frame, too late to refuse
                        check_alone(Path(text))
                sinks[text] = kept
        except Exception:
            for text in sinks.keys() - self._sinks.keys():
                release_quietly(f"sink {text}", sinks[text].close)
            raise
        return sinks

    def _refuse(self, error: Exception) -> None:
        reason = error if isinstance(error, OutriderError) else repr(error)
        log.error("the settings were read again, and the old ones stay: %s", reason)
        assert self._pipeline is not None
        self._pipeline.reloaded()


def _differing(old: Settings, new: Settings) -> list[str]:
    """The dotted keys whose values are not the same."""
    return [
        f"{section}.{key}"
        for section in type(old).model_fields
        for key in type(getattr(old, section)).model_fields
        if getattr(getattr(old, section), key) != getattr(getattr(new, section), key)
    ]


def _can_change(key: str) -> bool:
    return key in CHANGE or key.partition(".")[0] in CHANGE
