"""Reads one image file as BGR; refuses damaged files and unknown value ranges."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.types import Image
from engines.errors import SourceError

HEADER = 512
"""Bytes in which a PGM or PPM says its size and range, comments and all."""


def read_image(path: Path) -> Image:
    """One picture as (H, W, 3) uint8 BGR.

    EXIF rotation is applied, grey spread to three channels, alpha dropped, 16 bits cut to 8; of an
    animation it is the first picture.

    Raises:
        SourceError: missing, unreadable or damaged; a picture that was cut off counts as damaged.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as exc:
        raise SourceError(f"{path}: cannot be read: {exc.strerror}; check its rights") from exc
    if data.size == 0:
        raise SourceError(f"{path}: the file is empty, wanted an image; copy it again")
    whole = _is_whole(data.tobytes())
    image = raw = None
    if (top := _highest_grey(data[:HEADER].tobytes())) not in (None, 255, 65535):
        raise SourceError(
            f"{path}: its greys go up to {top}, wanted 255 or 65535 (the decoder would take them "
            "for such, nearly black); convert it or take it out"
        )
    if whole:
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            image = _decoded(data, cv2.IMREAD_COLOR)
            raw = _decoded(data, cv2.IMREAD_UNCHANGED) if image is None else None
        finally:
            cv2.utils.logging.setLogLevel(level)
    if raw is not None and raw.dtype not in (np.uint8, np.uint16):
        raise SourceError(
            f"{path}: a picture of {raw.dtype}, wanted 8 or 16 bits a channel; convert it "
            "(its range is not known here) or take it out"
        )
    if image is None:
        what = "damaged or not an image" if whole else "the picture is cut off"
        raise SourceError(f"{path}: {what}, wanted a whole image; copy it again or take it out")
    image.flags.writeable = False
    return cast(Image, image)


def _decoded(data: NDArray[np.uint8], mode: int) -> NDArray[Any] | None:
    try:
        return cv2.imdecode(data, mode)
    except cv2.error:
        return None  # a size or format that the decoder refuses


def _highest_grey(header: bytes) -> int | None:
    """The white level of a PGM or PPM (netpbm's P2 to P6); None of any other file."""
    gap = rb"(?:\s+|#[^\n]*\n)+"
    match = re.match(rb"P[2356]" + gap + rb"\d+" + gap + rb"\d+" + gap + rb"(\d+)", header)
    return int(match[1]) if match else None


def _is_whole(content: bytes) -> bool:
    """Whether a JPEG or PNG has its end.

    OpenCV fills a JPEG that was cut off with grey and reports no error; libpng prints.
    """
    if content.startswith(b"\xff\xd8"):
        return _jpeg_ends(content)
    return not content.startswith(b"\x89PNG") or b"IEND" in content


def _jpeg_ends(content: bytes) -> bool:
    """Whether the end marker follows the main scan; thumbnails in the header have their own.

    Segments up to the start of scan carry their length (ITU-T T.81, B.1.1.4).
    """
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xDA:
            return content.find(b"\xff\xd9", at) >= 0
        standalone = marker in (0x01, 0xFF) or 0xD0 <= marker <= 0xD8
        at += (
            (1 if marker == 0xFF else 2)
            if standalone
            else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        )
    return False
