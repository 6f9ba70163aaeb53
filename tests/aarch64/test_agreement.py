"""Two machines agree, or the table says in what they do not."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.aarch64.agreement import ANOTHER_LETTERBOX, of_boxes, of_pictures


def pictures(folder: Path, *greys: int) -> Path:
    folder.mkdir()
    for i, grey in enumerate(greys):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((4, 6, 3), grey, np.uint8))
    return folder


def run(path: Path, *, right: float = 30.0, score: float = 0.5, count: int = 12) -> Path:
    """``count`` frames with a box of 20 x 20 px each, whose right edge can be moved."""
    box = {"xyxy": [10.0, 10.0, right, 30.0], "score": score, "class_id": 0}
    lines = [json.dumps({"frame": i, "detections": [box]}) for i in range(count)]
    path.write_text("\n".join([json.dumps({"event": "live"}), *lines]) + "\n")
    return path


@pytest.mark.parametrize(("grey", "fails"), [(100, False), (103, False), (104, True)])
def test_pictures_may_differ_by_three_levels(tmp_path: Path, grey: int, fails: bool) -> None:
    found = of_pictures(pictures(tmp_path / "a", 100, 100), pictures(tmp_path / "b", 100, grey))
    assert bool(found.failures) == fails
    assert found.told.startswith(f"{grey - 100} of 255 levels at most")


def test_a_missing_picture_and_no_picture_fail(tmp_path: Path) -> None:
    one, other = pictures(tmp_path / "a", 1, 2), pictures(tmp_path / "b", 1)
    assert "1.png is not of one size" in of_pictures(one, other).failures[0]
    assert "no pictures" in of_pictures(pictures(tmp_path / "c"), one).failures[0]


def test_the_same_boxes_agree_and_are_counted_on_both_sides(tmp_path: Path) -> None:
    found = of_boxes(run(tmp_path / "a"), run(tmp_path / "b"))
    assert not found.failures
    assert found.told.startswith("24 boxes of both sides, 0 without a partner")


@pytest.mark.parametrize(
    ("right", "score", "another"),
    [
        (28.0, 0.5, True),  # IoU 18 / 20
        (30.0, 0.52, True),
        (22.0, 0.5, False),  # IoU 12 / 20
        (30.0, 0.55, False),
    ],
)
def test_a_moved_box_fails_where_the_input_was_the_same(
    tmp_path: Path, right: float, score: float, another: bool
) -> None:
    one, two = run(tmp_path / "a"), run(tmp_path / "b", right=right, score=score)
    assert "24 of 24 boxes have no partner" in of_boxes(one, two).failures[0]
    assert bool(of_boxes(one, two, ANOTHER_LETTERBOX).failures) != another


def test_another_number_of_frames_fails(tmp_path: Path) -> None:
    found = of_boxes(run(tmp_path / "a"), run(tmp_path / "b", count=11))
    assert found.failures == ("12 frames and 11, wanted as many",)


def test_few_boxes_prove_nothing(tmp_path: Path) -> None:
    found = of_boxes(run(tmp_path / "a", count=9), run(tmp_path / "b", count=9))
    assert found.failures == ("9 boxes prove nothing, wanted 10 or more",)
