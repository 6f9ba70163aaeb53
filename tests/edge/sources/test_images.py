"""Images of every kind become (H, W, 3) uint8 BGR; a damaged one is named."""

from __future__ import annotations

import logging
import struct
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.sources import SourceOptions, kind_of, open_source
from edge.sources.base import Source
from edge.sources.images import find_images
from edge.sources.options import Policy
from edge.sources.picture import read_image
from edge.vision.types import Image
from engines.errors import SourceError
from tests.edge.picture_files import MEGAPIXELS_144, heic, png_of


def opened(text: str | Path, policy: Policy = "auto") -> Source:
    return open_source(str(text), policy=policy, stop=threading.Event())


def write(path: Path, value: int, wh: tuple[int, int] = (8, 6)) -> Path:
    assert cv2.imwrite(str(path), np.full((wh[1], wh[0], 3), value, np.uint8))
    return path


def test_a_folder_is_read_in_natural_order_and_ends(tmp_path: Path) -> None:
    for number in (10, 9, 100, 1):
        write(tmp_path / f"f{number}.png", number)
    write(tmp_path / ".hidden.png", 7)
    (tmp_path / "notes.txt").write_text("x")
    source = opened(tmp_path)
    assert source.frame_count == 4
    frames = [source.read() for _ in range(4)]
    assert [f.image[0, 0, 0] for f in frames if f] == [1, 9, 10, 100]
    assert [f.id for f in frames if f] == [0, 1, 2, 3]
    assert source.read() is None
    assert (source.live, source.fps, source.gaps) == (False, None, 0)
    for frame in frames:
        assert frame is not None
        assert frame.clock == "read"
        assert frame.t_capture_ns == frame.t_read_ns
        assert not frame.image.flags.writeable


def test_a_glob_and_a_single_file_are_sources_too(tmp_path: Path) -> None:
    for name in ("a1.png", "a2.png", "b1.png"):
        write(tmp_path / name, 5)
    assert [p.name for p in find_images(str(tmp_path / "a*.png"))] == ["a1.png", "a2.png"]
    assert [p.name for p in find_images(str(tmp_path / "b1.png"))] == ["b1.png"]
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "c1.png", 5)
    assert len(find_images(str(tmp_path / "**" / "*.png"))) == 4


def test_a_folder_whose_name_looks_like_a_glob_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run[1]"
    folder.mkdir()
    write(folder / "a.png", 5)
    assert opened(folder).read() is not None


@pytest.mark.parametrize(
    ("pixels", "wanted"),
    [
        (np.full((6, 8), 77, np.uint8), (77, 77, 77)),
        (np.full((6, 8, 4), (10, 20, 30, 0), np.uint8), (10, 20, 30)),  # alpha 0 hides nothing
        (np.full((6, 8, 3), (0x1234, 0x5678, 0x9ABC), np.uint16), (0x12, 0x56, 0x9A)),
        (np.full((6, 8), 0x8000, np.uint16), (0x80, 0x80, 0x80)),
    ],
)
def test_grey_alpha_and_16_bits_become_bgr(
    tmp_path: Path, pixels: NDArray[Any], wanted: tuple[int, int, int]
) -> None:
    path = tmp_path / "x.png"
    assert cv2.imwrite(str(path), pixels)
    image = read_image(path)
    assert image.shape == (6, 8, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - wanted).max() <= 1


def jpeg(image: Image, exif_orientation: int | None = None) -> bytes:
    data = cv2.imencode(".jpg", image)[1].tobytes()
    if exif_orientation is None:
        return data
    # APP1 with a TIFF header and one entry: tag 0x0112 (orientation), type 3 (short), count 1.
    tiff = struct.pack(">2sHI HHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, exif_orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, :16] = 255  # white on the left
    path = tmp_path / "x.jpg"
    path.write_bytes(jpeg(image, exif_orientation=6))  # to be turned clockwise: white on top
    turned = read_image(path)
    assert turned.shape == (32, 16, 3)
    assert turned[:12].mean() > 250
    assert turned[20:].mean() < 5


def test_a_damaged_image_in_the_middle_is_named_and_those_before_were_read(tmp_path: Path) -> None:
    write(tmp_path / "f1.png", 1)
    (tmp_path / "f2.png").write_bytes(b"BM no image")
    write(tmp_path / "f3.png", 3)
    source = opened(tmp_path)
    assert source.read() is not None
    with pytest.raises(SourceError, match=r"f2\.png: damaged or not an image"):
        source.read()


@pytest.mark.parametrize("kept", [0.3, 0.9])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
def test_an_image_that_was_cut_off_is_refused_not_filled_with_grey(
    tmp_path: Path, suffix: str, kept: float, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = cv2.imencode(suffix, noise)[1].tobytes()
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(SourceError, match="wanted a whole image"):
        read_image(path)
    assert capfd.readouterr().err == ""


def test_a_picture_of_numbers_that_are_no_grey_levels_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "depth.tif"
    assert cv2.imwrite(str(path), np.ones((6, 8), np.float32))
    with pytest.raises(SourceError, match="a picture of float32, wanted 8 or 16 bits a channel"):
        read_image(path)


@pytest.mark.parametrize(
    ("header", "refused"),
    [(b"P5 8 6 4095\n", True), (b"P5\n# a camera\n8 6\n100\n", True), (b"P6\n8 6\n7\n", True),
     (b"P5\n8 6\n255\n", False), (b"P5\n# 8 6 12\n8 6\n65535\n", False)],
)  # fmt: skip
def test_greys_of_an_unusual_range_are_refused(
    tmp_path: Path, header: bytes, refused: bool
) -> None:
    path = tmp_path / "x.pgm"
    path.write_bytes(header + b"\xff" * 8 * 6 * 6)
    if refused:
        with pytest.raises(SourceError, match=r"its greys go up to \d+, wanted 255 or 65535"):
            read_image(path)
    else:
        assert (read_image(path) == 255).all()


def test_a_name_may_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "~nobody-of-that-name.png", 1)
    source = open_source("~nobody-of-that-name.png", policy="wait", stop=threading.Event())
    assert source.read() is not None


def test_a_jpeg_with_bytes_after_its_end_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(jpeg(np.zeros((16, 16, 3), np.uint8)) + b"trailer" * 100)
    assert read_image(path).shape == (16, 16, 3)


def test_images_of_different_sizes_pass_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1, (8, 6))
    write(tmp_path / "b.png", 1, (4, 10))
    source = opened(tmp_path)
    assert [f.wh for f in (source.read(), source.read()) if f] == [(8, 6), (4, 10)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty_folder", "no image in it .it is empty."),
        ("texts", r"no image in it \(1 \.txt\)"),
        ("none*.png", "no such file or folder"),
        ("absent/", "no such file or folder"),
        ("texts/*", r"no image in it \(1 \.txt\)"),
        ("empty.png", "the file is empty"),
    ],
)
def test_what_holds_no_image_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty_folder").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    (tmp_path / "empty.png").touch()
    with pytest.raises(SourceError, match=message):
        opened(f"{tmp_path}/{name}").read()


def test_under_drop_a_folder_plays_at_its_rate(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.png", number)
    options = SourceOptions(images_fps=50)
    source = open_source(str(tmp_path), policy="drop", stop=threading.Event(), options=options)
    assert source.fps == 50
    times = [f.t_read_ns for f in (source.read(), source.read(), source.read()) if f]
    assert times[2] - times[0] >= 40_000_000  # two periods of 20 ms


@pytest.mark.parametrize("policy", ["wait", "drop"])
def test_images_are_a_period_apart_however_fast_they_are_read(
    tmp_path: Path, policy: Policy
) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.png", number)
    options = SourceOptions(images_fps=50)
    source = open_source(str(tmp_path), policy=policy, stop=threading.Event(), options=options)
    frames = (source.read(), source.read(), source.read())
    assert [f.media_ns for f in frames if f] == [0, 20_000_000, 40_000_000]


def test_a_stopped_or_closed_source_returns_none(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1)
    stop = threading.Event()
    source = open_source(str(tmp_path), policy="wait", stop=stop)
    stop.set()
    assert source.read() is None
    closed = opened(tmp_path)
    closed.close()
    closed.close()
    assert closed.read() is None


RED_AT_THE_TOP_LEFT = np.zeros((96, 128, 3), np.uint8)
RED_AT_THE_TOP_LEFT[:48, :64] = (0, 0, 255)


def red_box(image: Image) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(image[..., 2] > 128)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


@pytest.mark.parametrize(
    ("quarters", "shape", "box"),  # a mirror, a turn by 90 degrees against the clock, and so on
    [(0, (96, 128, 3), (0, 0, 64, 48)), (1, (128, 96, 3), (0, 64, 48, 128)),
     (2, (96, 128, 3), (64, 48, 128, 96)), (3, (128, 96, 3), (48, 0, 96, 64))],
)  # fmt: skip
def test_a_heic_is_read_and_turned(
    tmp_path: Path, quarters: int, shape: tuple[int, int, int], box: tuple[int, int, int, int]
) -> None:
    path = tmp_path / "photo.heic"
    path.write_bytes(heic(RED_AT_THE_TOP_LEFT, quarters))
    image = read_image(path)
    assert image.shape == shape
    assert red_box(image) == pytest.approx(box, abs=1)  # colours are coded by 2x2


def test_a_folder_is_taken_by_content_and_the_rest_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoded = {
        kind: cv2.imencode(kind, RED_AT_THE_TOP_LEFT)[1].tobytes()
        for kind in (".jpg", ".png", ".gif", ".webp", ".tif", ".bmp", ".ppm", ".jp2", ".avif")
    } | {".heic": heic(RED_AT_THE_TOP_LEFT)}
    for number, (kind, data) in enumerate(encoded.items()):
        (tmp_path / f"{number}{kind}").write_bytes(data)
        (tmp_path / f"{number}-{kind[1:]}.misnamed").write_bytes(data)
    for suffix in (".jfif", ".jpe", ".JPG", ".dat", ""):
        (tmp_path / f"jpeg{suffix}").write_bytes(encoded[".jpg"])
    others = {"notes.txt": b"BMW is P1 of many", "labels.json": b"{}"}
    others |= {"raw.dng": encoded[".tif"], "clip.mjpeg": encoded[".jpg"]}
    for name, data in others.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / ".hidden.txt").touch()
    (tmp_path / "folder").mkdir()
    with caplog.at_level(logging.INFO, logger="edge"):
        source = opened(tmp_path)
    assert source.frame_count == 2 * len(encoded) + 5
    for _ in range(source.frame_count):
        frame = source.read()
        assert frame is not None
        assert red_box(frame.image) == pytest.approx((0, 0, 64, 48), abs=1)
    assert (
        "4 of 29 files are no pictures that can be read and are left out: "
        "clip.mjpeg, labels.json, notes.txt, raw.dng"
    ) in caplog.text


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.jfif", "images"), ("a.dat", "images"), ("a", "images"), ("a.heic", "images"),
     ("a.mjpeg", "video"), ("a.gif", "video"), ("a.apng", "video")],
)  # fmt: skip
def test_a_single_picture_is_known_by_its_content_too(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_bytes(jpeg(RED_AT_THE_TOP_LEFT))
    assert kind_of(str(tmp_path / name)) == kind


@pytest.mark.parametrize("name", MEGAPIXELS_144)
def test_a_picture_bomb_is_refused_before_it_is_decoded(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(MEGAPIXELS_144[name])
    with pytest.raises(SourceError, match="more than 100 megapixels, the most that is decoded"):
        opened(path).read()


def test_a_file_too_large_to_be_a_picture_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    with path.open("wb") as file:
        file.truncate(10**12)  # takes no room
    with pytest.raises(SourceError, match=r"a file of 1000\.0 GB, no picture"):
        read_image(path)


def test_a_png_whose_checksum_is_wrong_is_refused_in_our_words_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(png_of(8, 6))
    data[20] ^= 1  # within the header's size
    path = tmp_path / "x.png"
    path.write_bytes(bytes(data))
    with pytest.raises(SourceError, match="the picture is cut off or damaged"):
        read_image(path)
    assert capfd.readouterr().err == ""  # libpng would have printed
