"""A foreign ONNX file becomes one that the app runs, or is refused.

Recognise, bake, prove, publish: the file gets its final name only after the proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from engines.errors import ExportError, OutriderError, SettingsError
from engines.model_file import write_spec
from export.adopt.bake import bake
from export.adopt.families import FAMILIES, recognise
from export.adopt.families.base import Hints, Plan
from export.adopt.foreign import ForeignNet, open_foreign
from export.adopt.inputs import Size
from export.adopt.proof import prove
from export.data.frames import Frames, read_frames
from export.onnx.graph import opset_of
from export.outputs import check_model_target, published_after

Say = Callable[[str], None]
TRIAL = (640, 640)
"""A size that nets of open size run at, to see what else they want."""


def adopt_model(
    path: Path,
    target: Path | None = None,
    *,
    hints: Hints,
    size: Size | None = None,
    frames: str | None = None,
    say: Say,
) -> None:
    """Adopt one file; ``say`` takes the report line by line.

    ``target`` None is NAME.outrider.onnx beside it, ``frames`` None the synthetic street.

    Raises:
        ModelError: the foreign file cannot be read, or the target not written.
        ExportError: it cannot be adopted, or the proof failed.
        SettingsError: an option must say something, or contradicts the file.
        SourceError: the frames cannot be read.
    """
    net = _opened(path, size, hints)
    target = target or path.with_name(f"{path.stem}.outrider.onnx")
    check_model_target(target, path, frames=frames)
    opset = opset_of(net.model)
    say(f"read         {path}: opset {opset}, input {net.height}x{net.width} (height x width)")
    say(f"outputs      {net.shapes()}")
    plan = recognise(net, hints)
    for line in _plan_lines(plan):
        say(line)
    model, spec = bake(net, plan)
    spec.check(origin=str(path))
    write_spec(model, spec)
    read = read_frames(frames)
    say(f"frames       {read.described}")
    with published_after(model, target) as unproven:
        _prove(net, plan, unproven, read, say)
    say(f"written      {target}")


def _opened(path: Path, size: Size | None, hints: Hints) -> ForeignNet:
    """The net; where its size must be said, what else must be is told with it."""
    try:
        return open_foreign(path, size=size)
    except SettingsError as exc:
        try:
            recognise(open_foreign(path, size=TRIAL), hints)
        except SettingsError as more:
            raise SettingsError(f"{exc} And {str(more).removeprefix(f'{path}: ')}") from exc
        except OutriderError:
            pass  # of that size alone, perhaps
        raise


def _prove(net: ForeignNet, plan: Plan, unproven: Path, frames: Frames, say: Say) -> None:
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
            "Prove it on frames that show what the net detects: edge-export adopt MODEL "
            "--frames SOURCE"
        )


def _plan_lines(plan: Plan) -> Iterator[str]:
    yield f"family       {plan.family}: {FAMILIES[plan.family].summary}"
    yield from plan.lines
    p = plan.preprocess
    if any(p.mean) or len(set(p.std)) > 1:
        scaled = f" - {list(p.mean)}, / {list(p.std)}"
    else:
        scaled = f" / {p.std[0]:g}" if p.std[0] != 1 else ", 0..255"
    padded = "" if p.resize == "stretch" else f", padded with {p.pad_value}"
    yield f"image        {p.colour}{scaled}, {p.resize.replace('_', ' ')}{padded}"
