"""Which nodes of an FP32 graph half cannot hold: weights by their values, the rest by real frames.

A node is judged by the tensors that it reads and writes. A device keeps what happens inside
one, such as a convolution's sum, in FP32; not every device does so for a mean over a whole map, so
that sum is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.progress import counted
from edge.vision.letterbox import Letterbox
from edge.vision.types import Image
from engines.base import Array
from engines.errors import ExportError
from engines.spec import InputSpec
from export.onnx.graph import FLOAT, FLOAT16, float_types, tensor_types
from export.onnx.half import HALF_MAX
from export.onnx.session import open_session, run_session

HEADROOM = 8.0
"""How many times those of the frames a value may be: scenes differ, and a network of convolutions
and ReLUs is at most linear in an image's contrast."""
SAFE_MAX = HALF_MAX / HEADROOM
LOSS = 2.0**-8
"""Largest share of a tensor (as root of summed squares) that rounding may take. It takes 2^-11 at
most, unless the tensor as a whole lies among half's subnormals, below 2^-14, or vanishes."""
DEAD = 2.0**-40
"""A whole tensor below this, 1e-12, becomes zeros in half and nothing is lost: no trained network
has a gain that could bring it back. One of TwinLiteNet's attentions is such."""
EXACT_INTEGER = 2048
"""Half tells integers apart up to here."""
WATCHED = 500
"""Tensors that are watched in one session: ONNX Runtime's time grows with the square of outputs."""
_SUMS_INSIDE = frozenset({"ReduceMean", "GlobalAveragePool"})
_OWN_DTYPE = frozenset(
    {"EyeLike", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
    | {"Bernoulli", "Multinomial"}
)
"""Operators whose output type an attribute decides: left in FP32."""


@dataclass(frozen=True, slots=True)
class Range:
    """What a float32 tensor held over all frames."""

    largest: float = 0.0
    energy: float = 0.0
    """Sum of squares."""
    lost: float = 0.0
    """Sum of squares of what rounding to half takes."""
    size: int = 0

    @property
    def loss(self) -> float:
        """Share of the tensor that half loses, 0 to 1."""
        return float(np.sqrt(self.lost / self.energy)) if self.energy else 0.0

    def why_not_half(self, what: str, limit: float) -> str | None:
        """Why half cannot hold it, or None."""
        if self.largest > limit:
            return f"{what} up to {self.largest:.4g}, limit {limit:.0f}"
        if self.loss > LOSS and self.largest >= DEAD:
            return f"{what} so small that half loses {self.loss:.1%} of them, limit {LOSS:.1%}"
        return None


def sensitive_nodes(
    model: onnx.ModelProto, spec: InputSpec, frames: Sequence[Image], *, origin: str
) -> dict[str, str]:
    """Node name → why it stays in FP32; ``frames`` (H, W, 3) BGR are run through the FP32 graph.

    Raises:
        ExportError: the graph cannot be run, or gives values that are not finite even in FP32.
    """
    types = tensor_types(model, origin=origin)
    constants = {t.name: _of_array(numpy_helper.to_array(t)) for t in model.graph.initializer}
    ranges = _measured(model, spec, frames, types, origin=origin)
    found: dict[str, str] = {}
    for node in model.graph.node:
        if FLOAT not in (types[n] for n in (*node.input, *node.output) if n):
            continue
        reason = next(_reasons(node, model, types, constants, ranges), None)
        if reason is not None:
            found[node.name] = reason
    return found


def _reasons(
    node: onnx.NodeProto,
    model: onnx.ModelProto,
    types: Mapping[str, int],
    constants: Mapping[str, Range],
    ranges: Mapping[str, Range],
) -> Iterator[str]:
    if node.op_type in _OWN_DTYPE:
        yield f"{node.op_type} decides its own type"
    half_in, half_out = float_types(node, model)
    floats = [(may, n) for may, n in zip(half_in, node.input, strict=True) if types.get(n) == FLOAT]
    made = [(may, n) for may, n in zip(half_out, node.output, strict=True) if types.get(n) == FLOAT]
    # Constants are exempt: the scales of a Resize stay float32 beside a half image.
    if not all(may for may, n in (*floats, *made) if n not in constants):
        yield f"ONNX defines no float16 {node.op_type} at this opset"
    for may, name in floats:
        if not may:
            continue
        if name in constants:
            reason = constants[name].why_not_half("weights", HALF_MAX)
        else:
            reason = ranges[name].why_not_half("inputs", SAFE_MAX)
        if reason:
            yield reason
    for name in node.output:
        if name not in ranges:
            continue
        if reason := ranges[name].why_not_half("values", SAFE_MAX):
            yield reason
        if node.op_type in _SUMS_INSIDE and node.input[0] in ranges:
            count = ranges[node.input[0]].size / max(ranges[name].size, 1)
            if ranges[name].largest * count > SAFE_MAX:
                yield (
                    f"a mean of {count:.0f} values, whose sum reaches "
                    f"{ranges[name].largest * count:.4g}, limit {SAFE_MAX:.0f}"
                )
        integers = node.op_type == "Cast" and types[node.input[0]] not in (FLOAT, FLOAT16)
        if integers and ranges[name].largest > EXACT_INTEGER:
            yield f"integers up to {ranges[name].largest:.0f}, exact in half to {EXACT_INTEGER}"


def _of_array(array: Array) -> Range:
    if array.dtype != np.float32 or not array.size:
        return Range()
    wide = array.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    with np.errstate(over="ignore"):
        lost = finite - finite.astype(np.float16)
    largest = float(np.abs(finite).max(initial=0.0))
    return Range(largest, float((finite**2).sum()), float((lost**2).sum()), array.size)


def _measured(
    model: onnx.ModelProto,
    spec: InputSpec,
    frames: Sequence[Image],
    types: Mapping[str, int],
    *,
    origin: str,
) -> dict[str, Range]:
    """Range of every float32 tensor that a node computes, over all frames, in FP32."""
    names = [n for node in model.graph.node for n in node.output if types.get(n) == FLOAT]
    ranges = {name: Range() for name in names}
    image = np.zeros(spec.tensor.shape, np.uint8)
    parts = [names[i : i + WATCHED] for i in range(0, len(names), WATCHED)]
    steps = [(part, frame) for part in parts for frame in frames]
    opened: list[str] = []
    for part, frame in counted(steps, "measuring ranges", total=len(steps), unit="runs"):
        if part is not opened:
            opened, watched = part, _with_statistics(model, part).SerializeToString()
            session = open_session(watched, origin=origin, optimise=False)
        Letterbox.fit((frame.shape[1], frame.shape[0]), spec).apply(frame, image)
        made = run_session(session, {spec.name: image}, origin=origin)
        for i, name in enumerate(part):
            largest, energy, lost, size = (float(made[_statistic(k, i)]) for k in _STATISTICS)
            if np.isnan(energy) or np.isinf(largest):
                raise ExportError(
                    f"{origin}: tensor {name!r} is not finite in FP32 already, on a real frame. "
                    "The model itself is broken: train or export it again."
                )
            seen = ranges[name]
            ranges[name] = Range(
                max(seen.largest, largest), seen.energy + energy, seen.lost + lost, int(size)
            )
    return ranges


_STATISTICS = ("largest", "energy", "lost", "size")


def _statistic(kind: str, i: int) -> str:
    return f"outrider/{kind}_{i}"


def _with_statistics(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The graph with four scalar outputs for each of ``names``: no map leaves the runtime."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    for i, name in enumerate(names):
        at = f"outrider/range_{i}"
        steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
            ("Abs", [name], f"{at}/abs", {}),
            ("ReduceMax", [f"{at}/abs"], _statistic("largest", i), {"keepdims": 0}),
            ("ReduceSumSquare", [name], _statistic("energy", i), {"keepdims": 0}),
            ("Cast", [name], f"{at}/half", {"to": FLOAT16}),
            ("Cast", [f"{at}/half"], f"{at}/wide", {"to": FLOAT}),
            ("Sub", [name, f"{at}/wide"], f"{at}/lost", {}),
            ("ReduceSumSquare", [f"{at}/lost"], _statistic("lost", i), {"keepdims": 0}),
            ("Size", [name], _statistic("size", i), {}),
        ]
        graph.node.extend(helper.make_node(op, xs, [y], **how) for op, xs, y, how in steps)
        graph.output.extend(
            helper.make_tensor_value_info(
                _statistic(k, i), TensorProto.INT64 if k == "size" else FLOAT, []
            )
            for k in _STATISTICS
        )
    return made
