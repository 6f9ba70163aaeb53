"""What every runtime's engine shares: tensor check, slot protocol, mapping of foreign exceptions.

It imports no runtime. Misuse of a slot is an ``EngineError``, not undefined memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from engines.errors import DeviceError, EngineError, ModelError, OutriderError, SettingsError
from engines.spec import ModelSpec, TensorSpec

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


def check_tensors(
    spec: ModelSpec,
    *,
    inputs: Iterable[TensorSpec],
    outputs: Iterable[TensorSpec],
    origin: str,
    remake: str = "Make the file again with 'edge-export adopt' or 'edge-export onnx'.",
) -> None:
    """Compare the tensors that a runtime found in the file with those of its spec.

    Shapes hold −1 where the runtime found no fixed length; ``remake`` ends the message.

    Raises:
        ModelError: names the first tensor that differs, what was got and what was wanted.
    """
    for kind, got, wanted in (
        ("input", list(inputs), [spec.input.tensor]),
        ("output", list(outputs), list(spec.outputs)),
    ):
        found = {t.name: t for t in got}
        for tensor in wanted:
            if tensor.name not in found:
                raise ModelError(
                    f"{origin}: has no {kind} {tensor.name!r}, which its spec names; got "
                    f"{', '.join(map(repr, found)) or 'none'}. {remake}"
                )
            is_, want = found.pop(tensor.name), tensor
            if (is_.dtype, is_.shape) != (want.dtype, want.shape):
                raise ModelError(
                    f"{origin}: {kind} {tensor.name!r} is {_text(is_)}, but its spec wants "
                    f"{_text(want)}. {remake}"
                )
        if found:
            raise ModelError(
                f"{origin}: has {kind} {next(iter(found))!r}, which its spec does not name. "
                f"{remake}"
            )


def _text(tensor: TensorSpec) -> str:
    sizes = ", ".join("?" if n < 0 else str(n) for n in tensor.shape)
    return f"{tensor.dtype}[{sizes}]"


class SlotStates:
    """Which slots are in flight; refuses what the engine protocol forbids."""

    def __init__(self, slots: int, *, engine: str) -> None:
        self._in_flight = [False] * slots
        self._engine = engine
        self._closed = False

    def check(self, slot: int) -> None:
        """Refuse a slot that does not exist, and any use after close.

        Raises:
            EngineError: the engine is closed, or has no such slot.
        """
        if self._closed:
            raise EngineError(f"{self._engine}: the engine is closed; open it again.")
        if not 0 <= slot < len(self._in_flight):
            raise EngineError(
                f"{self._engine}: slot {slot}, wanted 0 to {len(self._in_flight) - 1}."
            )

    def begin(self, slot: int) -> None:
        """Mark a slot as in flight.

        Raises:
            EngineError: it is already, does not exist, or the engine is closed.
        """
        self.check(slot)
        if self._in_flight[slot]:
            raise EngineError(
                f"{self._engine}: slot {slot} was submitted twice; wait for it before it is "
                "submitted again."
            )
        self._in_flight[slot] = True

    def end(self, slot: int) -> None:
        """Mark a slot as free.

        Raises:
            EngineError: it was not submitted, does not exist, or the engine is closed.
        """
        self.check(slot)
        if not self._in_flight[slot]:
            raise EngineError(
                f"{self._engine}: slot {slot} was not submitted, nothing to wait for."
            )
        self._in_flight[slot] = False

    def forget(self, slot: int) -> None:
        """Free a slot whose run could not be started."""
        self._in_flight[slot] = False

    def in_flight(self) -> list[int]:
        """The slots that were submitted and not waited for."""
        return [slot for slot, busy in enumerate(self._in_flight) if busy]

    def close(self) -> bool:
        """Refuse everything from now on; True the first time."""
        first, self._closed = not self._closed, True
        self._in_flight = [False] * len(self._in_flight)
        return first


@contextmanager
def foreign_errors(doing: str, *, kind: type[OutriderError] = EngineError) -> Iterator[None]:
    """Map whatever a runtime raises to the project's tree; ``doing`` opens the message.

    Raises:
        DeviceError: the runtime ran out of memory.
        OutriderError: of ``kind``, for everything else.
    """
    try:
        yield
    except OutriderError:
        raise
    except Exception as exc:
        lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
        # OpenVINO opens with the place in its own sources; the reason comes last.
        reason = lines[-1] if lines else type(exc).__name__
        if isinstance(exc, MemoryError) or any(t in str(exc).lower() for t in _OUT_OF_MEMORY):
            raise DeviceError(
                f"{doing}: out of memory ({reason}). Free memory, or use a smaller model."
            ) from exc
        raise kind(f"{doing}: {reason}") from exc


_OUT_OF_MEMORY = ("bad_alloc", "failed to allocate", "bad allocation", "out of memory")
"""How pybind11, ONNX Runtime's arena and OpenVINO word it."""
