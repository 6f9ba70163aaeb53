"""``edge check``: opens what a settings file names, says what it found, and runs nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.say import answer

if TYPE_CHECKING:
    from edge.settings.settings import Settings
    from engines.base import Engine


@click.command()
@click.argument("settings", type=click.Path(path_type=Path))
@click.pass_context
def check(context: click.Context, /, settings: Path) -> None:
    """Validate SETTINGS, its models and its source without running.

    Every part is looked at, also after one that is wrong. Exits 0 when all is well, else as
    'edge run' would for the first thing that is wrong: 2 settings, 3 source, 4 model.
    """
    from edge.settings.load import load_settings

    loaded = load_settings(settings)

    from edge.logs import set_up_logs
    from engines.errors import OutriderError

    set_up_logs(verbose=loaded.log.verbose)
    answer(f"settings  ok       {settings}")
    parts: list[tuple[str, Callable[[Settings], Iterator[str]]]] = [
        ("model", _models),
        ("source", _source),
        ("output", _sinks),
        ("web", _pages),
    ]
    code = 0
    for name, look in parts:
        try:
            for line in look(loaded):
                answer(f"{name:<9} ok       {line}")
        except OutriderError as exc:
            answer(f"{name:<9} WRONG    {exc}")
            code = code or exc.exit_code
    context.exit(code)


def _models(settings: Settings) -> Iterator[str]:
    """Open every model, which compares its tensors with its spec, and look for the classes."""
    from edge.run.app import open_model
    from edge.sinks.record.trigger import check_classes
    from edge.vision.tiles.tiled import open_perception

    opened: list[Engine] = []
    try:
        for path in settings.model.files:
            engine = open_model(settings, path)
            opened.append(engine)
            size = f"{engine.spec.input.width}x{engine.spec.input.height}"
            yield f"{path}: {size} in {engine.name} at {engine.precision}"
            head = engine.spec.detection
            if head is not None:
                yield f"  boxes of {len(head.classes)} classes: {_some(head.classes)}"
            for mask in engine.spec.masks:
                yield f"  mask {mask.name}: {_some(mask.classes)}"
        model, blur = settings.model, settings.output.blur
        perception = open_perception(
            opened, tiles=model.tiles, classes=settings.detect.classes, letterbox=model.letterbox,
            blur=blur,
        )  # fmt: skip
        events, kept = settings.record.event_classes, settings.detect.classes
        check_classes(events, perception.class_names, kept)
        if blur:
            yield f"blurred on all pictures: {_some(blur)}"
    finally:
        for engine in opened:
            engine.close()


def _source(settings: Settings) -> Iterator[str]:
    """Open the source and read one frame."""
    from edge.sources import open_source

    given = settings.source
    options = replace(given.options(), reconnect=False)  # an absent camera is what is asked for
    source = open_source(given.uri, policy=given.policy, stop=threading.Event(), options=options)
    try:
        frame = source.read()
        kind = "live" if source.live else "a file"
        rate = "an unknown rate" if source.fps is None else f"{source.fps:g} fps"
        size = "no frame" if frame is None else f"{frame.wh[0]}x{frame.wh[1]}"
        yield f"{source.name}: {kind}, {size} at {rate}"
    finally:
        source.close()


def _sinks(settings: Settings) -> Iterator[str]:
    """Open every sink; none writes before its first frame."""
    from edge.sinks import open_sink

    for text in settings.output.sinks:
        sink = open_sink(text, fps=None)
        sink.close()
        yield sink.name
    metrics = settings.output.metrics
    if metrics is not None:
        from edge.metrics.metrics import check_writable

        check_writable(metrics)
        yield f"metrics in {metrics}"


def _pages(settings: Settings) -> Iterator[str]:
    """Who may look at each page."""
    from edge.web.access.rules import check_access
    from edge.web.address import read_address

    scheme = "http" if settings.web.tls_cert is None else "https"
    for text, who in check_access(settings.output.sinks, settings.web):
        yield f"{text}: {read_address(text).reachable().url(scheme)}, {who}"


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
