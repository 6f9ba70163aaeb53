"""The one interface over all inference engines: arrays and slots, never boxes or threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class DeviceEngine(Engine, Protocol):
    """An engine on a device of its own, which tells its times there and can letterbox.

    The app may fill ``frame_input(slot, ...)`` and call ``letterbox`` instead of filling
    ``inputs(slot)``.
    """

    def gpu_ns(self, slot: int) -> Mapping[str, int]:
        """Device time by stage of the run that was last waited for, in ns."""

    def load_letterbox(self) -> None:
        """Make ``letterbox`` ready.

        Raises:
            EngineError: why it cannot be had.
        """

    def frame_input(self, slot: int, height: int, width: int) -> Image:
        """The slot's array (height, width, 3) for a BGR frame, the same again for the same size."""

    def letterbox(
        self, slot: int, *, size_wh: tuple[int, int], pad_xy: tuple[int, int], pad_value: int
    ) -> None:
        """Make the input from ``frame_input(slot)``: bilinear to ``size_wh``, placed at ``pad_xy``.

        Raises:
            EngineError: the slot is in flight, or the device failed.
        """

    def time_input(self, slot: int, fill: Callable[[], None]) -> int:
        """Wall time in ns until the input that ``fill`` makes lies on the device."""
