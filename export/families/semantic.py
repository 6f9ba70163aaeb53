"""Semantic nets: one or several heads of logits (1, C, h, w); each becomes a mask of its own.

Nothing in such a graph says what its classes are or how its image was normalised, so both are
asked for, unless the net is a known one: ``KNOWN`` has those by their outputs' names and channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.errors import ExportError, SettingsError
from engines.spec import MaskHead, TensorSpec
from export.families.base import (
    Family,
    Hints,
    MaskHint,
    MaskPlan,
    Plan,
    Preprocess,
    class_names,
)
from export.foreign import ForeignNet, Outputs

BACKGROUND = ("background", "other", "unlabelled", "unlabeled", "void", "none")
"""Class names that the overlay leaves uncoloured."""
COARSEST = 8
"""A mask is at least an eighth of the input's size; coarser grids are detectors' heads."""
MAX_CLASSES = 255
"""Labels are uint8, and 255 means ignored in most label sets."""


@dataclass(frozen=True, slots=True)
class KnownNet:
    """A published net: its heads by output name, and its preprocessing."""

    name: str
    heads: tuple[MaskHint, ...]
    preprocess: Preprocess
    notice: str


KNOWN = (
    KnownNet(
        "TwinLiteNet",
        (
            MaskHint("drive_area", "drivable", ("background", "drivable")),
            MaskHint("lane_line", "lanes", ("background", "lane")),
        ),
        # test_image.py of github.com/chequanghuy/TwinLiteNet: cv2.resize, BGR → RGB, / 255.
        Preprocess("RGB", resize="stretch"),
        "TwinLiteNet (github.com/chequanghuy/TwinLiteNet), MIT",
    ),
)


def recognise(net: ForeignNet, hints: Hints) -> Plan | None:
    """See ``Family``."""
    if not all(_is_mask(net, t) for t in net.outputs):
        return None
    known = _known(net)
    heads, said = _heads(net, hints, known)
    masks = tuple(_plan(net, head) for head in heads)
    told = known.name if known else "unknown; classes and normalisation as given"
    preprocess = _preprocess(net, hints, known)
    return Plan(
        family="semantic",
        preprocess=preprocess,
        masks=masks,
        said=(
            f"net          {told}",
            *said,
        ),
        notice=known.notice if known else "",
    )


def _is_mask(net: ForeignNet, tensor: TensorSpec) -> bool:
    if len(tensor.shape) != 4 or tensor.dtype != "float32":
        return False
    batch, channels, rows, columns = tensor.shape
    fine = rows * COARSEST >= net.height and columns * COARSEST >= net.width
    # Rounded-up sizes (a 45-row mask of 360 rows) are masks too; the shape must be the input's.
    alike = abs(rows * net.width - columns * net.height) <= max(net.width, net.height)
    return batch == 1 and 2 <= channels <= MAX_CLASSES and fine and alike


def _known(net: ForeignNet) -> KnownNet | None:
    channels = {t.name: t.shape[1] for t in net.outputs}
    for known in KNOWN:
        if channels == {h.output: len(h.classes) for h in known.heads}:
            return known
    return None


def _heads(
    net: ForeignNet, hints: Hints, known: KnownNet | None
) -> tuple[tuple[MaskHint, ...], tuple[str, ...]]:
    """The heads in the graph's order, and where their classes come from."""
    outputs = {t.name: t for t in net.outputs}
    given = {h.output: h for h in hints.masks or (known.heads if known else ())}
    origin = "--mask" if hints.masks else f"what is known of {known.name}" if known else ""
    if len({h.output for h in hints.masks}) < len(hints.masks):
        raise SettingsError("--mask names an output twice, wanted each head once.")
    if len({h.name for h in given.values()}) < len(given):
        raise SettingsError(
            "--mask gives one name to several masks. Give each its own: --mask OUTPUT:NAME=CLASS,…"
        )
    if hints.names is not None and (given or len(outputs) > 1):
        raise SettingsError(
            f"{net.path}: --names is for a net with one head; this one has {net.shapes()}, and its "
            f"classes come from {origin or 'nowhere'}. Say them by head with "
            "--mask OUTPUT=CLASS,CLASS,… instead."
        )
    for name in given:
        if name not in outputs:
            raise SettingsError(
                f"{net.path}: --mask names the output {name!r}, but the outputs are {net.shapes()}."
            )
    if not given and len(outputs) == 1 and (hints.names or "names" in net.metadata):
        (tensor,) = net.outputs
        names, origin = class_names(net, hints, tensor.shape[1])
        given = {tensor.name: MaskHint(tensor.name, tensor.name, names)}
    if not given:
        example = " ".join(f"--mask {t.name}=CLASS0,…,CLASS{t.shape[1] - 1}" for t in net.outputs)
        raise SettingsError(
            f"{net.path}: a semantic net with the outputs {net.shapes()}, whose classes the file "
            f"does not name. Say them in the order of the channels: {example}"
        )
    for head in given.values():
        channels = outputs[head.output].shape[1]
        if len(head.classes) != channels:
            raise ExportError(
                f"{net.path}: {origin} gives {len(head.classes)} classes for {head.output}, but "
                f"the graph has {channels} channels there."
            )
    said = tuple(
        f"mask         {h.name} = {', '.join(h.classes)} (output {h.output}), from {origin}"
        for h in given.values()
    )
    return tuple(given[n] for n in outputs if n in given), said


def _plan(net: ForeignNet, head: MaskHint) -> MaskPlan:
    labels = net.fresh(f"{head.output}_labels")
    background = tuple(c for c in head.classes if c.lower() in BACKGROUND)
    return MaskPlan(head.output, MaskHead(head.name, labels, head.classes, background))


def _preprocess(net: ForeignNet, hints: Hints, known: KnownNet | None) -> Preprocess:
    if known is not None:
        return hints.apply(known.preprocess)
    wanted = {
        "--colour RGB|BGR": hints.colour,
        "--mean R,G,B": hints.mean,
        "--std R,G,B": hints.std,
    }
    missing = [option for option, value in wanted.items() if value is None]
    if missing:
        raise SettingsError(
            f"{net.path}: nothing in a semantic graph says how its image was normalised. Give "
            f"{', '.join(missing)} (blob = (pixel - mean) / std, in grey levels 0 to 255): "
            "--mean 0,0,0 --std 255,255,255 for a plain / 255, "
            "--mean 123.675,116.28,103.53 --std 58.395,57.12,57.375 for ImageNet's."
        )
    return hints.apply(Preprocess("RGB", resize="stretch"))


def doubt(plan: Plan, outputs: Outputs) -> str | None:
    """See ``Family``."""
    for mask in plan.masks:
        logits = outputs[mask.logits][0]
        if float(np.ptp(logits, axis=0).max()) == 0.0:
            return f"all classes of {mask.logits} are equal everywhere"
    return None


FAMILY = Family("semantic logits, one or several masks", recognise, doubt)
