"""What HTTP servers send: finite or live, and Motion JPEG in every form that cameras know."""

from __future__ import annotations

import socket
import tempfile
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.sources import SourceOptions, open_source
from edge.vision.types import Frame
from engines.errors import SourceError
from tests.edge import loopback
from tests.edge.loopback import Handler, served
from tests.edge.media_files import level, number_of, write_video

COUNT = 12
JPEGS = [loopback.jpeg(number) for number in range(COUNT)]
PERIOD_NS = 40_000_000


def chunked(body: bytes) -> Handler:
    """An answer of unknown length whose end is told (RFC 9112, 7.1)."""
    pieces = [body[i : i + 700] for i in range(0, len(body), 700)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    return loopback.then_closed("application/octet-stream\r\nTransfer-Encoding: chunked", coded)


SERVERS = {
    "with a length": lambda body: loopback.answering("200 OK", body),
    "until it closes": lambda body: loopback.then_closed("application/octet-stream", body),
    "in chunks": chunked,
}


def frames_of(handler: Handler, path: str = "cam") -> list[Frame]:
    """All frames of a source that must be found finite."""
    with served(handler) as port:
        source = open_source(
            f"http://127.0.0.1:{port}/{path}", policy="auto", stop=threading.Event()
        )
        assert not source.live
        frames = []
        while (frame := source.read()) is not None:
            frames.append(frame)
        source.close()
    return frames


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files that state no length of time."""
    folder = tmp_path_factory.mktemp("films")
    live = {"live": "1"}
    paths = {
        "webm": write_video(folder / "a.webm", count=COUNT, codec="vp8", container_options=live),
        "raw": write_video(folder / "a.h264", count=COUNT, codec="libx264"),
        "ts": write_video(folder / "a.ts", count=COUNT, codec="mpeg2video"),
    }
    return {name: path.read_bytes() for name, path in paths.items()} | {"jpeg": b"".join(JPEGS)}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("film", ["webm", "raw", "ts", "jpeg"])
def test_a_film_that_ends_is_finite_and_every_frame_comes(
    film: str, server: str, films: dict[str, bytes]
) -> None:
    frames = frames_of(SERVERS[server](films[film]))
    assert [number_of(f.image) for f in frames] == list(range(COUNT))
    times = [f.media_ns for f in frames]
    assert None not in times
    first = times[0] or 0
    # WebM counts in milliseconds, MPEG in 1/90000 s: 40 ms are whole in both.
    assert times == [first + n * PERIOD_NS for n in range(COUNT)]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("path", ["a.{}", "a.{}?w=64&t=1", "snapshot"])
def test_a_picture_is_one_frame(suffix: str, path: str) -> None:
    picture = cv2.imencode(f".{suffix}", np.full((48, 64, 3), level(7), np.uint8))[1].tobytes()
    frames = frames_of(loopback.answering("200 OK", picture), path.format(suffix))
    assert [(number_of(f.image), f.media_ns) for f in frames] == [(7, 0)]


def test_what_states_no_length_is_live_where_it_is_to_be_opened_again() -> None:
    with served(loopback.then_closed("image/jpeg", JPEGS[0])) as port:
        url, options = f"http://127.0.0.1:{port}/", SourceOptions(reconnect=True, retry_s=0.01)
        source = open_source(url, policy="auto", stop=threading.Event(), options=options)
        assert source.live
        assert [frame.id for _ in range(3) if (frame := source.read()) is not None] == [0, 1, 2]
        source.close()


def test_a_server_of_one_connection_is_enough_where_no_length_is_stated(
    films: dict[str, bytes],
) -> None:
    served_to: list[None] = []
    send = loopback.then_closed("video/mp2t", films["ts"])

    def once(connection: socket.socket, over: threading.Event) -> None:
        served_to.append(None)
        if len(served_to) == 1:
            send(connection, over)

    assert len(frames_of(once)) == COUNT


def test_a_film_that_breaks_off_before_its_length_is_an_error(films: dict[str, bytes]) -> None:
    def half(connection: socket.socket, over: threading.Event) -> None:
        body = films["jpeg"]
        connection.recv(65536)
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        connection.sendall(head + body[: len(body) // 2])

    with pytest.raises(SourceError, match=r"breaks off after frame [56]"):
        frames_of(half)


def with_index_at_the_end(folder: Path) -> tuple[bytes, int]:
    """An mp4, and where in it the index begins."""
    film = write_video(folder / "a.mp4", count=COUNT, codec="mpeg4").read_bytes()
    index, gap = film.index(b"moov") - 4, 1 << 20  # more than is kept of what was read
    film = film[:index] + gap.to_bytes(4, "big") + b"free" + bytes(gap - 8) + film[index:]
    return film, index + gap


def test_an_mp4_with_its_index_at_the_end_needs_no_server_of_byte_ranges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, index = with_index_at_the_end(tmp_path)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    assert len(frames_of(loopback.answering("200 OK", film))) == COUNT
    assert list((tmp_path / "tmp").iterdir()) == []
    with pytest.raises(SourceError, match="no video in it"):
        frames_of(loopback.answering("200 OK", film[: index + 8]))


def test_an_mp4_that_breaks_off_while_it_is_fetched_whole_is_told_so(tmp_path: Path) -> None:
    film, index = with_index_at_the_end(tmp_path)
    served_to: list[None] = []

    def third_breaks_off(connection: socket.socket, over: threading.Event) -> None:
        # Looked at, opened by FFmpeg, which cannot go back in it, and then fetched whole.
        served_to.append(None)
        connection.recv(65536)
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(film)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + film[: index if len(served_to) == 3 else None])

    with pytest.raises(SourceError, match="cannot be opened: Input/output error"):
        frames_of(third_breaks_off)


def parts(head: bytes, *, last: bytes = b"\r\n") -> bytes:
    """A body of parts; LENGTH in ``head`` is that of the picture."""
    return b"".join(
        head.replace(b"LENGTH", str(len(jpeg)).encode()) + jpeg + last for jpeg in JPEGS
    )


KIND = "multipart/x-mixed-replace; boundary=frame"
FORMS = {
    "as it should be": (KIND, parts(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n")),
    "bare pictures": ("image/jpeg", b"".join(JPEGS)),
    "no type": ("", b"".join(JPEGS)),
    "another type": ("application/octet-stream", parts(b"--frame\r\n\r\n")),
    "text": ("text/html", parts(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n")),
    "image/jpg": (KIND, parts(b"--frame\r\nContent-Type: image/jpg\r\n\r\n")),
    "no first boundary": (
        KIND,
        parts(b"Content-Type: image/jpeg\r\n\r\n", last=b"\r\n--frame\r\n"),
    ),
    "no dashes": (KIND, parts(b"frame\r\nContent-Type: image/jpeg\r\n\r\n")),
    "dashes named, too": (
        "multipart/x-mixed-replace; boundary=--frame",
        parts(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n"),
    ),
    "quotes": ('multipart/x-mixed-replace;boundary="frame"', parts(b"--frame\r\n\r\n")),
    "another boundary": (KIND, parts(b"--other\r\nContent-Type: image/jpeg\r\n\r\n")),
    "too short": (KIND, parts(b"--frame\r\nContent-Length: 9\r\n\r\n")),
    "too long": (KIND, parts(b"--frame\r\nContent-Length: 99999\r\n\r\n")),
    "no carriage returns": (
        KIND,
        parts(b"--frame\nContent-Type: image/jpeg\nContent-Length: LENGTH\n\n", last=b"\n"),
    ),
    "junk between": (KIND, parts(b"--frame\r\n\r\n", last=b"\0\xff\xff\xd8\x80junk\r\n")),
    "joined midway": (KIND, JPEGS[0][-200:] + parts(b"\r\n--frame\r\n\r\n")),
    "a last boundary": (KIND, parts(b"--frame\r\n\r\n") + b"--frame--\r\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_motion_jpeg_is_found_whatever_stands_around_its_pictures(form: str) -> None:
    frames = frames_of(loopback.then_closed(*FORMS[form]))
    assert [number_of(f.image) for f in frames] == list(range(COUNT))


@pytest.mark.parametrize("form", ["bare pictures", "no first boundary", "too long"])
def test_a_camera_with_a_form_of_its_own_is_live(form: str) -> None:
    kind, body = FORMS[form]
    size = len(body) // COUNT + 1
    pieces = [body[i : i + size] for i in range(0, len(body), size)] * 10
    with served(loopback.paced(kind, pieces, fps=100)) as port:
        source = open_source(f"http://127.0.0.1:{port}/", policy="auto", stop=threading.Event())
        assert source.live
        shown = [source.read() for _ in range(20)]
        source.close()
    numbers = [number_of(f.image) for f in shown if f is not None]
    assert numbers == [(numbers[0] + n) % COUNT for n in range(20)]
