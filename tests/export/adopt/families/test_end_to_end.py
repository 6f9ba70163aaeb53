"""End-to-end nets: rows that the graph has chosen are taken as they are, if they can be boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from engines.model_file import read_spec
from tests.export.adopting import (
    APP_ENGINES,
    adopt_net,
    refusal,
    rgb_blob,
    run_adopted,
    run_foreign,
    spec_of,
    with_metadata,
)
from tests.foreign_models import COLOUR_CLASSES, colour_frame, yolo26


def test_the_rows_are_the_boxes_and_nothing_is_suppressed(tmp_path: Path) -> None:
    done = adopt_net("yolo26", tmp_path)
    spec, head = spec_of(done)
    assert "boxes        at most 40, chosen in the graph, so no NMS here" in done.said
    assert (spec.input.resize, spec.input.pad_value) == ("letterbox_center", 114)
    assert (head.family, head.classes, head.nms_iou) == ("end2end", COLOUR_CLASSES, None)


@APP_ENGINES
def test_the_adopted_file_gives_what_the_net_gives_for_its_documented_image(
    tmp_path: Path, engine: str
) -> None:
    image = colour_frame(7)
    wanted = run_foreign(yolo26(), rgb_blob(image))["output0"]
    got = run_adopted(adopt_net("yolo26", tmp_path).file, image, engine)["output0"]
    np.testing.assert_allclose(got[0, :, 4], wanted[0, :, 4], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got[0, :5], wanted[0, :5], rtol=1e-4, atol=1e-4)


def with_last(op: str, values: list[float]) -> onnx.ModelProto:
    model = yolo26()
    row = onnx.numpy_helper.from_array(np.asarray(values, np.float32), "row")
    model.graph.initializer.append(row)
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(onnx.helper.make_node(op, ["before", "row"], ["output0"]))
    return model


@pytest.mark.parametrize(
    ("op", "row", "said"),
    [
        ("Mul", [1, 1, 1, 1, 9, 1], "scores lie in"),
        ("Add", [0, 0, 0, 0, 0, 0.5], "classes such as 1.5 are no whole numbers"),
        ("Add", [0, 0, 0, 0, 0, 1], "classes go from 1 to 2, but 2 have names"),
        ("Add", [200, 0, 0, 0, 0, 0], "boxes end before they begin"),
        ("Mul", [0.01, 0.01, 0.01, 0.01, 1, 1], "wanted input pixels"),
    ],
)
def test_numbers_that_are_no_rows_of_boxes_are_refused(
    tmp_path: Path, op: str, row: list[float], said: str
) -> None:
    message = refusal(adopt_net(with_last(op, row), tmp_path))
    assert "no end-to-end net as supposed" in message
    assert said in message


def test_names_are_asked_for_where_nothing_says_them(tmp_path: Path) -> None:
    model = yolo26()
    del model.metadata_props[:]
    message = refusal(adopt_net(model, tmp_path), code=2)
    assert "gives labels and the file does not name them" in message
    names = tmp_path / "names.txt"
    names.write_text("red\nblue\nnever seen\n")
    assert adopt_net(model, tmp_path, "--names", names).code == 0


def test_a_graph_that_says_how_many_classes_it_has_takes_as_many_names(tmp_path: Path) -> None:
    model = yolo26()
    (last,) = (n for n in model.graph.node if n.op_type == "Concat" and "output0" in n.output)
    (cast,) = (n for n in model.graph.node if n.output[0] == last.input[2])
    labels = cast.input[0]
    model.graph.initializer.append(numpy_helper.from_array(np.array(2, np.int64), "classes"))
    rest = helper.make_node("Mod", [labels, "classes"], ["rest"])  # as of a place in a flat list
    model.graph.node.insert(list(model.graph.node).index(cast), rest)
    cast.input[0] = "rest"
    assert adopt_net(model, tmp_path).code == 0
    names = tmp_path / "names.txt"
    names.write_text("red\nblue\nnever seen\n")
    said = refusal(adopt_net(model, tmp_path, "--names", names, "-o", tmp_path / "other.onnx"))
    assert "--names has 3 class names, but the graph has 2 class channels" in said


def test_what_the_boxes_are_divided_by_is_no_number_of_classes(tmp_path: Path) -> None:
    model = yolo26()
    (last,) = (n for n in model.graph.node if n.op_type == "Concat" and "output0" in n.output)
    model.graph.initializer.append(numpy_helper.from_array(np.array(12, np.int64), "width"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(24, np.int64), "even"))
    boxes = last.input[0]
    made = [
        helper.make_node("Mod", ["even", "width"], ["rest"]),  # 24 is a multiple of 12: nothing
        helper.make_node("Cast", ["rest"], ["none"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Add", [boxes, "none"], ["placed"]),
    ]
    at = list(model.graph.node).index(last)
    for node in reversed(made):
        model.graph.node.insert(at, node)
    last.input[0] = "placed"
    done = adopt_net(model, tmp_path)
    assert done.code == 0, done.said


def test_names_that_are_numbers_are_names(tmp_path: Path) -> None:
    done = adopt_net(with_metadata(yolo26(), names="{0: 0, 1: True}"), tmp_path)
    assert done.code == 0, done.said
    head = read_spec(done.file).detection
    assert head is not None
    assert head.classes == ("0", "True")


@pytest.mark.parametrize(
    "names", ["{0: '', 1: 'b'}", "{'0': 1.5, '1': None}", "[['a'], 'b']", "['a', ' ']"]
)
def test_names_that_are_empty_or_no_text_are_refused(tmp_path: Path, names: str) -> None:
    said = refusal(adopt_net(with_metadata(yolo26(), names=names), tmp_path))
    assert "the metadata has an empty class name, or one that is no text" in said


def test_metadata_that_says_otherwise_is_refused(tmp_path: Path) -> None:
    message = refusal(adopt_net(with_metadata(yolo26(), end2end="False"), tmp_path))
    assert "the metadata says neither end2end nor nms" in message
    done = adopt_net(with_metadata(yolo26(), end2end="False", args="{'nms': True}"), tmp_path)
    assert done.code == 0, done.said
    assert "made for the task 'obb'" in refusal(
        adopt_net(with_metadata(yolo26(), task="obb"), tmp_path, "-o", tmp_path / "x.onnx")
    )
