"""Data sets by name: their classes together, and the frames that score a training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engines.errors import ExportError
from export.data.by_name import class_names, val_data
from export.data.camvid import BOX_CLASSES, CLASSES
from export.data.class_set import Classes
from tests.export.labelled_files import coco_dict, make_folder
from tests.export.street_data import make_camvid


def test_equal_names_are_one_class_in_the_order_of_the_data(tmp_path: Path) -> None:
    mine = make_folder(tmp_path, classes=("kerb", "road"))
    (mine / "boxes.json").write_text(json.dumps(coco_dict([{}])))
    assert class_names(["camvid", "cityscapes"]) == (BOX_CLASSES, CLASSES)
    assert class_names([str(mine)]) == (("auto", "walker"), ("kerb", "road"))
    boxes, mask = class_names([str(mine), "camvid"])
    assert boxes == ("auto", "walker", *BOX_CLASSES)
    assert mask == ("kerb", "road", *(name for name in CLASSES if name != "road"))


def test_frames_come_in_the_classes_that_are_learnt(tmp_path: Path) -> None:
    labels = np.full((64, 96), 255, np.uint8)
    labels[0, :3] = (0, 1, 2)  # sky, road, car
    val = make_folder(tmp_path / "val", labels=[labels, labels])
    boxes = [{}, {"category_id": 20, "bbox": [1, 2, 3, 4]}]
    (val / "boxes.json").write_text(json.dumps(coco_dict(boxes)))
    classes = Classes.parse(
        "bus,who=walker", "kerb,way=road+car",
        box_names=("bus", "walker", "auto"), mask_names=("kerb", "sky", "road", "car"),
    )  # fmt: skip
    data = val_data(str(tmp_path), {}, classes)
    assert data is not None
    assert (data.box_classes, data.mask_classes) == (("who",), ("way",))
    frame = data.load(0)
    assert frame.labels is not None
    assert frame.labels[0, :4].tolist() == [255, 0, 0, 255]
    assert [(b["category_id"], b["bbox"]) for b in frame.annotations] == [(1, [1, 2, 3, 4])]


def test_what_scores_a_training_is_the_val_of_its_data(tmp_path: Path) -> None:
    roots = {"camvid": make_camvid(tmp_path / "camvid", images=1)}
    classes = Classes.parse(mask_names=(*CLASSES, "kerb"))
    camvid = val_data("camvid", roots, classes)
    assert camvid is not None
    assert (camvid.split, camvid.mask_classes) == ("val", CLASSES)
    mine = make_folder(tmp_path / "mine")
    assert val_data(str(mine), roots, classes) is None
    make_folder(mine / "val", classes=("kerb", "road"))
    val = val_data(str(mine), roots, classes)
    assert val is not None
    assert (val.count, val.mask_classes) == (2, ("road", "kerb"))
    others = Classes.parse(box_names=("bus",), mask_names=("lawn", "path"))
    with pytest.raises(ExportError, match=r"val: has none of the classes .*: bus, lawn, path"):
        val_data(str(mine), roots, others)
