"""Conversion to FP16: typed strongly, what half cannot hold named, published only when proven."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge.settings.settings import SHIPPED_MODEL
from engines import open_engine
from engines.errors import ExportError, ModelError, OutriderError, SettingsError
from engines.model_file import read_spec, save_model, sha256_of
from engines.spec import InputSpec
from export.commands.precision import fp16
from export.fp16 import ranges
from export.fp16.convert import convert_file
from export.fp16.ranges import sensitive_nodes
from export.fp16.typed import KEPT_KEY, check_typed, to_float16
from export.onnx.graph import fold_constants, name_nodes, tensor_types
from export.onnx.half import HalfNet
from tests.export.planted import Steps, change, gain, pictures, plant
from tests.tiny_models import grey, paint, tiny_mask, tiny_street, tiny_yolov8, tiny_yolox

F, H, U8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8
SPEC = InputSpec("image", 32, 32)


def quiet(line: str) -> None:
    del line


def kept_in(path: Path) -> dict[str, str]:
    (entry,) = [p for p in onnx.load(str(path)).metadata_props if p.key == KEPT_KEY]
    return dict(json.loads(entry.value))


def graph(
    nodes: list[onnx.NodeProto], shape: tuple[int, ...], **constants: NDArray[np.generic]
) -> onnx.ModelProto:
    """``image`` uint8 (1, 32, 32, 3), cast to float32 as ``x``, then ``nodes`` to ``y``."""
    made = helper.make_graph(
        [helper.make_node("Cast", ["image"], ["x"], "first", to=F), *nodes],
        "made",
        [helper.make_tensor_value_info("image", U8, [1, 32, 32, 3])],
        [helper.make_tensor_value_info("y", F, shape)],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    name_nodes(model)
    return model


def node(op: str, inputs: list[str], output: str, **how: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], output, **how)


def run_half(model: onnx.ModelProto, level: int = 200) -> NDArray[np.float32]:
    image = np.full((1, 32, 32, 3), level, np.uint8)
    return HalfNet(model, origin="a test").run({"image": image}).outputs["y"]


# The command


def test_the_shipped_network_passes_on_the_synthetic_street(tmp_path: Path) -> None:
    said: list[str] = []
    made = convert_file(SHIPPED_MODEL, tmp_path / "street.onnx", say=said.append)
    assert made.kept == {}
    assert made.parity.boxes is not None
    assert made.parity.boxes.unmatched == 0
    assert any("synthetic street" in line for line in said)
    spec = read_spec(tmp_path / "street.onnx")
    assert spec.precision == "fp16"
    assert spec.source_sha256 == sha256_of(SHIPPED_MODEL)
    assert spec.outputs == read_spec(SHIPPED_MODEL).outputs
    # half the bytes but for names and the like
    assert (tmp_path / "street.onnx").stat().st_size < 0.55 * SHIPPED_MODEL.stat().st_size


@pytest.mark.parametrize("build", [tiny_street, tiny_yolov8, tiny_yolox, tiny_mask])
def test_every_family_converts_and_runs_in_the_app(tmp_path: Path, build: object) -> None:
    path = tmp_path / "a.onnx"
    build(path)  # type: ignore[operator]
    made = convert_file(path, frames=str(pictures(tmp_path / "frames")), say=quiet)
    assert made.target == tmp_path / "a.fp16.onnx"
    model = onnx.load(str(made.target))
    assert model.opset_import[0].version == 17
    check_typed(model, origin="a test")
    types = tensor_types(model, origin="a test")
    assert H in types.values()
    for n in model.graph.node:
        if n.op_type == "Cast":  # uint8 only at the edge, and only from and to a float
            pair = (types[n.input[0]], types[n.output[0]])
            assert pair in {(U8, H), (H, F), (F, H), (TensorProto.INT64, H), (H, U8)}
    assert model.graph.input[0].type.tensor_type.elem_type == U8
    open_engine(made.target, engine="onnxruntime").close()
    open_engine(made.target, engine="openvino").close()


def test_values_beyond_half_stay_in_fp32_and_are_named(tmp_path: Path) -> None:
    tiny_street(tmp_path / "a.onnx")
    # 255 · 1000 is past half; scaled back behind a ReLU, which the large value passes too
    steps: Steps = [gain(1000), ("Relu", []), gain(1 / 1000)]
    planted = plant(tmp_path / "a.onnx", tmp_path / "b.onnx", behind="Transpose", steps=steps)
    said: list[str] = []
    made = convert_file(planted, frames=str(pictures(tmp_path / "frames")), say=said.append)
    assert set(made.kept) == {"planted/Conv_0", "planted/Relu_1", "planted/Conv_2"}
    assert made.kept["planted/Conv_0"].startswith("values up to 2.55e+05")
    assert kept_in(made.target) == made.kept
    assert any("planted/Relu_1: inputs up to 2.55e+05" in line for line in said)
    # between the three no value is squeezed through half
    types = tensor_types(onnx.load(str(made.target)), origin="a test")
    assert types["planted_0"] == types["planted_1"] == types["planted_2"] == F


def test_a_node_can_be_kept_by_name(tmp_path: Path) -> None:
    tiny_mask(tmp_path / "a.onnx")
    plant(tmp_path / "a.onnx", tmp_path / "b.onnx", behind="Transpose", steps=[gain(1)])
    frames = str(pictures(tmp_path / "frames"))
    arguments = [str(tmp_path / "b.onnx"), "--frames", frames, "--keep"]
    done = CliRunner().invoke(fp16, [*arguments, "planted/Conv_0"])
    assert done.exit_code == 0, done.exception
    assert kept_in(tmp_path / "b.fp16.onnx") == {"planted/Conv_0": "asked for with --keep"}
    done = CliRunner().invoke(fp16, [*arguments, "planted/Conf_0"])
    assert isinstance(done.exception, SettingsError)
    assert "nearest are planted/Conv_0" in str(done.exception)


def test_calibration_misses_what_the_frames_do_not_show_and_the_proof_does_not(
    tmp_path: Path,
) -> None:
    """Even frames are black and measure nothing; odd ones are bright and overflow the proof."""
    tiny_mask(tmp_path / "a.onnx")
    steps = [gain(1000), gain(1 / 1000)]
    plant(tmp_path / "a.onnx", tmp_path / "b.onnx", behind="Transpose", steps=steps)
    (tmp_path / "frames").mkdir()
    for i in range(4):
        cv2.imwrite(str(tmp_path / "frames" / f"{i}.png"), grey(200 if i % 2 else 1))
    with pytest.raises(ExportError, match=r"'planted_0'.* leaves half's range") as failed:
        convert_file(tmp_path / "b.onnx", frames=str(tmp_path / "frames"), say=quiet)
    assert failed.value.exit_code == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "b.onnx", "frames"]


def test_boxes_that_move_are_refused_unless_that_is_said_to_do(tmp_path: Path) -> None:
    """A grid of 1/100 px at 500 px: half has 0.25 px there, so boxes of 8 px lose IoU."""
    tiny_yolov8(tmp_path / "a.onnx", 64, 544)

    def off(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            boxes = numpy_helper.to_array(tensor)
            if boxes.ndim == 3 and boxes.shape[1] == 4:
                moved = boxes + np.array([0.12, 0.12, 0, 0], np.float32)[None, :, None]
                tensor.CopyFrom(numpy_helper.from_array(moved.astype(np.float32), tensor.name))

    change(tmp_path / "a.onnx", tmp_path / "b.onnx", off)
    (tmp_path / "frames").mkdir()
    for i in range(4):
        image = paint(grey(75, width=544), (512 - 8 * i, 0, 544 - 8 * i, 32), i % 3)
        cv2.imwrite(str(tmp_path / "frames" / f"{i}.png"), image)
    arguments = [str(tmp_path / "b.onnx"), "--frames", str(tmp_path / "frames")]
    done = CliRunner().invoke(fp16, arguments)
    assert isinstance(done.exception, ExportError)
    assert "boxes have no partner with IoU >= 0.99" in str(done.exception)
    done = CliRunner().invoke(fp16, [*arguments, "--iou", "0.9"])
    assert done.exit_code == 0, done.exception


def test_too_few_boxes_are_no_proof_and_an_older_file_stays(tmp_path: Path) -> None:
    tiny_street(tmp_path / "a.onnx")
    (tmp_path / "frames").mkdir()
    for i in range(4):
        cv2.imwrite(str(tmp_path / "frames" / f"{i}.png"), grey(30 * i))
    (tmp_path / "a.fp16.onnx").write_bytes(b"an older one")
    with pytest.raises(ExportError, match="not proven in FP16: 0 boxes were found"):
        convert_file(tmp_path / "a.onnx", frames=str(tmp_path / "frames"), say=quiet)
    assert (tmp_path / "a.fp16.onnx").read_bytes() == b"an older one"


def test_what_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    frames = str(pictures(tmp_path / "frames"))
    tiny_street(tmp_path / "int8.onnx", quantize=True)
    tiny_mask(tmp_path / "mask.onnx")
    convert_file(tmp_path / "mask.onnx", tmp_path / "half.onnx", frames=frames, say=quiet)
    change(tmp_path / "mask.onnx", tmp_path / "bare.onnx", lambda m: m.ClearField("metadata_props"))
    cases: list[tuple[str, str | None, type[OutriderError], str]] = [
        ("int8.onnx", None, ExportError, "computes in int8"),
        ("half.onnx", None, ExportError, "float16 tensors already"),
        ("bare.onnx", None, ModelError, "edge-export adopt"),
        ("none.onnx", None, ModelError, "no such model file"),
        ("mask.onnx", "mask.onnx", SettingsError, "would be written over"),
        ("mask.onnx", "mask.engine", SettingsError, "wanted a name that ends in .onnx"),
        ("mask.onnx", "no/folder/here.onnx", ExportError, "cannot be written"),
    ]
    before = sorted(tmp_path.rglob("*"))
    for name, target, kind, words in cases:
        goal = tmp_path / target if target else None
        with pytest.raises(kind, match=words):
            convert_file(tmp_path / name, goal, frames=frames, say=quiet)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_names_the_target_and_leaves_what_was_there(tmp_path: Path) -> None:
    frames = str(pictures(tmp_path / "frames"))
    tiny_street(tmp_path / "a.onnx")
    target = tmp_path / "out" / "a.fp16.onnx"
    target.parent.mkdir()
    target.write_bytes(b"an older one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(ModelError) as refused:
            convert_file(tmp_path / "a.onnx", target, frames=frames, say=quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(refused.value).startswith(f"{target}: cannot be written (File too large). Name a")
    assert target.read_bytes() == b"an older one"
    assert list(target.parent.iterdir()) == [target]


# Which nodes stay


def sensitive(model: onnx.ModelProto, *levels: int) -> dict[str, str]:
    images = [grey(level, height=32, width=32) for level in levels or (200,)]
    return sensitive_nodes(model, SPEC, images, origin="a test")


def test_the_tensors_of_a_large_graph_are_watched_some_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranges, "WATCHED", 2)  # x a, b c, y: three sessions
    large = np.array([1000.0], np.float32)  # 200 · 1000 is beyond half's 65504
    model = graph(
        [node("Relu", ["x"], "a"), node("Mul", ["a", "k"], "b"), node("Relu", ["a"], "c"),
         node("Mul", ["c", "k"], "y")], (1, 32, 32, 3), k=large,
    )  # fmt: skip
    assert list(sensitive(model, 200, 100)) == ["b", "y"]


def test_weights_beyond_half_and_among_its_subnormals_are_found() -> None:
    model = graph(
        [
            node("Mul", ["x", "large"], "a"),
            node("Mul", ["a", "tiny"], "b"),
            node("Mul", ["b", "good"], "y"),
        ],
        (1, 32, 32, 3),
        large=np.array([7e4], np.float32),
        tiny=np.array([2e-8], np.float32),
        good=np.array([3], np.float32),
    )
    # 200 · 7e4 = 1.4e7 leaves half; · 2e-8 = 0.28 is back in it
    kept = sensitive(model)
    assert set(kept) == {"a", "b"}
    assert kept["a"] == "weights up to 7e+04, limit 65504"
    assert "inputs up to 1.4e+07" in kept["b"]


def test_values_whose_squares_leave_float32_are_large_and_not_broken() -> None:
    model = graph(
        [node("Mul", ["x", "up"], "a"), node("Mul", ["a", "down"], "y")],
        (1, 32, 32, 3),
        up=np.array([1e18], np.float32),
        down=np.array([1e-18], np.float32),
    )
    assert set(sensitive(model)) == {"a", "y"}


def test_weights_that_half_would_flatten_are_found() -> None:
    kept = sensitive(
        graph(
            [node("Mul", ["x", "tiny"], "a"), node("Mul", ["a", "back"], "y")],
            (1, 32, 32, 3),
            tiny=np.array([3.2e-7], np.float32),  # halves there are 6e-8 apart
            back=np.array([1e4], np.float32),
        )
    )
    assert "half loses" in kept["a"]


def test_a_branch_that_training_left_dead_is_no_reason_to_stay() -> None:
    model = graph(
        [node("Mul", ["x", "dead"], "a"), node("Add", ["x", "a"], "y")],
        (1, 32, 32, 3),
        dead=np.array([3.6e-20], np.float32),
    )
    assert sensitive(model) == {}


def test_headroom_is_kept_for_scenes_not_seen() -> None:
    def grown(by: float) -> dict[str, str]:
        return sensitive(
            graph([node("Mul", ["x", "k"], "y")], (1, 32, 32, 3), k=np.array([by], np.float32)), 200
        )

    # limit 65504 / 8 = 8188: 200 · 40 = 8000 passes, 200 · 41 = 8200 does not
    assert grown(40) == {}
    assert grown(41) == {"y": "values up to 8200, limit 8188"}


def test_a_mean_is_judged_by_the_sum_inside() -> None:
    kept = sensitive(
        graph([node("ReduceMean", ["x"], "y", axes=[1, 2], keepdims=1)], (1, 1, 1, 3)), 100
    )
    # 32 · 32 values of 100
    assert kept == {"y": "a mean of 1024 values, whose sum reaches 1.024e+05, limit 8188"}


def test_a_model_that_is_broken_in_fp32_already_is_refused() -> None:
    model = graph([node("Div", ["x", "zero"], "y")], (1, 32, 32, 3), zero=np.array([0], np.float32))
    with pytest.raises(ExportError, match="'y' is not finite in FP32 already"):
        sensitive(model)


# Typing


def test_weights_shared_by_both_kinds_exist_in_both() -> None:
    model = graph(
        [node("Mul", ["x", "k"], "a"), node("Add", ["a", "k"], "y")],
        (1, 32, 32, 3),
        k=np.array([1 / 3], np.float32),
    )
    made = to_float16(model, {"a"}, origin="a test")
    kinds = {t.name: t.data_type for t in made.graph.initializer}
    assert kinds == {"k": F, "k/float16": H}
    third = np.float32(np.float16(np.float32(200) / np.float32(3)) + np.float16(1 / 3))
    assert run_half(made).max() == np.float32(np.float16(third))


def test_one_cast_serves_all_that_want_it() -> None:
    model = graph(
        [
            node("Mul", ["x", "k"], "a"),
            node("Sigmoid", ["a"], "b"),
            node("Tanh", ["a"], "c"),
            node("Add", ["b", "c"], "y"),
        ],
        (1, 32, 32, 3),
        k=np.array([0.01], np.float32),
    )
    made = to_float16(model, {"a"}, origin="a test")
    casts = [(n.input[0], n.output[0]) for n in made.graph.node if n.op_type == "Cast"]
    assert casts == [("image", "x"), ("x", "x/float32"), ("a", "a/float16"), ("y/float16", "y")]


def test_an_output_of_a_kept_node_needs_no_cast() -> None:
    model = graph([node("Mul", ["x", "k"], "y")], (1, 32, 32, 3), k=np.array([1 / 3], np.float32))
    made = to_float16(model, {"y"}, origin="a test")
    assert made.graph.node[-1].op_type == "Mul"
    assert run_half(made).max() == np.float32(200) * np.float32(1 / 3)


def test_an_output_that_is_read_on_stays_half_inside_and_float32_outside() -> None:
    model = graph(
        [node("Mul", ["x", "k"], "y"), node("Relu", ["y"], "z")], (1, 32, 32, 3),
        k=np.array([1 / 3], np.float32),
    )  # fmt: skip
    model.graph.output.append(helper.make_tensor_value_info("z", F, [1, 32, 32, 3]))
    made = to_float16(model, (), origin="a test")
    types = tensor_types(made, origin="a test")
    assert types["y"] == types["z"] == F
    (relu,) = [n for n in made.graph.node if n.op_type == "Relu"]
    assert types[relu.input[0]] == H


def test_the_scales_of_a_resize_stay_float32_to_the_last_bit() -> None:
    scales = np.array([1, 1.3, 1.3, 1], np.float32)
    constant = helper.make_node(
        "Constant", [], ["scales"], "scales", value=numpy_helper.from_array(scales)
    )
    model = graph([constant, node("Resize", ["x", "", "scales"], "y")], (1, 41, 41, 3))
    fold_constants(model, origin="a test")
    made = to_float16(model, (), origin="a test")
    (held,) = [t for t in made.graph.initializer if t.name == "scales"]
    assert held.data_type == F
    assert numpy_helper.to_array(held).tolist() == scales.tolist()
    (resize,) = [n for n in made.graph.node if n.op_type == "Resize"]
    assert resize.input[2] == "scales"


def test_shape_arithmetic_is_done_beforehand() -> None:
    """2 · 32 · 100.02 = 6401.28 rows: in half it would be 6400 (halves are 4 apart there)."""
    model = graph(
        [
            node("Shape", ["x"], "shape"),
            node("Cast", ["shape"], "real", to=F),
            node("Mul", ["real", "k"], "more"),
            node("Cast", ["more"], "sizes", to=TensorProto.INT64),
            node("Expand", ["one", "sizes"], "grid"),
            node("ReduceMax", ["x"], "top", keepdims=0),
            node("Add", ["grid", "top"], "y"),
        ],
        (1, 6401, 32, 3),
        k=np.array([1, 200.04, 1, 1], np.float32),
        one=np.array([1], np.float32),
    )
    fold_constants(model, origin="a test")
    assert [n.op_type for n in model.graph.node] == ["Cast", "ReduceMax", "Add"]
    made = to_float16(model, (), origin="a test")
    assert run_half(made).shape == (1, 6401, 32, 3)


def test_shapes_behind_a_resize_whose_scales_are_computed_are_done_beforehand_too() -> None:
    model = graph(
        [
            node("Mul", ["half", "four"], "scales"),  # only when this is known...
            node("Resize", ["x", "", "scales"], "big"),
            node("Shape", ["big"], "shape"),  # ...is this
            node("Expand", ["one", "shape"], "grid"),
            node("Add", ["big", "grid"], "y"),
        ],
        (1, 64, 64, 3),
        half=np.array([1, 0.5, 0.5, 1], np.float32),
        four=np.array([1, 4, 4, 1], np.float32),
        one=np.array([1], np.float32),
    )
    fold_constants(model, origin="a test")
    assert [n.op_type for n in model.graph.node] == ["Cast", "Resize", "Add"]


def test_weights_that_are_not_what_their_shape_says_are_refused(tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    proto = onnx.load(str(model))
    (kernel, *_) = (t for t in proto.graph.initializer if len(t.dims) == 4)
    kernel.raw_data = kernel.raw_data[:-4]
    onnx.save(proto, str(model))
    with pytest.raises(ExportError, match=rf"its weights '{kernel.name}' are broken"):
        convert_file(model, say=quiet)


def test_an_output_that_is_constant_stays(tmp_path: Path) -> None:
    model = graph([node("Relu", ["x"], "y")], (1, 32, 32, 3), fixed=np.array([1], np.float32))
    model.graph.output.append(helper.make_tensor_value_info("fixed", F, [1]))
    made = to_float16(model, (), origin="a test")
    assert [t.data_type for t in made.graph.initializer] == [F]


def test_names_are_given_and_stay_apart() -> None:
    model = graph([node("Relu", ["x"], "a"), node("Relu", ["a"], "y")], (1, 32, 32, 3))
    for n in model.graph.node:
        n.name = "same"
    model.graph.node[0].name = ""
    name_nodes(model)
    assert [n.name for n in model.graph.node] == ["Cast_0", "same", "same_"]


def test_a_tensor_that_bears_the_name_of_a_cast_is_left_alone() -> None:
    model = graph(
        [node("Mul", ["x", "k"], "x/float16"), node("Add", ["x/float16", "k"], "y")],
        (1, 32, 32, 3),
        k=np.array([0.5], np.float32),
    )
    made = to_float16(model, {"first"}, origin="a test")
    assert run_half(made, 100).max() == 50.5


def test_an_operator_that_onnx_knows_in_float32_alone_stays_so_and_is_named() -> None:
    nms = node("NonMaxSuppression", ["boxes", "scores", "few"], "found")
    model = graph(
        [
            node("Reshape", ["x", "four"], "boxes"),
            node("ReduceMax", ["boxes", ], "top", axes=[2], keepdims=1),
            node("Transpose", ["top"], "scores", perm=[0, 2, 1]),
            nms,
            node("Cast", ["found"], "y", to=F),
        ],
        (0, 3),
        four=np.array([1, -1, 4], np.int64),
        few=np.array([2], np.int64),
    )  # fmt: skip
    kept = sensitive(model)
    assert kept == {"found": "ONNX defines no float16 NonMaxSuppression at this opset"}
    made = to_float16(model, kept, origin="a test")
    types = tensor_types(made, origin="a test")
    (node_,) = [n for n in made.graph.node if n.op_type == "NonMaxSuppression"]
    assert [types[i] for i in node_.input[:2]] == [F, F]


def test_the_spec_keeps_everything_but_precision_and_origin(tmp_path: Path) -> None:
    spec = tiny_yolov8(tmp_path / "a.onnx")
    made = convert_file(tmp_path / "a.onnx", frames=str(pictures(tmp_path / "frames")), say=quiet)
    source = sha256_of(tmp_path / "a.onnx")
    assert made.spec == replace(spec, precision="fp16", source_sha256=source)
    assert read_spec(made.target) == made.spec
    save_model(onnx.load(str(made.target)), tmp_path / "again.onnx")
