"""``edge latency``: opens a screen and a source, has them measured and prints what came of it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.figures import JSON, check_figures, write_figures
from edge.say import answer, say
from engines.errors import SettingsError

if TYPE_CHECKING:
    from edge.latency.measure import Latency, Screen
    from edge.settings.settings import Settings
    from edge.sources.base import Source


@click.command()
@click.argument("settings", required=False, type=click.Path(path_type=Path))
@click.option("--source", metavar="S", help="A camera or a stream that sees the pattern.")
@click.option("--source-file", metavar="FILE", help="File whose first line is the source.")
@click.option(
    "--seconds",
    type=click.FloatRange(1, 3600),
    default=10.0,
    show_default=True,
    help="How long, from when the pattern is seen.",
)
@click.option(
    "--page",
    metavar="ADDRESS:PORT",
    help="Show the pattern on a page there, for a phone's screen, instead of in a window.",
)
@JSON
def latency(
    settings: Path | None,
    source: str | None,
    source_file: str | None,
    seconds: float,
    page: str | None,
    json_file: Path | None,
) -> None:
    """Measure how old a picture is when it is read: from a screen's glass to the app.

    A window, or a page, shows a pattern that says the time; point the camera at it. SETTINGS is a
    TOML file, whose [source] is taken. q or Esc in the window and Ctrl-C end it early and print
    what there is.
    """
    from edge.settings.load import load_settings

    loaded = load_settings(settings, {"source.uri": source, "source.uri_file": source_file})
    others = [] if settings is None else [("the settings", settings)]
    to_stdout = check_figures(json_file, source=loaded.source.uri, others=others)
    if source is None and source_file is None and settings is None:
        raise SettingsError("latency: which camera? Name one, such as --source camera:0")

    from edge.latency.measure import Measurement
    from edge.logs import set_up_logs

    set_up_logs(verbose=loaded.log.verbose)
    stop = threading.Event()
    # The window first: a camera that is open queues pictures up.
    with _screen(page) as screen, _source(loaded, stop) as opened:
        say(f"point {opened.name} at the {screen.name}; Ctrl-C ends it")
        found = Measurement(
            opened, screen, seconds=seconds, tell=say, stop=stop,
        ).run()  # fmt: skip
    figures = {"source": opened.name, "screen": screen.name} | found.as_json()
    if not to_stdout:
        answer(table(found))
    if json_file is not None:
        write_figures(figures, json_file)


def table(found: Latency) -> str:
    """The figures as aligned text, and what limits them."""
    figures = found.as_json()
    page = f"; the page's clock is known to {found.clock_ms:.1f} ms" if found.clock_ms else ""
    names = ("min_ms", "p50_ms", "p90_ms", "max_ms")
    lines = [f"{'from the pattern shown':<34}" + "".join(f"{n[:-3]:>9}" for n in names) + "  ms"]
    rows = (("until its frame is read", "total"), ("until it is captured", "before_capture"))
    for words, key in rows:
        lines.append(f"{words:<34}" + "".join(f"{figures[key][name]:>9.1f}" for name in names))
    return "\n".join(
        [
            *lines,
            f"{len(found.total)} patterns on {found.frames} pictures; on {found.mixed} several at "
            f"once, on {found.without} none",
            f"a value is up to {found.too_long_ms:.0f} ms too long: a pattern stays "
            f"{found.pattern_ms:.0f} ms, the camera gives a picture every {found.camera_ms:.0f} ms"
            f"{page}",
            f"captured by the {found.clock} clock: what lies before it is in no frame_age",
        ]
    )


@contextlib.contextmanager
def _screen(address: str | None) -> Iterator[Screen]:
    if address is not None:
        from edge.latency.page import Page

        page = Page(address)
        try:
            yield page
        finally:
            page.close()
        return
    from edge.latency.measure import Window
    from edge.sinks.display import display_answers

    if not display_answers():
        display = os.environ.get("DISPLAY", "")
        got = f"the display {display} does not answer" if display else "DISPLAY is not set"
        raise SettingsError(
            f"latency: {got}, wanted a screen for the pattern; start it on a desktop, or show it "
            "on a phone's: --page 0.0.0.0:8091"
        )
    from edge.sinks.window import WindowSink

    window = WindowSink()
    try:
        yield Window(window.show, window.close)
    finally:
        window.close()


@contextlib.contextmanager
def _source(settings: Settings, stop: threading.Event) -> Iterator[Source]:
    """The source of the settings, which must be live."""
    from edge.sources import open_source

    given = settings.source
    options = replace(given.options(), reconnect=False)
    source = open_source(given.uri, policy="drop", stop=stop, options=options)
    try:
        if not source.live:
            raise SettingsError(
                f"{source.name}: a file, which is never late; wanted a camera or a stream"
            )
        yield source
    finally:
        stop.set()
        source.close()
