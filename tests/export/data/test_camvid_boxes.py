"""Boxes out of label maps: one a region, those of the shared data set among them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.errors import ExportError
from export.data.camvid import load_index
from export.data.camvid_boxes import boxes_of, write_boxes
from tests.export.street_data import make_camvid


def said(root: Path) -> str:
    """What is said while the boxes are written."""
    lines: list[str] = []
    write_boxes(root, say=lines.append)
    return "\n".join(lines)


def small(root: Path, *, image: tuple[int, int] = (6, 10), index: int = 1) -> Path:
    """All three splits with one pair of 10x6 each, of which train's may be made wrong."""
    for split in ("train", "val", "test"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        hw, value = (image, index) if split == "train" else ((6, 10), 1)
        cv2.imwrite(str(root / "images" / split / "a.png"), np.zeros((*hw, 3), np.uint8))
        cv2.imwrite(str(root / "labels" / split / "a.png"), np.full((6, 10), value, np.uint8))
    return root


def test_a_region_is_a_box_from_40_pixels_on_and_corners_join(tmp_path: Path) -> None:
    (tmp_path / "images" / "val").mkdir(parents=True)
    (tmp_path / "labels" / "val").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images" / "val" / "a.jpg"), np.zeros((60, 100, 3), np.uint8))
    labels = np.full((60, 100), 11, np.uint8)
    labels[0:5, 0:8] = 8  # a car of 5 · 8 = 40 px at the corner
    labels[20:25, 20:24] = 9  # two halves of a pedestrian, 20 px each, that touch at a corner
    labels[25:30, 24:28] = 9
    labels[40:43, 40:53] = 10  # a bicyclist of 3 · 13 = 39 px: a speck
    labels[50:60, 90:100] = 1  # a building is no box
    cv2.imwrite(str(tmp_path / "labels" / "val" / "a.png"), labels)
    coco = boxes_of(tmp_path, "val")
    assert coco["images"] == [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 60}]
    found = [(a["category_id"], a["bbox"], a["area"]) for a in coco["annotations"]]
    assert found == [(1, [0, 0, 8, 5], 40), (2, [20, 20, 8, 10], 40)]


def test_a_copy_without_boxes_is_read_once_they_are_made(tmp_path: Path) -> None:
    root = make_camvid(tmp_path, images=2)
    for kind in ("images", "labels"):
        shutil.copytree(root / kind / "val", root / kind / "test")
    given = json.loads((root / "boxes_train.json").read_text())
    (root / "boxes_train.json").unlink()
    with pytest.raises(ExportError, match=rf"boxes_train\.json: missing.*camvid-boxes {root}"):
        load_index(root, "train")
    text = said(root)
    assert "boxes_train.json: 2 boxes in 2 images" in text
    assert "boxes_val.json: is there and stays" in text
    boxes = [i.boxes.tolist() for i in load_index(root, "train")]
    wanted = [a["bbox"] for a in given["annotations"]]
    assert boxes == [[[x, y, x + w, y + h]] for x, y, w, h in wanted]
    before = (root / "boxes_train.json").read_bytes()
    assert "boxes_train.json: is there and stays" in said(root)
    assert (root / "boxes_train.json").read_bytes() == before


def no_maps(root: Path) -> None:
    (root / "labels" / "train" / "a.png").unlink()


def no_images(root: Path) -> None:
    no_maps(root)
    (root / "images" / "train" / "a.png").unlink()


def map_alone(root: Path) -> None:
    shutil.copy(root / "labels" / "train" / "a.png", root / "labels" / "train" / "b.png")


def twins(root: Path) -> None:
    shutil.copy(root / "images" / "train" / "a.png", root / "images" / "train" / "a.jpg")


def no_test_split(root: Path) -> None:
    shutil.rmtree(root / "labels" / "test")


def no_pixels(root: Path) -> None:
    (root / "images" / "train" / "a.png").write_bytes(b"")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (no_maps, r"images/train/a\.png: has no label map"),
        (no_images, r"images/train: holds no images"),
        (map_alone, r"labels/train/b\.png: has no image in"),
        (twins, r"a\.png: a\.jpg has the same name, and there is one label map a\.png for both"),
        (no_test_split, r"labels/test: cannot be listed \(No such file.*docs/DATA\.md"),
        (no_pixels, r"images/train/a\.png: the file is empty"),
    ],
)
def test_a_copy_that_is_not_whole_gets_no_boxes_at_all(
    tmp_path: Path, wrong: Callable[[Path], None], says: str
) -> None:
    root = small(tmp_path)
    wrong(root)
    with pytest.raises(ExportError, match=says):
        said(root)
    assert {p.name for p in root.iterdir()} == {"images", "labels"}


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"image": (6, 9)}, r"a\.png: got 10x6, wanted 9x6 as in a\.png"),
        ({"index": 12}, r"a\.png: class index 12, wanted 0 to 10 as .*docs/DATA\.md"),
    ],
)
def test_maps_that_are_not_those_of_the_images_are_refused(
    tmp_path: Path, how: dict[str, Any], says: str
) -> None:
    root = small(tmp_path, **how)
    with pytest.raises(ExportError, match=says):
        said(root)


def test_no_region_is_no_box(tmp_path: Path) -> None:
    assert "boxes_train.json: 0 boxes in 1 images" in said(small(tmp_path))
    assert load_index(tmp_path, "train")[0].boxes.shape == (0, 4)


def test_a_root_that_is_no_folder_is_told(tmp_path: Path) -> None:
    for root in (tmp_path / "none", tmp_path / ("x" * 300)):
        with pytest.raises(ExportError):
            said(root)


def test_they_are_the_boxes_that_the_shared_data_set_has(shared: Path) -> None:
    root = shared / "data" / "camvid"
    made = boxes_of(root, "val")
    given = json.loads((root / "boxes_val.json").read_text())

    def boxes(coco: dict[str, Any]) -> list[tuple[object, ...]]:
        file = {e["id"]: e["file_name"] for e in coco["images"]}
        name = {c["id"]: c["name"] for c in coco["categories"]}
        return sorted(
            (file[a["image_id"]], name[a["category_id"]], *map(int, a["bbox"]))
            for a in coco["annotations"]
        )

    assert boxes(made) == boxes(given)
    assert len(made["annotations"]) == 959
