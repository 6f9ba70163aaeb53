"""AP and mIoU of two models on the same frames; what counts as true it is told, or takes from one.

With labels the protocol is that of ``export.evaluate``. Without, the first model's own output is
the truth: then the scores say how much of it the second one gives back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge.types import Detections, Image, Mask
from export.camvid import CLASSES, IGNORE, CamVidSplit, Item
from export.evaluate import ALIASES
from export.scores import (
    BoxScores,
    Confusion,
    box_scores,
    coco_results,
    mean,
    with_bicyclists_ignored,
)

SHOWN = 1e-3
"""Share of all pixels from which on a class counts where the truth is another model's mask: of a
class with a dozen pixels the rounding of one changes the IoU by a tenth."""
Seen = tuple[Detections, tuple[Mask, ...]]
"""Boxes and masks of one frame."""


@dataclass(frozen=True, slots=True)
class Score:
    """None where the model has no such output, and for classes without truth."""

    miou: float | None
    iou: Mapping[str, float | None]
    boxes: BoxScores | None

    @property
    def ap50(self) -> float | None:
        """Mean AP50 over the classes that have truth."""
        return mean(self.boxes.ap50.values()) if self.boxes else None


class LabelledScorer:
    """Scores against CamVid's labels and boxes."""

    def __init__(self, index: CamVidSplit, class_names: Sequence[Sequence[str]]) -> None:
        """``class_names`` are the box classes of each model."""
        self._names = [[ALIASES.get(name, name) for name in names] for names in class_names]
        self._coco = with_bicyclists_ignored(index.coco)
        self._categories = {c["name"]: c["id"] for c in self._coco["categories"]}
        self._confusions = [Confusion(CLASSES, ignore=IGNORE) for _ in class_names]
        self._results: list[list[dict[str, Any]]] = [[] for _ in class_names]
        self._images: set[int] = set()

    def add(self, item: Item, seen: Sequence[Seen]) -> None:
        """Count one frame, seen by each model."""
        truth = item.labels()
        self._images.add(item.image_id)
        for names, confusion, results, (found, masks) in zip(
            self._names, self._confusions, self._results, seen, strict=True
        ):
            of_class = {
                i: self._categories[n] for i, n in enumerate(names) if n in self._categories
            }
            results += coco_results(found, image_id=item.image_id, category_of_class=of_class)
            street = next((m for m in masks if len(set(m.classes) & set(CLASSES)) > 1), None)
            if street is not None:
                placed = street.letterbox.mask_to_frame(street.labels)
                confusion.add(truth, _translated(placed, street.classes, CLASSES))

    def scores(self) -> list[Score]:
        """The score of each model over all frames."""
        coco = {**self._coco}
        for part, key in (("images", "id"), ("annotations", "image_id")):
            coco[part] = [entry for entry in coco[part] if entry[key] in self._images]
        return [
            Score(
                confusion.miou() if confusion.matrix.any() else None,
                confusion.iou() if confusion.matrix.any() else {},
                box_scores(coco, results, scored=names)
                if set(names) & set(self._categories)
                else None,
            )
            for names, confusion, results in zip(
                self._names, self._confusions, self._results, strict=True
            )
        ]


@dataclass(slots=True)
class AgainstFirst:
    """Scores two models against what the first one shows: boxes from ``conf`` on, and its masks."""

    class_names: tuple[Sequence[str], Sequence[str]]
    conf: float
    _images: list[dict[str, Any]] = field(default_factory=list)
    _truth: list[dict[str, Any]] = field(default_factory=list)
    _results: tuple[list[dict[str, Any]], list[dict[str, Any]]] = field(
        default_factory=lambda: ([], [])
    )
    _confusions: dict[str, tuple[Confusion, Confusion]] = field(default_factory=dict)

    def add(self, image: Image, seen: Sequence[Seen]) -> None:
        """Count one frame, seen by both models."""
        frame = len(self._images)
        height, width = image.shape[:2]
        self._images.append({"id": frame, "width": width, "height": height, "file_name": ""})
        first = list(self.class_names[0])
        for names, results, (found, _) in zip(self.class_names, self._results, seen, strict=True):
            of_class = {i: first.index(n) for i, n in enumerate(names) if n in first}
            results += coco_results(found, image_id=frame, category_of_class=of_class)
        found = seen[0][0]
        shown = found.scores >= self.conf
        for xyxy, class_id in zip(found.xyxy[shown], found.class_ids[shown], strict=True):
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
        for mask in seen[0][1]:
            # 255 is no class of any mask: nothing is ignored.
            pair = self._confusions.setdefault(
                mask.name,
                (Confusion(mask.classes, ignore=255), Confusion(mask.classes, ignore=255)),
            )
            for confusion, (_, masks) in zip(pair, seen, strict=True):
                other = next((m for m in masks if m.name == mask.name), None)
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
