"""Tells which points lie in polygons; it knows neither boxes nor why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge.vision.polygon import Polygon


class Regions:
    """One polygon or more, in parts of the picture's width and height."""

    def __init__(self, polygons: Sequence[Polygon]) -> None:
        corners = [np.array(polygon, np.float32) for polygon in polygons]
        self._begin = np.concatenate(corners)  # (E, 2)
        self._end = np.concatenate([np.roll(one, -1, axis=0) for one in corners])  # (E, 2)
        self._firsts = np.cumsum([0, *(len(one) for one in corners[:-1])])
        """The first edge of each polygon."""

    def hold(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(N,) whether each of ``points`` (N, 2), 0..1, lies in one of them.

        Inside is where a line to the right crosses a polygon an odd number of times.
        """
        x, y = points[:, :1], points[:, 1:]  # (N, 1)
        (x0, y0), (x1, y1) = self._begin.T, self._end.T  # (E,)
        level = y1 == y0
        cross_x = x0 + (y - y0) * ((x1 - x0) / np.where(level, 1, y1 - y0))  # (N, E)
        crossed = ((y0 <= y) != (y1 <= y)) & (x < cross_x)
        odd = np.add.reduceat(crossed, self._firsts, axis=1, dtype=np.intp) % 2 == 1
        inside: NDArray[np.bool_] = odd.any(axis=1)
        return inside
