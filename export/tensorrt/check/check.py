"""Whether TensorRT will take an ONNX file: NVIDIA's own word where its libraries are, else a table.

The table also says what an older release lacks. What is refused is an error, each with a way out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from engines.errors import ExportError, ModelError
from engines.model_file import is_quantized, load_model
from export.fp16.typed import kept_nodes
from export.onnx.graph import opset_of, uses_float16
from export.tensorrt.build.network import Network, check_half
from export.tensorrt.check import operators
from export.tensorrt.check.findings import Finding, table
from export.tensorrt.check.judge import TARGET, Judge, ask
from export.tensorrt.check.operators import RELEASES
from export.tensorrt.check.profiles import Profile, check_inputs

_NO_JUDGE = "for NVIDIA's own word: pip install -c constraints/rtx.txt -e '.[rtx]'"


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one file; ``release`` is that of the table, None where it was not asked."""

    judge: Judge | None
    release: str | None
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
        name = f"{self.judge.trt.name} {self.judge.trt.version}" if self.judge else ""
        listed = f"TensorRT {self.release}" if self.release else ""
        return " and the table of ".join(filter(None, (name, listed)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        judge = self.judge and {
            "flavour": self.judge.trt.flavour,
            "name": self.judge.trt.name,
            "version": self.judge.trt.version,
            "asked": self.judge.asked,
            "target": TARGET if self.judge.builds else None,
        }
        return {
            "judge": judge,
            "tensorrt": self.release,
            "table": operators.release(self.release).table if self.release else None,
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
    build: bool = True,
) -> Report:
    """Ask ``judge`` about a file, then the table of ``release``, one of ``RELEASES``.

    ``build`` False leaves the judge's builder out.

    Raises:
        ModelError: the file cannot be read.
        SettingsError: a profile is for an input that the file does not have.
        EngineError: the judge fails before it looks at the file.
    """
    model = load_model(path)
    if any(isinstance(text, bytes) for text in _texts(model.graph)):
        raise ModelError(f"{path}: has a name that is not UTF-8: it is damaged. Export it again.")
    findings = list(check_inputs(model, profiles or {}))
    precision = _precision(model)
    if judge is not None:
        verdict = ask(judge, path, profiles or {}, build=build and not findings)
        findings += verdict.findings
        if verdict.network is not None:
            findings += _open_outputs(verdict.network, bool(profiles or findings))
            if uses_float16(model):
                try:
                    precision += f", {_half(verdict.network, model, path)}"
                except ExportError as exc:
                    way_out = "edge-export fp16, with --keep NODE for what is to stay in FP32"
                    findings.append(
                        Finding("error", "precision", "the network", "", str(exc), way_out)
                    )
    if release is not None:
        told = {f.node for f in findings}
        lacks = operators.check_operators(model, operators.release(release))
        findings += [f for f in lacks if f.node not in told or f.node == "the file"]
    return Report(
        judge=judge,
        release=release,
        opset=opset_of(model),
        nodes=len(model.graph.node),
        precision=precision,
        findings=tuple(findings),
    )


def _texts(graph: onnx.GraphProto) -> Iterator[Any]:
    """Every name in a graph; bytes where protobuf cannot read one, over which TensorRT stumbles."""
    yield from (held.name for held in (*graph.input, *graph.output, *graph.initializer))
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name
            for inner in (attribute.g, *attribute.graphs):
                yield from _texts(inner)


def _half(network: Network, model: onnx.ModelProto, path: Path) -> str:
    return check_half(network.layers, kept_nodes(model), origin=path.name)


def _open_outputs(network: Network, open_inputs: bool) -> Iterator[Finding]:
    for output in network.outputs:
        if -1 in output.shape and not open_inputs:
            yield Finding(
                "warning", "shape", f"output {output.name}", "",
                "has a size that is known only after the run; an engine of the app wants it fixed",
                "leave NonZero, NonMaxSuppression and the like to the host",
            )  # fmt: skip


def _precision(model: onnx.ModelProto) -> str:
    if uses_float16(model):
        kept = kept_nodes(model)
        return "FP16" + (f", {len(kept)} named to stay in FP32" if kept else "")
    if is_quantized(model):
        return "int8 in parts"
    return "FP32 (edge-export fp16 makes the FP16 form)"


def report_lines(report: Report) -> list[str]:
    """The report for the terminal."""
    lines = []
    if report.judge is not None:
        lines.append(f"judged by    {report.judge}")
    if report.release is not None:
        release = operators.release(report.release)
        alone = "" if report.judge else f"; it sees no shapes and no attributes; {_NO_JUDGE}"
        lines.append(
            f"{'and by' if report.judge else 'judged by':<13}a table of operators and types for "
            f"TensorRT {report.release} ({RELEASES[report.release]}), of release {release.table} "
            f"and what is known to have come since{alone}"
        )
    lines.append(f"graph        opset {report.opset}, {report.nodes} nodes, {report.precision}")
    lines += table(report.findings)
    if report.taken:
        lines.append(f"taken        nothing found that {report.against} would refuse")
    return lines
