"""Builds the letterbox kernel for the host, as the host driver launches it and as tests call it."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

from engines.cuda.letterbox import SOURCE

WRAPPER = Path(__file__).with_name("letterbox_host.cpp")
COMPILER = (
    *("g++", "-std=c++17", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"),
    "-Wno-unknown-pragmas",  # nvcc's unroll
    "-ffp-contract=off",  # Arm's g++ would fuse multiplications and additions
)


def build_host_kernel(folder: Path) -> Path:
    """The library with ``host_letterbox``, built into ``folder``: the host driver's ``kernels``."""
    built = folder / "letterbox_host.so"
    command = [*COMPILER, "-I", str(SOURCE.parent), "-o", str(built), str(WRAPPER)]
    subprocess.run(command, check=True)
    return built


class HostKernel:
    """engines/cuda/letterbox.cu as a function of a launch's packed arguments."""

    def __init__(self, library: Path) -> None:
        self._launch = ctypes.CDLL(str(library)).host_letterbox

    def __call__(self, packed: bytes, grid: tuple[int, int, int], block: int) -> int:
        """Run all blocks; the addresses in ``packed`` are the host's. 0, or −1 where it refuses."""
        sizes = (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(block, 1, 1)
        return int(self._launch(packed, ctypes.c_size_t(len(packed)), *sizes))
