"""What TensorRT for RTX compiles for a card when it loads a plan, kept on disk for the next start.

One file for each plan, device, driver and release: none of them can use another's.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from engines.cuda.context import Device
from engines.files import keep, kept, user_folder
from engines.tensorrt.library import Library

if TYPE_CHECKING:
    import tensorrt_rtx_bindings as rtx

_log = logging.getLogger(__name__)


class RuntimeCache:
    """The compiled kernels of one plan; without a folder to keep them, of this process alone."""

    def __init__(
        self, trt: Library, engine: rtx.ICudaEngine, plan_sha256: str, device: Device
    ) -> None:
        self._path = _path(plan_sha256, device)
        self._engine = engine
        self._config: rtx.IRuntimeConfig = trt.checked(
            "create_runtime_config", engine.create_runtime_config
        )
        self._cache: rtx.IRuntimeCache = trt.checked(
            "create_runtime_cache", lambda: self._config.create_runtime_cache()
        )
        self._kept = _read(self._path)
        if self._kept and not self._cache.deserialize(self._kept):
            _log.warning("%s: TensorRT does not take it; all is compiled anew", self._path)
            self._kept = b""
        trt.checked("set_runtime_cache", lambda: self._config.set_runtime_cache(self._cache))

    def create_context(self) -> rtx.IExecutionContext | None:
        """A context that compiles what the cache lacks, now or at its first run."""
        return self._engine.create_execution_context(self._config)

    def keep(self) -> str:
        """Write what was compiled, if anything was; the device's context has to be current.

        Returns where the kernels are from, in words. Where writing fails the next start is slower.
        """
        made = self._cache.serialize()
        data = b"" if made is None else bytes(made)
        if self._kept:
            told = "kernels kept from an earlier start"
        else:
            told = "kernels compiled for this card"
        if data in (b"", self._kept):
            return told
        if self._path is None:
            return f"{told}, not kept: no cache folder here (XDG_CACHE_HOME, HOME)"
        try:
            keep(self._path, data)
        except OSError as exc:
            return f"{told}, not kept: {self._path}: cannot be written ({exc.strerror or exc})."
        where = f"{self._path} ({len(data) / 1e6:.1f} MB)"
        return f"{told}, and more in {where}" if self._kept else f"{told}, kept in {where}"


def _path(plan_sha256: str, device: Device) -> Path | None:
    try:
        folder = user_folder("CACHE")
    except FileNotFoundError:
        return None
    driver = re.sub(r"[^A-Za-z0-9.]+", "-", device.driver)
    return folder / "rtx" / f"{plan_sha256[:12]}-{device.label}-{driver}.cache"


def _read(path: Path | None) -> bytes:
    if path is None or not path.exists():
        return b""
    if (data := kept(path)) is None:
        _log.warning("%s: is damaged or cannot be read; all is compiled anew", path)
    return data or b""
