"""Rendered frames whose times a test says, without a run."""

from __future__ import annotations

import numpy as np

from edge.metrics.metrics import Rendered
from edge.vision.types import Detections, Frame, Result

MS = 1_000_000
_IMAGE = np.zeros((4, 6, 3), np.uint8)  # (H, W, 3)


def told(
    number: int, *, begin_ns: int, took_ms: float = 20, **more_ms: float
) -> tuple[Result, Rendered]:
    """A frame read at ``begin_ns`` after 4 ms: 1 ms in the inbox, 2 letterbox, 8 infer, 3 decode,
    then waiting for the main thread, 1 sinks; the last sink is done ``took_ms`` after reading."""
    spent = {"capture": 4 * MS, "letterbox": 2 * MS, "infer": 8 * MS, "decode": 3 * MS}
    spent |= {name: int(ms * MS) for name, ms in more_ms.items()}
    taken = Frame(_IMAGE, number, begin_ns, begin_ns, "read", "told")
    result = Result(taken, Detections.empty(), (), (), spent, begin_ns + MS, 8 * MS, 0)
    after = {"sinks": MS, "end_to_end": int(took_ms * MS)}
    return result, Rendered(spent | after, 0, 0, begin_ns + int(took_ms * MS), 0)
