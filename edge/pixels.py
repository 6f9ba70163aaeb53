"""How large a picture may be, for every door that decodes one; it decodes none.

Some hundred kilobytes can hold a picture of gigabytes, and decoders make room for it first.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

MOST_PIXELS = 100_000_000
"""0.3 GB as the app holds it. Cameras that move have 50 megapixels at most."""
TOO_LARGE = (
    f"more than {MOST_PIXELS // 1_000_000} megapixels, the most that is decoded; make it smaller "
    "or take it out"
)


def bound_opencv(environ: MutableMapping[str, str] = os.environ) -> None:
    """Have OpenCV refuse a larger picture by its header: it reads this when it is imported."""
    environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))


def why_too_large(width: int, height: int) -> str | None:
    """Why a picture of that size is not decoded; None where it may be."""
    return f"{width}x{height} pixels are {TOO_LARGE}" if width * height > MOST_PIXELS else None
