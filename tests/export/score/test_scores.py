"""Scores against cases that are counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.vision.types import Detections
from engines.errors import ExportError
from export.data.camvid import load_index
from export.data.class_set import Classes
from export.data.labelled import annotation
from export.data.streets import annotations_of
from export.score.scores import (
    BoxTally,
    Confusion,
    box_scores,
    iou_matrix,
    share_inside,
)

NAMES = ("car", "pedestrian", "bicyclist", "sign")


def coco(*boxes: tuple[str, tuple[float, float, float, float], int]) -> dict[str, Any]:
    """One 100x100 image; boxes as (class, x y w h, iscrowd)."""
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 100}],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)],
        "annotations": [
            {
                "id": i + 1,
                "image_id": 1,
                "category_id": NAMES.index(name) + 1,
                "bbox": list(xywh),
                "area": xywh[2] * xywh[3],
                "iscrowd": crowd,
            }
            for i, (name, xywh, crowd) in enumerate(boxes)
        ],
    }


def found(name: str, xywh: tuple[float, float, float, float], score: float) -> dict[str, Any]:
    category = NAMES.index(name) + 1
    return {"image_id": 1, "category_id": category, "bbox": list(xywh), "score": score}


def test_class_iou_is_hits_over_union_and_ignored_pixels_count_nowhere() -> None:
    confusion = Confusion(("sky", "road", "car"), ignore=11)
    truth = np.array([[0, 0, 1, 1], [1, 1, 11, 11]], np.uint8)
    predicted = np.array([[0, 1, 1, 1], [1, 0, 0, 2]], np.uint8)
    confusion.add(truth, predicted)
    # sky: 1 hit, truth 2, predicted 2 (one of them in road's pixels): 1 / 3.
    # road: 3 hits, truth 4, predicted 4: 3 / 5. car: only in an ignored pixel.
    assert confusion.iou() == {"sky": pytest.approx(1 / 3), "road": 3 / 5, "car": None}
    assert confusion.miou() == pytest.approx((1 / 3 + 3 / 5) / 2)


def test_images_are_summed_before_iou_is_taken() -> None:
    confusion = Confusion(("sky", "road"), ignore=11)
    confusion.add(np.array([[0]], np.uint8), np.array([[1]], np.uint8))
    confusion.add(np.array([[0, 0, 0]], np.uint8), np.array([[0, 0, 0]], np.uint8))
    # The mean of the images' IoUs would be (0 + 1) / 2; pixels summed give 3 / 4.
    assert confusion.iou()["sky"] == 3 / 4


def test_a_prediction_that_is_no_class_is_a_miss_and_nobodys_false_alarm() -> None:
    confusion = Confusion(("sky", "road"), ignore=11)
    confusion.add(np.array([[0, 1]], np.uint8), np.array([[200, 1]], np.uint8))
    assert confusion.iou() == {"sky": 0.0, "road": 1.0}


def test_nothing_labelled_has_no_score() -> None:
    confusion = Confusion(("sky", "road"), ignore=11)
    confusion.add(np.full((2, 3), 11, np.uint8), np.zeros((2, 3), np.uint8))
    assert confusion.miou() is None


def test_a_prediction_of_another_size_and_an_unknown_label_are_refused() -> None:
    confusion = Confusion(("sky", "road"), ignore=11)
    with pytest.raises(ExportError, match="wanted an image of the size"):
        confusion.add(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))
    with pytest.raises(ExportError, match="label 5 in the truth"):
        confusion.add(np.full((1, 1), 5, np.uint8), np.zeros((1, 1), np.uint8))


def test_one_of_two_cars_found_is_half_of_the_precision_curve() -> None:
    truth = coco(("car", (0, 0, 20, 20), 0), ("car", (50, 50, 20, 20), 0))
    scores = box_scores(truth, [found("car", (0, 0, 20, 20), 0.9)], scored=NAMES)
    # Precision 1 at recalls 0, 0.01 … 0.50: 51 of 101 points.
    assert scores.ap50["car"] == pytest.approx(51 / 101)
    assert scores.ap50 == {**scores.ap50, "pedestrian": None, "bicyclist": None, "sign": None}
    assert scores.ap == pytest.approx(51 / 101)


def test_ap_of_three_boxes_by_hand_at_101_recall_points() -> None:
    truth = coco(*(("car", (40.0 * i, 0.0, 20.0, 20.0), 0) for i in range(3)))
    results = [
        found("car", (0, 0, 20, 20), 0.9),  # hit: precision 1/1 at recall 1/3
        found("car", (0, 60, 20, 20), 0.8),  # false: 1/2
        found("car", (40, 0, 20, 20), 0.7),  # hit: 2/3 at recall 2/3; the third is never found
    ]
    scores = box_scores(truth, results, scored=NAMES)
    # Precision is the best at that recall or beyond: 1 at 0 … 0.33 (34 points), 2/3 at
    # 0.34 … 0.66 (33 points), 0 at 0.67 … 1 (34 points).
    assert scores.curves["car"] == pytest.approx([1.0] * 34 + [2 / 3] * 33 + [0.0] * 34)
    assert scores.ap50["car"] == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert list(scores.curves) == ["car"]


def test_ap_by_the_sizes_of_coco() -> None:
    # 20x20 is small (below 32²), 40x40 medium, 100x100 large (96² and more).
    boxes = [(0.0, 0.0, 20.0, 20.0), (0.0, 0.0, 40.0, 40.0), (0.0, 0.0, 100.0, 100.0)]
    truth = coco(*(("car", box, 0) for box in boxes))
    scores = box_scores(truth, [found("car", boxes[1], 0.9)], scored=NAMES)
    assert scores.ap_of_area == {
        "small": 0.0,
        "medium": pytest.approx(1.0),
        "large": 0.0,
    }


def test_an_annotation_with_the_id_0_counts_as_any_other() -> None:
    truth = coco(("car", (0, 0, 20, 20), 0))
    truth["annotations"][0]["id"] = 0
    scores = box_scores(truth, [found("car", (0, 0, 20, 20), 0.9)], scored=NAMES)
    assert scores.ap50["car"] == pytest.approx(1.0)


def test_a_false_alarm_above_the_hit_halves_precision() -> None:
    truth = coco(("car", (0, 0, 20, 20), 0))
    results = [found("car", (60, 60, 20, 20), 0.9), found("car", (0, 0, 20, 20), 0.8)]
    assert box_scores(truth, results, scored=NAMES).ap50["car"] == pytest.approx(1 / 2)


def test_ap_averages_over_iou_thresholds() -> None:
    # 20x20 against 20x14: IoU 280 / 400 = 0.7 → hits at 0.50, 0.55, 0.60, 0.65 and 0.70 of ten.
    truth = coco(("car", (0, 0, 20, 20), 0))
    # One unit taller than 14 keeps clear of equality at 0.7: 290 / 400 = 0.725.
    scores = box_scores(truth, [found("car", (0, 0, 20, 14.5), 0.9)], scored=NAMES)
    assert scores.ap_of_class["car"] == pytest.approx(5 / 10)
    assert scores.ap50["car"] == pytest.approx(1.0)
    assert scores.ap75["car"] == scores.ap75_large["car"] == 0.0
    scores = box_scores(truth, [found("car", (0, 0, 20, 15.5), 0.9)], scored=NAMES)
    assert scores.ap75["car"] == scores.ap75_large["car"] == pytest.approx(1.0)  # 310 / 400


def test_boxes_in_a_crowd_are_neither_right_nor_wrong() -> None:
    truth = coco(("car", (0, 0, 20, 20), 0), ("car", (40, 40, 60, 60), 1))
    inside = [found("car", (40 + 10 * i, 40, 10, 10), 0.95) for i in range(3)]
    results = [*inside, found("car", (0, 0, 20, 20), 0.9)]
    assert box_scores(truth, results, scored=NAMES).ap50["car"] == pytest.approx(1.0)
    truth["annotations"][1]["iscrowd"] = 0  # the same boxes are false alarms without the crowd
    assert box_scores(truth, results, scored=NAMES).ap50["car"] == pytest.approx(
        # Recall 0.5 after 3 false alarms: precision 1/4 at 51 of 101 points.
        51 / 101 / 4
    )


def test_large_boxes_are_those_of_400_square_pixels() -> None:
    truth = coco(("car", (0, 0, 20, 20), 0), ("car", (50, 50, 10, 10), 0))
    scores = box_scores(truth, [found("car", (0, 0, 20, 20), 0.9)], scored=NAMES)
    assert scores.ap50_large["car"] == pytest.approx(1.0)  # 20·20 = 400 counts, 10·10 does not
    assert scores.ap50["car"] == pytest.approx(51 / 101)


def test_nothing_found_is_zero_for_classes_with_truth_and_none_for_the_others() -> None:
    scores = box_scores(coco(("car", (0, 0, 20, 20), 0)), [], scored=("car", "sign"))
    assert scores.ap50 == {"car": 0.0, "pedestrian": None, "bicyclist": None, "sign": None}
    assert scores.ap == 0.0
    for side, wanted in ((20, 0.0), (8, None)):
        truth = coco(("car", (0, 0, side, side), 0))
        scores = box_scores(truth, [], scored=("car", "sign"))
        assert (scores.ap50["car"], scores.ap50_large["car"]) == (0.0, wanted)
        assert (scores.ap75["car"], scores.ap75_large["car"]) == (0.0, wanted)


def test_a_class_that_the_model_does_not_know_is_not_scored() -> None:
    truth = coco(("car", (0, 0, 20, 20), 0), ("sign", (50, 50, 20, 20), 0))
    scores = box_scores(truth, [found("car", (0, 0, 20, 20), 0.9)], scored=("car",))
    assert scores.ap50["sign"] is None
    assert scores.ap == pytest.approx(1.0)


def test_a_tally_takes_the_classes_that_have_a_place_in_the_data() -> None:
    detections = Detections(
        np.array([[10, 20, 40, 60], [0, 0, 5, 5]], np.float32),
        np.array([0.75, 0.5], np.float32),
        np.array([1, 0], np.int32),
        np.full(2, -1, np.int32),
    )
    tally = BoxTally(("sign", "car"))
    truth = annotation(detections.xyxy[0], 1)
    tally.add(np.zeros((64, 96, 3), np.uint8), [truth], detections, (-1, 1))
    tally.add(np.zeros((64, 96, 3), np.uint8), [], Detections.empty(), (-1, 1))
    # Class 0 has no place in the data, so it is no false alarm of any class.
    assert tally.scores(("sign", "car")).ap50 == {"sign": None, "car": pytest.approx(1.0)}


def test_share_inside_by_hand() -> None:
    a = np.array([[0, 0, 10, 10]], np.float32)
    b = np.array([[5, 0, 50, 50], [10, 0, 20, 10], [0, 0, 10, 10]], np.float32)
    np.testing.assert_allclose(share_inside(a, b), [[1 / 2, 0, 1]])


def test_iou_by_hand() -> None:
    a = np.array([[0, 0, 10, 10]], np.float32)
    b = np.array([[5, 0, 15, 10], [10, 0, 20, 10], [0, 0, 10, 10]], np.float32)
    # 50 / 150, edges that only touch, itself.
    np.testing.assert_allclose(iou_matrix(a, b), [[1 / 3, 0, 1]])


def test_the_true_boxes_of_camvid_score_one(shared: Path) -> None:
    items = load_index(shared / "data" / "camvid", "val")
    truth = {
        "images": [{"id": i, "width": 480, "height": 360} for i in range(len(items))],
        "categories": coco()["categories"],
        "annotations": [
            {**a, "image_id": i}
            for i, item in enumerate(items)
            for a in annotations_of(item, Classes.parse().boxes)
        ],
    }
    results = [
        {**{k: a[k] for k in ("image_id", "category_id", "bbox")}, "score": 0.5}
        for a in truth["annotations"]
        if not a["iscrowd"]
    ]
    scores = box_scores(truth, results, scored=NAMES)
    assert scores.ap == pytest.approx(1.0)
    assert set(scores.ap50) == set(NAMES)
