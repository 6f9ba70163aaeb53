"""Cityscapes at 256x256: which regions and persons are objects, by hand, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.vision.types import Image
from engines.errors import ExportError
from export.data.camvid import BOX_CLASSES
from export.data.cityscapes import load_index, objects_of, read_persons
from tests.export.street_data import make_cityscapes, painted

Found = list[tuple[str, list[float], bool]]


def found(labels: Image, *persons: tuple[float, float, float, float]) -> Found:
    boxes, ids, crowd = objects_of(labels, np.array(persons, np.float32).reshape(-1, 4))
    return [
        (BOX_CLASSES[i], box.tolist(), bool(c)) for box, i, c in zip(boxes, ids, crowd, strict=True)
    ]


def test_cars_are_parted_at_their_true_aspect_and_by_a_teacher() -> None:
    # 20 x 20 px on disk are 40 x 20: twice as wide as high. 30 x 20 are three times as wide.
    assert found(painted(car=(10, 10, 30, 30))) == [("car", [10, 10, 30, 30], False)]
    two = painted(car=(10, 10, 40, 30))
    assert found(two) == [("car", [10, 10, 40, 30], True)]
    seen = np.array([[10, 10, 25, 30, 0.9], [25, 10, 40, 30, 0.8]], np.float32)
    boxes, _, crowd = objects_of(two, np.zeros((0, 4), np.float32), seen)
    assert boxes.tolist() == [[10, 10, 25, 30], [25, 10, 40, 30]]
    assert not crowd.any()
    assert found(painted()) == []


def test_specks_are_neither_objects_nor_places_for_false_alarms() -> None:
    assert found(painted(car=(0, 0, 4, 5))) == [("car", [0, 0, 4, 5], False)]  # 20 px
    assert found(painted(car=(0, 0, 19, 1))) == [("car", [0, 0, 19, 1], True)]
    assert found(painted(car=(0, 0, 11, 1))) == []
    assert found(painted(sign=(252, 0, 256, 3))) == [("sign", [252, 0, 256, 3], False)]  # 12 px
    assert found(painted(sign=(0, 0, 11, 1))) == [("sign", [0, 0, 11, 1], True)]


def test_the_one_rider_of_a_region_makes_it_a_bicyclist() -> None:
    labels = painted(bicyclist=(50, 50, 60, 90))
    rider = (52, 50, 58, 80)
    box = [50, 50, 60, 90]
    assert found(labels, rider) == [("bicyclist", box, False)]
    assert found(labels) == [("bicyclist", box, True)]
    assert found(labels, rider, rider) == [("bicyclist", box, True)]


def test_a_person_mostly_hidden_or_without_a_box_is_a_crowd() -> None:
    labels = painted(pedestrian=(50, 50, 60, 90))
    assert found(labels, (50, 50, 60, 90)) == [("pedestrian", [50, 50, 60, 90], False)]
    # 40 of the 400 px of the box are labelled: the rest stands behind the road's
    assert found(labels, (59, 50, 69, 90))[0] == ("pedestrian", [59, 50, 69, 90], True)
    assert found(labels) == [("pedestrian", [50, 50, 60, 90], True)]


def test_a_frame_is_read_with_its_objects(tmp_path: Path) -> None:
    labels = painted(pedestrian=(50, 50, 60, 90))
    root = make_cityscapes(tmp_path, labels, [50, 50, 60, 90.5], [3, 3, 3, 9], [-9, 0, -1, 8])
    (item,) = load_index(root, "val")  # the boxes without area in the frame are left out
    assert item.boxes.tolist() == [[50, 50, 60, 90.5]]
    assert item.image().shape == (256, 256, 3)
    np.testing.assert_array_equal(item.labels(), labels)


def test_a_split_that_is_not_there_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"split 'test' here.*persons_test\.json.*Set OUTRIDER_C"):
        load_index(make_cityscapes(tmp_path, painted()), "test")


def test_labels_of_another_size_are_refused(tmp_path: Path) -> None:
    root = make_cityscapes(tmp_path, np.zeros((256, 512), np.uint8))
    with pytest.raises(ExportError, match=r"0001\.png: got 512x256, wanted 256x256"):
        load_index(root, "val")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "wanted {frame"),
        ('{"0001": 7}', r"'0001': wanted boxes"),
        ('{"0001": [[1, 2, 3]]}', "wanted boxes"),
        ('{"0001": [[1, 2, 3, NaN]]}', "wanted boxes"),
        ('{"0001": [[1, 2, 3, 1e300]]}', "wanted boxes"),
        (f'{{"0001": [[1, 2, 3, 1{"0" * 400}]]}}', "wanted boxes"),
        ('{"0001": [["1", 2, 3, 4]]}', "wanted boxes"),
        ('{"0002": []}', "0001 stands in the file or in .* alone"),
    ],
)
def test_boxes_of_persons_that_are_wrong_are_refused(tmp_path: Path, text: str, says: str) -> None:
    root = make_cityscapes(tmp_path, painted())
    (root / "persons_val.json").write_text(text)
    with pytest.raises(ExportError, match=rf"persons_val\.json: .*{says}"):
        load_index(root, "val")


def test_persons_of_no_frame_are_none(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text('{"a": []}')
    assert read_persons(file)["a"].shape == (0, 4)


def test_the_real_val_has_what_was_counted_once(shared: Path) -> None:
    items = load_index(shared / "data" / "cityscapes", "val")
    assert len(items) == 500
    wh = [(i.boxes[:, 2:] - i.boxes[:, :2]) * (2, 1) for i in items]
    large = {
        name: sum(
            int(((a.prod(1) >= 400) & (i.class_ids == n) & ~i.crowd).sum())
            for i, a in zip(items, wh, strict=True)
        )
        for n, name in enumerate(BOX_CLASSES)
    }
    assert large == {"car": 343, "pedestrian": 779, "bicyclist": 83, "sign": 148}
