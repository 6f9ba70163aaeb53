"""Imports GStreamer through PyGObject, from the system where a venv hides it; it runs no pipeline.

No wheel brings either. apt's ``python3-gi`` is compiled for the system's own Python only.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.machinery
import importlib.util
import os
import platform
import sys
import warnings
from pathlib import Path
from typing import Any

from engines.errors import SourceError
from engines.files import cache_in_ours

APT_PACKAGES = (
    "python3-gi",
    "gir1.2-gstreamer-1.0",
    "gir1.2-gst-plugins-base-1.0",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
)
APT_LINE = "sudo apt install -y " + " ".join(APT_PACKAGES)
SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")
"""Where Debian and Ubuntu keep the modules of their Python."""


def import_gst(system: Path = SYSTEM_PACKAGES) -> Any:
    """``gi.repository`` with Gst, GstApp and GstVideo in it, initialised.

    Raises:
        SourceError: PyGObject or GStreamer is not there for this Python; says how to get it.
    """
    # GStreamer brings libunwind, and PyGObject loads it for all to see: its unwinder would then
    # take up exceptions that libgcc's has thrown, and OpenVINO crashes at its first one.
    with contextlib.suppress(OSError):
        ctypes.CDLL("libgcc_s.so.1", mode=ctypes.RTLD_GLOBAL)
    try:
        with warnings.catch_warnings():
            # PyGObject's importer is of the kind that Python 3.12 drops.
            warnings.simplefilter("ignore", ImportWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            gi = _import_gi(system)
            for name in ("Gst", "GstApp", "GstVideo"):
                gi.require_version(name, "1.0")
            repository = importlib.import_module("gi.repository")
            for name in ("GLib", "Gst", "GstApp", "GstVideo"):
                importlib.import_module(f"gi.repository.{name}")
    except (ImportError, ValueError) as exc:
        raise SourceError(
            f"GStreamer cannot be used by this Python ({exc}), wanted PyGObject and GStreamer's "
            f"bindings; {_next_step(system)}"
        ) from exc
    if "GST_REGISTRY" not in os.environ:
        cache_in_ours("GST_REGISTRY_1_0", f"gstreamer-{platform.machine()}.bin")
    repository.Gst.init(None)
    return repository


def _import_gi(system: Path) -> Any:
    if importlib.util.find_spec("gi") is not None:
        return importlib.import_module("gi")
    folder = system / "gi"
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    if not any((folder / f"_gi{suffix}").is_file() for suffix in suffixes):
        raise ImportError("no module named gi")
    # This package alone: with the whole folder on sys.path the system's NumPy and others would be
    # found wherever the venv lacks one.
    spec = importlib.util.spec_from_file_location(
        "gi", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError("no module named gi")
    module = importlib.util.module_from_spec(spec)
    sys.modules["gi"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules["gi"]
        raise
    return module


def _next_step(system: Path) -> str:
    compiled = sorted(path.name.split(".")[1] for path in (system / "gi").glob("_gi.cpython-*.so"))
    mine = f"cpython-{sys.version_info[0]}{sys.version_info[1]}-"
    if compiled and not any(name.startswith(mine) for name in compiled):
        return (
            f"apt's python3-gi is for {compiled[0]} and this is Python "
            f"{sys.version_info[0]}.{sys.version_info[1]}: make the venv with /usr/bin/python3"
        )
    return f"install it: {APT_LINE}"
