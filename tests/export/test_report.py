"""The report of an evaluation: its values, its text, and the log of the test split."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engines.errors import ExportError
from export.report import EvaluationReport, log_test, table

BOTH = EvaluationReport(
    model="street.onnx",
    model_sha256="0123456789abcdef" * 4,
    engine="openvino",
    precision="f32",
    data="camvid",
    split="val",
    images=101,
    input_wh=(640, 384),
    infer_ms_median=7.891,
    miou=0.5,
    iou={"road": 0.75, "car": 0.25, "fence": None},
    ap=0.375,
    ap_of_class={"car": 0.375, "sign": None},
    ap50={"car": 0.625, "sign": None},
    ap50_400px={"car": 0.875, "sign": None},
)
MASK_ALONE = replace(BOTH, ap=None, ap_of_class={}, ap50={}, ap50_400px={})
SYNTHETIC = replace(
    BOTH, data="synthetic", split=None, ap=None, ap_of_class=None, ap50=None, ap50_400px=None,
    recall50={"car": 0.75, "sign": 0.25}, precision50={"car": 0.5, "sign": None},
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
        "AP 0.375 class: AP, AP50, AP50 of 400 px² and more",
        "car 0.375 0.625 0.875",
        "sign - - -",
    ]


def test_a_model_without_boxes_has_no_lines_of_ap() -> None:
    assert lines(MASK_ALONE)[-1] == "fence -"


def test_a_model_without_a_mask_shows_a_dash_for_miou() -> None:
    shown = lines(replace(BOTH, miou=None, iou={}, infer_ms_median=None))
    assert shown[1:3] == ["mIoU -", "AP 0.375 class: AP, AP50, AP50 of 400 px² and more"]


def test_the_synthetic_street_shows_mean_recall_and_recall_by_class() -> None:
    shown = lines(SYNTHETIC)
    assert "on synthetic, 101" in shown[0]
    # (0.75 + 0.25) / 2
    assert shown[-3:] == [
        "recall 0.500 class: recall, precision",
        "car 0.750 0.500",
        "sign 0.250 -",
    ]


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


def test_the_log_grows_by_one_dated_line_a_scoring(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"old": 1}\n')
    log_test(BOTH, log)
    log_test(MASK_ALONE, log)
    old, first, second = (json.loads(line) for line in log.read_text().splitlines())
    assert old == {"old": 1}
    assert first["date"].endswith("+00:00")
    assert {k: v for k, v in first.items() if k != "date"} == json.loads(json.dumps(BOTH.to_dict()))
    assert second["ap50"] == {}


def test_a_log_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=rf"{tmp_path}: this scoring .*Is a directory.*--test-log"
    ):
        log_test(BOTH, tmp_path)
