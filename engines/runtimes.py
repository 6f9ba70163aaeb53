"""What runtimes say, checked and worded: the tensors of a file, and the exceptions they raise.

It imports no runtime.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from engines.errors import DeviceError, EngineError, ModelError, OutriderError
from engines.spec import ModelSpec, TensorSpec


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


_PLACE = re.compile(r"/onnxruntime_src/\S+:\d+ [^()]*\((?:[^()]|\([^()]*\))*\)(?: const)? ?")
"""Where in ONNX Runtime's source an error was raised, with the whole signature: it stands before
the reason and is often longer."""


def first_line(exc: BaseException) -> str:
    """The first line of a foreign exception, short enough for a message."""
    lines = _PLACE.sub("", str(exc)).strip().splitlines() or [type(exc).__name__]
    return lines[0][:300].rstrip(".")
