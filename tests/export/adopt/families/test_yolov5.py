"""YOLOv5 and YOLOv7: three decoded boxes a cell, with objectness, or raw grids and no table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge.vision.perception import Perception
from engines import open_engine
from engines.model_file import read_spec
from tests.export.adopting import (
    APP_ENGINES,
    adopt_net,
    letterboxed,
    refusal,
    rgb_blob,
    run_adopted,
    run_foreign,
    spec_of,
)
from tests.foreign_models import ANCHORS, COLOUR_CLASSES, yolov5, yolov5_raw


def test_the_family_is_told_by_three_boxes_a_cell(tmp_path: Path) -> None:
    done = adopt_net("yolov5", tmp_path)
    spec, head = spec_of(done)
    assert (spec.input.height, spec.input.width) == (64, 96)
    assert (spec.input.resize, spec.input.pad_value) == ("letterbox_center", 114)
    assert (head.family, head.classes, head.nms_iou) == ("yolov5", COLOUR_CLASSES, 0.45)


@APP_ENGINES
def test_the_adopted_file_gives_what_the_net_gives_for_its_documented_image(
    tmp_path: Path, engine: str
) -> None:
    image = letterboxed(1, top=14)
    wanted = run_foreign(yolov5(), rgb_blob(image))
    got = run_adopted(adopt_net("yolov5", tmp_path).file, image, engine)
    np.testing.assert_allclose(got["output0"], wanted["output0"], rtol=1e-4, atol=1e-4)


def test_raw_grids_behind_the_boxes_are_left_out_and_named(tmp_path: Path) -> None:
    """As YOLOv5 before 6.2 and YOLOv7 export them."""
    model = yolov5()
    grid = onnx.numpy_helper.from_array(np.array([1, 3, 18, 7, 7], np.int64), "grid")
    model.graph.initializer.append(grid)
    model.graph.node.append(onnx.helper.make_node("Reshape", ["output0", "grid"], ["raw"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("raw", 1, None))
    done = adopt_net(model, tmp_path)
    assert done.code == 0, done.said
    assert "left out     raw float32[1, 3, 18, 7, 7]: the same boxes, raw" in done.said
    assert [t.name for t in read_spec(done.file).outputs] == ["output0"]


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        ([1, 1, 1, 1, 1.2, 9, 9], "wanted 0 to 1 (after sigmoid)"),
        ([0.01, 0.01, 0.01, 0.01, 1, 1, 1], "wanted input pixels"),
    ],
)
def test_numbers_that_are_no_boxes_and_scores_are_refused(
    tmp_path: Path, factors: list[float], said: str
) -> None:
    model = yolov5()
    row = onnx.numpy_helper.from_array(np.asarray(factors, np.float32), "row")
    model.graph.initializer.append(row)
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Mul", ["before", "row"], ["output0"]))
    assert said in refusal(adopt_net(model, tmp_path))


def test_one_class_makes_no_end_to_end_net_of_it(tmp_path: Path) -> None:
    model = yolov5()
    del model.metadata_props[:]
    first = onnx.numpy_helper.from_array(np.arange(6), "first")
    model.graph.initializer.append(first)
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(
        onnx.helper.make_node("Gather", ["before", "first"], ["output0"], axis=2)
    )
    names = tmp_path / "names.txt"
    names.write_text("red\n")
    done = adopt_net(model, tmp_path, "--names", names)
    assert done.code == 0, done.said
    assert "family       yolov5" in done.said


@pytest.mark.parametrize("split", [True, False])
def test_raw_grids_are_decoded_by_yolov5s_code(tmp_path: Path, split: bool) -> None:
    """One red cell of stride 32, at column 1 and row 0 of a frame as large as the input.

    tx = 0.5 and ty = tw - 1 = 0, th = 0.1, objectness 6, class 9: x = (2·0.62246 - 0.5 + 1)·32 =
    55.837, y = (2·0.5 - 0.5)·32 = 16; w = 32·(2·0.73106)² = 68.410, h = 32·(2·0.52498)² = 35.277.
    Darknet's exp would make it 32·e = 86.985 wide.
    """
    options = ["--family", "yolov5"] if not split else []
    model = yolov5_raw(split=split)
    done = adopt_net(model, tmp_path, *options, name="yolov5-raw")
    spec, head = spec_of(done)
    assert (head.family, head.box_code, head.strides) == ("yolo-anchors", "yolov5", (16, 32))
    assert spec.input.resize == "letterbox_center"
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[0:32, 32:64, 2] = 255
    engine = open_engine(done.file, engine="onnxruntime", precision="f32")
    try:
        perception = Perception(engine, conf=0.5)
        perception.prepare(frame, 0)
        perception.submit(0)
        perception.wait(0)
        found, _ = perception.decode(0)
    finally:
        engine.close()
    # The four cells of stride 16 are red as well; of the coarse grid there is one box.
    (box,) = [b for b in found.xyxy if b[2] - b[0] > 50]
    np.testing.assert_allclose(box, [21.632, 0, 90.042, 33.639], atol=0.01)


@pytest.mark.parametrize("known", ["stride", "family"])
def test_joined_grids_are_yolov5s_by_its_exporters_metadata_or_where_that_is_said(
    tmp_path: Path, known: str
) -> None:
    model = yolov5_raw(split=False)
    if known == "stride":
        onnx.helper.set_model_props(model, {"stride": "32", "names": str(list(COLOUR_CLASSES))})
    options = ["--family", "yolov5"] if known == "family" else []
    done = adopt_net(model, tmp_path, *options, name="yolov5-raw")
    assert "family       yolov5:" in done.said
    assert spec_of(done)[1].box_code == "yolov5"


def test_split_grids_without_anchors_are_asked_for_them_alone(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("red\nblue\n")
    said = refusal(adopt_net(yolov5_raw(), tmp_path, "--names", names), code=2)
    assert "--anchors '{" in said
    assert not any(option in said for option in ("--family yolov5", "--names"))
    three = {stride: [*pairs, [9, 9]] for stride, pairs in ANCHORS.items()}
    said = refusal(
        adopt_net(yolov5_raw(), tmp_path, "--names", names, "--anchors", json.dumps(three))
    )
    assert "do not divide by [3, 3] anchors" in said


def test_split_grids_after_sigmoid_are_refused(tmp_path: Path) -> None:
    model = yolov5_raw()
    for node in [n for n in model.graph.node if n.op_type == "Transpose"]:
        name = node.output[0]
        node.output[0] = f"{name}_raw"
        model.graph.node.append(onnx.helper.make_node("Sigmoid", [node.output[0]], [name]))
    said = refusal(adopt_net(model, tmp_path, name="yolov5-raw"))
    assert "objectness and classes of out16" in said
    assert "they are after sigmoid already" in said
