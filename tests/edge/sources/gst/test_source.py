"""Real pipelines of GStreamer: pictures, dates, drops, failures, deadlines, and a clean end."""

from __future__ import annotations

import gc
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edge.sources import SourceOptions, open_source
from edge.sources.gst.source import GstSource, open_pipeline
from edge.sources.options import Policy
from edge.vision.types import Frame
from engines.errors import OutriderError, SettingsError, SourceError
from tests.edge import loopback
from tests.edge.door import edge
from tests.edge.gst_here import needs_gst
from tests.edge.media_files import number_of, write_video

PATIENT = SourceOptions(open_timeout_s=30, read_timeout_s=30)
IMPATIENT = SourceOptions(open_timeout_s=1, read_timeout_s=1)
SLACK_S = 4.0
SMALL = "video/x-raw,width=64,height=48,framerate=50/1"


@pytest.fixture(autouse=True)
def _gst() -> None:
    needs_gst()


def opened(
    pipeline: str,
    options: SourceOptions = PATIENT,
    policy: Policy = "auto",
    stop: threading.Event | None = None,
) -> GstSource:
    """One connection, without the supervisor of live ones."""
    return open_pipeline(
        f"gst:{pipeline}", policy=policy, stop=stop or threading.Event(), options=options
    )


def read(source: GstSource, count: int) -> list[Frame]:
    frames = [source.read() for _ in range(count)]
    assert None not in frames
    return [f for f in frames if f is not None]


def wait_until_arrived(source: GstSource, count: int) -> None:
    """Return when that many pictures have reached the sink; the source is not read."""
    deadline = time.monotonic() + 30
    while source._run.sink.get_property("stats").get_uint64("rendered")[1] < count:
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def test_a_pipeline_says_the_shape_of_its_pixels() -> None:
    source = opened(f"videotestsrc num-buffers=1 ! {SMALL},pixel-aspect-ratio=12/11")
    (frame,) = read(source, 1)
    assert frame.pixel_aspect == Fraction(12, 11)
    source.close()


@pytest.mark.parametrize("width", [64, 641])  # 641 * 3 is no multiple of 4: rows are padded
def test_a_picture_is_bgr_upright_and_without_its_padding(width: int) -> None:
    source = opened(f"videotestsrc num-buffers=1 ! video/x-raw,width={width},height=48,format=RGB")
    (frame,) = read(source, 1)
    source.close()
    assert frame.image.shape == (48, width, 3)
    assert not frame.image.flags.writeable
    # SMPTE bars: white, yellow, cyan, green, magenta, red, blue over the upper two thirds.
    middles = [round(width * (2 * bar + 1) / 14) for bar in range(7)]
    wanted = [
        *((255, 255, 255), (0, 255, 255), (255, 255, 0), (0, 255, 0)),
        *((255, 0, 255), (0, 0, 255), (255, 0, 0)),
    ]
    for row in range(30):
        assert [tuple(map(int, frame.image[row, x])) for x in middles] == wanted
    assert frame.image[-4:].mean() < 128  # below them it is dark


def test_a_pipeline_over_a_file_waits_and_gives_every_picture_once(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.avi", count=12, codec="mjpeg")
    source = opened(f'filesrc location="{video}" ! avidemux ! jpegdec')
    assert (source.live, source.fps) == (False, 25.0)
    frames = read(source, 12)
    assert source.read() is None
    assert source.read() is None
    source.close()
    assert [number_of(f.image) for f in frames] == list(range(12))
    assert [f.media_ns for f in frames] == [n * 40_000_000 for n in range(12)]
    assert {f.clock for f in frames} == {"read"}
    assert source.gaps == 0


def test_a_pipeline_over_a_file_waits_for_no_clock() -> None:
    started = time.monotonic()
    source = opened("videotestsrc num-buffers=30 ! video/x-raw,width=64,height=48,framerate=1/1")
    read(source, 30)
    source.close()
    assert time.monotonic() - started < 15  # of 29 s


def test_a_pipeline_over_a_file_keeps_its_own_pace_under_drop() -> None:
    source = opened(f"videotestsrc num-buffers=11 ! {SMALL}", policy="drop")
    frames = read(source, 11)
    source.close()
    # The eleventh picture is due 10 / 50 s after the first.
    assert (frames[-1].t_read_ns - frames[0].t_read_ns) / 1e9 >= 0.199


def test_a_picture_a_minute_is_waited_for_under_drop() -> None:
    slow, stop = "video/x-raw,width=64,height=48,framerate=1/60", threading.Event()
    source = opened(f"videotestsrc num-buffers=3 ! {slow}", policy="drop", stop=stop)
    read(source, 1)
    results: list[Frame | None] = []
    reader = threading.Thread(target=lambda: results.append(source.read()))
    reader.start()
    reader.join(1)
    assert reader.is_alive()
    stop.set()
    reader.join(SLACK_S)
    assert results == [None]
    source.close()


def test_a_live_pipeline_is_dated_by_its_own_timestamps_on_the_monotonic_clock() -> None:
    before_ns = time.monotonic_ns()
    source = opened(f"videotestsrc is-live=true ! {SMALL}")
    assert (source.live, source.fps) == (True, 50.0)
    frames = read(source, 20)
    source.close()
    assert {f.clock for f in frames} == {"driver"}
    assert {f.media_ns for f in frames} == {None}
    assert frames[0].t_capture_ns >= before_ns
    assert all(0 <= f.t_read_ns - f.t_capture_ns < 1_000_000_000 for f in frames)
    # Stamped when it was due, not when it was read: exactly 20 ms apart (or a multiple after a
    # drop), but for the rounding of a period to whole nanoseconds. The first is stamped late.
    dates = [f.t_capture_ns for f in frames[1:]]
    steps = [later - earlier for earlier, later in pairwise(dates)]
    assert min(steps) > 0
    assert all(abs(step - 20_000_000 * round(step / 20e6)) <= 2 for step in steps)


def test_what_a_slow_reader_misses_is_counted_and_the_newest_is_read() -> None:
    source = opened(f"videotestsrc is-live=true ! {SMALL}")
    (first,) = read(source, 1)
    wait_until_arrived(source, 12)
    (second,) = read(source, 1)
    # Of 12 or more two were taken and one may wait.
    gaps = source.gaps
    source.close()
    assert gaps >= 9
    assert second.id == first.id + 1
    # All that arrived in between is older than what was read.
    assert second.t_capture_ns - first.t_capture_ns >= 9 * 20_000_000
    assert abs((second.t_capture_ns - first.t_capture_ns) / 20e6 - 1 - gaps) <= 2


def test_pictures_that_the_camera_skipped_are_gaps() -> None:
    # A camera numbers its pictures; identity loses every other one behind it.
    source = opened(
        f"videotestsrc is-live=true ! {SMALL} ! identity drop-probability=0.5 ! identity"
    )
    frames = read(source, 30)
    source.close()
    span = round((frames[-1].t_capture_ns - frames[0].t_capture_ns) / 20e6)
    assert span > 35
    assert abs(source.gaps - (span - 29)) <= 2


@pytest.fixture
def rtp() -> Iterator[str]:
    """A sender of uncompressed video over UDP; gives the pipeline that receives it."""
    gst = needs_gst().Gst
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sender = gst.parse_launch(
        "videotestsrc is-live=true pattern=red ! "
        "video/x-raw,format=I420,width=64,height=48,framerate=50/1 ! rtpvrawpay ! "
        f"udpsink host=127.0.0.1 port={port}"
    )
    sender.set_state(gst.State.PLAYING)
    yield (
        f"udpsrc port={port} caps=application/x-rtp,media=video,clock-rate=90000,"
        "encoding-name=RAW,sampling=YCbCr-4:2:0,depth=(string)8,width=(string)64,"
        "height=(string)48 ! rtpjitterbuffer latency=0 ! rtpvrawdepay"
    )
    sender.set_state(gst.State.NULL)


def test_a_network_pipeline_is_dated_by_its_stream(rtp: str) -> None:
    source = opened(rtp)
    frames = read(source, 20)
    source.close()
    assert source.live
    assert {f.clock for f in frames} == {"stream"}
    assert all(0 <= f.t_read_ns - f.t_capture_ns < 1_000_000_000 for f in frames)
    dates = [f.t_capture_ns for f in frames]
    assert dates == sorted(dates)
    blue, green, red = (int(v) for v in frames[-1].image[24, 32])
    assert red > 200 > 60 > max(blue, green)


def test_a_size_that_changes_on_the_way_is_followed() -> None:
    source = opened(
        "videotestsrc num-buffers=2 pattern=red ! video/x-raw,format=BGR,width=64,height=48 ! c. "
        "videotestsrc num-buffers=2 pattern=blue ! video/x-raw,format=BGR,width=31,height=24 ! c. "
        "concat name=c"
    )
    frames = read(source, 4)
    assert source.read() is None
    source.close()
    assert [f.image.shape for f in frames] == [(48, 64, 3)] * 2 + [(24, 31, 3)] * 2
    assert np.all(frames[1].image == (0, 0, 255))
    assert np.all(frames[2].image == (255, 0, 0))


def test_an_element_that_fails_is_named_after_the_pictures_before_it() -> None:
    source = opened(f"videotestsrc ! {SMALL} ! identity name=fragile error-after=4")
    frames: list[Frame] = []

    def read_on() -> None:
        while (frame := source.read()) is not None:
            frames.append(frame)

    with pytest.raises(SourceError, match=r"element fragile \(identity\): Failed after iterations"):
        read_on()
    assert len(frames) == 3
    with pytest.raises(SourceError, match="fragile"):
        source.read()
    source.close()


def test_a_live_pipeline_that_ends_has_broken() -> None:
    source = opened(f"videotestsrc is-live=true num-buffers=3 ! {SMALL}")
    with pytest.raises(SourceError, match=r"the live pipeline ended after frame [123]"):
        read(source, 4)
    source.close()


def test_a_pipeline_without_a_picture_is_an_error(tmp_path: Path) -> None:
    source = opened("videotestsrc num-buffers=0")
    with pytest.raises(SourceError, match="ended without a picture"):
        source.read()
    source.close()


@pytest.mark.parametrize(
    ("pipeline", "kind", "message"),
    [
        ("videotestsrk", SourceError, "no element 'videotestsrk' here, did you mean videotestsrc?"),
        ("h264pars", SourceError, "no element 'h264pars' here"),
        ("nvv4l2decoderx", SourceError, "comes with JetPack"),
        ("videotestsrc ! ! x=", SettingsError, "syntax error"),
        ("videotestsrc patern=ball", SettingsError, "did you mean pattern?"),  # codespell:ignore
        ("videotestsrc pattern=balll", SettingsError, 'could not set property "pattern"'),
        ("videotestsrc ! fakesink", SettingsError, "without a sink"),
        ("audiotestsrc", SettingsError, "must end where raw video comes out"),
        (
            "filesrc location=/none ! jpegdec",
            SourceError,
            r'element filesrc\d+ .*No such file "/none"',
        ),
        ("v4l2src device=/dev/video98", SourceError, r"\(v4l2src\): .*check that the device"),
        ("fakesrc num-buffers=3 ! jpegdec", SourceError, r"\(jpegdec\)|\(fakesrc\)"),
    ],
)
def test_a_pipeline_that_cannot_run_is_refused_in_words(
    pipeline: str, kind: type[OutriderError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        opened(pipeline)


@pytest.mark.parametrize(
    ("size", "said"), [((16_400, 2), "could not link"), ((10_010, 10_000), "megapixels")]
)
def test_too_large_pictures_are_refused_and_the_pipeline_is_stopped(
    size: tuple[int, int], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OutriderError, match=said):
        opened("videotestsrc num-buffers=1 ! video/x-raw,width={},height={}".format(*size))
    gc.collect()
    assert "CRITICAL" not in capfd.readouterr().err


def test_a_pipeline_of_one_endless_word_is_refused_in_time() -> None:
    started = time.monotonic()
    with pytest.raises(SourceError, match="GStreamer has no element 'xx"):
        opened("x" * 200_000)
    assert time.monotonic() - started < SLACK_S


def test_a_csi_camera_without_a_jetson_is_refused_with_the_next_step() -> None:
    if needs_gst().Gst.ElementFactory.find("nvarguscamerasrc") is not None:
        pytest.skip("this is a Jetson")
    with pytest.raises(SourceError, match=r"no element nvarguscamerasrc here.*use camera:N"):
        open_source("csi:0", policy="auto", stop=threading.Event())


def test_a_login_is_in_no_message() -> None:
    port = loopback.closed_port()
    with pytest.raises(SourceError, match="rtspsrc") as raised:
        opened(f"rtspsrc location=rtsp://ann:S3CR3T@127.0.0.1:{port}/x proxy-pw=T0PS3C ! decodebin")
    assert "S3CR3T" not in str(raised.value)
    assert "T0PS3C" not in str(raised.value)
    assert "rtsp://***@127.0.0.1" in str(raised.value)


@pytest.mark.parametrize("live", ["true", "false"])
def test_a_pipeline_that_gives_no_first_picture_is_given_up_at_the_deadline(live: str) -> None:
    started = time.monotonic()
    with pytest.raises(SourceError, match=r"no answer within 1 s \(open_timeout_s\)"):
        opened(f"videotestsrc is-live={live} ! valve drop=true", IMPATIENT)
    assert 1 <= time.monotonic() - started < 1 + SLACK_S


def test_an_element_that_hangs_as_it_opens_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # to open one waits for who writes into it
    started = time.monotonic()
    text = f'gst:filesrc location="{pipe}" ! jpegdec'
    with pytest.raises(SourceError, match=r"no answer within 1 s \(open_timeout_s\)"):
        open_source(text, policy="auto", stop=threading.Event(), options=IMPATIENT)
    assert time.monotonic() - started < 1 + SLACK_S
    os.close(os.open(pipe, os.O_RDWR))  # lets it go


def test_a_stop_ends_an_opening_that_waits() -> None:
    stop = threading.Event()
    errors: list[str] = []

    def open_it() -> None:
        try:
            opened("videotestsrc ! valve drop=true", stop=stop)
        except SourceError as exc:
            errors.append(str(exc))

    opener = threading.Thread(target=open_it)
    opener.start()
    stop.set()
    opener.join(SLACK_S)
    assert not opener.is_alive()
    assert "stopped on request" in errors[0]


def silenced(options: SourceOptions, stop: threading.Event) -> GstSource:
    """A live pipeline that has given its last picture."""
    source = opened(f"videotestsrc is-live=true ! {SMALL} ! valve name=v", options, stop=stop)
    read(source, 2)
    source._run.pipeline.get_by_name("v").set_property("drop", True)
    return source


def read_to_the_end(source: GstSource) -> None:
    while source.read() is not None:
        pass


def test_a_pipeline_that_falls_silent_is_an_error_at_the_read_deadline() -> None:
    source = silenced(SourceOptions(open_timeout_s=30, read_timeout_s=1), threading.Event())
    started = time.monotonic()
    with pytest.raises(SourceError, match=r"nothing came for 1 s \(read_timeout_s\)"):
        read_to_the_end(source)
    assert time.monotonic() - started < 1 + SLACK_S
    source.close()


@pytest.mark.parametrize("how", ["stop", "close"])
def test_a_reader_that_waits_is_woken(how: str) -> None:
    stop = threading.Event()
    source = silenced(PATIENT, stop)
    reader = threading.Thread(target=read_to_the_end, args=(source,))
    reader.start()
    if how == "stop":
        stop.set()
    else:
        source.close()
    reader.join(SLACK_S)
    assert not reader.is_alive()
    source.close()
    source.close()
    assert source.read() is None


def test_no_thread_outlives_its_source() -> None:
    def native() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = threading.active_count()
    counts = []
    for _ in range(12):
        source = opened(f"videotestsrc is-live=true ! {SMALL} ! queue")
        read(source, 1)
        source.close()
        counts.append(native())
    assert threading.active_count() == before
    # GLib keeps a few idle ones for the next pipeline; twelve runs of three threads need no more.
    assert max(counts) - counts[0] <= 3


def test_the_app_runs_a_pipeline_to_its_end(tmp_path: Path) -> None:
    run = edge(
        *("run", "--source", f"gst:videotestsrc num-buffers=20 ! {SMALL}", "--sink", "null"),
        *("--metrics", tmp_path / "m.json"),
    )
    assert run.returncode == 0, run.stderr
    report = json.loads((tmp_path / "m.json").read_text())
    frames = report["frames"]
    assert (frames["captured"], frames["rendered"], frames["in_flight"]) == (20, 20, 0)
    assert report["source"] == f"gst:videotestsrc num-buffers=20 ! {SMALL}"


def test_the_app_ends_with_code_3_where_a_pipeline_breaks(tmp_path: Path) -> None:
    pipeline = f"gst:videotestsrc ! {SMALL} ! identity error-after=9"
    run = edge("run", "--source", pipeline, "--sink", "null")
    assert run.returncode == 3, run.stderr
    assert "element identity0 (identity): Failed after iterations" in run.stderr
    assert "Traceback" not in run.stderr
