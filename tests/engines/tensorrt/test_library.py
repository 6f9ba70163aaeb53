"""Installations of TensorRT as they go wrong, real files of TensorRT for RTX where it is here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from engines.cuda.context import device_names
from engines.errors import EngineError
from engines.tensorrt.library import ask_version, open_library
from export.tensorrt.build.builder import BuildOptions, build_plan
from tests.rtx_here import needs_rtx
from tests.tiny_models import tiny_street

BINDINGS, LIBS = "tensorrt_rtx_bindings", "tensorrt_rtx_libs"
AGAIN = "pip install --force-reinstall --no-deps -r constraints/rtx.txt in the project's folder"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a whole TensorRT for RTX, which new processes find before any other."""
    open_library("rtx")  # in this one stays the real
    for package in (BINDINGS, LIBS):
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        (tmp_path / package).mkdir()
        for file in Path(spec.origin).parent.glob("*.*"):
            (tmp_path / package / file.name).symlink_to(file)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def own(path: Path) -> Path:
    """A copy in the place of a link, to be spoilt."""
    real = path.resolve()
    path.unlink()
    shutil.copy(real, path)
    return path


def without_libraries(site: Path) -> None:
    for library in (site / LIBS).glob("*.so*"):
        library.unlink()


def cut_parser(site: Path) -> None:
    path = own(site / LIBS / "libtensorrt_onnxparser_rtx.so.1")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def emptied_bindings(site: Path) -> None:
    own(site / BINDINGS / "tensorrt_rtx.so").write_bytes(b"")


def not_elf(site: Path) -> None:
    own(site / BINDINGS / "tensorrt_rtx.so").write_bytes(bytes(1000))


def left_behind(site: Path) -> None:
    own(site / BINDINGS / "__init__.py").write_text("")


def older_bindings(site: Path) -> None:
    path = own(site / BINDINGS / "__init__.py")
    version = open_library("rtx").version
    path.write_text(path.read_text().replace(f'"{version}"', '"1.6.1.120"'))


@needs_rtx
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_libraries, "installed here but does not load (libtensorrt_rtx.so.1: cannot open"),
        (emptied_bindings, "tensorrt_rtx.so has 0 bytes, wanted at least"),
        (cut_parser, "libtensorrt_onnxparser_rtx.so.1 has 2048992 bytes, wanted at least 4097"),
        (not_elf, "installed here but does not load ("),
        (left_behind, "too old or not whole (module 'tensorrt_rtx_bindings' has no attribute"),
        (older_bindings, "in two releases at once (Python's bindings are 1.6.1.120, the library"),
    ],
)
def test_a_bad_installation_is_told_with_the_way_to_mend_it(
    site: Path, spoil: Callable[[Path], None], said: str
) -> None:
    version = open_library("rtx").version
    assert ask_version("rtx") == version
    spoil(site)
    with pytest.raises(EngineError) as refused:
        ask_version("rtx")
    assert str(refused.value).startswith("TensorRT for RTX is installed here ")
    assert said in str(refused.value)
    assert str(refused.value).endswith(f"): {AGAIN}")


def test_a_native_release_without_what_is_needed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt" / "__init__.py").write_text("__version__ = '8.5.2'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EngineError, match=r"too old or not whole \(module 'tensorrt' has no attr"):
        ask_version("tensorrt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("raise RuntimeError('one\\ntwo')", "installed here but does not load (one two): pip"),
        ("no python", "installed here but does not load (invalid syntax"),
        ("raise SystemExit(3)", "damaged (loading it ends the process with exit code 3): pip"),
        ("import nothing_of_that_name", "(No module named 'nothing_of_that_name'): pip"),
    ],
)
def test_whatever_a_module_raises_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, said: str
) -> None:
    (tmp_path / "tensorrt.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EngineError) as refused:
        ask_version("tensorrt")
    assert said in str(refused.value)


@needs_rtx
@pytest.mark.skipif(bool(device_names()), reason="this machine has a CUDA device")
def test_a_missing_driver_is_told_by_what_cuda_says_of_it(tmp_path: Path) -> None:
    tiny_street(tmp_path / "tiny.onnx")
    trt = open_library("rtx")
    options = BuildOptions(targets=("8.9",))
    plan, _ = build_plan(trt, tmp_path / "tiny.onnx", options, timings=None, say=lambda _: None)
    runtime = trt.Runtime(trt.logger)
    with pytest.raises(EngineError, match=r"cudaError 35.*driver is missing or older.*nvidia-smi"):
        trt.checked("deserialize_cuda_engine", lambda: runtime.deserialize_cuda_engine(plan))
