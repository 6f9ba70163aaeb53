"""Whether TensorRT will take an ONNX file, from its graph alone: without TensorRT or a GPU.

What TensorRT is known to refuse is an error, what the tables do not know a warning; each has its
node and a way out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from engines.model_file import is_quantized, load_whole
from export.tensorrt.check import operators, rules, shapes, strong_types
from export.tensorrt.check.dla import RULES as DLA_RULES
from export.tensorrt.check.dla import Layer, check_dla, layers
from export.tensorrt.check.net import Fault, Finding, Level, Net, Node, read_net
from export.tensorrt.check.operators import RELEASES, Release
from export.tensorrt.check.shapes import Profile

_FP32 = "FP32 (edge-export fp16 makes the FP16 form)"
_AGAIN = "export the model again"
_NAMED = 3
"""Nodes with the same fault that the terminal names; ``--json`` names all."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one file for one release; ``layers`` is None where not asked for."""

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
        judged = {"rules": DLA_RULES, "layers": [asdict(layer) for layer in self.layers or ()]}
        return {
            "tensorrt": self.release,
            "table": self.table,
            "opset": self.opset,
            "nodes": self.nodes,
            "precision": self.precision,
            "taken": self.taken,
            "findings": [asdict(f) for f in self.findings],
            "dla": None if self.layers is None else judged,
        }


def check_file(
    path: Path, trt: str, *, profiles: Mapping[str, Profile] | None = None, dla: bool = False
) -> Report:
    """Check a model file.

    Raises:
        ModelError: the file cannot be read.
        ExportError, SettingsError: as ``check_model``.
    """
    return check_model(load_whole(path), trt, profiles=profiles, dla=dla, origin=str(path))


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
        ExportError: its types cannot be inferred at all.
        SettingsError: a profile is for an input that it does not have.
    """
    profiles = profiles or {}
    release = operators.release(trt)
    of_inputs = list(shapes.check_inputs(model, profiles))
    fixed = {} if of_inputs else shapes.fixed_shapes(model, profiles)
    net = read_net(model, origin=origin, fixed=fixed)
    findings = [
        *(n.finding("error", "onnx", Fault(n.fault, _AGAIN)) for n in net.nodes if n.fault),
        *operators.check_opset(net, release),
        *of_inputs,
    ]
    net = replace(net, nodes=tuple(n for n in net.nodes if not n.fault))
    findings += _findings(net, release, profiles)
    if dla:
        findings += check_dla(release)
    refused = {f.node for f in findings if f.rule == "operator" and f.level == "error"}
    precision = "int8 in parts" if is_quantized(model) else _FP32
    if strong_types.is_half(net):
        precision = "FP16" + (f", {len(net.kept)} named to stay in FP32" if net.kept else "")
    return Report(
        release=trt,
        table=release.table,
        opset=net.opset,
        nodes=len(net.nodes),
        precision=precision,
        # of an operator that TensorRT does not have, nothing else matters
        findings=tuple(f for f in findings if f.rule == "operator" or f.node not in refused),
        layers=tuple(layers(net)) if dla else None,
    )


def _findings(net: Net, release: Release, profiles: Mapping[str, Profile]) -> Iterator[Finding]:
    def each(
        rule: str, check: Callable[[Node], Iterator[Fault]], level: Level = "error"
    ) -> Iterator[Finding]:
        return (node.finding(level, rule, fault) for node in net.nodes for fault in check(node))

    yield from operators.check_operators(net, release)
    yield from rules.check_restrictions(net, release)
    yield from strong_types.check_edges(net)
    yield from each("uint8", lambda node: strong_types.check_uint8(node, net))
    yield from each("typing", lambda node: strong_types.check_agreement(node, release))
    yield from strong_types.check_islands(net)
    yield from each("int64", strong_types.check_integers)
    yield from each("shape", shapes.check_ranks)
    yield from shapes.check_outputs(net, profiles)
    yield from each("float64", operators.check_doubles, "warning")


def report_lines(report: Report) -> list[str]:
    """The report for the terminal."""
    lines = [
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
        lines.append(f"{level:<13}{who}{more}{kind}: {problem}{about}")
        lines.append(f"{'':<13}way out: {way_out}")
    if report.layers is not None:
        lines += _dla_lines(report.layers, half=report.precision.startswith("FP16"))
    if report.taken:
        lines.append(f"taken        nothing found that TensorRT {report.release} would refuse")
    return lines


def _dla_lines(found: Sequence[Layer], *, half: bool) -> list[str]:
    able = sum(layer.eligible for layer in found)
    as_half = "" if half else ", judged as its FP16 form would be"
    lines = [f"dla          {able} of {len(found)} layers could run there{as_half}"]
    reasons = Counter(f"{x.operator}: {x.reason}" for x in found if not x.eligible)
    lines += [f"{'':<13}{count} × {reason}" for reason, count in reasons.most_common()]
    lines.append(f"{'':<13}by {DLA_RULES}")
    return lines
