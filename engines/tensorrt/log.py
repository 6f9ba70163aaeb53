"""TensorRT's own words: its import, its logger, and a call whose failure quotes them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from engines.cuda.context import device_error
from engines.errors import EngineError

if TYPE_CHECKING:
    import tensorrt as trt

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

_KEPT = 8
"""Errors that one message quotes at most: TensorRT repeats a cause on its way up."""


class TensorRtLog:
    """The logger that TensorRT writes to, and the errors that it wrote last."""

    def __init__(self) -> None:
        import tensorrt as trt

        errors: deque[str] = deque(maxlen=_KEPT)
        failures = (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR)
        warning = trt.ILogger.WARNING

        class Logger(trt.ILogger):  # type: ignore[misc]
            """Keeps errors for the message of the call that failed; threads of TensorRT call it."""

            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
                if severity in failures:
                    errors.append(" ".join(msg.split()))
                level = logging.INFO if severity == warning else logging.DEBUG
                _log.log(level, "TensorRT: %s", msg)

        self.logger: trt.ILogger = Logger()
        self._errors = errors

    def checked(
        self, name: str, call: Callable[[], _T | None], *, otherwise: str = "build the engine again"
    ) -> _T:
        """What ``call`` returns; None, False and what it raises are errors that quote TensorRT.

        ``otherwise`` is the next step where the device is not at fault.

        Raises:
            DeviceError: the device is out of memory or lost.
            EngineError: anything else.
        """
        self._errors.clear()
        try:
            answer = call()
        except (TypeError, RuntimeError) as exc:  # how pybind11 tells a constructor's null
            raise self.error(name, str(exc), otherwise=otherwise) from exc
        if answer is None or answer is False:
            raise self.error(name, f"returned {answer}", otherwise=otherwise)
        return answer

    def forget(self) -> None:
        """Quote nothing that was logged until now."""
        self._errors.clear()

    def error(
        self, name: str, what: str, *, otherwise: str = "build the engine again"
    ) -> EngineError:
        """The error of a call of TensorRT's that failed."""
        said = " | ".join(dict.fromkeys(self._errors)) or f"{what}, and TensorRT logged nothing"
        return device_error(f"TensorRT {name}", said, otherwise=otherwise)


def import_tensorrt() -> str:
    """Import ``tensorrt`` for all code that needs it from here on; returns its version.

    Raises:
        EngineError: it is not installed or does not load.
    """
    try:
        import tensorrt as trt
    except (ImportError, OSError) as exc:
        raise EngineError(
            f"TensorRT is not usable here ({exc}): pip install -e '.[tensorrt]' in the project's "
            "folder (on a Jetson: apt install python3-libnvinfer)"
        ) from exc
    return str(trt.__version__)


@cache
def open_log() -> TensorRtLog:
    """The one log of this process: TensorRT keeps the first logger it is given, for good."""
    return TensorRtLog()
