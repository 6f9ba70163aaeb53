"""What a build needs of the machine, asked before it begins: memory, disk, device; it takes none.

The sizes are estimates: TensorRT tells none of its own before it is built with.
"""

from __future__ import annotations

from pathlib import Path

import psutil

from engines.cuda.context import Device, open_device
from engines.errors import DeviceError, ExportError
from engines.model_file import weight_files
from export.tensorrt.build.builder import BuildOptions, check_dla
from export.tensorrt.build.place import check_disk

SPARE_DISK = 64 << 20
"""Bytes for kernels in a plan, which come on top of the weights; an estimate."""
HOST_MEMORY = 512 << 20
"""Bytes that the builder's own libraries take on the host; an estimate."""


def preflight(
    version: str, model: Path, engine: Path, options: BuildOptions, *, half: bool
) -> Device:
    """What this machine is, once it is known to have what a build needs.

    ``half`` says that ``model`` is FP16 already.

    Raises:
        ExportError: the host has not the memory, or the disk not the room.
        DeviceError: the device has not the memory, or cannot be had.
        EngineError: there is no CUDA here, or not the DLA core that is asked for.
    """
    size = sum(file.stat().st_size for file in (model, *weight_files(model)))
    weights = size // (1 if half else 2)  # in FP16
    check_disk(engine.parent, 3 * weights + SPARE_DISK)  # the FP16 file, the plan, and air
    free = psutil.virtual_memory().available
    needed = 4 * weights + HOST_MEMORY  # the file, the graph, the network, the plan
    if free < needed:
        raise ExportError(
            f"{free / 1e6:.0f} MB of memory are free, a build of {model.name} needs about "
            f"{needed / 1e6:.0f} MB. Stop other programs, or add swap for the build."
        )
    device = open_device()
    try:
        with device.current():
            facts = device.facts(version)
            check_dla(options.dla_core)
            free = device.free_bytes()
    finally:
        device.close()
    needed = (options.workspace_mb << 20) + 2 * weights
    if free < needed:
        raise DeviceError(
            f"{facts.gpu}: {free / 1e6:.0f} MB of its memory are free, this build may take "
            f"{needed / 1e6:.0f} MB. Stop other programs on it, or allow less: --workspace "
            f"{max((free - 2 * weights >> 20) // 2, 16)}"
        )
    return facts
