"""An FP32 model file becomes INT8 ones that hold the gate, or is refused.

``NAME.int8.onnx`` has symmetric int8 activations, which TensorRT asks for; ``NAME.int8-cpu.onnx``
uint8 ones, which CPUs compute fastest. A file gets its final name only after the proof.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter

from edge.proven.adopt_cache import runnable
from edge.proven.trial import Timed, close_all, open_all, pick, time_in_turn
from edge.vision.letterbox import Letterbox
from edge.vision.types import Image
from engines import cpu_engines
from engines.base import Array, EngineOptions
from engines.errors import ExportError
from engines.files import scratch
from engines.model_file import ModelFile, any_sha256, is_quantized, sha256_of
from engines.runtimes import first_line
from engines.spec import InputSpec, ModelSpec
from export.compare.differences import FEWEST_BOXES
from export.data.frames import read_frames
from export.data.labelled import LabelledData
from export.int8.gate import Allowed, Gate
from export.int8.qdq import Form
from export.int8.search import Frames, Quantised, Say, Search, prepared
from export.onnx.graph import fold_constants, load_checked, name_nodes, opset_of, uses_float16
from export.outputs import check_model_target, published_after
from export.score.scores import check_ap

FLOAT_KEY = "outrider.float_layers"
"""Key in an INT8 file's ``metadata_props``: JSON, layer → why it stayed float."""
FORMS: Mapping[Form, str] = {"int8": "", "uint8": "-cpu"}
"""What stands behind the name of each form's file."""
OPSET = 13
"""The first in which channels may have scales of their own."""
COUNT = 32
"""Frames that calibrate, and as many others that judge where there are no labels."""
FEWEST = 10
ONE_COLOUR = 8
"""Grey levels between a frame's darkest and brightest pixel, up to which it shows nothing: noise of
a covered lens."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What to calibrate and judge on: ``frames`` is a source, ``labelled`` data with truth."""

    frames: str | None
    labelled: LabelledData | None
    renames: Mapping[str, str]
    allowed: Allowed
    judge: Path | None = None
    """A model that is read for the truth of ``labelled``."""


def convert_file(path: Path, target: Path | None, *, proof: Proof, say: Say) -> list[Path]:
    """Quantise one model file in both forms; the files written. ``say`` takes the report.

    ``target`` None is NAME.int8.onnx beside it. Without ``proof.labelled`` every other frame
    calibrates and the rest judge.

    Raises:
        ModelError: the file cannot be read, or the target not be written.
        ExportError: it cannot be quantised, the frames show too little, or no form held the gate.
        SettingsError: the target is a file that is read.
        SourceError: the frames cannot be read.
    """
    target = target or path.with_name(f"{path.stem}.int8.onnx")
    targets = {f: target.with_name(f"{target.stem}{end}.onnx") for f, end in FORMS.items()}
    for place in (target, *targets.values()):
        for source in filter(None, (path, proof.judge)):
            check_model_target(place, source, frames=proof.frames)
    if path.suffix == ".onnx":
        _check_fp32(ModelFile(path).model, path)  # before it is adopted, which takes a while
    file = runnable(path, proof.frames).path
    model, spec = _readable(file, path)
    name_nodes(model)
    fold_constants(model, origin=str(path))
    calibrate, judge = _frames(proof, say)
    frames = Frames([_fed(image, spec.input) for image in calibrate])
    gate = Gate(file, judge, labelled=proof.labelled, renames=proof.renames, allowed=proof.allowed)
    if gate.broken:
        raise ExportError(
            f"{path}: its output {gate.broken[0]} is not finite in FP32 already. Export it again."
        )
    if gate.not_judged:
        say(f"not judged   by too few boxes: {', '.join(gate.not_judged)}")
    if not gate.judged:
        raise ExportError(
            f"{path}: the {gate.frames} frames that judge show too little: no mask, and of no "
            f"class {FEWEST_BOXES} boxes. Name others with --frames, or labelled ones with --data."
        )
    graphs = prepared(model, frames, origin=str(path))
    spec = replace(spec, precision="int8", source_sha256=any_sha256(path), gate="")
    made: list[Path] = []
    failed: list[str] = []
    with scratch() as folder:
        for form, place in targets.items():
            search = Search(form, gate, frames, spec, folder, say)
            best = search.best(graphs, origin=str(path))
            failures = _published(best, place, spec, say)
            if failures:
                failed.append(f"{place.name}: {failures}")
            else:
                made.append(place)
    if made:
        _say_times(file, made, say)
    if failed:
        others = f"Written: {', '.join(map(str, made))}." if made else "Nothing was written."
        raise ExportError(
            f"{path}: refused in INT8, {'; '.join(failed)}. {others} Calibrate on frames like "
            "those it will see with --frames, or say with --miou and --ap50 how much may be lost."
        )
    return made


def _check_fp32(model: onnx.ModelProto, path: Path) -> None:
    if is_quantized(model):
        raise ExportError(
            f"{path}: is quantised already. Quantise the FP32 file that it was made from."
        )
    if uses_float16(model):
        raise ExportError(
            f"{path}: has float16 tensors inside. Quantise the FP32 file that it was made from."
        )


def _readable(file: Path, path: Path) -> tuple[onnx.ModelProto, ModelSpec]:
    model, spec = load_checked(file)
    if spec.detection is not None:
        check_ap()  # the gate wants it, after minutes
    if opset_of(model) < OPSET:
        try:
            model = onnx.version_converter.convert_version(model, OPSET)
        except Exception as exc:  # of any kind: the converter is C++
            raise ExportError(
                f"{path}: is of opset {opset_of(model)}, to quantise by channel wants {OPSET}, and "
                f"it cannot be brought there: {first_line(exc)}. Export it at {OPSET} or later."
            ) from exc
    return model, spec


def _frames(proof: Proof, say: Say) -> tuple[Sequence[Image], Sequence[Image]]:
    """Images to calibrate on, and to judge on where there are no labels."""
    data = proof.labelled
    if data is not None and proof.frames is None:
        step = max(1, data.count // COUNT)
        images = [data.load(i).image for i in range(0, data.count, step)[:COUNT]]
        said = f"{len(images)} of the {data.count} images that judge; --frames names others"
        calibrate, judge = images, []
    else:
        read = read_frames(proof.frames, count=COUNT if data else 2 * COUNT)
        said = read.described
        calibrate = list(read.images) if data else list(read.images[::2])
        judge = [] if data else list(read.images[1::2])
    say(f"frames       {said}")
    telling = [x for x in calibrate if np.ptp(x) > ONE_COLOUR]
    if len(telling) < FEWEST:
        plain = len(calibrate) - len(telling)
        raise ExportError(
            f"{said}: {len(calibrate)} frames to calibrate on, {plain} of them of one colour; "
            f"wanted {FEWEST} or more that show what the camera will see: --frames SOURCE."
        )
    return telling, judge


def _fed(image: Image, spec: InputSpec) -> dict[str, Array]:
    placed = np.zeros(spec.tensor.shape, np.uint8)
    Letterbox.fit((image.shape[1], image.shape[0]), spec).apply(image, placed)
    return {spec.name: placed}


def _published(best: Quantised, target: Path, spec: ModelSpec, say: Say) -> str:
    """Write the best of one form; why not, or nothing."""
    model = best.model(replace(spec, gate=f"{best.name}: {best.verdict}"))
    entry = model.metadata_props.add()
    entry.key, entry.value = FLOAT_KEY, json.dumps(best.plan.kept)
    say(f"float        {len(best.plan.kept)} of {len(best.plan.graph.layers)} layers")
    for name, reason in best.plan.kept.items():
        say(f"             {name}: {reason}")
    if best.refused:
        blamed = f"; most harm do {', '.join(best.blamed)}" if best.blamed else ""
        return f"{best.refused}{blamed}"
    with published_after(model, target):
        return ""


def _say_times(file: Path, made: Sequence[Path], say: Say) -> None:
    """The times of FP32 and INT8 files side by side, and whether a file is worth having here."""
    files = [ModelFile(path) for path in (file, *made)]
    tried = open_all(files, cpu_engines(files[0], "f32"), EngineOptions())
    try:
        time_in_turn(tried)
        rows = sorted(((c.timed(), c.file.path) for c in tried), key=lambda row: row[0].ms)
    finally:
        close_all(tried)
    best: dict[Path, Timed] = {}
    for row, path in rows:
        say(f"time         {row}")
        best.setdefault(path, row)
    for path in made:
        if file in best and path in best:
            usual, own = best[file], best[path]
            taken = pick([usual.ms, own.ms]) == 1
            verdict = "" if taken else ": not clearly faster, so the app will not choose it here"
            fp32 = f"the FP32 file in {usual.engine} at {usual.precision}"
            say(f"speed        {path.name} {usual.ms / own.ms:.2f} x {fp32}{verdict}")
        say(f"written      {path}, {path.stat().st_size / 1e6:.1f} MB, {sha256_of(path)[:12]}")
