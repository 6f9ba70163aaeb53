"""Draws one result over its frame: masks, boxes, legend and readout; it shows nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.sinks.overlay.mask_paint import MaskPainter
from edge.sinks.overlay.no_signal import no_signal
from edge.sinks.overlay.style import BLACK, WHITE, Style
from edge.vision.palette import Colour, colours_of, text_on
from edge.vision.polygon import Polygon
from edge.vision.types import Detections, Image, Result

_SHADE = 0.35
"""How much of the frame shows through a panel."""
_FAINT = np.array([(2 * level + 255) // 3 for level in range(256)], np.uint8)
"""A pixel under the outline of an ignored region, a third of the way to white."""
_PANEL_SHARE = 1 / 8
"""A panel hides no more of the frame: letters have 8 px at least, so 160x120 shows none."""
_LEGEND_SHARE = 0.001
"""A class on less of the frame than this is not worth a line."""
_LEGEND_LINGER = 15
"""Frames for which a class stays in the legend after it was last seen, so that none flickers."""


@dataclass(frozen=True, slots=True)
class _Panel:
    """Text on black; ``swatches`` are solid rectangles x0, y0, x1, y1 on it."""

    image: Image
    swatches: tuple[tuple[int, int, int, int, Colour], ...] = ()


@dataclass(frozen=True, slots=True)
class _Chip:
    """A box's label and where it goes, px; right and bottom are exclusive."""

    text: str
    left: int
    top: int
    right: int
    bottom: int
    colour: Colour


class Overlay:
    """Draws into a buffer of its own, which is made again when the frame's size changes."""

    def __init__(
        self,
        *,
        boxes: bool = True,
        masks: bool = True,
        legend: bool = True,
        readout: bool = True,
        mask_opacity: float = 0.45,
        ignore: Sequence[Polygon] = (),
    ) -> None:
        """``mask_opacity`` 0..1 is how much of the frame a mask hides; four turn parts off.

        ``ignore`` are regions without boxes, which are outlined.
        """
        self._ignore = ignore
        self._outlines: NDArray[np.intp] = np.zeros(0, np.intp)
        """Which bytes of the frame lie on the outlines of those."""
        self._boxes_on, self._masks_on = boxes, masks
        self._legend_on, self._readout_on = legend, readout
        self._masks = MaskPainter(opacity=mask_opacity)
        self._out: Image = np.empty((0, 0, 3), np.uint8)
        self._style = Style.fit(960, 540)
        self._classes: tuple[str, ...] = ()
        self._colours: list[Colour] = []
        self._lingering: dict[str, tuple[Colour, int]] = {}
        # Each is rendered again only when it changes.
        self._legend = lru_cache(maxsize=1)(_legend)
        self._readout = lru_cache(maxsize=1)(_readout)

    def draw(self, result: Result, readout: Sequence[str]) -> Image:
        """The frame (H, W, 3) BGR with all that was found and the lines of ``readout``.

        The array is this overlay's own and valid until the next call.
        """
        image = result.frame.image
        if self._out.shape != image.shape:
            self._out = np.empty_like(image)
            self._style = Style.fit(image.shape[1], image.shape[0])
            self._outlines = _outlines(self._ignore, image.shape[:2])
        present = self._masks.paint(image, result.masks if self._masks_on else (), self._out)
        if self._boxes_on:
            if self._outlines.size:
                levels = self._out.reshape(-1)
                levels[self._outlines] = _FAINT[levels[self._outlines]]
            self._draw_boxes(result.detections, result.classes)
        if self._legend_on:
            self._draw_legend(present)
        if self._readout_on and readout:
            self._lay(self._readout(tuple(readout), self._style), top=self._style.pad)
        return self._out

    def no_signal(self, last: Image | None, title: str, lines: Sequence[str]) -> Image:
        """The view while nothing comes: the last frame (H, W, 3) dark and grey under the text."""
        return no_signal(last, title, lines)

    def _draw_boxes(self, detections: Detections, classes: tuple[str, ...]) -> None:
        if classes != self._classes:
            self._classes, self._colours = classes, colours_of(classes)
        boxes = detections.xyxy.round().astype(int).tolist()
        # Every colour stands out from black, so a line does from whatever is behind its edge: also
        # from a mask of its own colour. All edges first: none cuts another box's line.
        edged = self._style.line + 2 * self._style.edge
        for box in boxes:
            cv2.rectangle(self._out, *_corners(box), BLACK, edged)
        rows = zip(
            boxes,
            detections.scores.tolist(),
            detections.class_ids.tolist(),
            detections.track_ids.tolist(),
            strict=True,
        )
        chips: list[_Chip] = []
        for box, score, class_id, track_id in rows:
            colour = self._colours[class_id]
            cv2.rectangle(self._out, *_corners(box), colour, self._style.line)
            text = f"{classes[class_id]} {score:.0%}"
            if track_id >= 0:
                text += f" #{track_id}"
            chips.append(self._place_chip(text, box, colour, chips))
        # The best last: where labels meet all the same, its own can be read.
        style = self._style
        for chip in reversed(chips):
            # OpenCV fills a rectangle in 1.5 µs, a NumPy assignment of the colour takes 7.
            corner = (chip.right - 1, chip.bottom - 1)
            cv2.rectangle(self._out, (chip.left, chip.top), corner, chip.colour, cv2.FILLED)
            x, baseline = chip.left + style.pad, chip.top + style.pad + style.cap
            style.write(self._out, chip.text, x, baseline, text_on(chip.colour))

    def _place_chip(
        self, text: str, box: tuple[int, int, int, int], colour: Colour, others: list[_Chip]
    ) -> _Chip:
        """In the frame, above the box, below it or inside at its top: where no better label is."""
        style, (x0, y0, _, y1) = self._style, box
        frame_h, frame_w = self._out.shape[:2]
        width, height = style.width(text) + 2 * style.pad, style.cap + 2 * style.pad
        left = max(0, min(x0 - style.line // 2, frame_w - width))
        tops = [top for top in (y0 - height, y1, y0) if 0 <= top <= frame_h - height]
        near = [o for o in others if o.left < left + width and left < o.right]
        for top in tops:
            if all(o.top >= top + height or top >= o.bottom for o in near):
                break
        else:
            top = tops[0] if tops else max(0, min(y0, frame_h - height))
        return _Chip(text, left, top, left + width, top + height, colour)

    def _draw_legend(self, present: dict[str, tuple[Colour, float]]) -> None:
        for name, (colour, share) in present.items():
            if share >= _LEGEND_SHARE:
                self._lingering[name] = (colour, _LEGEND_LINGER + 1)
        self._lingering = {n: (c, left - 1) for n, (c, left) in self._lingering.items() if left > 0}
        if not self._lingering:
            return
        style, (frame_h, frame_w) = self._style, self._out.shape[:2]
        entries = tuple(sorted((name, colour) for name, (colour, _) in self._lingering.items()))
        panel = self._legend(entries, frame_w - 2 * style.pad, style)
        self._lay(panel, top=max(0, frame_h - panel.image.shape[0] - style.pad))

    def _lay(self, panel: _Panel, *, top: int) -> None:
        """Darken the frame under a panel and add its text, cut at the frame's edges.

        On a small frame a panel may hide too much: it is left out.
        """
        left = self._style.pad
        area = self._out[top : top + panel.image.shape[0], left : left + panel.image.shape[1]]
        height, width = area.shape[:2]
        if not 0 < area.size <= self._out.size * _PANEL_SHARE:
            return
        cv2.addWeighted(area, _SHADE, panel.image[:height, :width], 1.0, 0, dst=area)
        for x0, y0, x1, y1, colour in panel.swatches:
            area[y0:y1, x0:x1] = colour


def _corners(box: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first and the last pixel of a box; xyxy counts edges, so the right one is behind it."""
    x0, y0, x1, y1 = box
    return (x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1))


def _outlines(polygons: Sequence[Polygon], hw: tuple[int, int]) -> NDArray[np.intp]:
    """The bytes of a frame (H, W, 3) on the polygons' edges."""
    if not polygons:
        return np.zeros(0, np.intp)
    mask = np.zeros((*hw, 3), np.uint8)
    last = np.array((hw[1] - 1, hw[0] - 1))
    corners = [np.round(np.array(polygon) * last).astype(np.int32) for polygon in polygons]
    thin = max(1, Style.fit(hw[1], hw[0]).line // 2)
    cv2.polylines(mask, corners, True, WHITE, thin)
    return np.flatnonzero(mask)


def _readout(lines: tuple[str, ...], style: Style) -> _Panel:
    """The lines, one below the other."""
    width = max(style.width(line) for line in lines) + 2 * style.pad
    image = np.zeros((len(lines) * style.row + style.pad, width, 3), np.uint8)
    for i, line in enumerate(lines):
        style.write(image, line, style.pad, i * style.row + style.pad + style.cap, WHITE)
    return _Panel(image)


def _legend(entries: tuple[tuple[str, Colour], ...], width: int, style: Style) -> _Panel:
    """Swatch and name side by side, in as many rows as the width asks for."""
    swatch = style.cap
    places: list[tuple[int, int]] = []
    x, y, used = style.pad, style.pad, 0
    for name, _ in entries:
        entry = swatch + style.pad + style.width(name)
        if x > style.pad and x + entry + style.pad > width:
            x, y = style.pad, y + style.row
        places.append((x, y))
        used = max(used, x + entry + style.pad)
        x += entry + 3 * style.pad
    image = np.zeros((y + style.row, used, 3), np.uint8)  # one long name may exceed the frame
    swatches = []
    for (name, colour), (x, y) in zip(entries, places, strict=True):
        style.write(image, name, x + swatch + style.pad, y + style.cap, WHITE)
        swatches.append((x, y, x + swatch, y + swatch, colour))
    return _Panel(image, tuple(swatches))
