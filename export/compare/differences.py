"""How far apart two models are in boxes and masks of the same frames, and what is allowed.

The proof of an adoption and the comparison of two models count and judge by it. It runs no model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge.vision.types import Detections
from engines.base import Array
from export.score.scores import iou_matrix

PROOF_CONF = 0.1
"""Boxes from this score on are compared: lower than the app shows, so that more of them count."""
FEWEST_BOXES = 10
"""Fewer prove nothing."""
PAIR_IOU = 0.5
"""From here on two boxes of a class are of one thing, and their scores are compared."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What two models may differ by; None is reported and not judged. Boxes always are.

    Two boxes of a class are the same where their IoU and scores are within ``iou`` and ``score``;
    ``unmatched`` is the share of boxes that may have no such partner. ``mask`` is the share of
    equal labels in the worst frame, ``miou`` and ``ap50`` the change of the score, up or down.
    """

    iou: float = 0.99
    score: float = 0.01
    unmatched: float = 0.005
    mask: float | None = None
    miou: float | None = 0.005
    ap50: float | None = 0.005


SAME = Limits(mask=0.995, miou=None, ap50=None)
"""For a conversion that must not change what a model says.

The shipped network in FP16 on the 233 images of CamVid test: 9 of 12866 boxes (0.07 %) without a
partner, where two classes nearly tie or the IoU is 0.989; scores of the others within 0.0047; masks
equal in 99.86 % in the worst frame. Below 200 boxes not one may be without.
"""


@dataclass(slots=True)
class BoxDifference:
    """Boxes of either side from ``PROOF_CONF`` on, each looked up among the other side's."""

    boxes: int = 0
    """Of both sides."""
    of_reference: int = 0
    min_iou: float = 1.0
    max_score: float = 0.0
    """Of all boxes; to one that has nothing on the other side that has score 0."""
    unmatched: int = 0
    """Boxes without a partner of the class within IoU and score."""


@dataclass(slots=True)
class Differences:
    """The worst values over all frames."""

    limits: Limits
    boxes: BoxDifference = field(default_factory=BoxDifference)
    masks: dict[str, float] = field(default_factory=dict)
    """Mask name → share of equal labels in the worst frame."""
    _classes_seen: dict[str, set[int]] = field(default_factory=dict)

    def add_boxes(self, found: Detections, others: Detections, *, sure: float = PROOF_CONF) -> None:
        """Look up the boxes of one side among ``others``; below ``sure`` they need no partner."""
        worst, limits = self.boxes, self.limits
        shown = found.scores >= PROOF_CONF
        worst.boxes += int(shown.sum())
        for box, score, class_id in zip(
            found.xyxy[shown], found.scores[shown], found.class_ids[shown], strict=True
        ):
            same = others.class_ids == class_id
            iou, off = _nearest(
                box, float(score), others.xyxy[same], others.scores[same], limit=limits.iou
            )
            matched = iou >= limits.iou and off <= limits.score
            if not matched and score < sure:
                continue
            worst.min_iou = min(worst.min_iou, iou)
            worst.max_score = max(worst.max_score, off if iou >= PAIR_IOU else float(score))
            worst.unmatched += not matched

    def add_mask(self, name: str, labels: Array, other: Array | None) -> None:
        """Compare one mask (h, w); ``other`` is None where the other side has no such mask."""
        same = 0.0
        if other is not None and other.shape == labels.shape:
            same = float((other == labels).mean())
        self.masks[name] = min(self.masks.get(name, 1.0), same)
        self._classes_seen.setdefault(name, set()).update(np.unique(labels).tolist())

    def failures(self) -> Iterator[str]:
        """Limits that were missed."""
        limits, boxes = self.limits, self.boxes
        if not boxes.unmatched <= limits.unmatched * boxes.boxes:
            yield (
                f"{boxes.unmatched} of {boxes.boxes} boxes have no partner with IoU >= "
                f"{limits.iou:g} and a score within {limits.score:g}; lowest IoU "
                f"{boxes.min_iou:.3f}, largest score difference {boxes.max_score:.3f}"
            )
        for name, share in self.masks.items():
            if limits.mask is not None and not share >= limits.mask:
                yield f"mask {name} agrees in {share:.2%} of its labels, limit {limits.mask:.2%}"

    def doubts(self, *, has_boxes: bool) -> Iterator[str]:
        """Why agreement proves little."""
        if has_boxes and self.boxes.of_reference < FEWEST_BOXES:
            yield f"{self.boxes.of_reference} boxes were found, wanted {FEWEST_BOXES} or more"
        for name, seen in self._classes_seen.items():
            if len(seen) < 2:
                yield f"mask {name} shows one class only"


def _nearest(
    box: NDArray[np.float32],
    score: float,
    xyxy: NDArray[np.float32],
    scores: NDArray[np.float32],
    *,
    limit: float,
) -> tuple[float, float]:
    """IoU and score difference of the partner: of those within ``limit`` the nearest in score.

    A net without NMS may give a place twice.
    """
    if not len(xyxy):
        return 0.0, 1.0
    overlaps = iou_matrix(box[None], xyxy)[0]
    off = np.abs(scores - score)
    best = int(np.where(overlaps >= limit, off, np.inf).argmin())
    if overlaps[best] < limit:
        best = int(overlaps.argmax())
    return float(overlaps[best]), float(off[best])
