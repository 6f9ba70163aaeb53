"""The one place that imports PyAV, always after OpenCV, and the words of its errors.

Both bring their own FFmpeg and X11 libraries. Loaded the other way round, the first ``cv2.imshow``
of the process freezes (seen with opencv-python 5.0 and av 18.1 under Xvfb; a test keeps watch).
"""

import cv2

# isort: split
import av

__all__ = ["av", "cv2", "reason"]


def reason(exc: BaseException) -> str:
    """FFmpeg's words without the URL that PyAV adds to them."""
    return str(getattr(exc, "strerror", None) or type(exc).__name__)
