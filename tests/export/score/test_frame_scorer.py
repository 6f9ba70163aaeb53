"""What is counted frame by frame, and which frames are called the worst."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.vision.types import Detections, Image
from engines import open_engine
from export.data.class_map import ClassMap, class_map
from export.data.labelled import LabelledData, LabelledFrame, annotation
from export.score.frame_scorer import FrameScorer
from export.score.predictor import Prediction, Predictor
from tests.tiny_models import grey, tiny_street

BOXES = ("car", "pedestrian")
EVERY = ClassMap((0, 1), {}, {}, (), ())
CELL = np.array([8, 8, 16, 16], np.float32)


def frame(index: int, boxes: int) -> LabelledFrame:
    truth = [annotation(CELL + 16 * i, 0) for i in range(boxes)]
    return LabelledFrame(f"{index}", grey(75), None, truth)


def data(count: int, *, video: bool) -> LabelledData:
    return LabelledData("test", count, lambda i: frame(i, i), box_classes=BOXES, video=video)


NOTHING = Prediction(Detections.empty(), Detections.empty(), ())


def worst(missed: list[int], *, video: bool = False) -> list[int]:
    scorer = FrameScorer(data(len(missed), video=video), EVERY)
    for i, boxes in enumerate(missed):
        scorer.add(i, frame(i, boxes), NOTHING)
    return [f.index for f in scorer.worst()["boxes"]]


def test_the_worst_frames_come_first_and_perfect_ones_never() -> None:
    assert worst([0, 2, 1, 0, 3]) == [4, 1, 2]
    assert worst([0, 0]) == []


def test_six_are_enough_and_of_a_video_neighbours_are_left_out() -> None:
    assert worst([1] * 10) == [0, 1, 2, 3, 4, 5]
    # One part in 20 of 100 frames: 5 apart.
    assert worst([1] * 100, video=True) == [0, 5, 10, 15, 20, 25]
    assert worst([1] * 100) == [0, 1, 2, 3, 4, 5]


def test_a_rider_boxed_as_a_pedestrian_is_missed_but_no_false_alarm() -> None:
    rider = annotation(CELL, 0)
    ignored = {**annotation(CELL, 1), "iscrowd": 1}
    shown = Detections(
        CELL[None], np.ones(1, np.float32), np.ones(1, np.int32), np.full(1, -1, np.int32)
    )
    of = LabelledFrame("a", grey(75), None, [rider, ignored])
    for known, missed in ((EVERY, 1), (ClassMap((-1, 1), {}, {}, (), ()), 0)):
        scorer = FrameScorer(data(1, video=False), known)
        scorer.add(0, of, Prediction(shown, shown, ()))
        assert [(f.missed, f.false) for f in scorer.worst()["boxes"]] == [(1, 0)] * missed
        assert scorer.scores()["precision50"]["pedestrian"] is None


def boxes(*given: tuple[float, float, float, float]) -> Detections:
    n = len(given)
    xyxy = np.array(given, np.float32).reshape(n, 4)
    return Detections(xyxy, np.ones(n, np.float32), np.zeros(n, np.int32), np.full(n, -1, np.int32))


def test_recall_at_iou_75_and_false_boxes_a_frame_are_those_counted_by_hand() -> None:
    of = LabelledFrame("a", grey(75), None, [annotation(CELL, 0)])  # 8 x 8 px
    for wide, tight in ((6.5, 1.0), (5.5, 0.0)):  # IoU 6.5 / 8 = 0.81 and 0.69
        shown = boxes((8, 8, 8 + wide, 16), (40, 40, 48, 48))
        scorer = FrameScorer(data(2, video=False), EVERY)
        scorer.add(0, of, Prediction(shown, shown, ()))
        scorer.add(1, of, NOTHING)
        made = scorer.scores()
        assert made["recall50"]["car"] == 0.5
        assert made["recall75"]["car"] == tight / 2
        assert made["false_a_frame"] == {"car": 0.5, "pedestrian": 0.0}
        assert "single_a_frame" not in made  # of images that do not follow one another in time


def test_small_boxes_are_no_false_alarms_but_may_be_right() -> None:
    of = LabelledFrame("a", grey(75), None, [annotation(CELL, 0)])
    shown = boxes((8, 8, 15, 16), (40, 40, 48, 44), (60, 40, 61, 49))
    scorer = FrameScorer(replace(data(1, video=True), least_px=9, in_time=True), EVERY)
    scorer.add(0, of, Prediction(shown, shown, ()))
    made = scorer.scores()
    # 8 px found on truth counts; 8 px elsewhere does not; the longer side of the last has 9 px.
    assert (made["recall50"]["car"], made["precision50"]["car"]) == (1.0, 0.5)
    assert made["single_a_frame"] == {"car": 0.0, "pedestrian": 0.0}


def test_frame_miou_is_over_the_classes_that_its_truth_shows(tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    spec = tiny_street(model)
    labels: Image = np.full((64, 96), 3, np.uint8)
    labels[:32] = 4  # pavement, which is called road
    masks = spec.masks[0].classes
    made = LabelledData("test", 1, lambda i: frame(i, 0), masks, 11)
    classes = class_map(spec, made, {}, origin="tiny")
    engine = open_engine(model, engine="onnxruntime", precision="f32")
    scorer = FrameScorer(made, classes)
    image = grey(75)
    image[48:, 48:] = 125  # tree, of which there is none in truth
    scorer.add(0, LabelledFrame("a", image, labels), Predictor(engine).predict(image))
    engine.close()
    (only,) = scorer.worst()["mask"]
    # Road: 32·96 − 16·48 right of all pixels, for each is road in truth, prediction or both.
    # Pavement: 0. Tree is not in the truth and does not count.
    road = (32 * 96 - 16 * 48) / (64 * 96)
    assert only.miou == pytest.approx(road / 2)
    assert scorer.scores()["miou"] == pytest.approx(road / 3)  # over all frames tree has 0
