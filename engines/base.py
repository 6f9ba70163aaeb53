"""The interface of all inference engines and what they share: slots, buffers, closing once.

Arrays in, arrays out; never boxes or threads. A slot is the index of one set of buffers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError, SettingsError
from engines.spec import ModelSpec

Array = NDArray[Any]
Image = NDArray[np.uint8]
Precision = Literal["default", "f32"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to open a model.

    ``precision`` 'f32' forbids the runtime anything less where it can, 'default' leaves it the
    device's own choice; ``threads`` None is one a physical core. ``trust`` holds the SHA-256 of
    plans that may be loaded without a sidecar.
    """

    precision: Precision = "default"
    slots: int = 1
    threads: int | None = None
    trust: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse impossible numbers.

        Raises:
            SettingsError: names the option, what was got and what was wanted.
        """
        if self.precision not in ("default", "f32"):
            raise SettingsError(f"precision {self.precision!r}, wanted 'default' or 'f32'.")
        if self.slots < 1:
            raise SettingsError(f"{self.slots} engine slots, wanted 1 or more.")
        if self.threads is not None and self.threads < 1:
            raise SettingsError(f"{self.threads} engine threads, wanted 1 or more.")


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
        """The slot's input arrays, to be filled in place: {name: (1, H, W, 3) uint8}.

        Raises:
            EngineError: no such slot, or closed.
        """

    def submit(self, slot: int) -> None:
        """Start the run of what lies in ``inputs(slot)``.

        Raises:
            EngineError: the slot is already in flight, no such slot, closed, or the backend failed.
            DeviceError: the device failed.
        """

    def wait(self, slot: int) -> dict[str, Array]:
        """Block, without holding the GIL, until the slot's run is done: {output name: array}.

        Raises:
            EngineError: the slot was not submitted, no such slot, closed, or the run failed.
            DeviceError: the device failed.
        """

    def close(self) -> None:
        """Let runs in flight finish, then release everything; safe to call twice."""


class EngineBase(ABC):
    """An ``Engine`` without its backend: its facts, which slots are in flight, views of buffers.

    A backend sets up ``_inputs`` and ``_outputs`` and implements ``_start``, ``_finish`` where a
    run goes on after its start, and ``_release``. Misuse of a slot is an ``EngineError``, not
    undefined memory.
    """

    def __init__(self, name: str, spec: ModelSpec, *, precision: str, slots: int = 1) -> None:
        self.name, self.spec, self.precision, self.slots = name, spec, precision, slots
        tensor = spec.input.tensor
        # Untouched zeros cost nothing: a backend may put memory of its own in their place.
        self._inputs: list[dict[str, Array]] = [
            {tensor.name: np.zeros(tensor.shape, tensor.dtype)} for _ in range(slots)
        ]
        self._outputs: list[dict[str, Array]] = [{} for _ in range(slots)]
        self._in_flight = [False] * slots
        self._closed = False

    def inputs(self, slot: int) -> dict[str, Array]:
        """See ``Engine``."""
        self._check(slot)
        return dict(self._inputs[slot])

    def submit(self, slot: int) -> None:
        """See ``Engine``."""
        self._check(slot)
        if self._in_flight[slot]:
            raise EngineError(
                f"{self.name}: slot {slot} was submitted twice; wait for it before it is "
                "submitted again."
            )
        self._start(slot)
        self._in_flight[slot] = True

    def wait(self, slot: int) -> dict[str, Array]:
        """See ``Engine``."""
        self._check(slot)
        if not self._in_flight[slot]:
            raise EngineError(f"{self.name}: slot {slot} was not submitted, nothing to wait for.")
        self._in_flight[slot] = False
        self._finish(slot)
        for array in self._outputs[slot].values():
            array.flags.writeable = False
        return dict(self._outputs[slot])

    def close(self) -> None:
        """See ``Engine``."""
        if self._closed:
            return
        self._closed = True
        try:
            self._release()
        finally:
            self._inputs, self._outputs = [], []

    @abstractmethod
    def _start(self, slot: int) -> None:
        """Start a run, or do it."""

    def _finish(self, slot: int) -> None:  # noqa: B027 - a backend whose start did the run
        """Wait for a run; ``_outputs[slot]`` are its outputs from here on."""

    @abstractmethod
    def _release(self) -> None:
        """Let the runs ``_in_flight`` finish and release everything; called once."""

    def _check(self, slot: int) -> None:
        if self._closed:
            raise EngineError(f"{self.name}: the engine is closed; open it again.")
        if not 0 <= slot < self.slots:
            raise EngineError(f"{self.name}: slot {slot}, wanted 0 to {self.slots - 1}.")


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
        """The slot's array (height, width, 3) for a BGR frame, the same again for the same size.

        Raises:
            EngineError: the slot is in flight, no such slot, or closed.
            DeviceError: no memory.
        """

    def letterbox(
        self, slot: int, *, size_wh: tuple[int, int], pad_xy: tuple[int, int], pad_value: int
    ) -> None:
        """Make the input from ``frame_input(slot)``: bilinear to ``size_wh``, placed at ``pad_xy``.

        The next ``submit`` runs on it, unless ``inputs`` is asked for before.

        Raises:
            EngineError: the slot is in flight, no such slot, closed, or the size is not taken.
            DeviceError: the device failed.
        """

    def time_input(self, slot: int, fill: Callable[[], None]) -> int:
        """Wall time in ns until the input that ``fill`` makes lies on the device."""
