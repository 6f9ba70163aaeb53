"""What the tensors of a graph hold on real frames, and ranges for their integers out of it.

Histograms and their thresholds are ONNX Runtime's own calibration tools.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper

from edge.progress import counted
from engines.base import Array
from engines.errors import ExportError
from engines.onnxruntime import histogram_collector
from export.int8.qdq import Range
from export.onnx.session import open_session, run_session

if TYPE_CHECKING:
    import onnxruntime as ort

METHODS = ("min-max", "percentile 99.999", "percentile 99.99", "entropy")
"""How a range is chosen, from the widest to the narrowest."""
SAMPLES = 1 << 14
"""Values of a tensor that a frame adds to its histogram, evenly spread; extremes see all."""
BINS = {"percentile": 2048, "entropy": 512}
"""ONNX Runtime's default of 128 for entropy leaves 64 for the values behind a ReLU."""
LEVELS = 128
"""Of the integers that entropy compares a histogram with: ONNX Runtime's default."""


@dataclass(frozen=True, slots=True)
class Measured:
    """``ranges`` of all tensors by each of ``METHODS``.

    ``peaks`` has the largest value without its sign by channel, (C,), of tensors (N, C, H, W).
    """

    ranges: Mapping[str, Mapping[str, Range]]
    peaks: Mapping[str, Array]


def watching(
    model: onnx.ModelProto, names: Collection[str], *, origin: str
) -> ort.InferenceSession:
    """A session of ``model`` that gives the float tensors ``names``, too.

    Raises:
        ExportError: ONNX Runtime refuses the graph.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    present = {o.name for o in watched.graph.output}
    watched.graph.output.extend(
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names if n not in present
    )
    return open_session(watched.SerializeToString(), origin=origin)


def measure(
    model: onnx.ModelProto,
    names: Sequence[str],
    feeds: Sequence[Mapping[str, Array]],
    *,
    origin: str,
) -> Measured:
    """Run ``feeds`` through the FP32 graph and look at the float tensors ``names``.

    Raises:
        ExportError: the graph cannot be run, or a value is not finite.
    """
    session = watching(model, names, origin=origin)
    extremes = dict.fromkeys(names, (0.0, 0.0))
    peaks: dict[str, Array] = {}
    samples: dict[str, list[Array]] = {name: [] for name in names}
    for feed in counted(feeds, "measuring ranges", total=len(feeds)):
        made = run_session(session, feed, origin=origin)
        for name in names:
            values, (low, high) = made[name], extremes[name]
            extremes[name] = min(low, float(values.min())), max(high, float(values.max()))
            if not np.isfinite([values.min(), values.max()]).all():
                raise ExportError(
                    f"{origin}: tensor {name!r} is not finite in FP32 already, on a real frame. "
                    "The model itself is broken: train or export it again."
                )
            if values.ndim == 4:
                peak = np.abs(values).max(axis=(0, 2, 3))
                peaks[name] = np.maximum(peaks.get(name, peak), peak)
            samples[name].append(values.ravel()[:: -(-values.size // SAMPLES)].copy())
    whole = {name: np.concatenate(parts) for name, parts in samples.items()}
    return Measured({m: _ranges(m, whole, extremes) for m in METHODS}, peaks)


def _ranges(
    method: str, values: Mapping[str, Array], extremes: Mapping[str, Range]
) -> Mapping[str, Range]:
    """The range of each tensor by one of ``METHODS``, never beyond its extremes."""
    kind, _, percent = method.partition(" ")
    if kind == "min-max":
        return extremes
    collector = histogram_collector(
        kind, bins=BINS[kind], levels=LEVELS, percentile=float(percent or 0)
    )
    with contextlib.redirect_stdout(io.StringIO()):  # it tells each tensor's
        collector.collect(values)
        found = collector.compute_collection_result()
    return {
        name: (max(float(found[name][0]), low), min(float(found[name][1]), high))
        for name, (low, high) in extremes.items()
    }
