"""``edge-export check-tensorrt``: will TensorRT take this file? It reads the graph, builds nothing.

It needs neither TensorRT nor a GPU. What it does not know it calls a warning; what TensorRT is
known to refuse is an error, each with its node and the way out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from engines.model_file import is_quantized
from export.onnx.graph import load_whole
from export.tensorrt.check.dla import RULES as DLA_RULES
from export.tensorrt.check.dla import Layer, check_dla, layers
from export.tensorrt.check.net import Finding, read_net
from export.tensorrt.check.operators import (
    RELEASES,
    check_doubles,
    check_nodes,
    check_operators,
    check_opset,
    release,
)
from export.tensorrt.check.rules import check_restrictions
from export.tensorrt.check.shapes import (
    Profile,
    check_inputs,
    check_shapes,
    fixed_shapes,
)
from export.tensorrt.check.strong_types import (
    check_agreement,
    check_edges,
    check_integers,
    check_islands,
    check_uint8,
    is_half,
    kept_nodes,
)

_FP32 = "FP32 (edge-export fp16 makes the FP16 form)"
_NAMED = 3
"""Nodes that are named of those with the same fault; ``--json`` names all."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one file for one release. ``layers`` is None where none was asked for."""

    release: str
    table: str
    opset: int
    nodes: int
    precision: str
    findings: tuple[Finding, ...]
    layers: tuple[Layer, ...] | None

    @property
    def taken(self) -> bool:
        """Whether nothing was found that TensorRT refuses."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What TensorRT refuses."""
        return tuple(f for f in self.findings if f.level == "error")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        dla = {"rules": DLA_RULES, "layers": [asdict(layer) for layer in self.layers or ()]}
        return {
            "tensorrt": self.release,
            "table": self.table,
            "opset": self.opset,
            "nodes": self.nodes,
            "precision": self.precision,
            "taken": self.taken,
            "findings": [asdict(f) for f in self.findings],
            "dla": None if self.layers is None else dla,
        }


def check_model(
    model: onnx.ModelProto,
    trt: str,
    *,
    profiles: Mapping[str, Profile] | None = None,
    dla: bool = False,
    origin: str,
) -> Report:
    """Check a whole model, external weights loaded, for a release: one of ``RELEASES``.

    Raises:
        ExportError: its types cannot be known at all.
        SettingsError: a profile is for an input that it does not have.
    """
    profiles = profiles or {}
    known = release(trt)
    asked = list(check_inputs(model, profiles))
    fixed = {} if asked else fixed_shapes(model, profiles)
    net = read_net(model, origin=origin, fixed=fixed)
    faults = list(check_nodes(net))
    net = replace(net, nodes=tuple(n for n in net.nodes if not n.fault))
    findings = [
        *faults,
        *check_opset(net, known),
        *asked,
        *check_operators(net, known),
        *check_restrictions(net, known),
        *check_edges(net),
        *check_uint8(net),
        *check_agreement(net, known),
        *check_islands(net),
        *check_integers(net),
        *check_shapes(net, profiles),
        *check_doubles(net),
        *(check_dla(known) if dla else ()),
    ]
    refused = {f.node for f in findings if f.rule == "operator" and f.level == "error"}
    kept = len(kept_nodes(net))
    precision = "int8 in parts" if is_quantized(model) else _FP32
    if is_half(net):
        precision = "FP16" + (f", {kept} named to stay in FP32" if kept else "")
    return Report(
        release=trt,
        table=known.table,
        opset=net.opset,
        nodes=len(net.nodes),
        precision=precision,
        # of an operator that TensorRT does not have, nothing else matters
        findings=tuple(f for f in findings if f.rule == "operator" or f.node not in refused),
        layers=tuple(layers(net)) if dla else None,
    )


def check_file(
    path: Path, trt: str, *, profiles: Mapping[str, Profile] | None = None, dla: bool = False
) -> Report:
    """Check a model file; as ``check_model``.

    Raises:
        ModelError: the file cannot be read.
        ExportError: its types cannot be known at all.
        SettingsError: a profile is for an input that it does not have.
    """
    return check_model(load_whole(path), trt, profiles=profiles, dla=dla, origin=str(path))


def lines(report: Report) -> list[str]:
    """The report for the terminal."""
    told = [
        f"graph        opset {report.opset}, {report.nodes} nodes, {report.precision}",
        f"against      TensorRT {report.release} ({RELEASES[report.release]}); operators as of "
        f"release {report.table} and what is known to have come since",
    ]
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for f in report.findings:
        groups.setdefault((f.level, f.operator, f.problem, f.way_out), []).append(f)
    for (level, operator, problem, way_out), alike in groups.items():
        who = ", ".join(f.node for f in alike[:_NAMED])
        more = f" and {len(alike) - _NAMED} more" if len(alike) > _NAMED else ""
        kind = f" ({operator})" if operator else ""
        about = f", {', '.join(alike[0].tensors)}" if len(alike) == 1 and alike[0].tensors else ""
        told.append(f"{level:<13}{who}{more}{kind}: {problem}{about}")
        told.append(f"{'':<13}way out: {way_out}")
    if report.layers is not None:
        told += _dla_lines(report.layers, half=report.precision.startswith("FP16"))
    if report.taken:
        told.append(f"taken        nothing found that TensorRT {report.release} would refuse")
    return told


def _dla_lines(found: Sequence[Layer], *, half: bool) -> list[str]:
    able = sum(layer.eligible for layer in found)
    as_half = "" if half else ", judged as its FP16 form would be"
    told = [f"dla          {able} of {len(found)} layers could run there{as_half}"]
    reasons = Counter(f"{x.operator}: {x.reason}" for x in found if not x.eligible)
    told += [f"{'':<13}{count} × {reason}" for reason, count in reasons.most_common()]
    told.append(f"{'':<13}by {DLA_RULES}")
    return told
