"""Where the tiles of a frame lie, and which boxes of several passes stay; it runs no network."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge.vision.decode.nms import CANDIDATES, best

Window = tuple[int, int, int, int]
"""x0, y0, x1, y1 of a tile in frame px."""

OVERLAP = 0.2
"""Part of a tile's side that it shares with its neighbour.

With SEAM off both ends, an object of up to 0.18 of the side is whole in one tile at least. A larger
one is left to the pass over the whole frame; a tile of a 2x1 grid enlarges it less than twofold.
"""
SEAM = 0.01
"""A box that ends this near to an inner edge, in parts of the tile's side, may be cut by it.

4 px of an input of 416: half a cell of the finest grid.
"""
SAME_IOU = 0.45
"""Boxes of two passes are of one object above it: each pass places a small box by its own grid."""
SAME_PART = 0.7
"""Above this intersection over the smaller box, a box may be a part of what the other shows."""


def windows(frame_wh: tuple[int, int], grid: tuple[int, int]) -> list[Window]:
    """The tiles of a frame, row by row, all of one size; ``grid`` is columns and rows."""
    columns, rows = (_spans(side, count) for side, count in zip(frame_wh, grid, strict=True))
    return [(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]


def _spans(side: int, count: int) -> list[tuple[int, int]]:
    """Begin and end of ``count`` tiles that cover ``side`` px."""
    # n tiles that share a part o cover n - (n - 1)·o of their length.
    length = min(side, math.ceil(side / (count - (count - 1) * OVERLAP)))
    steps = max(1, count - 1)
    return [(i * (side - length) // steps, i * (side - length) // steps + length)
            for i in range(count)]  # fmt: skip


def whole(
    xyxy: NDArray[np.float32], window: Window, frame_wh: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which boxes (N, 4) of a tile, in frame px, end well within its inner edges.

    An edge of the tile that is the frame's cuts nothing that another pass would see whole.
    """
    x0, y0, x1, y1 = window
    near_x, near_y = SEAM * (x1 - x0), SEAM * (y1 - y0)
    least = [-1.0 if edge == 0 else edge + near for edge, near in ((x0, near_x), (y0, near_y))]
    most = [
        math.inf if edge == end else edge - near
        for edge, end, near in ((x1, frame_wh[0], near_x), (y1, frame_wh[1], near_y))
    ]
    inside = np.concatenate((xyxy[:, :2] > least, xyxy[:, 2:] < most), axis=1)  # (N, 4)
    return np.asarray(inside.all(axis=1))


def merge(
    xyxy: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int32],
    seen_in: NDArray[np.float32],
    passes: NDArray[np.intp],
) -> NDArray[np.intp]:
    """Indices of the boxes that stay, by falling score; those of one pass never meet.

    ``seen_in`` (N, 4) is the window of each box's pass, ``passes`` (N,) its number. First the parts
    fall: boxes that lie mostly in a larger one which reaches out of their window, whatever their
    score. Of the rest a box falls where a better one of its class stays and overlaps it.
    """
    order = best(scores, limit=CANDIDATES)
    xyxy, class_ids = xyxy[order], class_ids[order]
    seen_in, passes = seen_in[order], passes[order]
    # [i, j] asks whether box i falls to box j.
    low = np.maximum(xyxy[:, None, :2], xyxy[None, :, :2])
    high = np.minimum(xyxy[:, None, 2:], xyxy[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)  # (N, N)
    area = (xyxy[:, 2:] - xyxy[:, :2]).prod(axis=1)
    rivals = (class_ids[:, None] == class_ids) & (passes[:, None] != passes)
    near = SEAM * (seen_in[:, 2:] - seen_in[:, :2])[:, None]  # (N, 1, 2)
    reaches = (xyxy[None, :, :2] < seen_in[:, None, :2] - near).any(axis=2)
    reaches |= (xyxy[None, :, 2:] > seen_in[:, None, 2:] + near).any(axis=2)
    part = rivals & reaches & (area[:, None] < area) & (shared > SAME_PART * area[:, None])
    same = rivals & (shared > SAME_IOU * (area[:, None] + area - shared))
    left = ~part.any(axis=1)
    for i in range(len(order)):
        if left[i]:
            left[i + 1 :] &= ~same[i + 1 :, i]
    return np.asarray(order[left])
