"""The one place that imports PyAV, always after OpenCV, and the words of its errors.

Both bring their own FFmpeg and X11 libraries. Loaded the other way round, the first ``cv2.imshow``
of the process freezes (seen with opencv-python 5.0 and av 18.1 under Xvfb; a test keeps watch).
"""

from typing import Any, cast

import cv2

# isort: split
import av
from av.sidedata.sidedata import Type

__all__ = ["av", "cv2", "reason"]


def reason(exc: BaseException) -> str:
    """FFmpeg's words without the URL that PyAV adds to them."""
    return str(getattr(exc, "strerror", None) or type(exc).__name__)


def _unlisted(kind: type[Type], value: object) -> Type:
    member: Any = object.__new__(kind)
    member._name_, member._value_ = f"UNLISTED_{value}", value
    return cast(Type, member)


# PyAV 18.1 does not list all that its FFmpeg attaches to a frame (EXIF), and then shows none of it.
Type._missing_ = classmethod(_unlisted)  # type: ignore[assignment]
