"""A delay that is known is found within a frame, through a real source."""

from __future__ import annotations

import functools
import statistics
import threading
import time
from collections.abc import Iterator

import pytest

from edge.latency.measure import REFRESH_S, Latency, Measurement, Window
from edge.latency.pattern import draw
from edge.sources import open_source
from edge.vision.types import Frame
from engines.errors import SourceError
from tests.edge.latency.filming import DelayLine, filmed
from tests.edge.scripted import ScriptedSource, frame

FRAME_MS = 1e3 / 30
"""Of the camera."""


def measured(line: DelayLine, *, seconds: float) -> tuple[Latency, list[str]]:
    told: list[str] = []
    stop = threading.Event()
    with line.served() as url:
        source = open_source(url, policy="drop", stop=stop)
        try:
            screen = Window(line.show)
            run = Measurement(source, screen, seconds=seconds, tell=told.append, stop=stop)
            return run.run(), told
        finally:
            source.close()


@pytest.mark.timing
def test_a_known_delay_is_found_within_a_frame() -> None:
    delay_s = 0.12
    line = DelayLine(delay_s, film=functools.partial(filmed, noise=10, blur=1))
    found, _ = measured(line, seconds=1)
    figures, truth_ms = found.as_json(), statistics.median(line.late_ms)
    assert truth_ms >= 1e3 * delay_s
    assert figures["samples"] >= 5
    assert figures["camera_period_ms"] == pytest.approx(FRAME_MS, rel=0.5)
    assert 1e3 * REFRESH_S - 0.1 <= found.too_long_ms <= figures["camera_period_ms"]
    assert abs(figures["total"]["p50_ms"] - truth_ms) < FRAME_MS
    # A stream's frames are captured when they are read, as far as anybody knows.
    assert figures["before_capture"]["p50_ms"] <= figures["total"]["p50_ms"]


@pytest.mark.timing
def test_where_the_camera_exposes_long_patterns_stay_longer_and_the_delay_is_found() -> None:
    line = DelayLine(0.1, exposure_s=0.04)
    found, told = measured(line, seconds=2)
    assert any("each now stays" in words for words in told)
    assert found.pattern_ms > 1e3 * REFRESH_S
    # A pattern is clear once a whole exposure saw nothing else.
    total_ms = found.as_json()["total"]["min_ms"]
    assert 100 <= total_ms <= 100 + 40 + FRAME_MS + max(line.late_ms) - min(line.late_ms)


def test_a_source_that_breaks_and_one_that_ends_are_told() -> None:
    for item, words in ((SourceError("the cable is out"), "the cable is out"), (None, "it ended")):
        source = ScriptedSource([frame(0)] + ([item] if item is not None else []), live=True)
        stop = threading.Event()
        screen = Window(lambda _: True)
        run = Measurement(source, screen, seconds=1, tell=print, stop=stop)
        with pytest.raises(SourceError, match=words):
            run.run()


def test_of_several_pictures_of_a_pattern_the_first_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge.latency.measure.SETTLE_S", 0)
    second_ns, told = 1_000_000_000, list[str]()

    def frames() -> Iterator[Frame | SourceError]:
        for number in range(30):
            # Shown at whole seconds, read 50, 60 and 70 ms later, captured 20 ms before that.
            shown_ns = (1000 + number // 3) * second_ns
            read_ns = shown_ns + (50 + 10 * (number % 3)) * 1_000_000
            image = draw(shown_ns)
            yield Frame(image, number, read_ns - 20_000_000, read_ns, "driver", "scripted")
        yield SourceError("unplugged")

    source = ScriptedSource(frames(), live=True, on_read=lambda: threading.Event().wait(0.02))
    stop, screen = threading.Event(), Window(lambda _: True)
    run = Measurement(source, screen, seconds=9, tell=told.append, stop=stop)
    found = run.run()
    assert told[-1] == "ended early: unplugged"
    assert found.clock == "driver"
    assert found.frames > len(found.total) > 0
    assert len(found.total) <= 10
    assert statistics.median(found.total) == 50
    assert [
        total - before for total, before in zip(found.total, found.before_capture, strict=True)
    ] == ([20] * len(found.total))


def test_a_window_that_is_closed_ends_it_with_what_was_wrong() -> None:
    source = ScriptedSource((frame(i) for i in range(10**9)), live=True)
    source.on_read = lambda: time.sleep(0.01)
    shown = iter([True] * 20 + [False])
    stop, closed = threading.Event(), threading.Event()
    screen = Window(lambda _: next(shown), closed.set)
    run = Measurement(source, screen, seconds=1, tell=print, stop=stop)
    with pytest.raises(SourceError, match=r"no pattern was read on \d+ pictures: the picture is"):
        run.run()
    assert closed.is_set()
