"""Runs an FP16 graph as a device with FP16 arithmetic would: every float16 tensor is true half.

CPU runtimes compute float16 graphs in float32 and so hide what overflows on a device (a Conv that
leaves half's range gives the right answer in ONNX Runtime and OpenVINO alike). Here each node
computes in float32, as TensorRT's convolutions accumulate, and its float16 outputs are rounded to
half before the next node sees them: beyond 65504 they are infinite. A device rounds less often,
where it fuses nodes; a kernel that sums in half is not covered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.base import Array, EngineBase
from engines.errors import EngineError, ExportError
from engines.runtimes import check_tensors
from engines.spec import ModelSpec, TensorSpec
from export.onnx.graph import (
    FLOAT,
    FLOAT16,
    float16_attributes,
    load_checked,
    tensor_types,
)
from export.onnx.session import open_session, run_session

HALF_MAX = float(np.finfo(np.float16).max)
"""65504, the largest finite half."""
_MOVES = frozenset(
    {"Concat", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Neg", "Relu", "Reshape"}
    | {"Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "ReduceMax", "ReduceMin"}
)
"""Operators that give back what they were given, its negative or 0: halves stay halves."""


@dataclass(frozen=True, slots=True)
class HalfRun:
    """What one run gave.

    ``overflowed`` names the float16 tensors with an infinity or NaN, in the order of the graph: the
    first one is where it began.
    """

    outputs: dict[str, Array]
    overflowed: tuple[str, ...]


class HalfNet:
    """A graph of float16 and float32 tensors, ready to run; see the module's own words."""

    def __init__(self, model: onnx.ModelProto, *, origin: str) -> None:
        """Rewrite ``model`` with its roundings spelt out; ``origin`` names it in messages.

        Raises:
            ExportError: its types cannot be followed, or ONNX Runtime does not run it or does not
                round.
        """
        self._origin = origin
        rewritten, self._watched = _rounded(model, origin=origin)
        self._names = [o.name for o in model.graph.output]
        data = rewritten.SerializeToString()
        self._session = open_session(data, origin=origin, optimise=False)
        _check_that_it_rounds()

    def run(self, feed: Mapping[str, Array]) -> HalfRun:
        """Run on {input name: array}; float16 outputs come as float32 with half's values.

        Raises:
            ExportError: the run failed.
        """
        made = run_session(self._session, feed, origin=self._origin)
        bad = [t for i, t in enumerate(self._watched) if not np.isfinite(made[_watch(i)])]
        return HalfRun({n: made[n] for n in self._names}, tuple(bad))


def _watch(i: int) -> str:
    return f"outrider/watch_{i}"


def _rounded(model: onnx.ModelProto, *, origin: str) -> tuple[onnx.ModelProto, list[str]]:
    """The graph in float32 with a rounding behind each float16 tensor, and those tensors' names.

    Each rounding is a pair of Casts, to half and back. One more output a tensor is the sum of its
    squares, in float32: finite halves cannot overflow it, an infinity or a NaN stays in it.
    """
    types = tensor_types(model, origin=origin)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    nodes: list[onnx.NodeProto] = []
    watched: list[str] = []
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        float16_attributes(copy, to=FLOAT)
        nodes.append(copy)
        for i, name in enumerate(node.output):
            if not name or types[name] != FLOAT16 or node.op_type in _MOVES:
                continue
            copy.output[i] = f"{name}/exact"
            nodes += [
                helper.make_node("Cast", [f"{name}/exact"], [f"{name}/half"], to=FLOAT16),
                helper.make_node("Cast", [f"{name}/half"], [name], to=FLOAT),
                helper.make_node("ReduceSumSquare", [name], [_watch(len(watched))], keepdims=0),
            ]
            watched.append(name)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    for i, tensor in enumerate(graph.initializer):
        if tensor.data_type == FLOAT16:
            wide = numpy_helper.to_array(tensor).astype(np.float32)
            graph.initializer[i].CopyFrom(numpy_helper.from_array(wide, tensor.name))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == FLOAT16:
            value.type.tensor_type.elem_type = FLOAT
    graph.output.extend(
        helper.make_tensor_value_info(_watch(i), TensorProto.FLOAT, []) for i in range(len(watched))
    )
    return made, watched


def _check_that_it_rounds() -> None:
    """Refuse a runtime that takes the pair of Casts for nothing: every proof would be void."""
    x = np.array([1e5, -1e5, 1 + 2.0**-12, 2.0**-26, 3.0], np.float32)
    sizes = helper.make_tensor_value_info("x", FLOAT, x.shape)
    doubled = helper.make_tensor_value_info("y", FLOAT, x.shape)
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=FLOAT16),
        helper.make_node("Cast", ["half"], ["wide"], to=FLOAT),
        helper.make_node("Add", ["wide", "wide"], ["y"]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "rounds", [sizes], [doubled]),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    session = open_session(
        model.SerializeToString(), origin="a check of its rounding", optimise=False
    )
    (y,) = session.run(None, {"x": x})
    if y.tolist() != [np.inf, -np.inf, 2.0, 0.0, 6.0]:
        raise ExportError(
            f"this ONNX Runtime does not round to half: got {y.tolist()} for twice {x.tolist()}. "
            "Install the version in constraints/; no FP16 file can be proven with this one."
        )


class HalfEngine(EngineBase):
    """``HalfNet`` behind the interface of all engines, with one slot; ``submit`` runs at once.

    ``overflowed`` holds the names of ``HalfRun`` for the last run.
    """

    def __init__(self, net: HalfNet, spec: ModelSpec) -> None:
        super().__init__("half", spec, precision="f16")
        self.overflowed: tuple[str, ...] = ()
        self._net: HalfNet | None = net

    def _start(self, slot: int) -> None:
        assert self._net is not None
        try:
            run = self._net.run(self._inputs[slot])
        except ExportError as exc:
            raise EngineError(str(exc)) from exc
        self.overflowed = run.overflowed
        self._outputs[slot] = run.outputs

    def _release(self) -> None:
        self._net = None


def open_half(path: Path) -> HalfEngine:
    """Open a model file with a spec for evaluation in true half.

    Raises:
        ModelError: the file is refused, has no spec, or contradicts it.
        ExportError: its graph cannot be evaluated.
    """
    model, spec = load_checked(path)
    check_tensors(
        spec,
        inputs=[_tensor(v) for v in model.graph.input],
        outputs=[_tensor(v) for v in model.graph.output],
        origin=str(path),
    )
    return HalfEngine(HalfNet(model, origin=str(path)), spec)


def _tensor(value: onnx.ValueInfoProto) -> TensorSpec:
    info = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in info.shape.dim)
    return TensorSpec(value.name, shape, helper.tensor_dtype_to_np_dtype(info.elem_type).name)
