"""Columns and rows of tiles as settings and options write them; it imports nothing heavy."""

from __future__ import annotations

import re

MOST = 16
"""Tiles, each of which costs as much as a frame without tiles."""


def read_tiles(text: str) -> tuple[int, int]:
    """Columns and rows out of ``2x1``; 1x1 is the whole frame alone.

    Raises:
        ValueError: says what is wanted.
    """
    found = re.fullmatch(r"([0-9]{1,2})x([0-9]{1,2})", text)
    columns, rows = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= columns * rows <= MOST:
        raise ValueError(f'COLUMNSxROWS, such as "2x1", of 1 to {MOST} tiles in all')
    return columns, rows
