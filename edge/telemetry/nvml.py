"""What NVIDIA's driver tells of its GPUs, by NVML; a machine without the driver tells nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from edge.telemetry.sample import Fact, Reading, Throttle

log = logging.getLogger(__name__)

REASONS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "heat",
    0x40: "heat, by hardware",
    0x80: "power brake",
}
"""Bits of nvmlClocksEventReasons that slow a GPU against its will; idling, clocks that somebody
set and a display are none (NVML API reference, nvmlClocksEventReasons)."""


class Nvml:
    """The GPUs of this machine, through the module ``pynvml`` of the package nvidia-ml-py.

    Raises:
        NVMLError: of that module; there is no driver, or no device that it opens.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        nvml.nvmlInit()
        count = nvml.nvmlDeviceGetCount()
        self._devices = [
            ("GPU" if count == 1 else f"GPU {index}", nvml.nvmlDeviceGetHandleByIndex(index))
            for index in range(count)
        ]

    def read(self) -> Iterator[Fact]:
        """All there is now; a figure that a GPU does not have is left out."""
        for name, device in self._devices:
            yield from self._read(name, device)

    def _read(self, name: str, device: Any) -> Iterator[Fact]:
        nvml = self._nvml
        celsius = self._ask(nvml.nvmlDeviceGetTemperature, device, nvml.NVML_TEMPERATURE_GPU)
        if celsius is not None:
            yield Reading("temperature", name, celsius)
        for clock, what in ((nvml.NVML_CLOCK_GRAPHICS, ""), (nvml.NVML_CLOCK_MEM, " memory")):
            if (mhz := self._ask(nvml.nvmlDeviceGetClockInfo, device, clock)) is not None:
                yield Reading("clock", name + what, mhz)
        if (milliwatts := self._ask(nvml.nvmlDeviceGetPowerUsage, device)) is not None:
            yield Reading("power", name, milliwatts / 1e3)
        if (percent := self._ask(nvml.nvmlDeviceGetUtilizationRates, device)) is not None:
            yield Reading("load", name, percent.gpu)
        if (memory := self._ask(nvml.nvmlDeviceGetMemoryInfo, device)) is not None:
            yield Reading("memory", f"{name} total", memory.total / 1e6)
            yield Reading("memory", f"{name} used", memory.used / 1e6)
        bits = self._ask(nvml.nvmlDeviceGetCurrentClocksEventReasons, device)
        if bits is None:  # drivers before 535 have only the older name
            bits = self._ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, device)
        if bits is not None:
            for bit, reason in REASONS.items():
                yield Throttle(name, reason, bool(bits & bit))

    def _ask(self, query: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return query(*arguments)
        except self._nvml.NVMLError:
            return None


def open_nvml() -> Nvml | None:
    """The GPUs of NVIDIA's driver, None where there is none that answers."""
    try:
        import pynvml

        return Nvml(pynvml)
    except Exception as exc:  # no package, no driver, or one that does not fit its kernel
        log.debug("NVML tells nothing: %r", exc)
        return None
