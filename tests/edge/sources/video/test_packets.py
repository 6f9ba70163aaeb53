"""Live streams of real servers: those in bursts at their own pace, smooth ones as they come."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from itertools import pairwise
from typing import cast

import pytest

from edge.sources import SourceOptions, open_source, source_kind
from edge.vision.types import Frame
from engines.errors import SourceError
from tests.edge.live_media import FPS, hls, pieces, relay
from tests.edge.loopback import Handler, answering, served, then_closed
from tests.edge.media_files import number_of
from tests.edge.scripted import Script, ScriptedPerception, ScriptedSink, ScriptedSource

PATIENT = SourceOptions(open_timeout_s=20, read_timeout_s=20)


def watched(
    handler: Handler,
    path: str,
    options: SourceOptions,
    *,
    at_most: int,
    threads: set[str] | None = None,
) -> list[Frame]:
    """The frames of a stream until it ends, and the names of what ran then."""
    stop, frames = threading.Event(), list[Frame]()
    with served(handler) as port:
        url = f"http://127.0.0.1:{port}/{path}"
        source = open_source(url, policy="auto", stop=stop, options=options)
        try:
            while len(frames) < at_most and (frame := source.read()) is not None:
                frames.append(frame)
        except SourceError:
            pass  # its sender ended it
        finally:
            if threads is not None:
                threads |= {thread.name for thread in threading.enumerate()}
            source.close()
    return frames


def steps_ms(frames: list[Frame]) -> list[float]:
    return [(b.t_read_ns - a.t_read_ns) / 1e6 for a, b in pairwise(frames)]


def numbers(frames: list[Frame]) -> list[int]:
    return [number_of(frame.image) for frame in frames]


@pytest.mark.timing
def test_a_live_hls_stream_is_given_at_its_pace_behind_a_constant_delay() -> None:
    frames = list[Frame]()
    with served(hls(segments=5)) as port:
        url = f"http://127.0.0.1:{port}/live.m3u8"
        source = open_source(url, policy="auto", stop=threading.Event(), options=PATIENT)
        frames.extend(iter(source.read, None))  # to its end, which the playlist tells
        source.close()
    assert numbers(frames) == [n % 25 for n in range(5 * FPS)]
    # A late playlist may stop the picture once; else 40 ms pass from frame to frame, to the end.
    assert sum(step > 80 for step in steps_ms(frames)) <= 2
    assert sum(step < 20 for step in steps_ms(frames)) <= 4
    delays_s = [frame.delay_ns / 1e9 for frame in frames[FPS:]]
    assert 0.9 < min(delays_s) <= max(delays_s) < 2.2
    # Its age when it is given is that delay: nothing saws.
    ages_s = [(frame.t_read_ns - frame.t_capture_ns) / 1e9 for frame in frames[FPS:]]
    assert ages_s == pytest.approx(delays_s, abs=0.1)


@pytest.mark.slow
@pytest.mark.timing
def test_a_relay_that_sends_a_second_at_a_time_is_given_at_its_pace() -> None:
    frames = watched(relay(frames=225, burst=25), "live.ts", PATIENT, at_most=223)
    assert numbers(frames) == [n % 25 for n in range(223)]
    later = frames[6 * FPS :]  # it takes four bursts to tell
    assert sum(not 20 < step < 80 for step in steps_ms(later)) <= 3
    assert all(0.9 < frame.delay_ns / 1e9 < 2.2 for frame in later)


@pytest.mark.slow
@pytest.mark.timing
def test_a_smooth_stream_is_given_as_it_comes_by_no_thread_of_its_own() -> None:
    threads = set[str]()
    frames = watched(relay(frames=100, burst=1), "live.ts", PATIENT, at_most=98, threads=threads)
    assert "packets" not in threads
    assert {frame.delay_ns for frame in frames} == {0}
    assert numbers(frames) == [n % 25 for n in range(98)]


def test_a_playlist_of_dash_is_told_what_to_take_instead() -> None:
    with served(answering("200 OK", b"<MPD/>")) as port:
        url = f"http://127.0.0.1:{port}/live.mpd?quality=1"
        with pytest.raises(SourceError, match=r"no DASH is read here; wanted .* HLS"):
            open_source(url, policy="auto", stop=threading.Event(), options=PATIENT)


@pytest.mark.slow
def test_without_a_delay_bursts_are_given_as_they_come() -> None:
    options = replace(PATIENT, max_delay_s=0)
    frames = watched(relay(frames=75, burst=25), "live.ts", options, at_most=73)
    assert {frame.delay_ns for frame in frames} == {0}
    assert steps_ms(frames)[-10:] == pytest.approx([0] * 10, abs=30)


@pytest.mark.slow
def test_a_sender_that_falls_silent_is_told_after_what_was_held_back() -> None:
    # Far more than the second from burst to burst, which a busy machine stretches.
    options = replace(PATIENT, read_timeout_s=4.0)
    frames, began = list[Frame](), time.monotonic()
    with served(relay(frames=175, burst=25)) as port:
        url = f"http://127.0.0.1:{port}/live.ts"
        source = open_source(url, policy="auto", stop=threading.Event(), options=options)
        with pytest.raises(SourceError, match="nothing came for 4 s"):
            frames.extend(iter(source.read, None))
        source.close()
    assert numbers(frames) == [n % 25 for n in range(175)]
    assert 10 < time.monotonic() - began < 17  # 7 s of frames, the last 1 s late, and 4 s


def test_a_stop_ends_a_stream_that_is_held_back() -> None:
    stop = threading.Event()
    with served(hls(segments=2)) as port:
        url = f"http://127.0.0.1:{port}/live.m3u8"
        source = open_source(url, policy="auto", stop=stop, options=PATIENT)
        assert source.read() is not None
        stop.set()
        began = time.monotonic()
        assert source.read() is None
        assert time.monotonic() - began < 0.5
        source.close()


@pytest.mark.slow
@pytest.mark.timing
def test_of_a_source_in_bursts_a_slow_engine_alone_drops_frames() -> None:
    # 100 ms a frame: ten of 25 a second, one of two or three in turn, and none waits for long.
    slow, sink = ScriptedPerception({"wait": lambda: threading.Event().wait(0.1)}), ScriptedSink()
    with served(hls(segments=6)) as port:
        url = f"http://127.0.0.1:{port}/live.m3u8"
        source = open_source(url, policy="auto", stop=threading.Event(), options=PATIENT)
        script = Script(cast(ScriptedSource, source), slow, sinks=[sink], frames=40)
        pipeline = script.pipeline()
        assert pipeline.run().reason == "frames"
    counts = pipeline.counts()
    assert counts.captured == counts.settled
    later = slice(15, None)
    assert max(sink.dropped[later]) < 12  # of a burst it would be 24
    assert counts.dropped_overwritten >= 30
    delay_ms = pipeline.report(model="m")["source_delay_ms"]["p50_ms"]
    assert all(0 <= age - delay_ms < 400 for age in sink.ages_ms[later])


def test_a_playlist_whose_server_is_gone_has_not_ended_in_order() -> None:
    with served(hls(segments=9)) as port:
        url = f"http://127.0.0.1:{port}/live.m3u8"
        source = open_source(url, policy="auto", stop=threading.Event(), options=PATIENT)
        assert source.read() is not None
    with pytest.raises(SourceError, match="live stream ended after frame 25"):
        list(iter(source.read, None))
    source.close()


def test_nothing_of_a_closed_source_refers_to_it() -> None:
    """Else its decoder would live on, with threads and pictures, until Python finds the circle."""
    with served(then_closed("video/mp2t", b"".join(pieces(50)))) as port:
        url = f"http://127.0.0.1:{port}/live.ts"
        stop, options = threading.Event(), replace(PATIENT, reconnect=True)
        source = source_kind("stream").open(url, policy="auto", stop=stop, options=options)
        assert source.read() is not None
        source.close()
        assert sys.getrefcount(source) == 2  # the name here, and the argument of the call
