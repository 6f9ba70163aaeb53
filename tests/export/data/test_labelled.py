"""CamVid's truth in any class set, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from export.data.camvid import BOX_CLASSES, CLASSES, IGNORE
from export.data.class_set import Classes, ClassSet
from export.data.labelled import camvid_data, merged
from tests.export.street_data import CATEGORIES, make_camvid


def coco_of(*names: str) -> dict[str, Any]:
    """One box of each name, in one image."""
    return {
        "images": [{"id": 0, "file_name": "a.jpg", "width": 100, "height": 50}],
        "categories": [{"id": i + 1, "name": n} for i, n in enumerate(CATEGORIES)],
        "annotations": [
            {"id": i, "image_id": 0, "category_id": CATEGORIES.index(n) + 1, "iscrowd": 0,
             "area": 1, "bbox": [10 * i, 0, 8, 8]} for i, n in enumerate(names)
        ],
    }  # fmt: skip


def told(text: str, *names: str) -> list[tuple[int, int]]:
    made = merged(coco_of(*names), ClassSet.parse(text, of=CATEGORIES, option="--box-classes"))
    return [(a["category_id"], a["iscrowd"]) for a in made]


def test_boxes_come_in_the_merged_classes_and_others_are_left_out() -> None:
    text = "vehicle=car,person=pedestrian+bicyclist"
    assert told(text, "car", "sign", "bicyclist", "pedestrian") == [(1, 0), (2, 0), (2, 0)]


def test_a_bicyclist_is_an_ignored_pedestrian_unless_one_class_takes_both() -> None:
    assert told("pedestrian", "bicyclist") == [(1, 1)]
    assert told("bicyclist,pedestrian", "bicyclist") == [(1, 0), (2, 1)]
    assert told("person=bicyclist+pedestrian", "bicyclist") == [(1, 0)]
    assert told("car", "bicyclist") == []


def test_frames_come_in_the_merged_classes(tmp_path: Path) -> None:
    root = make_camvid(tmp_path / "camvid", images=2)
    own = camvid_data(root, "val")
    classes = Classes.parse("vehicle=car", "road,vehicle=car,other=*")
    made = camvid_data(root, "val", classes)
    assert (own.mask_classes, own.box_classes) == (CLASSES, BOX_CLASSES)
    assert made.mask_classes == ("road", "vehicle", "other")
    assert made.box_classes == ("vehicle",)
    for i in range(own.count):
        before, after = own.load(i).labels, made.load(i).labels
        assert before is not None
        assert after is not None
        known = before != IGNORE
        expected = np.full(len(CLASSES), 2, np.uint8)
        expected[[CLASSES.index("road"), CLASSES.index("car")]] = 0, 1
        np.testing.assert_array_equal(after[known], expected[before[known]])
        assert (after[~known] == IGNORE).all()
