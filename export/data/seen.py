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

SLACK_PX = 1.0
"""A teacher's box may end this far outside of the frame: rounding."""

Seen = Mapping[str, NDArray[np.float32]]
"""By the stem of the frame's name: boxes (N, 5) xyxy px and score, of cars."""


def read_seen(file: Path, frames: Mapping[Path, tuple[int, int]]) -> Seen:
    """The cars that a teacher saw on ``frames``, whose widths and heights are given.

    Raises:
        ExportError: the file cannot be read, is no such file, lacks a frame, or has a box beyond
            one.
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
    for path, (width, height) in frames.items():
        low, high = -SLACK_PX, np.array([width, height] * 2) + SLACK_PX
        boxes = seen[path.stem][:, :4]
        beyond = boxes[((boxes < low) | (boxes > high)).any(axis=1)]
        if len(beyond):
            raise ExportError(
                f"{file}: {path.name}: got a box {beyond[0].tolist()}, wanted x0, y0, x1, y1 in "
                f"its {width}x{height} px. Make it anew on the frames as they lie on disk."
            )
    return seen


def cars_told(items: Iterable[Item], seen: Seen) -> str:
    """What came of a teacher's cars: few of many on the label are a file that does not fit."""
    crowd = np.concatenate([item.crowd[item.class_ids == CAR] for item in items])
    return (
        f"{sum(map(len, seen.values()))} cars that the teacher saw; on the labels "
        f"{(~crowd).sum()} cars, and {crowd.sum()} crowds that it left"
    )


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
