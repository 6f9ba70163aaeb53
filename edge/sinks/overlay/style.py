"""Sizes and text of everything that is drawn over a frame, by the frame's size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from edge.vision.palette import Colour
from edge.vision.types import Image

FONT = cv2.FONT_HERSHEY_DUPLEX
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Style:
    """Sizes in px that follow the frame's size, so that text reads the same in 240p and 4K."""

    font_scale: float
    stroke: int
    """Thickness of text."""
    line: int
    """Thickness of boxes: 2 px at least, as films have half as many colours a row and column."""
    edge: int
    """How much of their dark edge stands out on either side."""
    cap: int
    """Height of capital letters."""
    descent: int
    pad: int

    @staticmethod
    def fit(width: int, height: int) -> Style:
        """The sizes for a frame of so many px."""
        side = min(height, width * 9 / 16)  # a tall frame has no room for wider text
        # Capitals of 2 % of the height, and 8 px at least: smaller ones cannot be read.
        cap = max(8.0, 0.02 * side)
        (_, tall), _ = cv2.getTextSize("H", FONT, 1.0, 1)
        scale = cap / tall
        stroke = max(1, round(side / 900))
        (_, tall), descent = cv2.getTextSize("Hg", FONT, scale, stroke)
        return Style(
            font_scale=scale,
            stroke=stroke,
            line=(line := max(2, round(side / 270))),
            edge=max(1, round(line / 4)),
            cap=tall,
            descent=descent,
            pad=max(2, round(cap * 0.4)),
        )

    @property
    def row(self) -> int:
        """Height of a line of text with the room around it."""
        return self.cap + self.descent + self.pad

    def width(self, text: str) -> int:
        """Width of a line of text, px."""
        (width, _), _ = cv2.getTextSize(text, FONT, self.font_scale, self.stroke)
        return int(width)

    def write(self, image: Image, text: str, x: int, baseline: int, colour: Colour) -> None:
        """Draw a line of text that begins at ``x`` on its baseline."""
        cv2.putText(
            image, text, (x, baseline), FONT, self.font_scale, colour, self.stroke, cv2.LINE_AA
        )
