"""What evaluation scores against: frames with their truth, whatever they come from; it scores none.

A data set is read frame by frame, by index, so that the worst ones can be looked at again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.vision.types import Image
from export.data.camvid import CLASSES, IGNORE, Split, load_index
from export.data.class_set import Classes, ClassSet

SYNTHETIC_WH = (960, 540)
SYNTHETIC_FRAMES = 200
SYNTHETIC_SEED = 9_000_000
"""First of the seeds that are scored: training draws its streets from far smaller ones."""
FRAMES_A_STREET = 10
STREET_STEP_S = 3.0


COCO_ALIASES = {"person": "pedestrian", "truck": "car", "bus": "car"}
"""COCO's names for classes of CamVid, whose car takes in trucks and buses in the split of eleven
classes. COCO's bicycle is not CamVid's bicyclist. Of other data nobody knows this."""


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """One image with its truth.

    ``labels`` (H, W) uint8 indices of the data's mask classes, None where it has none;
    ``annotations`` are COCO entries: ``bbox`` in px, ``category_id``, ``area``, ``iscrowd``.
    """

    name: str
    image: Image
    labels: Image | None
    annotations: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class LabelledData:
    """``count`` frames, each made by ``load(index)``.

    ``mask_classes`` is empty where there are no label maps, ``box_classes`` where there are no
    boxes; the COCO category of ``box_classes[i]`` is i + 1. ``ignore`` is the label of pixels that
    no score counts. ``source`` names the file or folder of a user's own data. ``frames`` is a
    folder that shows what the images are like, for adoption. ``video`` says that neighbouring
    frames look alike. ``aliases`` are other names of its classes, as models may have them.
    """

    name: str
    count: int
    load: Callable[[int], LabelledFrame]
    mask_classes: tuple[str, ...] = ()
    ignore: int = 255
    box_classes: tuple[str, ...] = ()
    split: str | None = None
    source: str | None = None
    frames: Path | None = None
    video: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)


def annotation(xyxy: NDArray[np.float32], class_id: int) -> dict[str, Any]:
    """The COCO entry of one box in px, class ``class_id`` of ``box_classes``."""
    x0, y0, x1, y1 = (float(v) for v in xyxy)
    return {
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "category_id": class_id + 1,
        "area": (x1 - x0) * (y1 - y0),
        "iscrowd": 0,
    }


def camvid_data(root: Path, split: Split, classes: Classes | None = None) -> LabelledData:
    """CamVid by its protocol: crowds ignored, and for pedestrians the bicyclists too.

    In ``classes``, which choose and merge CamVid's own, where they are given.

    Raises:
        ExportError: the folder is missing, or its files do not fit together.
    """
    classes = classes or Classes.parse()
    index = load_index(root, split)
    table = classes.label_table()
    of_image: dict[int, list[dict[str, Any]]] = {}
    for entry in merged(index.coco, classes.boxes):
        of_image.setdefault(entry["image_id"], []).append(entry)

    def load(i: int) -> LabelledFrame:
        item = index.items[i]
        boxes = of_image.get(item.image_id, [])
        return LabelledFrame(item.image_path.name, item.image(), table[item.labels()], boxes)

    return LabelledData(
        "camvid", len(index.items), load, classes.mask.names, IGNORE, classes.boxes.names, split,
        frames=root / "images" / split, video=True, aliases=COCO_ALIASES,
    )  # fmt: skip


def merged(coco: Mapping[str, Any], classes: ClassSet) -> list[dict[str, Any]]:
    """CamVid's boxes in the classes of ``classes``, categories from 1; others are left out.

    A bicyclist is an ignored pedestrian too, except where one class takes in both.
    """
    both = with_bicyclists_ignored(coco)
    name_of = {c["id"]: c["name"] for c in coco["categories"]}
    rider = classes.index_of("bicyclist")
    annotations: list[dict[str, Any]] = []
    for i, entry in enumerate(both["annotations"]):
        mine = classes.index_of(name_of[entry["category_id"]])
        added = i >= len(coco["annotations"])
        if mine is not None and not (added and mine == rider):
            annotations.append({**entry, "category_id": mine + 1})
    return annotations


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


def with_bicyclists_ignored(coco: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a COCO dictionary in which a bicyclist's box is also an ignored pedestrian.

    Whoever sees a person on a bicycle as a pedestrian is neither right nor wrong. Areas become
    those of the boxes: on disk they count the pixels of the component.
    """
    made = {key: copy.deepcopy(coco[key]) for key in ("images", "annotations", "categories")}
    ids = {category["name"]: category["id"] for category in made["categories"]}
    annotations = made["annotations"]
    for annotation in annotations:
        annotation["area"] = float(annotation["bbox"][2] * annotation["bbox"][3])
    if "pedestrian" in ids and "bicyclist" in ids:
        free = max((a["id"] for a in annotations), default=0) + 1
        riders = [a for a in annotations if a["category_id"] == ids["bicyclist"]]
        annotations += [
            {**rider, "id": free + i, "category_id": ids["pedestrian"], "iscrowd": 1}
            for i, rider in enumerate(riders)
        ]
    return made
