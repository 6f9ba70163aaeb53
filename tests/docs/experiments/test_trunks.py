"""Trunks: a graph cut by hand, its cost counted by hand, and the nets that they are cut from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from docs.experiments.trunks import blob_of, cost_of, cut, in_onnxruntime, in_openvino, main, trunk
from engines.errors import ExportError, ModelError


def three_layers() -> onnx.ModelProto:
    """3x3 of stride 2 to four channels, 1x1 to two with a bias, then a ReLU; for 64x64."""
    rng = np.random.default_rng(0)
    constants = {"wide": (4, 3, 3, 3), "narrow": (2, 4, 1, 1), "bias": (2,)}
    nodes = [
        helper.make_node("Conv", ["image", "wide"], ["half"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("Conv", ["half", "narrow", "bias"], ["few"]),
        helper.make_node("Relu", ["few"], ["end"]),
    ]
    graph = helper.make_graph(
        nodes,
        "three",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("end", TensorProto.FLOAT, [1, 2, 32, 32])],
        [
            numpy_helper.from_array(rng.random(shape, np.float32), name)
            for name, shape in constants.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_a_cut_graph_takes_the_size_asked_for_and_ends_at_its_taps() -> None:
    made = cut(three_layers(), ["half", "few"], (32, 96))
    assert [node.op_type for node in made.graph.node] == ["Conv", "Conv"]
    image = np.zeros((1, 3, 32, 96), np.float32)
    for engine in (in_onnxruntime, in_openvino):
        half, few = engine(made)(image)
        assert (half.shape, few.shape) == ((1, 4, 16, 48), (1, 2, 16, 48))


def test_a_cut_at_no_tensor_of_the_graph_is_refused() -> None:
    with pytest.raises(ValueError, match="absent"):
        cut(three_layers(), ["absent"], (64, 64))


def test_the_cost_is_that_of_the_convolutions() -> None:
    # parameters: 4·3·3·3 = 108, and 2·4 + 2 = 10. Written: 4·32·32 = 4096 and 2·32·32 = 2048;
    # of each number 27 and 4 multiply-adds: 110,592 and 8,192
    assert cost_of(three_layers()) == (118, 118_784, 6144)


def test_a_trunk_is_given_its_own_colours() -> None:
    image = torch.zeros(1, 3, 1, 2)
    image[:, 2] = 51  # blue
    assert blob_of("lite0", image)[0, :, 0, 0].tolist() == pytest.approx([0, 0, 0.2])
    assert blob_of("yolox", image)[0, :, 0, 0].tolist() == [51, 0, 0]
    # (51 - 103.53) / 57.375 of blue
    assert blob_of("nanodet", image)[0, 0, 0, 0].item() == pytest.approx(-0.91556, abs=1e-5)
    assert blob_of("random", image).shape == (1, 3, 1, 2)


@pytest.mark.parametrize(
    ("name", "file", "widths"),
    [
        ("nanodet", "pretrained/nanodet_plus_m_coco.ncnn.param", (24, 116, 232, 464)),
        ("yolox", "yolox_nano.onnx", (32, 64, 128, 256)),
    ],
)
def test_the_nets_of_coco_are_cut_at_strides_of_4_to_32(
    name: str, file: str, widths: tuple[int, ...], shared: Path
) -> None:
    model = trunk(name, shared / "models" / file, (64, 128))
    seen = in_onnxruntime(model)(np.zeros((1, 3, 64, 128), np.float32))
    wanted = [(1, w, 64 // s, 128 // s) for w, s in zip(widths, (4, 8, 16, 32), strict=True)]
    assert [level.shape for level in seen] == wanted


def test_another_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    with pytest.raises(ModelError, match=r"net\.onnx: no such model file"):
        trunk("yolox", file, (64, 64))
    onnx.save(three_layers(), file)
    with pytest.raises(ExportError, match="not the net of yolox: ValueError"):
        trunk("yolox", file, (64, 64))
    (tmp_path / "net.bin").write_bytes(b"")
    with pytest.raises(ExportError, match="not the net of nanodet"):
        trunk("nanodet", file, (64, 64))


@pytest.mark.parametrize("given", ["lite1=x.pth", "plain", "plain="])
def test_a_trunk_that_is_not_known_is_refused(given: str) -> None:
    result = CliRunner().invoke(main, [given])
    assert isinstance(result.exception, ExportError)
    assert f"{given}: wanted NAME=FILE" in str(result.exception)
