"""TensorRT as a library, in either flavour: its import, its logger, and calls that quote it.

NVIDIA makes two with one API: the native one for servers and Jetsons, and TensorRT for RTX, which
compiles for the card when it loads a plan. Which one is used is chosen here, once for each plan.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec as find_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TypeVar

from engines.cuda.context import device_error
from engines.errors import EngineError
from engines.tensorrt.shared_libraries import loaded_release_of_rtx, truncated

if TYPE_CHECKING:
    import tensorrt

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

Flavour = Literal["tensorrt", "rtx"]
FLAVOURS: dict[Flavour, str] = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}
"""Flavours and their names in messages."""
_MODULES: dict[Flavour, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "rtx": ("tensorrt_rtx_bindings", "tensorrt_rtx"),
}
"""The wheels on PyPI have the first name of RTX's, NVIDIA's own archive the second."""
_INSTALL: dict[Flavour, str] = {
    "tensorrt": "pip install -e '.[tensorrt]' in the project's folder (on a Jetson: apt install "
    "python3-libnvinfer)",
    "rtx": "pip install --force-reinstall --no-deps -r constraints/rtx.txt in the project's folder",
}
"""RTX's wheels by force: pip takes those for installed whose files another pair's removal took."""
_PARTS: dict[Flavour, tuple[str, ...]] = {
    "tensorrt": ("tensorrt_bindings", "tensorrt_libs"),
    "rtx": ("tensorrt_rtx_bindings", "tensorrt_rtx_libs"),
}
"""Folders of the wheels' shared libraries, side by side."""
_ASK = """
import sys
from engines.tensorrt.library import open_library
print(open_library(sys.argv[1]).version)
"""
_KEPT = 8
"""Errors that one message quotes at most: TensorRT repeats a cause on its way up."""


class Library:
    """One flavour of TensorRT: what the project uses of it, and what it logged last."""

    Builder: type[tensorrt.Builder]
    BuilderFlag: type[tensorrt.BuilderFlag]
    Dims: type[tensorrt.Dims]
    DeviceType: type[tensorrt.DeviceType]
    IProgressMonitor: type[tensorrt.IProgressMonitor]
    LayerInformationFormat: type[tensorrt.LayerInformationFormat]
    MemoryPoolType: type[tensorrt.MemoryPoolType]
    NetworkDefinitionCreationFlag: type[tensorrt.NetworkDefinitionCreationFlag]
    OnnxParser: type[tensorrt.OnnxParser]
    ProfilingVerbosity: type[tensorrt.ProfilingVerbosity]
    Runtime: type[tensorrt.Runtime]
    TensorIOMode: type[tensorrt.TensorIOMode]

    def __init__(self, flavour: Flavour, module: ModuleType) -> None:
        self.flavour: Flavour = flavour
        self.name = FLAVOURS[flavour]
        self.version = str(module.__version__)
        self.module = module
        for name in type(self).__annotations__:
            setattr(self, name, getattr(module, name))
        self._errors: deque[str] = deque(maxlen=_KEPT)
        self.logger: tensorrt.ILogger = _logger(self, self._errors)
        """The one of this process: a library keeps the first that it is given, for good."""

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

    def said(self) -> list[str]:
        """The errors that were logged since the last checked call began, each once."""
        return list(dict.fromkeys(self._errors))

    def error(
        self, name: str, what: str, *, otherwise: str = "build the engine again"
    ) -> EngineError:
        """The error of a call of TensorRT's that failed."""
        said = " | ".join(self.said()) or f"{what}, and TensorRT logged nothing"
        return device_error(f"{self.name} {name}", said, otherwise=otherwise)


def _logger(trt: Library, errors: deque[str]) -> tensorrt.ILogger:
    if not TYPE_CHECKING:
        tensorrt = trt.module
    base, name = tensorrt.ILogger, trt.name
    failures = (base.INTERNAL_ERROR, base.ERROR)

    class Logger(tensorrt.ILogger):  # type: ignore[misc]
        """Keeps errors for the message of the call that failed; threads of TensorRT call it."""

        def __init__(self) -> None:
            base.__init__(self)  # pybind11 wants it by name

        def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
            if severity in failures:
                errors.append(" ".join(msg.split()))
            _log.log(
                logging.INFO if severity == base.WARNING else logging.DEBUG, "%s: %s", name, msg
            )

    return Logger()


def build_command(model: object, flavour: Flavour) -> str:
    """What to type to build a plan of ``model`` where this process looks for it."""
    built = os.environ.get("OUTRIDER_BUILT")
    where = f"OUTRIDER_BUILT={shlex.quote(built)} " if built else ""
    return f"{where}edge-export build {model}{' --for rtx' if flavour == 'rtx' else ''}"


def installed(flavour: Flavour) -> bool:
    """Whether a module of this flavour is there; it may still not load."""
    return any(find_module(name) for name in _MODULES[flavour])


def to_build_for() -> Flavour:
    """The flavour that this machine can build engines of; the native one where both or none."""
    return "rtx" if installed("rtx") and not installed("tensorrt") else "tensorrt"


@cache
def open_library(flavour: Flavour) -> Library:
    """Import a flavour.

    Raises:
        EngineError: it is not installed, does not load, is too old, or its parts are of two
            releases.
    """
    names = _MODULES[flavour]
    name = next((n for n in names if find_module(n)), names[0])
    found = find_module(name)
    try:
        if found is not None and found.origin is not None:
            site = Path(found.origin).parents[1]
            if damage := truncated(site / part for part in _PARTS[flavour]):
                raise _unusable(flavour, "installed here but damaged", damage)
        trt = Library(flavour, import_module(name))
    except ModuleNotFoundError as exc:
        raise _unusable(flavour, "not installed here", exc) from exc
    except AttributeError as exc:
        raise _unusable(flavour, "installed here but too old or not whole", exc) from exc
    except Exception as exc:  # a module that is half there may raise anything
        raise _unusable(flavour, "installed here but does not load", exc) from exc
    if flavour == "rtx" and (library := loaded_release_of_rtx()) not in ("", trt.version):
        parts = f"Python's bindings are {trt.version}, the library is {library}"
        raise _unusable(flavour, "installed here in two releases at once", parts)
    return trt


def ask_version(flavour: Flavour) -> str:
    """The version of a flavour, as a process of its own finds it.

    A damaged library ends the process that loads it, which is then not this one.

    Raises:
        EngineError: as ``open_library``, and where it ends its process.
    """
    if not installed(flavour):
        return open_library(flavour).version
    done = run_apart(_ASK, flavour)
    if by := ended_by(done):
        raise _unusable(
            flavour, "installed here but damaged", f"loading it ends the process by {by}"
        )
    if done.returncode:
        said = "".join(done.stderr.strip().splitlines()[-1:]).partition(": ")[2]
        ended = f"loading it ends the process with exit code {done.returncode}"
        raise EngineError(said) if said else _unusable(flavour, "installed here but damaged", ended)
    return done.stdout.strip()


def run_apart(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, which a library of NVIDIA's may end."""
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def ended_by(done: subprocess.CompletedProcess[str]) -> str:
    """The signal that ended a process, such as 'SIGSEGV'; '' where none did."""
    return signal.Signals(-done.returncode).name if done.returncode < 0 else ""


def _unusable(flavour: Flavour, what: str, why: object) -> EngineError:
    cause = " ".join(str(why).split())
    return EngineError(f"{FLAVOURS[flavour]} is {what} ({cause}): {_INSTALL[flavour]}")
