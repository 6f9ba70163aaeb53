"""Scores of masks and boxes against the truth: class IoU, COCO AP, recall; it runs no model."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.vision.types import Detections, Image
from engines.errors import ExportError

LARGE_PX2 = 400.0
"""Boxes of this area and more are scored a second time: small ones are often fragments."""
AT_75 = 5
"""Place of IoU 0.75 among COCO's ten thresholds, 0.50, 0.55 …"""
COCO_AREAS = {
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""COCO's three sizes of objects, px² (Lin et al., arXiv 1405.0312)."""


class Confusion:
    """One confusion matrix of pixels, summed over all images; ``ignore`` marks unlabelled pixels.

    ``matrix`` (C, C + 1) counts truth by row and prediction by column; the last column collects
    predictions that are none of the classes.
    """

    def __init__(self, classes: Sequence[str], *, ignore: int) -> None:
        self.classes = tuple(classes)
        self._ignore = ignore
        self.matrix = np.zeros((len(classes), len(classes) + 1), np.int64)

    def add(self, truth: Image, predicted: Image) -> None:
        """Count one image: both (H, W) class indices.

        Raises:
            ExportError: the sizes differ, or the truth holds an index that is no class.
        """
        if truth.shape != predicted.shape:
            raise ExportError(
                f"labels are {list(truth.shape)} but the prediction is {list(predicted.shape)}; "
                "wanted an image of the size of its label map."
            )
        count = len(self.classes)
        known = truth != self._ignore
        rows = truth[known].astype(np.int64)
        if rows.size and int(rows.max()) >= count:
            raise ExportError(f"label {int(rows.max())} in the truth, wanted 0 to {count - 1}.")
        columns = np.minimum(predicted[known], count)
        cells = np.bincount(rows * (count + 1) + columns, minlength=self.matrix.size)
        self.matrix += cells.reshape(self.matrix.shape)

    def iou(self) -> dict[str, float | None]:
        """Class IoU = TP / (TP + FP + FN); None for a class in neither truth nor prediction."""
        hits = np.diagonal(self.matrix)
        union = self.matrix.sum(axis=1) + self.matrix[:, :-1].sum(axis=0) - hits
        return {
            name: float(hit / whole) if whole else None
            for name, hit, whole in zip(self.classes, hits, union, strict=True)
        }

    def miou(self) -> float | None:
        """Mean of the class IoUs that exist."""
        return mean(self.iou().values())


@dataclass(frozen=True, slots=True)
class BoxScores:
    """COCO AP; None for classes without truth or that the model does not know.

    ``ap`` is the mean over the scored classes of AP at IoU 0.50 to 0.95; ``ap50_large`` and
    ``ap75_large`` count only boxes of 400 px² and more; ``ap_of_area`` is ``ap`` for COCO's small,
    medium and large objects.
    ``curves`` are the precisions at IoU 0.5 for recall 0, 0.01 … 1, of classes with truth.
    """

    ap: float | None
    ap_of_class: Mapping[str, float | None]
    ap50: Mapping[str, float | None]
    ap75: Mapping[str, float | None]
    ap50_large: Mapping[str, float | None]
    ap75_large: Mapping[str, float | None]
    ap_of_area: Mapping[str, float | None] = field(default_factory=dict)
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def check_ap() -> None:
    """Refuse before the frames are run what could not be scored after them.

    Raises:
        ExportError: faster-coco-eval is not installed.
    """
    try:
        import faster_coco_eval  # noqa: F401
    except ImportError as exc:
        raise ExportError(
            "AP needs faster-coco-eval, which is not installed here. Install it from the project's "
            "folder: pip install -e '.[export]'"
        ) from exc


class BoxTally:
    """True and found boxes of many images, for AP.

    A region with ``iscrowd`` is neither truth nor a place for false alarms.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        """Nothing counted yet.

        Raises:
            ExportError: faster-coco-eval is not installed.
        """
        check_ap()
        self._classes = tuple(classes)
        self._images: list[dict[str, Any]] = []
        self._truth: list[dict[str, Any]] = []
        self._results: list[dict[str, Any]] = []

    def add(
        self,
        image: Image,
        truth: Iterable[Mapping[str, Any]],
        found: Detections,
        class_of: Sequence[int],
    ) -> None:
        """Count one image.

        ``truth`` are COCO entries with categories from 1; ``class_of[i]`` is the class here of the
        found class i, −1 for none.
        """
        number = len(self._images)
        height, width = image.shape[:2]
        self._images.append({"id": number, "width": width, "height": height, "file_name": ""})
        self._truth += [{**a, "image_id": number} for a in truth]
        for xyxy, score, class_id in zip(found.xyxy, found.scores, found.class_ids, strict=True):
            if class_of[class_id] >= 0:
                x0, y0, x1, y1 = (float(v) for v in xyxy)
                self._results.append(
                    {
                        "image_id": number,
                        "category_id": class_of[class_id] + 1,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "score": float(score),
                    }
                )

    def scores(self, known: Container[str]) -> BoxScores:
        """AP of the classes that the model knows."""
        coco = {
            "images": self._images,
            "annotations": self._truth,
            "categories": [{"id": i, "name": n} for i, n in enumerate(self._classes, start=1)],
        }
        return box_scores(coco, self._results, scored=known)


def box_scores(
    coco: Mapping[str, Any], results: Sequence[dict[str, Any]], *, scored: Container[str]
) -> BoxScores:
    """COCO average precision of the ``scored`` classes: 101 recall points, 100 boxes an image.

    Raises:
        ExportError: faster-coco-eval is not installed.
    """
    check_ap()
    from faster_coco_eval import COCO, COCOeval_faster

    names = {c["name"]: c["id"] for c in coco["categories"]}
    wanted = [name for name in names if name in scored]
    nothing: dict[str, float | None] = dict.fromkeys(names)
    ap, ap50, ap75, large, large75 = (dict(nothing) for _ in range(5))
    real = [a for a in coco["annotations"] if not a["iscrowd"]]
    ids = {a["category_id"] for a in real}
    of_large = {a["category_id"] for a in real if a["area"] >= LARGE_PX2}
    if not results:  # the library refuses an empty list in some releases; nothing found is AP 0
        for name in wanted:
            if names[name] in ids:
                ap[name] = ap50[name] = ap75[name] = 0.0
            if names[name] in of_large:
                large[name] = large75[name] = 0.0
        return BoxScores(mean(ap.values()), ap, ap50, ap75, large, large75)
    numbered = [{**a, "id": i} for i, a in enumerate(coco["annotations"], start=1)]
    # An annotation whose id is 0 would never count as found: 0 is how COCO's code says "no match".
    truth = COCO({**coco, "annotations": numbered})
    evaluation = COCOeval_faster(truth, truth.loadRes([dict(r) for r in results]), "bbox")
    params = evaluation.params
    params.catIds = sorted(names[name] for name in wanted)
    areas = {"all": (0.0, 1e10), "400 px2": (LARGE_PX2, 1e10), **COCO_AREAS}
    params.areaRng, params.areaRngLbl = [list(r) for r in areas.values()], list(areas)
    params.maxDets = [100]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[..., 0]  # (10 IoU, 101 recall, C, 5 areas)
    curves: dict[str, tuple[float, ...]] = {}
    for name in wanted:
        k = params.catIds.index(names[name])
        ap[name] = _average(precision[:, :, k, 0])
        ap50[name] = _average(precision[0, :, k, 0])
        ap75[name] = _average(precision[AT_75, :, k, 0])
        large[name] = _average(precision[0, :, k, 1])
        large75[name] = _average(precision[AT_75, :, k, 1])
        if ap50[name] is not None:
            curves[name] = tuple(float(p) for p in precision[0, :, k, 0])
    of_area = {
        area: mean(_average(precision[:, :, k, a]) for k in range(len(wanted)))
        for a, area in enumerate(areas)
        if area in COCO_AREAS
    }
    return BoxScores(mean(ap.values()), ap, ap50, ap75, large, large75, of_area, curves)


def iou_matrix(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """IoU of every box of ``a`` (M, 4) with every box of ``b`` (N, 4): (M, N)."""
    shared, of_a, of_b = _areas(a, b)
    return shared / np.maximum(of_a + of_b - shared, 1e-12)


def share_inside(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of every box of ``a`` (M, 4) that lies in each box of ``b`` (N, 4): (M, N)."""
    shared, of_a, _ = _areas(a, b)
    return shared / np.maximum(of_a, 1e-12)


def _areas(
    a: NDArray[np.float32], b: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shared area (M, N), areas of ``a`` (M, 1) and of ``b`` (1, N)."""
    left, right = a[:, None].astype(np.float64), b[None].astype(np.float64)
    wh = np.minimum(left[..., 2:], right[..., 2:]) - np.maximum(left[..., :2], right[..., :2])
    of_a, of_b = ((box[..., 2:] - box[..., :2]).clip(0).prod(-1) for box in (left, right))
    return wh.clip(0).prod(-1), of_a, of_b


def mean(values: Any) -> float | None:
    """Mean of what is not None; None of nothing."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _average(precision: NDArray[np.float64]) -> float | None:
    """Mean precision over recall points; −1 marks a class without truth."""
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else None
