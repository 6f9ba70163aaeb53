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
    ids, left = class_ids[order], np.ones(len(order), bool)
    for one in np.unique(ids):
        of = np.flatnonzero(ids == one)
        left[of] = _stay(xyxy[order[of]], seen_in[order[of]], passes[order[of]])
    return np.asarray(order[left])


def _stay(
    xyxy: NDArray[np.float32], seen_in: NDArray[np.float32], passes: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Which boxes of one class, by falling score, stay."""
    x0, y0, x1, y1 = np.ascontiguousarray(xyxy.T)
    # [i, j] asks whether box i falls to box j; all is dense in N² but what few pairs decide.
    shared = np.minimum(x1[:, None], x1) - np.maximum(x0[:, None], x0)
    high = np.minimum(y1[:, None], y1) - np.maximum(y0[:, None], y0)
    np.maximum(shared, 0, out=shared)
    shared *= np.maximum(high, 0, out=high)
    area = (x1 - x0) * (y1 - y0)
    rivals = passes[:, None] != passes
    left = np.ones(len(xyxy), bool)
    small, large = np.nonzero(rivals & (shared > SAME_PART * area[:, None]))
    near = np.tile(SEAM * (seen_in[small, 2:] - seen_in[small, :2]), 2)
    beyond = (xyxy[large] - seen_in[small]) * np.array((-1, -1, 1, 1), np.float32)
    left[small[(area[small] < area[large]) & (beyond > near).any(axis=1)]] = False
    same = rivals & (shared * (1 + SAME_IOU) > SAME_IOU * (area[:, None] + area))
    for i in np.flatnonzero(same.any(axis=1)):
        if left[i]:
            left[i + 1 :] &= ~same[i, i + 1 :]
    return left
