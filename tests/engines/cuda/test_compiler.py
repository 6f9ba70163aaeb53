"""Tests of engines.cuda.compiler: compiled once for many starts, and no code of another source."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.cuda import compiler
from engines.cuda.compiler import (
    TARGETS,
    Toolkit,
    compiled,
    fatbin_path,
    find_toolkit,
    prebuilt,
    write_prebuilt,
)
from engines.cuda.letterbox import SOURCE
from engines.errors import EngineError
from tests.cuda_host.build import NEEDS_CUDA_TOOLKIT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FATBIN_MAGIC = bytes.fromhex("50ed55ba")
"""fatbinary_section.h of the CUDA toolkit: FATBIN_MAGIC 0xBA55ED50, little-endian."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "tiny.cu"
    path.parent.mkdir()
    path.write_text("first line\n")
    return path


@pytest.fixture(scope="module")
def cuda_toolkit() -> Path:
    """CUDA_HOME of a real toolkit; the test skips, saying so, where there is none."""
    toolkit = find_toolkit()
    if toolkit is None:
        pytest.skip(NEEDS_CUDA_TOOLKIT)
    return toolkit.nvcc.parent.parent


class Compiler:
    """An nvcc of a few lines that counts its runs and answers with what it was given."""

    def __init__(self, folder: Path, *, known: str = "87 89 90", version: str = "12.6.77") -> None:
        (folder / "bin").mkdir(parents=True)
        self.home, self.runs = folder, folder / "runs"
        self.nvcc = folder / "bin" / "nvcc"
        self.version, self.known, self.body = version, known, 'echo "code of $said" >"$made"'
        self.write()

    def write(self) -> None:
        self.nvcc.write_text(
            f"""#!/bin/sh
            case "$1" in
            --version) echo "Cuda compilation tools, release 12.6, V{self.version}"; exit ;;
            --list-gpu-arch) printf 'compute_%s\\n' {self.known}; exit ;;
            esac
            echo run >>"{self.runs}"
            for word; do
                case "$last" in -o) made=$word ;; *) said="$said $word" ;; esac
                last=$word
            done
            {self.body}
            """
        )
        self.nvcc.chmod(0o755)

    @property
    def count(self) -> int:
        return len(self.runs.read_text().splitlines()) if self.runs.exists() else 0

    def environ(self, cache: Path) -> dict[str, str]:
        return {"CUDA_HOME": str(self.home), "XDG_CACHE_HOME": str(cache)}


@pytest.fixture
def nvcc(tmp_path: Path) -> Compiler:
    return Compiler(tmp_path / "toolkit")


def test_what_was_compiled_once_is_not_compiled_again(
    source: Path, nvcc: Compiler, tmp_path: Path
) -> None:
    environ = nvcc.environ(tmp_path / "cache")
    first = compiled(source, (8, 7), environ=environ)
    assert b"arch=compute_87,code=sm_87" in first
    assert compiled(source, (8, 7), environ=environ) == first
    assert nvcc.count == 1


def test_another_source_device_or_compiler_is_compiled_anew(
    source: Path, nvcc: Compiler, tmp_path: Path
) -> None:
    environ = nvcc.environ(tmp_path / "cache")
    compiled(source, (8, 7), environ=environ)
    compiled(source, (9, 0), environ=environ)
    assert nvcc.count == 2
    source.write_text("second line\n")
    compiled(source, (8, 7), environ=environ)
    assert nvcc.count == 3
    nvcc.version = "12.9.41"
    nvcc.write()
    compiled(source, (8, 7), environ=environ)
    assert nvcc.count == 4


def test_a_device_newer_than_the_compiler_gets_ptx(
    source: Path, nvcc: Compiler, tmp_path: Path
) -> None:
    code = compiled(source, (12, 0), environ=nvcc.environ(tmp_path / "cache"))
    assert b"arch=compute_90,code=compute_90" in code


def test_a_device_older_than_the_compiler_is_refused(
    source: Path, nvcc: Compiler, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=r"for sm_87 and later, this device is sm_53\. .*host"):
        compiled(source, (5, 3), environ=nvcc.environ(tmp_path / "cache"))


def test_a_damaged_file_in_the_cache_is_made_anew(
    source: Path, nvcc: Compiler, tmp_path: Path
) -> None:
    environ = nvcc.environ(tmp_path / "cache")
    whole = compiled(source, (8, 7), environ=environ)
    (kept,) = (tmp_path / "cache" / "outrider" / "cuda").glob("*.fatbin")
    for damaged in (b"", kept.read_bytes()[:-1], b"x" + kept.read_bytes()[1:]):
        kept.write_bytes(damaged)
        assert compiled(source, (8, 7), environ=environ) == whole
    assert nvcc.count == 4


def test_many_at_once_compile_once(source: Path, nvcc: Compiler, tmp_path: Path) -> None:
    environ, results = nvcc.environ(tmp_path / "cache"), []
    threads = [
        threading.Thread(target=lambda: results.append(compiled(source, (8, 7), environ=environ)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert len(set(results)) == 1
    assert nvcc.count == 1


def test_a_cache_that_cannot_be_written_costs_only_time(
    source: Path,
    nvcc: Compiler,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # nobody's, so without a home
    (tmp_path / "cache").write_text("a file, where a folder should be")
    environ = nvcc.environ(tmp_path / "cache")
    assert compiled(source, (8, 7), environ=environ)
    assert compiled(source, (8, 7), environ={"CUDA_HOME": str(nvcc.home)})
    assert nvcc.count == 2
    assert "tiny.cu: not kept for the next start (" in caplog.text
    assert "neither XDG_CACHE_HOME nor HOME is an absolute path" in caplog.text


def test_a_compile_error_is_told_in_the_compilers_words(
    source: Path, nvcc: Compiler, tmp_path: Path
) -> None:
    nvcc.body = 'echo "tiny.cu(3): error: expected a \\";\\""; seq 40; exit 1'
    nvcc.write()
    with pytest.raises(EngineError) as caught:
        compiled(source, (8, 7), environ=nvcc.environ(tmp_path / "cache"))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{source}: nvcc 12.6.77 refuses it and says:"
    assert lines[1] == '    tiny.cu(3): error: expected a ";"'
    assert lines[-1] == "    … and 29 lines more"
    assert len(lines) == 14
    assert not list((tmp_path / "cache").rglob("*.fatbin"))


def test_a_compiler_that_dies_without_a_word_is_an_error(
    source: Path, nvcc: Compiler, tmp_path: Path
) -> None:
    nvcc.body = "kill -9 $$"
    nvcc.write()
    with pytest.raises(EngineError, match="nothing, and it ended with -9"):
        compiled(source, (8, 7), environ=nvcc.environ(tmp_path / "cache"))


def test_no_compiler_names_the_two_ways_out(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "find_toolkit", lambda environ: None)
    with pytest.raises(EngineError, match=r'no nvcc .* CUDA toolkit, or .* letterbox = "host"'):
        compiled(source, (8, 7), environ={})
    with pytest.raises(EngineError, match="CUDA_HOME=/usr/local"):
        write_prebuilt(source, {})


def test_cuda_home_decides_alone(nvcc: Compiler, tmp_path: Path) -> None:
    other = Compiler(tmp_path / "other", version="13.0.88")
    environ = {"CUDA_HOME": str(nvcc.home), "PATH": f"{other.home / 'bin'}:{os.defpath}"}
    toolkit = find_toolkit(environ)
    assert toolkit == Toolkit(nvcc.nvcc, "12.6.77", (87, 89, 90))
    del environ["CUDA_HOME"]
    assert find_toolkit(environ) == Toolkit(other.nvcc, "13.0.88", (87, 89, 90))
    assert find_toolkit({"CUDA_HOME": str(tmp_path)}) is None


def test_something_else_named_nvcc_is_refused(nvcc: Compiler) -> None:
    nvcc.nvcc.write_text("#!/bin/sh\necho hello\n")
    with pytest.raises(EngineError, match="is it NVIDIA's nvcc"):
        find_toolkit({"CUDA_HOME": str(nvcc.home)})


def test_shipped_code_is_used_as_it_is(source: Path, nvcc: Compiler, tmp_path: Path) -> None:
    assert prebuilt(source) is None
    said = write_prebuilt(source, nvcc.environ(tmp_path))
    assert said.endswith("sm_87 sm_89 sm_90, PTX compute_87")
    code = prebuilt(source)
    assert code == fatbin_path(source).read_bytes()
    assert nvcc.count == 1


@pytest.mark.parametrize("what", ["source", "fatbin", "record", "no record"])
def test_shipped_code_that_does_not_fit_is_ignored_with_a_message(
    what: str, source: Path, nvcc: Compiler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_prebuilt(source, nvcc.environ(tmp_path))
    record = source.with_name("tiny.fatbin.json")
    damage: dict[str, Callable[[], object]] = {
        "source": lambda: source.write_text("edited\n"),
        "fatbin": lambda: fatbin_path(source).write_bytes(b"edited"),
        "record": lambda: record.write_text("[]"),
        "no record": record.unlink,
    }
    assert prebuilt(source) is not None
    damage[what]()
    assert prebuilt(source) is None
    if what == "no record":
        return
    (warning,) = (r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert "tiny.fatbin ignored" in warning
    assert warning.endswith("python -m engines.cuda.compiler")


def test_the_shipped_code_is_of_the_shipped_source() -> None:
    """Fails after an edit of letterbox.cu until `make fatbin` has run."""
    code = prebuilt(SOURCE)
    assert code is not None
    assert code.startswith(FATBIN_MAGIC)
    assert len(code) < 200_000
    record = json.loads(SOURCE.with_name("letterbox.fatbin.json").read_text())
    assert record["ptx"] == "compute_75"
    assert {"sm_87", "sm_89", "sm_90"} <= set(record["code"])


def test_an_installed_package_has_the_source_the_code_and_its_record() -> None:
    root = SOURCE.parents[2]
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["engines"]
    packed = {path for pattern in patterns for path in (root / "engines").glob(pattern)}
    assert {SOURCE, fatbin_path(SOURCE), SOURCE.with_name("letterbox.fatbin.json")} <= packed


def test_a_folder_that_cannot_be_written_is_told_by_the_command(
    source: Path, nvcc: Compiler, tmp_path: Path
) -> None:
    fatbin_path(source).mkdir()
    with pytest.raises(EngineError, match=r"tiny\.fatbin: cannot be written"):
        write_prebuilt(source, nvcc.environ(tmp_path))
    assert not list(source.parent.glob(".making-*"))


# With the real compiler


@pytest.mark.parametrize("target", [75, *TARGETS])
def test_nvcc_compiles_the_kernel_for_each_device_without_spills(
    target: int, cuda_toolkit: Path, tmp_path: Path
) -> None:
    toolkit = find_toolkit({"CUDA_HOME": str(cuda_toolkit)})
    assert toolkit is not None
    if target not in toolkit.known:
        # 101 became 110 with CUDA 13; a compiler that knows neither is older than the device.
        assert target in {101, 110, 120}
        return
    made = tmp_path / "letterbox.cubin"
    command = [str(toolkit.nvcc), "-cubin", f"-arch=sm_{target}", "-lineinfo", "--resource-usage"]
    command += ["--Werror", "all-warnings", "-std=c++14", "-o", str(made), str(SOURCE)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in run.stderr
    # 64 registers let 4 blocks of 256 threads share a multiprocessor's 65,536.
    (registers,) = re.findall(r"Used (\d+) registers", run.stderr)
    assert int(registers) <= 64
    assert b".debug_line" in made.read_bytes()  # what -lineinfo adds


def test_the_real_compilers_code_names_no_folder_of_the_machine(
    cuda_toolkit: Path, tmp_path: Path
) -> None:
    source = tmp_path / "letterbox.cu"
    source.write_bytes(SOURCE.read_bytes())
    write_prebuilt(source, {"CUDA_HOME": str(cuda_toolkit), "PATH": os.environ["PATH"]})
    code = prebuilt(source)
    assert code is not None
    assert code.startswith(FATBIN_MAGIC)
    assert str(tmp_path).encode() not in code


def test_the_real_compilers_complaint_reaches_the_message(
    cuda_toolkit: Path, tmp_path: Path
) -> None:
    source = tmp_path / "broken.cu"
    source.write_text('extern "C" __global__ void broken(int *a) { *a = lost; }\n')
    environ = {"CUDA_HOME": str(cuda_toolkit), "XDG_CACHE_HOME": str(tmp_path)}
    with pytest.raises(
        EngineError, match=r'broken\.cu\(1\): error: identifier "lost" is undefined'
    ):
        compiled(source, (9, 0), environ=environ)


def test_the_command_writes_what_ships(cuda_toolkit: Path, tmp_path: Path) -> None:
    """`python -m engines.cuda.compiler` on a copy of the package."""
    copy = tmp_path / "engines" / "cuda"
    copy.mkdir(parents=True)
    (copy.parent / "__init__.py").touch()
    (copy / "__init__.py").touch()
    engines = SOURCE.parent.parent
    for name in ("errors.py", "files.py"):
        (copy.parent / name).write_bytes((engines / name).read_bytes())
    for name in ("compiler.py", "letterbox.cu"):
        (copy / name).write_bytes((engines / "cuda" / name).read_bytes())
    command = [sys.executable, "-m", "engines.cuda.compiler"]
    environ = os.environ | {"CUDA_HOME": str(cuda_toolkit)}
    run = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "letterbox.fatbin: " in run.stdout
    assert prebuilt(copy / "letterbox.cu") is not None
    nowhere = environ | {"CUDA_HOME": str(tmp_path)}
    run = subprocess.run(
        command, cwd=tmp_path, env=nowhere, capture_output=True, text=True, check=False
    )
    assert run.returncode == 4
    assert run.stderr.startswith("error: no nvcc")
