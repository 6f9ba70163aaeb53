"""The pattern that a screen shows, and finding it again on a camera's picture; it keeps no time.

12x8 cells: white around a black frame around the 8x4 blocks of a moment. White and black are what
the blocks are compared with, so neither exposure nor a tint matters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.latency.code import COLUMNS, ROWS, blocks_of, moment_of
from edge.vision.types import Image

CELL_PX = 50
"""Of the picture that is shown."""
_ACROSS, _DOWN = COLUMNS + 4, ROWS + 4
_SEARCH_PX = 960
"""The longer side of the picture in which it is looked for."""
_SMALLEST_PX = 30
"""How wide it must be there to be noticed at all."""
MIN_CELL_PX = 8.0
"""Of the camera's picture: smaller ones are read where it is sharp, and asked to grow where not."""
_READ_PX = (4, 24)
"""Least and most pixels a cell is read from, along a side."""
_LEAST_CONTRAST = 40
"""Between white and black."""
_DARK = 30
"""Mean of a picture that shows hardly anything."""
_ASPECT = (1.1, 2.4)
"""Of the black frame, which is 10:6 seen from the front and may be seen from 45 degrees."""
_CLEAR = 0.3
"""A block is dark up to this part of the way to white, and lit from as near to white on."""
_THRESHOLDS = (0.5, 0.3, 0.7)
"""Between the darkest and the lightest of a picture, where the usual one finds nothing."""


@dataclass(frozen=True, slots=True)
class Reading:
    """``shown_ns`` is the moment on a picture, None where there is none, for the reason ``why``.

    ``mixed``: the pattern is there, but parts of several moments.
    """

    shown_ns: int | None = None
    why: str = ""
    mixed: bool = False


def draw(at_ns: int) -> Image:
    """The pattern (H, W, 3) of a moment."""
    cells = np.full((_DOWN, _ACROSS), 255, np.uint8)
    cells[1:-1, 1:-1] = 0
    cells[2:-2, 2:-2] = blocks_of(at_ns) * 255
    large = cells.repeat(CELL_PX, axis=0).repeat(CELL_PX, axis=1)
    return large[:, :, None].repeat(3, axis=2)


def read(image: Image, near_ns: int) -> Reading:
    """The moment on a picture (H, W, 3) BGR, of all that it may be the nearest to ``near_ns``."""
    grey: Image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    largest: Reading | None = None
    for corners in _quads(grey):
        reading = _read(grey, corners, near_ns)
        if reading is not None and reading.shown_ns is not None:
            return reading
        largest = largest or reading
    return largest or Reading(why=_nothing(grey))


def _nothing(grey: Image) -> str:
    mean = float(grey.mean())
    if mean < _DARK:
        return (
            f"the picture is dark (mean {mean:.0f} of 255): turn the screen brighter, or take "
            "the cover off the camera"
        )
    return (
        "no pattern in the picture: point the camera at it, so that all of its white edge is seen "
        "and it fills a good part"
    )


def _quads(grey: Image) -> Iterator[NDArray[np.float32]]:
    """What may be the black frame's corners (4, 2), px, clockwise, one of the long sides first."""
    shrink = max(1.0, max(grey.shape) / _SEARCH_PX)
    size = (round(grey.shape[1] / shrink), round(grey.shape[0] / shrink))
    small = cv2.blur(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), (3, 3))
    usual, _ = cv2.threshold(small, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    low, high = (float(level) for level in np.percentile(small, (1, 99)))
    for level in (usual, *(low + part * (high - low) for part in _THRESHOLDS)):
        dark = np.asarray(small <= level, np.uint8)
        outlines, _ = cv2.findContours(dark, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        for outline in sorted(outlines, key=cv2.contourArea, reverse=True):
            if cv2.contourArea(outline) < _SMALLEST_PX**2 / 2:
                break
            corners = cv2.approxPolyDP(outline, 0.03 * cv2.arcLength(outline, True), True)
            if len(corners) == 4 and cv2.isContourConvex(corners):
                yield _in_order(np.asarray(corners, np.float32).reshape(4, 2), shrink)


def _in_order(corners: NDArray[np.float32], shrink: float) -> NDArray[np.float32]:
    """Clockwise, a long side first, in px of the whole picture."""
    off = corners - corners.mean(axis=0)
    order = np.argsort(np.arctan2(off[:, 1], off[:, 0]))
    off = off[order]
    # An outline runs through the middle of its pixels: the edge is half a pixel further out.
    off += 0.5 * np.sign(off)
    sides = np.linalg.norm(np.roll(off, -1, axis=0) - off, axis=1)
    if sides[0] + sides[2] < sides[1] + sides[3]:
        off = np.roll(off, -1, axis=0)
    # A pixel's middle is half a pixel from its corner, in both pictures.
    placed: NDArray[np.float32] = (off + corners.mean(axis=0) + 0.5) * shrink - 0.5
    return placed.astype(np.float32)


def _read(grey: Image, corners: NDArray[np.float32], near_ns: int) -> Reading | None:
    """What stands in a frame with these corners; None where it is not the pattern's."""
    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    if not _ASPECT[0] <= (sides[0] + sides[2]) / (sides[1] + sides[3]) <= _ASPECT[1]:
        return None
    cell = float(np.linalg.norm(corners[1] - corners[0])) / (_ACROSS - 2)
    px = int(np.clip(round(cell), *_READ_PX))
    inner = ((1, 1), (_ACROSS - 1, 1), (_ACROSS - 1, _DOWN - 1), (1, _DOWN - 1))
    place = np.array(inner, np.float32) * px - 0.5
    flat = cv2.warpPerspective(
        grey,
        cv2.getPerspectiveTransform(corners, place),
        (_ACROSS * px, _DOWN * px),
        borderMode=cv2.BORDER_REPLICATE,
    )
    quarter = max(1, px // 4)  # cameras and codecs smear over the edges of cells
    middles = flat.reshape(_DOWN, px, _ACROSS, px)[:, quarter:-quarter, :, quarter:-quarter]
    levels = middles.mean(axis=(1, 3))  # (8, 12)
    rim = np.ones((_DOWN, _ACROSS), bool)
    rim[1:-1, 1:-1] = False
    frame = ~rim
    frame[2:-2, 2:-2] = False
    white, black = float(np.median(levels[rim])), float(np.median(levels[frame]))
    if white <= black:
        return None
    lit = (levels - black) / (white - black)
    if lit[frame].max() > 0.5 or np.mean(lit[rim] < 0.5) > 0.25:
        return None
    blocks = lit[2:-2, 2:-2]  # (4, 8)
    if (blocks < _CLEAR).all() or (blocks > 1 - _CLEAR).all():
        return None  # a window or a sign: a moment has blocks of both kinds
    if white - black < _LEAST_CONTRAST:
        return Reading(
            why=f"the pattern is pale ({white - black:.0f} of 255 between black and white, wanted "
            f"{_LEAST_CONTRAST}): turn the screen brighter, and lamps and glare away"
        )
    if (np.abs(blocks - 0.5) > 0.5 - _CLEAR).all():
        for across, down in itertools.product((1, -1), repeat=2):  # turned around, or mirrored
            shown_ns = moment_of((blocks > 0.5)[::down, ::across], near_ns)
            if shown_ns is not None:
                return Reading(shown_ns)
    if cell < MIN_CELL_PX:
        return Reading(
            why=f"the pattern is small (cells of {cell:.1f} px, wanted {MIN_CELL_PX:g}): go "
            "nearer, or make its window larger"
        )
    return Reading(why="the pattern shows several moments at once", mixed=True)
