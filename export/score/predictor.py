"""Runs one model frame by frame through the app's own path and times the steps; it scores nothing.

Boxes are decoded twice from one run: at the model's own threshold, which is what the app shows and
what is timed, and from score 0.01 on for AP.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edge.vision.tiles.tiled import open_perception
from edge.vision.types import Detections, Image, Mask
from engines.base import Array, Engine
from engines.errors import ExportError

MIN_SCORE = 0.01
"""Lowest score that counts for AP."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one frame: ``shown`` as in the app, ``all`` from score 0.01 on."""

    shown: Detections
    all: Detections
    masks: tuple[Mask, ...]


class Predictor:
    """One engine in the app's own path; ``outputs`` and ``candidates`` are of the last frame."""

    def __init__(self, engine: Engine, *, tiles: str = "1x1") -> None:
        """Build the decoders of ``engine``, which stays the caller's to close."""
        self.engine, self.spec = engine, engine.spec
        # On the host everywhere, so that two models that are compared get the same bits.
        self._perception = open_perception(engine, tiles=tiles, letterbox="host")
        self.class_names = self._perception.class_names
        self._ns: dict[str, list[int]] = {"letterbox": [], "infer": [], "decode": []}

    def predict(self, image: Image) -> Prediction:
        """Boxes and masks of one frame (H, W, 3) BGR.

        Raises:
            EngineError: the run failed.
        """
        marks = [time.perf_counter_ns()]
        self._perception.prepare(image, 0)
        marks.append(time.perf_counter_ns())
        self._perception.submit(0)
        self._perception.wait(0)
        marks.append(time.perf_counter_ns())
        shown, masks = self._perception.decode(0)
        marks.append(time.perf_counter_ns())
        for times, (start, end) in zip(self._ns.values(), pairwise(marks), strict=True):
            times.append(end - start)
        return Prediction(shown, self._perception.decode(0, conf=MIN_SCORE)[0], masks)

    def outputs(self) -> Mapping[str, Array]:
        """Raw outputs {name: array}, valid until the next frame."""
        return self._perception.outputs(0)

    def candidates(self, conf: float) -> Detections:
        """Boxes from ``conf`` on before NMS, in frame px."""
        return self._perception.candidates(0, conf)

    def check_finite(self) -> None:
        """Refuse outputs that are not finite: no score would tell that nothing was computed.

        Raises:
            ExportError: names the output.
        """
        for name, values in self.outputs().items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ExportError(
                    f"{self.spec.name}: its output {name} is not finite, so there is nothing "
                    f"to score at {self.engine.precision}. Export the model again, or try "
                    "--precision f32 where it was another."
                )

    def latency_ms(self) -> dict[str, dict[str, float]]:
        """p50 and p90 of each step; the first run, which warms up, counts only if it is alone."""
        return {
            name: {
                f"p{q}": round(float(np.percentile(times[1:] or times, q)) / 1e6, 4)
                for q in (50, 90)
            }
            for name, times in self._ns.items()
        }
