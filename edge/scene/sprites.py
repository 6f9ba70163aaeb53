"""Pictures with transparency, drawn once, large, and placed at any size; no shape is known here."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.types import Image

T = TypeVar("T")

SPRITE_BYTES: Final = 10 << 20  # about twice what one busy view needs
PAIR_BYTES: Final = 3 << 20
SMALL_PX: Final = 64  # up to this height scaled sprites are kept: they repeat from frame to frame
HAZE_STEPS: Final = 24


class Kept(Generic[T]):
    """The things made last, up to ``limit`` bytes, the least recently used going first."""

    def __init__(self, limit: int, size_of: Callable[[T], int]) -> None:
        self._limit, self._size_of = limit, size_of
        self._things: OrderedDict[Hashable, T] = OrderedDict()
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Memory of what is kept."""
        return self._bytes

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is under ``key``, made when it is not there."""
        found = self._things.get(key)
        if found is not None:
            self._things.move_to_end(key)
            return found
        made = make()
        self._things[key] = made
        self._bytes += self._size_of(made)
        while self._bytes > self._limit and len(self._things) > 1:
            self._bytes -= self._size_of(self._things.popitem(last=False)[1])
        return made


class Shelf:
    """What one street keeps of its drawings; what it holds never changes a picture."""

    def __init__(self) -> None:
        # Apart: scaled pictures come and go with every frame, poses return after a stride.
        self.sprites: Kept[Sprite] = Kept(SPRITE_BYTES, lambda s: s.nbytes)
        self.pairs: Kept[Pair] = Kept(PAIR_BYTES, lambda p: p[0].nbytes + p[1].nbytes)
        self._numbers = itertools.count()

    def number(self) -> int:
        """A number of one's own, to build keys with."""
        return next(self._numbers)


Pair = tuple[Image, Image]
Placed = tuple[Image, Image, int, int]


class Sprite:
    """A premultiplied picture and its cover at halving sizes.

    Args:
        colour: (h, w, 3) uint8 BGR, black where nothing is.
        alpha: (h, w) uint8, 255 where it covers.
        shelf: Where small sizes are kept.
    """

    def __init__(self, colour: Image, alpha: Image, shelf: Shelf) -> None:
        self.aspect: float = colour.shape[1] / colour.shape[0]
        self._shelf, self._number = shelf, shelf.number()
        self._levels: list[Pair] = [(colour, alpha)]
        while self._levels[-1][0].shape[0] > 12:
            colour, alpha = shrink(colour), shrink(alpha)
            self._levels.append((colour, alpha))

    @property
    def nbytes(self) -> int:
        """Memory of all its sizes."""
        return sum(c.nbytes + a.nbytes for c, a in self._levels)

    @property
    def largest(self) -> Pair:
        """Colour and alpha as drawn."""
        return self._levels[0]

    def place(
        self,
        left: float,
        top: float,
        height: float,
        shape: tuple[int, ...],
        haze: float,
        haze_bgr: tuple[float, float, float],
    ) -> Placed | None:
        """Scale to ``height`` px, fade, crop: (colour, 255 − alpha, x, y), None when outside.

        Both are (h, w, 3): ready for one multiply and one add.
        """
        h = round(height)
        w = round(height * self.aspect)
        x, y = round(left), round(top)
        x0, y0 = max(x, 0), max(y, 0)
        x1, y1 = min(x + w, shape[1]), min(y + h, shape[0])
        if h < 2 or w < 1 or x1 <= x0 or y1 <= y0:
            return None
        step = round(haze * HAZE_STEPS)
        if h <= SMALL_PX:

            def make() -> Pair:
                level = self._level(h)
                return _faded(_scaled(level[0], (w, h)), _scaled(level[1], (w, h)), step, haze_bgr)

            colour, clear = self._shelf.pairs.get((self._number, w, h, step), make)
            if x1 - x0 < w or y1 - y0 < h:
                crop = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
                return colour[crop], clear[crop], x0, y0
            return colour, clear, x0, y0
        colour, alpha = self._level(h)
        # Only the part inside the frame is scaled: a near tree is mostly outside.
        sy, sx = colour.shape[0] / h, colour.shape[1] / w
        rows = slice(int((y0 - y) * sy), max(round((y1 - y) * sy), int((y0 - y) * sy) + 1))
        columns = slice(int((x0 - x) * sx), max(round((x1 - x) * sx), int((x0 - x) * sx) + 1))
        size = (x1 - x0, y1 - y0)
        scaled = _scaled(colour[rows, columns], size), _scaled(alpha[rows, columns], size)
        return (*_faded(*scaled, step, haze_bgr), x0, y0)

    def _level(self, height: int) -> Pair:
        for level in reversed(self._levels):
            if level[0].shape[0] >= height:
                return level
        return self._levels[0]


def shrink(image: Image) -> Image:
    """Half the size in each direction, by area."""
    size = (max(image.shape[1] // 2, 1), max(image.shape[0] // 2, 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _scaled(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _faded(colour: Image, alpha: Image, step: int, haze_bgr: tuple[float, float, float]) -> Pair:
    """Premultiplied haze, colour·(1−h) + haze·h·alpha, and the cover inverted on three planes."""
    cover = np.asarray(cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR), np.uint8)
    if step:
        share = step / HAZE_STEPS
        tint = cv2.multiply(cover, np.array([*haze_bgr, 0.0]), scale=share / 255.0)
        colour = np.asarray(cv2.addWeighted(colour, 1.0 - share, tint, 1.0, 0.0), np.uint8)
    return colour, np.asarray(cv2.bitwise_not(cover), np.uint8)


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
        for a, b in itertools.pairwise(points):
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

    def sprite(
        self, rng: np.random.Generator, shelf: Shelf, *, lit_from: float, grain: float
    ) -> Sprite:
        """Round the drawing by light (−1 from the left, 1 right), roughen it, freeze it."""
        depth = cv2.distanceTransform(
            (self._alpha > 127).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3
        )
        edge = np.clip(depth / (0.07 * self._scale), 0.0, 1.0)
        side = max(round(0.09 * self._scale), 1)
        blur = cv2.blur(edge.astype(np.float32), (side, side))
        slope = cv2.Sobel(blur, cv2.CV_32F, 1, 0, ksize=3) * (0.03 * self._scale)
        light: NDArray[np.float32] = (
            0.80 + 0.22 * edge - 0.35 * lit_from * np.clip(slope, -0.6, 0.6)
        )
        light += np.float32(grain) * rng.standard_normal(light.shape, np.float32)
        shaded = self._colour.astype(np.float32) * light[:, :, None]
        # Never brighter than alpha: premultiplied colours cannot overflow when blended.
        limit = self._alpha.astype(np.float32)[:, :, None]
        return Sprite(np.clip(shaded, 0.0, limit).astype(np.uint8), self._alpha, shelf)
