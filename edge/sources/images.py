"""Frames from a folder, a glob or a single image file, in natural order; it decodes none itself."""

from __future__ import annotations

import glob
import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from edge.sources.base import SourceBase, SourceKind
from edge.sources.options import Policy, SourceOptions
from edge.sources.picture_kinds import SUFFIXES, is_picture
from edge.sources.timing.pacing import SECOND_NS, Pacer, longest_step_ns
from edge.vision.types import Frame
from engines.errors import SourceError

_log = logging.getLogger("edge")

NAMED = 5
"""Files that are named of those left out."""


def find_images(text: str, *, tell: Callable[[str], object] = lambda _: None) -> list[Path]:
    """The image files that a folder, a glob or a path means, 'frame2' before 'frame10'.

    ``tell`` hears which other files are left out; hidden ones are not spoken of.

    Raises:
        SourceError: nothing there, not readable, or no image among it.
    """
    path = Path(os.path.expanduser(text))  # Path.expanduser raises where there is no such user
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
    shown = [p for p in found if not p.name.startswith(".")]
    images = list(filter(is_picture, shown))
    if not images:
        raise SourceError(
            f"{text}: no image in it ({_contents(found)}), wanted "
            f"{' '.join(s[1:] for s in SUFFIXES)}; give a folder that holds some"
        )
    if others := sorted({p for p in shown if os.path.isfile(p)}.difference(images)):
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        tell(
            f"{text}: {len(others)} of {len(others) + len(images)} files are no pictures that can "
            f"be read and are left out: {', '.join(p.name for p in others[:NAMED])}{more}"
        )
    return sorted(images, key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key: runs of digits compare as numbers."""
    pieces = re.split(r"(\d+)", str(path))
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def _contents(found: list[Path]) -> str:
    kinds = Counter("folder" if os.path.isdir(p) else p.suffix or "no suffix" for p in found)
    return ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(5)) or "it is empty"


class ImageSource(SourceBase):
    """A folder, a glob or one image, each file read when it is asked for.

    Under 'drop' they play at ``options.images_fps``.

    Raises:
        SourceError: nothing there, not readable, or no image among it.
    """

    def __init__(
        self, text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions
    ) -> None:
        self._files = find_images(text, tell=_log.warning)
        self._rate = options.images_fps
        paced = policy == "drop"
        super().__init__(text, live=False, stop=stop, fps=self._rate if paced else None)
        self.frame_count = len(self._files)
        self._pacer = Pacer(stop, longest_step_ns=longest_step_ns(self._rate)) if paced else None

    def _read(self) -> Frame | None:
        from edge.sources.picture import read_image

        if self._next_id == len(self._files):
            return None
        image = read_image(self._files[self._next_id])
        media_ns = round(self._next_id * SECOND_NS / self._rate)
        if self._pacer is not None and not self._pacer.hold(media_ns):
            return None
        now_ns = time.monotonic_ns()
        return self._frame(image, now_ns, now_ns, "read", media_ns)


def _is_images(text: str) -> bool:
    if "://" in text:
        return False
    path = os.path.expanduser(text)
    if os.path.exists(path):  # unlike Path.exists it does not raise where a folder is closed to us
        return os.path.isdir(path) or is_picture(path, alone=True)
    return text.endswith("/") or bool(re.search(r"[*?\[]", text))


IMAGES = SourceKind(_is_images, ImageSource, example="FOLDER", is_path=True, files=find_images)
