"""Trunks of ONNX as layers that learn: the same function at first, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from docs.experiments.trunks import in_onnxruntime, trunk
from docs.experiments.unfolded import Convolution, Unfolded
from engines.errors import ExportError


def graph_of(*nodes: onnx.NodeProto, ends: Sequence[str], **constants: object) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "some",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 64])],
        [helper.make_tensor_value_info(end, TensorProto.FLOAT, None) for end in ends],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def conv(
    inside: str, name: str, out: str, *, k: int, stride: int = 1, **given: Any
) -> onnx.NodeProto:
    at: dict[str, Any] = {"kernel_shape": [k, k], "strides": [stride] * 2, "group": 1}
    at |= {"pads": [k // 2] * 4} | given
    return helper.make_node("Conv", [inside, name, f"{name}_bias"], [out], **at)


def every_layer() -> onnx.ModelProto:
    """A stem of six channels, halved; one half goes through a depthwise layer, and both shuffle."""
    rng = np.random.default_rng(0)
    return graph_of(
        conv("image", "stem", "sums", k=3, stride=2),
        helper.make_node("LeakyRelu", ["sums"], ["seen"], alpha=0.1),
        helper.make_node(
            "MaxPool", ["seen"], ["few"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4
        ),
        helper.make_node("Identity", ["few"], ["copy"]),
        helper.make_node("Split", ["copy"], ["left", "right"], axis=1, num_outputs=2),
        conv("right", "each", "changed", k=5, group=3),
        helper.make_node("Concat", ["left", "changed"], ["both"], axis=1),
        helper.make_node("Gather", ["both", "order"], ["end"], axis=1),
        ends=["few", "end"],
        stem=rng.normal(size=(6, 3, 3, 3)).astype(np.float32) * 0.01,
        stem_bias=rng.normal(size=6).astype(np.float32),
        each=rng.normal(size=(3, 1, 5, 5)).astype(np.float32) * 9,
        each_bias=rng.normal(size=3).astype(np.float32),
        order=np.array([0, 3, 1, 4, 2, 5]),
    )


def test_norms_that_are_put_back_change_nothing_at_first() -> None:
    image, other = torch.randn(2, 4, 3, 32, 64)
    net = Unfolded(every_layer(), other)
    few, end = in_onnxruntime(every_layer())(image[:1].numpy())
    seen = net(image[:1])
    assert (seen[0].shape, seen[1].shape) == ((1, 6, 8, 16), (1, 6, 8, 16))
    np.testing.assert_allclose(seen[0].detach(), few, atol=1e-4)
    np.testing.assert_allclose(seen[1].detach(), end, atol=1e-3)
    # on the images that the statistics are of, a norm that learns does the same
    torch.testing.assert_close(net.train()(other), net.eval()(other), atol=0.05, rtol=0.01)


def test_all_its_weights_learn_and_are_of_one_size() -> None:
    net = Unfolded(every_layer(), torch.randn(4, 3, 32, 64)).train()
    net(torch.randn(2, 3, 32, 64))[1].square().mean().backward()
    assert len(list(net.parameters())) == 6
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    for layer in net.modules():
        if isinstance(layer, Convolution):
            size = layer.convolution.weight.square().mean((1, 2, 3)).sqrt()
            # sqrt(2 / 27) of the stem, sqrt(2 / 25) of the depthwise layer
            wanted = (2 / layer.convolution.weight[0].numel()) ** 0.5
            torch.testing.assert_close(size, torch.full_like(size, wanted))
            assert layer.norm.weight.square().mean().item() == pytest.approx(1, abs=1e-4)


def test_a_channel_that_says_nothing_stays_finite() -> None:
    zero = np.zeros((2, 3, 1, 1), np.float32)
    model = graph_of(
        conv("image", "stem", "end", k=1),
        ends=["end"],
        stem=zero,
        stem_bias=np.array([1, -2], np.float32),
    )
    (end,) = Unfolded(model, torch.randn(2, 3, 8, 8))(torch.randn(1, 3, 8, 8))
    torch.testing.assert_close(end[0, :, 0, 0].detach(), torch.tensor([1.0, -2.0]))


@pytest.mark.parametrize(
    ("node", "constants", "said"),
    [
        (helper.make_node("Relu", ["image"], ["end"]), {}, "layer Relu, wanted one of Conv"),
        (
            helper.make_node("Gather", ["image", "order"], ["end"], axis=1),
            {"order": np.array([0, 2, 1])},
            "another order",
        ),
        (
            conv("image", "stem", "end", k=3, pads=[0] * 4),
            {
                "stem": np.ones((3, 3, 3, 3), np.float32),
                "stem_bias": np.ones(3, np.float32),
            },
            "wanted even padding",
        ),
    ],
)
def test_a_layer_of_another_net_is_refused(
    node: onnx.NodeProto, constants: dict[str, object], said: str
) -> None:
    with pytest.raises(ExportError, match=said):
        Unfolded(graph_of(node, ends=["end"], **constants), torch.zeros(1, 3, 8, 8))


def test_nanodets_trunk_says_the_same(shared: Path) -> None:
    file = shared / "models" / "pretrained" / "nanodet_plus_m_coco.ncnn.param"
    model = trunk("nanodet", file, (64, 96))
    image, other = torch.randn(2, 2, 3, 64, 96)
    wanted = in_onnxruntime(model)(image[:1].numpy())
    for mine, theirs in zip(Unfolded(model, other)(image[:1]), wanted, strict=True):
        np.testing.assert_allclose(mine.detach(), theirs, atol=1e-4)
