"""One run of the app from its settings: assembles the parts, takes signals, reports how it ended.

It listens to signals before it imports anything heavy, so that one during start-up is orderly, too.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from edge.run.ranges import named
from edge.run.reload import Reload
from edge.run.signals import StopSignals
from edge.service.notify import Notifier
from engines.errors import OutriderError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.metrics.observer import Observer
    from edge.proven.trial import Timed
    from edge.run.parts import Ending, Parts
    from edge.run.pipeline import Pipeline
    from edge.run.view import RunView
    from edge.settings.settings import Settings
    from edge.sources.base import Source
    from edge.sources.live.status import SourceStatus
    from edge.sources.options import SourceOptions
    from edge.vision.perception import Perception
    from engines.base import Engine

log = logging.getLogger(__name__)

FAILED_WHILE_RUNNING = 5


def run_app(
    settings: Settings,
    *,
    again: Callable[[], Settings] | None = None,
    observers: Sequence[Observer] = (),
    leave: Callable[[int], Any] = os._exit,
) -> int:
    """Run until the end that the settings name, a signal or an error; returns the exit code.

    Signals have no effect after the return: a second one cannot crash an orderly end. In a service
    SIGHUP calls ``again`` to read the settings anew, elsewhere it ends the run. ``observers`` hear
    of every frame.
    When a thread had to be left behind, ``leave`` is called with the exit code once everything is
    closed and written.

    Raises:
        SettingsError: the metrics file cannot be written where it was asked for.
    """
    notifier = Notifier.from_environ(os.environ)
    reload = Reload(settings, again or (lambda: settings), keep=notifier.active)
    signals = StopSignals(reload.request if notifier.active else None)
    if notifier.active:
        faulthandler.enable()  # the watchdog's SIGABRT then shows where each thread stood
    # cv2 on the main thread before any other: its Qt takes the thread that loads it for the GUI's.
    import cv2

    from edge.metrics.metrics import check_writable, remove_report
    from edge.run.parts import Limits
    from edge.run.pipeline import Pipeline
    from edge.run.terminal import TerminalLine, wants_line
    from edge.sources import kind_of, source_kind
    from edge.sources.live.waits import check_deadlines

    if settings.output.metrics is not None:
        check_writable(settings.output.metrics)
        remove_report(settings.output.metrics)
    # Two threads cost 43 % more CPU a frame for 4 % less time (letterbox and overlay at 960x540),
    # and the other cores are the engine's.
    cv2.setNumThreads(1)
    limits = Limits(
        policy=settings.source.policy,
        max_age_ms=settings.pipeline.max_age_ms,
        frames=settings.pipeline.frames,
        seconds=settings.pipeline.seconds,
        stall_s=settings.source.stall_s,
    )
    options = settings.source.options(in_service=notifier.active)
    if options.reconnect and source_kind(kind_of(settings.source.uri)).may_be_live:
        check_deadlines(options, notifier.watchdog_s)
    if signals.asked.is_set():
        return 0  # nothing is open yet
    timed: list[Timed] = []
    parts = replace(_parts(settings, options, signals.asked, reload, timed), observers=observers)
    parts = named(parts, os.environ)
    pipeline = Pipeline(parts, limits, notifier=notifier)
    signals.attach(pipeline)
    reload.attach(pipeline)
    line = TerminalLine(pipeline, reload.view(), limits) if wants_line(settings) else None
    if line is not None:
        pipeline.each_tick(line.tick)
    ending = pipeline.run()
    if line is not None:
        line.close(ending)
    signals.detach()
    if notifier.active and ending.reason == "end of source" and ending.error is None:
        log.warning("the source has ended, and so does the service: it is not started again")
    code = _report(settings, pipeline, ending, reload.view(), timed)
    if ending.abandoned:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or never there
                stream.flush()
        leave(code)
    return code


def _parts(
    settings: Settings,
    options: SourceOptions,
    asked_to_stop: threading.Event,
    reload: Reload,
    timed: list[Timed],
) -> Parts:
    """How the settings open each part; imports happen on the thread that opens."""
    from edge.run.parts import Parts

    def open_source(stop: threading.Event, tell: Callable[[SourceStatus], None]) -> Source:
        from edge.sources import open_source

        s = settings.source
        return open_source(s.uri, policy=s.policy, stop=stop, options=options, tell=tell)

    return Parts(
        open_perception=lambda: _open_perception(settings, asked_to_stop, timed),
        open_source=open_source,
        open_sinks=reload.open_sinks,
        open_overlay=reload.open_overlay,
    )


def open_model(
    settings: Settings,
    path: Path,
    *,
    timed: list[Timed] | None = None,
    stop: threading.Event | None = None,
) -> Engine:
    """Open one of the models that the settings name; a foreign ONNX is adopted first.

    What 'auto' timed is added to ``timed``.
    """
    from edge.proven.adopt_cache import runnable
    from edge.proven.fastest import fastest
    from engines import open_engine

    frames, model = settings.source.uri, settings.model
    choice = fastest(
        runnable(path, frames, stop=stop),
        model.engine,
        frames,
        named=path,
        precision=model.precision,
        slots=model.slots,
        threads=model.threads,
        stop=stop,
    )
    if timed is not None:
        timed += choice.timed
    if choice.opened is not None:
        return choice.opened
    options = model.model_dump(exclude={"files", "letterbox", "tiles", "engine"})
    return open_engine(choice.file, engine=choice.engine, **options)


def _open_perception(
    settings: Settings, asked_to_stop: threading.Event, timed: list[Timed]
) -> Perception:
    from edge.vision.tiles.tiled import open_perception

    opened: list[Engine] = []
    try:
        for path in settings.model.files:
            opened.append(open_model(settings, path, timed=timed, stop=asked_to_stop))
        model, blur = settings.model, settings.output.blur
        kept = settings.detect.model_dump()
        return open_perception(
            opened, **kept, tiles=model.tiles, letterbox=model.letterbox, blur=blur
        )
    except BaseException:
        for engine in opened:
            engine.close()
        raise


def _report(
    settings: Settings, pipeline: Pipeline, ending: Ending, view: RunView, timed: Sequence[Timed]
) -> int:
    """Print the table and the error, write the metrics; returns the exit code."""
    from edge.metrics.metrics import write_report
    from edge.metrics.table import frame_time_table
    from edge.say import say
    from engines.redact import redact

    errors = [] if ending.error is None else [ending.error]
    report = pipeline.report(model=", ".join(str(path) for path in settings.model.files))
    report["source"] = redact(settings.source.uri)
    if settings.model.tiles != "1x1":
        report["tiles"] = settings.model.tiles
    if timed:
        report["timed"] = [asdict(row) for row in timed]
    report["ended"] = ending.reason
    if ending.error is not None:
        report["error"] = redact(_sentence(ending.error, ending.reason))
    if report["frames"]["captured"]:
        report["verdict"] = view.verdict().as_json()
    wanted = report["frames"]["captured"] and not settings.log.quiet
    if wanted and sys.stderr is not None:  # print would take stdout for it
        with contextlib.suppress(OSError):  # a closed stderr is no reason to fail
            say(frame_time_table(report))
    if settings.output.metrics is not None:
        try:
            write_report(report, settings.output.metrics)
        except OutriderError as exc:
            errors.append(exc)
    for error in errors:
        log.error(
            "%s",
            redact(_sentence(error, ending.reason)),
            exc_info=error if log.isEnabledFor(logging.DEBUG) else None,
        )
    if not errors:
        return 0
    first = errors[0]
    return first.exit_code if isinstance(first, OutriderError) else FAILED_WHILE_RUNNING


def _sentence(error: BaseException, reason: str) -> str:
    """An error of the tree in its own words, any other in one line with its place and kind."""
    if isinstance(error, OutriderError):
        return str(error)
    text = " ".join(str(error).split())
    return f"{reason}: {type(error).__name__}{': ' + text if text else ''}; --verbose shows where"
