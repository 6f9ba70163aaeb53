"""One street by its seed, seen at any time: what is in view, and the order in which it is drawn."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from edge.street.layout import LOOP_M, Placed, Thing, lay_out
from edge.street.look import FAR_FROM_M, Floats, backdrop, draw_look
from edge.street.pens import ColourPen, Pen, SceneTruth, TruthPen
from edge.street.sprites import Shelf
from edge.vision.types import Image

GRAINS: Final = 8  # frames of sensor grain, cut from one sheet a little taller than a strip
# What is further away than FAR_FROM_M moves at this rate only: at 30 frames a second every other
# frame shares it. There it moves about a pixel a frame, and it is a third of all work.
FAR_HZ: Final = 15.0
GRAIN_ROWS: Final = 90  # in strips: what is small enough for a core's cache is added twice as fast


class StreetScene:
    """A drive along a street that never ends.

    Any size, any time in any order: the same seed, size and ``t_s`` give the same bytes.
    Not for two threads at once (sprites keep their recent sizes).

    Args:
        width, height: frame px.
        seed: draws camera, light, street and traffic.
    """

    def __init__(self, width: int, height: int, *, seed: int) -> None:
        # 31: under it seed 0, which most people see first, is a street on a clear day.
        rng = np.random.default_rng((seed, 31))
        self.width, self.height, self.seed = width, height, seed
        self._look = draw_look(width, height, rng)
        self._speed = float(rng.uniform(7.0, 12.0))  # m/s, 25 to 43 km/h
        self._shelf = Shelf()
        # Layout first and from its own generator: it must not depend on the frame's size.
        marks, things = lay_out(
            self._look, np.random.default_rng((seed, 1)), self._shelf, speed=self._speed
        )
        self._marks, self._things = marks, _Line(things)
        self._picture, self._ground = backdrop(self._look, np.random.default_rng((seed, 2)))
        self._distance, self._drawn = np.empty_like(self._picture), -1  # what is far, at a tick
        self._grain = np.random.default_rng((seed, 3)).integers(
            0, self._look.grain, (GRAIN_ROWS + GRAINS, width, 3), np.uint8
        )

    def render(self, t_s: float) -> Image:
        """The picture at ``t_s`` seconds, (H, W, 3) uint8 BGR, in memory of its own."""
        tick = self._tick(t_s)
        if tick != self._drawn:
            np.copyto(self._distance, self._picture)
            self._paint(ColourPen(self._distance, self._look.haze_bgr), t_s, far=True)
            self._drawn = tick
        image = self._distance.copy()
        self._paint(ColourPen(image, self._look.haze_bgr), t_s, far=False)
        first = int(t_s * 1000) * 5 % GRAINS
        grain = self._grain[first : first + GRAIN_ROWS]
        for row in range(0, self.height, GRAIN_ROWS):
            strip = image[row : row + GRAIN_ROWS]
            cv2.add(strip, grain[: len(strip)], dst=strip)
        return image

    def truth(self, t_s: float) -> SceneTruth:
        """What is seen in ``render(t_s)``: boxes and labels."""
        pen = TruthPen(self._ground)
        self._paint(pen, t_s, far=True)
        self._paint(pen, t_s, far=False)
        return pen.truth()

    def _tick(self, t_s: float) -> int:
        return int(t_s * FAR_HZ + 1e-6)  # a frame's time is rarely exact in binary

    def _paint(self, pen: Pen, t_s: float, *, far: bool) -> None:
        """Draw what is far at the last tick, as it was then, or else the rest, as it is now.

        From far to near; marks on the ground lie under all else.
        """
        then_s = self._tick(t_s) / FAR_HZ
        if far:
            t_s = then_s
        self._marks.paint(pen, self._speed * then_s, self._speed * t_s, far=far)
        for thing, z in self._things.ahead(then_s, t_s, self._speed, far=far):
            thing.paint(pen, z, t_s)


class _Line:
    """Things along the loop as arrays, to find those in view at once."""

    def __init__(self, placed: list[Placed]) -> None:
        self._things = [p.thing for p in placed]
        self._z = np.array([p.z for p in placed])
        self._speed = np.array([p.speed for p in placed])
        self._swaying = np.flatnonzero([p.sway for p in placed])
        self._sway = np.array([placed[i].sway for i in self._swaying])
        self._far = np.array([p.far for p in placed])

    def ahead(
        self, then_s: float, t_s: float, camera_m_s: float, *, far: bool
    ) -> list[tuple[Thing, float]]:
        """(thing, metres ahead at ``t_s``), farthest first, of what may be in view.

        Either those that were far at ``then_s``, a little earlier, or the others.
        """
        z = self._at(then_s, camera_m_s)
        seen = np.flatnonzero((z < self._far) & (z > FAR_FROM_M if far else z <= FAR_FROM_M))
        if t_s != then_s:
            z = self._at(t_s, camera_m_s)
        z = z[seen]
        order = np.argsort(-z, kind="stable")
        which, metres = seen[order].tolist(), z[order].tolist()
        # What the camera has just passed is almost a whole loop ahead.
        return [
            (self._things[i], m) for i, m in zip(which, metres, strict=True) if 1.0 < m < LOOP_M / 2
        ]

    def _at(self, t_s: float, camera_m_s: float) -> Floats:
        """Metres ahead of the camera."""
        z = (self._speed - camera_m_s) * t_s
        z += self._z
        if len(self._swaying):
            z[self._swaying] += self._sway * np.sin(0.35 * t_s + self._z[self._swaying])
        z %= LOOP_M
        return z
