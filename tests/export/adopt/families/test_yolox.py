"""YOLOX nets: recognised by the raw grid's shape; a decoded grid of the same shape is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.export.adopting import (
    APP_ENGINES,
    adopt_net,
    letterboxed,
    refusal,
    run_adopted,
    run_foreign,
    spec_of,
)
from tests.foreign_models import COLOUR_CLASSES, yolox


def test_the_family_is_told_by_the_grid(tmp_path: Path) -> None:
    done = adopt_net("yolox", tmp_path)
    spec, head = spec_of(done)
    assert (spec.input.height, spec.input.width) == (64, 96)
    assert (spec.input.resize, spec.input.pad_value) == ("letterbox_topleft", 114)
    assert head.family == "yolox"
    assert head.classes == COLOUR_CLASSES
    assert head.strides == (8, 16, 32)
    assert (head.conf, head.nms_iou) == (0.3, 0.45)


@APP_ENGINES
def test_the_adopted_file_gives_what_the_net_gives_for_its_documented_image(
    tmp_path: Path, engine: str
) -> None:
    # 128x48 into 96x64: by 0.75 to 96x36, at the top; 28 rows of 114 below.
    image = letterboxed(2, top=0)
    wanted = run_foreign(yolox(), image.transpose(2, 0, 1)[None])  # BGR, 0..255
    got = run_adopted(adopt_net("yolox", tmp_path).file, image, engine)
    np.testing.assert_allclose(got["output"], wanted["output"], rtol=1e-4, atol=1e-4)


def test_the_names_are_asked_for_and_must_be_as_many_as_the_channels(tmp_path: Path) -> None:
    assert "--names FILE" in refusal(adopt_net(yolox(), tmp_path), code=2)
    names = tmp_path / "three.txt"
    names.write_text("a\nb\nc\n")
    message = refusal(adopt_net(yolox(), tmp_path, "--names", names))
    assert "--names has 3 class names, but the graph has 2 class channels" in message


@pytest.mark.parametrize(
    ("op", "row", "said"),
    [
        ("Add", [40, 40, 0, 0, 0, 0, 0], "the boxes are decoded already"),
        ("Mul", [1, 1, 1, 1, 9, 9, 9], "wanted 0 to 1 (after sigmoid)"),
    ],
)
def test_numbers_that_are_no_raw_grid_are_refused(
    tmp_path: Path, op: str, row: list[float], said: str
) -> None:
    model = yolox()
    constant = onnx.numpy_helper.from_array(np.asarray(row, np.float32), "row")
    model.graph.initializer.append(constant)
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(onnx.helper.make_node(op, ["before", "row"], ["output"]))
    assert said in refusal(adopt_net(model, tmp_path, name="yolox"))


def test_a_grid_of_another_size_is_no_yolox(tmp_path: Path) -> None:
    model = yolox()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 72  # no multiple of 32
    assert "belongs to no family known here" in refusal(adopt_net(model, tmp_path, name="yolox"))
