"""H.264 over a WebSocket: what each viewer gets, who is shown out, and when there is none."""

from __future__ import annotations

import io
import socket
import struct
import time
from collections.abc import Iterator

import av
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from edge.sinks.h264 import open_encoder
from edge.vision.types import Image
from edge.web import h264
from edge.web.fragments import Fragments
from engines.errors import SinkError
from tests.edge.web.shown import DEADLINE_S, HOST, Shown, Viewer, grey, until


def _look(shown: Shown) -> ClientConnection:
    return connect(f"ws://{HOST}:{shown.port}/stream.h264", proxy=None, max_queue=None)


def _values(mp4: bytes) -> list[int]:
    """The grey of each picture."""
    with av.open(io.BytesIO(mp4)) as container:
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    return [round(float(picture.mean())) for picture in pictures]


def _closed(viewer: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as raised:
        while True:
            viewer.recv(DEADLINE_S)
    assert raised.value.rcvd is not None
    return raised.value.rcvd.code, raised.value.rcvd.reason


def test_a_viewer_gets_the_kind_the_head_and_a_picture_a_message_at_once() -> None:
    with Shown() as shown, _look(shown) as viewer:
        shown.hand_over(grey(40))
        kind, head, mp4 = viewer.recv(DEADLINE_S), viewer.recv(DEADLINE_S), b""
        assert str(kind).startswith('video/mp4; codecs="avc1.64')
        for value in (40, 80, 120):
            if value > 40:
                shown.hand_over(grey(value))
            mp4 += bytes(viewer.recv(DEADLINE_S))  # before the next is handed over
        assert _values(bytes(head) + mp4) == pytest.approx([40, 80, 120], abs=3)


def test_who_comes_later_begins_at_a_key_frame_without_waiting_for_the_next() -> None:
    with Shown() as shown, _look(shown) as first:
        for value in (40, 60, 80):
            shown.hand_over(grey(value))
            first.recv(DEADLINE_S)
        with _look(shown) as second:
            until(lambda: len(shown.live.h264._readers) == 2)
            shown.hand_over(grey(100))
            shown.hand_over(grey(120))
            got = [second.recv(DEADLINE_S) for _ in range(4)]
        assert _values(b"".join(map(bytes, got[1:]))) == pytest.approx([100, 120], abs=3)


def test_a_new_size_comes_with_a_head_of_its_own_at_a_later_time() -> None:
    with Shown() as shown, _look(shown) as viewer:
        shown.hand_over(grey(40, (64, 48)))
        before = [viewer.recv(DEADLINE_S) for _ in range(3)]
        shown.hand_over(grey(70, (128, 97)))
        after = [viewer.recv(DEADLINE_S) for _ in range(3)]
        assert _values(bytes(after[1]) + bytes(after[2])) == pytest.approx([70], abs=3)
        assert _begin(bytes(after[2])) > _begin(bytes(before[2]))


def _begin(fragment: bytes) -> int:
    at = fragment.index(b"tfdt") + 8
    return int(struct.unpack(">Q", fragment[at : at + 8])[0])


def test_nothing_is_encoded_while_nobody_looks_at_it_and_the_encoder_goes() -> None:
    with Shown() as shown:
        other = Viewer(shown.port)
        shown.hand_over(grey(40))
        other.next()
        assert shown.live.h264._encoder is None
        with _look(shown):
            until(lambda: shown.live.h264.wanted)
            shown.hand_over(grey(40))
            until(lambda: shown.live.h264._encoder is not None)
        until(lambda: not shown.live.h264.wanted)
        until(lambda: shown.live.h264._encoder is None)  # though nothing is handed over any more
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
    head = (
        b"GET /stream.h264 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with Shown() as shown, socket.create_connection((HOST, shown.port), DEADLINE_S) as viewer:
        viewer.sendall(head)
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


def test_a_machine_that_cannot_says_why_and_still_shows_jpegs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(wh: tuple[int, int], **_: object) -> None:
        raise SinkError("H.264 by nothing: there is no encoder")

    monkeypatch.setattr(h264, "open_encoder", refuse)
    with Shown() as shown:
        other = Viewer(shown.port)
        with _look(shown) as viewer:
            until(lambda: shown.live.h264.wanted)
            shown.hand_over(grey(40))
            assert _closed(viewer) == (4001, "H.264 by nothing: there is no encoder")
        with _look(shown) as again:
            assert _closed(again)[0] == 4001
        other.next()
        other.close()
    assert caplog.text.count("no H.264 any more: H.264 by nothing") == 1


def test_who_is_slow_goes_on_at_a_later_key_frame() -> None:
    def pieces() -> Iterator[h264._Piece]:
        encoder = open_encoder((64, 48), fps=10, keyframe_s=1)
        stream = None
        for number in range(30):  # three seconds, a key frame each
            for packet in encoder.encode(grey(number * 8), number * 9000):
                stream = stream or Fragments(encoder)
                key = bool(packet.is_keyframe)
                yield h264._Piece(stream, stream.of(packet), key, number * 100_000_000)

    reader = h264._Reader()
    for piece in pieces():
        reader.put(piece)
        assert len(reader.waiting) <= 7  # half a second, and the one that came after
    first = reader.waiting[0]
    assert first.key
    mp4 = first.stream.head + b"".join(piece.data for piece in reader.waiting)
    # Keys are 0, 10 and 20. At 6 the first is too old, at 16 that of 10, at 26 that of 20.
    assert _values(mp4) == []


@pytest.mark.slow
def test_a_viewer_who_never_reads_costs_no_more_memory_and_is_left() -> None:
    rng = np.random.default_rng(0)
    noise: list[Image] = [rng.integers(0, 255, (540, 960, 3)).astype(np.uint8) for _ in range(2)]
    with Shown() as shown, _look(shown) as quick, _look(shown) as stuck:
        stuck.recv_bufsize = 1
        start = time.monotonic()
        until(lambda: len(shown.live.h264._readers) == 2)
        while len(shown.live.h264._readers) == 2 and time.monotonic() - start < 40:
            shown.hand_over(noise[0])
            quick.recv(DEADLINE_S)
