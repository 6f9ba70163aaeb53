"""The data sets that a training names: their classes, and the frames that score it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from os.path import isdir
from pathlib import Path

from engines.errors import ExportError
from export.data.camvid import BOX_CLASSES, CLASSES
from export.data.class_set import Classes
from export.data.folder import folder_data
from export.data.labelled import UNLABELLED, LabelledData, LabelledFrame
from export.data.streets import camvid_data, cityscapes_data

NAMED = ("camvid", "cityscapes")
"""Data sets known by name, in CamVid's classes; any other is a folder of the user's own."""


def class_names(sets: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Every class of boxes and of the mask that the data sets have; equal names are one class.

    Raises:
        ExportError: a folder is not one of images with labels or boxes.
    """
    boxes: list[str] = []
    mask: list[str] = []
    for name in sets:
        if name in NAMED:
            boxes += BOX_CLASSES
            mask += CLASSES
        else:
            data = folder_data(Path(name))
            boxes += data.box_classes
            mask += data.mask_classes
    return tuple(dict.fromkeys(boxes)), tuple(dict.fromkeys(mask))


def val_data(name: str, roots: Mapping[str, Path], classes: Classes) -> LabelledData | None:
    """The val split of a data set in ``classes``; of a folder its own folder ``val``, if any.

    Raises:
        ExportError: it is missing or broken, or has none of the classes.
    """
    if name in NAMED:
        named = camvid_data if name == "camvid" else cityscapes_data
        return named(roots[name], "val", classes.within(BOX_CLASSES, CLASSES))
    root = Path(name) / "val"
    if not isdir(root):  # this never raises
        return None
    data = _in_classes(folder_data(root), classes)
    if not data.box_classes and not data.mask_classes:
        raise ExportError(
            f"{root}: has none of the classes that are learnt: "
            f"{', '.join(dict.fromkeys(classes.boxes.names + classes.mask.names))}. Give its "
            "classes the same names, or leave the scoring out with --eval-every 0."
        )
    return data


def _in_classes(data: LabelledData, classes: Classes) -> LabelledData:
    """The same frames in those of ``classes`` that they have something of."""
    known = classes.within(data.box_classes, data.mask_classes)
    table = known.label_table(data.mask_classes)
    ids = known.boxes.table(data.box_classes, missing=-1)

    def load(i: int) -> LabelledFrame:
        frame = data.load(i)
        boxes = [
            {**box, "category_id": int(new) + 1}
            for box in frame.annotations
            if (new := ids[box["category_id"] - 1]) >= 0
        ]
        labels = None if frame.labels is None else table[frame.labels]
        return LabelledFrame(frame.name, frame.image, labels, boxes)

    return replace(
        data, load=load, mask_classes=known.mask.names, ignore=UNLABELLED,
        box_classes=known.boxes.names,
    )  # fmt: skip
