"""The one place that imports PyAV: always after OpenCV; it holds nothing of its own.

Both bring their own FFmpeg and X11 libraries. Loaded the other way round, the first ``cv2.imshow``
of the process freezes (seen with opencv-python 5.0 and av 18.1 under Xvfb; a test keeps watch).
"""

import cv2

# isort: split
import av

__all__ = ["av", "cv2"]
