"""Objects of one class out of its label mask: regions, and clusters split by a teacher's boxes.

A label mask does not part cars that hide each other. A region that looks like one object is one. In
any other the teacher's boxes that lie on the label are the objects, and what they leave of it is a
crowd: neither object nor background. Without a teacher's boxes such a region is a crowd as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

CONVEX, FILLED, ASPECT = 0.87, 0.68, (0.4, 2.5)
"""What one car alone looks like at true aspect: its share of its convex hull, its share of its box,
and width over height. Of 126 regions of Cityscapes val that pass, looked at, nine in ten are one
car."""
ON_LABEL = 0.6
"""Least share of a teacher's box that is its region, for a box in a cluster."""
SAME = 0.7
"""IoU from which a teacher's box and a region's are the same: one object whatever its shape."""
NESTED = 0.7
"""A teacher's box that lies in a better one by this much is a part of it, or holds it."""
REST_PX = 12
"""What a cluster's objects leave in smaller pieces is their outline."""


class Region(NamedTuple):
    """One 8-connected region: (H, W) bool, its box (4,) xyxy in px, and its pixels."""

    inside: NDArray[np.bool_]
    box: NDArray[np.float32]
    pixels: int


def regions_of(mask: NDArray[np.bool_]) -> Iterator[Region]:
    """The 8-connected regions of a mask (H, W)."""
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    for i in range(1, count):
        x, y, w, h, pixels = stats[i].tolist()
        yield Region(numbers == i, np.array([x, y, x + w, y + h], np.float32), pixels)


def looks_like_one(region: Region, *, stretch: int = 1) -> bool:
    """Whether a region has the outline of one car; a row of them is longer, or has notches.

    ``stretch`` says how many times wider than in the mask it is in truth.
    """
    x0, y0, x1, y1 = region.box.astype(int)
    cut = region.inside[y0:y1, x0:x1].astype(np.uint8).repeat(stretch, axis=1)
    hull = np.zeros_like(cut)
    cv2.fillConvexPoly(hull, cv2.convexHull(cv2.findNonZero(cut)), 1)
    height, width = cut.shape
    filled = int(cut.sum())
    return (
        filled >= CONVEX * int(hull.sum())
        and filled >= FILLED * cut.size
        and ASPECT[0] <= width / height <= ASPECT[1]
    )


def objects_in(
    mask: NDArray[np.bool_], seen: NDArray[np.float32], *, stretch: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Boxes (M, 4) xyxy px of the objects in a mask (H, W), and which of them (M,) are crowds.

    ``seen`` (N, 5) are a teacher's boxes with scores, in px of the mask; N may be 0. ``stretch``
    says how many times wider than in the mask its objects are in truth.
    """
    boxes: list[NDArray[np.float32]] = []
    crowd: list[bool] = []
    for region in regions_of(mask):
        parts = _split(region, seen, stretch=stretch)
        boxes += parts
        crowd += [False] * len(parts)
        rest = region.inside.copy()
        for x0, y0, x1, y1 in (_pixels(box) for box in parts):
            rest[y0:y1, x0:x1] = False
        for left in regions_of(rest):
            if not parts or left.pixels >= REST_PX:
                boxes.append(left.box)
                crowd.append(True)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(crowd, np.bool_)


def _split(region: Region, seen: NDArray[np.float32], *, stretch: int) -> list[NDArray[np.float32]]:
    """The boxes of a region's objects: of one, of those that the teacher parts, or of none."""
    parts: list[NDArray[np.float32]] = []
    for box in seen[np.argsort(-seen[:, 4], kind="stable"), :4]:
        x0, y0, x1, y1 = _pixels(box)
        on_label = region.inside[y0:y1, x0:x1].sum() >= ON_LABEL * (x1 - x0) * (y1 - y0) > 0
        if on_label and all(_overlap(box, other) < NESTED for other in parts):
            parts.append(box)
    # the region's own edge is sharper than a teacher's
    parts = [np.concatenate([np.maximum(b[:2], region.box[:2]), np.minimum(b[2:], region.box[2:])])
             for b in parts]  # fmt: skip
    one = len(parts) == 1 and _area(parts[0]) >= SAME * _area(region.box)
    if one or (len(parts) < 2 and looks_like_one(region, stretch=stretch)):
        return [region.box]
    return parts


def _pixels(box: NDArray[np.float32]) -> list[int]:
    return [max(round(float(v)), 0) for v in box]


def _area(box: NDArray[np.float32]) -> float:
    return float((box[2:] - box[:2]).clip(0).prod())


def _overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """What two boxes share, in parts of the smaller."""
    both = np.concatenate([np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])])
    return _area(both) / min(_area(a), _area(b))
