"""Specs: what is written reads back, old ones too, and parts that contradict each other do not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from engines.errors import ModelError
from engines.spec import DetectionHead, InputSpec, MaskHead, ModelSpec, TensorSpec

HEADS: dict[str, tuple[DetectionHead, list[tuple[int, ...]]]] = {
    "yolov5": (DetectionHead("yolov5", ("a",), ("car",)), [(1, 9, 6)]),
    "yolov8": (DetectionHead("yolov8", ("a",), ("car",), extra=32), [(1, 37, 9)]),
    "end2end": (DetectionHead("end2end", ("a",), ("car",), nms_iou=None), [(1, 300, 6)]),
    "nanodet": (
        DetectionHead("nanodet", ("a", "b", "c", "d"), ("car", "sign"), (16, 32)),
        [(1, 24, 2), (1, 6, 2), (1, 24, 32), (1, 6, 32)],
    ),
}


def spec(head: DetectionHead, shapes: list[tuple[int, ...]]) -> ModelSpec:
    tensors = tuple(TensorSpec(n, s, "float32") for n, s in zip("abcd", shapes, strict=False))
    return ModelSpec("a model", InputSpec("image", 64, 96), tensors, head)


@pytest.mark.parametrize("family", sorted(HEADS))
def test_a_spec_reads_back_as_it_was_written(family: str) -> None:
    written = spec(*HEADS[family])
    assert ModelSpec.from_json(written.to_json(), origin="x.onnx") == written


def test_a_spec_from_before_a_field_was_added_is_read() -> None:
    spec_json = json.loads(spec(*HEADS["yolov5"]).to_json())
    del spec_json["detection"]["extra"]
    spec_json["detection"]["nms_iou"] = 0.45
    head = ModelSpec.from_json(json.dumps(spec_json), origin="x.onnx").detection
    assert head is not None
    assert (head.extra, head.nms_iou) == (0, 0.45)


@pytest.mark.parametrize(
    ("family", "change", "said"),
    [
        ("yolov5", {"outputs": ("a", "a")}, "2 tensors for family yolov5, wanted 1"),
        ("yolov5", {"extra": -1}, "extra -1 for family yolov5"),
        ("yolov5", {"nms_iou": 1.5}, "nms_iou 1.5, wanted 0 to 1"),
        ("yolov5", {"nms_iou": float("nan")}, "nms_iou nan, wanted 0 to 1"),
        ("yolov5", {"conf": 5.0}, "conf 5.0, wanted 0 to 1"),
        ("yolov5", {"conf": float("nan")}, "conf nan, wanted 0 to 1"),
        ("yolov5", {"anchors": (((0.0, 9.0),),)}, "anchors that are not above 0 and finite"),
        ("yolov5", {"anchors": (((float("inf"), 9.0),),)}, "anchors that are not above 0"),
        ("yolov5", {"outputs": ("z",)}, "head tensor 'z' is not an output"),
        ("yolov5", {"centre_scale": (1.2,)}, "centre_scale [1.2], wanted 1 to 2 for each"),
        ("yolov8", {"strides": (0, 8)}, "strides [0, 8], wanted 1 or more"),
        ("nanodet", {"extra": 1}, "extra 1 for family nanodet"),
        (
            "nanodet",
            {"strides": (16,)},
            "4 head tensors and 1 strides, wanted two",
        ),
        ("nanodet", {"strides": (), "outputs": ()}, "0 head tensors and 0 strides"),
        ("nanodet", {"strides": (8, 32)}, "head tensor 'a' is [1, 24, 2], wanted [1, 96, 2]"),
        ("nanodet", {"classes": ("car",)}, "head tensor 'a' is [1, 24, 2], wanted [1, 24, 1]"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(
    family: str, change: dict[str, object], said: str
) -> None:
    head, shapes = HEADS[family]
    wrong = spec(replace(head, **change), shapes)  # type: ignore[arg-type]
    with pytest.raises(ModelError) as caught:
        wrong.check(origin="x.onnx")
    assert said in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 24, 33), (1, 24, 4), (1, 23, 32), (24, 32)])
def test_distances_are_four_times_as_many_as_bins(shape: tuple[int, ...]) -> None:
    head, shapes = HEADS["nanodet"]
    with pytest.raises(ModelError, match=r"head tensor 'c' is .*, wanted \[1, 24, 4·B\]"):
        spec(head, [*shapes[:2], shape, shapes[3]]).check(origin="x.onnx")


def test_boxes_of_another_dtype_are_refused() -> None:
    head, (shape,) = HEADS["yolov5"]
    tensors = (TensorSpec("a", shape, "float16"),)
    with pytest.raises(ModelError, match="head tensor 'a' is float16, wanted float32"):
        ModelSpec("a model", InputSpec("image", 64, 96), tensors, head).check(origin="x.onnx")


@pytest.mark.parametrize(("count", "fits"), [(0, False), (1, True), (256, True), (257, False)])
def test_a_mask_has_as_many_classes_as_a_byte_can_number(count: int, fits: bool) -> None:
    mask = MaskHead("street", "m", tuple(str(i) for i in range(count)))
    tensors = (TensorSpec("m", (1, 16, 24), "uint8"),)
    spec = ModelSpec("a model", InputSpec("image", 64, 96), tensors, masks=(mask,))
    if fits:
        spec.check(origin="x.onnx")
    else:
        with pytest.raises(ModelError, match=f"a mask of {count} classes, wanted 1 to 256"):
            spec.check(origin="x.onnx")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "red\x1b[31m"},
        {"notice": "MIT\nforged"},
        {"input": InputSpec("image\r", 64, 96)},
        {"outputs": (TensorSpec("m\x9b", (1, 16, 24), "uint8"),)},
        {"masks": (MaskHead("street", "m", ("car", "\x1b]0;title\x07")),)},
        {"masks": (MaskHead("\u202estreet", "m", ("car",)),)},
    ],
)
def test_a_name_that_would_command_a_terminal_is_refused(change: dict[str, Any]) -> None:
    tensors = (TensorSpec("m", (1, 16, 24), "uint8"),)
    mask = MaskHead("straße", "m", ("car", "自転車"))
    sound = ModelSpec("a model", InputSpec("image", 64, 96), tensors, masks=(mask,))
    sound.check(origin="x.onnx")
    with pytest.raises(ModelError, match="cannot be printed") as caught:
        replace(sound, **change).check(origin="x.onnx")
    assert str(caught.value).isprintable()


def test_a_box_class_that_would_command_a_terminal_is_refused() -> None:
    head, shapes = HEADS["yolov5"]
    with pytest.raises(ModelError, match="cannot be printed"):
        spec(replace(head, classes=("\x1b[2J",)), shapes).check(origin="x.onnx")
