"""How a source is to be opened: plain values with their units; it opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Policy = Literal["auto", "drop", "wait"]
RotateDeg = Literal[0, 90, 180, 270]
Flip = Literal["none", "horizontal", "vertical", "both"]


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Deadlines, orientation and the synthetic scene's seed.

    ``rotate_deg`` turns clockwise, ``flip`` is applied after it. ``images_fps`` is the rate of a
    folder, played under the policy 'drop' or in an mp4: images have no timestamps of their own.
    ``password_file`` holds the password of a URL's user.
    """

    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    rotate_deg: RotateDeg = 0
    flip: Flip = "none"
    seed: int = 0
    images_fps: float = 25.0  # what FFmpeg assumes for numbered images
    password_file: str | None = None
