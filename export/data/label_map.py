"""One frame or one label map, whole or refused; it knows no classes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np

from edge.sources.picture import read_image
from edge.vision.types import Image
from engines.errors import ExportError, SourceError

BITS, COLOUR_TYPE = 24, 25
"""Where a PNG's header has the bits of a channel and the kind of colour (ISO/IEC 15948)."""
PALETTE = 3


def read_frame(path: Path) -> Image:
    """One image (H, W, 3) BGR.

    Raises:
        ExportError: it cannot be read or decoded, or is cut off.
    """
    try:
        return read_image(path)
    except SourceError as exc:
        raise ExportError(str(exc)) from exc


def read_label_map(path: Path) -> Image:
    """The indices (H, W) uint8 of a PNG.

    Raises:
        ExportError: it cannot be read, is damaged, or holds anything but one 8-bit grey channel.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ExportError(f"{path}: cannot be read ({exc.strerror or exc}).") from exc
    whole = _is_whole_png(data)
    labels = None
    if whole:
        with suppress(cv2.error):  # a header that says more pixels than the decoder takes
            labels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise ExportError(f"{path}: damaged or no PNG. Restore it or leave its image out.")
    # the decoder stretches 1, 2 and 4 bits to 0..255, which are indices no more
    if labels.ndim != 2 or labels.dtype != np.uint8 or data[BITS] != 8:
        kind = f"{labels.dtype}{list(labels.shape)}"
        if data[COLOUR_TYPE] == PALETTE:
            kind = "a palette"
        elif data[BITS] < 8:
            kind = f"{data[BITS]} bits a pixel"
        raise ExportError(
            f"{path}: got {kind}, wanted one 8-bit grey channel of class indices. Save the indices "
            "themselves, not their colours."
        )
    return np.asarray(labels, np.uint8)


def _is_whole_png(data: bytes) -> bool:
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
