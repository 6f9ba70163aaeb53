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
    "list for an id": (broken(image_id=[1]), r"belongs to image \[1\], which is not listed"),
    "outside": (broken(bbox=[92, 0, 8, 8]), r"annotation 0: its box .* leaves the 96x64 image"),
    "empty box": (broken(bbox=[1, 1, 0, 8]), "annotation 0 has the box"),
    "three numbers": (broken(bbox=[1, 1, 8]), "annotation 0 has the box"),
    "digits of a text": (broken(bbox="4019"), r"has the box '4019', wanted \[x, y, width, height"),
    "not a number": (broken(bbox=[1, 1, "wide", 8]), "annotation 0 has the box"),
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
    "too large for a float": (broken(bbox=[1, 1, 10**400, 1]), "annotation 0 has the box"),
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


UNUSABLE: dict[str, dict[str, Any]] = {
    "leaves the 96x64 image": {"bbox": [92, 0, 8, 8]},
    "has the box": {"bbox": [1, 1, float("nan"), 8]},
    "has the box [1, 1, -8, 8]": {"bbox": [1, 1, -8, 8]},
    "has the box [1, 1, 1e+308, 1e+308]": {"bbox": [1, 1, 1e308, 1e308]},
    "has the box None": {"bbox": None},
    "belongs to image 7, which is not listed": {"image_id": 7},
    "belongs to image '1', which is not listed": {"image_id": "1"},
    "is of category 7, which is not listed": {"category_id": 7},
    "repeats another of the same box and category": {},
}


@pytest.mark.parametrize("why", UNUSABLE)
def test_a_box_that_cannot_be_used_is_left_out_and_the_rest_scored(
    tmp_path: Path, why: str
) -> None:
    data = coco_data(make_coco(tmp_path, coco_dict([{}, UNUSABLE[why]])))
    assert [a["bbox"] for a in data.load(0).annotations] == [[40, 16, 8, 8]]
    (said,) = data.left_out
    assert said.startswith("annotation 1")
    assert why in said


def test_a_missing_box_is_left_out_too(tmp_path: Path) -> None:
    coco = coco_dict([{}, {"segmentation": {"counts": "abc", "size": [64, 96]}}])
    del coco["annotations"][1]["bbox"]
    assert coco_data(make_coco(tmp_path, coco)).left_out == ("annotation 1: 'bbox' is missing",)


ROOT = {"id": 0, "name": "auto", "supercategory": "none"}


@pytest.mark.parametrize(
    ("categories", "names"),
    [
        # Roboflow's root has the name of a class, or of the project, and no boxes
        ([ROOT, {"id": 10, "name": "auto", "supercategory": "auto"}], ("auto",)),
        (
            [{**ROOT, "name": "cars"}, {"id": 10, "name": "auto", "supercategory": "cars"}],
            ("auto",),
        ),
        # COCO's person is of the supercategory person, and a class with or without boxes
        (
            [
                {"id": 1, "name": "person", "supercategory": "person"},
                {"id": 10, "name": "auto", "supercategory": "vehicle"},
            ],
            ("person", "auto"),
        ),
        # a root with boxes is a class
        ([{**ROOT, "id": 10}, {"id": 2, "name": "bus", "supercategory": "auto"}], ("auto", "bus")),
        ([{"id": 10, "name": "auto"}], ("auto",)),
    ],
)
def test_the_root_of_the_categories_is_no_class(
    tmp_path: Path, categories: list[dict[str, Any]], names: tuple[str, ...]
) -> None:
    file = make_coco(tmp_path, {**coco_dict([{}]), "categories": categories})
    found, (image, _) = read_coco(file)
    assert found == names
    assert image.boxes[0]["category_id"] == names.index("auto") + 1


def test_more_categories_than_a_table_can_hold_are_refused(tmp_path: Path) -> None:
    coco = coco_dict([{}])
    coco["categories"] += [{"id": 100 + i, "name": f"class {i}"} for i in range(2_000)]
    with pytest.raises(ExportError, match="lists 2002 categories, wanted 2000 at most"):
        read_coco(make_coco(tmp_path, coco))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "a/../../secret.png"])
def test_a_file_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    make_coco(tmp_path, {}, images=1)
    (tmp_path / "secret.png").write_bytes((tmp_path / "1.png").read_bytes())
    coco = coco_dict([{}], images=1)
    coco["images"][0]["file_name"] = name
    with pytest.raises(ExportError, match=r"wanted names of images inside one folder"):
        coco_data(make_coco(tmp_path / "data", coco))


def test_a_link_out_of_the_folder_is_refused_and_one_within_is_read(tmp_path: Path) -> None:
    file = make_coco(tmp_path / "data", coco_dict([{}]))
    (tmp_path / "linked").symlink_to(tmp_path / "data")
    assert coco_data(tmp_path / "linked" / "truth.json").count == 2  # the folder itself is a link
    (tmp_path / "data" / "2.png").rename(tmp_path / "secret.png")
    (tmp_path / "data" / "2.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ExportError, match=r"lists 2\.png, a link to .*secret\.png, which is not"):
        coco_data(file)
    (tmp_path / "data" / "2.png").unlink()
    (tmp_path / "data" / "2.png").symlink_to("1.png")
    assert coco_data(file).count == 2
