"""What evaluation scores against: frames with their truth, whatever they come from.

A data set is read frame by frame, by index, so that the worst ones can be looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.vision.types import Image

UNLABELLED = 255
"""Label that no score and no training counts, as in Cityscapes and Pascal VOC."""


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
    ``left_out`` says of each box that could not be used why. A found box whose longer side is below
    ``least_px`` is no false alarm. ``in_time`` says that each frame follows the one before at the
    pace of a camera, so that a box of a single frame can be told.
    """

    name: str
    count: int
    load: Callable[[int], LabelledFrame]
    mask_classes: tuple[str, ...] = ()
    ignore: int = UNLABELLED
    box_classes: tuple[str, ...] = ()
    split: str | None = None
    source: str | None = None
    frames: Path | None = None
    video: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    least_px: float = 0.0
    in_time: bool = False


def annotation(xyxy: NDArray[np.float32], class_id: int, *, crowd: bool = False) -> dict[str, Any]:
    """The COCO entry of one box in px, class ``class_id`` of ``box_classes``."""
    x0, y0, x1, y1 = (float(v) for v in xyxy)
    return {
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "category_id": class_id + 1,
        "area": (x1 - x0) * (y1 - y0),
        "iscrowd": int(crowd),
    }
