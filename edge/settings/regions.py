"""Reads regions of the picture as settings write them; what lies in one is told elsewhere."""

from __future__ import annotations

import math
from typing import Any

from pydantic_core import PydanticCustomError

from edge.vision.polygon import Polygon

MOST = 32
"""Regions, so that a change from the page cannot make every frame dear."""
MOST_POINTS = 64
"""Of one."""


def read_regions(value: Any) -> tuple[Polygon, ...]:
    """Polygons out of one or several, each a list of [x, y] in parts of the picture.

    Raises:
        PydanticCustomError: what is wanted instead.
    """
    given = value if isinstance(value, list | tuple) else [value]
    if given and _is_polygon(given):
        given = [given]
    if len(given) > MOST:
        raise _wanted(f"{MOST} regions at most")
    return tuple(_polygon(one) for one in given)


def _is_polygon(value: list[Any] | tuple[Any, ...]) -> bool:
    """Whether its entries are points, rather than polygons."""
    first = value[0]
    return not (isinstance(first, list | tuple) and first and isinstance(first[0], list | tuple))


def _polygon(value: Any) -> Polygon:
    if not isinstance(value, list | tuple) or not all(map(_is_point, value)):
        raise _wanted(
            "corners as [x, y], each a number of 0 to 1, in parts of the picture's width and "
            "height, such as [[0, 0.8], [1, 0.8], [1, 1], [0, 1]]"
        )
    points = tuple((float(x), float(y)) for x, y in value)
    if not 3 <= len(set(points)) <= len(points) <= MOST_POINTS:
        raise _wanted(f"3 to {MOST_POINTS} different corners [x, y] a region")
    return points


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value)
        and all(math.isfinite(n) and 0 <= n <= 1 for n in value)
    )


def _wanted(words: str) -> PydanticCustomError:
    return PydanticCustomError("region", "{words}", {"words": words})
