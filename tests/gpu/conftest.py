"""What tests of real hardware share: they run by ``make test-gpu`` alone, and say when they cannot.

``OUTRIDER_TEST_GPU`` is 1 there. It is ``host`` where tests/cuda_host/test_gpu_tests.py runs these
very tests on the driver of tests/cuda_host, which proves them but no hardware.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.cuda.context import CudaDevice, device_names, open_device
from engines.cuda.letterbox import DeviceLetterbox

NO_DEVICE = "no CUDA device: nothing was tested"
HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    chosen = os.environ.get("OUTRIDER_TEST_GPU", "")
    for item in items:
        if HERE not in item.path.parents:
            continue
        if not chosen:
            item.add_marker(pytest.mark.skip(reason="of real hardware, run by make test-gpu"))
        elif chosen == "host" and item.get_closest_marker("hardware"):
            item.add_marker(pytest.mark.skip(reason="the host driver has no hardware's times"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if any(NO_DEVICE in str(report.longrepr) for report in skipped):
        terminalreporter.write_line(NO_DEVICE, red=True, bold=True)


@pytest.fixture(scope="session")
def device() -> Iterator[CudaDevice]:
    """The first CUDA device, not current; skips only where the driver knows none."""
    if not device_names():
        pytest.skip(NO_DEVICE)
    opened = open_device()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def _loaded(device: CudaDevice) -> Iterator[DeviceLetterbox]:
    with device.current():
        loaded = DeviceLetterbox()
    yield loaded
    with device.current():
        loaded.free()


@pytest.fixture
def letterbox(device: CudaDevice, _loaded: DeviceLetterbox) -> Iterator[DeviceLetterbox]:
    """The kernel, with the device's context current."""
    with device.current():
        yield _loaded
