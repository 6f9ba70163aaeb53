"""A film that another net judges: which of its boxes are truth, and the frames by number."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.proven.adopt_cache import runnable
from edge.vision.types import Detections
from engines.errors import ExportError
from export.compare.film import film_data, truth_of
from export.score.evaluate import evaluate_model
from tests.edge.media_files import write_video
from tests.tiny_models import grey, paint, tiny_mask, tiny_street

Box = tuple[float, float, float, float]


def found(*boxes: tuple[Box, float, int]) -> Detections:
    n = len(boxes)
    return Detections(
        np.array([b for b, _, _ in boxes], np.float32).reshape(n, 4),
        np.array([s for _, s, _ in boxes], np.float32),
        np.array([c for _, _, c in boxes], np.int32),
        np.full(n, -1, np.int32),
    )


def truth(*boxes: tuple[Box, float, int]) -> list[tuple[int, int]]:
    """(category, iscrowd) of each box that is left; the judge's class 2 is none of the data's."""
    made = truth_of(found(*boxes), np.array([0, 1, -1]), least_px=10)
    return [(a["category_id"], a["iscrowd"]) for a in made]


def test_sure_boxes_are_objects_and_unsure_or_small_ones_crowds() -> None:
    wide, small = (0.0, 0.0, 10.0, 4.0), (20.0, 0.0, 29.0, 9.0)
    assert truth((wide, 0.9, 1), (small, 0.8, 0)) == [(2, 0), (1, 1)]
    assert truth((wide, 0.4, 0)) == [(1, 0)]
    assert truth((wide, 0.39, 0)) == [(1, 1)]
    assert truth((wide, 0.09, 0)) == []
    assert truth((wide, 0.9, 2)) == []
    assert truth() == []


def test_of_two_boxes_of_a_class_in_one_another_the_surer_is_the_object() -> None:
    whole, half = (0.0, 0.0, 20.0, 20.0), (0.0, 10.0, 20.0, 20.0)
    beside = (15.0, 0.0, 35.0, 20.0)
    assert truth((whole, 0.9, 0), (half, 0.8, 0)) == [(1, 0), (1, 1)]
    assert truth((half, 0.9, 0), (whole, 0.8, 0)) == [(1, 0), (1, 1)]
    assert truth((whole, 0.9, 0), (half, 0.8, 1)) == [(1, 0), (2, 0)]
    assert truth((whole, 0.9, 0), (beside, 0.8, 0)) == [(1, 0), (1, 0)]


def pictures(folder: Path) -> Path:
    """Three frames of 96x64: a car, nothing, a pedestrian."""
    folder.mkdir()
    frames = [grey(75), grey(75), grey(75)]
    paint(frames[0], (40, 16, 48, 24), 0)
    paint(frames[2], (8, 8, 16, 16), 1)
    for i, frame in enumerate(frames):
        assert cv2.imwrite(str(folder / f"{i}.png"), frame)
    return folder


def test_a_net_that_says_what_the_judge_says_is_right_everywhere(tmp_path: Path) -> None:
    model, judge = tmp_path / "tiny.onnx", tmp_path / "judge.onnx"
    tiny_street(model)
    tiny_street(judge)
    data = film_data(pictures(tmp_path / "film"), judge, least_px=8, adopt=runnable)
    assert (data.count, data.box_classes, data.in_time) == (3, ("car", "pedestrian"), False)
    assert data.source == "film as judge.onnx sees it, 8 px and more"
    report = evaluate_model(model, data, engine="onnxruntime")
    assert report.recall50 == report.precision50 == {"car": 1.0, "pedestrian": 1.0}
    assert report.false_a_frame == {"car": 0.0, "pedestrian": 0.0}
    assert (report.single_a_frame, report.miou) == (None, None)
    larger = film_data(tmp_path / "film", judge, least_px=9, adopt=runnable, limit=1)
    assert larger.count == 1
    assert [a["iscrowd"] for a in larger.load(0).annotations] == [1]


def test_boxes_of_a_single_frame_are_told_where_frames_follow_in_time(tmp_path: Path) -> None:
    model, film = tmp_path / "tiny.onnx", tmp_path / "film.avi"
    tiny_street(model)
    car = paint(grey(75), (40, 16, 48, 24), 0)
    write_video(film, count=3, wh=(96, 64), codec="ffv1", image=car)
    data = film_data(film, model, least_px=8, adopt=runnable)
    assert (data.count, data.in_time) == (3, True)
    assert evaluate_model(model, data, engine="onnxruntime").single_a_frame == {"car": 0.0}


def test_frames_come_by_number_whatever_was_read_before(tmp_path: Path) -> None:
    tiny_street(tmp_path / "judge.onnx")
    folder = pictures(tmp_path / "film")
    data = film_data(folder, tmp_path / "judge.onnx", least_px=8, adopt=runnable)
    for i in (2, 0, 0, 1):
        np.testing.assert_array_equal(data.load(i).image, cv2.imread(str(folder / f"{i}.png")))
    (folder / "2.png").unlink()
    data.load(0)
    with pytest.raises(ExportError, match=r"film: had 3 frames and now has 2"):
        data.load(2)


def test_a_judge_that_sees_no_object_is_refused(tmp_path: Path) -> None:
    tiny_street(tmp_path / "judge.onnx")
    tiny_mask(tmp_path / "mask.onnx")
    film = tmp_path / "film.avi"
    write_video(film, count=3)
    for judge, says in (
        ("judge", "found nothing in 3 frames"),
        ("mask", "has no boxes, wanted"),
    ):
        with pytest.raises(ExportError, match=rf"{judge}\.onnx: {says}"):
            film_data(film, tmp_path / f"{judge}.onnx", least_px=8, adopt=runnable)
