"""Settings that are read again during a run: what can change does, what cannot is named and left.

They are read and checked on a thread of their own; the main thread takes them between two pictures,
all of them or none.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.run.view import RunView
from edge.sinks.base import Recording
from engines.errors import OutriderError, SettingsError

if TYPE_CHECKING:
    from edge.run.pipeline import Pipeline
    from edge.settings.settings import Settings
    from edge.sinks.base import Sink
    from edge.sinks.overlay.overlay import Overlay
    from edge.sources.base import Source

log = logging.getLogger(__name__)

CHANGE = ("detect", "overlay", "output.sinks", "output.sink_files", "pipeline.max_age_ms", "log")
"""Sections and keys that can change while a run goes on."""
RECORD = "record"
"""The section that can change while nothing is recorded."""
FROM_OUTSIDE = ("detect", "overlay")
"""Those that sinks may change: what is shown, and never what is written or for how long."""


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
        self._source = source
        for text in self._settings.output.sinks:
            self._sinks[text] = self._open(text)
            yield self._sinks[text]

    def _open(self, text: str) -> Sink:
        """One sink, which gets to see the run where it tells of that."""
        from edge.run.workers import release_quietly
        from edge.sinks import open_sink
        from edge.sinks.base import Watching

        assert self._source is not None
        sink = open_sink(text, fps=self._source.fps, keep=self._keep)
        if isinstance(sink, Watching):
            try:
                sink.watch(self.view())
            except BaseException:
                release_quietly(f"sink {text}", sink.close)
                raise
        return sink

    def open_overlay(self) -> Overlay:
        """The overlay as the settings say."""
        from edge.sinks.overlay.overlay import Overlay

        ignore = self._settings.detect.ignore
        return Overlay(**self._settings.overlay.model_dump(), ignore=ignore)

    def view(self) -> RunView:
        """What may be asked of the run that it is attached to."""
        assert self._pipeline is not None
        return RunView(self._pipeline, lambda: self._settings, self.change)

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
            pipeline.heartbeat.reloading()
            try:
                new = self._read()
            except Exception as exc:  # of any kind: a service goes on as it was
                pipeline.between_frames(partial(self._refuse, exc))
            else:
                pipeline.between_frames(partial(self._take, new))

    def _read(self) -> Settings:
        """The new settings, with those of the run in the place of what cannot change."""
        from edge.settings.load import check_outputs
        from edge.sinks import sink_opener

        new = self._again()
        for text in new.output.sinks:
            sink_opener(text)  # a mistake shows here, and what it imports delays no frame
        left = [key for key in _differing(self._settings, new) if not self._can_change(key)]
        for key in left:
            section, _, name = key.partition(".")
            old = {name: getattr(getattr(self._settings, section), name)}
            new = new.model_copy(update={section: getattr(new, section).model_copy(update=old)})
        if left:
            check_outputs(new, None)  # new outputs beside the old source and models
            log.warning("left as they are, only a restart changes them: %s", ", ".join(left))
        return new

    def change(self, values: Mapping[str, Any]) -> Future[None]:
        """Have values by dotted key taken until the settings are read again, from any thread."""
        done: Future[None] = Future()
        assert self._pipeline is not None
        self._pipeline.between_frames(partial(self._change, dict(values), done))
        return done

    def _change(self, values: dict[str, Any], done: Future[None]) -> None:
        """Answer ``change``; on the main thread."""
        from edge.settings.load import with_values

        if not done.set_running_or_notify_cancel():
            return  # nobody waits any more
        try:
            for key in values:
                if key.partition(".")[0] not in FROM_OUTSIDE:
                    raise SettingsError(
                        f"{key[:40]}: cannot be changed from here, as "
                        f"{' and '.join(f'{each}.*' for each in FROM_OUTSIDE)} can"
                    )
            new = with_values(self._settings, values)
            changed = self._put(new)
        except Exception as exc:
            done.set_exception(exc)
        else:
            if changed:
                log.info("changed while running: %s", changed)
            done.set_result(None)

    def _take(self, new: Settings) -> None:
        """Change what is new in the file; on the main thread."""
        try:
            changed = self._put(new)
        except Exception as exc:
            self._refuse(exc)
            return
        log.info("the settings were read again: %s", changed or "nothing to change")
        assert self._pipeline is not None
        self._pipeline.heartbeat.reloaded()

    def _put(self, new: Settings) -> str:
        """Run on with these settings, all or none of them; returns the keys that differ."""
        from edge.logs import set_up_logs
        from edge.run.workers import release_quietly
        from edge.sinks.record.trigger import check_classes
        from edge.vision.class_names import check_names

        pipeline, old = self._pipeline, self._settings
        assert pipeline is not None
        check_names(new.detect.classes, pipeline.class_names)
        if self._records:
            check_classes(new.record.event_classes, pipeline.class_names, new.detect.classes)
        self._settings = new  # which the sinks that are opened now look at
        try:
            sinks = self._opened(new.output.sinks)
        except BaseException:
            self._settings = old
            raise
        gone = {text: sink for text, sink in self._sinks.items() if text not in sinks}
        self._sinks = sinks
        anew = old.overlay != new.overlay or old.detect.ignore != new.detect.ignore
        pipeline.renderer.change(list(sinks.values()), self.open_overlay, anew=anew)
        pipeline.keep(new.detect.model_dump(), max_age_ms=new.pipeline.max_age_ms)
        for text, sink in gone.items():
            release_quietly(f"sink {text}", sink.close)
        if old.log != new.log:
            set_up_logs(verbose=new.log.verbose, quiet=new.log.quiet)
        return ", ".join(_differing(old, new))

    def _opened(self, texts: Sequence[str]) -> dict[str, Sink]:
        """The sinks of ``texts``: those that are open as they are, the others opened now."""
        from edge.run.workers import release_quietly
        from edge.sinks import writes_file
        from edge.sinks.place import check_alone

        sinks: dict[str, Sink] = {}
        try:
            for text in texts:
                kept = self._sinks.get(text)
                if kept is None:
                    kept = self._open(text)
                    if writes_file(text):  # it is opened with the next frame, too late to refuse
                        check_alone(Path(text))
                sinks[text] = kept
        except Exception:
            for text in sinks.keys() - self._sinks.keys():
                release_quietly(f"sink {text}", sinks[text].close)
            raise
        return sinks

    @property
    def _records(self) -> bool:
        return any(isinstance(sink, Recording) for sink in self._sinks.values())

    def _can_change(self, key: str) -> bool:
        section = key.partition(".")[0]
        if section == RECORD:
            return not self._records
        return key in CHANGE or section in CHANGE

    def _refuse(self, error: Exception) -> None:
        reason = error if isinstance(error, OutriderError) else repr(error)
        log.error("the settings were read again, and the old ones stay: %s", reason)
        assert self._pipeline is not None
        self._pipeline.heartbeat.reloaded()


def _differing(old: Settings, new: Settings) -> list[str]:
    """The dotted keys whose values are not the same."""
    return [
        f"{section}.{key}"
        for section in type(old).model_fields
        for key in type(getattr(old, section)).model_fields
        if getattr(getattr(old, section), key) != getattr(getattr(new, section), key)
    ]
