"""Counts what a model got right on frames with truth, masks and boxes; it runs no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.vision.types import Detections, Mask
from export.data.class_map import ClassMap
from export.data.labelled import LabelledData, LabelledFrame
from export.score.matching import (
    MATCH_IOU,
    MISSED,
    BoxConfusion,
    Matching,
    SingleFrames,
    match_boxes,
)
from export.score.predictor import Prediction
from export.score.report import FrameScore, Table
from export.score.scores import BoxScores, BoxTally, Confusion, iou_matrix, mean

WORST = 6
"""Frames shown of each kind."""
NEIGHBOURS = 20
"""Of a video, the worst frames lie apart by one part in this many: neighbours show the same."""
TIGHT_IOU = 0.75
"""Where COCO's stricter recall begins: a box that lies well."""
NONE = "none of them"
MISSED_NAME = "missed"
NOTHING = "nothing there"


class FrameScorer:
    """Counts frame by frame what a model got right on ``data``."""

    def __init__(self, data: LabelledData, classes: ClassMap) -> None:
        """Nothing counted yet.

        Raises:
            ExportError: there are boxes to score, and faster-coco-eval is not installed.
        """
        self._data, self._classes = data, classes
        self._confusion = (
            Confusion(data.mask_classes, ignore=data.ignore) if classes.masks else None
        )
        self._boxes = BoxConfusion(data.box_classes) if classes.has_boxes else None
        self._tally = BoxTally(data.box_classes) if classes.has_boxes else None
        self._known = set(classes.boxes)
        self._tight = np.zeros(len(data.box_classes), np.int64)
        self._alone = SingleFrames(len(data.box_classes)) if data.in_time else None
        self._frames: list[FrameScore] = []

    def add(self, index: int, frame: LabelledFrame, predicted: Prediction) -> None:
        """Count one frame."""
        missed = false = 0
        if self._boxes is not None and self._tally is not None:
            everything = counting(predicted.all, frame, self._data)
            self._tally.add(frame.image, frame.annotations, everything, self._classes.boxes)
            pairs = pair(frame, counting(predicted.shown, frame, self._data), self._classes)
            self._boxes.add(pairs.truth_ids, pairs.found_ids, pairs.matching)
            self._tight += pairs.tight(len(self._data.box_classes))
            if self._alone is not None:
                self._alone.add(pairs.found, pairs.found_ids)
            missed, false = len(pairs.missed(self._known)), len(pairs.false())
        self._frames.append(
            FrameScore(index, frame.name, self._add_mask(frame, predicted.masks), missed, false)
        )

    def _add_mask(self, frame: LabelledFrame, masks: Sequence[Mask]) -> float | None:
        labels = self._classes.labels(masks)
        if self._confusion is None or frame.labels is None or labels is None:
            return None
        alone = Confusion(self._data.mask_classes, ignore=self._data.ignore)
        alone.add(frame.labels, labels)
        self._confusion.matrix += alone.matrix
        shown = alone.matrix.sum(axis=1).tolist()
        return mean(iou for iou, here in zip(alone.iou().values(), shown, strict=True) if here)

    def worst(self) -> dict[str, tuple[FrameScore, ...]]:
        """The frames with the lowest mIoU, and those with the most wrong boxes, worst first."""
        made = {}
        if self._confusion is not None:
            below = [f for f in self._frames if f.miou is not None and f.miou < 1]
            made["mask"] = self._apart(sorted(below, key=lambda f: f.miou or 0.0))
        if self._boxes is not None:
            wrong = [f for f in self._frames if f.missed + f.false]
            made["boxes"] = self._apart(sorted(wrong, key=lambda f: -(f.missed + f.false)))
        return made

    def _apart(self, frames: Sequence[FrameScore]) -> tuple[FrameScore, ...]:
        gap = max(1, len(self._frames) // NEIGHBOURS) if self._data.video else 1
        chosen: list[FrameScore] = []
        for frame in frames:
            if len(chosen) < WORST and all(abs(frame.index - c.index) >= gap for c in chosen):
                chosen.append(frame)
        return tuple(chosen)

    def scores(self) -> dict[str, Any]:
        """The fields of an EvaluationReport that are counted here.

        Raises:
            ExportError: faster-coco-eval is not installed.
        """
        made: dict[str, Any] = {"miou": None, "iou": {}, "lacking": {}}
        confusion, boxes = self.confusion, self._boxes
        if confusion is not None:
            made |= {"miou": confusion.miou(), "iou": confusion.iou()}
            made["confusion_mask"] = _table(
                confusion.classes, (*confusion.classes, NONE), confusion.matrix
            )
            made["lacking"]["mask classes"] = self._classes.lacking_masks
        made |= {"ap_of_class": {}, "ap50": {}, "ap75": {}, "ap50_400px": {}, "ap75_400px": {}}
        scored = self.ap_scores()
        if boxes is None or scored is None:
            return made
        names, known = self._data.box_classes, self._scored()
        made |= {
            "ap": scored.ap,
            "ap_of_class": dict(scored.ap_of_class),
            "ap50": dict(scored.ap50),
            "ap75": dict(scored.ap75),
            "ap50_400px": dict(scored.ap50_large),
            "ap75_400px": dict(scored.ap75_large),
            "ap_of_area": dict(scored.ap_of_area),
            "curves": dict(scored.curves),
            "recall50": {n: v for n, v in boxes.recall().items() if n in known},
            "precision50": {n: v for n, v in boxes.precision().items() if n in known},
            "recall75": {n: v for n, v in boxes.recall(self._tight).items() if n in known},
            "false_a_frame": self._a_frame(boxes.false()),
            "confusion_boxes": _table((*names, NOTHING), (*names, MISSED_NAME), boxes.matrix),
        }
        if self._alone is not None:
            made["single_a_frame"] = self._a_frame(self._alone.counts)
        made["lacking"]["boxes"] = self._classes.lacking_boxes
        return made

    def _a_frame(self, counts: NDArray[np.int64]) -> dict[str, float | None]:
        known, frames = self._scored(), max(len(self._frames), 1)
        named = zip(self._data.box_classes, counts, strict=True)
        return {name: int(count) / frames for name, count in named if name in known}

    @property
    def confusion(self) -> Confusion | None:
        """All pixels counted; None where nothing was, for want of a mask or of labels."""
        counted = self._confusion is not None and self._confusion.matrix.any()
        return self._confusion if counted else None

    def ap_scores(self) -> BoxScores | None:
        """AP over all frames; None where model and data share no class of boxes."""
        return self._tally.scores(self._scored()) if self._tally is not None else None

    def _scored(self) -> list[str]:
        return [n for i, n in enumerate(self._data.box_classes) if i in self._known]


@dataclass(frozen=True, slots=True)
class Pairs:
    """True and found boxes of one frame in the data's classes, and which belongs to which.

    ``truth`` (N, 4) and ``found`` (M, 4) xyxy px; ``scores`` (M,).
    """

    truth: NDArray[np.float32]
    truth_ids: NDArray[np.int64]
    found: NDArray[np.float32]
    found_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    matching: Matching

    def missed(self, known: set[int]) -> list[int]:
        """True boxes of ``known`` classes that no box covers, or only one that is excused."""
        return [
            j
            for j, i in enumerate(self.matching.of_truth)
            if (i == MISSED or (i >= 0 and self.matching.excused[i]))
            and int(self.truth_ids[j]) in known
        ]

    def tight(self, classes: int) -> NDArray[np.int64]:
        """How many true boxes of each class a box of it covers at IoU 0.75."""
        found = self.matching.of_truth
        right = np.flatnonzero(found >= 0)
        right = right[self.truth_ids[right] == self.found_ids[found[right]]]
        overlap = iou_matrix(self.truth[right], self.found[found[right]]).diagonal()
        return np.bincount(self.truth_ids[right][overlap >= TIGHT_IOU], minlength=classes)

    def false(self) -> list[int]:
        """Found boxes where nothing is, or something else, unless excused."""
        return [
            i
            for i, j in enumerate(self.matching.of_found)
            if j == MISSED
            or (j >= 0 and self.truth_ids[j] != self.found_ids[i] and not self.matching.excused[i])
        ]


def counting(found: Detections, frame: LabelledFrame, data: LabelledData) -> Detections:
    """The boxes that may count: below the data's ``least_px`` only those that lie on truth."""
    xyxy = found.xyxy
    large = (xyxy[:, 2:] - xyxy[:, :2]).max(axis=1, initial=0) >= data.least_px
    if large.all():
        return found
    kept = large | (iou_matrix(xyxy, _boxes_of(frame)) >= MATCH_IOU).any(axis=1)
    return Detections(xyxy[kept], found.scores[kept], found.class_ids[kept], found.track_ids[kept])


def _boxes_of(frame: LabelledFrame) -> NDArray[np.float32]:
    """The true boxes (N, 4) xyxy of a frame, crowds too."""
    xywh = np.array([a["bbox"] for a in frame.annotations], np.float32).reshape(-1, 4)
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def pair(frame: LabelledFrame, shown: Detections, classes: ClassMap) -> Pairs:
    """Match what the app would show with the truth; boxes of classes the data lacks are left."""
    given = frame.annotations
    truth = _boxes_of(frame)
    truth_ids = np.array([a["category_id"] - 1 for a in given], np.int64)
    crowd = np.array([bool(a["iscrowd"]) for a in given], np.bool_)
    ids = np.array([-1, *classes.boxes], np.int64)[shown.class_ids + 1]
    kept = ids >= 0
    found, found_ids = shown.xyxy[kept], ids[kept]
    matching = match_boxes(truth, truth_ids, crowd, found, found_ids)
    return Pairs(truth, truth_ids, found, found_ids, shown.scores[kept], matching)


def _table(rows: Sequence[str], columns: Sequence[str], counts: NDArray[np.int64]) -> Table:
    made = tuple(tuple(int(n) for n in row) for row in counts)
    return Table(tuple(rows), tuple(columns), made)
