"""Tells files that are pictures by their first bytes and their names; it decodes none."""

from __future__ import annotations

import os
import re
from pathlib import Path

SUFFIXES = (
    ".apng", ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Lower case. A file of such a name was meant as a picture, whatever is in it."""
_OF_FFMPEG = (".apng", ".gif", ".mjpeg", ".mjpg")
"""Suffixes of films whose first bytes are a picture's."""
_RAW = (".3fr", ".arw", ".cr2", ".dcr", ".dng", ".erf", ".kdc", ".nef", ".nrw", ".pef", ".srw")
"""What a camera's sensor saw: a TIFF by its first bytes, of which decoders see a thumbnail."""
HEAD = 64
"""Bytes that tell a picture."""
_HEADS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP|\0\0\0\x0cjP  \r\n"
    rb"|\xff\x4f\xff\x51|qoif|\x59\xa6\x6a\x95|P[1-6]\s+(?:#[^\n]*\n\s*)*\d"
    rb"|....ftyp(?:avi[fs]|mif1|msf1|he(?:ic|ix|im|is|vc|vx))"
    rb"|BM........[\s\S]{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    re.DOTALL,
)
"""JPEG, PNG, GIF, TIFF, WebP, JPEG 2000, QOI, Sun raster, PBM to PPM, AVIF and HEIF, BMP."""


def is_picture(path: str | Path, *, alone: bool = False) -> bool:
    """Whether a file is a picture, or named as one; one in a folder, or asked for ``alone``.

    Alone, an animation is a film.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in _RAW or not os.path.isfile(path):  # unlike Path's it does not raise
        return False
    if suffix in _OF_FFMPEG and (alone or suffix not in SUFFIXES):
        return False
    return suffix in SUFFIXES or bool(_HEADS.match(_head(path)))


def _head(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""
