"""How long files take side by side on this machine's CPU engines, in one run; it judges nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from importlib.util import find_spec as find_module
from pathlib import Path

import numpy as np

from edge.progress import counted
from engines import open_engine

ENGINES = ("onnxruntime", "openvino")
ROUNDS = 20
WARM = 3
"""Rounds that do not count."""


def times_ms(files: Sequence[Path]) -> dict[Path, dict[str, float]]:
    """Median time by file and 'engine precision', the runs interleaved.

    Raises:
        ModelError, EngineError: a file cannot be run.
    """
    with ExitStack() as stack:
        opened = [
            (path, stack.enter_context(closing(open_engine(path, engine=name))))
            for path in files
            for name in ENGINES
            if find_module(name) is not None
        ]
        taken: list[list[float]] = [[] for _ in opened]
        for _ in counted(range(ROUNDS), "timing", total=ROUNDS):
            for (_, engine), times in zip(opened, taken, strict=True):
                next(iter(engine.inputs(0).values()))[:] = 114
                start = time.perf_counter()
                engine.submit(0)
                engine.wait(0)
                times.append(1e3 * (time.perf_counter() - start))
        found: dict[Path, dict[str, float]] = {path: {} for path in files}
        for (path, engine), times in zip(opened, taken, strict=True):
            median = float(np.median(times[WARM:]))
            found[path][f"{engine.name} {engine.precision}"] = median
        return found
