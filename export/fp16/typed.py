"""Gives an FP32 graph float16 tensors, strongly typed; which nodes stay in FP32 its caller says.

Every tensor has its producer's type. Consumers that want the other one share one Cast, so
neighbours kept in FP32 hand each other FP32. Weights exist in each type that is asked for. What
ONNX types as float32 alone (the scales of a Resize) stays so.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from engines.errors import ExportError
from engines.runtimes import first_line
from export.onnx.graph import FLOAT, FLOAT16, float16_attributes, float_types, tensor_types

KEPT_KEY = "outrider.fp32_nodes"
"""Key in an FP16 file's ``metadata_props``: JSON, node name → why the node stayed in FP32."""


def kept_nodes(model: onnx.ModelProto) -> dict[str, str]:
    """The nodes that an FP16 file names as left in FP32, and why."""
    texts = [entry.value for entry in model.metadata_props if entry.key == KEPT_KEY]
    try:
        held = json.loads(texts[0]) if texts else {}
    except (ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}


def to_float16(model: onnx.ModelProto, kept: Collection[str], *, origin: str) -> onnx.ModelProto:
    """The graph in float16 but for the nodes in ``kept``; inputs and outputs as they were.

    Every node must have a name of its own, and constants must be initialisers.

    Raises:
        ExportError: the types cannot be known, or the result is not a valid, typed graph.
    """
    writer = _Writer(model, tensor_types(model, origin=origin))
    for node in model.graph.node:
        writer.add(node, FLOAT if node.name in kept else FLOAT16)
    made = writer.finish()
    check_typed(made, origin=origin)
    return made


def check_typed(model: onnx.ModelProto, *, origin: str) -> None:
    """Refuse a graph with unknown types, or two where ONNX binds one.

    Raises:
        ExportError: names the contradiction.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
        raise ExportError(
            f"{origin}: its FP16 graph is not strongly typed: {first_line(exc)}. This is a defect "
            "of the conversion; keep the node in FP32 with --keep NODE."
        ) from exc
    tensor_types(model, origin=origin)


class _Writer:
    """Writes nodes in order, with the Casts that their inputs need before them."""

    def __init__(self, model: onnx.ModelProto, types: Mapping[str, int]) -> None:
        self._model = model
        self._types = types
        self._constants = {t.name: t for t in model.graph.initializer}
        self._outputs = {o.name for o in model.graph.output}
        self._home: dict[str, int] = {i.name: types[i.name] for i in model.graph.input}
        self._as: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._written: dict[str, onnx.TensorProto] = {}
        self._taken = set(types)

    def add(self, node: onnx.NodeProto, want: int) -> None:
        """Write ``node``, its float tensors in the type ``want`` where ONNX allows it."""
        types, copy = self._types, onnx.NodeProto()
        copy.CopyFrom(node)
        half_in, half_out = float_types(node, self._model)
        for i, name in enumerate(node.input):
            if name and types[name] == FLOAT and node.op_type != "Cast":
                copy.input[i] = self._tensor(name, want if half_in[i] else FLOAT)
            elif name:
                copy.input[i] = self._tensor(name, self._home.get(name, types[name]))
        floats = [i for i, n in enumerate(node.output) if n and types[n] == FLOAT]
        for i in floats:
            name, kind = node.output[i], want if half_out[i] else FLOAT
            self._home[name] = kind
            if kind == FLOAT16 and name in self._outputs:  # the output's own name stays float32
                self._as[name, kind] = copy.output[i] = self._free(f"{name}/float16")
        if floats and want == FLOAT16:
            float16_attributes(copy, to=FLOAT16)
        self._nodes.append(copy)

    def finish(self) -> onnx.ModelProto:
        """The new model, with its outputs cast back to float32."""
        made = onnx.ModelProto()
        made.CopyFrom(self._model)
        graph = made.graph
        for output in graph.output:
            if output.name in self._constants:
                self._tensor(output.name, FLOAT)
            if self._home.get(output.name) == FLOAT16:
                half = self._as[output.name, FLOAT16]
                self._nodes.append(
                    helper.make_node("Cast", [half], [output.name], f"{half}/to_float32", to=FLOAT)
                )
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend(self._written.values())
        return made

    def _tensor(self, name: str, kind: int) -> str:
        """The name under which ``name`` is had in the type ``kind``."""
        if (name, kind) in self._as:
            return self._as[name, kind]
        if name in self._constants:
            made = self._constant(name, kind)
        elif self._home.get(name, kind) == kind:
            return name
        else:
            made = self._free(f"{name}/float{16 if kind == FLOAT16 else 32}")
            source = self._as.get((name, self._home[name]), name)
            self._nodes.append(helper.make_node("Cast", [source], [made], made, to=kind))
        self._as[name, kind] = made
        return made

    def _constant(self, name: str, kind: int) -> str:
        tensor = self._constants[name]
        if tensor.data_type != FLOAT or kind == FLOAT:
            self._written[name] = tensor
            return name
        made = self._free(f"{name}/float16")
        with np.errstate(over="ignore"):  # nodes with such weights are kept, unless told not to
            half = numpy_helper.to_array(tensor).astype(np.float16)
        self._written[made] = numpy_helper.from_array(half, made)
        return made

    def _free(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name
