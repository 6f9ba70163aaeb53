"""The sink that records: what of a run is filmed, and what it refuses and tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.sinks import open_sink
from edge.sinks.base import Recording
from edge.sinks.record.sink import RecordSink
from edge.vision.types import Frame, Image, Result
from tests.edge.sink_values import picture, result
from tests.edge.sinks.record.coded import lines, played

MS = 1_000_000
PERIOD_NS = 40 * MS


def _sink(folder: Path) -> RecordSink:
    sink = open_sink(f"record:{folder}", fps=25.0)
    assert isinstance(sink, RecordSink)
    assert isinstance(sink, Recording)
    return sink


def _seen(number: int, image: Image) -> Result:
    """The result of a frame that is ``image``."""
    blank = result(number)
    at_ns = 10**12 + number * PERIOD_NS
    frame = Frame(image, number, at_ns, at_ns, "read", "scene")
    return Result(frame, blank.detections, blank.classes, (), {}, 0, 0, 0)


def _record(
    sink: RecordSink, count: int, *, first: int = 0, wh: tuple[int, int] = (64, 48)
) -> None:
    """Give it grey frames as fast as it takes them."""
    for number in range(first, first + count):
        sink._waits = True  # none is missed
        assert sink.write(_seen(number, picture((number,) * 3, wh=wh)), None, frame_age_ms=1.5)


def _films(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.mp4"))


def test_frames_are_filmed_as_they_are_in_full_size_each_with_its_line(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    sink = _sink(folder)
    assert not sink.wants_image
    _record(sink, 40, wh=(130, 70))
    sink.close()
    (film,) = _films(folder)
    times, images = played(film)
    assert times == pytest.approx([n / 25 for n in range(40)])
    assert {image.shape for image in images} == {(70, 130, 3)}
    assert [float(image.mean()) for image in images] == pytest.approx(range(40), abs=3)
    assert [line["frame"] for line in lines(film)] == list(range(40))
    assert {line["frame_age_ms"] for line in lines(film)} == {1.5}
    state = sink.state()
    assert (state.folder, state.alarm, state.missed) == (str(folder), None, 0)
    assert state.kept_bytes == sum(path.stat().st_size for path in folder.iterdir())
