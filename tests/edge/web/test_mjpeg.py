"""Motion JPEG: what each viewer gets, over sockets."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from edge.vision.types import Image
from tests.edge.web.equipment.served import served
from tests.edge.web.equipment.shown import HOST, Shown, Viewer, grey, until
from tests.field.mjpeg_camera import MjpegCamera


def _is(image: Image, value: int) -> bool:
    return abs(float(image.mean()) - value) < 3


def test_a_picture_is_whole_before_the_next_one_comes() -> None:
    # Chrome shows a part when the next one begins, so its head must come right behind.
    with Shown() as shown:
        viewer = Viewer(shown.port)
        shown.hand_over(grey(40))
        assert _is(viewer.next(), 40)
        shown.hand_over(grey(90))
        assert _is(viewer.next(), 90)
        viewer.close()


def test_a_new_viewer_gets_the_last_picture_at_once_while_others_look() -> None:
    with Shown() as shown:
        first = Viewer(shown.port)
        shown.hand_over(grey(40))
        assert _is(first.next(), 40)
        second = Viewer(shown.port)
        assert _is(second.next(), 40)
        first.close()
        second.close()


def test_but_none_of_a_time_when_nobody_looked() -> None:
    with Shown() as shown:
        first = Viewer(shown.port)
        shown.hand_over(grey(40))
        assert _is(first.next(), 40)
        first.close()
        until(lambda: not shown.mjpeg.wanted)
        second = Viewer(shown.port)
        shown.hand_over(grey(90))
        assert _is(second.next(), 90)
        second.close()


def test_nothing_is_wanted_while_nobody_looks() -> None:
    with Shown() as shown:
        assert not shown.pictures.wanted
        viewer = Viewer(shown.port)
        until(lambda: shown.pictures.wanted)
        viewer.close()
        until(lambda: not shown.pictures.wanted)


def test_pictures_are_no_longer_than_asked_and_may_change_their_size() -> None:
    with Shown(width=100) as shown:
        viewer = Viewer(shown.port)
        for wh, got in [
            ((400, 300), (75, 100)),
            ((300, 400), (100, 75)),
            ((64, 48), (48, 64)),
            ((400, 1), (1, 100)),
        ]:
            shown.hand_over(grey(60, wh))
            assert viewer.next().shape[:2] == got
        viewer.close()


def test_who_finds_no_room_is_told_so_and_gets_it_when_one_leaves() -> None:
    with Shown(most=1) as shown:
        first = Viewer(shown.port)
        refused = Viewer(shown.port)
        assert refused.answer.status == 503
        assert b"1 look already, as many as [web] max_viewers allows" in refused.answer.read()
        first.close()
        until(lambda: not shown.mjpeg.wanted)
        again = Viewer(shown.port)
        assert again.answer.status == 200
        refused.close()
        again.close()


def test_a_picture_is_for_looking_only() -> None:
    with Shown() as shown, socket.create_connection((HOST, shown.port), 30) as asks:
        asks.sendall(b"POST /stream.mjpeg HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
        assert asks.recv(100).startswith(b"HTTP/1.1 405 ")
    with Shown() as shown, socket.create_connection((HOST, shown.port), 30) as asks:
        asks.sendall(b"HEAD /stream.mjpeg HTTP/1.0\r\n\r\n")
        head = b"".join(iter(lambda: asks.recv(1000), b""))
        assert b"multipart/x-mixed-replace" in head
        assert head.endswith(b"\r\n\r\n")


def test_a_slow_viewer_skips_pictures_and_then_gets_the_newest() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (540, 960, 3)).astype(np.uint8)  # 500 KB
    with Shown() as shown:
        quick, slow = Viewer(shown.port), Viewer(shown.port)
        until(lambda: shown.mjpeg.wanted)
        for _ in range(100):  # far more than sockets hold
            shown.hand_over(noise)
            quick.next()
        shown.hand_over(grey(70))
        assert _is(quick.next(), 70)
        got = 1
        while not _is(slow.next(), 70):
            got += 1
        assert got < 60, "it got nearly all"
        quick.close()
        slow.close()


@pytest.mark.slow
def test_a_viewer_who_never_reads_is_left_after_ten_seconds() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (540, 960, 3)).astype(np.uint8)
    with Shown() as shown, socket.create_connection((HOST, shown.port), 30) as stuck:
        stuck.sendall(b"GET /stream.mjpeg HTTP/1.1\r\nHost: a\r\n\r\n")
        start = time.monotonic()
        until(lambda: shown.pictures.wanted)
        while shown.mjpeg.wanted and time.monotonic() - start < 25:
            shown.hand_over(noise) if shown.pictures.wanted else time.sleep(0.01)
        assert 8 < time.monotonic() - start < 20


def test_the_end_comes_at_once_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    noise = np.random.default_rng(0).integers(0, 255, (540, 960, 3)).astype(np.uint8)
    with Shown() as shown:
        viewers = [Viewer(shown.port) for _ in range(3)]  # of which two never read
        for _ in range(60):
            shown.hand_over(noise)
            viewers[0].next()
        start = time.monotonic()
        shown.close()
        assert time.monotonic() - start < 0.5
        assert list(viewers[0].parts())[1:] == []  # whole to its end
        assert not shown.server.running
    for viewer in viewers:
        viewer.close()
    assert caplog.records == []


def test_a_camera_that_falls_silent_is_seen_as_its_last_picture_in_dark_grey_under_words(
    tmp_path: Path,
) -> None:
    settings = tmp_path / "car.toml"
    settings.write_text("[source]\nreconnect = true\nstall_s = 0.5\n")
    with (
        MjpegCamera(fps=15) as camera,
        contextlib.ExitStack() as stack,
    ):
        camera.start()
        run = stack.enter_context(served(settings, "--source", camera.url))
        viewer = stack.enter_context(contextlib.closing(Viewer(run.port)))
        pictures = viewer.parts()
        live = next(picture for picture in pictures if _colour(picture) > 100)
        camera.stalled.set()
        silent = next(picture for picture in pictures if _colour(picture) < 20)
        assert silent.shape == live.shape
        # Its blocks are blue (255, 0, 0) and grey 75: 0.114 x 255 x 0.35 = 10 and 75 x 0.35 = 26.
        for value in (10, 26):
            assert np.mean(np.abs(silent.astype(int) - value) < 4) > 0.1
        assert np.mean(silent > 200) > 0.01  # the words
        assert np.mean(silent > 35) < 0.4  # and all else is dark
        camera.stalled.clear()
        assert next(picture for picture in pictures if _colour(picture) > 100) is not None


def _colour(image: Image) -> int:
    """How far the most coloured pixel is from grey."""
    return int(np.ptp(image, axis=2).max())
