"""An ONNX trunk as torch layers that learn: the layers of NanoDet-Plus's trunk, and no others.

Its norms are folded into the convolutions, and without norms a net hardly learns: so each
convolution gets one anew, which changes nothing at first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from engines.errors import ExportError
from export.zoo.layers import Depthwise

LEAST_WEIGHT = 1e-6
"""A channel of smaller weights says nothing, and is not made louder than so."""
Constants = dict[str, Tensor]


class Joined(nn.Module):
    """Channel after channel."""

    def forward(self, *parts: Tensor) -> Tensor:
        """(N, c_i, h, w) → (N, sum of c_i, h, w)."""
        return torch.cat(parts, 1)


class Parted(nn.Module):
    """Even parts of the channels."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, c, h, w) → ``count`` times (N, c / count, h, w)."""
        return x.chunk(self.count, 1)


class Shuffled(nn.Module):
    """Channels of ``groups`` groups by turns; a gather by index would learn slowly on a CPU."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out as in."""
        n, c, h, w = x.shape
        return x.reshape(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class Convolution(nn.Module):
    """A convolution with a norm behind it, which carries its bias."""

    loudness: Tensor

    def __init__(self, constants: Constants, at: dict[str, Any]) -> None:
        weight, bias = constants.values()
        count, inner, k, _ = weight.shape
        groups, stride = at["group"], at["strides"][0]
        if at["pads"] != [k // 2] * 4 or groups not in (1, count):
            raise ExportError(f"got a convolution with {at}, wanted even padding, 1 group or each.")
        super().__init__()
        self.convolution = (
            nn.Conv2d(inner, count, k, stride, k // 2, bias=False)
            if groups == 1
            else Depthwise(count, k, stride=stride)
        )
        self.norm = nn.BatchNorm2d(count)
        self.register_buffer("loudness", torch.ones(()))
        given = {"convolution.weight": weight, "norm.bias": bias}
        self.load_state_dict(given, strict=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, h, w) → (N, c_out, h/stride, w/stride)."""
        out: Tensor = self.norm(self.convolution(x))
        return out * self.loudness

    @torch.no_grad()
    def settle(self, x: Tensor) -> None:
        """Give the norm the statistics of (N, c, h, w), and weights that undo it.

        A training moves every weight by about its rate, whatever their size. So the convolution's
        are brought to that of new ones (arXiv 1502.01852), which the norm takes out again, and the
        norm's to about 1; what is left of the size is ``loudness``, one number.
        """
        weight, norm = self.convolution.weight, self.norm
        size = weight.square().mean((1, 2, 3)).sqrt().clamp(min=LEAST_WEIGHT)  # (c_out,)
        size *= (weight[0].numel() / 2) ** 0.5
        weight /= size[:, None, None, None]
        variance, mean = torch.var_mean(self.convolution(x), (0, 2, 3))
        norm.running_var, norm.running_mean = variance, mean
        deviation = size * (variance + norm.eps).sqrt()
        self.loudness = deviation.square().mean().sqrt()
        norm.weight.copy_(deviation / self.loudness)
        norm.bias.copy_((norm.bias + size * mean) / self.loudness)


def _shuffle(constants: Constants, at: dict[str, Any]) -> nn.Module:
    (order,) = constants.values()
    groups = len(order) // int(order[1])
    if at["axis"] != 1 or not torch.equal(order, order.sort()[0].view(groups, -1).T.flatten()):
        raise ExportError("got a gather in another order, wanted a shuffle of channels.")
    return Shuffled(groups)


LAYERS: dict[str, Callable[[Constants, dict[str, Any]], nn.Module]] = {
    "Conv": Convolution,
    "LeakyRelu": lambda _, at: nn.LeakyReLU(at["alpha"]),
    "Concat": lambda *_: Joined(),
    "Split": lambda _, at: Parted(at["num_outputs"]),
    "Gather": _shuffle,
    "Identity": lambda *_: nn.Identity(),
    "MaxPool": lambda _, at: nn.MaxPool2d(at["kernel_shape"], at["strides"], at["pads"][:2]),
}


class Unfolded(nn.Module):
    """The trunk, its norms' statistics those of the images ``settle`` (N, 3, H, W).

    Raises:
        ExportError: it has a layer that is not in LAYERS.
    """

    def __init__(self, model: onnx.ModelProto, settle: Tensor) -> None:
        super().__init__()
        graph = model.graph
        given = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in graph.initializer}
        self.layers = nn.ModuleList()
        self.wires: list[tuple[list[str], list[str]]] = []
        self.entry, self.taps = graph.input[0].name, [o.name for o in graph.output]
        for node in graph.node:
            if node.op_type not in LAYERS:
                raise ExportError(f"got a layer {node.op_type}, wanted one of {', '.join(LAYERS)}.")
            at = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            constants = {name: given[name] for name in node.input if name in given}
            self.layers.append(LAYERS[node.op_type](constants, at))
            self.wires.append(([i for i in node.input if i not in given], list(node.output)))
        self.eval()
        self._run(settle, settles=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) as the trunk takes it → the tensors that the graph ends with."""
        return self._run(x)

    def _run(self, x: Tensor, *, settles: bool = False) -> list[Tensor]:
        values = {self.entry: x}
        for layer, (ins, outs) in zip(self.layers, self.wires, strict=True):
            given = [values[name] for name in ins]
            if settles and isinstance(layer, Convolution):
                layer.settle(*given)
            made = layer(*given)
            values.update(zip(outs, made if isinstance(made, tuple) else (made,), strict=True))
        return [values[name] for name in self.taps]
