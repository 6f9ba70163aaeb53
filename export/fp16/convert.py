"""An FP32 model file becomes a strongly typed FP16 one, or is refused.

Measure, convert, prove, publish: what half cannot hold on real frames stays in FP32 and is named.
The file gets its final name only after the proof.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from edge.vision.types import Image
from engines import open_engine
from engines.base import Engine
from engines.errors import ExportError, SettingsError
from engines.model_file import ModelFile, is_quantized, write_spec
from engines.spec import ModelSpec
from export.compare.differences import SAME, Limits
from export.compare.parity import Parity, compare
from export.data.frames import COUNT, read_frames
from export.fp16.ranges import sensitive_nodes
from export.fp16.typed import KEPT_KEY, to_float16
from export.onnx.graph import fold_constants, load_checked, name_nodes, uses_float16
from export.onnx.half import open_half
from export.outputs import check_model_target, published_after
from export.score.scores import check_ap

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was made: ``kept`` are the nodes left in FP32 and why, ``parity`` is the proof."""

    target: Path
    spec: ModelSpec
    kept: dict[str, str]
    parity: Parity


def convert_file(
    path: Path,
    target: Path | None = None,
    *,
    frames: str | None = None,
    keep: Sequence[str] = (),
    limits: Limits = SAME,
    say: Say,
) -> Conversion:
    """Convert one model file; ``say`` takes the report line by line.

    ``target`` None is NAME.fp16.onnx beside it, ``frames`` None the synthetic street. Every other
    frame measures the ranges, the others prove the file. ``keep`` names nodes to leave in FP32.

    Raises:
        ModelError: the file cannot be read or has no spec, or the target not be written.
        ExportError: it cannot be converted, or the proof failed.
        SettingsError: ``keep`` names no node, or the target is the file itself.
        SourceError: the frames cannot be read.
    """
    target = target or path.with_name(f"{path.stem}.fp16.onnx")
    check_model_target(target, path, frames=frames)
    model, spec = _readable(path)
    name_nodes(model)
    fold_constants(model, origin=str(path))
    _check_names(keep, model)
    read = read_frames(frames, count=2 * COUNT)
    say(f"frames       {read.described}, every other one to measure ranges, the rest to prove")
    measure, prove = read.images[::2], read.images[1::2] or read.images
    kept = sensitive_nodes(model, spec.input, measure, origin=str(path))
    kept.update(dict.fromkeys(keep, "asked for with --keep"))
    say(f"FP32 kept    {len(kept)} of {len(model.graph.node)} nodes")
    for name, reason in kept.items():
        say(f"             {name}: {reason}")
    made = to_float16(model, kept, origin=str(path))
    half_spec = replace(spec, precision="fp16", source_sha256=ModelFile(path).sha256)
    write_spec(made, half_spec)
    entry = made.metadata_props.add()
    entry.key, entry.value = KEPT_KEY, json.dumps(kept)
    with published_after(made, target) as unproven:
        parity = _proven(path, unproven, prove, limits, say)
    say(f"written      {target}, {target.stat().st_size / 1e6:.1f} MB")
    return Conversion(target, half_spec, kept, parity)


def _readable(path: Path) -> tuple[onnx.ModelProto, ModelSpec]:
    """The model and its spec, or why it cannot be converted."""
    model, spec = load_checked(path)
    if is_quantized(model):
        raise ExportError(
            f"{path}: computes in int8 in parts, which FP16 would undo. Convert the FP32 file that "
            "it was made from."
        )
    if uses_float16(model):
        raise ExportError(
            f"{path}: has float16 tensors already, there is nothing to convert. To prove it: "
            f"edge-export verify FP32.onnx {path}"
        )
    if spec.detection is not None:
        check_ap()  # the proof wants it, after minutes
    return model, spec


def compare_with_fp32(
    reference: Path,
    open_candidate: Callable[[], Engine],
    frames: Sequence[Image],
    *,
    limits: Limits,
    say: Say,
    scored: bool = True,
) -> Parity:
    """Compare a candidate with an FP32 file on frames; ``say`` takes the figures line by line."""
    with (
        closing(open_engine(reference, engine="onnxruntime", precision="f32")) as fp32,
        closing(open_candidate()) as candidate,
    ):
        parity = compare(fp32, candidate, frames, limits=limits, scored=scored)
    for line in parity.lines(limits):
        say(line)
    return parity


def _proven(
    path: Path, unproven: Path, frames: Sequence[Image], limits: Limits, say: Say
) -> Parity:
    parity = compare_with_fp32(
        path,
        lambda: open_half(unproven),
        frames,
        limits=limits,
        say=lambda line: say(f"proof        {line}"),
    )
    if parity.failures:
        raise ExportError(
            f"{path}: refused, in FP16 it does not do what it does in FP32: "
            f"{'; '.join(parity.failures)}. Nothing was written. Measure on frames like those it "
            "will see with --frames, leave nodes in FP32 with --keep NODE, or, where boxes that "
            "differ a little will do, say how much with --iou and judge it with "
            "'edge-export verify'."
        )
    if parity.doubts:
        raise ExportError(
            f"{path}: not proven in FP16: {'; '.join(parity.doubts)}. Nothing was written. Give "
            "frames that show what the model detects: --frames SOURCE."
        )
    return parity


def _check_names(keep: Sequence[str], model: onnx.ModelProto) -> None:
    names = [node.name for node in model.graph.node]
    for name in keep:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.0)
            raise SettingsError(
                f"--keep {name!r}: none of the graph's {len(names)} nodes has that name; the "
                f"nearest are {', '.join(near)}."
            )
