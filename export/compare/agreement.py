"""AP and mIoU of two models where the first one's own output is the truth; it knows no labels.

The scores say how much of the first the second one gives back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge.vision.types import Image
from export.score.frame_scorer import FrameScorer
from export.score.predictor import MIN_SCORE, Prediction
from export.score.scores import BoxScores, Confusion, box_scores, check_ap, coco_results, mean

SHOWN = 1e-3
"""Share of all pixels from which on a class counts where the truth is another model's mask: of a
class with a dozen pixels the rounding of one changes the IoU by a tenth."""


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


@dataclass(slots=True)
class AgainstFirst:
    """Scores two models against what the first one shows, boxes and masks."""

    class_names: tuple[Sequence[str], Sequence[str]]
    _images: list[dict[str, Any]] = field(default_factory=list)
    _truth: list[dict[str, Any]] = field(default_factory=list)
    _results: tuple[list[dict[str, Any]], list[dict[str, Any]]] = field(
        default_factory=lambda: ([], [])
    )
    _confusions: dict[str, tuple[Confusion, Confusion]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse at once what could not be scored.

        Raises:
            ExportError: there are boxes to score, and faster-coco-eval is not installed.
        """
        if any(self.class_names):
            check_ap()

    def add(self, image: Image, predictions: Sequence[Prediction]) -> None:
        """Count one frame, of which both models have said something."""
        frame = len(self._images)
        height, width = image.shape[:2]
        self._images.append({"id": frame, "width": width, "height": height, "file_name": ""})
        first = list(self.class_names[0])
        for names, results, one in zip(self.class_names, self._results, predictions, strict=True):
            of_class = {i: first.index(n) for i, n in enumerate(names) if n in first}
            results += coco_results(one.all, image_id=frame, category_of_class=of_class)
        shown = predictions[0].shown
        scored = shown.scores >= MIN_SCORE  # as in the results
        for xyxy, class_id in zip(shown.xyxy[scored], shown.class_ids[scored], strict=True):
            x0, y0, x1, y1 = (float(v) for v in xyxy)
            self._truth.append(
                {
                    "id": len(self._truth) + 1,
                    "image_id": frame,
                    "category_id": first.index(first[int(class_id)]),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
            )
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
        names = list(self.class_names[0])
        coco = {
            "images": self._images,
            "annotations": self._truth,
            "categories": [{"id": i, "name": n} for i, n in enumerate(names)],
        }
        scores = []
        for i, results in enumerate(self._results):
            shown = {
                f"{mask} {name}": value
                for mask, pair in self._confusions.items()
                for name, value in _iou_of_shown(pair[i]).items()
            }
            scores.append(
                Score(
                    mean(shown.values()),
                    shown,
                    box_scores(coco, results, scored=names) if names else None,
                )
            )
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
