"""One CUDA device by its primary context, its facts and its failures; it allocates nothing.

TensorRT and PyCUDA meet in the primary context: it is retained once, made current around each piece
of work on the thread that opened it, and released by ``close``. Never ``pycuda.autoinit``, which
would give a context of its own to whichever thread imports it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from engines.errors import DeviceError, EngineError

if TYPE_CHECKING:
    from pycuda import driver

_LOST = (
    ("out of memory", "free device memory: stop other programs on the GPU, or use one slot"),
    ("no CUDA-capable device", "is the device there? See: edge doctor"),
    ("busy or unavailable", "another program holds the device alone; stop it"),
    ("illegal memory access", "start again; if it comes back, build the engine again"),
    ("misaligned address", "start again; if it comes back, build the engine again"),
    ("illegal instruction", "start again; if it comes back, build the engine again"),
    ("launch failure", "start again; if it comes back, build the engine again"),
    ("launch timed out", "the kernel's watchdog ended it; start again"),
    ("ECC error", "the device's memory is failing; see the kernel's log"),
    ("hardware stack error", "see the kernel's log, start again"),
    ("context is destroyed", "start again"),
    ("GPU is lost", "see the kernel's log; the machine may need a restart"),
    ("fallen off the bus", "see the kernel's log; the machine may need a restart"),
    ("unknown error", "see the kernel's log, start again"),
)
"""Texts of CUDA's errors (cuGetErrorString) after which a restart may help, and the next step."""
_OLD_DRIVER = "driver version is insufficient"
"""Of CUDA's error 35, which is also what a CUDA runtime says where there is no driver."""
_CAPABILITY = (75, 76)
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR in cuda.h."""
_NODES = ("nvidia[0-9]*", "nvidiactl", "nvidia-uvm", "nvhost-*gpu", "nvmap", "nvgpu/igpu0/*")
"""Device files that CUDA opens: of desktop drivers, then of Jetsons."""


@dataclass(frozen=True, slots=True)
class Device:
    """Facts of one CUDA device and of the software around it.

    ``compute_capability`` is like '8.7', ``system`` like 'linux-aarch64', ``tensorrt`` its whole
    version; ``driver`` and ``l4t`` are '' where there is none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True, strict=True)

    gpu: str
    compute_capability: str
    sm_count: int
    system: str
    tensorrt: str
    driver: str = ""
    l4t: str = ""

    @property
    def label(self) -> str:
        """Device and TensorRT for a file's name: '10.3.0-orin-sm87x16'."""
        gpu = re.sub(r"[^A-Za-z0-9]+", "-", self.gpu).strip("-").lower()
        sm = self.compute_capability.replace(".", "")
        return f"{self.tensorrt}-{gpu}-sm{sm}x{self.sm_count}"


class CudaDevice:
    """A device whose primary context this process has retained, for one thread."""

    def __init__(self, device: driver.Device, context: driver.Context) -> None:
        from pycuda import driver

        self._driver = driver
        self._device = device
        self._context: driver.Context | None = context
        attribute = driver.device_attribute
        self.integrated = bool(device.get_attribute(attribute.INTEGRATED))
        """Whether the GPU shares the host's memory, as on a Jetson."""
        self.maps_host_memory = bool(device.get_attribute(attribute.CAN_MAP_HOST_MEMORY))

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current on this thread for the length of the block.

        Raises:
            EngineError: the device is closed.
        """
        if self._context is None:
            raise EngineError("the CUDA device is closed; open it again.")
        self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    def facts(self, tensorrt_version: str, *, root: Path = Path("/")) -> Device:
        """What an engine's identity is compared with; ``root`` is where system files are read."""
        major, minor = self._device.compute_capability()
        attribute = self._driver.device_attribute
        return Device(
            gpu=str(self._device.name()),
            compute_capability=f"{major}.{minor}",
            sm_count=int(self._device.get_attribute(attribute.MULTIPROCESSOR_COUNT)),
            system=system_name(),
            tensorrt=tensorrt_version,
            driver=kernel_driver(root, int(self._driver.get_driver_version())),
            l4t=l4t_version(root),
        )

    def free_bytes(self) -> int:
        """Device memory that nobody uses; the context has to be current."""
        free, _ = self._driver.mem_get_info()
        return int(free)

    def close(self) -> None:
        """Release the primary context; safe to call twice."""
        context, self._context = self._context, None
        if context is None:
            return
        # PyCUDA makes the context current to release it and leaves it on the thread's stack, since
        # destroying a context of PyCUDA's own would take it off; releasing a primary one does not.
        context.detach()
        ctypes.CDLL("libcuda.so.1").cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))


def open_device(index: int = 0, *, nodes: Path = Path("/dev")) -> CudaDevice:
    """Start CUDA and retain the primary context of a device, without making it current.

    Raises:
        EngineError: PyCUDA or the driver is missing, or this user may not open the device files.
        DeviceError: the driver is there and has no device, or cannot start it now.
    """
    try:
        from pycuda import driver
    except ImportError as exc:
        raise EngineError(_cannot_import(exc)) from exc
    with cuda_errors("CUDA cannot start", explain=lambda: forbidden(nodes)):
        driver.init()
        count = driver.Device.count()
        if index >= count:
            raise DeviceError(f"CUDA device {index}: there are {count}; see: edge doctor")
        device = driver.Device(index)
        return CudaDevice(device, device.retain_primary_context())


@contextmanager
def cuda_errors(doing: str, *, explain: Callable[[], str | None] | None = None) -> Iterator[None]:
    """Map PyCUDA's exceptions to one line of the project's tree; ``doing`` opens it.

    ``explain`` may name a better cause than the driver does, one that no retry can mend.

    Raises:
        DeviceError: the device is lost or out of memory, so a restart may help.
        EngineError: any other error of CUDA.
    """
    try:
        yield
    except Exception as exc:
        # By name, so that this costs nothing and works where PyCUDA is not installed.
        if type(exc).__module__.partition(".")[0] != "pycuda":
            raise
        if explain is not None and (better := explain()) is not None:
            raise EngineError(f"{doing}: {better}") from exc
        raise device_error(doing, str(exc)) from exc


def device_error(doing: str, text: str, *, otherwise: str = "see: edge doctor") -> EngineError:
    """The error for what CUDA or TensorRT said: ``DeviceError`` where a restart may help."""
    cause = " ".join(text.split())
    for part, step in _LOST:
        if part.lower() in cause.lower():
            return DeviceError(f"{doing}: {cause}; {step}")
    if _OLD_DRIVER in cause:
        otherwise = (
            "the NVIDIA driver is missing or older than the CUDA of this TensorRT: nvidia-smi "
            "shows it; install a newer driver, or a TensorRT for its CUDA"
        )
    return EngineError(f"{doing}: {cause}; {otherwise}")


def is_lost(error: DeviceError) -> bool:
    """Whether nothing works on the device any more, freeing included; without memory it does."""
    return "out of memory" not in str(error).lower()


def seen_devices() -> list[tuple[str, str]] | None:
    """Name and compute capability of the devices that the driver opens; None without a driver.

    No package is needed, and no device is kept.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count = ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    found = []
    for index in range(count.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(100)
        cuda.cuDeviceGet(ctypes.byref(device), index)
        cuda.cuDeviceGetName(name, len(name), device)
        capability = []
        for attribute in _CAPABILITY:
            value = ctypes.c_int()
            cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            capability.append(str(value.value))
        found.append((name.value.decode(errors="replace"), ".".join(capability)))
    return found


def device_names() -> list[str]:
    """Names of the CUDA devices that the driver opens here."""
    return [name for name, _ in seen_devices() or ()]


def pycuda_version() -> str:
    """PyCUDA's version and the CUDA it was built against; as it fails, where it cannot be used.

    Raises:
        ImportError, OSError: it is missing, or not for this driver.
    """
    from pycuda import driver

    built = ".".join(map(str, driver.get_version()))
    return f"{metadata.version('pycuda')}, built against CUDA {built}"


def system_name() -> str:
    """Operating system and processor: 'linux-aarch64'."""
    return f"{sys.platform}-{platform.machine()}"


def l4t_version(root: Path = Path("/")) -> str:
    """The Jetson's L4T release like '36.4.3', '' where this is no Jetson."""
    try:
        text = (root / "etc/nv_tegra_release").read_text(errors="replace")
    except OSError:
        return ""
    found = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else ""


def kernel_driver(root: Path, cuda: int) -> str:
    """The kernel driver's version; on a system that does not tell it, CUDA's (12060 is 12.6)."""
    try:
        return (root / "sys/module/nvidia/version").read_text(errors="replace").strip()
    except OSError:
        return f"CUDA {cuda // 1000}.{cuda % 1000 // 10}"


def _cannot_import(exc: ImportError) -> str:
    if "libcuda" in str(exc):
        step = "install the NVIDIA driver; in a container: --gpus all, on a Jetson --runtime nvidia"
    else:
        step = (
            "pip install pycuda, which compiles it against the CUDA toolkit (on a Jetson: sudo "
            "make install-jetson)"
        )
    return f"TensorRT engines need PyCUDA, which is not usable here ({exc}): {step}"


def forbidden(nodes: Path) -> str | None:
    """Device files that are there and not for this user, and what to do; None where all are."""
    there = (node for pattern in _NODES for node in sorted(nodes.glob(pattern)))
    closed = [str(node) for node in there if not os.access(node, os.R_OK | os.W_OK)]
    if not closed:
        return None
    return (
        f"no permission to open {', '.join(closed)}; add this user to the group that owns it "
        "(video or render) and log in again, or give the container the device"
    )
