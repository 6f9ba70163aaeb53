"""The report of an evaluation that the tests of its text and of its page begin with."""

from __future__ import annotations

from export.score.report import EvaluationReport

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
    ap75={"car": 0.3125, "sign": None},
    ap50_400px={"car": 0.875, "sign": None},
    ap75_400px={"car": 0.4375, "sign": None},
)
