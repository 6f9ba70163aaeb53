"""Pixels that are not square: their shape goes from source to films, and to eyes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pytest

from edge.sinks import open_sink
from edge.sources import SourceOptions, open_source
from edge.sources.video.media import av
from edge.vision.types import Frame, Image, Result
from tests.edge.sink_values import picture, result

Rotation: TypeAlias = Literal[0, 90, 180, 270]
WIDE, TALL = Fraction(2), Fraction(1, 2)
WHITE_LEFT = np.concatenate([picture((255,) * 3, wh=(32, 48)), picture((0,) * 3, wh=(32, 48))], 1)


def _video(path: Path, aspect: Fraction) -> Path:
    """Three frames of 64x48 whose left half is white, in pixels of that shape."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(WHITE_LEFT, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def _frames(path: Path, rotate_deg: Rotation = 0) -> list[Frame]:
    options = SourceOptions(rotate_deg=rotate_deg)
    source = open_source(str(path), policy="wait", stop=threading.Event(), options=options)
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    source.close()
    return frames


def _of(frame: Frame) -> Result:
    blank = result(frame.id)
    return Result(frame, blank.detections, blank.classes, (), {}, 0, 0, 0)


def _film(sink: str, frames: Sequence[Frame]) -> None:
    opened = open_sink(sink, fps=25.0)
    for frame in frames:
        opened.write(_of(frame), frame.image, frame_age_ms=0)
    opened.close()


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_source_says_the_shape_of_its_pixels_and_turns_it_with_them(
    suffix: str, tmp_path: Path
) -> None:
    path = _video(tmp_path / f"a.{suffix}", WIDE)
    assert {frame.pixel_aspect for frame in _frames(path)} == {WIDE}
    assert {frame.pixel_aspect for frame in _frames(path, 180)} == {WIDE}
    # 2:1 pixels lie on their side
    turned = _frames(path, 90)
    assert {(frame.pixel_aspect, frame.wh) for frame in turned} == {(TALL, (48, 64))}


def test_a_phone_video_that_stands_upright_has_its_pixels_turned(tmp_path: Path) -> None:
    path = _video(tmp_path / "a.mp4", WIDE)
    # the matrix of the track's header (ISO/IEC 14496-12, 8.3.2) becomes a quarter turn
    one, zero, minus, w = b"\0\1\0\0", b"\0" * 4, b"\xff\xff\0\0", b"\x40\0\0\0"
    head, mark, tail = path.read_bytes().partition(b"tkhd")
    unit, turn = one + zero * 3 + one + zero * 3 + w, zero + one + zero + minus + zero * 4 + w
    path.write_bytes(head + mark + tail.replace(unit, turn, 1))
    assert {(frame.pixel_aspect, frame.wh) for frame in _frames(path)} == {(TALL, (48, 64))}


@pytest.mark.parametrize(("says", "believed"), [(Fraction(4, 3), Fraction(4, 3)), (100, 1)])
def test_a_shape_that_no_pixel_has_is_not_believed(
    says: Fraction, believed: Fraction, tmp_path: Path
) -> None:
    frames = _frames(_video(tmp_path / "a.mp4", Fraction(says)))
    assert {frame.pixel_aspect for frame in frames} == {believed}


@pytest.mark.parametrize(
    ("rotate_deg", "aspect", "wh"), [(0, WIDE, (64, 48)), (90, TALL, (48, 64))]
)
def test_films_keep_the_pixels_and_say_their_shape(
    rotate_deg: Rotation, aspect: Fraction, wh: tuple[int, int], tmp_path: Path
) -> None:
    frames = _frames(_video(tmp_path / "in.mp4", WIDE), rotate_deg)
    _film(str(tmp_path / "out.mp4"), frames)
    _film(f"record:{tmp_path}/films", frames)
    (film,) = (tmp_path / "films").glob("*.mp4")
    for path in (tmp_path / "out.mp4", film):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.sample_aspect_ratio == aspect
            assert (stream.width, stream.height) == wh  # so boxes count its pixels, too
            assert len(list(container.decode(stream))) == 3
        assert {frame.pixel_aspect for frame in _frames(path)} == {aspect}


def test_pixels_of_another_shape_begin_another_film(tmp_path: Path) -> None:
    frames = [
        frame
        for aspect in (WIDE, Fraction(1))
        for frame in _frames(_video(tmp_path / "in.mp4", aspect))
    ]
    _film(f"record:{tmp_path}/films", frames)
    films = sorted((tmp_path / "films").glob("*.mp4"))
    assert [_frames(film)[0].pixel_aspect for film in films] == [WIDE, 1]


def test_the_page_is_given_square_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web = pytest.importorskip("edge.web.sink")
    sink = web.WebSink("web:127.0.0.1:0", fps=25.0)
    given: list[Image] = []

    class Live:
        class pictures:  # noqa: N801
            wanted = True
            offer = given.append

        class events:  # noqa: N801
            offer = staticmethod(lambda *_: None)

        close = staticmethod(lambda: None)

    monkeypatch.setattr(sink, "_live", Live)
    (frame, *_) = _frames(_video(tmp_path / "in.mp4", WIDE))
    sink.write(_of(frame), frame.image, frame_age_ms=0)
    sink.close()
    (shown,) = given
    assert shown.shape == (48, 128, 3)
    assert shown[:, :60].min() > 200  # the left half is still white
    assert shown[:, 68:].max() < 60
