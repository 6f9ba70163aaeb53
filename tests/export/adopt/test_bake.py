"""The baked graph: camera image in, labels and raw heads out, nothing else touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from engines.model_file import load_model, read_spec, sha256_of
from engines.spec import TensorSpec
from export.adopt.bake import bake
from export.adopt.families import recognise
from export.adopt.families.base import Hints
from export.adopt.foreign import open_foreign
from tests.export.adopting import adopt_net, run_adopted
from tests.foreign_models import FOREIGN, twinlite, ultralytics


def baked(name: str, folder: Path) -> onnx.ModelProto:
    done = adopt_net(name, folder)
    assert done.code == 0, done.said
    return load_model(done.file)


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_the_input_is_the_camera_image_and_is_cast_to_float_before_all_else(
    tmp_path: Path, name: str
) -> None:
    graph = baked(name, tmp_path).graph
    (image,) = graph.input
    tensor = image.type.tensor_type
    assert tensor.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_value for d in tensor.shape.dim] == [1, 64, 96, 3]
    readers = [node for node in graph.node if image.name in node.input]
    assert [node.op_type for node in readers] == ["Cast"]
    assert readers[0] is graph.node[0] or readers[0] == graph.node[0]
    assert readers[0].attribute[0].i == onnx.TensorProto.FLOAT


@pytest.mark.parametrize("name", ["twinlite", "semantic"])
def test_labels_become_uint8_by_way_of_float(tmp_path: Path, name: str) -> None:
    graph = baked(name, tmp_path).graph
    makers = {node.output[0]: node for node in graph.node}
    for output in graph.output:
        last = makers[output.name]
        before = makers[last.input[0]]
        assert (last.op_type, last.attribute[0].i) == ("Cast", onnx.TensorProto.UINT8)
        assert (before.op_type, before.attribute[0].i) == ("Cast", onnx.TensorProto.FLOAT)
        assert makers[before.input[0]].op_type == "ArgMax"


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_the_spec_says_what_the_graph_has_and_where_it_comes_from(
    tmp_path: Path, name: str
) -> None:
    graph = baked(name, tmp_path).graph
    spec = read_spec(tmp_path / "net.outrider.onnx")
    kinds = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.UINT8: "uint8"}
    assert spec.outputs == tuple(
        TensorSpec(
            output.name,
            tuple(d.dim_value for d in output.type.tensor_type.shape.dim),
            kinds[output.type.tensor_type.elem_type],
        )
        for output in graph.output
    )
    assert spec.source_sha256 == sha256_of(tmp_path / "net.onnx")
    assert spec.name == "net"


def test_the_foreign_graph_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(twinlite().SerializeToString())
    net = open_foreign(path)
    before = net.model.SerializeToString(deterministic=True)
    bake(net, recognise(net, Hints()))
    assert net.model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("of", ["initialiser", "value", "input", "output"])
def test_any_value_of_the_foreign_graph_may_be_named_image(tmp_path: Path, of: str) -> None:
    model = ultralytics()
    old = {
        "initialiser": model.graph.initializer[0].name,
        "value": model.graph.node[0].output[0],
        "input": "images",
        "output": "output0",
    }[of]
    for node in model.graph.node:
        node.input[:] = ["image" if name == old else name for name in node.input]
        node.output[:] = ["image" if name == old else name for name in node.output]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = "image" if value.name == old else value.name
    done = adopt_net(model, tmp_path)
    assert done.code == 0, done.said
    assert read_spec(done.file).input.name == "image_2"
    assert run_adopted(done.file, np.zeros((64, 96, 3), np.uint8), "onnxruntime")


def test_a_graph_that_the_checker_refuses_ends_in_one_line(tmp_path: Path) -> None:
    model = ultralytics()
    name = model.graph.node[0].output[0]
    for node in model.graph.node:  # a name that only a baked graph has
        node.input[:] = ["outrider/cast" if n == name else n for n in node.input]
        node.output[:] = ["outrider/cast" if n == name else n for n in node.output]
    done = adopt_net(model, tmp_path)
    assert done.code == 4
    assert not done.written
    assert "the ONNX checker refuses its graph with the preprocessing inside" in done.said
    assert "/." not in done.said  # the name of the unproven file
