"""Marks that lie on the ground and move under the camera: dashes, crossings, repairs, joints."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.street.look import FAR_FROM_M, Bgr, Floats, Look
from edge.street.pens import Pen

NEAR_Z: Final = 0.8
FAR_Z: Final = FAR_FROM_M - 6.0  # beyond lie under far vehicles: a bus is 10.5 m long
HAZE_BINS_M: Final = np.array([30.0, 70.0])  # one shade for all marks of a kind between them
FLAT: Final = np.zeros((1, 1))
HAZE_AT_M: Final = (12.0, 45.0, 90.0)


class Marks:
    """Rectangles on the ground; a later kind lies on an earlier one.

    Args:
        spans: (N, 5): left, right, far end along the loop, length, seen up to; metres.
        kinds: (N,), indexes ``colours``.
        faint: so many first kinds need no smooth edges.
        loop_m: after this far they repeat.
    """

    def __init__(
        self,
        look: Look,
        spans: Floats,
        kinds: NDArray[np.intp],
        colours: tuple[Bgr, ...],
        faint: int,
        loop_m: float,
    ) -> None:
        self.look, self._faint, self._loop_m = look, faint, loop_m
        self._x = spans[:, [0, 1, 1, 0]]
        self._end, self._length, self._far = spans[:, 2:].T.copy()
        # One shade of one kind: runs count shades, each kind's from the farthest on.
        self._runs = (kinds + 1) * len(HAZE_AT_M) - 1
        self._tones = [
            look.fade(bgr, look.haze(metres)) for bgr in colours for metres in HAZE_AT_M[::-1]
        ]

    def paint(self, pen: Pen, then_m: float, camera_m: float, *, far: bool) -> None:
        """Draw those in view of ``camera_m``: those far from ``then_m``, just before, or others."""
        z1 = (self._end - then_m) % self._loop_m
        if far:
            seen = np.flatnonzero((z1 < self._far) & (z1 > FAR_Z))
        else:
            seen = np.flatnonzero(
                (z1 < self._far) & (z1 <= FAR_Z) & (z1 > NEAR_Z + camera_m - then_m)
            )
        if not len(seen):
            return
        # By kind, then far to near, in runs of one shade.
        runs = self._runs[seen] - np.searchsorted(HAZE_BINS_M, z1[seen])
        order = np.argsort(runs, kind="stable")
        seen, runs = seen[order], runs[order]
        z = np.empty((len(seen), 4))
        z[:, 2] = z[:, 3] = z1 = z1[seen] - (camera_m - then_m)
        z[:, 0] = z[:, 1] = np.maximum(z1 - self._length[seen], NEAR_Z)
        quads = list(self.look.view.points(self._x[seen], FLAT, z))
        cuts = [0, *(np.flatnonzero(runs[1:] != runs[:-1]) + 1).tolist(), len(quads)]
        shades = len(HAZE_AT_M)
        for (a, b), run in zip(pairwise(cuts), runs[cuts[:-1]].tolist(), strict=True):
            pen.decal(quads[a:b], self._tones[run], smooth=run >= self._faint * shades)
