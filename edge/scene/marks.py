"""Marks that lie on the ground and move under the camera: dashes, crossings, repairs, joints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from edge.scene.look import Floats, Look
from edge.scene.pens import Pen

NEAR_Z: Final = 0.8
HAZE_BINS_M: Final = (0.0, 18.0, 45.0, 1000.0)  # one colour for all marks of a bin


@dataclass(frozen=True, slots=True)
class Marks:
    """Rectangles of one colour on the ground.

    ``spans`` (N, 4): left, right, far end along the loop, length; metres.
    """

    look: Look
    spans: Floats
    colour: Floats
    far: float

    def paint(self, pen: Pen, camera_m: float, loop_m: float) -> None:
        """Draw those in view."""
        z1 = (self.spans[:, 2] - camera_m) % loop_m
        seen = (z1 < self.far) & (z1 > NEAR_Z)
        x0, x1, _, length = self.spans[seen].T
        z1 = z1[seen]
        if not len(z1):
            return
        z0 = np.maximum(z1 - length, NEAR_Z)
        x = np.stack((x0, x1, x1, x0), axis=1)  # (n, 4)
        z = np.stack((z0, z0, z1, z1), axis=1)  # (n, 4)
        points = self.look.view.points(x, np.zeros((1, 1)), z)  # (n, 4, 2)
        for low, high in zip(HAZE_BINS_M, HAZE_BINS_M[1:], strict=False):
            inside = (z1 >= low) & (z1 < high)
            if inside.any():
                tone = self.look.faded(self.colour, float(z1[inside].mean()))
                pen.decal(list(points[inside]), tone)
