"""Finds the quantisation of one form that holds the gate: calibrator, equalising, biases, layers.

All are tried by the gate's own measure. Layers go back to float only where nothing else holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec as find_module
from itertools import islice
from pathlib import Path

import onnx

from engines import cpu_engines
from engines.base import Array
from engines.errors import ExportError
from engines.model_file import ModelFile, write_spec
from engines.spec import ModelSpec
from export.compare.errors import output_errors
from export.int8.biases import corrected, mean_shifts
from export.int8.equalise import equalise
from export.int8.gate import Gate, Verdict
from export.int8.layers import Graph
from export.int8.qdq import EIGHT, SEVEN, Form, Plan, quantised_tensors, to_qdq
from export.int8.ranges import Measured, measure
from export.int8.sensitivity import ranked

FEW, FEWER = 8, 4
"""Frames of those that calibrate: for means, and for what takes a run a layer."""
BLAMED = 3
"""Layers named in a refusal."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Frames:
    """What the network is fed: ``all`` to calibrate, ``few`` of them for means and rankings."""

    all: Sequence[Mapping[str, Array]]

    @property
    def few(self) -> Sequence[Mapping[str, Array]]:
        """``FEW`` of them, spread."""
        return self.all[:: max(1, len(self.all) // FEW)][:FEW]


@dataclass(frozen=True)
class Prepared:
    """An FP32 graph, as it came or equalised, and what its tensors hold."""

    name: str
    graph: Graph
    measured: Measured


@dataclass(frozen=True)
class Quantised:
    """One way to quantise, and how it was judged."""

    name: str
    plan: Plan
    shifts: Mapping[str, Array] = field(default_factory=dict)
    """What int8 adds to the means of layers, where their biases are corrected."""
    verdict: Verdict = field(default_factory=lambda: Verdict((), (), 0))
    blamed: tuple[str, ...] = ()
    """The layers whose integers do most harm, where they had to be ranked."""
    refused: str = "it was not judged"
    """Why it may not be written; empty where the gate holds in every engine here."""

    def model(self, spec: ModelSpec) -> onnx.ModelProto:
        """The file's model with ``spec`` in it."""
        shifts = {n: shift for n, shift in self.shifts.items() if n not in self.plan.kept}
        graph = corrected(self.plan.graph, shifts)
        made = to_qdq(replace(self.plan, graph=graph))
        write_spec(made, spec)
        return made


def prepared(model: onnx.ModelProto, frames: Frames, *, origin: str) -> list[Prepared]:
    """The graph as it is, and equalised, with the ranges of each.

    Raises:
        ExportError: it cannot be run, gives what is not finite, or has no layer to quantise.
    """
    graph = Graph(model)
    if not set(graph.layers) - set(graph.float_from_start()):
        raise ExportError(
            f"{origin}: has no layer that could compute in int8: none of its {len(graph.layers)} "
            "convolutions and matrix products with constant weights lies before its last ones."
        )
    plain = Prepared("", graph, _measure(graph, frames, origin))
    even = equalise(graph, plain.measured.peaks)
    if even is graph:
        return [plain]
    return [plain, Prepared(", equalised", even, _measure(even, frames, origin))]


def _measure(graph: Graph, frames: Frames, origin: str) -> Measured:
    # In this form every tensor that any form or choice of layers quantises is among them.
    names = sorted(quantised_tensors(graph, {}, "uint8"))
    return measure(graph.model, names, frames.all, origin=origin)


class Search:
    """Tries ways to quantise in one form, says each, and keeps the best."""

    def __init__(
        self, form: Form, gate: Gate, frames: Frames, spec: ModelSpec, folder: Path, say: Say
    ) -> None:
        self._form, self._gate, self._frames, self._spec = form, gate, frames, spec
        self._file, self._say = folder / f"{form}.onnx", say

    def best(self, graphs: Sequence[Prepared], *, origin: str) -> Quantised:
        """The best quantisation found, which may be refused.

        Raises:
            ExportError, EngineError: a graph cannot be run.
        """
        found = self._found(graphs, SEVEN if self._form == "uint8" else EIGHT, origin=origin)
        if found.refused and found.plan.top == EIGHT and (error := self._errs(found)):
            self._say(f"{self._form:<12} weights of 7 bits, as with 8 in {error}")
            found = self._found(graphs, SEVEN, origin=origin)
        return found

    def _found(self, graphs: Sequence[Prepared], top: int, *, origin: str) -> Quantised:
        start = graphs[0].graph.float_from_start()
        tried = [
            self._judged(Quantised(name + p.name, Plan(p.graph, start, ranges, self._form, top)))
            for p in graphs
            for name, ranges in p.measured.ranges.items()
        ]
        best = min(tried, key=_by_worst)
        shifts = mean_shifts(best.plan, self._frames.few, origin=origin)
        name = f"{best.name}, biases corrected"
        tried.append(self._judged(replace(best, name=name, shifts=shifts)))
        tried.sort(key=_by_worst)
        confirmed = []
        for one in tried:
            confirmed.append(self._confirmed(one))
            if not confirmed[-1].refused:
                return confirmed[-1]
        return self._with_float_layers(confirmed[0], origin=origin)

    def _errs(self, one: Quantised) -> str:
        """The engine here that errs more than the file by itself, and by how much; or nothing."""
        self._write(one)
        file = ModelFile(self._file)
        images = [image for feed in self._frames.few[:FEWER] for (image,) in feed.values()]
        for engine in cpu_engines(file, "f32"):
            for error in output_errors(file, engine, images):
                if error.fails:
                    return f"{engine} {error}"
        return ""

    def _with_float_layers(self, found: Quantised, *, origin: str) -> Quantised:
        """The fewest of the most harmful layers in float with which the gate holds, by halving."""
        harm = ranked(found.plan, self._frames.few[:FEWER], origin=origin)
        reasons = {
            name: f"number {i} of {len(harm)} in harm: its int8 alone leaves the answer "
            f"{db:.1f} dB above the error"
            for i, (name, db) in enumerate(harm.items(), start=1)
        }
        fails, holds, count = 0, 0, 1
        best = found
        while fails + 1 < (holds or len(harm) // 2 + 1):
            kept = {**found.plan.kept, **dict(islice(reasons.items(), count))}
            name = f"{found.name}, {count} more in float"
            tried = self._judged(replace(found, name=name, plan=replace(found.plan, kept=kept)))
            tried = self._confirmed(tried)
            if not tried.refused:
                best, holds = tried, count
            else:
                fails = count
                best = best if holds else tried
            count = (fails + holds) // 2 if holds else min(2 * count, len(harm) // 2)
        return replace(best, blamed=tuple(islice(harm, BLAMED)))

    def _judged(self, one: Quantised) -> Quantised:
        self._write(one)
        judged = replace(one, verdict=self._gate.judge(self._file))
        self._say(f"{self._form:<12} {one.name}: {judged.verdict}")
        return judged

    def _confirmed(self, one: Quantised) -> Quantised:
        """Whether it holds, in OpenVINO too, which takes integer graphs apart in its own way."""
        verdict, where = one.verdict, ""
        if verdict.holds and find_module("openvino") is not None:
            self._write(one)
            verdict, where = self._gate.judge(self._file, engine="openvino"), "in openvino "
            self._say(f"{self._form:<12} {one.name}, in openvino: {verdict}")
        return replace(one, refused="" if verdict.holds else where + "; ".join(verdict.failures()))

    def _write(self, one: Quantised) -> None:
        self._file.write_bytes(one.model(self._spec).SerializeToString())


def _by_worst(quantised: Quantised) -> tuple[bool, float]:
    return bool(quantised.verdict.broken), quantised.verdict.worst
