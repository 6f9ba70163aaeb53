"""The gate of a build: does the engine do on frames what FP32 does? It moves no file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from engines import open_engine
from engines.errors import ExportError
from export.compare.differences import SAME, Limits
from export.compare.parity import compare
from export.data.frames import read_frames

GATE = replace(SAME, iou=0.98, score=0.02, unmatched=0.01, mask=0.99)
"""Twice what a conversion to FP16 may differ by.

A device adds in another order and fuses, which no proof on a CPU shows. Chosen, not measured: no
engine was built where this was written."""


def prove(
    reference: Path,
    made: Path,
    engine: Path,
    *,
    frames: str | None,
    limits: Limits,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """What the gate measured of ``made``, run as the app runs it, against FP32 on frames.

    ``engine`` is where it is to be published.

    Raises:
        ExportError: it is refused; the old engine stays.
    """
    read = read_frames(frames)
    say(f"gate         {read.told}, against {reference.name} in FP32")
    expected = open_engine(reference, engine="onnxruntime", precision="f32")
    try:
        built = open_engine(made, engine="tensorrt")
        try:
            parity = compare(expected, built, read.images, limits=limits)
        finally:
            built.close()
    finally:
        expected.close()
    for line in parity.lines(limits):
        say(f"gate         {line}")
    stays = f"{engine} is as it was." if engine.exists() else "Nothing was published."
    if parity.failures:
        raise ExportError(
            f"{made.name}: refused, the engine does not do what {reference.name} does: "
            f"{'; '.join(parity.failures)}. {stays} Where boxes that differ a little will do, say "
            "how much with --iou; leave nodes in FP32 with --keep NODE."
        )
    if parity.doubts:
        raise ExportError(
            f"{made.name}: not proven: {'; '.join(parity.doubts)}. {stays} Give frames that show "
            "what the model detects: --frames SOURCE."
        )
    return {
        "frames_of": read.told.partition(";")[0],
        "limits": asdict(limits),
        **parity.to_dict(),
    }
