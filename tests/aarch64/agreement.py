"""Whether two machines see the same: their pictures in grey levels, their boxes by JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge.vision.types import Detections
from export.compare.differences import FEWEST_BOXES, SAME, Differences, Limits

ANOTHER_LETTERBOX = Limits(iou=0.75, score=0.03, unmatched=0.1)
"""What a grey level or two in the network's input may do to a box.

Measured on five frames of the highway clip: lowest IoU 0.80 and largest score difference 0.019.
"""
LEVELS = 3
"""Grey levels between the pictures of two machines: swscale differs by 2, OpenCV's resize by 1."""


@dataclass(frozen=True)
class Agreement:
    """The figures for a table, and what is wrong with them."""

    told: str
    failures: tuple[str, ...]


def of_pictures(one: Path, two: Path) -> Agreement:
    """Compare pictures of the same names in two folders, pixel for pixel."""
    largest, total, count = 0, 0.0, 0
    for path in sorted(one.glob("*.png")):
        a, b = (cv2.imread(str(folder / path.name)) for folder in (one, two))
        if a is None or b is None or a.shape != b.shape:
            return Agreement("", (f"{path.name} is not of one size in {one} and {two}",))
        apart = np.abs(a.astype(np.int16) - b)
        largest, total, count = max(largest, int(apart.max())), total + apart.mean(), count + 1
    if not count:
        return Agreement("", (f"no pictures in {one}",))
    told = f"{largest} of 255 levels at most, {total / count:.2f} in the mean"
    failures = () if largest <= LEVELS else (f"pictures differ by {told}, limit {LEVELS}",)
    return Agreement(told, failures)


def of_boxes(one: Path, two: Path, limits: Limits = SAME) -> Agreement:
    """Compare the boxes of two runs on the same frames."""
    runs = [list(_detections(path)) for path in (one, two)]
    if len(runs[0]) != len(runs[1]):
        return Agreement("", (f"{len(runs[0])} frames and {len(runs[1])}, wanted as many",))
    differences = Differences(limits)
    for a, b in zip(*runs, strict=True):
        differences.boxes.of_reference += len(a.scores)
        differences.add_boxes(a, b)
        differences.add_boxes(b, a)
    boxes = differences.boxes
    told = (
        f"{boxes.boxes} boxes of both sides, {boxes.unmatched} without a partner of IoU >= "
        f"{limits.iou:g} and score within {limits.score:g}; lowest IoU {boxes.min_iou:.4f}, "
        f"largest score difference {boxes.max_score:.4f}"
    )
    failures = list(differences.failures())
    if boxes.of_reference < FEWEST_BOXES:
        failures.append(f"{boxes.of_reference} boxes prove nothing, wanted {FEWEST_BOXES} or more")
    return Agreement(told, tuple(failures))


def _detections(path: Path) -> Iterator[Detections]:
    """The boxes of each frame of a file of JSON lines."""
    for line in path.read_text().splitlines():
        found = json.loads(line).get("detections")
        if found is None:
            continue  # an event
        yield Detections(
            xyxy=np.array([one["xyxy"] for one in found], np.float32).reshape(-1, 4),
            scores=np.array([one["score"] for one in found], np.float32),
            class_ids=np.array([one["class_id"] for one in found], np.int32),
            track_ids=np.full(len(found), -1, np.int32),
        )
