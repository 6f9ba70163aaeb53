"""Marks that lie on the ground and move under the camera: dashes, crossings, repairs, joints."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.scene.look import Bgr, Floats, Look
from edge.scene.pens import Pen

NEAR_Z: Final = 0.8
HAZE_BINS_M: Final = np.array([30.0, 70.0])  # one shade for all marks of a kind between them
HAZE_AT_M: Final = (12.0, 45.0, 90.0)


@dataclass(frozen=True, slots=True)
class Marks:
    """Rectangles on the ground; a later kind lies on an earlier one.

    ``spans`` (N, 5): left, right, far end along the loop, length, seen up to; metres.
    ``kinds`` (N,) indexes ``colours``; the first ``faint`` kinds need no smooth edges.
    """

    look: Look
    spans: Floats
    kinds: NDArray[np.intp]
    colours: tuple[Bgr, ...]
    faint: int

    def paint(self, pen: Pen, camera_m: float, loop_m: float) -> None:
        """Draw those in view."""
        z1 = (self.spans[:, 2] - camera_m) % loop_m
        seen = np.flatnonzero((z1 < self.spans[:, 4]) & (z1 > NEAR_Z))
        if not len(seen):
            return
        z1 = z1[seen]
        # By kind, then far to near, in runs of one shade.
        runs = self.kinds[seen] * len(HAZE_AT_M) - np.searchsorted(HAZE_BINS_M, z1)
        order = np.argsort(runs, kind="stable")
        seen, z1, runs = seen[order], z1[order], runs[order]
        x0, x1, _, length, _ = self.spans[seen].T
        z0 = np.maximum(z1 - length, NEAR_Z)
        x = np.stack((x0, x1, x1, x0), axis=1)  # (n, 4)
        z = np.stack((z0, z0, z1, z1), axis=1)  # (n, 4)
        quads = list(self.look.view.points(x, np.zeros((1, 1)), z))
        cuts = [0, *(np.flatnonzero(np.diff(runs)) + 1).tolist(), len(quads)]
        for a, b in pairwise(cuts):
            kind = int(self.kinds[seen[a]])
            haze = self.look.haze(HAZE_AT_M[int(np.searchsorted(HAZE_BINS_M, z1[a]))])
            tone = self.look.fade(self.colours[kind], haze)
            pen.decal(quads[a:b], tone, smooth=kind >= self.faint)
