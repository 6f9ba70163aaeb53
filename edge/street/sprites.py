"""Pictures with transparency, drawn once, large, and placed at any size; no shape is known here."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.types import Image

T = TypeVar("T")

SPRITE_BYTES: Final = 18 << 20  # about twice what one busy view needs
PAIR_BYTES: Final = 6 << 20
SMALL_PX: Final = 224  # up to this height scaled sprites are kept: they repeat from frame to frame
STEP_PX: Final = 36  # heights grow by 1 px up to here, then by 2 up to twice, and so on
LIGHT_ONE: Final = 150.0  # 1.7 is the brightest
HAZE_STEPS: Final = 18  # in the first, next to the camera, no haze is worth its cost


class Kept(Generic[T]):
    """The things made last, up to ``limit`` bytes, the least recently used going first."""

    def __init__(self, limit: int, size_of: Callable[[T], int]) -> None:
        self._limit, self._size_of = limit, size_of
        self._things: OrderedDict[Hashable, T] = OrderedDict()
        self.nbytes = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is under ``key``, made when it is not there."""
        found = self._things.get(key)
        if found is not None:
            self._things.move_to_end(key)
            return found
        made = make()
        self._things[key] = made
        self.nbytes += self._size_of(made)
        while self.nbytes > self._limit and len(self._things) > 1:
            self.nbytes -= self._size_of(self._things.popitem(last=False)[1])
        return made


class Shelf:
    """What one street keeps of its drawings; what it holds never changes a picture."""

    def __init__(self) -> None:
        # Apart: scaled pictures come and go with every frame, poses return after a stride.
        self.sprites: Kept[Sprite] = Kept(SPRITE_BYTES, lambda s: s.nbytes)
        self.pairs: Kept[Pair] = Kept(PAIR_BYTES, lambda p: p[0].nbytes + p[1].nbytes)
        self._numbers = itertools.count()

    def number(self) -> int:
        """A number that nobody else has, to build keys with."""
        return next(self._numbers)


Pair = tuple[Image, Image]
Rough = Callable[[tuple[int, ...]], NDArray[np.float32]]
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
        clear = 255 - alpha
        self.largest: Pair = (colour, clear)
        self._levels = [self.largest]
        while self._levels[-1][0].shape[0] > 12:
            colour, clear = shrink(colour), shrink(clear)
            self._levels.append((colour, clear))
        self.nbytes = sum(colour.nbytes + clear.nbytes for colour, clear in self._levels)

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
        grid = 1 + int(height / STEP_PX) if height <= SMALL_PX else 1
        h = round(height / grid) * grid
        w = max(round(h * self.aspect), 1)
        left += (height * self.aspect - w) / 2  # it stays on its foot
        top += height - h
        x, y = round(left), round(top)
        x0, y0 = max(x, 0), max(y, 0)
        x1, y1 = min(x + w, shape[1]), min(y + h, shape[0])
        if h < 2 or w < 1 or x1 <= x0 or y1 <= y0:
            return None
        step = int(haze * HAZE_STEPS)
        if h <= SMALL_PX:

            def make() -> Pair:
                level = self._level(h)
                return _faded(_scaled(level[0], (w, h)), _scaled(level[1], (w, h)), step, haze_bgr)

            colour, clear = self._shelf.pairs.get((self._number, w, h, step), make)
            if x1 - x0 < w or y1 - y0 < h:
                crop = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
                return colour[crop], clear[crop], x0, y0
            return colour, clear, x0, y0
        colour, clear = self._level(h)
        # Only the part inside the frame is scaled: a near tree is mostly outside.
        sy, sx = colour.shape[0] / h, colour.shape[1] / w
        rows = slice(int((y0 - y) * sy), max(round((y1 - y) * sy), int((y0 - y) * sy) + 1))
        columns = slice(int((x0 - x) * sx), max(round((x1 - x) * sx), int((x0 - x) * sx) + 1))
        size = (x1 - x0, y1 - y0)
        scaled = _scaled(colour[rows, columns], size), _scaled(clear[rows, columns], size)
        return (*_faded(*scaled, step, haze_bgr), x0, y0)

    def _level(self, height: int) -> Pair:
        fit = (level for level in reversed(self._levels) if level[0].shape[0] >= height)
        return next(fit, self.largest)


def shrink(image: Image) -> Image:
    """Half the size in each direction, by area."""
    size = (max(image.shape[1] // 2, 1), max(image.shape[0] // 2, 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _scaled(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _faded(colour: Image, clear: Image, step: int, haze_bgr: tuple[float, float, float]) -> Pair:
    """Premultiplied haze, colour·(1−h) + haze·h·alpha; ``clear`` (255 − alpha) on three planes."""
    wide = np.asarray(cv2.merge((clear, clear, clear)), np.uint8)
    if step:
        share = step / HAZE_STEPS
        # A plane at a time: haze·h·(255 − clear) / 255; a product by channels costs twice that.
        tint = cv2.merge(
            [
                cv2.convertScaleAbs(clear, alpha=-share * tone / 255.0, beta=share * tone)
                for tone in haze_bgr
            ]
        )
        colour = np.asarray(cv2.addWeighted(colour, 1.0 - share, tint, 1.0, 0.0), np.uint8)
    return colour, wide


class Sheet:
    """A drawing in metres that becomes a sprite: x from the middle, y up from the ground."""

    def __init__(self, width_m: float, height_m: float, px_per_m: float) -> None:
        self._scale = px_per_m
        self._w, self._h = int(width_m * px_per_m), int(height_m * px_per_m)
        self._bgra: Image = np.zeros((self._h, self._w, 4), np.uint8)

    def _at(self, x: float, y: float) -> tuple[int, int]:
        s = self._scale * 16
        return round(self._w * 8 + x * s), round(self._h * 16 - y * s)

    def limb(self, points: list[tuple[float, float]], thick: float, colour: list[float]) -> None:
        """A line with round ends through ``points``, ``thick`` metres wide."""
        px = max(round(thick * self._scale), 1)
        for a, b in itertools.pairwise(points):
            ink = (*colour, 255.0)
            cv2.line(self._bgra, self._at(*a), self._at(*b), ink, px, cv2.LINE_AA, 4)

    def patch(self, points: list[tuple[float, float]], colour: list[float]) -> None:
        """A filled polygon."""
        px = [np.array([self._at(*p) for p in points], np.int32)]
        cv2.fillPoly(self._bgra, px, (*colour, 255.0), cv2.LINE_AA, 4)

    def oval(
        self, x: float, y: float, rx: float, ry: float, colour: list[float], *, ring: float = 0.0
    ) -> None:
        """A filled ellipse, or a ring ``ring`` metres wide."""
        axes = (round(rx * self._scale * 16), round(ry * self._scale * 16))
        px = max(round(ring * self._scale), 1) if ring else -1
        ink = (*colour, 255.0)
        cv2.ellipse(self._bgra, self._at(x, y), axes, 0, 0, 360, ink, px, cv2.LINE_AA, 4)

    def sprite(self, rough: Rough, shelf: Shelf, *, lit_from: float, step: int = 1) -> Sprite:
        """Round the drawing by light (−1 from the left, 1 right), roughen it, freeze it.

        ``rough`` gives light to add, float32 of the shape that it is called with. The light of
        every ``step``-th pixel is worked out, and scaled up.
        """
        alpha = np.asarray(cv2.extractChannel(self._bgra, 3), np.uint8)
        left, _, wide, _ = cv2.boundingRect(alpha)
        if wide:  # empty margins would cost as much as leaves; the middle stays the middle
            margin = min(left, self._w - left - wide)
            alpha = np.ascontiguousarray(alpha[:, margin : self._w - margin])
            self._bgra = self._bgra[:, margin : self._w - margin]
        scale = self._scale / step
        _, inside = cv2.threshold(alpha[::step, ::step], 127, 1, cv2.THRESH_BINARY)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_3)
        edge = np.minimum(depth * np.float32(1.0 / (0.07 * scale)), np.float32(1.0))
        side = max(round(0.09 * scale), 1)
        slope = cv2.Sobel(cv2.blur(edge, (side, side)), cv2.CV_32F, 1, 0, ksize=3)
        np.clip(slope, -20.0 / scale, 20.0 / scale, out=slope)
        light = cv2.addWeighted(edge, 0.22, slope, -0.0105 * lit_from * scale, 0.80)
        light = cv2.add(light, rough(light.shape))
        # In bytes from here on, 1.0 as LIGHT_ONE: a product with floats costs several times that.
        lights = cv2.resize(cv2.convertScaleAbs(light, alpha=LIGHT_ONE), alpha.shape[::-1])
        base = cv2.cvtColor(self._bgra, cv2.COLOR_BGRA2BGR)
        shaded = cv2.multiply(base, cv2.merge((lights, lights, lights)), scale=1.0 / LIGHT_ONE)
        # Never brighter than alpha: premultiplied colours cannot overflow when blended.
        colour = cv2.min(shaded, cv2.merge((alpha, alpha, alpha)))
        return Sprite(np.asarray(colour, np.uint8), alpha, shelf)
