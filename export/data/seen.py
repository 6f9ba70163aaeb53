"""Boxes that a teacher saw on the frames of a data set, where labels do not part its objects.

A file holds {"NAME.jpg": [[x0, y0, x1, y1, class, score], …]} in px of the frame as it lies on
disk; docs/experiments/teacher.py writes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.errors import ExportError
from export.data.camvid import BOX_CLASSES, CLASSES, IGNORE, Item
from export.data.clusters import objects_in
from export.data.coco import are_numbers, read_json

CAR, CAR_LABEL = BOX_CLASSES.index("car"), CLASSES.index("car")
LEAST_SCORE = 0.35
"""Of NanoDet-Plus, with the label as second witness: 94 in 100 of its cars lie on the label."""

Seen = Mapping[str, NDArray[np.float32]]
"""By the stem of the frame's name: boxes (N, 5) xyxy px and score, of cars."""


def read_seen(file: Path, frames: Iterable[Path]) -> Seen:
    """The cars that a teacher saw on ``frames``.

    Raises:
        ExportError: the file cannot be read, is no such file, or lacks a frame.
    """
    given = read_json(file, wanted="a teacher's boxes by frame")
    wanted = f'{file}: wanted {{"NAME.jpg": [[x0, y0, x1, y1, class, score], …]}}. Make it anew.'
    if not isinstance(given, dict):
        raise ExportError(wanted)
    seen = {}
    for name, boxes in given.items():
        if not isinstance(boxes, list) or not all(map(_is_seen, boxes)):
            raise ExportError(wanted)
        cars = [[*b[:4], b[5]] for b in boxes if b[4] == "car" and b[5] >= LEAST_SCORE]
        seen[Path(name).stem] = np.array(cars, np.float32).reshape(-1, 5)
    unseen = [path for path in frames if path.stem not in seen]
    if unseen:
        raise ExportError(f"{file}: lacks {unseen[0].name}, which it must have. Make it anew.")
    return seen


def _is_seen(box: Any) -> bool:
    if not isinstance(box, list) or len(box) != 6 or not isinstance(box[4], str):
        return False
    return are_numbers([*box[:4], box[5]])


def with_seen(item: Item, cars: NDArray[np.float32]) -> Item:
    """The frame with its crowds of cars parted by those that the teacher saw on their label.

    Raises:
        ExportError: its labels cannot be read.
    """
    labels = item.labels()
    of_cars = item.class_ids == CAR
    vague = np.zeros(labels.shape, np.bool_)
    for several in (True, False):  # what is one object stays one
        for x0, y0, x1, y1 in item.boxes[of_cars & (item.crowd == several)].astype(int):
            vague[y0:y1, x0:x1] = several
    found, crowds = objects_in(
        vague & (labels == CAR_LABEL), cars, unlabelled=labels == IGNORE, is_one=lambda _: False
    )
    kept = ~(of_cars & item.crowd)
    return replace(
        item,
        boxes=np.concatenate([item.boxes[kept], found]),
        class_ids=np.append(item.class_ids[kept], np.full(len(found), CAR, np.int32)),
        crowd=np.append(item.crowd[kept], crowds),
    )
