"""NVIDIA's compute-sanitizer over the kernel: no stray access, no race, nothing uninitialised."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engines.cuda.context import CudaDevice
from tests.cuda_host.build import toolkit

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.hardware


def sanitizer() -> str:
    """The program, of the toolkit or on PATH; the test skips, saying so, where there is none."""
    cuda = toolkit()
    beside = shutil.which("compute-sanitizer", path=cuda / "bin") if cuda else None
    found = beside or shutil.which("compute-sanitizer")
    if found is None:
        pytest.skip("no compute-sanitizer here: the kernel's memory accesses were not checked")
    return found


def watched(tool: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sanitizer(), "--tool", tool, "--error-exitcode", "86", "--print-limit", "5"]
    if tool == "memcheck":
        command += ["--leak-check", "full"]
    command += [sys.executable, "-m", "tests.gpu.sanitized", *words]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck", "synccheck"])
def test_the_sanitizer_finds_nothing(device: CudaDevice, tool: str) -> None:
    run = watched(tool)
    assert run.returncode == 0, run.stdout
    assert "SUMMARY: 0 " in run.stdout, run.stdout  # it did watch, and not another process


@pytest.mark.parametrize(("tool", "fault"), [("memcheck", "overrun"), ("initcheck", "unwritten")])
def test_the_sanitizer_finds_a_planted_fault(device: CudaDevice, tool: str, fault: str) -> None:
    run = watched(tool, fault)
    assert run.returncode != 0, run.stdout
    assert "Invalid __global__ read" in run.stdout or "Uninitialized __global__" in run.stdout
