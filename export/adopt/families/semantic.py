"""Semantic nets: one or several heads, each of which becomes a mask of its own.

``MaskPlan`` lists the forms of a head. No such graph says what its classes are or how its image was
normalised, so options must, unless ``KNOWN`` has the net, by the names and channels of its outputs,
or Ultralytics made it (models/yolo/semantic of its package), whose metadata have the classes, and
whose image is that of all its nets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.errors import ExportError, SettingsError
from engines.spec import MaskHead, TensorSpec
from export.adopt.families.base import (
    Family,
    Hints,
    MaskForm,
    MaskHint,
    MaskPlan,
    Plan,
    Preprocess,
    class_names,
    distinct,
)
from export.adopt.families.ultralytics import is_semantic, notice
from export.adopt.foreign import ForeignNet, Outputs

BACKGROUND = ("background", "other", "unlabelled", "unlabeled", "void", "none")
"""Class names that the overlay leaves uncoloured."""
COARSEST = 8
"""A mask is at least an eighth of the input's size; coarser grids are detectors' heads."""
LABEL_TYPES = ("int64", "int32", "uint8")
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


def _recognise(net: ForeignNet, hints: Hints) -> Plan | None:
    if not all(_form(net, t) for t in net.outputs):
        if is_semantic(net):
            raise ExportError(
                f"{net.path}: an Ultralytics file for the task 'semantic', but its outputs are "
                f"{net.shapes()}; wanted logits [1, classes, {net.height}, {net.width}], or their "
                f"classes uint8 [1, {net.height}, {net.width}]. Export it again."
            )
        return None
    known = _known(net)
    heads, said = _heads(net, hints, known)
    name = known.name if known else "unknown; classes and normalisation as given"
    if is_semantic(net):
        name = net.metadata.get("description", "of Ultralytics")
    return Plan(
        family="semantic",
        masks=tuple(_plan(net, head) for head in heads),
        preprocess=_preprocess(net, hints, known),
        lines=(f"net          {name}", *said),
        notice=known.notice if known else notice(net),
    )


def _form(net: ForeignNet, tensor: TensorSpec) -> MaskForm | None:
    """What kind of mask the tensor is, None where it is none."""
    shape = tensor.shape
    if len(shape) not in (3, 4) or shape[0] != 1:
        return None
    rows, columns = shape[-2:]
    fine = rows * COARSEST >= net.height and columns * COARSEST >= net.width
    # Rounded-up sizes (a 45-row mask of 360 rows) are masks too; the shape must be the input's.
    alike = abs(rows * net.width - columns * net.height) <= max(net.width, net.height)
    if not (fine and alike):
        return None
    channels = shape[1] if len(shape) == 4 else None
    if tensor.dtype == "float32" and channels is not None and channels <= MAX_CLASSES:
        return "switch" if channels == 1 else "scores"
    return "labels" if tensor.dtype in LABEL_TYPES and channels in (None, 1) else None


def _channels(net: ForeignNet, tensor: TensorSpec) -> int | None:
    """How many classes the head tells apart; None where the graph gives labels."""
    form = _form(net, tensor)
    return {"switch": 2, "labels": None}.get(form or "", tensor.shape[1])


def _known(net: ForeignNet) -> KnownNet | None:
    channels = {t.name: _channels(net, t) for t in net.outputs}
    fits = (k for k in KNOWN if channels == {h.output: len(h.classes) for h in k.heads})
    return next(fits, None)


def _heads(
    net: ForeignNet, hints: Hints, known: KnownNet | None
) -> tuple[tuple[MaskHint, ...], tuple[str, ...]]:
    """The heads in the graph's order, and where their classes come from."""
    outputs = {t.name: t for t in net.outputs}
    said_heads = [_resolved(h, net) for h in hints.masks]
    given = {h.output: h for h in said_heads or (known.heads if known else ())}
    origin = "--mask" if hints.masks else f"what is known of {known.name}" if known else ""
    if len({h.output for h in said_heads}) < len(said_heads):
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
    if not given and len(outputs) == 1 and (hints.names or "names" in net.metadata):
        (tensor,) = net.outputs
        channels = _channels(net, tensor)
        one = is_semantic(net) and channels in (2, None)  # of one class: that, or nothing
        names, origin = class_names(net, hints, None if one else channels)
        names = ("background", *names) if one and len(names) == 1 else names
        given = {tensor.name: MaskHint(tensor.name, tensor.name, names)}
    if not given:
        counts = {t.name: _channels(net, t) for t in net.outputs}
        example = " ".join(f"--mask {n}={_examples(c)}" for n, c in counts.items())
        try:
            _preprocess(net, hints, known)
        except SettingsError as exc:
            more = f". And {str(exc).removeprefix(f'{net.path}: ')}"
        else:
            more = "."
        raise SettingsError(
            f"{net.path}: a semantic net with the outputs {net.shapes()}, whose classes the file "
            f"does not name. Say them in the order of the channels: {example}{more}"
        )
    for head in given.values():
        channels = _channels(net, outputs[head.output])
        if channels is not None and len(head.classes) != channels:
            raise ExportError(
                f"{net.path}: {origin} gives {len(head.classes)} classes for {head.output}, but "
                f"the graph tells {channels} apart there."
            )
    said = tuple(
        f"mask         {h.name} = {', '.join(h.classes)} (output {h.output}), from {origin}"
        for h in given.values()
    )
    return tuple(given[n] for n in outputs if n in given), said


def _examples(channels: int | None) -> str:
    return "CLASS0,CLASS1,…" if channels is None else ",".join(f"CLASS{i}" for i in range(channels))


def _resolved(hint: MaskHint, net: ForeignNet) -> MaskHint:
    """The output's name may have a colon of its own: the longest that fits is taken."""
    said = hint.output
    fits = [t.name for t in net.outputs if said == t.name or said.startswith(f"{t.name}:")]
    if not fits:
        raise SettingsError(
            f"{net.path}: --mask names the output {said!r}, but the outputs are {net.shapes()}."
        )
    output = max(fits, key=len)
    return MaskHint(output, said[len(output) + 1 :] or output, distinct(hint.classes))


def _plan(net: ForeignNet, head: MaskHint) -> MaskPlan:
    labels = net.fresh(f"{head.output}_labels")
    background = tuple(c for c in head.classes if c.lower() in BACKGROUND)
    mask = MaskHead(head.name, labels, head.classes, background)
    (tensor,) = (t for t in net.outputs if t.name == head.output)
    form = _form(net, tensor)
    assert form is not None
    threshold = 0.0
    if form == "switch" and not is_semantic(net):  # whose are always before sigmoid
        seen = net.run(net.noise())[head.output]
        threshold = 0.5 if seen.min() >= 0 and seen.max() <= 1 else 0.0  # after sigmoid, or before
    return MaskPlan(head.output, mask, (1, *tensor.shape[-2:]), form, threshold)


def _preprocess(net: ForeignNet, hints: Hints, known: KnownNet | None) -> Preprocess:
    if known is not None:
        return hints.apply(known.preprocess)
    if is_semantic(net):
        return hints.apply(Preprocess("RGB"))
    wanted = {
        "--colour RGB": hints.colour,
        "--mean 0,0,0": hints.mean,
        "--std 255,255,255": hints.std,
    }
    missing = [option for option, value in wanted.items() if value is None]
    if missing:
        raise SettingsError(
            f"{net.path}: nothing in a semantic graph says how its image was normalised. Give "
            f"{', '.join(missing)} for plain RGB / 255 (blob = (pixel - mean) / std, in grey "
            "levels 0 to 255). If it wants ImageNet's: --mean 123.675,116.28,103.53 "
            "--std 58.395,57.12,57.375; if OpenCV's order of channels: --colour BGR."
        )
    return hints.apply(Preprocess("RGB", resize="stretch"))


def _doubt(plan: Plan, outputs: Outputs) -> str | None:
    for mask in plan.masks:
        raw = outputs[mask.raw][0]
        low, high = raw.min(), raw.max()
        if mask.form == "scores" and float(np.ptp(raw, axis=0).max()) == 0.0:
            return f"all classes of {mask.raw} are equal everywhere"
        if mask.form == "switch" and mask.threshold and (low < 0 or high > 1):
            return f"{mask.raw} lies in {low:.3g} to {high:.3g}, wanted 0 to 1 as on noise"
        if mask.form == "labels" and not 0 <= low <= high < len(mask.head.classes):
            return f"{mask.raw} has the classes {low} to {high}, but {len(mask.head.classes)} names"
    return None


FAMILY = Family("semantic scores or labels, one or several masks", _recognise, _doubt)
