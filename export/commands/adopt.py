"""``edge-export adopt``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from engines.errors import SettingsError
from engines.spec import LARGEST_SIDE
from engines.text import NotTextError, read_text
from export.adopt.adopt import adopt_model
from export.adopt.families import FAMILIES
from export.adopt.families.anchor_grids import good_anchors
from export.adopt.families.base import Anchors, Hints, MaskHint, Triple
from export.adopt.inputs import Size
from export.commands import options

_Value = TypeVar("_Value")


def read_names(path: Path) -> tuple[str, ...]:
    """Class names from a text file, one a line; blank lines at the end are left out.

    Raises:
        SettingsError: not readable text, no names, or an empty line among them.
    """
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except (OSError, NotTextError) as exc:
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
    if not all(0 < side <= LARGEST_SIDE for side in size):
        raise SettingsError(
            f"--size {text!r}: wanted HEIGHTxWIDTH of 1 to {LARGEST_SIDE}, such as 384x640."
        )
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


def _as(parse: Callable[[Any], _Value]) -> Callable[..., _Value | None]:
    """An option's callback: its text parsed, None where it was not given."""
    return lambda _context, _option, text: None if text is None else parse(text)


@click.command()
@click.argument("model", type=options.PATH)
@options.output("File to write; NAME.outrider.onnx beside MODEL where it is left out.")
@click.option("--family", type=click.Choice(list(FAMILIES)), help="Skip recognition.")
@click.option(
    "--names", type=options.PATH, callback=_as(read_names), help="Class names, one a line."
)
@click.option(
    "--size", callback=_as(parse_size), help="HEIGHTxWIDTH, for a model whose size is open."
)
@click.option(
    "--mask",
    "masks",
    multiple=True,
    metavar="OUTPUT[:NAME]=CLASS,…",
    callback=lambda _context, _option, texts: tuple(map(parse_mask, texts)),
    help="Classes of a semantic head, in the order of its channels; once for each head.",
)
@click.option(
    "--scale-xy",
    "centre_scale",
    callback=_as(parse_scale),
    help="Darknet's scale_x_y of YOLOv4: a number, or JSON by stride: "
    '{"8": 1.2, "16": 1.1, "32": 1.05}.',
)
@click.option(
    "--anchors", callback=_as(parse_anchors), help='JSON by stride: {"16": [[12, 18], …], "32": …}.'
)
@click.option("--colour", type=click.Choice(["RGB", "BGR"]), help="Channel order the net wants.")
@click.option(
    "--mean",
    callback=_as(lambda text: parse_triple("--mean", text)),
    help="R,G,B to subtract, grey levels, in the net's channel order.",
)
@click.option(
    "--std",
    callback=_as(lambda text: parse_triple("--std", text, positive=True)),
    help="R,G,B to divide by, grey levels, in the net's channel order.",
)
@click.option(
    "--resize",
    type=click.Choice(["letterbox_center", "letterbox_topleft", "stretch"]),
    help="How a frame is placed in the input.",
)
@options.frames("Frames of the proof")
def adopt(
    model: Path, output: Path | None, size: Size | None, frames: str | None, **hints: Any
) -> None:
    """Turn a foreign ONNX file into one that the app runs.

    Reads what the exporter left in the metadata, asks for what is missing, puts the preprocessing
    into the graph, and proves on frames that the new file gives the boxes and masks of MODEL.
    Refusals exit with 4 and write nothing.
    """
    adopt_model(model, output, hints=Hints(**hints), size=size, frames=frames, say=options.say)
