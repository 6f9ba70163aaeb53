"""H.264 over a WebSocket: what each viewer gets, who is shown out, and when there is none."""

from __future__ import annotations

import io
import logging
import socket
import struct
import time
from collections import deque
from typing import Any

import av
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from edge.h264 import Encoder, open_encoder
from edge.web import h264
from edge.web.viewers import Seats
from engines.errors import SinkError
from tests.edge.web.equipment.shown import (
    DEADLINE_S,
    HOST,
    Shown,
    Viewer,
    grey,
    handing_over,
    until,
)

_HEAD = (
    b"GET /stream.h264 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def _look(shown: Shown) -> ClientConnection:
    return connect(f"ws://{HOST}:{shown.port}/stream.h264", proxy=None, max_queue=None)


def _values(mp4: bytes) -> list[int]:
    """The grey of each picture."""
    with av.open(io.BytesIO(mp4), "r") as container:
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    return [round(float(picture.mean())) for picture in pictures]


def _closed(viewer: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as raised:
        deque(iter(viewer.recv, None), maxlen=0)
    assert raised.value.rcvd is not None
    return raised.value.rcvd.code, raised.value.rcvd.reason


def _bytes(viewer: ClientConnection) -> bytes:
    got = viewer.recv(DEADLINE_S)
    assert isinstance(got, bytes)
    return got


def test_a_viewer_gets_the_kind_the_head_and_a_picture_a_message_at_once() -> None:
    with Shown() as shown, _look(shown) as viewer:
        shown.hand_over(grey(40))
        kind, mp4 = viewer.recv(DEADLINE_S), _bytes(viewer)
        assert str(kind).startswith('video/mp4; codecs="avc1.64')
        for value in (40, 80, 120):
            if value > 40:
                shown.hand_over(grey(value))
            mp4 += _bytes(viewer)  # before the next is handed over
        assert _values(mp4) == pytest.approx([40, 80, 120], abs=3)


def test_who_comes_later_begins_at_a_key_frame_without_waiting_for_the_next() -> None:
    with Shown() as shown, _look(shown) as first:

        def show(value: int) -> None:
            shown.hand_over(grey(value))
            first.recv(DEADLINE_S)  # it is encoded, and the next does not take its place

        shown.hand_over(grey(40))
        for _ in range(3):  # what it is, head, picture
            first.recv(DEADLINE_S)
        show(60)
        show(80)
        with _look(shown) as second:
            until(lambda: shown.live.h264.readers == 2)
            show(100)
            show(120)
            second.recv(DEADLINE_S)
            mp4 = b"".join(_bytes(second) for _ in range(3))
        assert _values(mp4) == pytest.approx([100, 120], abs=3)


def test_a_new_size_comes_with_a_head_of_its_own_at_a_later_time() -> None:
    with Shown() as shown, _look(shown) as viewer:
        shown.hand_over(grey(40, (64, 48)))
        viewer.recv(DEADLINE_S)
        before = [_bytes(viewer) for _ in range(2)]
        shown.hand_over(grey(70, (128, 97)))
        viewer.recv(DEADLINE_S)
        after = [_bytes(viewer) for _ in range(2)]
        assert _values(b"".join(after)) == pytest.approx([70], abs=3)
        assert _begin(after[1]) > _begin(before[1])


def _begin(fragment: bytes) -> int:
    at = fragment.index(b"tfdt") + 8
    return int(struct.unpack(">Q", fragment[at : at + 8])[0])


def test_nothing_is_encoded_while_nobody_looks_at_it_and_the_encoder_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[Encoder] = []
    closed: list[Encoder] = []

    def open_one(wh: tuple[int, int], **how: Any) -> Encoder:
        encoder = open_encoder(wh, **how)
        close = encoder.close

        def close_it() -> None:
            closed.append(encoder)
            close()

        monkeypatch.setattr(encoder, "close", close_it)
        opened.append(encoder)
        return encoder

    monkeypatch.setattr(h264, "open_encoder", open_one)
    with Shown() as shown:
        other = Viewer(shown.port)
        shown.hand_over(grey(40))
        other.next()
        assert opened == []
        with _look(shown) as viewer:
            until(lambda: shown.live.h264.wanted)
            shown.hand_over(grey(40))
            viewer.recv(DEADLINE_S)
            assert (len(opened), closed) == (1, [])
        until(lambda: closed == opened)  # though nothing is handed over any more
        other.close()


def test_seats_are_those_of_motion_jpeg_too() -> None:
    with Shown(most=1) as shown:
        first = Viewer(shown.port)
        with _look(shown) as refused:
            code, reason = _closed(refused)
        assert (code, reason[:14]) == (1013, "1 look already")
        first.close()


@pytest.mark.parametrize("said", ["hello", b"\0" * 100, "x" * 5000])
def test_who_speaks_is_shown_out(said: str | bytes) -> None:
    with Shown() as shown, _look(shown) as viewer:
        until(lambda: shown.live.h264.wanted)
        viewer.send(said)
        code, _ = _closed(viewer)
        assert code == (1009 if len(said) == 5000 else 1003)
        until(lambda: not shown.live.h264.wanted)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x81\x05hello",  # without a mask, as no client may
        b"\xf2\x80\0\0\0\0",  # reserved bits
        b"\x8b\x80\0\0\0\0",  # an opcode that is none
        b"\x81\xff" + b"\xff" * 12,  # a message of 2^64 - 1 bytes
        b"\x89\xfe\x01\x00\0\0\0\0" + bytes(256),  # a ping longer than one may be
    ],
)
def test_frames_that_are_none_end_the_connection(sent: bytes) -> None:
    with Shown() as shown, socket.create_connection((HOST, shown.port), DEADLINE_S) as viewer:
        viewer.sendall(_HEAD)
        until(lambda: shown.live.h264.wanted)
        viewer.sendall(sent)
        answer = b"".join(iter(lambda: viewer.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert answer.partition(b"\r\n\r\n")[2][:1] == b"\x88"  # a close, with its reason
        until(lambda: not shown.live.h264.wanted)


def test_the_end_is_said() -> None:
    with Shown() as shown, _look(shown) as viewer:
        shown.hand_over(grey(40))
        viewer.recv(DEADLINE_S)
        start = time.monotonic()
        shown.close()
        assert time.monotonic() - start < 0.5
        assert _closed(viewer) == (1001, "the run has ended")


def _refuse(wh: tuple[int, int], **_: object) -> Encoder:
    raise SinkError("H.264 by nothing: there is no encoder")


def test_what_fails_is_told_meanwhile_there_are_jpegs_and_who_comes_later_has_it_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edge.web")
    why = "H.264 by nothing: there is no encoder; it is tried again for who looks"
    with Shown() as shown:
        assert shown.live.ways == {"mjpeg": True, "h264": True}
        other = Viewer(shown.port)
        monkeypatch.setattr(h264, "open_encoder", _refuse)
        with _look(shown) as viewer, handing_over(lambda _: shown.offer(grey(40))):
            assert _closed(viewer) == (4002, f"{why}, 1 s from now or later")
            other.next()
        until(lambda: shown.live.ways["h264"] == why)
        monkeypatch.undo()
        with _look(shown) as again:
            shown.hand_over(grey(70))
            again.recv(DEADLINE_S)
            assert _values(_bytes(again) + _bytes(again)) == pytest.approx([70], abs=3)
        assert shown.live.ways["h264"] is True
        other.close()
    told = [line for line in caplog.messages if "H.264" in line]
    assert told == [
        "the page shows Motion JPEG and no H.264 for now: H.264 by nothing: there is no encoder",
        "the page shows H.264 again",
    ]


def test_tries_come_ever_later_until_one_has_worked_for_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = 0.0
    tried: list[float] = []

    def refuse(wh: tuple[int, int], **_: object) -> Encoder:
        tried.append(now_s)
        return _refuse(wh)

    way = h264.H264(Seats(1), lambda do: None, fps=10, clock=lambda: round(now_s * 1e9))

    def encode(wh: tuple[int, int] = (64, 48)) -> None:
        way.encode(grey(40, wh), round(now_s * 1e9))

    monkeypatch.setattr(h264, "open_encoder", refuse)
    for number in range(6000):  # ten minutes, ten a second
        now_s = number / 10
        encode()
    waits = np.diff(tried)
    # 0.5, 1, 2 ... 32, 60, 60 s, each less up to half, and up to the next picture
    assert len(waits) > 12
    for wait, longest in zip(waits, [0.5 * 2**n for n in range(7)] + [60.0] * 50, strict=False):
        assert longest / 2 - 0.01 <= wait <= longest + 0.11
    assert len(caplog.messages) == 1
    monkeypatch.undo()
    now_s = 700.0
    encode()
    assert way.why_not == ""
    now_s = 761.0
    encode()
    monkeypatch.setattr(h264, "open_encoder", refuse)
    encode((128, 48))
    assert way.why_not.endswith("for who looks, 1 s from now or later")
    way.close()


def test_a_machine_that_had_better_not_says_so_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h264, "costly_here", lambda: "this Jetson has no encoder of H.264")
    with Shown() as shown, _look(shown) as viewer:
        assert _closed(viewer) == (4001, "this Jetson has no encoder of H.264")
        assert shown.live.ways["h264"] == "this Jetson has no encoder of H.264"


@pytest.mark.slow
def test_a_viewer_who_never_reads_is_left_and_harms_no_other() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (540, 960, 3)).astype(np.uint8)
    with Shown() as shown, _look(shown) as quick:
        stuck = socket.create_connection((HOST, shown.port), DEADLINE_S)
        stuck.sendall(_HEAD)
        until(lambda: shown.live.h264.readers == 2)
        start = time.monotonic()
        while shown.live.h264.readers == 2 and time.monotonic() - start < 25:
            shown.hand_over(noise)
            quick.recv(DEADLINE_S)
        assert 8 < time.monotonic() - start < 20
        stuck.close()
