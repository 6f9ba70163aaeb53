"""The grammar of ``--source``, the contract of every kind, and turning and mirroring."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.sources import SOURCES, SourceOptions, is_path, kind_of, open_source, source_kind
from edge.sources.base import Source
from edge.sources.options import Flip, RotateDeg
from edge.sources.orient import flipped, rotated
from edge.vision.types import Image
from engines.errors import SettingsError, SourceError
from tests.edge import loopback
from tests.edge.gst_here import needs_gst
from tests.edge.media_files import write_video


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("synthetic", "synthetic"),
        ("synthetic:640x360@10", "synthetic"),
        ("/dev/video0", "camera"),
        ("camera:0", "camera"),
        ("camera:usb-x-video-index0:640x480@30:MJPG", "camera"),
        ("csi:0:1280x720@30", "csi"),
        ("gst:filesrc location=a/*.mp4 ! decodebin", "gst"),
        ("gst:rtspsrc location=rtsp://cam/1 ! decodebin", "gst"),
        ("rtsp://cam/1", "stream"),
        ("RTSP://cam/1", "stream"),
        ("https://u:p@cam:8080/x.mp4?a=b", "stream"),
        ("clips/a.mp4", "video"),
        ("a.MP4", "video"),
        ("absent.mkv", "video"),
        ("./absent", "video"),
        ("frames/*.png", "images"),
        ("frames/", "images"),
    ],
)
def test_a_text_means_one_kind(text: str, kind: str) -> None:
    assert kind_of(text) == kind


def test_what_exists_decides_between_folder_picture_and_video(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "x.JPG").touch()
    (tmp_path / "noending").touch()
    assert kind_of(str(tmp_path / "clip")) == "images"
    assert kind_of(str(tmp_path / "x.JPG")) == "images"
    assert kind_of(str(tmp_path / "noending")) == "video"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synthetc", "did you mean synthetic?"),
        ("camra:1", "did you mean camera:1?"),
        ("cis:0", "did you mean csi:0?"),
        ("gts:videotestsrc", "did you mean gst:videotestsrc?"),
        ("gts:rtspsrc location=rtsp://u:S3CR3T@cam/1", "not a source"),
        ("rstp://u:S3CR3T@cam/1", "did you mean rtsp://***@cam/1?"),
        ("rtsp:/cam/1", "did you mean rtsp://cam/1?"),
        ("htps:cam", "did you mean https://cam?"),
        ("rtsp://", "not a source"),
        ("0", "did you mean camera:0?"),
        ("video0", "did you mean /dev/video0?"),
        ("file:///clips/a.mp4", "did you mean /clips/a.mp4?"),
        ("ftp://u:S3CR3T@cam/a.mp4", "not a source"),
        ("", "not a source"),
        ("a\0b.mp4", "not a source"),
    ],
)
def test_a_text_of_no_kind_is_a_settings_error_with_the_nearest(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        open_source(text, policy="auto", stop=threading.Event())
    assert message in str(raised.value)
    assert "synthetic:960x540@30" in str(raised.value)
    assert "S3CR3T" not in str(raised.value)


def synthetic(folder: Path) -> Iterator[str]:
    yield "synthetic:96x64@100"


def images(folder: Path) -> Iterator[str]:
    (folder / "0.png").write_bytes(b"")
    import cv2

    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((48, 64, 3), number, np.uint8))
    yield str(folder)


def video(folder: Path) -> Iterator[str]:
    yield str(write_video(folder / "a.mp4", count=3))


def stream(folder: Path) -> Iterator[str]:
    with loopback.served(loopback.endless_mjpeg(fps=50)) as port:
        yield f"http://viewer:S3CR3T@127.0.0.1:{port}/live"


def gst(folder: Path) -> Iterator[str]:
    needs_gst()
    yield "gst:videotestsrc num-buffers=3 ! video/x-raw,width=64,height=48"


MAKERS: dict[str, Callable[[Path], Iterator[str]]] = {
    "synthetic": synthetic,
    "images": images,
    "video": video,
    "stream": stream,
    "gst": gst,
}
NOT_HERE = {
    "camera": "needs a V4L2 device; its parts are tested in test_camera.py",
    "csi": "needs a Jetson; it is a gst pipeline, tested in gst/test_text.py",
}


def test_every_kind_is_under_contract() -> None:
    assert set(MAKERS) | set(NOT_HERE) == set(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_a_kind_declares_texts_that_mean_it(name: str) -> None:
    kind = source_kind(name)
    assert kind.is_path != any(kind.example.strip("'").startswith(p) for p in kind.prefixes)
    if not kind.is_path:
        assert kind_of(kind.example.strip("'")) == name
    for prefix in kind.prefixes:
        assert kind.matches(f"{prefix}x")
        assert not is_path(f"{prefix}x", Path("/car"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("clips/a.mp4", True),
        ("clips", True),
        ("~/a.mp4", True),
        ("/a.mp4", True),
        ("camera", True),  # a folder's name, as it is on the command line
        ("synthetic", False),
        ("/dev/video0", False),
        ("camera:", False),
        ("Rtsp:/u:p@a/b", False),
        ("ftp://a/b", False),
        ("0", False),
        ("video0", False),
    ],
)
def test_a_source_in_a_settings_file_may_be_a_path(text: str, wanted: bool) -> None:
    assert is_path(text, Path("/car")) == wanted


def test_a_file_whose_name_is_a_number_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "0").touch()
    assert is_path("0", tmp_path)


@pytest.fixture(params=MAKERS)
def text(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield from MAKERS[request.param](tmp_path)


def test_the_contract_of_a_source(text: str) -> None:
    stop = threading.Event()
    source: Source = open_source(text, policy="auto", stop=stop)
    frames = [source.read() for _ in range(3)]
    for frame in frames:
        assert frame is not None
        assert frame.image.shape in {(48, 64, 3), (64, 96, 3)}
        assert frame.image.dtype == np.uint8
        assert not frame.image.flags.writeable
        assert frame.wh == frame.image.shape[1::-1]
        assert frame.source == source.name
        assert frame.t_capture_ns <= frame.t_read_ns
    ids = [f.id for f in frames if f]
    assert ids == sorted(set(ids))
    assert ids[0] == 0
    first, second = frames[0], frames[1]
    assert first is not None
    assert second is not None
    assert not np.shares_memory(first.image, second.image)
    assert "S3CR3T" not in source.name
    assert source.gaps >= 0
    assert source.fps is None or source.fps > 0
    times = [f.media_ns for f in frames if f]
    assert (
        times == [None] * 3 if source.live else times == sorted({t for t in times if t or t == 0})
    )
    if not source.live:
        assert source.read() is None
        assert source.read() is None
    stop.set()
    assert source.read() is None
    source.close()
    source.close()


def test_turning_and_mirroring_by_hand() -> None:
    image = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)[:, :, None].repeat(3, 2)  # (2, 3, 3)

    def grid(turned: Image) -> list[list[int]]:
        return [[int(v) for v in row] for row in turned[:, :, 0]]

    assert grid(rotated(image, 0)) == [[1, 2, 3], [4, 5, 6]]
    assert grid(rotated(image, 90)) == [[4, 1], [5, 2], [6, 3]]  # clockwise: left column goes up
    assert grid(rotated(image, 180)) == [[6, 5, 4], [3, 2, 1]]
    assert grid(rotated(image, -90)) == grid(rotated(image, 270)) == [[3, 6], [2, 5], [1, 4]]
    assert grid(flipped(image, "horizontal")) == [[3, 2, 1], [6, 5, 4]]
    assert grid(flipped(image, "vertical")) == [[4, 5, 6], [1, 2, 3]]
    assert grid(flipped(image, "both")) == grid(rotated(image, 180))


@pytest.mark.parametrize(("rotate_deg", "flip"), [(90, "none"), (180, "horizontal"), (0, "both")])
def test_every_kind_can_be_turned_and_mirrored(
    text: str, rotate_deg: RotateDeg, flip: Flip
) -> None:
    options = SourceOptions(rotate_deg=rotate_deg, flip=flip)
    source = open_source(text, policy="wait", stop=threading.Event(), options=options)
    frame = source.read()
    source.close()
    assert frame is not None
    upright = frame.image.shape[0] > frame.image.shape[1]
    assert upright == (rotate_deg == 90)
    assert not frame.image.flags.writeable
    assert frame.source == source.name


def test_only_videos_and_streams_import_pyav(tmp_path: Path) -> None:
    code = (
        "import sys, threading\n"
        "from edge.sources import SOURCES, kind_of, open_source, source_kind\n"
        "assert kind_of('a/b.mp4') == 'video'\n"
        "assert all(source_kind(name).example for name in SOURCES)\n"
        "assert not {'av', 'cv2'} & set(sys.modules), 'heavy before a source is opened'\n"
        "open_source('synthetic:96x64@10', policy='wait', stop=threading.Event()).read()\n"
        "assert 'av' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_camera_that_is_not_there_is_a_source_error() -> None:
    with pytest.raises(SourceError, match="no such camera"):
        open_source("camera:98", policy="auto", stop=threading.Event())
