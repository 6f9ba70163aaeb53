"""Frames that carry the time at which they were taken: blocks, read from pixels or from boxes.

A test so tells a fresh frame from an old one, whatever its id and its timestamps say. It knows no
source and no app.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.latency.code import CHECK_BITS, COLUMNS, ROWS, blocks_of, moment_of
from engines.spec import ModelSpec
from tests.tiny_models import tiny_street

PASSES = 1 / 2**CHECK_BITS
"""How often a damaged picture is taken for a whole one."""
WH = (256, 128)
"""The usual size. Others must be twice as wide as high, so that the model's cells lie on blocks."""
BLUE, GREY = (255, 0, 0), (75, 75, 75)


def reader_model(path: Path) -> ModelSpec:
    """Write a network of 128x64 that gives a box of 16x16 wherever a block is blue."""
    return tiny_street(path, height=16 * ROWS, width=16 * COLUMNS)


def coded(now_ns: int, wh: tuple[int, int] = WH) -> NDArray[np.uint8]:
    """A BGR picture (H, W, 3) whose blocks say ``now_ns``, to the millisecond."""
    colours = np.where(blocks_of(now_ns)[..., None], BLUE, GREY).astype(np.uint8)  # (4, 8, 3)
    rows = np.arange(wh[1]) * ROWS // wh[1]
    columns = np.arange(wh[0]) * COLUMNS // wh[0]
    return colours[rows[:, None], columns[None, :]]


def time_in_pixels(image: NDArray[np.uint8], near_ns: int) -> int | None:
    """The time in a picture (H, W, 3), None where the picture is damaged."""
    height, width = (side // n for side, n in zip(image.shape[:2], (ROWS, COLUMNS), strict=True))
    lit = set()
    for i in range(COLUMNS * ROWS):
        y, x = i // COLUMNS * height, i % COLUMNS * width
        # the middle of the block: codecs smear colours over edges
        middle = image[y + height // 4 : y + 3 * height // 4, x + width // 4 : x + 3 * width // 4]
        blue, green, _ = middle.reshape(-1, 3).mean(axis=0)
        if blue - green > 128:
            lit.add(i)
    return _time(lit, near_ns)


def time_in_record(record: Mapping[str, Any], near_ns: int) -> int | None:
    """The time in a line of JSON that a run with ``reader_model`` wrote, None where damaged."""
    return _time(_lit(record["detections"], record["wh"]), near_ns)


def _lit(detections: Iterable[Mapping[str, Any]], wh: tuple[int, int]) -> set[int]:
    width, height = wh[0] / COLUMNS, wh[1] / ROWS
    lit = set()
    for detection in detections:
        x0, y0, x1, y1 = detection["xyxy"]
        if x1 - x0 < 1.5 * width:  # a larger box covers four blocks
            lit.add(int((y0 + y1) / 2 // height) * COLUMNS + int((x0 + x1) / 2 // width))
    return lit


def _time(lit: Iterable[int], near_ns: int) -> int | None:
    """Nanoseconds on CLOCK_MONOTONIC: of all times with these blocks the nearest to ``near_ns``."""
    blocks = np.zeros(ROWS * COLUMNS, bool)
    blocks[list(lit)] = True
    return moment_of(blocks.reshape(ROWS, COLUMNS), near_ns)
