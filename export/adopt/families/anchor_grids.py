"""Raw heads with anchors, a grid a stride: which they are, their anchors, and whose code boxes are.

Two codes share this form and give different boxes, and nothing in a grid's numbers tells them
apart. So the layout, the metadata or the user must: in doubt it asks, and never takes one for the
other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from engines.errors import ExportError, SettingsError
from engines.spec import BoxCode, DetectionHead
from export.adopt.families.base import Anchors, Hints, class_names
from export.adopt.foreign import Float, ForeignNet, Outputs

CODES: dict[BoxCode, str] = {
    "darknet": "anchor * exp(t), as YOLOv3, YOLOv4 and YOLO-Fastest have it",
    "yolov5": "anchor * (2 sigmoid(t))^2, as YOLOv5 and YOLOv7 have it",
}
"""The families with such heads, in words: how each makes a side of a box."""
DEFAULT_ANCHORS = {
    8: "[[10,13],[16,30],[33,23]]",
    16: "[[30,61],[62,45],[59,119]]",
    32: "[[116,90],[156,198],[373,326]]",
}
"""YOLOv3's (cfg/yolov3.cfg of darknet), which YOLOv5 took over (models/yolov5s.yaml)."""


@dataclass(frozen=True, slots=True)
class Grids:
    """The heads of a net: one float32 tensor a stride."""

    names: Mapping[int, str]
    """stride → tensor, by rising stride."""
    channels: Mapping[int, int]
    """stride → anchors · (5 + C)."""
    split: bool
    """Whether they are (1, A, h, w, 5 + C), as YOLOv5 leaves them, not (1, A·(5 + C), h, w)."""

    def split_names(self, head: DetectionHead) -> dict[str, str]:
        """``Plan.split`` for the head that was made of these grids."""
        return dict(zip(head.outputs, self.names.values(), strict=True)) if self.split else {}


def find_grids(net: ForeignNet) -> Grids | None:
    """The net's grids; None where an output is none."""
    found: dict[int, tuple[str, int]] = {}
    layouts = {len(tensor.shape) for tensor in net.outputs}
    if layouts not in ({4}, {5}):
        return None
    for tensor in net.outputs:
        batch, channels, *rest = tensor.shape
        if len(rest) == 3:  # (A, h, w, 5 + C)
            channels *= rest.pop()
        rows, columns = rest
        stride = net.height // max(rows, 1)
        whole = (rows * stride, columns * stride) == (net.height, net.width)
        if batch != 1 or tensor.dtype != "float32" or stride < 4 or not whole or stride in found:
            return None
        found[stride] = (tensor.name, channels)
    ordered = sorted(found)
    return Grids(
        {s: found[s][0] for s in ordered}, {s: found[s][1] for s in ordered}, layouts == {5}
    )


def box_code(net: ForeignNet, hints: Hints, grids: Grids) -> BoxCode | None:
    """Whose code the boxes are in, None where nothing says it."""
    for code in CODES:
        if hints.family == code:
            return code
    if hints.centre_scale is not None or "scale_x_y" in net.metadata:
        return "darknet"  # which alone has that number
    # YOLOv5's export.py writes these two, and YOLOv5 alone takes its grids apart.
    if grids.split or {"stride", "names"} <= net.metadata.keys():
        return "yolov5"
    return None


def _ask(net: ForeignNet, hints: Hints, grids: Grids, *, code: BoxCode | None) -> None:
    """Raises SettingsError with all that must be said of such heads and is not."""
    missing = []
    if code is None:
        lines = "; ".join(
            f"edge-export adopt {net.path} --family {c} ({text})" for c, text in CODES.items()
        )
        missing.append(
            "whose they are, as their boxes are made in two ways that give different boxes and "
            f"nothing in the file says which: {lines}"
        )
    anchors = hints.anchors or net.literal("anchors")
    if not anchors or not (hints.anchors or net.literal("strides")):
        what = "anchors" if not anchors else "strides"
        example = ", ".join(f'"{s}": {DEFAULT_ANCHORS.get(s, "[[W,H]]")}' for s in grids.names)
        missing.append(
            f"the anchors in input pixels by stride (the metadata has no {what}): "
            f"--anchors '{{{example}}}', where the net was trained with YOLOv3's and YOLOv5's"
        )
    if hints.names is None and "names" not in net.metadata and missing:
        missing.append("the names of its classes, where they are not COCO's 80: --names FILE")
    if missing:
        raise SettingsError(
            f"{net.path}: its heads {net.shapes()} look like raw grids with anchors. Say "
            f"{'; and '.join(missing)}. Add the options given so far. If they are masks, say "
            "so with --family semantic."
        )


def anchor_head(
    net: ForeignNet,
    hints: Hints,
    grids: Grids,
    code: BoxCode | None,
    *,
    conf: float,
    nms_iou: float,
) -> tuple[DetectionHead, tuple[str, ...]]:
    """The head of an adopted file, and what to tell of it.

    Raises:
        ExportError: anchors, classes and grids contradict each other.
        SettingsError: whose they are, anchors or class names must be said.
    """
    _ask(net, hints, grids, code=code)
    assert code is not None, "it was asked for"
    anchors, anchors_from = _anchors_by_stride(net, hints)
    strides = tuple(grids.names)
    if sorted(anchors) != list(strides):
        raise ExportError(
            f"{net.path}: anchors from {anchors_from} are for the strides {sorted(anchors)}, but "
            f"the heads have {list(strides)} ({net.shapes()} at {net.height}x{net.width})."
        )
    total, count = grids.channels[strides[0]], len(anchors[strides[0]])
    alike = all(grids.channels[s] == total and len(anchors[s]) == count for s in strides)
    of_their_own = {t.shape[1] for t in net.outputs} if grids.split else {count}
    if not alike or total % count or of_their_own != {count}:
        raise ExportError(
            f"{net.path}: heads {net.shapes()} do not divide by "
            f"{[len(anchors[s]) for s in strides]} anchors; wanted anchors x (5 + classes)."
        )
    if total // count < 6:
        raise ExportError(
            f"{net.path}: {total} channels for {count} anchors leave no class; wanted "
            "anchors x (5 + classes)."
        )
    names, origin = class_names(net, hints, total // count - 5)
    head = DetectionHead(
        family="yolo-anchors",
        outputs=tuple(
            net.fresh(f"{name}_grid") if grids.split else name for name in grids.names.values()
        ),
        classes=names,
        strides=strides,
        anchors=tuple(anchors[s] for s in strides),
        box_code=code,
        conf=conf,
        nms_iou=nms_iou,
    )
    listed = ", ".join(f"{name} stride {s}" for s, name in grids.names.items())
    lines = (
        f"classes      {len(names)}, from {origin}",
        f"heads        {listed}; {count} anchors a cell, from {anchors_from}",
        f"sides        {CODES[code]}",
    )
    return head, lines


def good_anchors(anchors: Mapping[int, Anchors]) -> bool:
    """Whether there are strides, each with anchors, of finite positive sizes."""
    sizes = [side for boxes in anchors.values() for box in boxes for side in box]
    return all(anchors.values()) and bool(sizes) and all(0 < s < math.inf for s in sizes)


def _anchors_by_stride(net: ForeignNet, hints: Hints) -> tuple[dict[int, Anchors], str]:
    if hints.anchors:
        return dict(hints.anchors), "--anchors"
    found, strides = net.literal("anchors"), net.literal("strides")
    try:
        table = {
            int(s): tuple((float(w), float(h)) for w, h in a)
            for s, a in zip(strides, found, strict=True)
        }
    except (TypeError, ValueError, OverflowError) as exc:
        raise ExportError(
            f"{net.path}: its metadata has strides {str(strides)[:60]} and anchors "
            f"{str(found)[:80]}; wanted one list of [width, height] a stride. Give --anchors."
        ) from exc
    if not good_anchors(table):
        raise ExportError(
            f"{net.path}: its metadata has anchors {str(found)[:80]}; wanted positive sizes, one "
            "or more a stride. Give them with --anchors."
        )
    return table, "the metadata"


def anchor_grids(head: DetectionHead, split: Mapping[str, str], outputs: Outputs) -> list[Float]:
    """The foreign grids of every stride as (A, 5 + C, h, w)."""
    made = []
    for name, anchors in zip(head.outputs, head.anchors, strict=True):
        grid = outputs[split.get(name, name)][0]
        if grid.ndim == 4:  # (A, h, w, 5 + C)
            made.append(grid.transpose(0, 3, 1, 2))
        else:
            made.append(grid.reshape(len(anchors), -1, *grid.shape[1:]))
    return made


def doubt_logits(head: DetectionHead, split: Mapping[str, str], outputs: Outputs) -> str | None:
    """Why objectness and classes are no logits; None where they can be."""
    for name, grid in zip(head.outputs, anchor_grids(head, split, outputs), strict=True):
        low, high = grid[:, 4:].min(), grid[:, 4:].max()
        if low >= 0 and high <= 1:
            return (
                f"objectness and classes of {split.get(name, name)} lie in {low:.3g} to "
                f"{high:.3g}, so they are after sigmoid already; wanted raw logits"
            )
    return None
