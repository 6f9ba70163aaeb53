"""The report of an evaluation: its values and its text."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from engines.errors import ExportError
from export.score.report import EvaluationReport, FrameScore, Table, table
from tests.export.score.reports import BOTH

MASK_ALONE = replace(BOTH, ap=None, ap_of_class={}, ap50={}, ap50_400px={})
SYNTHETIC = replace(
    BOTH, data="synthetic", split=None, ap=None, ap_of_class=None, ap50=None, ap50_400px=None,
    recall50={"car": 0.75, "sign": 0.25}, precision50={"car": 0.5, "sign": None},
    recall75={"car": 0.625},
)  # fmt: skip


def lines(report: EvaluationReport) -> list[str]:
    return [" ".join(line.split()) for line in table(report).splitlines()]


def test_the_table_says_what_was_scored_on_what_and_how() -> None:
    assert lines(BOTH) == [
        "street.onnx (0123456789ab) on camvid val, 101 images, 640x384, openvino f32",
        "infer 7.89 ms median",
        "mIoU 0.500",
        "road 0.750",
        "car 0.250",
        "fence -",
        "AP 0.375 class: AP, AP50, AP75; of 400 px² and more AP50, AP75",
        "car 0.375 0.625 0.312 0.875 0.438",
        "sign - - - - -",
    ]


def test_a_model_without_boxes_has_no_lines_of_ap() -> None:
    assert lines(MASK_ALONE)[-1] == "fence -"


def test_a_model_without_a_mask_shows_a_dash_for_miou() -> None:
    shown = lines(replace(BOTH, miou=None, iou={}, infer_ms_median=None))
    assert shown[1:3] == [
        "mIoU -",
        "AP 0.375 class: AP, AP50, AP75; of 400 px² and more AP50, AP75",
    ]


def test_the_synthetic_street_shows_mean_recall_and_recall_by_class() -> None:
    shown = lines(SYNTHETIC)
    assert "on synthetic, 101" in shown[0]
    # (0.75 + 0.25) / 2
    assert shown[-3:] == [
        "recall 0.500 class: recall, precision, recall at IoU 0.75, false a frame",
        "car 0.750 0.500 0.625 -",
        "sign 0.250 - - -",
    ]
    shown = lines(replace(SYNTHETIC, single_a_frame={"car": 0.125}, false_a_frame={"car": 2.0}))
    assert shown[-3].endswith("recall at IoU 0.75, false a frame, of a single frame")
    assert shown[-2] == "car 0.750 0.500 0.625 2.000 0.125"


def test_json_holds_what_applies_and_null_for_what_has_no_truth() -> None:
    values = json.loads(json.dumps(BOTH.to_dict()))
    assert values["iou"]["fence"] is None
    assert values["input_wh"] == [640, 384]
    assert "recall50" not in values
    assert json.loads(json.dumps(MASK_ALONE.to_dict()))["ap"] is None
    synthetic = SYNTHETIC.to_dict()
    assert synthetic["split"] is None
    assert "ap50" not in synthetic
    assert synthetic["recall50"] == {"car": 0.75, "sign": 0.25}


def test_times_threshold_and_unknown_classes_have_lines_of_their_own() -> None:
    times = {"letterbox": {"p50": 0.25, "p90": 0.5}, "infer": {"p50": 8.0, "p90": 10.0}}
    shown = lines(
        replace(SYNTHETIC, latency_ms=times, conf=0.2, lacking={"boxes": ("sign", "pole")})
    )
    assert shown[2:4] == [
        "p50 / p90 letterbox 0.25 / 0.50, infer 8.00 / 10.00 ms",
        "unknown to the model among the boxes: sign, pole",
    ]
    assert (
        "recall 0.500 class: recall, precision, recall at IoU 0.75, false a frame; at score 0.2"
        in shown
    )


def test_of_many_classes_those_without_a_score_are_left_out() -> None:
    many = {f"c{i}": None for i in range(80)} | {"car": 0.5}
    shown = lines(replace(BOTH, ap50=many, ap_of_class={}))
    assert shown[-1] == "car - 0.500 0.312 0.875 0.438"
    assert not any(line.startswith("c1") for line in shown)


def test_long_names_have_room() -> None:
    shown = table(replace(BOTH, iou={"traffic light": 0.5, "car": 0.25})).splitlines()
    assert "  traffic light 0.500" in shown
    assert "  car           0.250" in shown


def test_json_has_the_confusion_and_the_worst_frames() -> None:
    counts = Table(("car", "nothing there"), ("car", "missed"), ((1, 2), (3, 0)))
    worst: dict[str, tuple[FrameScore, ...]] = {"boxes": (FrameScore(4, "a.png", None, 1, 2),)}
    full = replace(BOTH, confusion_boxes=counts, worst=worst, curves={"car": (1.0,) * 101})
    values = json.loads(json.dumps(full.to_dict()))
    assert values["confusion_boxes"] == {
        "rows": ["car", "nothing there"],
        "columns": ["car", "missed"],
        "counts": [[1, 2], [3, 0]],
    }
    assert values["worst"]["boxes"] == [
        {"index": 4, "name": "a.png", "miou": None, "missed": 1, "false": 2}
    ]
    assert "curves" not in values


def test_a_report_without_any_score_is_refused() -> None:
    nothing = replace(BOTH, miou=None, iou={}, ap=None, source="drive")
    with pytest.raises(ExportError, match=r"drive: nothing to score: in 101 images got no label"):
        nothing.check()
    MASK_ALONE.check()
    replace(SYNTHETIC, miou=None, ap=0.0).check()
