"""Cityscapes at 256x256 on disk: frames with label maps in CamVid's classes, and their objects.

Layout: ``images/{train,val}/NAME.jpg``, ``labels/{train,val}/NAME.png`` (8-bit indices of CamVid's
classes) and ``persons_{train,val}.json`` ({NAME: [[x0, y0, x1, y1], …]}, riders included). The
frames are squeezed from 2:1. Sources: Cordts et al., "The Cityscapes Dataset", 2016; persons:
Zhang et al., "CityPersons", 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from os.path import isdir, isfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.vision.types import Image
from engines.errors import ExportError
from export.data.camvid import BOX_CLASSES, CLASSES, IGNORE, Item, Split, read_camvid_labels
from export.data.clusters import looks_like_one, objects_in, regions_of
from export.data.coco import are_numbers, read_json
from export.data.pairs import check_size, find_pairs, usual_root

SIDE = 256
"""Width and height of every frame, px."""
STRETCH = 2
"""Times that a frame is wider in truth."""
LEAST_PX = {"bicyclist": 20, "sign": 12}
"""Smaller regions are specks: not scored. 20 px here are CamVid's 40 in a frame of true aspect."""
SHOWN = 0.15
"""Least share of a person's box that is labelled a pedestrian. A person seen whole has 0.3 to 0.5:
CityPersons' boxes are 0.41 times as wide as high whatever hides them. One with less is hidden."""
NOT_ONE = np.zeros((0, 5), np.float32)
"""Cars of a teacher where there is none."""


def default_root() -> Path:
    """Cityscapes' folder where none is named: see ``usual_root``."""
    return usual_root("cityscapes")


def load_index(
    root: Path, split: Split, *, seen: Mapping[str, NDArray[np.float32]] | None = None
) -> tuple[Item, ...]:
    """Pair the frames of a split with labels and objects; boxes are in px of the 256x256 frame.

    ``seen`` are a teacher's cars (N, 5) by the name of the frame: see ``objects_of``.

    Raises:
        ExportError: something is missing, stands alone, or is wrong.
    """
    images, labels = root / "images" / split, root / "labels" / split
    file = root / f"persons_{split}.json"
    if not (isdir(images) and isdir(labels) and isfile(file)):  # these never raise
        raise ExportError(
            f"{root}: no Cityscapes split {split!r} here, wanted images/{split}/, labels/{split}/ "
            f"and {file.name} of train or val. Set OUTRIDER_CITYSCAPES, or pass --root to "
            "evaluate; docs/DATA.md says how it is laid out."
        )
    persons = read_persons(file)
    pairs = find_pairs(images, labels, layout="docs/DATA.md shows how Cityscapes is laid out.")
    alone = persons.keys() ^ {path.stem for path, _ in pairs}
    if alone:
        raise ExportError(
            f"{file}: {min(alone)} stands in the file or in {images} alone. Restore one of them."
        )
    items = []
    for path, label_path in pairs:
        label_map = read_camvid_labels(label_path)
        check_size(label_path, label_map, (SIDE, SIDE), stated_in="Cityscapes at 256x256")
        cars = (seen or {}).get(path.stem, NOT_ONE)
        found = objects_of(label_map, persons[path.stem], cars)
        items.append(Item(path, label_path, (SIDE, SIDE), *found))
    return tuple(items)


def read_persons(file: Path) -> dict[str, NDArray[np.float32]]:
    """The boxes (N, 4) of persons in each frame; those without area in the frame are left out.

    Raises:
        ExportError: it cannot be read, or a box is no four numbers.
    """
    given = read_json(file, wanted="boxes of persons by frame")
    if not isinstance(given, dict):
        raise ExportError(f"{file}: wanted {{frame: [[x0, y0, x1, y1], …]}}. Restore it.")
    persons = {}
    for name, boxes in given.items():
        if not isinstance(boxes, list) or not all(map(_is_box, boxes)):
            raise ExportError(f"{file}: {name!r:.60}: wanted boxes [x0, y0, x1, y1]. Restore it.")
        made = np.array(boxes, np.float32).reshape(-1, 4).clip(0, SIDE)
        persons[name] = made[(made[:, 2:] > made[:, :2]).all(axis=1)]
    return persons


def _is_box(given: Any) -> bool:
    return isinstance(given, list) and len(given) == 4 and are_numbers(given)


def objects_of(
    labels: Image, persons: NDArray[np.float32], seen: NDArray[np.float32] = NOT_ONE
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
    """Boxes (N, 4), class ids (N,) in BOX_CLASSES and crowd (N,) of one frame.

    ``seen`` are a teacher's cars with scores (N, 5), which part clusters of them; truth for a score
    is made without. A person whose box is mostly labelled bicyclist is a rider, and its region is
    the bicyclist. A crowd is what no score counts: cars that may be several, bicycles without their
    one rider, persons mostly hidden or without a box of their own, specks.
    """
    boxes: list[NDArray[np.float32]] = []
    class_ids, crowd = [], []

    def add(name: str, box: NDArray[np.float32], *, counts: bool) -> None:
        boxes.append(box)
        class_ids.append(BOX_CLASSES.index(name))
        crowd.append(not counts)

    of_class = {name: labels == CLASSES.index(name) for name in BOX_CLASSES}
    walking, riding = (
        np.array([_in_box(of_class[name], box).mean() for box in persons])
        for name in ("pedestrian", "bicyclist")
    )
    rides = riding > walking
    cars, several = objects_in(
        of_class["car"], seen, unlabelled=labels == IGNORE,
        is_one=partial(looks_like_one, stretch=STRETCH),
    )  # fmt: skip
    for box, cluster in zip(cars, several, strict=True):
        add("car", box, counts=not cluster)
    for region in regions_of(of_class["sign"]):
        add("sign", region.box, counts=region.pixels >= LEAST_PX["sign"])
    for region in regions_of(of_class["bicyclist"]):
        inside = [_in_box(region.inside, box).sum() for box in persons[rides]]
        # a rider belongs to the region of which its box has most
        here = sum(2 * n > _in_box(of_class["bicyclist"], box).sum()
                   for n, box in zip(inside, persons[rides], strict=True))  # fmt: skip
        add("bicyclist", region.box, counts=here == 1 and region.pixels >= LEAST_PX["bicyclist"])
    covered = np.zeros(labels.shape, np.bool_)
    for box, shown in zip(persons[~rides], walking[~rides], strict=True):
        add("pedestrian", box, counts=bool(shown >= SHOWN))
        _in_box(covered, box)[...] = True
    for region in regions_of(of_class["pedestrian"]):
        if 2 * covered[region.inside].sum() < region.pixels:
            add("pedestrian", region.box, counts=False)
    return (
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(class_ids, np.int32),
        np.array(crowd, np.bool_),
    )


def _in_box(pixels: NDArray[Any], box: NDArray[np.float32]) -> NDArray[Any]:
    """The part of an (H, W) array that a box touches."""
    (x0, y0), (x1, y1) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    return pixels[y0:y1, x0:x1]
