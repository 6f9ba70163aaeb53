"""Turns and mirrors the frames of any source, for cameras mounted sideways or upside down."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import cv2

from edge.sources.base import OpenedSource
from edge.sources.options import Flip, SourceOptions
from edge.vision.types import Frame, Image

_ROTATIONS = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}
_FLIPS: dict[Flip, int] = {"horizontal": 1, "vertical": 0, "both": -1}  # cv2.flip's codes


def rotated(image: Image, clockwise_deg: int) -> Image:
    """The image (H, W, 3) turned by a multiple of 90 degrees, in new memory unless by 0."""
    turn = clockwise_deg % 360
    return cast(Image, cv2.rotate(image, _ROTATIONS[turn])) if turn else image


def flipped(image: Image, flip: Flip) -> Image:
    """The image mirrored: 'horizontal' swaps left and right; new memory unless 'none'."""
    return image if flip == "none" else cast(Image, cv2.flip(image, _FLIPS[flip]))


def is_turned(across: tuple[int, int], down: tuple[int, int]) -> bool:
    """Whether a display matrix shows what is wide as high; see ``displayed``."""
    return abs(across[1]) + abs(down[0]) > abs(across[0]) + abs(down[1])


def displayed(image: Image, across: tuple[int, int], down: tuple[int, int]) -> Image:
    """The image (H, W, 3) as a display matrix shows it: one of the eight orientations.

    ``across`` and ``down`` are where a step to the right and a step down of the stored picture lead
    on the screen, as (right, down) in any unit (a, b and c, d of ISO/IEC 14496-12, 8.3.2). A matrix
    between two orientations counts as the nearer one. New memory unless nothing turns.
    """
    if is_turned(across, down):
        image, across, down = cast(Image, cv2.transpose(image)), down, across
    mirrored: dict[tuple[bool, bool], Flip] = {
        (True, False): "horizontal",
        (False, True): "vertical",
        (True, True): "both",
    }
    return flipped(image, mirrored.get((across[0] < 0, down[1] < 0), "none"))


class Oriented:
    """A source whose frames are turned, then mirrored, after they were read and stamped."""

    def __init__(self, source: OpenedSource, options: SourceOptions) -> None:
        self._source = source
        self._options = options
        self.name, self.live, self.identity = source.name, source.live, source.identity
        self.fps, self.gaps = source.fps, source.gaps
        self.frame_count = source.frame_count

    @property
    def heard_ns(self) -> int:
        """When data last came from the source within."""
        return self._source.heard_ns

    def read(self) -> Frame | None:
        """The next frame, turned and mirrored; its times stay those of the reading."""
        try:
            frame = self._source.read()
        finally:
            self.fps, self.gaps = self._source.fps, self._source.gaps
        if frame is None:
            return None
        image = flipped(rotated(frame.image, self._options.rotate_deg), self._options.flip)
        image.flags.writeable = False
        aspect = frame.pixel_aspect
        turned = self._options.rotate_deg % 180 != 0
        return replace(frame, image=image, pixel_aspect=1 / aspect if turned else aspect)

    def close(self) -> None:
        """Close the source within."""
        self._source.close()
