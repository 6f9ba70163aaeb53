"""How much each layer's integers alone change what a network answers; it judges by no labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto

from edge.progress import counted
from engines.base import Array
from export.int8.layers import Graph
from export.int8.qdq import Plan, to_qdq
from export.int8.ranges import watching
from export.onnx.session import run_session


def ranked(plan: Plan, feeds: Sequence[Mapping[str, Array]], *, origin: str) -> dict[str, float]:
    """Layer → dB of signal over noise in the answer it harms most, the most harmful layer first.

    Raises:
        ExportError: a graph cannot be run.
    """
    graph = plan.graph
    true = _answers(graph, graph.model, feeds, origin=origin)
    candidates = [name for name in graph.layers if name not in plan.kept]
    found: dict[str, float] = {}
    for layer in counted(candidates, "ranking layers", total=len(candidates)):
        others = {name: "" for name in graph.layers if name != layer}
        alone = replace(plan, kept=others)
        got = _answers(graph, to_qdq(alone), feeds, origin=origin)
        ratios = [
            np.square(true[name]).sum() / max(np.square(true[name] - got[name]).sum(), 1e-30)
            for name in true
        ]
        found[layer] = float(10 * np.log10(max(min(ratios), 1e-30)))
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _answers(
    graph: Graph,
    model: onnx.ModelProto,
    feeds: Sequence[Mapping[str, Array]],
    *,
    origin: str,
) -> dict[str, Array]:
    """Float outputs, and what an ArgMax reads to make another, over all of ``feeds``."""
    names = []
    for output in graph.model.graph.output:
        name = output.name
        if output.type.tensor_type.elem_type != TensorProto.FLOAT:
            while (
                graph.maker[name].op_type != "ArgMax" and graph.maker[name].input[0] in graph.maker
            ):
                name = graph.maker[name].input[0]
            name = graph.maker[name].input[0]
        names.append(name)
    session = watching(model, names, origin=origin)
    runs = [run_session(session, feed, origin=origin) for feed in feeds]
    return {name: np.stack([run[name] for run in runs]).astype(np.float64) for name in names}
