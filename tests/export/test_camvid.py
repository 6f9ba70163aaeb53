"""CamVid on disk: what is read, and what is refused with the place of the mistake."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import ExportError
from export.camvid import load_index
from tests.export.street_data import make_camvid


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_camvid(tmp_path, images=2)


def test_a_split_pairs_images_with_labels_and_boxes(root: Path) -> None:
    split = load_index(root, "train")
    assert [i.image_path.name for i in split.items] == ["f0.jpg", "f1.jpg"]
    item = split.items[0]
    x1, y1, x2, y2 = item.boxes[0].astype(int)
    labels = item.labels()
    assert (x2 - x1, y2 - y1) == (80, 40)
    assert (labels[y1:y2, x1:x2] == 8).all()
    assert item.image().shape == (360, 480, 3)
    assert item.class_ids.tolist() == [0]
    assert not item.crowd.any()


def test_a_missing_split_says_what_is_wanted(root: Path) -> None:
    with pytest.raises(ExportError, match=r"no CamVid split 'test'.*boxes_test\.json.*--root"):
        load_index(root, "test")


def test_an_image_without_labels_is_named(root: Path) -> None:
    (root / "labels" / "train" / "f1.png").unlink()
    with pytest.raises(ExportError, match=r"f1\.jpg: has no label map"):
        load_index(root, "train")


def test_an_image_that_the_boxes_do_not_list_is_named(root: Path) -> None:
    (root / "images" / "train" / "f9.jpg").write_bytes(b"")
    (root / "labels" / "train" / "f9.png").write_bytes(b"")
    with pytest.raises(ExportError, match=r"f9\.jpg: not listed"):
        load_index(root, "train")


@pytest.mark.parametrize("bbox", [[470, 10, 20, 20], [-1, 0, 5, 5], [10, 10, 0, 5]])
def test_a_box_outside_its_image_is_refused(root: Path, bbox: list[int]) -> None:
    path = root / "boxes_train.json"
    coco = json.loads(path.read_text())
    coco["annotations"][0]["bbox"] = bbox
    path.write_text(json.dumps(coco))
    with pytest.raises(ExportError, match=r"a box of f0\.jpg is empty or leaves its 480x360"):
        load_index(root, "train")


def test_boxes_that_are_not_coco_are_refused(root: Path) -> None:
    (root / "boxes_train.json").write_text("{")
    with pytest.raises(ExportError, match="not a COCO file"):
        load_index(root, "train")


def test_a_class_index_outside_the_range_is_refused(root: Path) -> None:
    item = load_index(root, "train").items[0]
    cv2.imwrite(str(item.label_path), np.full((360, 480), 12, np.uint8))
    with pytest.raises(ExportError, match="class index 12, wanted 0 to 11"):
        item.labels()


def test_corrupt_images_and_labels_are_refused(root: Path) -> None:
    item = load_index(root, "train").items[0]
    item.image_path.write_bytes(b"\xff\xd8 not a jpeg")
    item.label_path.write_bytes(b"no png")
    with pytest.raises(ExportError, match=r"f0\.jpg: not a readable image"):
        item.image()
    with pytest.raises(ExportError, match=r"f0\.png: not a readable image"):
        item.labels()


def test_labels_in_colour_are_refused(root: Path) -> None:
    item = load_index(root, "train").items[0]
    cv2.imwrite(str(item.label_path), np.zeros((360, 480, 3), np.uint8))
    with pytest.raises(ExportError, match="wanted one 8-bit channel"):
        item.labels()
