"""One street by its seed, seen at any time: what is in view, and the order in which it is drawn."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from edge.scene.layout import LOOP_M, Placed, lay_out
from edge.scene.look import backdrop, draw_look
from edge.scene.pens import ColourPen, Pen, SceneTruth, TruthPen
from edge.scene.sprites import Shelf
from edge.types import Image

GRAINS: Final = 8  # frames of sensor grain, cut from one taller picture


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
        grain = np.random.default_rng((seed, 3)).integers(
            0, self._look.grain, (height + GRAINS, width, 3)
        )
        self._grain = grain.astype(np.uint8)

    def render(self, t_s: float) -> Image:
        """The picture at ``t_s`` seconds, (H, W, 3) uint8 BGR, in memory of its own."""
        image = self._picture.copy()
        self._paint(ColourPen(image, self._look.haze_bgr), t_s)
        row = int(t_s * 1000) * 5 % GRAINS
        cv2.add(image, self._grain[row : row + self.height], dst=image)
        return image

    def truth(self, t_s: float) -> SceneTruth:
        """What is seen in ``render(t_s)``: boxes and labels."""
        pen = TruthPen(self._ground)
        self._paint(pen, t_s)
        return pen.truth()

    def _paint(self, pen: Pen, t_s: float) -> None:
        """Draw everything in view, far to near; marks on the ground lie under all else."""
        camera_m = self._speed * t_s
        self._marks.paint(pen, camera_m, LOOP_M)
        for placed, z in self._things.ahead(camera_m, t_s):
            placed.thing.paint(pen, z, t_s)


class _Line:
    """Things along the loop as arrays, to find those in view at once."""

    def __init__(self, placed: list[Placed]) -> None:
        self._placed = placed
        self._z = np.array([p.z for p in placed])
        self._speed = np.array([p.speed for p in placed])
        self._sway = np.array([p.sway for p in placed])
        self._far = np.array([p.far for p in placed])

    def ahead(self, camera_m: float, t_s: float) -> list[tuple[Placed, float]]:
        """(thing, metres ahead) of what may be in view, farthest first."""
        z = self._z + self._speed * t_s + self._sway * np.sin(0.35 * t_s + self._z)
        z = (z - camera_m) % LOOP_M
        order = np.argsort(-z, kind="stable")
        seen = order[(z[order] < self._far[order]) & (z[order] > 1.0)]
        return [(self._placed[i], float(z[i])) for i in seen.tolist()]
