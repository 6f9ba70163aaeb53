"""Reads one image file as BGR; refuses damaged ones, too large ones and unknown value ranges."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, cast
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.pixels import MOST_PIXELS, TOO_LARGE, why_too_large
from edge.vision.types import Image
from engines.errors import SourceError

MOST_BYTES = 8 * MOST_PIXELS
"""Of a file: four channels of 16 bits, not compressed."""
HEADER = 512
"""Bytes in which a PGM or PPM says its size and range, comments and all."""


def read_image(path: Path) -> Image:
    """One picture as (H, W, 3) uint8 BGR.

    EXIF rotation is applied, grey spread to three channels, alpha dropped, 16 bits cut to 8; of an
    animation it is the first picture.

    Raises:
        SourceError: missing, unreadable, too large or damaged; a picture that was cut off counts
            as damaged.
    """
    try:
        size = path.stat().st_size
        data = np.fromfile(path, np.uint8) if size <= MOST_BYTES else None
    except OSError as exc:
        raise SourceError(f"{path}: cannot be read: {exc.strerror}; check its rights") from exc
    if data is None:
        raise SourceError(f"{path}: a file of {size / 1e9:.1f} GB, no picture; take it out")
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
            image = decoded(data, cv2.IMREAD_COLOR, path)
            raw = decoded(data, cv2.IMREAD_UNCHANGED, path) if image is None else None
        finally:
            cv2.utils.logging.setLogLevel(level)
    if raw is not None and raw.dtype not in (np.uint8, np.uint16):
        raise SourceError(
            f"{path}: a picture of {raw.dtype}, wanted 8 or 16 bits a channel; convert it "
            "(its range is not known here) or take it out"
        )
    if image is None and whole:
        image = _by_ffmpeg(data.tobytes(), path)
    if image is None:
        what = "damaged or not an image" if whole else "the picture is cut off or damaged"
        raise SourceError(f"{path}: {what}, wanted a whole image; copy it again or take it out")
    image.flags.writeable = False
    return cast(Image, image)


def decoded(data: NDArray[np.uint8], mode: int, path: Path) -> NDArray[Any] | None:
    """What OpenCV makes of a picture; None where it is damaged or of no format that it knows.

    Raises:
        SourceError: it has too many pixels; none was decoded.
    """
    try:
        return cv2.imdecode(data, mode)
    except cv2.error as exc:
        if "CV_IO_MAX_IMAGE" in str(exc):
            raise SourceError(f"{path}: its header says {TOO_LARGE}") from exc
        return None  # a format that the decoder refuses


def _by_ffmpeg(data: bytes, path: Path) -> NDArray[Any] | None:
    """What FFmpeg makes of a HEIF or a QOI, which OpenCV does not know; None as above."""
    from edge.sources.orient import displayed
    from edge.sources.video.media import av, display_matrix

    # Named, as FFmpeg would follow a playlist to other files and to the network.
    demuxer = "mov" if data[4:8] == b"ftyp" else "qoi_pipe" if data[:4] == b"qoif" else None
    if demuxer is None:
        return None
    try:
        with av.open(io.BytesIO(data), "r", format=demuxer) as container:
            streams = container.streams.video
            if any(s.disposition & av.stream.Disposition.dependent for s in streams):
                raise SourceError(
                    f"{path}: a picture of several tiles, which cannot be put together here; "
                    "convert it, for example: heif-convert INPUT OUTPUT.png"
                )
            stream = max(streams, key=lambda s: bool(s.disposition & av.stream.Disposition.default))
            codec = stream.codec_context
            if too_large := why_too_large(codec.width, codec.height):
                raise SourceError(f"{path}: {too_large}")
            frame = next(container.decode(stream))
    except (av.error.FFmpegError, ValueError, StopIteration):
        return None
    image = np.asarray(frame.reformat(format="bgr24").to_ndarray(), np.uint8)
    return np.ascontiguousarray(displayed(image, *display_matrix(frame)))


def _highest_grey(header: bytes) -> int | None:
    """The white level of a PGM or PPM (netpbm's P2 to P6); None of any other file."""
    gap = rb"(?:\s+|#[^\n]*\n)+"
    match = re.match(rb"P[2356]" + gap + rb"\d+" + gap + rb"\d+" + gap + rb"(\d+)", header)
    return int(match[1]) if match else None


def _is_whole(content: bytes) -> bool:
    """Whether a JPEG has its end, and a PNG all that it says; of others it is not known.

    OpenCV fills a JPEG that was cut off with grey and reports no error; libpng prints.
    """
    if content.startswith(b"\xff\xd8"):
        return _jpeg_ends(content)
    return not content.startswith(b"\x89PNG") or is_whole_png(content)


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


def is_whole_png(data: bytes) -> bool:
    """Whether every chunk is there and has its checksum (ISO/IEC 15948).

    A PNG that was cut off decodes with zeros for the rest, and 0 is a class.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return False
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if crc32(data[at + 4 : end]).to_bytes(4, "big") != data[end : end + 4]:
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False
