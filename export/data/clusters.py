"""Objects of one class out of its label mask: regions, and clusters parted by a teacher's boxes.

A label mask does not part cars that hide each other. A region that looks like one object is one. In
any other the teacher's boxes that lie on the label are the objects, and what they leave of it is a
crowd: neither object nor background. Without a teacher's boxes such a region is a crowd as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

CONVEX, FILLED, ASPECT = 0.87, 0.68, (0.4, 2.5)
"""What one car alone looks like at true aspect: its share of its convex hull, its share of its box,
and width over height. Of 126 regions of Cityscapes val that pass, looked at, nine in ten are one
car. Of CamVid train pass 561 of 976 regions of one car, and 34 of 332 of several."""
LEAST_PX, REST_PX = 20, 12
"""Smaller regions are no objects, and smaller pieces that objects leave are their outlines."""
CAR_ON_LABEL, PERSON_ON_LABEL = 0.7, 0.5
"""Least share of the class in a teacher's box. Of boxes on cars that stand alone in Cityscapes val
98 in 100 have more; of the others few lie between 0.1 and 0.7. Persons fill less of theirs."""
HELD = 0.7
"""Share of a region in a teacher's box from which it is a piece of that object."""
SAME = 0.85
"""Share of a region's box from which the only teacher's box in it is that object whole."""
NESTED = 0.7
"""A teacher's box that lies in a better one by this much is a part of it, or holds it."""


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
    mask: NDArray[np.bool_],
    seen: NDArray[np.float32],
    *,
    unlabelled: NDArray[np.bool_] | None = None,
    on_label: float = CAR_ON_LABEL,
    is_one: Callable[[Region], bool] = looks_like_one,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Boxes (M, 4) xyxy px of the objects in a mask (H, W), and which of them (M,) are crowds.

    ``seen`` (N, 5) are a teacher's boxes with scores, in px of the mask; N may be 0. Pixels that
    are ``unlabelled`` (H, W) speak neither for nor against a box; of the others ``on_label`` is the
    least share to be the mask's. A region that ``is_one`` is an object unless the teacher parts it.
    """
    if unlabelled is None:
        unlabelled = np.zeros_like(mask)
    parts = _on_label(mask, seen, unlabelled, on_label)
    regions = list(regions_of(mask))
    inside = np.array([[_count(r.inside, box) for r in regions] for box in parts]).reshape(
        len(parts), len(regions)
    )  # px of each region in each box
    home = inside.argmax(axis=1) if regions else np.zeros(0, int)
    objects: list[NDArray[np.float32]] = []
    for n, region in enumerate(regions):
        own = np.flatnonzero(home == n)
        held = inside[:, n] >= HELD * region.pixels
        if region.pixels < LEAST_PX or (not own.size and held.any()):  # a piece of another's object
            continue
        one = own.size == 1 and _shared(parts[own[0]], region.box) >= SAME * _area(region.box)
        if one or (own.size < 2 and is_one(region)):
            # the label's edge is sharper than a teacher's
            pieces = [
                r.box
                for k, r in enumerate(regions)
                if any(inside[o, k] >= HELD * r.pixels and k not in home for o in own)
            ]
            both = np.stack([region.box, *pieces])
            objects.append(np.concatenate([both[:, :2].min(0), both[:, 2:].max(0)]))
        else:
            objects += [parts[o] for o in own]
    rest = mask.copy()
    for box in objects:
        _cut(rest, box)[...] = False
    crowds = [left.box for left in regions_of(rest) if left.pixels >= REST_PX]
    return (
        np.array(objects + crowds, np.float32).reshape(-1, 4),
        np.arange(len(objects) + len(crowds)) >= len(objects),
    )


def _on_label(
    mask: NDArray[np.bool_],
    seen: NDArray[np.float32],
    unlabelled: NDArray[np.bool_],
    least: float,
) -> list[NDArray[np.float32]]:
    """The teacher's boxes that lie on the label and in no better one, cut to the label in them."""
    kept: list[NDArray[np.float32]] = []
    for box in seen[np.argsort(-seen[:, 4], kind="stable"), :4]:
        x0, y0 = np.floor(box[:2].clip(0) + 0.5)
        x, y, w, h = cv2.boundingRect(_cut(mask, box).astype(np.uint8))
        tight = np.array([x0 + x, y0 + y, x0 + x + w, y0 + y + h], np.float32)
        unknown = _count(unlabelled, tight)
        if (
            w * h > 0
            and w * h >= HELD * _area(box)
            and 2 * unknown <= w * h
            and _count(mask, tight) >= least * (w * h - unknown)
            and all(
                _shared(tight, other) < NESTED * min(_area(tight), _area(other)) for other in kept
            )
        ):
            kept.append(tight)
    return kept


def _cut(mask: NDArray[np.bool_], box: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The pixels of a mask whose centres a box holds."""
    x0, y0, x1, y1 = np.floor(box.clip(0, max(mask.shape)) + 0.5).astype(int)
    return mask[y0:y1, x0:x1]


def _count(mask: NDArray[np.bool_], box: NDArray[np.float32]) -> int:
    return int(_cut(mask, box).sum())


def _area(box: NDArray[np.float32]) -> float:
    return float((box[2:] - box[:2]).clip(0).prod())


def _shared(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The area that two boxes share."""
    return _area(np.concatenate([np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])]))
