"""What a build needs of the machine, asked before it begins: TensorRT, memory, disk, device.

The sizes are estimates: TensorRT tells none before a build.
"""

from __future__ import annotations

import re
from pathlib import Path

import psutil

from engines.cuda.context import Device, open_device, system_name
from engines.errors import DeviceError, EngineError, ExportNotNow, SettingsError
from engines.model_file import ModelFile
from engines.tensorrt.library import Flavour, Library, open_library
from export.tensorrt.build.builder import BuildOptions
from export.tensorrt.build.place import check_disk
from export.tensorrt.parse import make_builder

OLDEST = (10, 3)
"""The first release of TensorRT that builds: that of JetPack 6."""
WITH_DLA = (
    "TensorRT 10.3 of JetPack 6 on Orin has it, and 11.4.1 of JetPack 7.2.2 on AGX Orin; 10.8 to "
    "11.4.0 have none, neither have Orin Nano, Thor and desktop GPUs"
)
"""From NVIDIA's notes on working with DLA; none of it was tried on hardware."""
SPARE_DISK = 64 << 20
"""Bytes for a plan's kernels, on top of its weights."""
HOST_MEMORY = 512 << 20
"""Bytes that the builder's own libraries take on the host."""


def open_builder(flavour: Flavour) -> Library:
    """The TensorRT that is installed.

    Raises:
        EngineError: it is not installed, cannot be loaded, or is older than ``OLDEST``.
    """
    trt = open_library(flavour)
    found = tuple(int(n) for n in re.findall(r"\d+", trt.version)[:2])
    if flavour == "tensorrt" and found < OLDEST:
        raise EngineError(f"TensorRT {trt.version} is installed, wanted 10.3 or later (JetPack 6).")
    return trt


def preflight(
    trt: Library, model: Path, engine: Path, options: BuildOptions, *, half: bool
) -> Device:
    """What an engine is built for, if this machine has what a build needs.

    ``half``: ``model`` is FP16 already. Of TensorRT for RTX, which asks no device, only the system
    and the release are told.

    Raises:
        ExportNotNow: the host has not the memory, or the disk not the room.
        DeviceError: the device has not the memory, or cannot be had.
        EngineError: there is no CUDA here, or no DLA where one is asked for.
        SettingsError: there are fewer DLA cores.
    """
    size = sum(file.stat().st_size for file in (model, *ModelFile(model).weights))
    weights = size // (1 if half else 2)  # in FP16
    check_disk(engine.parent, 3 * weights + SPARE_DISK)  # the FP16 file, the plan, and more
    free = psutil.virtual_memory().available
    needed = 4 * weights + HOST_MEMORY  # the file, the graph, the network, the plan
    if free < needed:
        raise ExportNotNow(
            f"{free / 1e6:.0f} MB of memory are free, a build of {model.name} needs about "
            f"{needed / 1e6:.0f} MB. Stop other programs, or add swap for the build."
        )
    if trt.flavour == "rtx":
        return Device("", "", 0, system_name(), trt.version)
    device = open_device()
    try:
        with device.current():
            facts = device.facts(trt.version)
            _check_dla(trt, options.dla_core)
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


def _check_dla(trt: Library, core: int | None) -> None:
    """Refuse a DLA core that this machine does not have; CUDA has to be started."""
    if core is None:
        return
    cores = make_builder(trt).num_DLA_cores
    if cores < 1:
        raise EngineError(
            f"--dla-core {core}: TensorRT {trt.version} finds no DLA on this machine. "
            f"{WITH_DLA}. Leave --dla-core out: the GPU takes every layer."
        )
    if core >= cores:
        raise SettingsError(
            f"--dla-core {core}: this machine has {cores}, wanted 0 to {cores - 1}."
        )
