"""Times of frames as a test says them, in milliseconds."""

from __future__ import annotations

import numpy as np

from edge.profile.frames import STEPS, Row, Times

MS = 1_000_000


def columns(*rows: Row) -> dict[str, Times]:
    """As ``Frames.newest`` gives them."""
    return {name: np.array([getattr(r, name) for r in rows], np.int64) for name in Row._fields}


def row(number: int, at_ms: float, **ms: float) -> Row:
    """A frame done at ``at_ms``; steps that are not given took no time."""
    spent = {name: round(ms.get(name, 0) * MS) for name in (*STEPS, "age", "engine", "overtook")}
    took = sum(spent[step] for step in STEPS)
    inside = took - spent["capture"]
    return Row(id=number, at=round(at_ms * MS), end_to_end=inside, took=took, **spent)
