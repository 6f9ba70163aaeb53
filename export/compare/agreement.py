"""AP and mIoU of two models where the first one's own output is the truth; it knows no labels.

The scores say how much of the first one's output the second one gives, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge.vision.types import Image
from export.data.labelled import annotation
from export.score.frame_scorer import FrameScorer
from export.score.predictor import MIN_SCORE, Prediction
from export.score.scores import BoxScores, BoxTally, Confusion, mean

SHOWN = 1e-3
"""Least share of all pixels that a class needs to count where the truth is another model's mask: in
a class of a dozen pixels, one that rounds the other way changes the IoU by a tenth."""


@dataclass(frozen=True, slots=True)
class Score:
    """None where the model has no such output, and for classes without truth."""

    miou: float | None
    iou: Mapping[str, float | None]
    boxes: BoxScores | None

    @classmethod
    def of(cls, scorer: FrameScorer) -> Score:
        """What ``scorer`` has counted against labels, as ``evaluate`` does."""
        pixels = scorer.confusion
        miou, iou = (pixels.miou(), pixels.iou()) if pixels is not None else (None, {})
        return cls(miou, iou, scorer.ap_scores())

    @property
    def ap50(self) -> float | None:
        """Mean AP50 over the classes that have truth."""
        return mean(self.boxes.ap50.values()) if self.boxes else None


class AgainstFirst:
    """Scores two models against what the first one shows, boxes and masks."""

    def __init__(self, class_names: Sequence[Sequence[str]]) -> None:
        """Nothing counted yet.

        Raises:
            ExportError: there are boxes to score, and faster-coco-eval is not installed.
        """
        self._names = first = list(class_names[0])
        self._class_of = [[first.index(n) if n in first else -1 for n in c] for c in class_names]
        self._tallies = [BoxTally(first) if first else None for _ in class_names]
        self._confusions: dict[str, tuple[Confusion, Confusion]] = {}

    def add(self, image: Image, predictions: Sequence[Prediction]) -> None:
        """Count one frame, of which both models have said something."""
        shown = predictions[0].shown
        scored = shown.scores >= MIN_SCORE  # as in the results
        truth = [
            annotation(xyxy, self._class_of[0][class_id])
            for xyxy, class_id in zip(shown.xyxy[scored], shown.class_ids[scored], strict=True)
        ]
        for tally, class_of, one in zip(self._tallies, self._class_of, predictions, strict=True):
            if tally is not None:
                tally.add(image, truth, one.all, class_of)
        for mask in predictions[0].masks:
            # 255 is no class of any mask: nothing is ignored.
            pair = self._confusions.setdefault(
                mask.name,
                (Confusion(mask.classes, ignore=255), Confusion(mask.classes, ignore=255)),
            )
            for confusion, one in zip(pair, predictions, strict=True):
                other = next((m for m in one.masks if m.name == mask.name), None)
                if other is not None and other.labels.shape == mask.labels.shape:
                    confusion.add(
                        mask.labels, _translated(other.labels, other.classes, mask.classes)
                    )

    def scores(self) -> list[Score]:
        """The score of each model over all frames; the first one's own is 1."""
        scores = []
        for i, tally in enumerate(self._tallies):
            shown = {
                f"{mask} {name}": value
                for mask, pair in self._confusions.items()
                for name, value in _iou_of_shown(pair[i]).items()
            }
            boxes = tally.scores(self._names) if tally is not None else None
            scores.append(Score(mean(shown.values()), shown, boxes))
        return scores


def _iou_of_shown(confusion: Confusion) -> dict[str, float | None]:
    """IoU of the classes that the truth shows in more than a trace."""
    pixels = confusion.matrix.sum(axis=1)
    ious = zip(confusion.iou().items(), pixels, strict=True)
    return {name: iou for (name, iou), count in ious if count >= max(SHOWN * pixels.sum(), 1)}


def _translated(labels: Image, classes: Sequence[str], wanted: Sequence[str]) -> Image:
    """``labels`` of ``classes`` as indices of ``wanted``; classes it lacks become its length."""
    table = np.full(256, len(wanted), np.uint8)
    for i, name in enumerate(classes):
        if name in wanted:
            table[i] = list(wanted).index(name)
    translated: Image = table[labels]
    return translated
