"""The network that TensorRT's parser made of a file, held against what the file asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from engines.errors import ExportError
from engines.spec import TensorSpec
from engines.tensorrt.plan import tensor_spec

if TYPE_CHECKING:
    import tensorrt

_PRECISIONS = {"HALF": "fp16", "FLOAT": "fp32"}
"""TensorRT's names of float types and the project's; others are the same in small letters."""
_COMPUTES = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")
"""Layers in which the time goes: one that is left in FP32 by mistake costs twice the time."""
_IN_WORDS = "convolutions and matrix products"


class Layer(NamedTuple):
    """One layer; ``precision`` is that of its first output, 'fp16', ``kind`` TensorRT's word."""

    name: str
    kind: str
    precision: str


class Network(NamedTuple):
    """``layers`` in the parser's order, constants and shapes among them; inputs and outputs."""

    layers: tuple[Layer, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def read_network(network: tensorrt.INetworkDefinition) -> Network:
    """What the parser made, as values that outlive it."""
    inputs = (network.get_input(i) for i in range(network.num_inputs))
    outputs = (network.get_output(i) for i in range(network.num_outputs))
    return Network(
        tuple(_layers(network)),
        tuple(tensor_spec(t.name, t.dtype, t.shape) for t in inputs),
        tuple(tensor_spec(t.name, t.dtype, t.shape) for t in outputs),
    )


def _layers(network: tensorrt.INetworkDefinition) -> Iterator[Layer]:
    for i in range(network.num_layers):
        layer: tensorrt.ILayer = network.get_layer(i)
        made: tensorrt.ITensor | None = layer.get_output(0) if layer.num_outputs else None
        word = made.dtype.name if made is not None else ""
        yield Layer(layer.name, layer.type.name, _PRECISIONS.get(word, word.lower()))


def check_half(layers: Sequence[Layer], kept: Collection[str], *, origin: str) -> str:
    """What an FP16 file's network computes with; ``kept`` are nodes that may stay in FP32.

    Raises:
        ExportError: a layer that computes is not in FP16, and the file does not say that it should.
    """
    computing = [layer for layer in layers if layer.kind in _COMPUTES]
    stray = [x for x in computing if x.precision != "fp16" and x.name not in kept]
    if stray:
        raise ExportError(
            f"{origin}: {len(stray)} of {len(computing)} {_IN_WORDS} are not FP16 in the network "
            f"that TensorRT makes of it, {stray[0].name} ({stray[0].precision}) first, and the "
            "file does not say that they should be. Make it from the FP32 file with edge-export "
            "fp16, and name what is to stay in FP32 with --keep NODE."
        )
    half = sum(layer.precision == "fp16" for layer in computing)
    rest = f", {len(computing) - half} in FP32 as the file says" if half < len(computing) else ""
    return f"{half} of {len(computing)} {_IN_WORDS} in FP16{rest}"
