"""The command as a whole: files that TensorRT takes pass, planted faults are found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edge.settings.settings import SHIPPED_MODEL
from engines.errors import ExportError, ModelError, OutriderError, SettingsError
from engines.model_file import sha256_of
from export.commands.check_tensorrt import check_tensorrt
from export.fp16.convert import convert_file
from export.fp16.typed import KEPT_KEY, to_float16
from export.onnx.graph import fold_constants, name_nodes
from export.tensorrt.check.check import check_file, check_model, report_lines
from export.tensorrt.check.net import inputs_of, shape_of
from export.tensorrt.check.operators import RELEASES, release
from export.tensorrt.check.shapes import Profile
from tests.export.planted import pictures
from tests.export.test_cli import edge_export
from tests.export.trt_graphs import F64, I32, I64, U8, F, H, Tensor, check, f32, i64, model, node
from tests.foreign_models import FOREIGN
from tests.tiny_models import TINY_MODELS, tiny_street

INT64_MAX = np.iinfo(np.int64).max


@pytest.fixture(scope="session")
def half_street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network, converted by the project itself."""
    target = tmp_path_factory.mktemp("half") / "street.fp16.onnx"
    return convert_file(SHIPPED_MODEL, target, say=lambda _: None).target


# What passes


@pytest.mark.parametrize("trt", RELEASES)
def test_the_shipped_network_passes(trt: str) -> None:
    report = check_file(SHIPPED_MODEL, trt)
    assert report.findings == ()
    assert report.taken


@pytest.mark.parametrize("trt", RELEASES)
def test_its_fp16_form_passes(half_street: Path, trt: str) -> None:
    report = check_file(half_street, trt)
    assert report.findings == ()
    assert report.precision == "FP16"


def as_half(made: onnx.ModelProto) -> onnx.ModelProto:
    """As ``edge-export fp16`` writes it, without the proof."""
    name_nodes(made)
    fold_constants(made, origin="a test")
    return to_float16(made, (), origin="a test")


@pytest.mark.parametrize("family", TINY_MODELS)
def test_every_family_passes_in_fp32_and_fp16(tmp_path: Path, family: str) -> None:
    TINY_MODELS[family](tmp_path / "a.onnx")
    made = onnx.load(str(tmp_path / "a.onnx"))
    half = as_half(onnx.load(str(tmp_path / "a.onnx")))
    for trt in RELEASES:
        assert check(made, trt).findings == ()
        assert check(half, trt).findings == ()
        assert check(half, trt).precision == "FP16"


@pytest.mark.parametrize("name", FOREIGN)
def test_every_foreign_net_passes_once_its_open_sizes_are_fixed(name: str) -> None:
    for opset in (13, 17, 20):
        made = FOREIGN[name](64, 96, opset=opset)
        open_ones = [i for i in inputs_of(made) if None in shape_of(i)]
        fixed = {i.name: tuple(n or 1 for n in shape_of(i)) for i in open_ones}
        profiles = {name: Profile(shape, shape, shape) for name, shape in fixed.items()}
        assert check(made, profiles=profiles).findings == ()
        assert [(f.rule, f.node) for f in check(made).errors] == [
            ("shape", f"input {name}") for name in fixed
        ]


@pytest.mark.parametrize("trt", RELEASES)
@pytest.mark.parametrize(
    "name", ["nanodet_m_416", "twinlitenet_360x640", "yolo-fastest-1.1-xl", "yolox_nano"]
)
def test_real_float_models_pass(shared: Path, name: str, trt: str) -> None:
    assert check_file(shared / "models" / f"{name}.onnx", trt).findings == ()


@pytest.mark.parametrize("trt", RELEASES)
def test_the_dynamic_int8_model_is_refused_for_its_operators_alone(shared: Path, trt: str) -> None:
    report = check_file(shared / "models" / "yolov8n_int8.onnx", trt)
    assert {(f.rule, f.operator) for f in report.findings} == {
        ("operator", "DynamicQuantizeLinear"),
        ("operator", "ConvInteger"),
    }
    assert len(report.findings) == 59 + 64  # one a node
    assert report.precision == "int8 in parts"


# What is found, each in a network that passes without it

NETWORK_INPUT: dict[str, Tensor] = {"image": (U8, [1, 8, 8, 3])}


def street(kind: int = H, *, metadata: dict[str, str] | None = None) -> onnx.ModelProto:
    """A network like the shipped one: image uint8, boxes float32, labels uint8, in ``kind``."""
    dtype = np.float16 if kind == H else np.float32
    made = model(
        node("Cast", "image", "first", to=kind),
        node("Transpose", "first", "planes", perm=[0, 3, 1, 2]),
        node("Conv", "planes w", "conv", kernel_shape=[1, 1]),
        node("Relu", "conv", "relu"),
        node("Resize", "relu - scales", "wide", mode="nearest", nearest_mode="floor",
             coordinate_transformation_mode="asymmetric"),
        node("MaxPool", "wide", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Add", "pool relu", "sum"),
        node("Cast", "sum", "boxes", to=F),
        node("ArgMax", "sum", "best", axis=1, keepdims=0),
        node("Cast", "best", "rounded", to=kind),
        node("Cast", "rounded", "labels", to=U8),
        inputs=NETWORK_INPUT,
        outputs={"boxes": (F, [1, 4, 8, 8]), "labels": (U8, [1, 8, 8])},
        metadata=metadata,
        w=np.ones((4, 3, 1, 1), dtype),
        scales=np.array([1, 1, 2, 2], np.float32),
    )  # fmt: skip
    onnx.checker.check_model(made, full_check=True)
    return made


def at(made: onnx.ModelProto, name: str) -> onnx.NodeProto:
    found: onnx.NodeProto = next(n for n in made.graph.node if n.name == name)
    return found


def insert(made: onnx.ModelProto, *nodes: onnx.NodeProto, before: str) -> None:
    i = [n.name for n in made.graph.node].index(before)
    for k, new in enumerate(nodes):
        made.graph.node.insert(i + k, new)


def constant(made: onnx.ModelProto, name: str, values: Any) -> None:
    made.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))


def behind_relu(made: onnx.ModelProto, *nodes: onnx.NodeProto, out: str) -> None:
    """Put nodes that end in ``out`` between the convolution's ReLU and the sum."""
    insert(made, *nodes, before="sum")
    at(made, "sum").input[1] = out


def unknown_operator(made: onnx.ModelProto) -> None:
    at(made, "relu").op_type = "Wobble"


def plugin(made: onnx.ModelProto) -> None:
    at(made, "relu").domain = "com.example"
    made.opset_import.append(helper.make_opsetid("com.example", 1))


def unsupported(made: onnx.ModelProto) -> None:
    behind_relu(made, node("Det", "relu", "det"), out="det")


def new_opset(made: onnx.ModelProto) -> None:
    made.opset_import[0].version = 21


def old_opset(made: onnx.ModelProto) -> None:
    made.opset_import[0].version = 8


def image_used_as_uint8(made: onnx.ModelProto) -> None:
    at(made, "first").input[0] = "turned"
    insert(made, node("Transpose", "image", "turned", perm=[0, 2, 1, 3]), before="first")


def image_cast_to_integers(made: onnx.ModelProto) -> None:
    at(made, "first").input[0] = "whole"
    insert(made, node("Cast", "image", "whole", to=I32), before="first")


def labels_straight_from_argmax(made: onnx.ModelProto) -> None:
    at(made, "labels").input[0] = "best"


def uint8_inside(made: onnx.ModelProto) -> None:
    behind_relu(
        made, node("Cast", "relu", "small", to=U8), node("Cast", "small", "back", to=H), out="back"
    )


def labels_read_again(made: onnx.ModelProto) -> None:
    made.graph.node.append(node("Cast", "labels", "again", to=F))
    made.graph.output.append(helper.make_tensor_value_info("again", F, [1, 8, 8]))


def mixed_inputs(made: onnx.ModelProto) -> None:
    constant(made, "one", np.ones((1,), np.float32))
    behind_relu(made, node("Mul", "relu one", "scaled"), out="scaled")


def half_scales(made: onnx.ModelProto) -> None:
    held = next(t for t in made.graph.initializer if t.name == "scales")
    held.CopyFrom(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float16), "scales"))


def power_of_another_type(made: onnx.ModelProto) -> None:
    constant(made, "two", np.array(2, np.float32))
    behind_relu(made, node("Pow", "relu two", "square"), out="square")


def island(made: onnx.ModelProto) -> None:
    behind_relu(
        made,
        node("Cast", "relu", "up", to=F),
        node("Exp", "up", "exp"),
        node("Cast", "exp", "down", to=H),
        out="down",
    )


def open_batch(made: onnx.ModelProto) -> None:
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def large_integer(made: onnx.ModelProto) -> None:
    constant(made, "large", i64(2**40))
    at(made, "rounded").input[0] = "more"
    insert(made, node("Add", "best large", "more"), before="rounded")


def slice_from_beyond(made: onnx.ModelProto) -> None:
    constant(made, "start", i64(2**40))
    constant(made, "end", i64(INT64_MAX))
    constant(made, "axis", i64(1))
    behind_relu(made, node("Slice", "relu start end axis", "cut"), out="cut")


def integers_multiplied(made: onnx.ModelProto) -> None:
    constant(made, "table", np.ones((8, 8), np.int64))
    at(made, "rounded").input[0] = "product"
    insert(made, node("MatMul", "best table", "product"), before="rounded")


def cubic(made: onnx.ModelProto) -> None:
    next(a for a in at(made, "wide").attribute if a.name == "mode").s = b"cubic"


def pool_dilated(made: onnx.ModelProto) -> None:
    at(made, "pool").attribute.append(helper.make_attribute("dilations", [1, 1 + 1]))


def sixteen_bits(made: onnx.ModelProto) -> None:
    at(made, "rounded").input[0] = "short"
    insert(made, node("Cast", "best", "short", to=onnx.TensorProto.INT16), before="rounded")


def output_declared_otherwise(made: onnx.ModelProto) -> None:
    made.graph.output[0].type.tensor_type.elem_type = H


def text_input(made: onnx.ModelProto) -> None:
    kind = onnx.TensorProto.STRING
    made.graph.input.append(helper.make_tensor_value_info("words", kind, [1]))


def reads_what_nobody_makes(made: onnx.ModelProto) -> None:
    at(made, "relu").input[0] = "nothing"


def out_of_order(made: onnx.ModelProto) -> None:
    nodes = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend([*nodes[:2], nodes[3], nodes[2], *nodes[4:]])


def attribute_missing(made: onnx.ModelProto) -> None:
    del at(made, "best").attribute[:]
    del at(made, "boxes").attribute[:]


def attribute_of_another_type(made: onnx.ModelProto) -> None:
    del at(made, "pool").attribute[:]
    at(made, "pool").attribute.append(helper.make_attribute("kernel_shape", "wide"))


FAULTS: dict[Callable[[onnx.ModelProto], None], list[tuple[str, str]]] = {
    unknown_operator: [("operator", "relu")],
    plugin: [("operator", "relu")],
    unsupported: [("operator", "det")],
    new_opset: [("opset", "the file")],
    old_opset: [("opset", "the file")],
    image_used_as_uint8: [("uint8", "turned"), ("uint8", "first")],
    image_cast_to_integers: [("uint8", "whole")],
    labels_straight_from_argmax: [("uint8", "labels")],
    uint8_inside: [("uint8", "small"), ("uint8", "back")],
    labels_read_again: [("uint8", "labels"), ("uint8", "again")],
    mixed_inputs: [("typing", "scaled")],
    half_scales: [("typing", "wide")],
    power_of_another_type: [("typing", "square")],
    island: [("island", "exp")],
    open_batch: [("shape", "input image")],
    large_integer: [("int64", "more")],
    slice_from_beyond: [("int64", "cut")],
    integers_multiplied: [("type", "product")],
    cubic: [("resize-mode", "wide")],
    pool_dilated: [("dilations-1", "pool")],
    sixteen_bits: [("type", "short"), ("type", "rounded")],
    output_declared_otherwise: [("typing", "output boxes")],
    text_input: [("type", "input words")],
    reads_what_nobody_makes: [("onnx", "relu")],
    out_of_order: [("onnx", "relu")],
    attribute_missing: [("onnx", "boxes")],
    attribute_of_another_type: [("onnx", "pool")],
}
"""What is planted, and what is to be found: nothing less, nothing more."""


@pytest.mark.parametrize("kind", [F, H])
@pytest.mark.parametrize("trt", RELEASES)
def test_the_network_without_a_fault_passes(kind: int, trt: str) -> None:
    assert check(street(kind), trt).findings == ()


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found_and_nothing_else(
    plant: Callable[[onnx.ModelProto], None],
) -> None:
    made = street()
    plant(made)
    report = check(made)
    assert not report.taken
    assert [(f.rule, f.node) for f in report.errors] == FAULTS[plant]
    for finding in report.errors:
        assert finding.problem
        assert finding.way_out
    text = "\n".join(report_lines(report))
    for _, name in FAULTS[plant]:
        assert name in text
    assert "way out: " in text


def test_an_island_that_the_file_names_is_none() -> None:
    made = street(metadata={KEPT_KEY: json.dumps({"exp": "values up to 2.55e+05"})})
    island(made)
    report = check(made)
    assert report.findings == ()
    assert report.precision == "FP16, 1 named to stay in FP32"


@pytest.mark.parametrize("text", ["no JSON", "[1]"])
def test_broken_names_of_kept_nodes_name_nothing(text: str) -> None:
    made = street(metadata={KEPT_KEY: text})
    island(made)
    assert [(f.rule, f.node) for f in check(made).errors] == [("island", "exp")]


def test_kept_nodes_of_a_real_conversion_pass_and_are_islands_without_their_names(
    tmp_path: Path,
) -> None:
    tiny_street(tmp_path / "a.onnx")
    plain = onnx.load(str(tmp_path / "a.onnx"))
    name_nodes(plain)
    keep = [next(n.name for n in plain.graph.node if n.op_type == "AveragePool")]
    frames = str(pictures(tmp_path / "frames"))
    made = convert_file(tmp_path / "a.onnx", frames=frames, keep=keep, say=lambda _: None)
    assert check_file(made.target, "10.3").findings == ()
    bare = onnx.load(str(made.target))
    kept = [p for p in bare.metadata_props if p.key != KEPT_KEY]
    del bare.metadata_props[:]
    bare.metadata_props.extend(kept)
    assert [(f.rule, f.node) for f in check(bare).errors] == [("island", keep[0])]


def test_an_operator_that_the_table_lacks_is_a_warning() -> None:
    made = model(node("Swish", "x", "y"), opset=24)
    report = check(made, "10.16")
    assert report.taken
    (finding,) = report.findings
    assert (finding.level, finding.node, finding.operator) == ("warning", "y", "Swish")
    assert "unknown for this version" in finding.problem


def test_float64_is_a_warning() -> None:
    made = model(node("Exp", "x", "y"), inputs={"x": (F64, [1, 4])}, outputs={"y": (F64, None)})
    report = check(made)
    assert report.taken
    assert [(f.level, f.rule, f.node) for f in report.findings] == [("warning", "float64", "y")]


# No false alarms

SIZE = 8
FLOATS: dict[int, type[np.floating[Any]]] = {F: np.float32, H: np.float16}
STEPS: list[Callable[[str, str], list[onnx.NodeProto]]] = [
    lambda x, y: [node("Relu", x, y)],
    lambda x, y: [node("Sigmoid", x, y)],
    lambda x, y: [node("LeakyRelu", x, y, alpha=0.1)],
    lambda x, y: [node("Clip", f"{x} zero one", y)],
    lambda x, y: [node("Conv", f"{x} w b", y, kernel_shape=[3, 3], pads=[1, 1, 1, 1])],
    lambda x, y: [node("Add", f"{x} one", y)],
    lambda x, y: [node("Pow", f"{x} one", y)],
    lambda x, y: [node("PRelu", f"{x} slope", y)],
    lambda x, y: [node("BatchNormalization", f"{x} four four four four", y)],
    lambda x, y: [node("MaxPool", x, y, kernel_shape=[3, 3], pads=[1, 1, 1, 1])],
    lambda x, y: [node("AveragePool", x, y, kernel_shape=[3, 3], pads=[1, 1, 1, 1])],
    lambda x, y: [node("Softmax", x, y, axis=1)],
    lambda x, y: [node("ReduceMean", x, f"{y}m", axes=[1]), node("Add", f"{x} {y}m", y)],
    lambda x, y: [node("Split", x, f"{y}a {y}b", axis=1), node("Concat", f"{y}b {y}a", y, axis=1)],
    lambda x, y: [node("Slice", f"{x} start end axis", y)],
    lambda x, y: [
        node("Resize", f"{x} - double", f"{y}w", mode="linear"),
        node("AveragePool", f"{y}w", y, kernel_shape=[2, 2], strides=[2, 2]),
    ],
    lambda x, y: [
        node("Resize", f"{x} - - sizes", y, mode="nearest", nearest_mode="floor"),
    ],
    lambda x, y: [node("Reshape", f"{x} flat", f"{y}f"), node("Reshape", f"{y}f whole", y)],
    lambda x, y: [
        node("Transpose", x, f"{y}t", perm=[0, 2, 3, 1]),
        node("Transpose", f"{y}t", y, perm=[0, 3, 1, 2]),
    ],
    lambda x, y: [node("Shape", x, f"{y}s"), node("Expand", f"{x} {y}s", y)],
    lambda x, y: [
        node("Shape", x, f"{y}s", start=2),
        node("Cast", f"{y}s", f"{y}c", to=F),
        node("Mul", f"{y}c half", f"{y}h"),
        node("Concat", f"ones {y}h", f"{y}k", axis=0),
        node("Identity", f"{y}k", f"{y}i"),
        node("Div", f"{y}i {y}i", f"{y}d"),
        node("Resize", f"{x} - {y}d", y, mode="nearest", nearest_mode="floor"),
    ],
    lambda x, y: [node("TopK", f"{x} k", f"{y} {y}i", axis=3)],
    lambda x, y: [
        node("ArgMax", x, f"{y}g", axis=1, keepdims=1),
        node("Gather", f"{x} order", f"{y}o", axis=1),
        node("GatherElements", f"{y}o {y}g", f"{y}e", axis=1),
        node("Add", f"{x} {y}e", y),
    ],
    lambda x, y: [node("Pad", f"{x} pads", f"{y}p"), node("Slice", f"{y}p at to axes", y)],
    lambda x, y: [node("Greater", f"{x} zero", f"{y}g"), node("Where", f"{y}g {x} one", y)],
]
"""Steps that keep (1, 4, 8, 8); what they read beside stands in ``beside``."""


def beside(dtype: type[np.floating[Any]]) -> dict[str, Any]:
    one = np.ones((1,), dtype)
    return {
        "zero": np.array(0, dtype), "one": np.array(1, dtype), "slope": one.reshape(1, 1, 1),
        "w": np.ones((4, 4, 3, 3), dtype), "b": np.ones(4, dtype), "four": np.ones(4, dtype),
        "start": i64(0), "end": i64(INT64_MAX), "axis": i64(1),
        "double": np.array([1, 1, 2, 2], np.float32), "sizes": i64(1, 4, SIZE, SIZE),
        "half": np.array(0.5, np.float32), "ones": np.ones(2, np.float32), "k": i64(SIZE),
        "flat": i64(1, 4, -1), "whole": i64(1, 4, SIZE, SIZE), "order": i64(3, 2, 1, 0),
        "pads": i64(0, 0, 1, 1, 0, 0, 1, 1), "at": i64(1, 1), "to": i64(-1, INT64_MAX),
        "axes": i64(2, 3),
    }  # fmt: skip


def chain(kind: int, steps: list[int]) -> onnx.ModelProto:
    """uint8 image → ``kind`` → the steps → float32, and labels in uint8."""
    nodes = [node("Cast", "image", "v0", to=kind)]
    for i, step in enumerate(steps):
        nodes += STEPS[step](f"v{i}", f"v{i + 1}")
    last = f"v{len(steps)}"
    nodes += [
        node("Cast", last, "boxes", to=F),
        node("ArgMax", last, "best", axis=1),
        node("Cast", "best", "rounded", to=kind),
        node("Cast", "rounded", "labels", to=U8),
    ]
    read = {name for n in nodes for name in n.input}
    return model(
        *nodes,
        inputs={"image": (U8, [1, 4, SIZE, SIZE])},
        outputs={"boxes": (F, None), "labels": (U8, None)},
        **{k: v for k, v in beside(FLOATS[kind]).items() if k in read},
    )


CHAINS = st.lists(st.integers(0, len(STEPS) - 1), max_size=8)


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("step", range(len(STEPS)))
def test_no_single_step_raises_a_false_alarm(kind: int, step: int) -> None:
    made = chain(kind, [step])
    for trt in RELEASES:
        assert check(made, trt).findings == ()


@settings(max_examples=60, deadline=None)
@example(kind=F, steps=[20, 20], trt="10.3")  # folds in two rounds
@given(kind=st.sampled_from([F, H]), steps=CHAINS, trt=st.sampled_from(list(RELEASES)))
def test_no_sound_chain_of_steps_raises_a_false_alarm(
    kind: int, steps: list[int], trt: str
) -> None:
    made = chain(kind, steps)
    assert check(made, trt).findings == ()


@settings(max_examples=40, deadline=None)
@given(steps=CHAINS, where=st.integers(0, 8))
def test_one_float32_among_the_half_ones_is_always_found(steps: list[int], where: int) -> None:
    made = chain(H, steps)
    i = min(where, len(steps))
    value = f"v{i}"
    insert(made, node("Add", f"{value} alien", "planted"), before=_reader(made, value))
    constant(made, "alien", f32(1))
    assert ("typing", "planted") in {(f.rule, f.node) for f in check(made).errors}


def _reader(made: onnx.ModelProto, value: str) -> str:
    reader: str = next(n.name for n in made.graph.node if value in n.input)
    return reader


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_reported_or_refused_and_never_a_fault_of_ours(
    data: st.DataObject,
) -> None:
    made = chain(data.draw(st.sampled_from([F, H])), data.draw(CHAINS))
    for _ in range(data.draw(st.integers(1, 3))):
        node = data.draw(st.sampled_from(list(made.graph.node)))
        damage = data.draw(st.sampled_from(["operator", "input", "output", "attribute", "weight"]))
        if damage == "operator":
            node.op_type = data.draw(st.sampled_from(sorted(release("11.4").operators)))
        elif damage in ("input", "output"):
            names = node.input if damage == "input" else node.output
            del names[data.draw(st.integers(0, 3)) :]
        elif damage == "attribute":
            name = data.draw(st.sampled_from(["axis", "axes", "kernel_shape", "to", "mode"]))
            value: Any = data.draw(st.sampled_from([7, -9, "text", [3], [1.5], 0.0]))
            node.attribute.append(helper.make_attribute(name, value))
        elif made.graph.initializer:
            tensor = data.draw(st.sampled_from(list(made.graph.initializer)))
            shape = data.draw(st.sampled_from([(), (0,), (2,), (1, 4, 2)]))
            kind = data.draw(st.sampled_from([np.int64, np.float32, np.float16, np.uint8]))
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(shape, kind), tensor.name))
    try:
        said = report_lines(check(made, data.draw(st.sampled_from(list(RELEASES))), dla=True))
    except OutriderError as exc:
        said = [str(exc)]
    assert "graph " in said[0] or said[0].startswith("a test: ")


def test_broken_weights_are_refused_by_name() -> None:
    made = street()
    made.graph.initializer[0].raw_data = b"123"
    with pytest.raises(ExportError, match="a test: its weights 'w' are broken"):
        check(made)


# The command


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(check_tensorrt, [str(a) for a in arguments])


def test_the_command_says_what_it_checked_and_exits_0() -> None:
    done = edge_export("check-tensorrt", SHIPPED_MODEL)
    assert done.returncode == 0, done.stderr
    assert "against      TensorRT 10.3 (Jetson Orin with JetPack 6)" in done.stderr
    assert "nothing found that TensorRT 10.3 would refuse" in done.stderr
    assert done.stdout == ""


def test_a_refused_file_exits_4_with_the_node_and_the_way_out(tmp_path: Path) -> None:
    made = street()
    mixed_inputs(made)
    onnx.save(made, str(tmp_path / "a.onnx"))
    done = edge_export("check-tensorrt", tmp_path / "a.onnx")
    assert done.returncode == 4
    assert "error        scaled (Mul): mixes float16 and float32, relu, one\n" in done.stderr
    assert "way out: cast one of them" in done.stderr
    assert done.stderr.endswith("will not take it: 1 error, told above with the way out of each.\n")
    assert "Traceback" not in done.stderr


def test_the_report_as_json_names_every_node(tmp_path: Path) -> None:
    made = street()
    uint8_inside(made)
    path, target = tmp_path / "a.onnx", tmp_path / "report.json"
    onnx.save(made, str(path))
    done = run(path, "--json", target, "--trt", "11.4", "--dla")
    assert isinstance(done.exception, ExportError)
    report = json.loads(target.read_text())
    assert report["sha256"] == sha256_of(path)
    assert report["taken"] is False
    assert (report["tensorrt"], report["opset"], report["nodes"]) == ("11.4", 17, 13)
    assert [f["node"] for f in report["findings"] if f["rule"] == "uint8"] == ["small", "back"]
    assert set(report["findings"][0]) == {
        "level", "rule", "node", "operator", "problem", "way_out", "tensors",
    }  # fmt: skip
    assert {layer["node"] for layer in report["dla"]["layers"]} >= {"conv", "relu"}
    again = run(path, "--json", "-")
    assert json.loads(again.stdout)["findings"]


def test_many_nodes_with_one_fault_are_one_line() -> None:
    made = model(*(node("Det", "x", f"d{i}") for i in range(5)))
    (line,) = [text for text in report_lines(check(made)) if text.startswith("error")]
    assert line == "error        d0, d1, d2 and 2 more (Det): is not taken by TensorRT 10.3"


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.onnx"):
        check_file(path, "10.3")


def test_a_report_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    done = run(SHIPPED_MODEL, "--json", tmp_path / "none" / "report.json")
    assert isinstance(done.exception, ExportError)
    assert "cannot be written" in str(done.exception)
    assert "Name a writable file with --json" in str(done.exception)


def test_a_profile_for_no_input_is_a_wrong_setting() -> None:
    done = run(SHIPPED_MODEL, "--profile", "imago=1x3x8x8")
    assert isinstance(done.exception, SettingsError)
    assert "no such input; it has image" in str(done.exception)


def test_the_checked_model_is_left_as_it_was() -> None:
    made = street()
    for n in made.graph.node:
        n.name = ""
    before = made.SerializeToString()
    check_model(made, "10.3", dla=True, origin="a test")
    assert made.SerializeToString() == before


def test_a_function_of_the_file_is_looked_into() -> None:
    opset = [helper.make_opsetid("", 17)]
    inner = helper.make_function(
        "own", "Twice", ["a"], ["b"], [node("Det", "a", "b")], opset_imports=opset
    )
    made = model(helper.make_node("Twice", ["x"], ["y"], "call", domain="own"), domains=["own"])
    made.functions.append(inner)
    report = check(made)
    assert [(f.rule, f.operator) for f in report.errors] == [("operator", "Det")]


def test_integers_of_a_tensor_that_is_no_constant_are_not_judged() -> None:
    made = model(node("Abs", "n", "y"), inputs={"n": (I64, [1])}, outputs={"y": (I64, [1])})
    assert check(made).findings == ()
