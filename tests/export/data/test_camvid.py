"""CamVid on disk: what is read, and what is refused with the place of the mistake."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import ExportError
from export.data.camvid import load_index
from tests.edge.picture_files import png_of
from tests.export.street_data import make_camvid


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_camvid(tmp_path, images=2)


def test_a_split_pairs_images_with_labels_and_boxes(root: Path) -> None:
    split = load_index(root, "train")
    assert [i.image_path.name for i in split] == ["f0.jpg", "f1.jpg"]
    item = split[0]
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
    with pytest.raises(ExportError, match=r"boxes_train\.json: annotation 0.* box \["):
        load_index(root, "train")


def test_boxes_that_are_not_coco_are_refused(root: Path) -> None:
    (root / "boxes_train.json").write_text("{")
    with pytest.raises(ExportError, match="not JSON"):
        load_index(root, "train")


def test_a_class_index_outside_the_range_is_refused(root: Path) -> None:
    item = load_index(root, "train")[0]
    cv2.imwrite(str(item.label_path), np.full((360, 480), 12, np.uint8))
    with pytest.raises(ExportError, match=r"class index 12, wanted 0 to 10 .*, or 11 for"):
        item.labels()


def test_corrupt_images_and_labels_are_refused(root: Path) -> None:
    item = load_index(root, "train")[0]
    item.image_path.write_bytes(b"no jpeg")
    item.label_path.write_bytes(b"no png")
    with pytest.raises(ExportError, match=r"f0\.jpg: damaged or not an image"):
        item.image()
    with pytest.raises(ExportError, match=r"f0\.png: damaged or no PNG"):
        item.labels()


def test_a_frame_that_was_cut_off_is_refused(root: Path) -> None:
    item = load_index(root, "train")[0]
    data = item.image_path.read_bytes()
    item.image_path.write_bytes(data[: len(data) // 4])
    with pytest.raises(ExportError, match=r"f0\.jpg: the picture is cut off"):
        item.image()


def test_a_header_that_says_billions_of_pixels_is_refused(root: Path) -> None:
    item = load_index(root, "train")[0]
    for path, read in ((item.label_path, item.labels), (item.image_path, item.image)):
        path.write_bytes(png_of(60_000, 60_000))
        with pytest.raises(ExportError, match=rf"{path.name}: its header says more than 100 megap"):
            read()


@pytest.mark.parametrize("content", ["[" * 200_000, '{"width": 1e999}'])
def test_boxes_nested_too_deep_or_too_large_are_refused(root: Path, content: str) -> None:
    boxes = root / "boxes_train.json"
    if content[0] == "{":
        content = boxes.read_text().replace('"width": 480', '"width": 1e999')
    boxes.write_text(content)
    with pytest.raises(ExportError, match=r"not JSON|not a COCO file of boxes"):
        load_index(root, "train")


def test_labels_in_colour_are_refused(root: Path) -> None:
    item = load_index(root, "train")[0]
    cv2.imwrite(str(item.label_path), np.zeros((360, 480, 3), np.uint8))
    with pytest.raises(ExportError, match="wanted one 8-bit grey channel"):
        item.labels()


def test_a_label_map_without_its_image_is_named(root: Path) -> None:
    (root / "images" / "train" / "f1.jpg").unlink()
    with pytest.raises(ExportError, match=r"labels/train/f1\.png: has no image in"):
        load_index(root, "train")


def test_an_image_that_only_the_boxes_know_is_named(root: Path) -> None:
    (root / "images" / "train" / "f1.jpg").unlink()
    (root / "labels" / "train" / "f1.png").unlink()
    with pytest.raises(ExportError, match=r"boxes_train\.json: lists f1\.jpg, which is not in"):
        load_index(root, "train")


def test_a_split_without_images_is_refused(root: Path) -> None:
    for path in (root / "images" / "train").iterdir():
        path.unlink()
    with pytest.raises(ExportError, match="holds no images"):
        load_index(root, "train")


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_pixels_of_another_size_than_the_boxes_say_are_refused(root: Path, kind: str) -> None:
    item = load_index(root, "train")[0]
    path, read = {
        "images": (item.image_path, item.image),
        "labels": (item.label_path, item.labels),
    }[kind]
    cv2.imwrite(str(path), np.zeros((240, 320), np.uint8))
    with pytest.raises(
        ExportError, match=rf"{path.name}: got 320x240, wanted 480x360 as in the boxes"
    ):
        read()


def test_images_cut_off_in_the_middle_of_the_header_are_refused(root: Path) -> None:
    item = load_index(root, "train")[0]
    item.label_path.write_bytes(item.label_path.read_bytes()[:40])
    with pytest.raises(ExportError, match=r"f0\.png: damaged or no PNG"):
        item.labels()


@pytest.mark.parametrize(
    ("part", "key", "value", "says"),
    [
        ("annotations", "bbox", [1, 2, 3], r"has the box \[1, 2, 3\]"),
        ("annotations", "bbox", "1 2 3 4", "has the box '1 2 3 4'"),
        ("annotations", "bbox", [{}, 1, 2, 3], "has the box"),
        ("annotations", "category_id", 99, "of category 99, which is not listed"),
        ("annotations", "image_id", 99, "belongs to image 99, which is not listed"),
        ("images", "width", "wide", "not a COCO file of boxes"),
        ("images", "id", [], "not a COCO file of boxes"),
        ("categories", "name", "zebra", "has boxes of zebra, wanted car, pedestrian, bicyclist, "),
    ],
)
def test_a_wrong_value_in_the_boxes_is_refused(
    root: Path, part: str, key: str, value: object, says: str
) -> None:
    path = root / "boxes_train.json"
    coco = json.loads(path.read_text())
    coco[part][0][key] = value
    path.write_text(json.dumps(coco))
    with pytest.raises(ExportError, match=rf"boxes_train\.json: .*{says}"):
        load_index(root, "train")


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("annotations", "bbox"), ("annotations", "image_id"), ("annotations", "category_id"),
        ("images", "file_name"), ("images", "height"), ("categories", "id"),
    ],
)  # fmt: skip
def test_a_missing_key_of_the_boxes_is_named(root: Path, part: str, key: str) -> None:
    path = root / "boxes_train.json"
    coco = json.loads(path.read_text())
    del coco[part][0][key]
    path.write_text(json.dumps(coco))
    with pytest.raises(ExportError, match=rf"boxes_train\.json: .*'{key}' is missing"):
        load_index(root, "train")


@pytest.mark.parametrize("text", ["[]", "7", "null", '{"images": 3}', "\udcff"])
def test_json_of_another_shape_is_refused(root: Path, text: str) -> None:
    (root / "boxes_train.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ExportError, match=r"boxes_train\.json: not (a COCO file|JSON|UTF-8)"):
        load_index(root, "train")


def test_a_box_that_is_not_a_number_is_refused(root: Path) -> None:
    path = root / "boxes_train.json"
    path.write_text(path.read_text().replace('"bbox": [', '"bbox": [NaN, 1, 2, 3], "old": [', 1))
    with pytest.raises(ExportError, match="annotation 0 has the box"):
        load_index(root, "train")


def test_an_image_without_boxes_has_none(root: Path) -> None:
    path = root / "boxes_train.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    item = load_index(root, "train")[0]
    assert item.boxes.shape == (0, 4)
    assert len(item.class_ids) == len(item.crowd) == 0


def test_a_label_map_that_was_cut_off_is_refused(root: Path) -> None:
    item = load_index(root, "train")[0]
    whole = item.label_path.read_bytes()
    item.label_path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExportError, match=r"f0\.png: damaged or no PNG"):
        item.labels()


def test_a_folder_that_cannot_exist_is_refused() -> None:
    with pytest.raises(ExportError, match="no CamVid split 'train' here"):
        load_index(Path("x" * 300), "train")
