"""CamVid's truth in any class set, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.data.by_name import val_data
from export.data.camvid import BOX_CLASSES, CLASSES, IGNORE, Item
from export.data.class_set import Classes, ClassSet
from export.data.streets import annotations_of, camvid_data, cityscapes_data
from export.score.scores import box_scores
from tests.export.street_data import make_camvid, make_cityscapes, painted


def item(*names: str) -> Item:
    """A frame with one box of each name, 8x8 px side by side."""
    n = len(names)
    boxes = np.array([[10 * i, 0, 10 * i + 8, 8] for i in range(n)], np.float32).reshape(n, 4)
    ids = np.array([BOX_CLASSES.index(name) for name in names], np.int32)
    return Item(Path("a.jpg"), Path("a.png"), (100, 50), boxes, ids, np.zeros(n, np.bool_))


def classes_and_crowds(text: str, *names: str) -> list[tuple[int, int]]:
    classes = ClassSet.parse(text, of=BOX_CLASSES, option="--box-classes")
    return [(a["category_id"], a["iscrowd"]) for a in annotations_of(item(*names), classes)]


def test_boxes_come_in_the_merged_classes_and_others_are_left_out() -> None:
    text = "vehicle=car,person=pedestrian+bicyclist"
    assert classes_and_crowds(text, "car", "sign", "bicyclist", "pedestrian") == [
        (1, 0),
        (2, 0),
        (2, 0),
    ]
    assert classes_and_crowds(text) == []


def test_a_bicyclist_is_an_ignored_pedestrian_unless_one_class_takes_both() -> None:
    assert classes_and_crowds("pedestrian", "bicyclist") == [(1, 1)]
    assert classes_and_crowds("bicyclist,pedestrian", "bicyclist") == [(1, 0), (2, 1)]
    assert classes_and_crowds("person=bicyclist+pedestrian", "bicyclist") == [(1, 0)]
    assert classes_and_crowds("car", "bicyclist") == []


def test_a_pedestrian_seen_on_a_bicycle_is_ignored_but_the_bicyclist_stays_missed() -> None:
    boxes = annotations_of(item("pedestrian", "bicyclist"), Classes.parse().boxes)
    assert [(a["bbox"], a["area"]) for a in boxes[:2]] == [([0, 0, 8, 8], 64), ([10, 0, 8, 8], 64)]
    truth = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 50}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(BOX_CLASSES, 1)],
        "annotations": [{**a, "image_id": 1} for a in boxes],
    }
    results = [
        {"image_id": 1, "category_id": 2, "bbox": [10, 0, 8, 8], "score": 0.95},
        {"image_id": 1, "category_id": 2, "bbox": [0, 0, 8, 8], "score": 0.9},
    ]
    scores = box_scores(truth, results, scored=BOX_CLASSES)
    assert scores.ap50["pedestrian"] == pytest.approx(1.0)
    assert scores.ap50["bicyclist"] == 0.0
    truth["annotations"] = truth["annotations"][:2]
    scores = box_scores(truth, results, scored=BOX_CLASSES)
    assert scores.ap50["pedestrian"] == pytest.approx(1 / 2)


def test_a_frame_of_cityscapes_is_scored_at_its_true_aspect(tmp_path: Path) -> None:
    root = make_cityscapes(tmp_path, painted(car=(10, 20, 30, 40)), [100, 100, 104, 120])
    data = cityscapes_data(root, "val")
    frame = data.load(0)
    assert (data.name, data.split, data.count, frame.image.shape) == (
        "cityscapes", "val", 1, (256, 512, 3)
    )  # fmt: skip
    assert frame.labels is not None
    assert (frame.labels == CLASSES.index("car")).sum() == 40 * 20
    assert (frame.labels[20:40, 20:60] == CLASSES.index("car")).all()
    # The person has no label of its own, so nobody sees it: a crowd, 8 x 20 px.
    found = [(a["bbox"], a["area"], a["category_id"], a["iscrowd"]) for a in frame.annotations]
    assert found == [([20, 20, 40, 20], 800, 1, 0), ([200, 100, 8, 20], 160, 2, 1)]


def test_a_bicyclist_is_no_crowd_of_the_class_that_takes_it_in(tmp_path: Path) -> None:
    labels = painted(bicyclist=(100, 100, 110, 130))
    root = make_cityscapes(tmp_path, labels, [100, 100, 110, 130])
    classes = Classes.parse("person=pedestrian+bicyclist", "road,rest=*")
    data = val_data("cityscapes", {"cityscapes": root}, classes)
    assert data is not None
    assert (data.box_classes, data.mask_classes) == (("person",), ("road", "rest"))
    frame = data.load(0)
    assert [(a["category_id"], a["iscrowd"]) for a in frame.annotations] == [(1, 0)]
    assert frame.labels is not None
    assert set(np.unique(frame.labels)) == {0, 1}


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
