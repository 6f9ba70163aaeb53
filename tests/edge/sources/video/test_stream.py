"""Network streams from real servers on this machine: what is live, dates, deadlines, no secrets."""

from __future__ import annotations

import io
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.sources import SourceOptions, open_source
from edge.sources.base import Source
from edge.sources.options import Policy
from edge.sources.video.media import av
from edge.vision.types import Frame
from engines.errors import SourceError
from tests.edge import loopback
from tests.edge.loopback import Handler, served
from tests.edge.media_files import level, number_of, write_video

DEADLINE_S = 1.0
SLACK_S = 4.0  # a busy machine; the hang itself lasts 30 s
LOGIN = "viewer:S3CR3T"
OPTIONS = SourceOptions(open_timeout_s=DEADLINE_S, read_timeout_s=DEADLINE_S)
PATIENT = SourceOptions(open_timeout_s=20, read_timeout_s=20)
IMPATIENT = SourceOptions(open_timeout_s=20, read_timeout_s=DEADLINE_S)


def opened(url: str, options: SourceOptions = PATIENT, policy: Policy = "auto") -> Source:
    return open_source(url, policy=policy, stop=threading.Event(), options=options)


def read(source: Source, count: int) -> list[Frame]:
    frames = [source.read() for _ in range(count)]
    assert None not in frames
    return [f for f in frames if f is not None]


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_refused_connection_is_told_at_once_and_without_the_login(scheme: str) -> None:
    url = f"{scheme}://{LOGIN}@127.0.0.1:{loopback.closed_port()}/live?token=T0KEN"
    with pytest.raises(SourceError, match="Connection refused") as raised:
        opened(url)
    assert "S3CR3T" not in str(raised.value)
    assert "T0KEN" not in str(raised.value)
    assert f"{scheme}://***@127.0.0.1" in str(raised.value)


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_server_that_never_answers_is_given_up_at_the_deadline(scheme: str) -> None:
    with served(loopback.silent) as port:
        started = time.monotonic()
        with pytest.raises(SourceError, match=r"no answer within 1 s \(open_timeout_s\)") as raised:
            opened(f"{scheme}://{LOGIN}@127.0.0.1:{port}/live", OPTIONS)
        assert DEADLINE_S <= time.monotonic() - started < DEADLINE_S + SLACK_S
    assert "S3CR3T" not in str(raised.value)


def test_a_header_without_a_stream_is_given_up_at_the_deadline() -> None:
    with served(loopback.then_silent("video/mp4", b"")) as port:
        started = time.monotonic()
        with pytest.raises(SourceError, match="no answer within 1 s"):
            opened(f"http://127.0.0.1:{port}/live", OPTIONS)
        assert time.monotonic() - started < DEADLINE_S + SLACK_S


def test_a_stream_that_falls_silent_in_its_beginning_is_told_in_words() -> None:
    options = SourceOptions(open_timeout_s=20, read_timeout_s=0.3)
    with (
        served(loopback.then_silent("video/mp2t", b"--frame\r\n")) as port,
        pytest.raises(SourceError, match="it fell silent; wanted data within read_timeout_s"),
    ):
        opened(f"http://127.0.0.1:{port}/live", options)


@pytest.mark.parametrize(
    ("answer", "said"),
    [("exec sleep 30", "no answer within 1 s"), ("exit 2", "nobody knows the name camera.test")],
)
def test_a_name_that_nobody_answers_for_is_given_up_and_leaves_no_thread_behind(
    answer: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network whose name servers are silent is played by a getent that sleeps."""
    getent = tmp_path / "getent"
    getent.write_text(f"#!/bin/sh\n{answer}\n")
    getent.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    before = set(threading.enumerate())
    started = time.monotonic()
    with pytest.raises(SourceError, match=said) as raised:
        opened(f"rtsp://{LOGIN}@camera.test/live", OPTIONS)
    assert time.monotonic() - started < DEADLINE_S + SLACK_S
    assert "S3CR3T" not in str(raised.value)
    deadline = time.monotonic() + SLACK_S
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert set(threading.enumerate()) <= before


def test_a_stop_ends_an_opening_that_hangs() -> None:
    stop = threading.Event()
    errors: list[str] = []

    def open_it(port: int) -> None:
        try:
            open_source(f"http://127.0.0.1:{port}/", policy="auto", stop=stop, options=PATIENT)
        except SourceError as exc:
            errors.append(str(exc))

    with served(loopback.silent) as port:
        opener = threading.Thread(target=open_it, args=(port,))
        opener.start()
        stop.set()
        opener.join(SLACK_S)
        assert not opener.is_alive()
    assert len(errors) == 1
    assert "stopped on request" in errors[0]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("404 Not Found", "404 Not Found; wanted an existing path"),
        ("401 Unauthorized", "401 .*; wanted a login .* SCHEME://USER:PASSWORD@HOST/PATH"),
        ("200 OK", "wanted a video stream"),
    ],
)
def test_an_answer_that_is_no_stream_is_refused_in_words(answer: str, message: str) -> None:
    handler = loopback.answering(answer, b"<html>hello</html>")
    with served(handler) as port, pytest.raises(SourceError, match=message):
        opened(f"http://127.0.0.1:{port}/live")


HANGING: dict[str, tuple[str, Handler, int]] = {
    "mjpeg": ("http", loopback.endless_mjpeg(fps=25, frames=30), 10),
    "rtsp": ("rtsp", loopback.rtsp(frames=40, fps=50), 10),  # some came while it was opened
}


@pytest.mark.parametrize("kind", HANGING)
def test_a_stream_that_falls_silent_is_an_error_at_the_read_deadline(kind: str) -> None:
    scheme, handler, at_least = HANGING[kind]
    frames: list[Frame] = []

    def read_on(source: Source) -> None:
        while (frame := source.read()) is not None:
            frames.append(frame)

    with served(handler) as port:
        source = opened(f"{scheme}://{LOGIN}@127.0.0.1:{port}/live", IMPATIENT)
        with pytest.raises(SourceError, match=r"nothing came for 1 s \(read_timeout_s\)") as raised:
            read_on(source)
        silent_s = time.monotonic() - frames[-1].t_read_ns / 1e9
        source.close()
    assert silent_s < DEADLINE_S + SLACK_S
    assert len(frames) >= at_least
    # FFmpeg keeps the last picture back until the next one comes, or the deadline; it is old then.
    assert frames[-1].t_read_ns - frames[-2].t_read_ns < 0.9 * DEADLINE_S * 1e9
    assert "S3CR3T" not in str(raised.value)
    assert all("S3CR3T" not in f.source for f in frames)


def test_a_live_stream_that_its_sender_ends_is_an_error() -> None:
    """It came at the pace at which it is shown, so it was live and had no end to come to."""
    stream = loopback.transport_stream(50)  # 2 s
    pieces = [stream[i : i + len(stream) // 50] for i in range(0, len(stream), len(stream) // 50)]
    with served(loopback.paced("video/mp2t", pieces, fps=25, ends=True)) as port:
        source = opened(f"http://127.0.0.1:{port}/live.ts")
        assert source.live
        read(source, 50)
        with pytest.raises(SourceError, match="the live stream ended after frame 50"):
            source.read()
        source.close()


def test_endless_motion_jpeg_is_live_and_stamped_at_reading() -> None:
    with served(loopback.endless_mjpeg(fps=40)) as port:
        source = opened(f"http://127.0.0.1:{port}/live")
        assert (source.live, source.fps) == (True, None)
        frames = read(source, 12)
        source.close()
    first = number_of(frames[0].image)  # those that came while it was opened are left out
    assert first > 3
    assert [number_of(f.image) for f in frames] == [n % 25 for n in range(first, first + 12)]
    # FFmpeg numbers such frames at 25 fps whatever their rate: no timestamps to go by.
    assert {f.clock for f in frames} == {"read"}
    assert all(f.t_capture_ns == f.t_read_ns for f in frames)


def test_an_rtsp_camera_is_live_and_dated_by_its_stream() -> None:
    with served(loopback.rtsp(frames=120, fps=50)) as port:
        source = opened(f"rtsp://{LOGIN}@127.0.0.1:{port}/live")
        assert source.live
        assert source.name == f"rtsp://***@127.0.0.1:{port}/live"
        frames = read(source, 80)
        source.close()
    first = number_of(frames[0].image)  # those that came while it was opened are left out
    assert 3 < first < 25
    assert [number_of(f.image) for f in frames] == [n % 25 for n in range(first, first + 80)]
    assert {f.clock for f in frames} == {"stream"}
    assert all(f.t_capture_ns <= f.t_read_ns for f in frames)
    assert all(f.media_ns is None for f in frames)
    # By the stream's own times frames are 20 ms apart; a step is shorter only where one was held up
    # less than all before it, and that cannot be so for each of the last fifty.
    dates = [f.t_capture_ns for f in frames[30:]]
    steps = [dates[i + 1] - dates[i] for i in range(len(dates) - 1)]
    assert max(steps) == pytest.approx(20e6, abs=1e5)
    assert min(steps) >= 0
    assert source.gaps == 0


def test_frames_missing_from_an_rtsp_stream_are_gaps() -> None:
    with served(loopback.rtsp(frames=70, fps=25, lose=range(45, 48))) as port:
        source = opened(f"rtsp://127.0.0.1:{port}/live")
        frames = read(source, 40)
        source.close()
    assert [f.id for f in frames] == list(range(40))
    assert source.gaps == 3


@pytest.mark.parametrize("by_tcp", ["461 Unsupported Transport", "500 Error", "silent"])
def test_an_rtsp_camera_that_sends_by_udp_alone_is_asked_for_that_next(by_tcp: str) -> None:
    handler = loopback.rtsp(frames=120, fps=50, by_tcp=by_tcp)
    options = SourceOptions(open_timeout_s=4, read_timeout_s=1)
    with served(handler) as port:
        source = opened(f"rtsp://127.0.0.1:{port}/live", options)
        frames = read(source, 20)
        source.close()
    first = number_of(frames[0].image)
    assert [number_of(f.image) for f in frames] == [n % 25 for n in range(first, first + 20)]
    assert source.gaps == 0


def test_an_rtsp_camera_is_asked_for_the_transport_that_is_set() -> None:
    handler = loopback.rtsp(frames=50, fps=50, by_tcp="461 Unsupported Transport")
    with served(handler) as port:
        url, tcp = f"rtsp://127.0.0.1:{port}/live", replace(PATIENT, rtsp_transport="tcp")
        with pytest.raises(SourceError, match=r"Protocol not supported; .* rtsp_transport"):
            opened(url, tcp)
        source = opened(url, replace(PATIENT, rtsp_transport="udp"))
        assert len(read(source, 5)) == 5
        source.close()


def joined_ts(codec: str, *, keys: int) -> list[bytes]:
    """A transport stream at 100 fps from its 31st frame on, a piece for each."""
    target = io.BytesIO()
    with av.open(target, "w", format="mpegts") as container:
        stream = container.add_stream(codec, rate=100)
        assert isinstance(stream, av.video.stream.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        more = f"keyint={keys}:min-keyint={keys}:scenecut=0:repeat-headers=1:log-level=0"
        stream.options = {"tune": "zerolatency", f"{codec.replace('lib', '')}-params": more}
        starts = []
        for number in range(200):
            image = np.full((64, 64, 3), level(number % 25), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            starts.append(target.tell())
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    body = target.getvalue()
    return [body[a:b] for a, b in zip(starts[30:], [*starts[31:], len(body)], strict=True)]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_stream_joined_between_key_frames_is_waited_for(codec: str) -> None:
    """The next key frame is number 120, 0.9 s later; FFmpeg looks for half a second."""
    options = SourceOptions(open_timeout_s=2, read_timeout_s=2)
    with served(loopback.paced("video/mp2t", joined_ts(codec, keys=120), fps=100)) as port:
        source = opened(f"http://127.0.0.1:{port}/live.ts", options)
        assert source.live
        assert [number_of(f.image) for f in read(source, 20)] == [n % 25 for n in range(120, 140)]
        assert source.gaps == 0
        source.close()


@pytest.mark.parametrize(("codec", "said"), [("libx264", "SPS and PPS"), ("libx265", "VPS, SPS")])
def test_what_never_came_is_named(codec: str, said: str) -> None:
    options = SourceOptions(open_timeout_s=1.5, read_timeout_s=2)
    pieces = joined_ts(codec, keys=500)
    with served(loopback.paced("video/mp2t", pieces * 2, fps=100)) as port:
        source = opened(f"http://127.0.0.1:{port}/live.ts", options)
        with pytest.raises(SourceError, match=rf"sets \(.*{said}.*\) did not within 1.5 s"):
            source.read()
        source.close()


def test_an_rtsp_camera_joined_between_key_frames_is_waited_for() -> None:
    """Its SDP has no parameters; the next key frame is the 101st, 2 s later."""
    units = loopback.h264_units(range(160), key_every=100)[1:]
    options = SourceOptions(open_timeout_s=3, read_timeout_s=3)
    with served(loopback.rtsp(frames=0, fps=50, units=units)) as port:
        source = opened(f"rtsp://127.0.0.1:{port}/live", options)
        assert [number_of(f.image) for f in read(source, 10)] == list(range(10))
        source.close()


def test_a_video_over_http_has_a_duration_and_waits(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", count=12)
    with served(loopback.files(tmp_path)) as port:
        source = opened(f"http://127.0.0.1:{port}/a.mp4?key=S3CR3T")
        assert (source.live, source.fps) == (False, 25.0)
        frames = read(source, 12)
        assert source.read() is None
        source.close()
    assert [number_of(f.image) for f in frames] == list(range(12))
    assert {f.source for f in frames} == {f"http://127.0.0.1:{port}/a.mp4?key=***"}
    assert {f.clock for f in frames} == {"read"}


def test_closing_a_stream_while_it_is_read_ends_the_reader() -> None:
    with served(loopback.endless_mjpeg(fps=100)) as port:
        source = opened(f"http://127.0.0.1:{port}/live")
        read(source, 3)
        results: list[str] = []

        def read_on() -> None:
            while source.read() is not None:
                pass
            results.append("ended")

        reader = threading.Thread(target=read_on)
        reader.start()
        source.close()
        reader.join(10)
    assert results == ["ended"]


def test_no_thread_is_left_behind_by_an_opening() -> None:
    with served(loopback.silent) as port, pytest.raises(SourceError):
        opened(f"http://127.0.0.1:{port}/", OPTIONS)
    for thread in threading.enumerate():
        if thread.name == "open-source":
            thread.join(SLACK_S)
            assert not thread.is_alive()
