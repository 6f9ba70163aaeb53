"""Frames from a folder, a glob or a single image file, in natural order; it writes nothing."""

from __future__ import annotations

import glob
import os
import re
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.sources import IMAGE_SUFFIXES
from edge.sources.options import Policy, SourceOptions
from edge.sources.timing.pacing import SECOND_NS, Pacer, longest_step_ns
from edge.vision.types import Frame, Image
from engines.errors import SourceError

HEADER = 512
"""Bytes in which a PGM or PPM says its size and range, comments and all."""


def open_images(
    text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions
) -> ImageSource:
    """Open a folder, a glob or one image. Under 'drop' they play at ``options.images_fps``.

    Raises:
        SourceError: nothing there, not readable, or no image among it.
    """
    files = find_images(text)
    longest_ns = longest_step_ns(options.images_fps)
    pacer = Pacer(stop, longest_step_ns=longest_ns) if policy == "drop" else None
    return ImageSource(files, name=text, fps=options.images_fps, pacer=pacer, stop=stop)


def find_images(text: str) -> list[Path]:
    """The image files that a folder, a glob or a path means, 'frame2' before 'frame10'.

    Raises:
        SourceError: nothing there, not readable, or no image among it.
    """
    path = Path(os.path.expanduser(text))  # unlike that of Path it takes "~" for a name, too
    if os.path.isdir(path):  # unlike Path.is_dir it does not raise where a folder is closed to us
        try:
            found = list(path.iterdir())
        except OSError as exc:
            raise SourceError(
                f"{text}: the folder cannot be read: {exc.strerror}; check its rights (ls -ld)"
            ) from exc
    elif os.path.exists(path):
        found = [path]
    else:
        found = [Path(p) for p in glob.glob(str(path), recursive=True)]
        if not found:
            raise SourceError(f"{text}: no such file or folder, wanted images; check the path")
    images = [
        p
        for p in found
        if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") and os.path.isfile(p)
    ]
    if not images:
        raise SourceError(
            f"{text}: no image in it ({_contents(found)}), wanted "
            f"{' '.join(s[1:] for s in IMAGE_SUFFIXES)}; give a folder that holds some"
        )
    return sorted(images, key=_natural)


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
    """What a PGM or PPM says is white; None of any other file (netpbm's formats, P2 to P6)."""
    gap = rb"(?:\s+|#[^\n]*\n)+"
    match = re.match(rb"P[2356]" + gap + rb"\d+" + gap + rb"\d+" + gap + rb"(\d+)", header)
    return int(match[1]) if match else None


def _is_whole(content: bytes) -> bool:
    """Whether a JPEG or PNG has its end.

    OpenCV returns a JPEG that was cut off as if it were whole, filled up with grey; libpng prints.
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


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key: runs of digits compare as numbers."""
    pieces = re.split(r"(\d+)", str(path))
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def _contents(found: list[Path]) -> str:
    kinds = Counter("folder" if os.path.isdir(p) else p.suffix or "no suffix" for p in found)
    return ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(5)) or "it is empty"


class ImageSource:
    """A fixed list of image files, each read when it is asked for."""

    def __init__(
        self,
        files: list[Path],
        *,
        name: str,
        fps: float,
        pacer: Pacer | None,
        stop: threading.Event,
    ) -> None:
        self._files = files
        self._name = name
        self._fps = fps
        self._pacer = pacer
        self._stop = stop
        self._next = 0
        self._closed = False

    @property
    def name(self) -> str:
        """The folder or glob as it was given."""
        return self._name

    @property
    def live(self) -> bool:
        """Never: images wait."""
        return False

    @property
    def fps(self) -> float | None:
        """The rate at which they are played, None where they are read on demand."""
        return self._fps if self._pacer is not None else None

    @property
    def gaps(self) -> int:
        """Always 0: a damaged image is an error."""
        return 0

    def read(self) -> Frame | None:
        """The next image; None after the last, or when stopped or closed.

        Raises:
            SourceError: the next file is missing, unreadable or damaged.
        """
        if self._closed or self._stop.is_set() or self._next == len(self._files):
            return None
        image = read_image(self._files[self._next])
        media_ns = round(self._next * SECOND_NS / self._fps)
        if self._pacer is not None and not self._pacer.hold(media_ns):
            return None
        now_ns = time.monotonic_ns()
        frame = Frame(image, self._next, now_ns, now_ns, "read", self._name, media_ns)
        self._next += 1
        return frame

    def close(self) -> None:
        """Nothing is held open; ``read`` returns None from now on."""
        self._closed = True
