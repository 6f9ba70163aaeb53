"""CamVid, Cityscapes and the synthetic street, in the same classes, as data to score against."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from export.data import cityscapes
from export.data.camvid import BOX_CLASSES, CLASSES, IGNORE, Item, Split, load_index
from export.data.class_set import Classes, ClassSet
from export.data.labelled import UNLABELLED, LabelledData, LabelledFrame, annotation

SYNTHETIC_WH = (960, 540)
SYNTHETIC_FRAMES = 200
SYNTHETIC_SEED = 9_000_000
"""First of the seeds that are scored: training draws its streets from far smaller ones."""
FRAMES_A_STREET = 10
STREET_STEP_S = 3.0


COCO_ALIASES = {"person": "pedestrian", "truck": "car", "bus": "car"}
"""COCO's names for classes of CamVid, whose car takes in trucks and buses in the split of eleven
classes. COCO's bicycle is not CamVid's bicyclist. For other data this is not known."""


def camvid_data(root: Path, split: Split, classes: Classes | None = None) -> LabelledData:
    """CamVid by its protocol: crowds ignored, and for pedestrians the bicyclists too.

    In ``classes``, which choose and merge CamVid's own, where they are given.

    Raises:
        ExportError: the folder is missing, or its files do not fit together.
    """
    classes = classes or Classes.parse()
    items = load_index(root, split)
    table = classes.label_table()

    def load(i: int) -> LabelledFrame:
        item = items[i]
        labels = table[item.labels()]
        boxes = annotations_of(item, classes.boxes)
        return LabelledFrame(item.image_path.name, item.image(), labels, boxes)

    return LabelledData(
        "camvid", len(items), load, classes.mask.names, UNLABELLED, classes.boxes.names, split,
        frames=root / "images" / split, video=True, aliases=COCO_ALIASES,
    )  # fmt: skip


def cityscapes_data(root: Path, split: Split, classes: Classes | None = None) -> LabelledData:
    """Cityscapes stretched to its true aspect, 512x256, by CamVid's protocol: areas are of that.

    In ``classes``, as ``camvid_data``.

    Raises:
        ExportError: the folder is missing, or its files do not fit together.
    """
    items = cityscapes.load_index(root, split)
    classes = classes or Classes.parse()
    table = classes.label_table()
    stretch = cityscapes.STRETCH

    def load(i: int) -> LabelledFrame:
        item = items[i]
        size = (stretch * cityscapes.SIDE, cityscapes.SIDE)
        image = np.asarray(cv2.resize(item.image(), size), np.uint8)
        wide = np.array([stretch, 1, stretch, 1], np.float32)
        boxes = annotations_of(replace(item, boxes=item.boxes * wide), classes.boxes)
        labels = np.repeat(table[item.labels()], stretch, axis=1)
        return LabelledFrame(item.image_path.name, image, labels, boxes)

    return LabelledData(
        "cityscapes", len(items), load, classes.mask.names, UNLABELLED, classes.boxes.names, split,
        frames=root / "images" / split, aliases=COCO_ALIASES,
    )  # fmt: skip


def annotations_of(item: Item, classes: ClassSet) -> list[dict[str, Any]]:
    """The boxes of a frame in ``classes``; others are left out.

    A bicyclist is an ignored pedestrian too, except where one class takes in both: whoever sees a
    person on a bicycle as a pedestrian is neither right nor wrong.
    """
    pedestrian, bicyclist = classes.index_of("pedestrian"), classes.index_of("bicyclist")
    boxes: list[dict[str, Any]] = []
    riders: list[dict[str, Any]] = []
    for xyxy, class_id, crowd in zip(item.boxes, item.class_ids, item.crowd, strict=True):
        name = BOX_CLASSES[class_id]
        index = classes.index_of(name)
        if index is not None:
            boxes.append(annotation(xyxy, index, crowd=bool(crowd)))
        if name == "bicyclist" and pedestrian is not None and pedestrian != bicyclist:
            riders.append(annotation(xyxy, pedestrian, crowd=True))
    return boxes + riders


def synthetic_data() -> LabelledData:
    """Frames of streets that training has not seen."""
    from edge.street import BOX_CLASSES as SEEN
    from edge.street import StreetScene

    @lru_cache(maxsize=1)
    def street(number: int) -> StreetScene:
        return StreetScene(*SYNTHETIC_WH, seed=SYNTHETIC_SEED + number)

    def load(i: int) -> LabelledFrame:
        number, step = divmod(i, FRAMES_A_STREET)
        scene, at = street(number), step * STREET_STEP_S
        truth = scene.truth(at)
        boxes = [
            annotation(xyxy, SEEN.index(truth.class_names[class_id]))
            for xyxy, class_id in zip(truth.boxes, truth.class_ids, strict=True)
        ]
        return LabelledFrame(f"street {number}, {at:g} s", scene.render(at), truth.labels, boxes)

    return LabelledData(
        "synthetic", SYNTHETIC_FRAMES, load, CLASSES, IGNORE, tuple(SEEN), video=True,
        aliases=COCO_ALIASES,
    )  # fmt: skip
