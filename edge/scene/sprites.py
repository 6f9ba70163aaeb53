"""Pictures with transparency that are drawn once, large, and placed at any size; no shape is known here."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.types import Image

Placed = tuple[Image, Image, int, int]
CACHED_PX: Final = 64  # sizes up to this height are kept: they repeat from frame to frame
CACHED_SIZES: Final = 24  # a sprite's kept sizes, the least recently used goes first


def shrink(image: Image) -> Image:
    """Half the size in each direction, by area."""
    size = (max(image.shape[1] // 2, 1), max(image.shape[0] // 2, 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


class Sprite:
    """A premultiplied picture and its transparency at halving sizes.

    Args:
        colour: (h, w, 3) uint8 BGR, black where nothing is.
        alpha: (h, w) uint8, 255 where it covers.
    """

    def __init__(self, colour: Image, alpha: Image) -> None:
        clear = np.repeat((255 - alpha)[:, :, None], 3, axis=2)
        self.aspect: float = colour.shape[1] / colour.shape[0]
        self._levels: list[tuple[Image, Image]] = [(colour, clear)]
        while self._levels[-1][0].shape[0] > 12:
            colour, clear = shrink(colour), shrink(clear)
            self._levels.append((colour, clear))
        self._kept: OrderedDict[tuple[int, int], tuple[Image, Image]] = OrderedDict()

    @property
    def largest(self) -> tuple[Image, Image]:
        """Colour and 255 − alpha as drawn."""
        return self._levels[0]

    def place(
        self, left: float, top: float, height: float, shape: tuple[int, ...]
    ) -> Placed | None:
        """Scale to ``height`` px and crop to the frame: (colour, 255 − alpha, x, y), None when outside."""
        h = round(height)
        w = round(height * self.aspect)
        x, y = round(left), round(top)
        x0, y0 = max(x, 0), max(y, 0)
        x1, y1 = min(x + w, shape[1]), min(y + h, shape[0])
        if h < 2 or w < 1 or x1 <= x0 or y1 <= y0:
            return None
        if h <= CACHED_PX:
            colour, clear = self._small(w, h)
            crop = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
            return colour[crop], clear[crop], x0, y0
        colour, clear = self._level(h)
        # Only the part inside the frame is scaled: a near tree is mostly outside.
        sy, sx = colour.shape[0] / h, colour.shape[1] / w
        source = np.s_[
            int((y0 - y) * sy) : max(round((y1 - y) * sy), int((y0 - y) * sy) + 1),
            int((x0 - x) * sx) : max(round((x1 - x) * sx), int((x0 - x) * sx) + 1),
        ]
        size = (x1 - x0, y1 - y0)
        return _scaled(colour[source], size), _scaled(clear[source], size), x0, y0

    def _level(self, height: int) -> tuple[Image, Image]:
        for level in reversed(self._levels):
            if level[0].shape[0] >= height:
                return level
        return self._levels[0]

    def _small(self, w: int, h: int) -> tuple[Image, Image]:
        found = self._kept.get((w, h))
        if found is not None:
            self._kept.move_to_end((w, h))
            return found
        colour, clear = self._level(h)
        made = _scaled(colour, (w, h)), _scaled(clear, (w, h))
        self._kept[(w, h)] = made
        if len(self._kept) > CACHED_SIZES:
            self._kept.popitem(last=False)
        return made


def _scaled(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


class Sheet:
    """A drawing in metres that becomes a sprite: x from the middle, y up from the ground."""

    def __init__(self, width_m: float, height_m: float, px_per_m: float) -> None:
        self._scale = px_per_m
        self._w, self._h = int(width_m * px_per_m), int(height_m * px_per_m)
        self._colour = np.zeros((self._h, self._w, 3), np.uint8)
        self._alpha = np.zeros((self._h, self._w), np.uint8)

    def _at(self, x: float, y: float) -> tuple[int, int]:
        s = self._scale * 16
        return round(self._w * 8 + x * s), round(self._h * 16 - y * s)

    def limb(self, points: list[tuple[float, float]], thick: float, colour: list[float]) -> None:
        """A line with round ends through ``points``, ``thick`` metres wide."""
        px = max(round(thick * self._scale), 1)
        for a, b in zip(points, points[1:], strict=False):
            cv2.line(self._colour, self._at(*a), self._at(*b), colour, px, cv2.LINE_AA, 4)
            cv2.line(self._alpha, self._at(*a), self._at(*b), (255,), px, cv2.LINE_AA, 4)

    def patch(self, points: list[tuple[float, float]], colour: list[float]) -> None:
        """A filled polygon."""
        px = [np.array([self._at(*p) for p in points], np.int32)]
        cv2.fillPoly(self._colour, px, colour, cv2.LINE_AA, 4)
        cv2.fillPoly(self._alpha, px, (255,), cv2.LINE_AA, 4)

    def oval(
        self, x: float, y: float, rx: float, ry: float, colour: list[float], *, ring: float = 0.0
    ) -> None:
        """A filled ellipse, or a ring ``ring`` metres wide."""
        axes = (round(rx * self._scale * 16), round(ry * self._scale * 16))
        px = max(round(ring * self._scale), 1) if ring else -1
        for image, value in ((self._colour, colour), (self._alpha, [255.0])):
            cv2.ellipse(
                image, (self._at(x, y), (0, 0))[0], axes, 0, 0, 360, value, px, cv2.LINE_AA, 4
            )

    def sprite(self, rng: np.random.Generator, *, lit_from: float, grain: float) -> Sprite:
        """Round the drawing by light (−1 from the left, 1 from the right) and texture, then freeze it."""
        depth = cv2.distanceTransform(
            (self._alpha > 127).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3
        )
        edge = np.clip(depth / (0.07 * self._scale), 0.0, 1.0)
        blur = cv2.GaussianBlur(edge.astype(np.float32), (0, 0), 0.03 * self._scale)
        slope = cv2.Sobel(blur, cv2.CV_32F, 1, 0, ksize=3) * (0.03 * self._scale)
        light: NDArray[np.float32] = (
            0.80 + 0.22 * edge - 0.35 * lit_from * np.clip(slope, -0.6, 0.6)
        )
        light = light + rng.normal(0.0, grain, light.shape).astype(np.float32)
        shaded = self._colour.astype(np.float32) * light[:, :, None]
        # Never brighter than alpha: premultiplied colours cannot overflow when blended.
        limit = self._alpha.astype(np.float32)[:, :, None]
        return Sprite(np.clip(shaded, 0.0, limit).astype(np.uint8), self._alpha)
