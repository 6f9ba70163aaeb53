"""All eight ways in which a picture can be stored, in films and in pictures."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.sources import open_source
from edge.vision.types import Image
from tests.edge.media_files import write_video
from tests.edge.picture_files import heic

STORED: Image = np.zeros((48, 64, 3), np.uint8)
STORED[:24, :32] = 255  # white at the upper left
STORED[:24, 32:] = 128  # grey at the upper right

EIGHT = [
    # EXIF orientation; a, b, c, d of a display matrix; where white and grey are shown
    (1, (1, 0, 0, 1), "upper left", "upper right"),
    (2, (-1, 0, 0, 1), "upper right", "upper left"),
    (3, (-1, 0, 0, -1), "lower right", "lower left"),
    (4, (1, 0, 0, -1), "lower left", "lower right"),
    (5, (0, 1, 1, 0), "upper left", "lower left"),
    (6, (0, 1, -1, 0), "upper right", "lower right"),
    (7, (0, -1, -1, 0), "lower right", "upper right"),
    (8, (0, -1, 1, 0), "lower left", "upper left"),
]
"""Exif 2.32, 4.6.4: what the first row and column of the stored picture are on the screen. By the
matrix (ISO/IEC 14496-12, 8.3.2) the stored point (x, y) is shown at (a x + c y, b x + d y) + shift.
"""


def places(path: Path) -> tuple[str, str]:
    """Where the first frame shows white, and grey; it is as high as wide if it was turned."""
    source = open_source(str(path), policy="auto", stop=threading.Event())
    frame = source.read()
    source.close()
    assert frame is not None
    h, w = frame.image.shape[:2]
    assert {h, w} == {48, 64}
    found = {}
    for row, y in (("upper", h // 4), ("lower", 3 * h // 4)):
        for column, x in (("left", w // 4), ("right", 3 * w // 4)):
            found[round(float(frame.image[y, x].mean()) / 128)] = f"{row} {column}"
    return found[2], found[1]


@pytest.mark.parametrize(("_", "matrix", "white", "grey"), EIGHT)
def test_a_film_is_shown_as_its_display_matrix_says(
    _: int, matrix: tuple[int, int, int, int], white: str, grey: str, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "a.mp4", count=2, image=STORED)
    data = path.read_bytes()
    a, b, c, d = (number << 16 for number in matrix)  # 16.16, and 2.30 in the last column
    unit = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = data.index(unit, data.index(b"tkhd"))
    shown = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:at] + shown + data[at + 36 :])
    assert places(path) == (white, grey)


def exif(orientation: int) -> bytes:
    """One entry, tag 0x112, a short (TIFF 6.0, section 2)."""
    return struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x112, 3, 1, orientation, 0)


def jpeg(orientation: int) -> bytes:
    data = cv2.imencode(".jpg", STORED)[1].tobytes()
    part = b"Exif\0\0" + exif(orientation)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part + data[2:]


def png(orientation: int) -> bytes:
    data = cv2.imencode(".png", STORED)[1].tobytes()
    part = b"eXIf" + exif(orientation)
    whole = struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
    return data[:33] + whole + data[33:]  # after the header


def tiff(orientation: int) -> bytes:
    data = cv2.imencode(".tif", STORED, [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    entries = {
        struct.unpack_from("<H", data, k)[0]: data[k : k + 12]
        for k in range(at + 2, at + 2 + 12 * count, 12)
    }
    entries[0x112] = struct.pack("<HHII", 0x112, 3, 1, orientation)
    table = struct.pack("<H", len(entries)) + b"".join(entries[k] for k in sorted(entries))
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + table + b"\0" * 4


def webp(orientation: int) -> bytes:
    data = cv2.imencode(".webp", STORED, [cv2.IMWRITE_WEBP_QUALITY, 100])[1].tobytes()
    header = struct.pack("<4sIB3x", b"VP8X", 10, 8) + b"\x3f\0\0\x2f\0\0"  # EXIF; 63 + 1, 47 + 1
    part = exif(orientation)
    body = b"WEBP" + header + data[12:] + struct.pack("<4sI", b"EXIF", len(part)) + part
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def motion_jpeg(orientation: int) -> bytes:
    return jpeg(orientation) * 2


@pytest.mark.parametrize(
    ("name", "made"),
    [("a.jpg", jpeg), ("a.png", png), ("a.tif", tiff), ("a.webp", webp), ("a.mjpeg", motion_jpeg)],
)
def test_a_picture_is_shown_as_its_exif_says(
    name: str, made: Callable[[int], bytes], tmp_path: Path
) -> None:
    for orientation, _, white, grey in EIGHT:
        (tmp_path / name).write_bytes(made(orientation))
        assert places(tmp_path / name) == (white, grey)


@pytest.mark.parametrize(
    ("quarters", "mirror", "white", "grey"),
    [
        (0, 0, "lower left", "lower right"),
        (0, 1, "upper right", "upper left"),
        (1, 0, "upper left", "lower left"),  # turned: lower left and upper left; then swapped
        (1, 1, "lower right", "upper right"),
    ],
)
def test_a_heic_is_turned_and_mirrored(
    quarters: int, mirror: int, white: str, grey: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(heic(STORED, quarters, mirror=mirror))
    assert places(path) == (white, grey)
