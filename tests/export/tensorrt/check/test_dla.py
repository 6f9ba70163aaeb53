"""What a DLA could run: by layer, at the edges of each public rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from edge.settings.settings import SHIPPED_MODEL
from export.tensorrt.check.check import check_file, report_lines
from export.tensorrt.check.dla import JUDGES
from export.tensorrt.check.operators import RELEASES, release
from tests.export.trt_graphs import I64, F, H, check, f32, i64, model, node


def verdict(made: onnx.ModelProto, name: str = "y") -> str:
    """Why the DLA cannot run the node; empty where it can."""
    report = check(made, dla=True)
    assert report.layers is not None
    layer = next(x for x in report.layers if x.node == name)
    assert layer.eligible == (layer.reason == "")
    return layer.reason


def one(op: str, inputs: str = "x", *, shape: Any = (1, 4, 8, 12), opset: int = 17,
        also: dict[str, Any] | None = None, **how: Any) -> onnx.ModelProto:  # fmt: skip
    also = also or {}
    return model(node(op, inputs, "y", **how), inputs={"x": (F, list(shape))}, opset=opset, **also)


def conv(kernel: int = 3, op: str = "Conv", out: int = 4, **how: Any) -> onnx.ModelProto:
    size = max(8, kernel)
    weights = (4, out) if op == "ConvTranspose" else (out, 4)
    return one(
        op, "x w", shape=(1, 4, size, size), also={"w": f32(*weights, kernel, kernel)}, **how
    )


def resize(factor: float, mode: str, coordinates: str, **how: Any) -> onnx.ModelProto:
    scales = np.array([1, 1, factor, factor], np.float32)
    return one("Resize", "x - s", also={"s": scales}, mode=mode,
               coordinate_transformation_mode=coordinates, **how)  # fmt: skip


def cut(axis: int, step: int = 1) -> onnx.ModelProto:
    also = {"a": i64(0), "b": i64(4), "c": i64(axis), "d": i64(step)}
    return one("Slice", "x a b c d", shape=(4, 4, 8, 12), also=also)


ABLE: dict[str, onnx.ModelProto] = {
    "relu": one("Relu"),
    "clipped relu": one("Clip", "x a b", also={"a": np.float32(0) * f32(), "b": f32()}),
    "kernel 32": conv(32),
    "stride 8": conv(strides=[8, 8]),
    "dilated": conv(dilations=[2, 2], pads=[2, 2, 2, 2]),
    "deconvolution": conv(2, "ConvTranspose", strides=[2, 2]),
    "window 8": one("MaxPool", kernel_shape=[8, 8]),
    "sum": one("Add", "x x"),
    "scaled": one("Mul", "k x", also={"k": f32(1)}),
    "batch norm": one("BatchNormalization", "x a a a a", also={"a": f32(4)}),
    "channels joined": one("Concat", "x x", axis=1),
    "slope": one("PRelu", "x s", also={"s": f32(4, 1, 1)}),
    "maximum": one("ReduceMax", axes=[2, 3]),
    "reshaped": one("Reshape", "x n", also={"n": i64(1, 8, 4, 12)}),
    "transposed": one("Transpose", perm=[0, 2, 3, 1]),
    "nearest 32": resize(32, "nearest", "asymmetric", nearest_mode="floor"),
    "linear 4": resize(4, "linear", "half_pixel"),
    "sliced": cut(1),
    "split": model(node("Split", "x", "y z", axis=1)),
    "softmax": one("Softmax", axis=1),
    "long softmax": one("Softmax", axis=1, shape=(1, 8192, 1, 1)),
    "window of 9": one("LRN", size=9),
    "largest batch": one("Relu", shape=(4096, 1, 1, 1)),
    "largest size": one("Relu", shape=(1, 1, 1, 8192)),
}
UNABLE: dict[str, tuple[onnx.ModelProto, str]] = {
    "other operator": (one("Exp"), "none of the layers"),
    "three dimensions": (one("Relu", shape=(1, 4, 8)), "four dimensions"),
    "batch": (one("Relu", shape=(4097, 1, 1, 1)), "batch beyond 4096"),
    "size": (one("Relu", shape=(1, 1, 1, 8193)), "size beyond 8192"),
    "clip": (one("Clip", "x a b", also={"a": -f32(), "b": f32()}), "clips other than at 0"),
    "open clip": (one("Clip", "x a", also={"a": 0 * f32()}), "clips other than at 0"),
    "kernel 33": (conv(33), "a kernel of 33, wanted 1 to 32"),
    "stride 9": (conv(strides=[9, 9]), "a stride of 9"),
    "padding 32": (conv(pads=[32, 32, 32, 32]), "a padding of 32"),
    "dilation 33": (conv(2, dilations=[33, 1], pads=[31] * 4), "a dilation of 33"),
    "computed weights": (
        model(
            node("Conv", "x w", "y"), inputs={"x": (F, [1, 4, 8, 8]), "w": (F, [4, 4, 1, 1])}
        ),
        "weights that are computed",
    ),
    "grouped deconvolution": (conv(2, "ConvTranspose", 1, group=4), "is grouped"),
    "dilated deconvolution": (conv(2, "ConvTranspose", dilations=[2, 2]), "is dilated"),
    "padded deconvolution": (conv(2, "ConvTranspose", pads=[1, 1, 1, 1]), "is padded"),
    "window 9": (one("MaxPool", kernel_shape=[8, 9]), "a window of 9, wanted 1 to 8"),
    "window padding": (one("MaxPool", kernel_shape=[8, 8], pads=[8] * 4), "a padding of 8"),
    "rows joined": (one("Concat", "x x", axis=2), "another axis"),
    "one joined": (one("Concat", axis=1), "a single tensor"),
    "computed slope": (one("PRelu", "x x"), "slope that is computed"),
    "batch reduced": (one("ReduceMax", axes=[0]), "over the batch"),
    "all reduced": (one("ReduceMax"), "over the batch"),
    "flattened": (one("Flatten"), "four dimensions"),
    "batch reshaped": (one("Reshape", "x n", also={"n": i64(2, 2, 8, 12)}), "changes the batch"),
    "batch moved": (one("Transpose", perm=[1, 0, 2, 3]), "moves the batch"),
    "nearest 33": (
        resize(33, "nearest", "asymmetric", nearest_mode="floor"), "whole factor of 1 to 32",
    ),
    "linear 5": (resize(5, "linear", "half_pixel"), "whole factor of 1 to 4"),
    "linear 1.5": (resize(1.5, "linear", "half_pixel"), "whole factor"),
    "corners": (resize(2, "linear", "align_corners"), "resizes as linear align_corners"),
    "other rounding": (
        resize(2, "nearest", "asymmetric", nearest_mode="ceil"),
        "resizes as nearest asymmetric ceil",
    ),
    "batch sliced": (cut(0), "slices the batch"),
    "stepped": (cut(1, 2), "steps beyond 1"),
    "computed bounds": (
        model(
            node("Slice", "x a a", "y"), inputs={"x": (F, [1, 4, 8, 8]), "a": (I64, [1])}
        ),
        "open shape",
    ),
    "batch split": (
        model(node("Split", "x", "y z"), inputs={"x": (F, [2, 4, 8, 8])}), "splits the batch",
    ),
    "batch softmax": (one("Softmax", axis=0), "along the batch"),
    "wide softmax": (one("Softmax", axis=1, shape=(1, 1025, 2, 2)), "an axis of 1025"),
    "window of 4": (one("LRN", size=4), "a window of 4"),
    "computed statistics": (
        one("BatchNormalization", "x a a a b", also={"a": f32(4)}, shape=(1, 4, 2, 2)),
        "statistics that are computed",
    ),
    "counted": (
        model(
            node("Add", "n n", "y"),
            inputs={"n": (I64, [1, 1, 1, 1])},
            outputs={"y": (I64, None)},
        ),
        "computes with int64",
    ),
}  # fmt: skip
UNABLE["computed statistics"][0].graph.input.append(onnx.helper.make_tensor_value_info("b", F, [4]))


@pytest.mark.parametrize("case", ABLE)
def test_what_keeps_to_the_rules_is_eligible(case: str) -> None:
    onnx.checker.check_model(ABLE[case], full_check=True)
    assert verdict(ABLE[case]) == ""


@pytest.mark.parametrize("case", UNABLE)
def test_what_breaks_one_is_not_and_says_why(case: str) -> None:
    made, reason = UNABLE[case]
    assert reason in verdict(made)


def test_every_judge_is_seen_to_accept_or_refuse() -> None:
    cases = [*ABLE.values(), *(made for made, _ in UNABLE.values())]
    judged = {n.op_type for made in cases for n in made.graph.node}
    groups = {JUDGES[op] for op in judged & set(JUDGES)}
    assert groups >= set(JUDGES.values())


def test_in_an_fp16_network_a_layer_in_float32_is_not_eligible() -> None:
    made = model(
        node("Cast", "x", "half", to=H),
        node("Relu", "half", "able"),
        node("Cast", "able", "full", to=F),
        node("Relu", "full", "y"),
    )
    assert verdict(made, "able") == ""
    assert verdict(made) == "computes in float32; a DLA computes float16 and int8"


def test_an_open_shape_is_not_eligible() -> None:
    assert "open shape" in verdict(one("Relu", shape=("n", 4, 8, 12)))


def test_what_is_folded_is_no_layer() -> None:
    made = model(
        node("Shape", "x", "s"), node("Identity", "s", "t"), node("Expand", "x t", "e"),
        node("Relu", "e", "y"),
    )  # fmt: skip
    layers = check(made, dla=True).layers
    assert layers is not None
    assert [x.node for x in layers] == ["e", "y"]


def test_the_network_that_is_shipped_runs_there_but_for_its_ends() -> None:
    report = check_file(SHIPPED_MODEL, "10.3", dla=True)
    assert report.taken
    assert report.layers is not None
    unable = {x.operator for x in report.layers if not x.eligible}
    assert unable == {"Cast", "ReduceMean", "ArgMax"}
    text = "\n".join(report_lines(report))
    assert "judged as its FP16 form would be" in text
    assert "DLA Supported Layers and Restrictions" in text


@pytest.mark.parametrize(
    ("trt", "level"), [("10.3", None), ("10.16", "error"), ("11.4", "warning")]
)
def test_releases_without_a_dla_say_which_have_one(trt: str, level: str | None) -> None:
    assert trt in RELEASES
    assert release(trt).name == trt
    found = [f for f in check(one("Relu"), trt, dla=True).findings if f.rule == "dla"]
    assert [f.level for f in found] == ([level] if level else [])
    assert all("TensorRT 10.3 of JetPack 6" in f.way_out for f in found)


def test_nothing_is_said_of_a_dla_unasked() -> None:
    report = check(one("Relu"), "10.16")
    assert report.layers is None
    assert report.findings == ()
    assert report.to_dict()["dla"] is None
