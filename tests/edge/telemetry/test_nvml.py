"""What NVIDIA's driver tells, by a double of its library's functions.

It stands for the driver, which needs a GPU. Names, units, constants and errors are those of the
real nvidia-ml-py; figures are of the kind that NVIDIA's NVML API reference describes.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from edge.telemetry.nvml import Nvml, open_nvml
from edge.telemetry.sample import Fact, Reading, Throttle

NO = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
LOST = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
UNKNOWN = pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
RTX = {
    "nvmlDeviceGetTemperature": 64,
    "nvmlDeviceGetClockInfo": {pynvml.NVML_CLOCK_GRAPHICS: 1665, pynvml.NVML_CLOCK_MEM: 9501},
    "nvmlDeviceGetPowerUsage": 241_337,
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=90, memory=35),
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=12_884_901_888, used=395_706_368),
    "nvmlDeviceGetCurrentClocksEventReasons": 0x24,  # SwPowerCap and SwThermalSlowdown
    "nvmlDeviceGetCurrentClocksThrottleReasons": 0x24,
}


class Driver:
    """Answers for its devices with values, by name of the function, or raises what stands there."""

    def __init__(self, *devices: dict[str, Any]) -> None:
        self.devices = devices

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvmlDevice"):
            return getattr(pynvml, name)
        assert callable(getattr(pynvml, name)), "a function that the library has not"

        def answer(device: dict[str, Any], which: int | None = None) -> Any:
            value = device[name]
            if isinstance(value, Exception):
                raise value
            return value[which] if isinstance(value, dict) else value

        return answer

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.devices:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        return self.devices[index]


def active(facts: list[Fact]) -> list[str]:
    return [fact.reason for fact in facts if isinstance(fact, Throttle) and fact.active]


def test_a_gpu_tells_all_in_our_units_and_why_it_is_slow() -> None:
    facts = list(Nvml(Driver(RTX)).read())
    assert [fact for fact in facts if isinstance(fact, Reading)] == [
        Reading("temperature", "GPU", 64),
        Reading("clock", "GPU", 1665),
        Reading("clock", "GPU memory", 9501),
        Reading("power", "GPU", 241.337),
        Reading("load", "GPU", 90),
        Reading("memory", "GPU total", 12_884_901_888 / 1e6),
        Reading("memory", "GPU used", 395_706_368 / 1e6),
    ]
    assert active(facts) == ["power cap", "heat"]


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (pynvml.nvmlClocksEventReasonGpuIdle, []),
        (pynvml.nvmlClocksEventReasonApplicationsClocksSetting, []),
        (pynvml.nvmlClocksEventReasonSwPowerCap, ["power cap"]),
        (pynvml.nvmlClocksThrottleReasonHwSlowdown, ["hardware slowdown"]),
        (pynvml.nvmlClocksEventReasonSwThermalSlowdown, ["heat"]),
        (pynvml.nvmlClocksThrottleReasonHwThermalSlowdown, ["heat, by hardware"]),
        (pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown, ["power brake"]),
    ],
)
def test_each_reason_has_its_word_and_idling_is_none(bits: int, reasons: list[str]) -> None:
    device = {**RTX, "nvmlDeviceGetCurrentClocksEventReasons": bits}
    assert active(list(Nvml(Driver(device)).read())) == reasons


def test_several_gpus_are_told_apart_and_one_that_is_lost_leaves_the_other() -> None:
    lost = dict.fromkeys(RTX, LOST)
    nvml = Nvml(Driver(lost, RTX))
    facts = list(nvml.read())
    assert {fact.name for fact in facts if isinstance(fact, Reading)} == {
        "GPU 1", "GPU 1 memory", "GPU 1 total", "GPU 1 used",
    }  # fmt: skip


def test_what_a_gpu_does_not_support_is_left_out() -> None:
    integrated = {**RTX, "nvmlDeviceGetPowerUsage": NO, "nvmlDeviceGetTemperature": NO}
    kinds = {f.kind for f in Nvml(Driver(integrated)).read() if isinstance(f, Reading)}
    assert kinds == {"clock", "load", "memory"}


def test_an_older_driver_knows_the_reasons_by_their_older_name() -> None:
    older = {**RTX, "nvmlDeviceGetCurrentClocksEventReasons": UNKNOWN}
    assert active(list(Nvml(Driver(older)).read())) == ["power cap", "heat"]


def test_a_machine_without_the_driver_is_quiet(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driver = Driver()
    monkeypatch.setattr(pynvml, "nvmlInit", driver.nvmlInit)
    assert open_nvml() is None
    assert caplog.records == []
