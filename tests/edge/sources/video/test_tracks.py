"""Which of several videos in a file is shown, and that the others are told."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from edge.sources import open_source
from edge.sources.video.media import av
from engines.errors import SourceError

VideoStream = av.video.stream.VideoStream
Track = tuple[str, int, int]  # codec, width, frames; as high as wide
FILM: Track = ("libx264", 64, 5)
COVER: Track = ("mjpeg", 96, 1)


def write_tracks(path: Path, tracks: Sequence[Track], attached: Sequence[int] = ()) -> Path:
    """A file of several video tracks at 25 fps; those ``attached`` are noted as covers."""
    with av.open(str(path), "w") as container:
        streams = []
        for number, (codec, side, _) in enumerate(tracks):
            stream = container.add_stream(codec, rate=25)
            assert isinstance(stream, VideoStream)
            stream.width = stream.height = side
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.codec_context.time_base = Fraction(1, 25)
            if number in attached:
                stream.disposition = av.stream.Disposition.attached_pic
            streams.append(stream)
        for stream, (_, side, count) in zip(streams, tracks, strict=True):
            for number in range(count):
                grey = np.full((side, side, 3), 128, np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, format="bgr24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def shown(path: Path) -> tuple[int, int]:
    """The side of the frames, and how many there are."""
    source = open_source(str(path), policy="auto", stop=threading.Event())
    sides = []
    while (frame := source.read()) is not None:
        sides.append(frame.wh[0])
    source.close()
    assert len(set(sides)) == 1
    return sides[0], len(sides)


@pytest.mark.parametrize(
    ("name", "tracks", "attached", "left_out"),
    [
        ("a.mp4", [COVER, FILM], [], "track 0 (mjpeg 96x96, a picture)"),
        ("a.mkv", [COVER, FILM], [], "track 0 (mjpeg 96x96)"),
        ("a.mp4", [FILM, COVER], [1], "track 1 (mjpeg 96x96, a picture)"),
        ("a.mov", [("libx264", 96, 1), FILM], [], "track 0 (h264 96x96, a picture)"),
        ("a.mkv", [("libx264", 96, 1), ("libx264", 64, 50)], [], "track 0 (h264 96x96)"),
    ],
)
def test_the_film_is_shown_and_not_its_picture(
    name: str,
    tracks: list[Track],
    attached: list[int],
    left_out: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "edge")
    path = write_tracks(tmp_path / name, tracks, attached)
    assert shown(path) == (64, max(count for _, _, count in tracks))
    told = [r for r in caplog.records if "other video in it is left out" in r.getMessage()]
    assert [(r.levelno, left_out in r.getMessage()) for r in told] == [(logging.INFO, True)]


def test_of_several_films_the_larger_is_shown_and_how_to_see_the_other_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracks = [FILM, ("mpeg4", 128, 4), ("libx264", 96, 3)]
    path = write_tracks(tmp_path / "a.ts", [("mpeg2video", 64, 5), *tracks[1:]])
    assert shown(path) == (128, 4)
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(told) == 1
    assert "track 0 (mpeg2video 64x64), track 2 (h264 96x96); to see one" in told[0]


def test_the_default_of_two_films_is_shown(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mp4", [FILM, ("libx264", 96, 4)])
    assert shown(path) == (64, 5)  # an mp4's first track is its default


def test_a_track_that_cannot_be_decoded_gives_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_tracks(tmp_path / "a.mp4", [("mpeg4", 96, 9), FILM])
    data = path.read_bytes()
    assert data.count(b"mp4v") == 1
    path.write_bytes(data.replace(b"mp4v", b"none").replace(b"\x20\x11", b"\x03\x11"))
    assert shown(path) == (64, 5)
    assert "left out: track 0 (cannot be decoded)" in caplog.text


def test_one_picture_alone_is_shown(tmp_path: Path) -> None:
    assert shown(write_tracks(tmp_path / "a.mp4", [COVER])) == (96, 1)


def test_a_cover_without_a_film_is_no_video(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mp4", [COVER], [0])
    with pytest.raises(SourceError, match=r"no video in it \(it holds cover picture\)"):
        shown(path)
