"""Points in polygons, against OpenCV's test and by hand."""

from __future__ import annotations

import cv2
import numpy as np

from edge.vision.polygon import Polygon
from edge.vision.regions import Regions

TRIANGLE: Polygon = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))


def points(*xy: tuple[float, float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array(xy, np.float32).reshape(-1, 2)


def test_inside_outside_and_no_point_at_all() -> None:
    regions = Regions([TRIANGLE])
    assert regions.hold(points((0.2, 0.2), (0.6, 0.6), (0.4, 0.59))).tolist() == [1, 0, 1]
    assert regions.hold(points()).tolist() == []


def test_a_point_in_any_of_several_regions_is_in() -> None:
    square: Polygon = ((0.8, 0.8), (0.9, 0.8), (0.9, 0.9), (0.8, 0.9))
    regions = Regions([TRIANGLE, square])
    assert regions.hold(points((0.2, 0.2), (0.85, 0.85), (0.95, 0.85))).tolist() == [1, 1, 0]
    # Of two that overlap, too: each is counted for itself.
    assert Regions([TRIANGLE, TRIANGLE]).hold(points((0.2, 0.2))).tolist() == [1]


def test_a_concave_region_is_as_opencv_has_it() -> None:
    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 20))
    radii = rng.uniform(0.1, 0.5, 20)
    star = np.stack((np.cos(angles), np.sin(angles)), axis=1) * radii[:, None] + 0.5
    some = rng.uniform(0, 1, (2000, 2)).astype(np.float32)
    contour = star.astype(np.float32)
    wanted = [cv2.pointPolygonTest(contour, (float(x), float(y)), False) > 0 for x, y in some]
    polygon: Polygon = tuple((float(x), float(y)) for x, y in contour)
    assert Regions([polygon]).hold(some).tolist() == wanted
    assert 0 < sum(wanted) < 2000


def test_regions_that_touch_leave_no_gap() -> None:
    left: Polygon = ((0, 0), (0.5, 0), (0.5, 1), (0, 1))
    right: Polygon = ((0.5, 0), (1, 0), (1, 1), (0.5, 1))
    assert Regions([left, right]).hold(points((0.5, 0.5), (0.25, 0.5), (0.75, 0))).all()
