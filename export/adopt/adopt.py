"""``edge-export adopt``: a foreign ONNX file becomes one that the app runs, or is refused.

Recognise, bake, prove, publish: the file under the final name appears only after the proof, whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engines.errors import ExportError
from engines.model_file import write_spec
from engines.spec import ModelSpec
from export.adopt.bake import bake
from export.adopt.families import FAMILIES, recognise
from export.adopt.families.base import Hints, Plan
from export.adopt.foreign import ForeignNet, open_foreign
from export.adopt.inputs import Size
from export.adopt.proof import Proof, prove
from export.data.frames import Frames, read_frames
from export.outputs import check_model_target, published_after

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Adoption:
    """What to adopt and where to; ``target`` None means ``default_target(path)``."""

    path: Path
    target: Path | None = None
    size: Size | None = None
    hints: Hints = field(default_factory=Hints)
    frames: str | None = None
    """Source text of the proof's frames; the synthetic street where it is None."""


def default_target(path: Path) -> Path:
    """``NAME.outrider.onnx`` beside the foreign file."""
    return path.with_name(f"{path.stem}.outrider.onnx")


def adopt_model(wanted: Adoption, *, say: Say) -> tuple[Path, ModelSpec, Proof]:
    """Adopt one file; ``say`` takes the report line by line.

    Raises:
        ModelError: the foreign file cannot be read, or the target not written.
        ExportError: it cannot be adopted, or the proof failed.
        SettingsError: something must be said on the command line.
        SourceError: the frames cannot be read.
    """
    path = wanted.path
    net = open_foreign(path, size=wanted.size)
    target = wanted.target or default_target(path)
    check_model_target(target, path)
    say(
        f"read         {path}: opset {_opset(net)}, input {net.height}x{net.width} (height x width)"
    )
    say(f"outputs      {net.shapes()}")
    plan = recognise(net, wanted.hints)
    for line in told(plan):
        say(line)
    model, spec = bake(net, plan)
    spec.check(origin=str(path))
    write_spec(model, spec)
    frames = read_frames(wanted.frames)
    say(f"frames       {frames.told}")
    with published_after(model, target) as unproven:
        proof = _proven(net, plan, unproven, frames, say)
    say(f"written      {target}")
    return target, spec, proof


def _proven(net: ForeignNet, plan: Plan, unproven: Path, frames: Frames, say: Say) -> Proof:
    proof = prove(net, FAMILIES[plan.family], plan, unproven, frames.images)
    for line in proof.lines():
        say(f"proof        {line}")
    if proof.failures:
        raise ExportError(
            f"{net.path}: refused, the adopted file does not do what the foreign one does: "
            f"{'; '.join(proof.failures)}. Nothing was written. If the net is of another family or "
            "wants another image, say so: --family, --colour, --mean, --std, --resize."
        )
    if proof.doubts:
        say(
            f"warning      not proven: {'; '.join(proof.doubts)}. "
            "Give frames that show what the net detects: --frames SOURCE"
        )
    return proof


def told(plan: Plan) -> list[str]:
    """The decisions in a plan, line by line."""
    p = plan.preprocess
    plain = not any(p.mean) and len(set(p.std)) == 1
    scaled = f"/ {p.std[0]:g}" if plain else f"- {list(p.mean)}, / {list(p.std)}"
    lines = [f"family       {plan.family}: {FAMILIES[plan.family].summary}", *plan.said]
    lines.append(
        f"image        {p.colour}, 0..255"
        if plain and p.std[0] == 1
        else f"image        {p.colour} {scaled}"
    )
    lines[-1] += f", {p.resize.replace('_', ' ')}" + (
        "" if p.resize == "stretch" else f", padded with {p.pad_value}"
    )
    return lines


def _opset(net: ForeignNet) -> int:
    return max(
        (o.version for o in net.model.opset_import if o.domain in ("", "ai.onnx")), default=0
    )
