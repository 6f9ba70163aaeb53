"""The sink that records: what of a run is filmed, and what it refuses and tells."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.sinks import open_sink
from edge.sinks.base import Recording
from edge.sinks.record import coder
from edge.sinks.record import sink as sink_module
from edge.sinks.record.disk import Disk
from edge.sinks.record.ring import Ring
from edge.sinks.record.sink import RecordSink
from edge.sources.live.status import SourceStatus
from edge.vision.types import Frame, Image, Result
from engines.errors import SettingsError, SinkError
from tests.edge.door import EDGE, edge
from tests.edge.media_files import write_video
from tests.edge.sink_values import picture, result
from tests.edge.sinks.record.coded import lines, played
from tests.tiny_models import tiny_street

PERIOD_NS = 40_000_000
DEADLINE_S = 60


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


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


def test_the_overlay_is_filmed_where_that_is_asked_for_and_the_view_of_no_signal_too(
    tmp_path: Path,
) -> None:
    sink = _sink(tmp_path)
    sink._options = replace(sink._options, overlay=True)
    assert sink.wants_image
    lost = SourceStatus("cam", "reconnecting", 0, "unplugged")
    drawn, grey = picture((200, 200, 200)), picture((20, 20, 20))
    assert sink.signal(lost, grey, at_ns=10**12 - PERIOD_NS)  # no frame has given the size yet
    assert sink.write(_seen(0, grey), drawn, frame_age_ms=0)
    drawn[:] = 100  # the pipeline draws the next picture there
    assert sink.signal(lost, None, at_ns=10**12 + 4 * PERIOD_NS)
    assert sink.signal(lost, grey, at_ns=10**12 + 5 * PERIOD_NS)
    sink.close()
    (film,) = _films(tmp_path)
    times, images = played(film)
    assert times == pytest.approx([0, 0.2])
    assert [float(image.mean()) for image in images] == pytest.approx([200, 20], abs=3)
    frame, state = lines(film)
    assert frame["frame"] == 0
    assert (state["event"], state["state"]) == ("source", "reconnecting")


def test_each_overlay_is_filmed_as_it_was_though_all_are_drawn_in_one_place(
    tmp_path: Path,
) -> None:
    sink = _sink(tmp_path)
    sink._waits, sink._options = True, replace(sink._options, overlay=True)
    place = picture((0, 0, 0))
    for number in range(60):
        place[:] = number * 4
        assert sink.write(_seen(number, picture((0, 0, 0))), place, frame_age_ms=0)
    sink.close()
    _, images = played(_films(tmp_path)[0])
    assert [float(image.mean()) for image in images] == pytest.approx(range(0, 240, 4), abs=3)


def test_what_is_too_much_for_one_core_is_encoded_by_two_and_nothing_of_it_is_lost(
    tmp_path: Path,
) -> None:
    sink = RecordSink(f"record:{tmp_path}", fps=coder.ONE_THREAD_PX_S / (64 * 48) + 1)
    _record(sink, 40)
    sink.close()
    (film,) = _films(tmp_path)
    times, images = played(film)
    assert times == pytest.approx([n / 25 for n in range(40)])
    assert [float(image.mean()) for image in images] == pytest.approx(range(40), abs=3)
    assert [line["frame"] for line in lines(film)] == list(range(40))


def test_frames_of_another_size_go_to_a_film_of_their_own(tmp_path: Path) -> None:
    sink = _sink(tmp_path)
    _record(sink, 3, wh=(64, 48))
    _record(sink, 3, first=3, wh=(48, 64))
    _record(sink, 3, first=6, wh=(48, 63))  # the odd row comes twice
    sink.close()
    first, second = (played(film) for film in _films(tmp_path))
    assert {image.shape for image in first[1]} == {(48, 64, 3)}
    assert {image.shape for image in second[1]} == {(64, 48, 3)}
    assert [len(first[0]), len(second[0])] == [3, 6]


def test_a_gap_of_days_between_two_pictures_harms_no_film(tmp_path: Path) -> None:
    sink = _sink(tmp_path)
    sink._waits = True
    for number, at_s in enumerate((0, 100_000, 100_001)):
        seen = _seen(number, picture((90, 90, 90)))
        seen = replace(seen, frame=replace(seen.frame, t_capture_ns=at_s * 10**9))
        assert sink.write(seen, None, frame_age_ms=0)
    sink.close()
    assert sink.state().missed == 0
    first, second = _films(tmp_path)
    assert played(first)[0] == [0]
    assert played(second)[0] == [0, 1]


def test_what_is_not_encoded_is_told_counted_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coder, "RETRY_S", 0.0)
    sink = _sink(tmp_path)
    monkeypatch.setattr("edge.h264.encoder.MOST_SIDE", 1 << 20)  # libx264 takes 16,384
    with caplog.at_level(logging.INFO):
        _record(sink, 2, wh=(20_000, 4))
        _until(lambda: sink.state().missed == 2)
        assert str(sink.state().alarm).startswith("H.264 by libx264, 20000x4: ")
        _record(sink, 3, first=2)
        _until(lambda: sink.state().alarm is None)
        sink.close()
    assert caplog.text.count("nothing is recorded: H.264 by libx264") == 1
    assert "3 pictures recorded, 2 missed" in caplog.text
    assert len(played(_films(tmp_path)[0])[0]) == 3


def test_a_machine_that_encodes_no_h264_is_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise SinkError("H.264 by libx264, 64x48: Encoder not found")

    monkeypatch.setattr(sink_module, "open_encoder", nothing)
    with pytest.raises(SinkError, match=r"H\.264 by libx264"):
        _sink(tmp_path)


def test_a_live_run_is_never_held_up_and_one_that_waits_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    live = _sink(tmp_path / "live")
    images = np.random.default_rng(0).integers(0, 255, (40, 360, 640, 3), np.uint8)
    for number, image in enumerate(images):  # in no time
        assert live.write(_seen(number, image), None, frame_age_ms=0)
    live.close()
    state = live.state()
    assert 0 < state.missed <= 40 - coder.MOST_WAITING
    (film,) = _films(tmp_path / "live")
    assert len(played(film)[0]) == len(lines(film)) == 40 - state.missed
    assert caplog.text.count("pictures come faster than they are encoded") == 1
    waits = _sink(tmp_path / "waits")
    waits._waits = True
    for number, image in enumerate(images):
        assert waits.write(_seen(number, image), None, frame_age_ms=0)
    waits.close()
    assert waits.state().missed == 0
    assert len(played(_films(tmp_path / "waits")[0])[0]) == 40


def test_many_marks_at_once_take_no_pictures_place(tmp_path: Path) -> None:
    sink = _sink(tmp_path)
    large = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), np.uint8)
    sink.write(_seen(0, large), None, frame_age_ms=0)  # takes the encoder a while
    for _ in range(100):
        sink.mark("storm")
    sink.write(_seen(1, large), None, frame_age_ms=0)
    sink.close()
    assert sink.state().missed == 0


def test_of_large_pictures_few_wait_for_the_encoder(tmp_path: Path) -> None:
    disk = Disk(Ring(tmp_path, keep_bytes=1, free_bytes=0), segment_s=60)
    idle = coder.Coder("record:films", disk, fps=30, segment_s=60, waits=False)
    image = np.zeros((2160, 3840, 3), np.uint8)  # 25 MB, of which two lie within 64 MiB
    for number in range(10):
        idle.put(coder.Picture(image, number, None, number))
    assert idle.missed == 7


def test_two_recorders_in_one_folder_are_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    first, second = _sink(tmp_path), _sink(tmp_path)  # as edge check opens it
    _record(first, 1)
    with pytest.raises(SettingsError, match="another run records there; give each run a folder"):
        _record(second, 1)
    second.close()
    _record(first, 1, first=1)
    first.close()
    assert len(lines(_films(tmp_path)[0])) == 2
    third = _sink(tmp_path)
    _record(third, 1)
    third.close()
    assert len(_films(tmp_path)) == 2


def test_what_is_no_folder_is_refused_with_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    for text, words in (
        ("record", "wanted record:DIR"),
        ("record:", "wanted record:DIR"),
        (f"record:{tmp_path}/a", "is a file, wanted the name of a folder"),
        (f"record:{tmp_path}/none/films", f"mkdir -p {tmp_path}/none"),
        (f"record:{tmp_path}/{'a' * 300}", "File name too long"),
        ("record:/proc/films", "cannot be used|no permission"),
    ):
        with pytest.raises(SettingsError, match=words):
            _record(open_sink(text, fps=None), 1)  # type: ignore[arg-type]


def test_a_clip_is_kept_on_request_and_named_at_once(tmp_path: Path) -> None:
    sink = _sink(tmp_path)
    with pytest.raises(SinkError, match="nothing is recorded now"):
        sink.mark("too early")
    _record(sink, 30)
    assert sink.state().clips == 0
    name = sink.mark("button")
    assert sink.state().clip == name
    _record(sink, 30, first=30)
    sink.close()
    with pytest.raises(SinkError, match="nothing is recorded now"):
        sink.mark("too late")
    (clip,) = _films(tmp_path / "clips")
    assert clip.name == name
    assert [line.get("frame", line.get("reason")) for line in lines(clip)] == ["button", *range(60)]
    assert len(played(clip)[0]) == 60
    assert lines(clip)[0]["film_s"] == 29 / 25  # the newest picture then
    (film,) = _films(tmp_path)
    assert [line["clip"] for line in lines(film) if "event" in line] == [name]
    state = sink.state()
    assert (state.clip, state.clips, state.alarm) == (None, 1, None)
    assert state.kept_bytes == sum(path.stat().st_size for path in tmp_path.rglob("*.*"))


def test_a_video_is_recorded_whole_by_its_settings(tmp_path: Path) -> None:
    write_video(tmp_path / "in.mp4", count=60, wh=(130, 70), noise=True)
    tiny_street(tmp_path / "tiny.onnx")
    (tmp_path / "set").mkdir()
    text = '[source]\nuri = "../in.mp4"\n[model]\nfiles = ["../tiny.onnx"]\n'
    text += '[output]\nsinks = ["record:films"]\n[record]\nsegment_s = 1.0\n'
    (tmp_path / "set/run.toml").write_text(text)
    done = edge("run", "set/run.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "60 pictures recorded, 0 missed" in done.stderr
    films = _films(tmp_path / "set/films")
    assert [len(played(film)[0]) for film in films] == [25, 25, 10]
    assert [line["frame"] for film in films for line in lines(film)] == list(range(60))


def test_a_signal_ends_a_live_recording_in_time_with_its_last_picture(tmp_path: Path) -> None:
    tiny_street(tmp_path / "tiny.onnx")
    source = ["--source", "synthetic:320x240@50", "--model", "tiny.onnx", "--policy", "drop"]
    with subprocess.Popen(
        [*EDGE, "run", *source, "--sink", "record:films", "--metrics", "m.json"],
        cwd=tmp_path,
        env=os.environ | {"DISPLAY": ""},
        stderr=subprocess.PIPE,
    ) as run:
        _until(lambda: bool(_films(tmp_path / "films")))
        run.send_signal(signal.SIGTERM)
        began = time.monotonic()
        _, told = run.communicate(timeout=DEADLINE_S)
    assert run.returncode == 0, told
    assert time.monotonic() - began < 5
    (film,) = _films(tmp_path / "films")
    rendered = json.loads((tmp_path / "m.json").read_text())["frames"]["rendered"]
    assert len(played(film)[0]) == len(lines(film)) == rendered
