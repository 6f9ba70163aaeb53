"""The one place that imports PyAV, always after OpenCV, and the words of its errors.

Both bring their own FFmpeg and X11 libraries. Loaded the other way round, the first ``cv2.imshow``
of the process freezes (seen with opencv-python 5.0 and av 18.1 under Xvfb; a test keeps watch).
"""

from typing import Any, cast

import cv2
import numpy as np

# isort: split
import av
from av.sidedata.sidedata import SideData, Type

__all__ = ["av", "cv2", "display_matrix", "reason"]


def reason(exc: BaseException) -> str:
    """FFmpeg's words without the URL that PyAV adds to them."""
    return str(getattr(exc, "strerror", None) or type(exc).__name__)


def display_matrix(frame: av.VideoFrame) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a step to the right and a step down of a decoded picture lead on the screen.

    Phones film upright, and mirrored, by this note in the file: nine numbers, row by row, as in
    ISO/IEC 14496-12, 8.3.2.
    """
    note = frame.side_data.get("DISPLAYMATRIX")
    if note is None:
        return (1, 0), (0, 1)
    a, b, _, c, d = np.frombuffer(bytes(cast(SideData, note)), np.int32)[:5].tolist()
    return (a, b), (c, d)


def _unlisted(kind: type[Type], value: object) -> Type:
    member: Any = object.__new__(kind)
    member._name_, member._value_ = f"UNLISTED_{value}", value
    return cast(Type, member)


# PyAV 18.1 does not list all that its FFmpeg attaches to a frame (EXIF), and then shows none of it.
Type._missing_ = classmethod(_unlisted)  # type: ignore[assignment]
