"""The device's facts and failures as far as they show without one; the rest runs on the host
driver, in tensorrt/test_engine.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from engines.cuda.context import (
    cuda_errors,
    device_error,
    device_names,
    forbidden,
    kernel_driver,
    l4t_version,
    open_device,
)
from engines.errors import DeviceError, EngineError


class LogicError(Exception):
    """As PyCUDA's, which are known by the module that they come from."""

    __module__ = "pycuda._driver"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("cuMemAlloc failed: out of memory", 6),
        ("cuInit failed: no CUDA-capable device is detected", 6),
        ("cuCtxSynchronize failed: an illegal memory access was encountered", 6),
        ("cuEventSynchronize failed: unspecified launch failure", 6),
        ("cuEventSynchronize failed: uncorrectable ECC error encountered", 6),
        ("cuDevicePrimaryCtxRetain failed: CUDA-capable device(s) is/are busy or unavailable", 6),
        ("cuModuleLoadDataEx failed: device kernel image is invalid", 4),
        ("cuMemcpyHtoDAsync failed: invalid argument", 4),
    ],
)
def test_what_a_restart_may_mend_exits_6_and_the_rest_4(text: str, code: int) -> None:
    with pytest.raises(EngineError) as caught, cuda_errors("TensorRT failed while running"):
        raise LogicError(text)
    assert caught.value.exit_code == code
    assert str(caught.value).startswith(f"TensorRT failed while running: {text}; ")
    assert isinstance(caught.value.__cause__, LogicError)


def test_an_error_is_one_line_however_many_the_library_wrote() -> None:
    error = device_error("TensorRT", "Error Code 1:\n  Cuda Runtime (out of memory)\n")
    assert isinstance(error, DeviceError)
    assert str(error).startswith("TensorRT: Error Code 1: Cuda Runtime (out of memory); ")


def test_errors_that_are_not_of_cuda_pass_unchanged() -> None:
    with pytest.raises(ValueError, match="mine"), cuda_errors("doing"):
        raise ValueError("mine")


def test_a_better_cause_than_the_drivers_takes_its_place_and_exits_4() -> None:
    with (
        pytest.raises(EngineError, match="CUDA cannot start: no permission") as caught,
        cuda_errors("CUDA cannot start", explain=lambda: "no permission"),
    ):
        raise LogicError("cuInit failed: no CUDA-capable device is detected")
    assert caught.value.exit_code == 4


def test_device_files_that_this_user_may_not_open_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nvidia0", "nvidiactl", "nvidia-modeset", "nvmap", "null"):
        (tmp_path / name).touch()
    assert forbidden(tmp_path) is None
    closed = {tmp_path / "nvmap", tmp_path / "nvidiactl", tmp_path / "null"}
    monkeypatch.setattr(os, "access", lambda node, mode: node not in closed)
    said = forbidden(tmp_path) or ""
    assert f"open {tmp_path}/nvidiactl, {tmp_path}/nvmap; add this user to the group" in said


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64", "36.4.3"),
        ("# R35 (release), REVISION: 5.0, GCID: 1", "35.5.0"),
        ("something else", ""),
    ],
)
def test_the_l4t_release_is_read_from_the_jetsons_own_file(
    tmp_path: Path, text: str, version: str
) -> None:
    assert l4t_version(tmp_path) == ""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text(text + "\n")
    assert l4t_version(tmp_path) == version


def test_the_driver_is_the_kernels_or_else_cudas_version(tmp_path: Path) -> None:
    assert kernel_driver(tmp_path, 12060) == "CUDA 12.6"
    assert kernel_driver(tmp_path, 13000) == "CUDA 13.0"
    (tmp_path / "sys/module/nvidia").mkdir(parents=True)
    (tmp_path / "sys/module/nvidia/version").write_text("580.65.06\n")
    assert kernel_driver(tmp_path, 13000) == "580.65.06"


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (ImportError("No module named 'pycuda'"), "pip install pycuda, which compiles it"),
        (ImportError("libcuda.so.1: cannot open shared object file"), "NVIDIA driver.*--gpus all"),
    ],
)
def test_without_pycuda_or_a_driver_the_next_step_is_told(
    monkeypatch: pytest.MonkeyPatch, error: ImportError, step: str
) -> None:
    class Refusing:
        """A package whose import fails in the way given."""

        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name.partition(".")[0] == "pycuda":
                raise error

    for name in [name for name in sys.modules if name.partition(".")[0] == "pycuda"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
    with pytest.raises(EngineError, match=step) as caught:
        open_device()
    assert caught.value.exit_code == 4


def test_a_machine_without_a_driver_has_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("ctypes.CDLL", no_library)
    assert device_names() == []
