"""Whether TensorRT will take an ONNX file: NVIDIA's own word where its libraries are, else a table.

The table also says what an older release lacks. What is refused is an error, each with a way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from engines.errors import ExportError
from engines.model_file import is_quantized, load_model
from export.fp16.typed import kept_nodes
from export.onnx.graph import opset_of, uses_float16
from export.tensorrt.build.network import check_half
from export.tensorrt.check import operators
from export.tensorrt.check.findings import Finding, table
from export.tensorrt.check.judge import Judge, ask
from export.tensorrt.check.operators import RELEASES, Release
from export.tensorrt.profiles import Profile, check_inputs

_NO_JUDGE = (
    "for NVIDIA's own word: pip install -c constraints/rtx.txt -e '.[rtx]' (on a Jetson: apt "
    "install python3-libnvinfer)"
)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one file; ``release`` is that of the table, None where it was not asked."""

    judge: Judge | None
    release: Release | None
    opset: int
    nodes: int
    precision: str
    findings: tuple[Finding, ...]

    @property
    def taken(self) -> bool:
        """Whether nothing was found that TensorRT refuses."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What TensorRT refuses."""
        return tuple(f for f in self.findings if f.level == "error")

    @property
    def against(self) -> str:
        """Who judged, in a few words."""
        listed = f"the table of TensorRT {self.release.name}" if self.release else ""
        return " and ".join(filter(None, (self.judge.name if self.judge else "", listed)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "judge": self.judge.to_dict() if self.judge else None,
            "tensorrt": self.release.name if self.release else None,
            "table": self.release.table if self.release else None,
            "opset": self.opset,
            "nodes": self.nodes,
            "precision": self.precision,
            "taken": self.taken,
            "findings": [asdict(f) for f in self.findings],
        }


def check_file(
    path: Path,
    *,
    judge: Judge | None,
    release: str | None,
    profiles: Mapping[str, Profile] | None = None,
) -> Report:
    """Ask ``judge`` about a file, then the table of ``release``, one of ``RELEASES``.

    Raises:
        ModelError: the file cannot be read.
        SettingsError: a profile is for an input that the file does not have.
        EngineError: the judge fails before it looks at the file.
    """
    model, table_of = load_model(path), release and operators.release(release)
    findings = list(check_inputs(model, profiles or {}))
    precision = _precision(model)
    if judge is not None:
        verdict = ask(judge if not findings else judge._replace(builds=False), path, profiles or {})
        if verdict.network is not None and uses_float16(model):
            layers, kept = verdict.network.layers, kept_nodes(model)
            try:
                precision = f"{precision}, {check_half(layers, kept, origin=path.name)}"
            except ExportError as exc:
                found = ("the network", "", str(exc), "convert the FP32 file again")
                findings.append(Finding("warning", "precision", *found))
        findings += verdict.findings
    if table_of:
        told = {f.node for f in findings if f.node != "the file"}
        lacks = operators.check_operators(model, table_of)
        findings += [f for f in lacks if f.node not in told]
    return Report(
        judge, table_of or None, opset_of(model), len(model.graph.node), precision, tuple(findings)
    )


def _precision(model: onnx.ModelProto) -> str:
    if uses_float16(model):
        return "FP16"
    if is_quantized(model):
        return "int8 in parts"
    return "FP32 (edge-export fp16 makes the FP16 form)"


def report_lines(report: Report) -> list[str]:
    """The report for the terminal."""
    lines = []
    if report.judge is not None:
        lines.append(f"judged by    {report.judge}")
    if report.release is not None:
        name, of = report.release.name, report.release.table
        alone = "" if report.judge else f"; it sees no shapes and no attributes; {_NO_JUDGE}"
        lines.append(
            f"{'and by' if report.judge else 'judged by':<13}a table of operators and types for "
            f"TensorRT {name} ({RELEASES[name]}), of release {of} and what is known to have come "
            f"since{alone}"
        )
    lines.append(f"graph        opset {report.opset}, {report.nodes} nodes, {report.precision}")
    lines += table(report.findings)
    if report.taken:
        lines.append(f"taken        nothing found that {report.against} would refuse")
    return lines
