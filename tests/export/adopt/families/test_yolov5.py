"""YOLOv5 and YOLOv7: three decoded boxes a cell, with objectness; raw grids are left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

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
from tests.foreign_models import COLOUR_CLASSES, yolov5


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
