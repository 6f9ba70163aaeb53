"""``edge-export adopt``: a foreign ONNX file becomes one that the app runs, or is refused.

Recognise, bake, prove, publish: the file under the final name appears only after the proof, whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from engines.errors import ExportError, SettingsError
from engines.model_file import write_spec
from engines.spec import ModelSpec, Resize
from export.adopt.bake import bake
from export.adopt.families import FAMILIES, recognise
from export.adopt.families.base import Anchors, Colour, Hints, MaskHint, Plan, Triple, good_anchors
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


def read_names(path: Path) -> tuple[str, ...]:
    """Class names from a text file, one a line; blank lines at the end are left out.

    Raises:
        SettingsError: not readable text, no names, or an empty line among them.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"--names {path}: cannot be read as text ({exc}).") from exc
    while lines and not lines[-1]:
        lines.pop()
    if not lines or not all(lines):
        raise SettingsError(f"--names {path}: wanted one class name a line, none empty.")
    return tuple(lines)


def parse_size(text: str) -> Size:
    """'384x640' → (384, 640), height first."""
    match = re.fullmatch(r"([0-9]{1,9})[xX]([0-9]{1,9})", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(0 < side <= 8192 for side in size):
        raise SettingsError(f"--size {text!r}: wanted HEIGHTxWIDTH of 1 to 8192, such as 384x640.")
    return size


def parse_mask(text: str) -> MaskHint:
    """'OUTPUT[:NAME]=CLASS,CLASS,…'; where the output ends only the net can say: 'Identity:0'."""
    output, _, right = text.rpartition("=")
    classes = tuple(c.strip() for c in right.split(","))
    if not output or len(classes) < 2 or not all(classes):
        raise SettingsError(
            f"--mask {text!r}: wanted OUTPUT[:NAME]=CLASS,CLASS,… in the order of the channels, "
            "such as drive_area:drivable=background,drivable."
        )
    return MaskHint(output, "", classes)


def parse_triple(option: str, text: str, *, positive: bool = False) -> Triple:
    """'123.675,116.28,103.53' → three numbers."""
    try:
        a, b, c = (float(n) for n in text.split(","))
    except ValueError as exc:
        raise SettingsError(f"{option} {text!r}: wanted three numbers, such as 0,0,0.") from exc
    if not all(abs(n) < 1e6 and (n > 1e-6 or not positive) for n in (a, b, c)):
        raise SettingsError(
            f"{option} {text!r}: wanted {'positive numbers' if positive else 'numbers'} below 1e6."
        )
    return a, b, c


def parse_scale(text: str) -> Mapping[int, float] | float:
    """'1.05', or JSON {"stride": scale, …}."""
    try:
        found = json.loads(text)
        table = {int(k): float(v) for k, v in found.items()} if isinstance(found, dict) else {}
        if any(isinstance(v, bool) for v in (found, *(found.values() if table else ()))):
            raise TypeError
        scale = float(bool(table)) if isinstance(found, dict) else float(found)
    except (ValueError, TypeError, OverflowError, RecursionError):
        table, scale = {}, 0.0
    if not all(1 <= v <= 2 for v in (scale, *table.values())):
        raise SettingsError(
            f"--scale-xy {text[:60]!r}: wanted a number from 1 to 2, or JSON, stride to number: "
            '{"8": 1.2, "16": 1.1, "32": 1.05}.'
        )
    return table or scale


def parse_anchors(text: str) -> dict[int, Anchors]:
    """JSON {"stride": [[width, height], …], …}, in input pixels."""
    try:
        found = json.loads(text)
        anchors = {
            int(stride): tuple((float(w), float(h)) for w, h in boxes)
            for stride, boxes in found.items()
        }
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        anchors = {}
    if not good_anchors(anchors):
        raise SettingsError(
            f"--anchors {text[:60]!r}: wanted JSON, stride to [width, height] pairs: "
            '{"16": [[12, 18], [37, 49]], "32": [[115, 73], [119, 199]]}.'
        )
    return anchors


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write; NAME.outrider.onnx beside MODEL where it is left out.",
)
@click.option("--family", type=click.Choice(list(FAMILIES)), help="Skip recognition.")
@click.option("--names", type=click.Path(path_type=Path), help="Class names, one a line.")
@click.option("--size", help="HEIGHTxWIDTH, for a model whose size is open.")
@click.option(
    "--mask",
    "masks",
    multiple=True,
    metavar="OUTPUT[:NAME]=CLASS,…",
    help="Classes of a semantic head, in the order of its channels; once for each head.",
)
@click.option(
    "--scale-xy",
    help="Darknet's scale_x_y of YOLOv4: a number, or JSON by stride: "
    '{"8": 1.2, "16": 1.1, "32": 1.05}.',
)
@click.option("--anchors", help='JSON by stride: {"16": [[12, 18], …], "32": …}.')
@click.option("--colour", type=click.Choice(["RGB", "BGR"]), help="Channel order the net wants.")
@click.option("--mean", help="R,G,B to subtract, grey levels, in the net's channel order.")
@click.option("--std", help="R,G,B to divide by, grey levels, in the net's channel order.")
@click.option(
    "--resize",
    type=click.Choice(["letterbox_center", "letterbox_topleft", "stretch"]),
    help="How a frame is placed in the input.",
)
@click.option(
    "--frames",
    metavar="SOURCE",
    help="Frames of the proof: anything that 'edge run --source' takes; else the synthetic street.",
)
def adopt(
    model: Path,
    output: Path | None,
    family: str | None,
    names: Path | None,
    size: str | None,
    masks: Sequence[str],
    anchors: str | None,
    scale_xy: str | None,
    colour: Colour | None,
    mean: str | None,
    std: str | None,
    resize: Resize | None,
    frames: str | None,
) -> None:
    """Turn a foreign ONNX file into one that the app runs.

    Reads what the exporter left in the metadata, asks for what is missing, puts the preprocessing
    into the graph, and proves on frames that the new file gives the boxes and masks of MODEL.
    Refusals exit with 4 and write nothing.
    """
    hints = Hints(
        family=family,
        names=read_names(names) if names is not None else None,
        masks=tuple(parse_mask(m) for m in masks),
        anchors=parse_anchors(anchors) if anchors is not None else {},
        centre_scale=parse_scale(scale_xy) if scale_xy is not None else None,
        colour=colour,
        mean=parse_triple("--mean", mean) if mean is not None else None,
        std=parse_triple("--std", std, positive=True) if std is not None else None,
        resize=resize,
    )
    fixed = parse_size(size) if size is not None else None
    wanted = Adoption(model, output, fixed, hints, frames)
    adopt_model(wanted, say=_say)


def _say(line: str) -> None:
    """One line on stderr, whatever a foreign file has in its names and descriptions."""
    click.echo("".join(c if c.isprintable() else " " for c in line), err=True)
