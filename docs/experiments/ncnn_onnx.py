"""An ncnn graph with its weights as ONNX: the layers of NanoDet-Plus, and no others.

Run it from the project's folder: ``.venv/bin/python -m docs.experiments.ncnn_onnx NET.param
NET.bin NET.onnx``. The settings' numbers are those of ncnn's docs/developer-guide/operators.md, the
layout of the weights that of its src/modelbin.cpp. Height and width stay open, in steps of 64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge.cli import invoke
from engines.errors import ExportError
from engines.model_file import write_atomically

MAGIC = "7767517"
FLOAT16 = 0x01306B47
"""The flag before weights that are kept as float16; 0 stands before float32."""
Settings = dict[int, list[str]]


class Weights:
    """The .bin file, read once from its front to its end."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    @property
    def left(self) -> int:
        """Bytes that no layer has read."""
        return len(self._raw) - self._at

    def floats(self, count: int) -> NDArray[np.float32]:
        """The next ``count`` float32."""
        return self._take(count, "<f4").astype(np.float32)

    def flagged(self, count: int) -> NDArray[np.float32]:
        """A flag, then ``count`` numbers of the type it tells, filled up to four bytes."""
        flag = int(self._take(1, "<u4")[0])
        if flag not in (0, FLOAT16):
            raise ExportError(
                f"weights: got the flag {flag:#x}, wanted that of float16 or float32. Are they "
                "those of this graph?"
            )
        if not flag:
            return self.floats(count)
        return self._take(count + count % 2, "<f2")[:count].astype(np.float32)

    def _take(self, count: int, kind: str) -> NDArray[Any]:
        if count * np.dtype(kind).itemsize > self.left:
            raise ExportError("weights: end within a layer. Are they those of this graph?")
        found = np.frombuffer(self._raw, kind, count, self._at)
        self._at += found.nbytes
        return found


class Graph:
    """ONNX nodes and constants that grow by one ncnn layer at a time."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self.channels: dict[str, int] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def layer(self, kind: str, name: str, ins: list[str], outs: list[str], at: Settings) -> None:
        """Add a layer with its settings.

        Raises:
            ExportError: a kind of layer that NanoDet-Plus has not, or other weights than it asks.
        """
        number = {key: float(value[0]) for key, value in at.items()}
        channels = sum(self.channels.get(i, 3) for i in ins)
        if kind in ("Convolution", "ConvolutionDepthWise"):
            channels = int(number[0])
            self._convolution(name, ins, outs, at)
        elif kind == "Pooling" and number.get(0) is None and number.get(5) == 1:
            self._add("MaxPool", ins, outs, **_window(number, kernel=1, stride=2, pad=3))
        elif kind == "Split":  # into copies
            for out in outs:
                self._add("Identity", ins, [out])
        elif kind == "Concat":
            if number.get(0, 0) != 0:  # beside each other, not channel after channel
                channels = self.channels[ins[0]]
            self._add("Concat", ins, outs, axis=int(number.get(0, 0)) + 1)
        elif kind == "ShuffleChannel":
            order = np.arange(channels).reshape(int(number[0]), -1).T.ravel()
            self._add("Gather", [*ins, self._constant(f"{name}.order", order)], outs, axis=1)
        elif kind == "Slice":
            channels //= len(outs)
            self._add("Split", ins, outs, axis=1, num_outputs=len(outs))
        elif kind == "Interp" and number[0] == 2:  # bilinear
            scales = np.array([1, 1, number[1], number[2]], np.float32)
            inputs = [*ins, "", self._constant(f"{name}.scales", scales)]
            self._add("Resize", inputs, outs, mode="linear")
        elif kind == "BinaryOp" and number.get(0, 0) == 0:
            channels = self.channels[ins[0]]
            self._add("Add", ins, outs)
        elif kind == "Reshape" and number[0] == -1:
            shape = self._constant(f"{name}.shape", np.array([0, int(number[1]), -1]))
            self._add("Reshape", [*ins, shape], outs)
        else:
            raise ExportError(f"{name}: got the layer {kind} {at}, wanted one of NanoDet-Plus.")
        self.channels.update(dict.fromkeys(outs, channels))

    def _convolution(self, name: str, ins: list[str], outs: list[str], at: Settings) -> None:
        number = {key: float(value[0]) for key, value in at.items()}
        count, groups = int(number[0]), int(number.get(7, 1))
        side = int(number[1])
        inner = self.channels.get(ins[0], 3) // groups
        if number.get(5) != 1 or number[6] != count * inner * side * side:
            raise ExportError(f"{name}: got the settings {at}, wanted a bias and {inner} channels.")
        weight = self._weights.flagged(int(number[6])).reshape(count, inner, side, side)
        inputs = [
            *ins,
            self._constant(f"{name}.weight", weight),
            self._constant(f"{name}.bias", self._weights.floats(count)),
        ]
        activation = number.get(9, 0)
        if activation not in (0, 2):
            raise ExportError(f"{name}: got activation {activation:g}, wanted leaky ReLU.")
        before = [f"{name}.sum"] if activation else outs
        self._add(
            "Conv", inputs, before, group=groups, **_window(number, kernel=1, stride=3, pad=4)
        )
        if activation:
            self._add("LeakyRelu", before, outs, alpha=float(at[-23310][1]))

    def _add(self, op: str, ins: list[str], outs: list[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, ins, outs, **attributes))

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def _window(number: dict[int, float], *, kernel: int, stride: int, pad: int) -> dict[str, Any]:
    return {
        "kernel_shape": [int(number[kernel])] * 2,
        "strides": [int(number.get(stride, 1))] * 2,
        "pads": [int(number.get(pad, 0))] * 4,
    }


def convert(param: str, raw: bytes) -> onnx.ModelProto:
    """The graph that the text of a .param file tells, with the weights of its .bin file.

    Raises:
        ExportError: it is no ncnn graph, a layer is not known, or the weights are another graph's.
    """
    lines = param.split("\n")
    if lines[0].strip() != MAGIC:
        raise ExportError(
            f"graph: begins with {lines[0][:20]!r}, wanted {MAGIC}: ncnn's text form."
        )
    weights = Weights(raw)
    graph = Graph(weights)
    first = last = ""
    for line in filter(None, lines[2:]):
        kind, name, ins, outs, *rest = line.split()
        blobs, pairs = rest[: int(ins) + int(outs)], rest[int(ins) + int(outs) :]
        if kind == "Input":
            first = blobs[0]
            continue
        settings = {int(k): v.split(",") for k, v in (pair.split("=") for pair in pairs)}
        graph.layer(kind, name, blobs[: int(ins)], blobs[int(ins) :], settings)
        last = blobs[-1]
    if weights.left:
        raise ExportError(f"weights: {weights.left} bytes are left over. Are they this graph's?")
    made = helper.make_graph(
        graph.nodes,
        "ncnn",
        [helper.make_tensor_value_info(first, TensorProto.FLOAT, [1, 3, "height", "width"])],
        [
            helper.make_tensor_value_info(
                last, TensorProto.FLOAT, [1, graph.channels[last], "cells"]
            )
        ],
        graph.constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


@click.command()
@click.argument("param", type=click.Path(path_type=Path))
@click.argument("weights", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def main(param: Path, weights: Path, out: Path) -> None:
    """Write the net of PARAM and WEIGHTS as the ONNX file OUT."""
    try:
        model = convert(param.read_text(), weights.read_bytes())
    except (OSError, UnicodeDecodeError) as exc:
        raise ExportError(f"{param}, {weights}: cannot be read: {exc}") from exc
    except (IndexError, KeyError, ValueError) as exc:
        raise ExportError(f"{param}: not a graph that can be converted: {exc!r}") from exc
    write_atomically(model.SerializeToString(), out)


if __name__ == "__main__":
    invoke(main, "ncnn_onnx")
