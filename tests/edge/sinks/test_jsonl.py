"""JSON lines: the exact record, live lines, whole lines on a full disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.sinks import open_sink
from edge.sinks.jsonl import JsonlSink
from edge.sources.live.status import SourceStatus
from edge.vision.letterbox import Letterbox
from edge.vision.types import Detections, Image, Mask
from engines.errors import SinkError
from engines.spec import InputSpec
from tests.edge.sink_values import result

# A 64x48 frame in a 64x64 input: scale 1, 8 rows of padding above and below.
BOX = Letterbox.fit((64, 48), InputSpec("image", 64, 64))
OUTPUT = Path(__file__).resolve().parents[3] / "docs" / "OUTPUT.md"


LOST = SourceStatus("cam", "reconnecting", 5, "cam: unplugged")
LIVE = SourceStatus("cam", "live", 9)


def test_a_new_state_of_the_source_is_one_line_with_the_documented_fields(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    sink = open_sink(str(path), fps=None)
    assert sink.signal(LIVE, None, at_ns=1)  # nothing happened before it
    for at_ns in (6, 7, 8):  # the view of no signal is shown again and again
        assert sink.signal(LOST, None, at_ns=at_ns)
    assert sink.write(result(0), None, frame_age_ms=1)
    assert sink.signal(LIVE, None, at_ns=10)
    sink.close()
    lost, frame, live = map(json.loads, path.read_text().splitlines())
    documented = OUTPUT.read_text()
    assert [key for key in lost if f"`{key}`" not in documented] == []
    assert lost == {
        "event": "source",
        "t_ns": 6,
        "source": "cam",
        "state": "reconnecting",
        "since_ns": 5,
        "reason": "cam: unplugged",
    }
    assert frame["frame"] == 0
    assert (live["state"], live["since_ns"], live["reason"]) == ("live", 9, "")


def test_a_state_that_cannot_be_written_is_told_in_words(tmp_path: Path) -> None:
    sink = JsonlSink("/dev/full", fps=None)
    with pytest.raises(SinkError, match="cannot write that the source is reconnecting: No space"):
        sink.signal(LOST, None, at_ns=1)


def _mask(labels: Image, classes: tuple[str, ...] = ("sky", "road")) -> Mask:
    return Mask("street", classes, (), labels, BOX)


def _boxes(n: int) -> Detections:
    return Detections(
        np.tile(np.array([[1.2345, 2, 30.5, 40]], np.float32), (n, 1)),
        np.full(n, 0.87654, np.float32),
        np.full(n, 1, np.int32),
        np.full(n, -1, np.int32),
    )


def test_a_line_has_exactly_the_documented_fields(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    labels = np.zeros((16, 16), np.uint8)  # a quarter of the input: the frame is rows 2 to 13
    labels[2:5] = 1  # 3 of the frame's 12 rows
    sink = open_sink(str(path), fps=25.0)
    found, masks = _boxes(1), (_mask(labels),)
    given = result(7, t_capture_ns=5, media_ns=280, detections=found, masks=masks, dropped=2)
    sink.write(given, None, frame_age_ms=12.34567)
    sink.close()
    line = json.loads(path.read_text())
    parts = (line, line["detections"][0], line["masks"][0])
    documented = OUTPUT.read_text()
    assert [key for part in parts for key in part if f"`{key}`" not in documented] == []
    assert line == {
        "frame": 7,
        "t_capture_ns": 5,
        "clock": "read",
        "media_ns": 280,
        "source": "scene",
        "wh": [64, 48],
        "frame_age_ms": 12.346,
        "source_delay_ms": 0.0,
        "dropped": 2,
        "detections": [
            {
                "xyxy": [1.23, 2.0, 30.5, 40.0],
                "score": 0.8765,
                "class_id": 1,
                "class": "sign",
                "track_id": -1,
            }
        ],
        "masks": [{"name": "street", "share": {"sky": 0.75, "road": 0.25}}],
    }


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_box_is_in_the_line(count: int, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    sink = open_sink(str(path), fps=25.0)
    sink.write(result(0, detections=_boxes(count)), None, frame_age_ms=0)
    assert len(json.loads(path.read_text())["detections"]) == count  # before it is closed
    sink.close()


def test_an_older_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old\n" * 1000)
    sink = open_sink(str(path), fps=None)
    assert path.read_text().startswith("old")  # nothing is lost before there is a first frame
    sink.write(result(0), None, frame_age_ms=0)
    sink.close()
    assert [json.loads(line)["frame"] for line in path.read_text().splitlines()] == [0]


FULL_DISK = """
import resource, signal, sys
from edge.sinks import open_sink
from engines.errors import SinkError
from tests.edge.sink_values import result
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
sink = open_sink(sys.argv[1], fps=None)
try:
    for i in range(100):
        sink.write(result(i), None, frame_age_ms=0)
except SinkError as exc:
    print(exc)
    sink.close()
    sys.exit(exc.exit_code)
"""


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 5, done.stderr
    text = path.read_text()
    assert text.endswith("\n")
    frames = [json.loads(line)["frame"] for line in text.splitlines()]
    assert frames == list(range(len(frames)))
    assert len(frames) >= 2
    assert f"cannot write frame {len(frames)}" in done.stdout


def test_a_device_without_space_is_a_sink_error(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.symlink_to("/dev/full")
    sink = open_sink(str(path), fps=None)
    with pytest.raises(SinkError, match="No space left"):
        sink.write(result(0), None, frame_age_ms=0)
    sink.close()


def test_a_reader_that_goes_away_is_a_wish_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        sink = open_sink("-", fps=None)
        assert sink.write(result(0), None, frame_age_ms=0)
        assert json.loads(os.read(reader, 65536))["frame"] == 0  # there at once
        os.close(reader)
        assert not sink.write(result(1), None, frame_age_ms=0)
        assert not sink.write(result(2), None, frame_age_ms=0)
        sink.close()
