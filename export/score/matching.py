"""Which box was taken for what: true boxes against found ones, class by class; no AP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.score.scores import iou_matrix, share_inside

MATCH_IOU = 0.5
NEAR_IOU = 0.3
"""From here on a box may be the one of the frame before, moved on."""
MISSED = -1
NOT_COUNTED = -2


@dataclass(frozen=True, slots=True)
class Matching:
    """``of_truth`` (N,): the found box that covers each true one, −1 missed, −2 a crowd.

    ``of_found`` (M,): the true box under each found one, −1 nothing there, −2 inside a crowd.
    ``excused`` (M,): lies on a box of another class, but in a crowd of its own: no false alarm.
    """

    of_truth: NDArray[np.int64]
    of_found: NDArray[np.int64]
    excused: NDArray[np.bool_]


def match_boxes(
    truth: NDArray[np.float32],
    truth_ids: NDArray[np.int64],
    crowd: NDArray[np.bool_],
    found: NDArray[np.float32],
    found_ids: NDArray[np.int64],
) -> Matching:
    """Pair boxes (N, 4) and (M, 4), the found ones by falling score.

    First each found box takes the free true box of its own class that it overlaps most, as COCO
    counts; then what is left pairs across classes, the greatest overlap first; then a found box
    that lies by half or more in a crowd of its class (overlap over its own area, as COCO counts)
    is left out, or excused where it is paired already.
    """
    of_truth = np.where(crowd, NOT_COUNTED, MISSED).astype(np.int64)
    of_found = np.full(len(found), MISSED, np.int64)
    if not len(truth) or not len(found):
        return Matching(of_truth, of_found, np.zeros(len(found), np.bool_))
    overlap = iou_matrix(found, truth)  # (M, N)
    same = found_ids[:, None] == truth_ids[None]
    for i, row in enumerate(overlap):
        free = np.where((of_truth == MISSED) & same[i], row, -1.0)
        j = int(free.argmax())
        if free[j] >= MATCH_IOU:
            of_truth[j], of_found[i] = i, j
    close = np.flatnonzero(overlap >= MATCH_IOU)  # of thousands of boxes nearly all are not
    for flat in close[np.argsort(-overlap.flat[close], kind="stable")]:
        i, j = divmod(int(flat), len(truth))
        if of_found[i] == MISSED and of_truth[j] == MISSED and not same[i, j]:
            of_truth[j], of_found[i] = i, j
    inside = share_inside(found, truth) >= MATCH_IOU
    in_crowd = (inside & same & crowd[None]).any(axis=1)
    of_found[(of_found == MISSED) & in_crowd] = NOT_COUNTED
    right = (of_found >= 0) & (truth_ids[of_found.clip(0)] == found_ids)
    return Matching(of_truth, of_found, in_crowd & (of_found >= 0) & ~right)


class BoxConfusion:
    """True classes by row, found classes by column, summed over all images.

    ``matrix`` (C + 1, C + 1): the last row counts found boxes where nothing is, the last column
    true boxes that nothing covers. Excused boxes stand in it, and precision leaves them out.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.matrix = np.zeros((len(classes) + 1, len(classes) + 1), np.int64)
        self._excused = np.zeros(len(classes) + 1, np.int64)

    def add(
        self,
        truth_ids: NDArray[np.int64],
        found_ids: NDArray[np.int64],
        matching: Matching,
    ) -> None:
        """Count one image."""
        nothing = len(self.classes)
        for truth_id, i in zip(truth_ids, matching.of_truth, strict=True):
            if i != NOT_COUNTED:
                self.matrix[truth_id, found_ids[i] if i >= 0 else nothing] += 1
        for found_id, j in zip(found_ids, matching.of_found, strict=True):
            if j == MISSED:
                self.matrix[nothing, found_id] += 1
        np.add.at(self._excused, found_ids[matching.excused], 1)

    def recall(self, hits: NDArray[np.int64] | None = None) -> dict[str, float | None]:
        """Share of the true boxes that a box of their class covers; None without truth.

        ``hits`` (C,) counts them where more is asked of a box.
        """
        return self._share(self.matrix.sum(axis=1), hits)

    def false(self) -> NDArray[np.int64]:
        """Found boxes (C,) of each class where nothing is, or something else, unless excused."""
        found: NDArray[np.int64] = self.matrix.sum(axis=0) - self._excused
        return (found - np.diagonal(self.matrix))[:-1]

    def precision(self) -> dict[str, float | None]:
        """Share of the found boxes that lie on a true one of their class; None without any."""
        return self._share(self.matrix.sum(axis=0) - self._excused)

    def _share(
        self, totals: NDArray[np.int64], hits: NDArray[np.int64] | None = None
    ) -> dict[str, float | None]:
        hits = np.diagonal(self.matrix)[:-1] if hits is None else hits
        return {
            name: float(hit / total) if total else None
            for name, hit, total in zip(self.classes, hits, totals[:-1], strict=True)
        }


class SingleFrames:
    """Counts boxes of one frame alone: neither the one before nor the one after has one near it.

    ``counts`` (C,) by class. The first frame and the last have one neighbour and are not judged.
    """

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros(classes, np.int64)
        self._before: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None
        self._new: NDArray[np.bool_] = np.zeros(0, np.bool_)

    def add(self, found: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
        """Take in the boxes (M, 4) of the next frame and their classes (M,)."""
        if self._before is None:
            self._before, self._new = (found, ids), np.zeros(len(found), np.bool_)
            return
        boxes, classes = self._before
        near = (iou_matrix(boxes, found) >= NEAR_IOU) & (classes[:, None] == ids[None])
        np.add.at(self.counts, classes[self._new & ~near.any(axis=1)], 1)
        self._before, self._new = (found, ids), ~near.any(axis=0)
