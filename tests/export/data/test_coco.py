"""COCO files as data: what is read, and each mistake by its name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.errors import ExportError
from export.data.coco import coco_data, read_coco
from tests.export.labelled_files import coco_dict, make_coco


def test_categories_are_numbered_crowds_marked_and_areas_filled_in(tmp_path: Path) -> None:
    boxes: list[dict[str, Any]]
    boxes = [{"iscrowd": 1}, {"category_id": 20, "area": 40.5}, {"image_id": 2}]
    names, listed = read_coco(make_coco(tmp_path, coco_dict(boxes)))
    assert names == ("auto", "walker")
    assert [image.wh for image in listed] == [(96, 64)] * 2
    assert {image.file_name: image.boxes for image in listed} == {
        "1.png": [
            {"bbox": [40, 16, 8, 8], "area": 64, "iscrowd": 1, "category_id": 1},
            {"bbox": [40, 16, 8, 8], "area": 40.5, "iscrowd": 0, "category_id": 2},
        ],
        "2.png": [{"bbox": [40, 16, 8, 8], "area": 64, "iscrowd": 0, "category_id": 1}],
    }


def test_images_lie_beside_the_file_or_in_the_named_folder(tmp_path: Path) -> None:
    file = make_coco(tmp_path / "pictures", coco_dict([{}]))
    elsewhere = file.rename(tmp_path / "truth.json")
    with pytest.raises(ExportError, match=r"lists 1\.png, which is not in .*--images"):
        coco_data(elsewhere)
    data = coco_data(elsewhere, tmp_path / "pictures")
    assert (data.count, data.box_classes, data.mask_classes) == (2, ("auto", "walker"), ())
    frame = data.load(0)
    assert frame.image.shape == (64, 96, 3)
    assert [a["bbox"] for a in frame.annotations] == [[40, 16, 8, 8]]
    assert data.load(1).annotations == []  # an image without boxes shows false alarms


@pytest.mark.parametrize(("given", "crowd"), [("0", 0), ("1", 1), (None, 0), (True, 1)])
def test_a_crowd_may_be_marked_in_text(tmp_path: Path, given: object, crowd: int) -> None:
    _, (image, _) = read_coco(make_coco(tmp_path, coco_dict([{"iscrowd": given}])))
    assert image.boxes[0]["iscrowd"] == crowd


def test_a_box_may_round_over_the_edge_by_a_pixel(tmp_path: Path) -> None:
    file = make_coco(tmp_path, coco_dict([{"bbox": [88.5, -0.4, 8, 8]}]))
    _, (image, _) = read_coco(file)
    assert image.boxes[0]["bbox"] == [88.5, -0.4, 8, 8]
    with pytest.raises(ExportError, match="leaves the 96x64 image"):
        read_coco(file, beyond_px=0.4)


def broken(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The file of one annotation with other values in it."""
    return lambda coco: {**coco, "annotations": [{**coco["annotations"][0], **changes}]}


def without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda coco: {k: v for k, v in coco.items() if k != key}


MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "not JSON": (lambda _: "{", "not JSON"),
    "a list": (lambda _: [], r"not a COCO file of boxes: .*\. Mend or restore it\."),
    "nested too deep": (lambda _: "[" * 100_000, "not JSON"),
    "no categories": (without("categories"), "'categories' is missing"),
    "no images": (lambda c: {**c, "images": [], "annotations": []}, "lists no images"),
    "unknown image": (broken(image_id=7), "annotation 0 belongs to image 7, which is not listed"),
    "unknown class": (broken(category_id=7), "annotation 0 is of category 7, which is not listed"),
    "list for an id": (broken(image_id=[1]), "not a COCO file of boxes"),
    "outside": (broken(bbox=[92, 0, 8, 8]), r"annotation 0: its box .* leaves the 96x64 image"),
    "empty box": (broken(bbox=[1, 1, 0, 8]), "annotation 0 has the box"),
    "three numbers": (broken(bbox=[1, 1, 8]), "annotation 0 has the box"),
    "digits of a text": (broken(bbox="4019"), r"has the box '4019', wanted \[x, y, width, height"),
    "not a number": (broken(bbox=[1, 1, "wide", 8]), "not a COCO file of boxes"),
    "infinite": (broken(bbox=[1, 1, float("inf"), 8]), "annotation 0 has the box"),
    "nan": (broken(bbox=[1, 1, float("nan"), 8]), "annotation 0 has the box"),
    "negative area": (broken(area=-1), "annotation 0 has the box"),
    "no text": (
        lambda c: {**c, "categories": [{"id": 10, "name": "\ud800"}, {"id": 20, "name": "b"}]},
        r"wanted names as plain text, got '\\ud800'",
    ),
    "two lines": (
        lambda c: {**c, "images": [{**c["images"][0], "file_name": "a\nb"}]},
        r"wanted names as plain text, got 'a\\nb'",
    ),
    "endless name": (
        lambda c: {**c, "images": [{**c["images"][0], "file_name": "a" * 5000}]},
        "which is not in",
    ),
    "too large for a float": (broken(bbox=[1, 1, 10**400, 1]), "not a COCO file of boxes"),
    "same name twice": (
        lambda c: {**c, "categories": [{"id": 10, "name": "a"}, {"id": 20, "name": "a"}]},
        "wanted categories with names and ids of their own",
    ),
    "same image twice": (
        lambda c: {**c, "images": [c["images"][0], {**c["images"][1], "file_name": "1.png"}]},
        "two images have the same id or file name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_the_file_and_the_place(name: str, tmp_path: Path) -> None:
    spoil, message = MISTAKES[name]
    file = make_coco(tmp_path, spoil(copy.deepcopy(coco_dict([{}]))))
    with pytest.raises(ExportError, match=message) as caught:
        coco_data(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_a_file_without_boxes_is_nothing_to_score(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has no annotations; there is nothing to score"):
        coco_data(make_coco(tmp_path, coco_dict()))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"none\.json: cannot be read \(No such file"):
        coco_data(tmp_path / "none.json")


def test_an_image_of_another_size_or_cut_off_is_told_by_name(tmp_path: Path) -> None:
    data = coco_data(make_coco(tmp_path, coco_dict([{}])))
    assert cv2.imwrite(str(tmp_path / "1.png"), np.zeros((32, 48, 3), np.uint8))
    with pytest.raises(ExportError, match=r"1\.png: got 48x32, wanted 96x64 as in .*truth\.json"):
        data.load(0)
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:60])
    with pytest.raises(ExportError, match=r"2\.png: the picture is cut off"):
        data.load(1)
