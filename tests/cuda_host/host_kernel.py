"""The letterbox kernel as the host driver loads it: built by the stand-in for nvcc, called here."""

from __future__ import annotations

import ctypes
from pathlib import Path

from engines.cuda.compiler import compiled
from engines.cuda.letterbox import SOURCE

TOOLKIT = Path(__file__).with_name("toolkit")
"""CUDA_HOME for processes on the host driver: its ``bin/nvcc`` makes libraries of the host."""


class HostKernel:
    """engines/cuda/letterbox.cu as a function of a launch's packed arguments."""

    def __init__(self, folder: Path) -> None:
        library = folder / "letterbox.so"
        environ = {"CUDA_HOME": str(TOOLKIT), "XDG_CACHE_HOME": str(folder)}
        library.write_bytes(compiled(SOURCE, (8, 7), environ=environ))
        self._launch = ctypes.CDLL(str(library)).letterbox_host
        self._launch.restype = None

    def __call__(self, packed: bytes, grid: tuple[int, int, int], block: int) -> None:
        """Run all blocks; the addresses in ``packed`` are the host's."""
        self._launch((ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(block, 1, 1), packed)
