"""The one interface over all inference engines: arrays and slots, never boxes or threads."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.spec import ModelSpec

Array = NDArray[Any]
Image = NDArray[np.uint8]


class Engine(Protocol):
    """A compiled model with ``slots`` independent sets of input and output buffers.

    An engine is created, used and closed on one thread. A slot goes round fill → submit → wait:
    the caller writes into ``inputs(slot)``, ``submit`` starts the run and returns at once where the
    backend can, ``wait`` blocks until it is done. Arrays from ``wait`` are read-only views of the
    engine's own memory: valid until that slot is submitted again or the engine is closed.
    """

    @property
    def name(self) -> str:
        """Backend name: 'openvino', 'onnxruntime', 'tensorrt', 'replay'."""

    @property
    def precision(self) -> str:
        """Precision that the backend really runs at: 'f32', 'bf16', 'f16', 'int8'."""

    @property
    def spec(self) -> ModelSpec:
        """The spec of the model that was opened."""

    @property
    def slots(self) -> int:
        """How many runs can be in flight."""

    def inputs(self, slot: int) -> dict[str, Array]:
        """The slot's input arrays, to be filled in place: {name: (1, H, W, 3) uint8}."""

    def submit(self, slot: int) -> None:
        """Start the run of what lies in ``inputs(slot)``.

        Raises:
            EngineError: the slot is already in flight, or the backend failed.
        """

    def wait(self, slot: int) -> dict[str, Array]:
        """Block until the slot's run is done and return {output name: array}.

        Raises:
            EngineError: the slot was not submitted, or the run failed.
        """

    def close(self) -> None:
        """Release everything; safe to call twice."""
