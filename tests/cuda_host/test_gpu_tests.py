"""The tests of real hardware, run on the host driver: proof of the tests, not of a GPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from edge.vision.letterbox import Letterbox
from tests.cuda_host.build import HostCuda
from tests.cuda_host.host_kernel import build_host_kernel
from tests.gpu.frames import spec
from tests.gpu.timing import floor_bytes

ROOT = Path(__file__).resolve().parents[2]


def run_gpu_tests(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-q", "-p", "no:cacheprovider", *words]
    return subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )


def counts(output: str) -> dict[str, int]:
    """``12 passed, 3 skipped`` as {"passed": 12, "skipped": 3}."""
    last = output.strip().splitlines()[-1]
    return {what: int(n) for n, what in re.findall(r"(\d+) (passed|failed|skipped|errors?)", last)}


def test_they_pass_on_the_host_driver_and_leave_nothing_behind(
    host_cuda: HostCuda, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    kernels = build_host_kernel(tmp_path)
    environ = host_cuda.environment(kernels=kernels, report=report, delay_us=200)
    run = run_gpu_tests(environ | {"OUTRIDER_TEST_GPU": "host"})
    assert run.returncode == 0, run.stdout + run.stderr
    assert counts(run.stdout)["passed"] > 80
    told = json.loads(report.read_text())
    assert told["crimes"] == []
    assert told["bytes_in_use"] == 0
    assert told["launches"] > 2000


def test_the_timing_runs_on_the_host_driver_and_says_what_it_is_worth(
    host_cuda: HostCuda, tmp_path: Path
) -> None:
    kernels, report = build_host_kernel(tmp_path), tmp_path / "report.json"
    program = """
from engines.cuda.context import open_device
from tests.gpu import timing
timing.GATE_BYTES, timing.LAUNCHES, timing.REPEATS = 1 << 16, 3, 2
device = open_device()
with device.current():
    print(timing.table(device, [(64, 48)]))
device.close()
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=host_cuda.environment(kernels=kernels, report=report),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith("The tests' host driver, no GPU: these times mean nothing, 20")
    assert lines[4].startswith("| 64x48 | ")
    assert {line.count("|") for line in lines[2:5]} == {9}
    assert json.loads(report.read_text())["bytes_in_use"] == 0


def test_the_floor_of_the_kernels_memory_is_what_a_hand_counts() -> None:
    # 8x8 to 4x4: rows and columns at 2i + 0.5, so all of them; a row of 24 bytes is one sector of
    # 32, 8 rows: 256. The output has 4 * 4 * 3 = 48 bytes.
    assert floor_bytes(Letterbox.fit((8, 8), spec(4, 4))) == 256 + 48
    # 64x64 to 4x4: 16i + 7.5, so rows 7, 8, 23, 24, 39, 40, 55, 56. Bytes 21-26, 69-74, 117-122,
    # 165-170 lie in sectors 0, 2, 3, 5: 8 rows * 4 sectors * 32 = 1024.
    assert floor_bytes(Letterbox.fit((64, 64), spec(4, 4))) == 1024 + 48


def test_without_a_device_they_say_that_nothing_was_tested(tmp_path: Path) -> None:
    # A libcuda that is none: what a machine without a driver has, whatever this one has.
    (tmp_path / "libcuda.so.1").touch()
    environ = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-m", "tests.gpu", str(tmp_path / "times.md")],  # as make test-gpu does
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert not (tmp_path / "times.md").exists()
    assert "no CUDA device: nothing was tested" in run.stdout.splitlines()
    assert "passed" not in counts(run.stdout)


def test_make_test_only_collects_them() -> None:
    run = run_gpu_tests({k: v for k, v in os.environ.items() if k != "OUTRIDER_TEST_GPU"})
    assert run.returncode == 0, run.stdout + run.stderr
    assert set(counts(run.stdout)) == {"skipped"}
    assert "run by make test-gpu" in run.stdout
