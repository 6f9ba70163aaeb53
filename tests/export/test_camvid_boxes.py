"""Boxes out of label maps: one a region, those of the shared data set among them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.errors import ExportError
from export.camvid import load_index
from export.camvid_boxes import boxes_of
from tests.export.street_data import make_camvid

ROOT = Path(__file__).resolve().parents[2]


def run(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "export.camvid_boxes", str(root)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_region_is_a_box_from_40_pixels_on_and_corners_join(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    labels = np.full((60, 100), 11, np.uint8)
    labels[0:5, 0:8] = 8  # a car of 5 · 8 = 40 px at the corner
    labels[20:25, 20:24] = 9  # two halves of a pedestrian, 20 px each, that touch at a corner
    labels[25:30, 24:28] = 9
    labels[40:43, 40:53] = 10  # a bicyclist of 3 · 13 = 39 px: a speck
    labels[50:60, 90:100] = 1  # a building is no box
    cv2.imwrite(str(tmp_path / "labels" / "a.png"), labels)
    coco = boxes_of(tmp_path / "labels", tmp_path / "images")
    assert coco["images"] == [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 60}]
    found = [(a["category_id"], a["bbox"], a["area"]) for a in coco["annotations"]]
    assert found == [(1, [0, 0, 8, 5], 40), (2, [20, 20, 8, 10], 40)]


def test_a_copy_without_boxes_is_read_once_they_are_made(tmp_path: Path) -> None:
    root = make_camvid(tmp_path, images=2)
    for kind in ("images", "labels"):
        (root / kind / "val").rename(root / kind / "test")
        (root / kind / "val").mkdir()
    given = json.loads((root / "boxes_train.json").read_text())
    (root / "boxes_val.json").unlink()
    (root / "boxes_train.json").unlink()
    with pytest.raises(ExportError, match=rf"boxes_train\.json: missing.*camvid_boxes {root}"):
        load_index(root, "train")
    done = run(root)
    assert done.returncode == 0, done.stderr
    assert "boxes_train.json: 2 boxes in 2 images" in done.stdout
    boxes = [i.boxes.tolist() for i in load_index(root, "train").items]
    wanted = [a["bbox"] for a in given["annotations"]]
    assert boxes == [[[x, y, x + w, y + h]] for x, y, w, h in wanted]
    before = (root / "boxes_train.json").read_bytes()
    again = run(root)
    assert "boxes_train.json: is there already and stays as it is" in again.stderr
    assert (root / "boxes_train.json").read_bytes() == before


def test_a_folder_of_another_layout_is_told_where_to_look(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == ExportError.exit_code
    assert "wanted images/train/ and labels/train/. docs/DATA.md shows" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_map_without_its_image_is_named(tmp_path: Path) -> None:
    root = make_camvid(tmp_path, images=2)
    (root / "images" / "train" / "f1.jpg").unlink()
    with pytest.raises(ExportError, match=r"f1\.png: has no image in"):
        boxes_of(root / "labels" / "train", root / "images" / "train")


def test_they_are_the_boxes_that_the_shared_data_set_has(shared: Path) -> None:
    root = shared / "data" / "camvid"
    made = boxes_of(root / "labels" / "val", root / "images" / "val")
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
