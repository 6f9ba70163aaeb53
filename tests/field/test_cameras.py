"""The cameras of these tests are what they claim to be, as FFmpeg sees them without the app."""

from __future__ import annotations

import time

import pytest

from edge.sources.video.media import av
from tests.field.link import Link
from tests.field.mjpeg_camera import MjpegCamera
from tests.field.rtsp_camera import RtspCamera
from tests.field.viewing import rest, viewed

pytestmark = pytest.mark.slow

SECOND_NS = 1_000_000_000


def test_a_camera_that_was_killed_comes_back_at_its_address_with_another_size_and_codec(
    camera: RtspCamera,
) -> None:
    for codec, wh in (("h264", (256, 128)), ("vp8", (320, 160)), ("mjpeg", (128, 64))):
        camera.start(codec=codec, wh=wh)
        with viewed(camera.url()) as view:
            seen = [next(view) for _ in range(5)]
            camera.kill()
            rest(view)
        times = [taken_ns for taken_ns, _, _ in seen]
        assert -1 not in times
        assert times == sorted(set(times))  # none came twice
        assert {size for _, size, _ in seen} == {wh}


def test_a_camera_lets_in_only_who_knows_the_password(camera: RtspCamera) -> None:
    camera.start(login="me:s3cret")
    for login in ("", "me:other"):
        with pytest.raises(av.error.HTTPUnauthorizedError), viewed(camera.url(login)):
            pass
    with viewed(camera.url("me:s3cret")) as view:
        assert next(view)[0] > 0


def test_a_frozen_camera_keeps_its_connection_silent_and_goes_on_when_it_thaws(
    camera: RtspCamera,
) -> None:
    camera.start()
    with viewed(camera.url(), timeout_s=0.5) as view:
        next(view)
        camera.freeze()
        frozen_ns = time.monotonic_ns()
        assert all(taken_ns < frozen_ns for taken_ns in rest(view))  # these were on their way
    camera.thaw()
    with viewed(camera.url()) as view:
        assert next(view)[0] > frozen_ns


def test_a_link_loses_packets_and_not_the_connection(camera: RtspCamera) -> None:
    camera.start(fps=50)
    with Link(camera.port, seed=1) as link, viewed(camera.url(port=link.port)) as view:
        link.loss = 0.2
        damaged = sum(next(view)[0] == -1 for _ in range(50))
        assert link.lost
        assert damaged
        link.heal()
        for _ in range(60):  # a key frame is never further than 50
            taken_ns, _, _ = next(view)
        assert taken_ns > 0


def test_a_link_delays_throttles_and_stalls() -> None:
    with MjpegCamera(fps=50) as camera:
        camera.start()
        with Link(camera.port) as link, viewed(camera.url_at(link.port)) as view:
            for _ in range(50):
                next(view)
            link.delay_s = 0.3
            late = 0
            while late < 5:
                taken_ns, _, now_ns = next(view)
                late = late + 1 if now_ns - taken_ns >= 0.3 * SECOND_NS else 0
            link.heal()
            while late:  # what was on its way goes by
                taken_ns, _, now_ns = next(view)
                late = int(now_ns - taken_ns >= 0.1 * SECOND_NS)
            link.bytes_per_s = 2000  # a picture is of some 1300 bytes
            throttled_ns = time.monotonic_ns()
            new = 0
            while new < 2:  # what was sent before may lie in a buffer behind the link
                taken_ns, _, now_ns = next(view)
                new += taken_ns > throttled_ns
            assert now_ns - throttled_ns >= SECOND_NS


def test_a_link_stalls_cuts_and_refuses() -> None:
    with MjpegCamera() as camera, Link(camera.port) as link:
        camera.start()
        with viewed(camera.url_at(link.port), timeout_s=0.5) as view:
            next(view)
            link.stalled = True
            rest(view)
        link.heal()
        with viewed(camera.url_at(link.port)) as view:
            next(view)
            link.cut()
            rest(view)
        link.refusing = True
        with pytest.raises(av.error.FFmpegError), viewed(camera.url_at(link.port)):
            pass


def test_an_mjpeg_camera_stalls_ends_and_comes_back() -> None:
    with MjpegCamera(frames=8) as camera:
        for _ in range(2):
            camera.start()
            with viewed(camera.url) as view:
                times = rest(view)
            assert 6 <= len(times) <= 8  # FFmpeg drops what it has not probed at an end
            assert -1 not in times
            camera.stop()
            with pytest.raises(ConnectionRefusedError), viewed(camera.url):
                pass
        camera.frames = None
        camera.stalled.set()
        camera.start()
        with pytest.raises(av.error.FFmpegError), viewed(camera.url, timeout_s=0.5):
            pass
