"""A teacher's boxes: read whole or refused, and crowds of cars parted by them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import ExportError
from export.data.camvid import load_index
from export.data.seen import cars_told, read_seen, with_seen
from tests.export.street_data import make_camvid


def test_cars_are_read_by_frame_and_others_and_doubtful_ones_are_not(tmp_path: Path) -> None:
    file = tmp_path / "camvid_train.json"
    boxes = [[1, 2, 30, 40, "car", 0.9], [5, 5, 9, 9, "car", 0.3], [1, 2, 3, 9, "person", 0.8]]
    file.write_text(json.dumps({"a.jpg": boxes, "b.png": []}))
    seen = read_seen(file, dict.fromkeys([Path("x/a.jpg"), Path("x/b.jpg")], (480, 360)))
    assert seen["a"] == pytest.approx(np.array([[1, 2, 30, 40, 0.9]], np.float32))
    assert seen["b"].shape == (0, 5)
    with pytest.raises(ExportError, match=r"lacks c\.jpg, which it must have"):
        read_seen(file, {Path("x/c.jpg"): (480, 360)})


@pytest.mark.parametrize(
    "content",
    ["[]", '{"a.jpg": {}}', '{"a.jpg": [[1, 2, 3, 4]]}', '{"a.jpg": [[1, 2, 3, 4, 5, 6]]}',
     '{"a.jpg": [[1, 2, NaN, 4, "car", 0.5]]}', '{"a.jpg": [[1, 2, 1e300, 4, "car", 0.5]]}',
     f'{{"a.jpg": [[1, 2, 3, 1{"0" * 400}, "car", 0.5]]}}', "{"],
)  # fmt: skip
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ExportError, match=r"a\.json: "):
        read_seen(tmp_path / "a.json", {})


@pytest.mark.parametrize("box", [[1, 2, 481.5, 40], [1, 2, 30, 361.5], [-1.5, 2, 30, 40]])
def test_boxes_of_frames_of_another_size_are_refused(tmp_path: Path, box: list[float]) -> None:
    file, frames = tmp_path / "camvid_train.json", {Path("x/a.jpg"): (480, 360)}
    file.write_text(json.dumps({"a.jpg": [[-1, 2, 480.9, 361, "car", 0.9], [*box, "car", 0.9]]}))
    with pytest.raises(ExportError, match=rf"a\.jpg: got a box .*{box[2]}.* 480x360 px\. Make it"):
        read_seen(file, frames)


def test_a_crowd_is_parted_and_what_is_one_object_stays(tmp_path: Path) -> None:
    item = load_index(make_camvid(tmp_path, images=1), "train")[0]
    labels = item.labels()
    x0, y0, x1, y1 = item.boxes[0].astype(int)
    row = np.array([x0, 20, x1, 60], np.float32)  # above it, two cars side by side in one region
    labels[20:60, x0:x1] = 8
    cv2.imwrite(str(item.label_path), labels)
    both = replace(
        item, boxes=np.stack([item.boxes[0], row]), class_ids=np.zeros(2, np.int32),
        crowd=np.array([False, True]),
    )  # fmt: skip
    middle = (x0 + x1) / 2
    cars = np.array(
        [[x0, 20, middle, 60, 0.9], [middle, 20, x1, 60, 0.8], [x0, y0, middle, y1, 0.9]],
        np.float32,
    )
    parted = with_seen(both, cars)
    told = "3 cars that the teacher saw; on the labels 3 cars, and 0 crowds that it left"
    assert cars_told([parted], {"f0": cars}) == told
    assert parted.crowd.tolist() == [False] * 3
    assert parted.boxes.tolist() == [
        item.boxes[0].tolist(), [x0, 20, middle, 60], [middle, 20, x1, 60]
    ]  # fmt: skip
    # a teacher that saw one of them leaves the other as what no loss counts
    half = with_seen(both, cars[:1])
    assert half.crowd.tolist() == [False, False, True]
    assert half.boxes[2].tolist() == [middle, 20, x1, 60]
