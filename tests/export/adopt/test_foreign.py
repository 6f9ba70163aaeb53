"""Foreign files: opsets, open sizes, initialisers, int8, outside weights, and what is no model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.model_file import read_spec
from tests.export.adopting import (
    adopt_file,
    adopt_net,
    refusal,
    run_adopted,
    run_foreign,
    with_metadata,
)
from tests.foreign_models import FOREIGN, colour_frame, options_for, ultralytics, yolo26, yolox


def with_input(model: onnx.ModelProto, *dims: int | str) -> onnx.ModelProto:
    """The graph with another input shape written on it; '' leaves a dimension unknown."""
    for dim, value in zip(model.graph.input[0].type.tensor_type.shape.dim, dims, strict=True):
        dim.Clear()
        if isinstance(value, int):
            dim.dim_value = value
        elif value:
            dim.dim_param = value
    return model


OPSETS = [
    pytest.param(opset, marks=[] if opset in (11, 13, 17, 21) else pytest.mark.slow)
    for opset in range(11, 22)
]
"""The first, the last, the one of the app's own files, and the one after most changes."""


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_opsets_11_to_21_are_adopted(tmp_path: Path, name: str, opset: int) -> None:
    done = adopt_net(FOREIGN[name](opset=opset), tmp_path, name=name)
    assert done.code == 0, done.said
    assert f"opset {opset}," in done.said
    assert "not proven" not in done.said


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_initialisers_may_be_listed_among_the_inputs(tmp_path: Path, name: str) -> None:
    model = FOREIGN[name](opset=11)
    model.ir_version = 3  # which wanted it so
    for tensor in model.graph.initializer:
        listed = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(listed)
    done = adopt_net(model, tmp_path, name=name)
    assert done.code == 0, done.said
    assert [i.name for i in onnx.load(done.file).graph.input] == ["image"]


@pytest.mark.parametrize("dims", [("n", 3, "h", "w"), ("", "", "", ""), (-1, 3, -1, -1)])
def test_an_open_size_is_the_one_in_the_metadata(
    tmp_path: Path, dims: tuple[int | str, ...]
) -> None:
    done = adopt_net(with_input(ultralytics(), *dims), tmp_path)
    assert done.code == 0, done.said
    spec = read_spec(done.file)
    assert (spec.input.height, spec.input.width) == (64, 96)


def test_an_open_size_that_nothing_says_is_asked_for(tmp_path: Path) -> None:
    message = refusal(adopt_net(with_input(yolox(), 1, 3, "h", "w"), tmp_path, name="yolox"), 2)
    assert "--size 384x640" in message
    model = with_input(yolox(), 1, 3, "h", "w")  # convolutions only: it runs at any size
    done = adopt_net(model, tmp_path, "--size", "96x128", name="yolox")
    assert done.code == 0, done.said
    spec = read_spec(done.file)
    assert (spec.input.height, spec.input.width) == (96, 128)


def test_a_dynamic_export_may_be_adopted_at_another_size_than_its_metadata_says(
    tmp_path: Path,
) -> None:
    model = with_input(ultralytics(32, 64), 1, 3, "h", "w")
    model = with_metadata(model, imgsz="[640, 640]")
    done = adopt_net(model, tmp_path, "--size", "32x64")
    assert done.code == 0, done.said


@pytest.mark.parametrize(
    ("size", "code", "said"),
    [
        ("32x64", 4, "--size 32x64 contradicts the graph, whose input is fixed at 64x96"),
        ("0x64", 2, "wanted HEIGHTxWIDTH"),
        ("64", 2, "wanted HEIGHTxWIDTH"),
        ("9000x9000", 2, "wanted HEIGHTxWIDTH of 1 to 8192"),
        ("", 2, "wanted HEIGHTxWIDTH"),
    ],
)
def test_a_size_that_contradicts_the_graph_or_is_none_is_refused(
    tmp_path: Path, size: str, code: int, said: str
) -> None:
    assert said in refusal(adopt_net("ultralytics", tmp_path, "--size", size), code)


@pytest.mark.parametrize("net", ["darknet", "yolov5", "yolox"])
def test_metadata_of_another_size_is_refused_in_any_family(tmp_path: Path, net: str) -> None:
    model = with_metadata(FOREIGN[net](), imgsz="[640, 640]")
    said = refusal(adopt_net(model, tmp_path, name=net))
    assert "the metadata says imgsz [640, 640], but the graph's input is 64x96" in said
    options = [*options_for(net, tmp_path), "--size", "64x96", "-o", str(tmp_path / "other.onnx")]
    assert "say so: --size 64x96" in said
    assert adopt_net(model, tmp_path, *options).code == 0


@pytest.mark.parametrize("imgsz", ["[96, 64]", "(1, 3, 64, 96)", "[64.0, 96.0]", "none"])
def test_a_size_written_otherwise_is_the_same_size(tmp_path: Path, imgsz: str) -> None:
    done = adopt_net(with_metadata(FOREIGN["yolov5"](), imgsz=imgsz), tmp_path, name="yolov5")
    assert done.code == 0, done.said


def test_numbers_of_thousands_of_digits_are_refused(tmp_path: Path) -> None:
    huge = "9" * 5000
    for entries in ({"imgsz": f"[{huge}, 96]"}, {"names": f"{{{huge}: 'a', 1: 'b'}}"}):
        refusal(adopt_net(with_metadata(ultralytics(), **entries), tmp_path))
    assert "wanted HEIGHTxWIDTH" in refusal(
        adopt_net("ultralytics", tmp_path, "--size", f"{huge}x96"), code=2
    )


def test_a_size_that_the_grids_do_not_fit_is_told_with_the_multiple(tmp_path: Path) -> None:
    model = with_input(ultralytics(), 1, 3, "h", "w")
    said = refusal(adopt_net(model, tmp_path, "--size", "64x100"))
    assert (
        "at 64x100 (height x width), wanted multiples of 32. Say another size with --size" in said
    )


@pytest.mark.parametrize("imgsz", ["[99999999999999999999, 640]", "[100000, 100000]"])
def test_a_size_beyond_all_memory_is_refused(tmp_path: Path, imgsz: str) -> None:
    model = with_metadata(with_input(ultralytics(), 1, 3, "h", "w"), imgsz=imgsz)
    assert "wanted at most 8192 a side" in refusal(adopt_net(model, tmp_path))


@pytest.mark.parametrize(
    ("dims", "kind", "said"),
    [
        ((2, 3, 64, 96), TensorProto.FLOAT, "one image a run, colour planes first"),
        ((1, 1, 64, 96), TensorProto.FLOAT, "one image a run, colour planes first"),
        ((1, 64, 96, 3), TensorProto.FLOAT, "one image a run, colour planes first"),
        ((1, 3, 64, 96), TensorProto.FLOAT16, "images float16[1, 3, 64, 96], wanted float32"),
        ((1, 3, 64, 96), TensorProto.UINT8, "images uint8[1, 3, 64, 96], wanted float32"),
        ((1, 3, 64, 96), 999, "its tensor 'images' is of type 999, which ONNX does not have"),
    ],
)
def test_an_input_that_is_no_float_image_is_refused(
    tmp_path: Path, dims: tuple[int, ...], kind: int, said: str
) -> None:
    model = with_input(ultralytics(), *dims)
    model.graph.input[0].type.tensor_type.elem_type = kind
    assert said in refusal(adopt_net(model, tmp_path))


def test_no_image_or_several_are_refused(tmp_path: Path) -> None:
    model = ultralytics()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 3]))
    assert "has 2 inputs (images float32[1, 3, 64, 96], mask float32[1, 3])" in refusal(
        adopt_net(model, tmp_path)
    )
    del model.graph.input[:]
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "images"))
    assert "has 0 inputs (none)" in refusal(adopt_net(model, tmp_path))


def test_an_original_size_is_refused_for_nets_that_have_no_use_for_it(tmp_path: Path) -> None:
    model = ultralytics()
    second = helper.make_tensor_value_info("original_size", TensorProto.INT64, [1, 2])
    model.graph.input.append(second)
    message = refusal(adopt_net(model, tmp_path))
    assert "has 2 inputs, the image and original_size int64[1, 2]" in message
    assert "the family ultralytics, which takes the image alone" in message
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.INT64, [1, 2]))
    assert "has 3 inputs" in refusal(adopt_net(model, tmp_path))


class _Calibration:
    def __init__(self) -> None:
        self.blobs: Iterator[NDArray[Any]] = (
            colour_frame(seed)[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
            for seed in range(3)
        )

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        blob = next(self.blobs, None)
        return None if blob is None else {"images": np.ascontiguousarray(blob)}


@pytest.mark.parametrize("form", ["dynamic", "QDQ"])
@pytest.mark.filterwarnings("default")  # of the quantiser's own making
def test_int8_files_are_adopted(tmp_path: Path, form: str) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    source, path = tmp_path / "f32.onnx", tmp_path / "net.onnx"
    model = FOREIGN["darknet"]()
    source.write_bytes(model.SerializeToString())
    if form == "dynamic":
        quantization.quantize_dynamic(source, path, weight_type=quantization.QuantType.QUInt8)
    else:
        quantization.quantize_static(
            source, path, _Calibration(), quant_format=quantization.QuantFormat.QDQ
        )
    made = onnx.load(path)
    kinds = {node.op_type for node in made.graph.node}
    assert kinds & {"ConvInteger", "QuantizeLinear"}
    kept = {p.key: p.value for p in model.metadata_props}
    path.write_bytes(with_metadata(made, **kept).SerializeToString())
    done = adopt_file(path)
    assert done.code == 0, done.said
    assert "not proven" not in done.said
    assert read_spec(done.file).precision == "int8"


def external(model: onnx.ModelProto, location: str, **more: str) -> tuple[onnx.ModelProto, bytes]:
    """The graph with its first weights in a file, and what belongs into that."""
    tensor = model.graph.initializer[0]
    data = bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return model, data


def test_weights_beside_the_model_become_part_of_the_adopted_file(tmp_path: Path) -> None:
    model, data = external(ultralytics(), "weights.bin")
    (tmp_path / "weights.bin").write_bytes(data)
    done = adopt_net(model, tmp_path)
    assert done.code == 0, done.said
    (tmp_path / "weights.bin").unlink()
    frame = colour_frame(9)
    blob = frame[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    wanted = run_foreign(ultralytics(), blob)["output0"]
    got = run_adopted(done.file, frame, "onnxruntime")["output0"]
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "a/../../secret.bin", ""])
def test_weights_that_leave_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    model, data = external(ultralytics(), location)
    (tmp_path / "secret.bin").write_bytes(data)
    assert "outside the model's folder" in refusal(adopt_net(model, folder))


def test_weights_of_a_nested_graph_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.ones(1, np.float32), "w")],
    )
    inner.initializer[0].ClearField("raw_data")
    inner.initializer[0].data_location = TensorProto.EXTERNAL
    entry = inner.initializer[0].external_data.add()
    entry.key, entry.value = "location", "../secret.bin"
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(4))
    model = ultralytics()
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["unused"], then_branch=inner, else_branch=inner)
    )
    message = refusal(adopt_net(model, folder))
    assert "'../secret.bin'" in message
    assert "outside" in message


@pytest.mark.parametrize(
    "more", [{"offset": "-5"}, {"offset": "99999"}, {"length": "abc"}, {"length": str(10**15)}]
)
def test_weights_at_impossible_places_are_refused(tmp_path: Path, more: dict[str, str]) -> None:
    model, data = external(ultralytics(), "weights.bin", **more)
    (tmp_path / "weights.bin").write_bytes(data)
    refusal(adopt_net(model, tmp_path))


def test_weights_behind_a_link_or_cut_short_or_missing_are_refused(tmp_path: Path) -> None:
    model, data = external(ultralytics(), "weights.bin")
    weights = tmp_path / "weights.bin"
    assert "which is missing" in refusal(adopt_net(model, tmp_path))
    weights.write_bytes(data[:10])
    refusal(adopt_net(model, tmp_path))
    weights.unlink()
    weights.symlink_to("/etc/hostname")
    assert "outside the model's folder" in refusal(adopt_net(model, tmp_path))


@pytest.mark.parametrize("size", [0, 10, 100, 2000])
def test_a_truncated_file_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(ultralytics().SerializeToString()[:size])
    assert f"got {size} bytes, wanted a whole ONNX file" in refusal(adopt_file(path))


@pytest.mark.parametrize("data", [b"hello", b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(5000)])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    assert "wanted a whole ONNX file" in refusal(adopt_file(path))


def test_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder.onnx"
    folder.mkdir()
    assert "Is a directory" in refusal(adopt_file(folder))
    assert "no such model file" in refusal(adopt_file(tmp_path / "missing.onnx"))
    assert "Is a directory" in refusal(adopt_file(Path(os.sep), "-o", tmp_path / "x.onnx"))


def test_metadata_that_is_no_text_does_not_stop_an_adoption(tmp_path: Path) -> None:
    data = with_metadata(ultralytics(), author="QQQQ").SerializeToString()
    path = tmp_path / "net.onnx"
    path.write_bytes(data.replace(b"QQQQ", b"\xff\xfe\xff\xfe"))
    done = adopt_file(path)
    assert done.code == 0, done.said


@pytest.mark.parametrize("fault", ["operator", "opset", "ir"])
def test_a_graph_that_does_not_run_is_refused(tmp_path: Path, fault: str) -> None:
    model = ultralytics()
    if fault == "operator":
        model.graph.node[0].op_type = "Bogus"
    elif fault == "opset":
        model.opset_import[0].version = 99
    else:
        model.ir_version = 99
    assert "ONNX Runtime cannot open it" in refusal(adopt_net(model, tmp_path))


@pytest.mark.parametrize("most", [True, False])
def test_outputs_that_grow_with_what_is_seen_are_refused(tmp_path: Path, most: bool) -> None:
    """Rows of the boxes above a score, as exports with NMS inside may have them."""
    model = yolo26()
    model.graph.node[-1].output[0] = "all"
    shape = numpy_helper.from_array(np.array([-1, 6]), "rows")
    score = numpy_helper.from_array(np.array(4), "score")
    limit = numpy_helper.from_array(np.array(0.01 if most else 2.0, np.float32), "limit")
    first = numpy_helper.from_array(np.array([0]), "first")
    model.graph.initializer.extend([shape, score, limit, first])
    model.graph.node.extend(
        [
            helper.make_node("Reshape", ["all", "rows"], ["table"]),
            helper.make_node("Gather", ["table", "score"], ["scores"], axis=1),
            helper.make_node("Greater", ["scores", "limit"], ["above"]),
            helper.make_node("Compress", ["table", "above"], ["few"], axis=0),
            helper.make_node("Unsqueeze", ["few", "first"], ["output0"]),
        ]
    )
    message = refusal(adopt_net(model, tmp_path))
    assert "output0 is [1, 0, 6] for a black image and [1," in message
    assert "wanted one shape that is not empty" in message


def test_an_adopted_file_is_not_adopted_again(tmp_path: Path) -> None:
    done = adopt_file(adopt_net("twinlite", tmp_path).file)
    assert done.code == 4
    assert "there is nothing to adopt" in done.said


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_a_family_that_the_net_is_not_of_is_refused(tmp_path: Path, name: str) -> None:
    other = "yolox" if name != "yolox" else "darknet"
    path = tmp_path / "net.onnx"
    path.write_bytes(FOREIGN[name]().SerializeToString())
    options = [*options_for(name, tmp_path), "--family", other]
    assert f"is no {other} net" in refusal(adopt_file(path, *options))


def test_an_unknown_family_names_the_known_ones(tmp_path: Path) -> None:
    done = adopt_net("ultralytics", tmp_path, "--family", "bogus")
    assert done.code == 2
    assert "'yolox', 'nanodet', 'detr', 'darknet', 'semantic'" in done.said


def test_outputs_of_no_family_are_named_in_the_refusal(tmp_path: Path) -> None:
    model = yolox()
    model.graph.node[-1].output[0] = "grid"
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), "flat"))
    model.graph.node.append(helper.make_node("Reshape", ["grid", "flat"], ["output"]))
    message = refusal(adopt_net(model, tmp_path, name="yolox"))
    assert "outputs output float32[882]: belongs to no family known here" in message
    assert "yolox: YOLOX with raw grids" in message


def test_the_reason_is_told_and_not_the_place_in_the_runtimes_source(tmp_path: Path) -> None:
    """What an exporter that is newer than the runtime gives."""
    model = ultralytics()
    model.ir_version = 1000
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    message = refusal(adopt_file(tmp_path / "net.onnx"))
    assert "Unsupported model IR version: 1000, max supported IR version" in message
    assert "onnxruntime_src" not in message


def test_a_file_name_that_is_no_text_does_not_stop_an_adoption(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"net\xff.onnx")
    path.write_bytes(ultralytics().SerializeToString())
    done = adopt_file(path)
    assert done.code == 0, done.said
    assert read_spec(done.file).name == "net?"


def test_class_names_cannot_command_a_terminal(tmp_path: Path) -> None:
    names = str(["red\x1b[31m\n", "\u00fcber"])
    done = adopt_net(with_metadata(ultralytics(), names=names), tmp_path)
    assert done.code == 0, done.said
    detection = read_spec(done.file).detection
    assert detection is not None
    assert detection.classes == ("red\\x1b[31m\\n", "\u00fcber")
