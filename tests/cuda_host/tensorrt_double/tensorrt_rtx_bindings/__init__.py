"""The double as TensorRT for RTX: it builds for architectures, without a device, and compiles late.

It has only names of the real bindings. A plan is compiled for the device when a context is created,
unless a runtime cache holds it; each time, a line is added to the file that
``OUTRIDER_DOUBLE_COMPILED`` names. ``OUTRIDER_DOUBLE_RTX`` is the release that it claims to be.
"""

from __future__ import annotations

import hashlib
import os
import sys
from enum import IntEnum
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

__version__ = os.environ.get("OUTRIDER_DOUBLE_RTX", "1.7.1.116")
_spec = spec_from_file_location(
    f"{__name__}.double", Path(__file__).resolve().parents[1] / "tensorrt" / "__init__.py"
)
assert _spec is not None
assert _spec.loader is not None
_native: Any = module_from_spec(_spec)  # a copy of its own, whose parts are exchanged below
sys.modules[_spec.name] = _native
_spec.loader.exec_module(_native)


class ComputeCapability(IntEnum):
    NONE, CURRENT, SM75, SM80, SM86, SM89, SM120, SM121 = 0, 1, 75, 80, 86, 89, 120, 121


NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 0})


class IBuilderConfig(_native.IBuilderConfig):  # type: ignore[misc]
    num_compute_capabilities = 0
    _targets: list[int]

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        assert isinstance(compute_capability, ComputeCapability)
        fits = 0 <= index < self.num_compute_capabilities
        self._targets = [*self._targets, int(compute_capability)]
        return fits or bool(_native._none(self._held[0], "Index of compute capability"))


class IRuntimeCache(_native._Strict):  # type: ignore[misc]
    def __init__(self) -> None:
        self._compiled = list[str]()

    def serialize(self) -> Any:
        return _native.packed({**_device(), "compiled": self._compiled}, b"")

    def deserialize(self, blob: bytes) -> bool:
        try:
            head = _native.unpacked(blob)[0]
        except ValueError:
            return False
        self._compiled = head.pop("compiled") if _device().items() <= head.items() else []
        return bool(self._compiled)


class IRuntimeConfig(_native._Strict):  # type: ignore[misc]
    _cache: IRuntimeCache | None = None
    create_runtime_cache = lambda self: IRuntimeCache()  # noqa: E731

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        self._cache = cache
        return True


class ICudaEngine(_native.ICudaEngine):  # type: ignore[misc]
    create_runtime_config = lambda self: IRuntimeConfig()  # noqa: E731

    def create_execution_context(self, runtime_config: IRuntimeConfig | None = None) -> Any:
        cache = (runtime_config and runtime_config._cache) or IRuntimeCache()
        plan = hashlib.sha256(self._model.SerializeToString()).hexdigest()
        if plan not in cache._compiled:
            with open(os.environ.get("OUTRIDER_DOUBLE_COMPILED", os.devnull), "a") as count:
                count.write(f"{plan}\n")
            cache._compiled.append(plan)
        return super().create_execution_context()


class Runtime(_native.Runtime):  # type: ignore[misc]
    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        engine, here = super().deserialize_cuda_engine(serialized_engine), _device()["capability"]
        if engine is not None and int(here.replace(".", "")) not in engine._head["targets"]:
            return _native._none(self._held[0], f"The plan is not for compute capability {here}")
        return engine


def _device() -> dict[str, str]:
    """What a compiled kernel is for; the context has to be current."""
    from pycuda import driver

    assert driver.Context.get_current() is not None
    return {**_native_here(), "version": __version__, "gpu": driver.Device(0).name()}


_native_here = _native._here
_native._here = lambda: {"version": __version__}
for _own in (IBuilderConfig, ICudaEngine, NetworkDefinitionCreationFlag, Runtime):
    setattr(_native, _own.__name__, _own)
for _name, _value in vars(_native).items():
    if not _name.startswith("_"):
        globals().setdefault(_name, _value)
