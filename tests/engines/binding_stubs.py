"""Type stubs of TensorRT's real Python bindings, and mypy as the judge of code that uses them.

The official wheels import without a GPU beside link stubs, TensorRT for RTX as it is; what pybind11
wrote into their docstrings becomes one stub a version. It checks names, attributes, enum members
and calls; it runs nothing.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from tests.kept import kept

VERSIONS = ("10.3.0", "10.16.1.11", "11.4.0.106")
"""JetPack 6's, JetPack 7.2's, and the newest for desktops."""
RTX = "tensorrt_rtx_bindings"
ROOT = Path(__file__).resolve().parents[2]
PYTHON = str(sysconfig.get_config_var("SOABI"))
"""Names the Python that the wheels are for."""

_CONFIG = """\
[mypy]
follow_imports = silent
ignore_missing_imports = True
check_untyped_defs = True
explicit_package_bases = True
"""


def real_bindings(version: str, *, shared: Path) -> Path:
    """The folder with the package ``tensorrt_bindings`` of ``version``, from NVIDIA's wheel.

    It can be imported and does nothing.
    """
    script = shared / "tensorrt" / "import_real_bindings.sh"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept(
        f"bindings-{version}",
        [script, script.with_name("nvstub.c"), PYTHON],
        lambda at: _run(["bash", str(script), version, str(at)], PATH=path),
    )


def make_stubs(version: str, *, shared: Path) -> Path:
    """The folder with the stub package ``tensorrt`` of ``version``.

    What pybind11 printed of a few functions is no Python; those become open to any argument.
    """
    bindings = real_bindings(version, shared=shared)
    decides: list[Path | str] = [
        Path(__file__),
        str(bindings),
        metadata.version("pybind11-stubgen"),
    ]
    return kept(
        f"stubs-{version}",
        decides,
        lambda at: _write_stubs("tensorrt_bindings", at / "tensorrt", PYTHONPATH=str(bindings)),
    )


def make_rtx_stubs() -> Path:
    """The folder with stubs of the TensorRT for RTX that is installed.

    The package ``tensorrt`` there is the same one, so that code for both flavours is judged by it.
    """
    package = find_spec(RTX)
    assert package is not None
    assert package.origin is not None
    module = Path(package.origin).with_name("tensorrt_rtx.so")
    decides: list[Path | str] = [Path(__file__), module, metadata.version("pybind11-stubgen")]
    return kept("stubs-rtx", decides, _write_rtx_stubs)


def _write_rtx_stubs(folder: Path) -> None:
    _write_stubs(RTX, folder / RTX)
    stub = folder / RTX / "tensorrt_rtx.pyi"
    text = stub.read_text()
    for unknown, known in (  # where pybind11 printed the C++ name
        (
            "def create_runtime_cache(self) -> ...:",
            "def create_runtime_cache(self) -> IRuntimeCache:",
        ),
        ("cache: ... = None) -> bool:", "cache: IRuntimeCache | None = None) -> bool:"),
    ):
        assert unknown in text, unknown
        text = text.replace(unknown, known)
    stub.write_text(text)
    (folder / "tensorrt").mkdir()
    (folder / "tensorrt" / "__init__.pyi").write_text(f"from {RTX} import *\n")


def _write_stubs(package: str, made: Path, **environment: str) -> None:
    stubgen = [sys.executable, "-m", "pybind11_stubgen", package, "--ignore-all-errors"]
    made.mkdir()
    with tempfile.TemporaryDirectory() as raw:
        _run([*stubgen, "-o", raw], **environment)
        for stub in (Path(raw) / package).glob("*.pyi"):
            text = stub.read_text().replace(package, made.name)
            (made / stub.name).write_text(_as_python(text))
            if stub.name != "__init__.pyi":
                _add_protocols(made / stub.name)


def _run(command: list[str], **environment: str) -> None:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


def _as_python(text: str) -> str:
    lines = text.splitlines()
    while (wrong := _syntax_error("\n".join(lines))) is not None:
        named = re.match(r"(\s*)def (\w+)\((self)?", lines[wrong - 1])
        assert named, lines[wrong - 1]
        own = "self, " if named[3] else ""
        lines[wrong - 1] = (
            f"{named[1]}def {named[2]}({own}*args: typing.Any, **kwargs: typing.Any) -> typing.Any:"
        )
    return "\n".join(lines) + "\n"


def _add_protocols(stub: Path) -> None:
    """What the docstrings do not say: an IHostMemory is a buffer, and Dims can be walked over."""
    text = stub.read_text()
    for name, method in (
        ("IHostMemory", "def __buffer__(self, flags: int, /) -> memoryview: ..."),
        ("Dims", "def __iter__(self) -> typing.Iterator[int]: ..."),
    ):
        assert f"class {name}:\n" in text, name
        text = text.replace(f"class {name}:\n", f"class {name}:\n    {method}\n")
    stub.write_text(text)


def _syntax_error(text: str) -> int | None:
    """The line of the first, counted from 1."""
    try:
        ast.parse(text)
    except SyntaxError as exc:
        return exc.lineno or 1
    return None


def complaints(files: list[Path], stubs: Path, *, cache: Path, root: Path = ROOT) -> list[str]:
    """What mypy says of ``files`` below ``root`` with the bindings of ``stubs``."""
    config = cache.parent / "mypy.ini"
    config.write_text(_CONFIG)
    names = [str(f.relative_to(root)) for f in files]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(cache),
         "--no-error-summary", "--hide-error-context", *names],
        cwd=root, env={**os.environ, "MYPYPATH": str(stubs)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = [line for line in done.stdout.splitlines() if ": error:" in line]
    return [line for line in found if line.split(":", 1)[0] in names]
