"""Profiles one run: the run as it always is, looked on by a trace and a report; it measures none.

However the run ends, the folder has a whole report: one that says so is there from the start.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edge.machine.doctor import machine, versions
from edge.machine.nvidia import jetson
from edge.metrics.metrics import check_writable, remove_report, write_report
from edge.profile.folder import Folder
from edge.profile.report import Report, write_page
from edge.profile.trace import Trace
from edge.run.app import run_app
from edge.settings.load import check_outputs
from edge.settings.settings import Settings
from edge.sinks import folder_of, writes_file
from edge.telemetry.telemetry import Telemetry
from engines.errors import OutriderError, SettingsError, SinkError
from engines.redact import redact

log = logging.getLogger(__name__)

UNFINISHED = {
    "ended": "not at all",
    "error": "The report was not finished: the process was killed, the disk was full, or it still "
    "runs.",
}


def run_profile(
    settings: Settings, path: Path, *, again: Callable[[], Settings], settings_file: Path | None
) -> int:
    """Run with the settings and leave a profile in the folder ``path``; returns the exit code.

    Raises:
        SettingsError: the folder is refused, or a setting.
        SinkError: the profile cannot be written.
    """
    folder = Folder(path)
    run = _into(settings, folder, settings_file)
    if settings.output.metrics is not None:
        remove_report(settings.output.metrics)
    left_behind: list[int] = []
    with folder.taken():
        code = _profiled(run, folder, again, left_behind.append)
    if settings.output.metrics is not None:
        write_report(_metrics(folder), settings.output.metrics)
    log.info("profile: %s and, for https://ui.perfetto.dev, %s", folder.report, folder.trace)
    if left_behind:  # a thread that does not come back would keep the process
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    return code


def _profiled(
    settings: Settings,
    folder: Folder,
    again: Callable[[], Settings],
    leave: Callable[[int], object],
) -> int:
    """Run, and write the report at its end; returns the exit code."""
    report = Report()
    _write(folder, report, settings, UNFINISHED)
    telemetry = Telemetry(tell=lambda sample: report.sample(sample, time.monotonic_ns()))
    trace = Trace(folder.trace, telemetry=telemetry)
    telemetry.start()
    try:
        code = run_app(settings, again=again, observers=(report, trace), leave=leave)
    except OutriderError as exc:
        _write(folder, report, settings, {"ended": "before it began", "error": redact(str(exc))})
        raise
    finally:
        trace.close()
        telemetry.close()
    _write(folder, report, settings, _metrics(folder))
    return code


def _into(settings: Settings, folder: Folder, settings_file: Path | None) -> Settings:
    """The settings with the metrics in the folder, where nothing else is to be written."""
    if settings.output.metrics is not None:
        check_writable(settings.output.metrics)
    for file in _written(settings):
        if Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder.path)):
            raise SettingsError(
                f"{file}: lies in -o {folder.path}, which is the profile's alone; write it "
                "elsewhere"
            )
    output = settings.output.model_copy(update={"metrics": folder.metrics})
    run = settings.model_copy(update={"output": output})
    check_outputs(run, settings_file)
    return run


def _written(settings: Settings) -> Iterator[str | Path]:
    """The files of the run, and the folders of its recordings."""
    output = settings.output
    yield from [] if output.metrics is None else [output.metrics]
    for text in output.sinks:
        if (place := folder_of(text) or (text if writes_file(text) else None)) is not None:
            yield os.path.expanduser(place)


def _metrics(folder: Folder) -> dict[str, Any]:
    """What the run wrote; where it could not, the run has said so itself."""
    try:
        metrics: dict[str, Any] = json.loads(folder.metrics.read_bytes())
    except (OSError, ValueError):
        return {"ended": "before anything was measured", "error": "There are no metrics."}
    return metrics


def _write(folder: Folder, report: Report, settings: Settings, metrics: dict[str, Any]) -> None:
    try:
        write_page(folder.report, report.data(settings, metrics, list(_what(settings, metrics))))
    except OSError as exc:
        raise SinkError(
            f"profile {folder.report}: cannot be written: {exc.strerror}; make room or choose "
            "another folder"
        ) from exc


def _what(settings: Settings, metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What was run, on what."""
    sinks = ", ".join(redact(text) for text in settings.output.sinks)
    yield "source", redact(settings.source.uri)
    yield "models", ", ".join(str(path) for path in settings.model.files)
    if engine := metrics.get("engine"):
        yield "engine", f"{engine} at {metrics['precision']}"
    if tiles := metrics.get("tiles"):
        yield "tiles", f"{tiles} and the whole frame"
    yield "sinks", sinks + (", so nothing is drawn or kept" if sinks == "null" else "")
    limits = settings.pipeline.model_dump(exclude_none=True)
    asked = ", ".join(f"{name} {value:g}" for name, value in limits.items())
    yield "policy", f"{settings.source.policy}{', ' + asked if asked else ''}"
    if settings.model.threads or settings.model.slots:
        kept = settings.model.model_dump(include={"threads", "slots"}, exclude_none=True)
        yield "asked of the engine", ", ".join(f"{name} {value}" for name, value in kept.items())
    if metrics.get("cpu_ms_per_frame") is not None:
        yield "processor", f"{metrics['cpu_ms_per_frame']:.1f} ms of all cores a frame"
        yield "peak memory", f"{metrics['peak_rss_mb']:.0f} MB"
    root = Path("/")
    for finding in (*jetson(root, lambda _: None), *machine(root), *versions()):
        if finding.status == "ok" and finding.name != "instructions":
            yield finding.name, finding.text
