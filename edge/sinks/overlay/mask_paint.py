"""Blends semantic masks over a frame; it decides neither classes nor colours' meaning.

All masks are merged into one image of joint labels at the masks' own resolution, so that the frame
is touched once: labels → colours → resize → blend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge.vision.letterbox import Letterbox
from edge.vision.palette import Colour, colour_map, colours_of
from edge.vision.types import Image, Mask

_MAX_JOINT = 255
"""Coloured classes over all masks; label 0 is 'uncoloured', and labels are uint8."""

_NEIGHBOURS = np.ones((3, 3), np.uint8)
_IS_ZERO = np.array([255] + [0] * 255, np.uint8)

_FINE_PX = 2.0
"""Frame px per label up to which edges are drawn as they are: smoothing TwinLiteNet's masks at
360x640 over a 960x540 frame would cost half as much again and cannot be seen."""

_Key = tuple[tuple[str, tuple[str, ...], tuple[str, ...], tuple[int, ...], Letterbox], ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What depends on the masks' kinds and geometry alone."""

    key: _Key
    luts: tuple[Image, ...]
    """For each mask (256,): its label → joint label, 0 for background."""
    base: int
    """The mask with the most labels: the joint labels have its resolution."""
    window: tuple[slice, slice]
    """Rows and columns of the base's labels that show the frame, partly shown ones included."""
    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    table: Image
    """(256, 1, 3), joint label → colour."""
    spread: Image
    """Buffer (h, w, 3): the window's colours at the frame's scale, no smaller than the frame."""
    cover: Image
    """Buffer (h, w) likewise: where there is no colour."""
    corner: tuple[int, int]
    """Row and column of ``spread`` at which the frame begins."""
    fine: bool
    """Whether labels are so small on the frame that their edges need no smoothing."""


class MaskPainter:
    """Paints masks; keeps its tables and buffers while the masks' geometry stays the same."""

    def __init__(self, *, opacity: float) -> None:
        self._opacity = opacity
        self._plan: _Plan | None = None

    def paint(
        self, image: Image, masks: Sequence[Mask], out: Image
    ) -> dict[str, tuple[Colour, float]]:
        """Write ``image`` (H, W, 3) with its masks into ``out``.

        Returns the coloured classes as {name: (colour, share of the frame, 0..1)}, in joint order.
        """
        if not masks:
            np.copyto(out, image)
            return {}
        key = tuple((m.name, m.classes, m.background, m.labels.shape, m.letterbox) for m in masks)
        if self._plan is None or self._plan.key != key:
            self._plan = _plan(key, masks)
        plan = self._plan
        labels = _join(masks, plan)  # (h, w), joint
        counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()
        if counts[0] == labels.size:
            np.copyto(out, image)
            return {}
        self._blend(image, labels, plan, out, bare=bool(counts[0]))
        shares = (counts[1 : len(plan.names) + 1] / labels.size).tolist()
        return {
            name: (colour, share)
            for name, colour, share in zip(plan.names, plan.colours, shares, strict=True)
            if share > 0
        }

    def _blend(self, image: Image, labels: Image, plan: _Plan, out: Image, *, bare: bool) -> None:
        """``bare``: some labels are uncoloured."""
        height, width = image.shape[:2]
        top, left = plan.corner
        shown = np.s_[top : top + height, left : left + width]
        size = plan.cover.shape[::-1]
        colours = cv2.applyColorMap(labels, plan.table)  # (h, w, 3)
        if bare and not plan.fine:
            # Uncoloured labels take a neighbour's colour, else the linear resize would draw a dark
            # rim around every area.
            grown = cv2.dilate(colours, _NEIGHBOURS)
            colours = cv2.copyTo(colours, labels, grown)
        smooth = cv2.INTER_NEAREST_EXACT if plan.fine else cv2.INTER_LINEAR
        cv2.resize(colours, size, dst=plan.spread, interpolation=smooth)
        alpha = self._opacity
        cv2.addWeighted(image, 1 - alpha, plan.spread[shown], alpha, 0, dst=out)
        if bare:
            # Resized linearly and cut at the half, the edge runs smoothly through coarse labels.
            bare_labels = cv2.LUT(labels, _IS_ZERO)  # (h, w)
            cv2.resize(bare_labels, size, dst=plan.cover, interpolation=smooth)
            if not plan.fine:
                cv2.threshold(plan.cover, 127, 255, cv2.THRESH_BINARY, dst=plan.cover)
            cv2.copyTo(image, plan.cover[shown], out)


def _plan(key: _Key, masks: Sequence[Mask]) -> _Plan:
    names: list[str] = []
    luts = []
    for mask in masks:
        lut = np.zeros(256, np.uint8)
        for label, name in enumerate(mask.classes[:256]):
            if name in mask.background:
                continue
            if name not in names and len(names) < _MAX_JOINT:
                names.append(name)
            lut[label] = names.index(name) + 1 if name in names else 0
        luts.append(lut)
    base = max(range(len(masks)), key=lambda i: (masks[i].labels.size, -i))
    letterbox, shape = masks[base].letterbox, masks[base].labels.shape
    x0, y0, x1, y1 = letterbox.mask_window(masks[base].labels)
    # Where padding does not divide, the outer labels are kept whole and the frame is cut out of
    # them at its own scale: right to half a frame px.
    rows = slice(int(y0 + 1e-6), min(shape[0], int(np.ceil(y1 - 1e-6))))
    columns = slice(int(x0 + 1e-6), min(shape[1], int(np.ceil(x1 - 1e-6))))
    frame_w, frame_h = letterbox.frame_wh
    px_x, px_y = frame_w / (x1 - x0), frame_h / (y1 - y0)  # frame px per label
    left, top = round((x0 - columns.start) * px_x), round((y0 - rows.start) * px_y)
    width = max(left + frame_w, round((columns.stop - columns.start) * px_x))
    height = max(top + frame_h, round((rows.stop - rows.start) * px_y))
    colours = colours_of(names)
    return _Plan(
        key=key,
        luts=tuple(luts),
        base=base,
        window=(rows, columns),
        names=tuple(names),
        colours=tuple(colours),
        table=colour_map([(0, 0, 0), *colours]),
        spread=np.empty((height, width, 3), np.uint8),
        cover=np.empty((height, width), np.uint8),
        corner=(top, left),
        fine=max(px_x, px_y) <= _FINE_PX,
    )


def _join(masks: Sequence[Mask], plan: _Plan) -> Image:
    """The joint labels (h, w) of the base's window; later masks lie over earlier ones."""
    base = masks[plan.base]
    rows, columns = plan.window
    joint: Image | None = None
    for mask, lut in zip(masks, plan.luts, strict=True):
        aligned = mask.labels.shape == base.labels.shape and mask.letterbox == base.letterbox
        crop = mask.labels[rows, columns] if aligned else mask.letterbox.mask_crop(mask.labels)
        part = cv2.LUT(crop, lut)
        if not aligned:
            size = (columns.stop - columns.start, rows.stop - rows.start)
            part = cv2.resize(part, size, interpolation=cv2.INTER_NEAREST_EXACT)
        joint = np.asarray(part if joint is None else cv2.copyTo(part, part, joint), np.uint8)
    assert joint is not None
    return joint
