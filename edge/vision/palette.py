"""One colour a class name, the same in boxes and masks of every model; it draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import cv2
import numpy as np

from edge.vision.types import Image

Colour = tuple[int, int, int]
"""Blue, green, red."""

# Street classes after the Cityscapes colours, brightened where those vanish on asphalt.
_RGB: dict[str, Colour] = {
    "sky": (120, 190, 240),
    "building": (170, 120, 90),
    "pole": (200, 200, 210),
    "road": (150, 80, 190),
    "pavement": (240, 100, 200),
    "tree": (90, 175, 60),
    "sign": (245, 215, 0),
    "fence": (190, 155, 110),
    "car": (20, 150, 255),
    "pedestrian": (255, 60, 80),
    "bicyclist": (255, 140, 0),
    "truck": (0, 200, 200),
    "bus": (0, 220, 150),
    "motorcycle": (220, 80, 255),
    "bicycle": (255, 170, 70),
    "traffic light": (180, 230, 40),
    "drivable": (60, 200, 90),
    "lane": (255, 70, 50),
}
_SAME: dict[str, str] = {
    "person": "pedestrian",
    "rider": "bicyclist",
    "cyclist": "bicyclist",
    "sidewalk": "pavement",
    "vegetation": "tree",
    "motorbike": "motorcycle",
    "stop sign": "sign",
    "traffic sign": "sign",
    "drivable area": "drivable",
    "lane line": "lane",
    "lane lines": "lane",
}


def colour_of(name: str) -> Colour:
    """The colour of a class; names that are not in the table get one from their letters."""
    plain = name.lower().replace("_", " ").replace("-", " ").strip()
    known = _RGB.get(_SAME.get(plain, plain))
    if known is not None:
        red, green, blue = known
        return blue, green, red
    # Python's own hash differs from run to run; a checksum does not.
    digest = crc32(plain.encode())
    hsv = np.array([[[digest % 180, 160 + (digest >> 8) % 80, 200 + (digest >> 16) % 56]]])
    blue, green, red = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red


def colours_of(names: Sequence[str]) -> list[Colour]:
    """``colour_of`` each name."""
    return [colour_of(name) for name in names]


def text_on(colour: Colour) -> Colour:
    """Black or white, whichever is easier to read on ``colour``."""
    blue, green, red = colour
    # Luma of ITU-R BT.601; 140 leaves saturated reds and blues their white text.
    return (0, 0, 0) if 0.114 * blue + 0.587 * green + 0.299 * red > 140 else (255, 255, 255)


def colour_map(colours: Sequence[Colour]) -> Image:
    """The table (256, 1, 3) for ``cv2.applyColorMap`` that gives label i colour i, black beyond."""
    table = np.zeros((256, 1, 3), np.uint8)
    if colours:
        table[: len(colours), 0] = colours
    return table
