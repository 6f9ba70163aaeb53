"""A teacher's boxes: a net that answers the same to any picture, decoded by hand."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from docs.experiments.teacher import main
from engines.errors import ExportError
from tests.tiny_models import tiny_street

CELLS = 64 + 16 + 4 + 1  # of 64 x 64 px at strides 8, 16, 32, 64
BUS, PERSON, PIZZA = 5, 0, 53


def teacher(file: Path, *seen: tuple[int, int, float]) -> str:
    """A net that sees classes in cells by their logits, each one bin away on every side."""
    out = np.full((1, 112, CELLS), -9, np.float32)
    out[:, 80:] = 0
    out[:, 81::8] = 50
    for cell, class_id, logit in seen:
        out[0, class_id, cell] = logit
    graph = helper.make_graph(
        [helper.make_node("Identity", ["out"], ["out0"])],
        "constant",
        [helper.make_tensor_value_info("in0", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("out0", TensorProto.FLOAT, [1, 112, CELLS])],
        [numpy_helper.from_array(out, "out")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), file)
    return str(file)


def run(net: str, folder: Path, *options: str) -> list[list[float | str]]:
    cv2.imwrite(str(folder / "1.jpg"), np.zeros((64, 128, 3), np.uint8))
    out = folder / "out.json"
    result = CliRunner().invoke(main, [net, str(folder), str(out), *options])
    if result.exception is not None:
        raise result.exception
    boxes: list[list[float | str]] = json.loads(out.read_text())["1.jpg"]
    return boxes


def test_boxes_are_in_px_of_the_frame_and_in_the_classes_of_a_street(tmp_path: Path) -> None:
    # cell 26 of the first 64 is row 3, column 2: its corner at 16, 24, its sides at 8 px. The frame
    # is twice as wide as what the net sees. The first cell of stride 16 ends at the frame's edge.
    net = teacher(tmp_path / "net.onnx", (26, BUS, 0.0), (64, PERSON, 2.0), (30, PIZZA, 5.0))
    assert run(net, tmp_path, "--size", "64x64") == [
        [0, 0, 32, 16, "person", 0.881],  # 1 / (1 + e^-2)
        [16, 16, 48, 32, "car", 0.5],
    ]
    assert run(net, tmp_path, "--size", "64x64", "--least", "0.6")[1:] == []
    # two sizes that see the same are one box
    assert len(run(net, tmp_path, "--size", "64x64", "--size", "64x64")) == 2


def test_what_cannot_be_looked_at_is_refused(tmp_path: Path) -> None:
    net = teacher(tmp_path / "net.onnx")
    assert run(net, tmp_path, "--size", "64x64") == []
    with pytest.raises(ExportError, match="wanted multiples of 64"):
        run(net, tmp_path, "--size", "64x65")
    with pytest.raises(ExportError, match="wanted WIDTHxHEIGHT"):
        run(net, tmp_path, "--size", "64")
    with pytest.raises(ExportError, match="does not open it"):
        run(str(tmp_path / "1.jpg"), tmp_path, "--size", "64x64")
    tiny_street(tmp_path / "street.onnx")
    with pytest.raises(ExportError, match="wanted NanoDet-Plus"):
        run(str(tmp_path / "street.onnx"), tmp_path, "--size", "64x64")
    (tmp_path / "1.jpg").unlink()
    empty = [net, str(tmp_path), str(tmp_path / "out.json"), "--size", "64x64"]
    assert "no .jpg here" in str(CliRunner().invoke(main, empty).exception)
