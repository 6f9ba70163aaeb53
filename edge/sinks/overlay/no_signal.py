"""Draws the view while no frames come, so that an old picture is never taken for a new one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge.sinks.overlay.style import FONT, WHITE, Style
from edge.vision.types import Image

SIZE = (540, 960)
"""Height and width where there never was a frame, px."""
DIM = 0.35
"""How bright the last frame's grey is shown."""
_TITLE_SHARE = 0.09
"""Height of the title's capitals, of the frame's height."""


def no_signal(last: Image | None, title: str, lines: Sequence[str]) -> Image:
    """The last frame (H, W, 3) in dark grey, black without one, with the title and ``lines``."""
    if last is None:
        image: Image = np.zeros((*SIZE, 3), np.uint8)
    else:
        grey = cv2.convertScaleAbs(cv2.cvtColor(last, cv2.COLOR_BGR2GRAY), alpha=DIM)
        image = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
    height, width = image.shape[:2]
    style = Style.fit(width, height)
    (_, tall), _ = cv2.getTextSize(title, FONT, 1.0, 1)
    scale = _TITLE_SHARE * min(height, width * 9 / 16) / tall
    stroke = max(1, round(scale * 1.5))
    (across, tall), _ = cv2.getTextSize(title, FONT, scale, stroke)
    rows = [row for line in lines for row in _wrapped(line, style, width - 4 * style.pad)]
    top = max(style.pad, (height - tall - 2 * style.row - len(rows) * style.row) // 2)
    place = ((width - across) // 2, top + tall)
    cv2.putText(image, title, place, FONT, scale, WHITE, stroke, cv2.LINE_AA)
    for number, row in enumerate(rows):
        baseline = top + tall + 2 * style.row + number * style.row
        style.write(image, row, (width - style.width(row)) // 2, baseline, WHITE)
    return image


def _wrapped(line: str, style: Style, width: int) -> list[str]:
    """A line in rows of at most ``width`` px, broken between words."""
    rows: list[str] = []
    for word in line.split():
        if rows and style.width(f"{rows[-1]} {word}") <= width:
            rows[-1] += f" {word}"
        else:
            rows.append(word)
    return rows
