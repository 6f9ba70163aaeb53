"""Model files: what is read back is what was written, and broken or unsafe files are refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines import open_engine
from engines.errors import ModelError
from engines.model_file import (
    ModelFile,
    is_quantized,
    load_model,
    load_weights,
    read_spec,
    save_model,
    sha256_of,
    write_spec,
)
from tests.tiny_models import tiny_street


def plain() -> onnx.ModelProto:
    """A valid model that adds a weight; without a spec."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    weight = numpy_helper.from_array(np.ones(2, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "plain", [value], [out], [weight]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def with_external_weight(path: Path, location: str) -> None:
    model = plain()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", location
    path.write_bytes(model.SerializeToString())


def test_a_written_spec_reads_back_equal_and_other_metadata_stays(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    spec = tiny_street(path)
    model = load_model(path)
    note = model.metadata_props.add()
    note.key, note.value = "author", "someone"
    write_spec(model, spec)
    write_spec(model, spec)
    save_model(model, path)
    assert read_spec(path) == spec
    assert sorted(p.key for p in load_model(path).metadata_props) == ["author", "outrider"]


def test_a_valid_file_without_a_spec_is_found_and_its_adoption_named(tmp_path: Path) -> None:
    path = tmp_path / "plain.onnx"
    save_model(plain(), path)
    assert ModelFile(path).spec is None
    with pytest.raises(ModelError, match=f"edge-export adopt {path}"):
        read_spec(path)


def test_a_missing_file_a_folder_and_bytes_that_are_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such model file\. Check the path\.$"):
        read_spec(tmp_path / "no.onnx")
    with pytest.raises(ModelError, match="cannot be read"):
        read_spec(tmp_path)
    for content in (b"", b"\x00" * 64, b"not a model at all", b"PK\x03\x04" + bytes(100)):
        path = tmp_path / "bad.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=f"got {len(content)} bytes"):
            read_spec(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "model.onnx"
    tiny_street(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match=r"model\.onnx: (not an ONNX model|holds no ONNX graph)"):
        read_spec(path)


NAMES = ("in", "size", "out", "op", "kind", "weights.bin", "called", "inner")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_not_utf8_is_refused_wherever_it_stands(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.onnx"
    with_external_weight(path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(bytes(8))
    model = onnx.load(path, load_external_data=False)
    model.graph.node[0].name, model.graph.node[0].op_type = "op", "kind"
    model.graph.input[0].name, model.graph.output[0].name = "in", "out"
    model.graph.node[0].input[0], model.graph.node[0].output[0] = "in", "out"
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "size"
    model.functions.append(function("called", "inner"))
    data = model.SerializeToString()
    path.write_bytes(data)
    assert ModelFile(path).op_types == {"kind", "inner"}
    good = bytes([len(name)]) + name.encode()  # its length stands before a text
    assert good in data
    path.write_bytes(data.replace(good, good[:1] + b"\xff" + good[2:]))
    with pytest.raises(ModelError, match="has a name that is not UTF-8"):
        load_model(path)


def function(name: str, calls: str) -> onnx.FunctionProto:
    node = helper.make_node(calls, ["a"], ["b"], domain="own")
    return helper.make_function("own", name, ["a"], ["b"], [node], [helper.make_opsetid("", 17)])


@pytest.mark.parametrize("calls", ["f", "g"])
def test_a_function_that_calls_itself_is_refused(tmp_path: Path, calls: str) -> None:
    path, model = tmp_path / "model.onnx", plain()
    model.functions.extend([function("g", "f"), function("f", "Relu")])
    path.write_bytes(model.SerializeToString())
    load_model(path)
    model.functions[1].node[0].op_type = calls
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"its function '[fg]' calls itself"):
        load_model(path)


def test_a_spec_that_is_no_spec_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    tiny_street(path)
    model = load_model(path)
    entry = next(p for p in model.metadata_props if p.key == "outrider")
    entry.value = entry.value.replace('"height":64', '"height":"tall"')
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"not valid at input\.height"):
        read_spec(path)


@pytest.mark.parametrize("location", ["/etc/hostname", "../outside.bin", "a/../../outside.bin", ""])
def test_external_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(8))
    with_external_weight(folder / "model.onnx", location)
    with pytest.raises(ModelError, match="outside the model's folder"):
        read_spec(folder / "model.onnx")


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(8))
    (folder / "inside.bin").symlink_to(tmp_path / "outside.bin")
    with_external_weight(folder / "model.onnx", "inside.bin")
    with pytest.raises(ModelError, match="outside the model's folder"):
        read_spec(folder / "model.onnx")


def linked(layout: str, folder: Path, model: Path, weights: Path) -> Path:
    """The model by links, as others keep files; both lie in ``folder`` when this is called."""
    beside, there = folder / "elsewhere", folder / "named"
    there.mkdir()
    if layout == "one link":  # the weights lie beside its target
        (there / "model.onnx").symlink_to(model)
        return there / "model.onnx"
    beside.mkdir()
    targets = {"hub": ("0" * 64, "1" * 64), "mounted": (model.name, weights.name)}
    for file, name in zip((model, weights), targets[layout], strict=True):
        file.rename(beside / name)
        (there / file.name).symlink_to(f"../elsewhere/{name}")
    return there / model.name


LAYOUTS = pytest.mark.parametrize("layout", ["hub", "mounted", "one link"])
"""As Hugging Face's cache, a Kubernetes volume and users do."""


@LAYOUTS
def test_weights_are_found_through_links_into_the_folder_of_the_models_true_file(
    tmp_path: Path, layout: str
) -> None:
    path = tmp_path / "model.onnx"
    with_external_weight(path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(np.arange(2, dtype=np.float32).tobytes())
    plain_hash = ModelFile(path).sha256
    assert ModelFile(path).for_runtime() == path
    link = linked(layout, tmp_path, path, tmp_path / "weights.bin")
    file = ModelFile(link)
    assert file.sha256 == plain_hash
    (weights,) = file.weights
    assert weights.read_bytes() == bytes(4) + b"\x00\x00\x80\x3f"  # 0 and 1
    whole = file.for_runtime()  # in one piece, with nothing left outside
    assert isinstance(whole, bytes)
    (made,) = onnx.load_from_string(whole).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(made), [0, 1])
    weights.write_bytes(bytes(8))
    assert ModelFile(link).sha256 != plain_hash


@LAYOUTS
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_every_runtime_opens_a_model_whose_weights_are_reached_by_links(
    tmp_path: Path, layout: str, engine: str
) -> None:
    path = tmp_path / "model.onnx"
    tiny_street(path)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    link = linked(layout, tmp_path, path, tmp_path / "w.bin")
    opened = open_engine(link, engine=engine)
    opened.close()


@pytest.mark.parametrize("via", ["a link", "two dots", "a link's folder"])
def test_a_linked_model_reads_no_more_files_than_those_of_its_two_folders(
    tmp_path: Path, via: str
) -> None:
    locations = {"two dots": "../outside.bin", "a link's folder": "sub/outside.bin"}
    location = locations.get(via, "inside.bin")
    real, named = tmp_path / "real", tmp_path / "named"
    for folder in (real, named):
        folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(8))
    (named / "inside.bin").symlink_to(tmp_path / "outside.bin")
    (named / "sub").symlink_to(tmp_path)
    with_external_weight(real / "model.onnx", location)
    (named / "model.onnx").symlink_to(real / "model.onnx")
    with pytest.raises(ModelError, match="outside the model's folder"):
        load_model(named / "model.onnx")


def test_weights_of_more_than_one_name_are_read(tmp_path: Path) -> None:
    """As in a store that keeps each content once; onnx's own loader refuses them."""
    path = tmp_path / "model.onnx"
    with_external_weight(path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(np.arange(2, dtype=np.float32).tobytes())
    (tmp_path / "again.bin").hardlink_to(tmp_path / "weights.bin")
    model = load_model(path)
    load_weights(model, path)
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), [0, 1])


@pytest.mark.parametrize("location", ["a\0b", "a" * 100_000, "\0", "a/" * 5_000 + "b"])
def test_a_place_that_no_file_can_have_is_refused_in_a_short_message(
    tmp_path: Path, location: str
) -> None:
    path = tmp_path / "model.onnx"
    with_external_weight(path, location)
    with pytest.raises(ModelError, match=r"missing|outside") as caught:
        load_model(path)
    assert len(str(caught.value)) < 700
    assert "\0" not in str(caught.value)


def test_external_weights_beside_the_file_are_taken_and_missing_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with_external_weight(path, "weights.bin")
    with pytest.raises(ModelError, match=r"'weights\.bin', which is missing"):
        read_spec(path)
    (tmp_path / "weights.bin").write_bytes(bytes(8))
    assert ModelFile(path).spec is None


def test_a_model_of_two_gigabytes_and_more_is_refused_where_it_is_worked_on_whole(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.onnx"
    with_external_weight(path, "weights.bin")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].dims[:] = [1 << 29]  # of 4 bytes: 2^31
    path.write_bytes(model.SerializeToString())
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(1 << 31)  # takes no room on the disk
    assert ModelFile(path).spec is None
    with pytest.raises(ModelError, match=r"is 2\.0 GiB with its weights, wanted less than 2:"):
        load_weights(load_model(path), path)


def test_an_external_weight_of_a_type_that_onnx_does_not_have_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with_external_weight(path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(bytes(8))
    model = onnx.load(path, load_external_data=False)
    name = model.graph.initializer[0].name
    model.graph.initializer[0].data_type = 99
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=f"its weight '{name}' is of type 99, which ONNX does not"):
        load_model(path)


def secret_weight() -> onnx.TensorProto:
    """A weight that lies outside of every folder of models."""
    weight = numpy_helper.from_array(np.ones(2, np.float32), "hidden")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../outside.bin"
    return weight


def with_hidden_weight(where: str) -> onnx.ModelProto:
    """A model that keeps such a weight in one of the places that ONNX has for tensors."""
    model = plain()
    weight = secret_weight()
    out = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2])]
    copied = [helper.make_node("Identity", ["hidden"], ["out"])]
    constant = [helper.make_node("Constant", [], ["out"], value=weight)]
    if where == "constant":
        model.graph.node.extend(constant)
    elif where == "function":
        made = helper.make_opsetid("", 17)
        model.functions.append(helper.make_function("own", "F", [], ["out"], constant, [made]))
    elif where == "sparse":
        sparse = model.graph.sparse_initializer.add()
        sparse.values.CopyFrom(weight)
    else:
        branch = helper.make_graph(copied, "branch", [], out, [weight])
        if where == "constant of a branch":
            branch = helper.make_graph(constant, "branch", [], out)
        choice = helper.make_node("If", ["yes"], ["o"], then_branch=branch, else_branch=branch)
        if where == "branch of a branch":
            outer = helper.make_graph([choice], "outer", [], out)
            choice = helper.make_node("If", ["yes"], ["o"], then_branch=outer, else_branch=outer)
        if where == "branch of a function":
            made = helper.make_opsetid("", 17)
            model.functions.append(helper.make_function("own", "F", [], ["o"], [choice], [made]))
        else:
            model.graph.node.append(choice)
    return model


@pytest.mark.parametrize(
    "where",
    [
        *("constant", "sparse", "function", "branch", "constant of a branch"),
        *("branch of a branch", "branch of a function"),
    ],
)
def test_external_weights_are_found_wherever_a_model_keeps_tensors(
    tmp_path: Path, where: str
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(8))
    path = folder / "model.onnx"
    path.write_bytes(with_hidden_weight(where).SerializeToString())
    with pytest.raises(ModelError, match=r"outside\.bin', outside the model's folder"):
        load_model(path)


def test_a_graph_that_the_checker_refuses_is_not_written(tmp_path: Path) -> None:
    model = plain()
    model.graph.node[0].input[0] = "nobody"
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    with pytest.raises(ModelError, match="checker refuses"):
        save_model(model, path)
    assert path.read_bytes() == b"old"


def test_saving_leaves_no_temporary_file_and_says_why_it_failed(tmp_path: Path) -> None:
    save_model(plain(), tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == ["model.onnx"]
    with pytest.raises(ModelError, match=r"cannot be written \(No such file"):
        save_model(plain(), tmp_path / "nowhere" / "model.onnx")
    (tmp_path / "taken.onnx").mkdir()
    with pytest.raises(ModelError, match="cannot be written"):
        save_model(plain(), tmp_path / "taken.onnx")
    assert sorted(os.listdir(tmp_path)) == ["model.onnx", "taken.onnx"]


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")  # FIPS 180-4, example B.1
    wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(path) == wanted
    with pytest.raises(ModelError, match="cannot be read"):
        sha256_of(tmp_path / "no")


def test_quantised_graphs_are_told_from_others(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    tiny_street(path, quantize=True)
    assert is_quantized(load_model(path))
    assert not is_quantized(plain())


def test_a_pipe_is_no_file_to_hash(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.onnx")
    with pytest.raises(ModelError, match="not a regular file"):
        sha256_of(tmp_path / "net.onnx")
