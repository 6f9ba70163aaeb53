"""One captured run of an engine, launched as a whole: fewer calls a frame; it never has to work.

PyCUDA has no CUDA graphs, so cuda-python captures what is enqueued on PyCUDA's stream. Where that
package is missing, or something in the run cannot be captured (a DLA, a loop, a plugin that
allocates), there is no graph and the caller enqueues as before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any

from engines.cuda.context import device_error
from engines.errors import EngineError

_log = logging.getLogger(__name__)

_MODULES = ("cuda.bindings.driver", "cuda.cuda")
"""cuda-python from 12.6 on, and before."""


class Graph:
    """An instantiated CUDA graph, for the stream that it was captured on."""

    def __init__(self, bindings: Any, executable: Any, stream: int) -> None:
        self._bindings = bindings
        self._executable = executable
        self._stream = bindings.CUstream(stream)

    def launch(self) -> None:
        """Enqueue the captured run.

        Raises:
            DeviceError: the device failed.
            EngineError: the driver refused.
        """
        (code,) = self._bindings.cuGraphLaunch(self._executable, self._stream)
        if int(code):
            _, text = self._bindings.cuGetErrorString(code)
            raise device_error("TensorRT cannot start a run", text.decode())

    def free(self) -> None:
        """Destroy it; safe to call twice."""
        executable, self._executable = self._executable, None
        if executable is not None:
            self._bindings.cuGraphExecDestroy(executable)


def capture(stream: int, enqueue: Callable[[], None]) -> Graph | None:
    """Capture what ``enqueue`` puts on the stream of this handle; None where that cannot be had.

    ``enqueue`` must have run once before: TensorRT finishes setting itself up in the first run.
    """
    bindings = _bindings()
    if bindings is None:
        return None
    try:
        return _captured(bindings, stream, enqueue)
    except Exception as exc:
        _log.debug("no CUDA graph, runs are enqueued one by one: %s", exc)
        return None


def _captured(bindings: Any, stream: int, enqueue: Callable[[], None]) -> Graph:
    handle = bindings.CUstream(stream)
    # Of this thread only: what other threads do with CUDA meanwhile is no part of it.
    mode = bindings.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    _checked("cuStreamBeginCapture", bindings.cuStreamBeginCapture(handle, mode))
    try:
        enqueue()
    finally:
        ended = bindings.cuStreamEndCapture(handle)  # also after a failure: it frees the stream
    graph = _checked("cuStreamEndCapture", ended)
    try:
        executable = _checked("cuGraphInstantiate", bindings.cuGraphInstantiate(graph, 0))
    finally:
        bindings.cuGraphDestroy(graph)
    return Graph(bindings, executable, stream)


def _checked(name: str, answer: tuple[Any, ...]) -> Any:
    """The value of a cuda-python call, which returns (code, value) or (code,)."""
    if int(answer[0]):
        raise EngineError(f"{name}: {answer[0].name}")
    return answer[1] if len(answer) > 1 else None


def _bindings() -> Any | None:
    for name in _MODULES:
        try:
            return import_module(name)
        except ImportError:
            continue
    return None
