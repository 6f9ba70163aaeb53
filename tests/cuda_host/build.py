"""Builds the driver for tests and the real PyCUDA against it, once a machine.

Nothing is installed into the environment: both lie in a folder of their own, which a program sees
only by the variables of ``HostCuda.environment``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy

from tests.kept import kept

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REQUIREMENTS = HERE / "pycuda.txt"
"""The one version of PyCUDA, with the hash of its source archive."""
SIDE_BY_SIDE = """
import os
from concurrent.futures import ThreadPoolExecutor
import setuptools
from distutils.ccompiler import CCompiler

def side_by_side(self, sources, output_dir=None, macros=None, include_dirs=None, debug=0,
                 extra_preargs=None, extra_postargs=None, depends=None):
    macros, objects, after, pp, build = self._setup_compile(
        output_dir, macros, include_dirs, sources, depends, extra_postargs)
    before = self._get_cc_args(pp, debug, extra_preargs)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda made: self._compile(made, *build[made], before, after, pp), objects))
    return objects

CCompiler.compile = side_by_side
"""
"""Stands before PyCUDA's setup.py: its seventy files are compiled on all cores, not on one."""
NEEDS_CUDA_TOOLKIT = "needs a CUDA toolkit: CUDA_HOME, nvcc on PATH or /usr/local/cuda"
"""What a test that skips for want of one says; conftest.py counts it."""


@dataclass(frozen=True, slots=True)
class HostCuda:
    """A folder with the built driver and a folder with the built PyCUDA."""

    driver: Path
    site: Path

    def environment(self, **settings: object) -> dict[str, str]:
        """This process's environment plus what lets a program run on the driver.

        ``settings`` are those of driver.c without their prefix: ``memory_mb=64`` and so on.
        """
        kept = {k: v for k, v in os.environ.items() if not k.startswith("OUTRIDER_HOST_CUDA_")}
        return (
            kept
            | {
                "LD_LIBRARY_PATH": _joined(self.driver, kept.get("LD_LIBRARY_PATH")),
                "PYTHONPATH": _joined(self.site, ROOT, kept.get("PYTHONPATH")),
                "PYTHONFAULTHANDLER": "1",
            }
            | {f"OUTRIDER_HOST_CUDA_{k.upper()}": str(v) for k, v in settings.items()}
        )


def toolkit(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The CUDA toolkit of this machine, or None; of it only headers are used."""
    nvcc = shutil.which("nvcc", path=environ.get("PATH", ""))
    beside = [Path(nvcc).parent.parent, Path(nvcc).resolve().parent.parent] if nvcc else []
    for place in [environ.get("CUDA_HOME"), *beside, "/usr/local/cuda"]:
        if place and (Path(place) / "include" / "cuda.h").is_file():
            return Path(place)
    return None


def build(cuda: Path) -> HostCuda:
    """Both parts, out of the user's cache where an earlier run built them.

    Raises:
        subprocess.CalledProcessError: a compiler or pip refused; what it said is printed.
    """
    header = (cuda / "include" / "cuda.h").read_text(errors="replace")
    version = re.search(r"#define CUDA_VERSION (\d+)", header)
    assert version, f"{cuda}: cuda.h names no version"
    decides: list[Path | str] = [
        *(Path(__file__), REQUIREMENTS, version[1], str(sysconfig.get_config_var("SOABI"))),
        numpy.__version__,  # PyCUDA is compiled against its headers
    ]
    site = kept("pycuda", decides, lambda at: _build_pycuda(cuda, at))
    driver = kept(
        "cuda-driver", [*decides, HERE / "driver.c"], lambda at: _build_driver(cuda, site, at)
    )
    return HostCuda(driver, site)


def _build_pycuda(cuda: Path, site: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        _run(
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary=:all:"),
            *("--no-build-isolation", "--require-hashes", "-r", str(REQUIREMENTS), "-d", scratch),
        )
        archive = next(Path(scratch).glob("pycuda-*.tar.gz"))
        with tarfile.open(archive) as opened:
            opened.extractall(scratch, filter="data")
        source = Path(str(archive).removesuffix(".tar.gz"))
        setup = source / "setup.py"
        setup.write_text(
            SIDE_BY_SIDE + setup.read_text().replace("from __future__ import annotations", "")
        )
        # The names are looked up when PyCUDA is loaded, so an empty library will do to link it.
        (source / "empty.c").touch()
        _run(
            *("gcc", "-shared", "-Wl,-soname,libcuda.so.1", "-o", "libcuda.so", "empty.c"),
            cwd=source,
        )
        _run(
            *(sys.executable, "configure.py", f"--cuda-root={cuda}", "--no-cuda-enable-curand"),
            f"--cudadrv-lib-dir={source}",
            cwd=source,
        )
        # Not optimised: it takes a third of the time to build and spends none where it matters.
        # The empty library has no name that is wanted, and has to be linked all the same.
        _run(
            *(sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation"),
            *("--no-compile", "--target", str(site), str(source)),
            cwd=source,
            CFLAGS="-O0 -g0 -w",
            LDFLAGS="-Wl,--no-as-needed",
        )


def _build_driver(cuda: Path, site: Path, folder: Path) -> None:
    """driver.c, and for every other name that PyCUDA links a function that says it is missing."""
    ours, library = folder / "driver.o", folder / "libcuda.so.1"
    flags = ("gcc", "-O2", "-g", "-fPIC")
    _run(*flags, f"-I{cuda / 'include'}", "-c", str(HERE / "driver.c"), "-o", str(ours))
    linked = _names(next((site / "pycuda").glob("_driver*.so")), "--dynamic", "--undefined-only")
    rest = folder / "missing.c"
    rest.write_text(
        "int host_cuda_missing(const char *);\n"
        + "".join(
            f'int {name}(void) {{ return host_cuda_missing("{name}"); }}\n'
            for name in sorted(linked - _names(ours, "--defined-only"))
        )
    )
    _run(
        *(*flags, "-shared", "-Wl,-soname,libcuda.so.1", "-o", str(library)),
        *(str(ours), str(rest), "-ldl", "-lpthread"),
    )


def _names(binary: Path, *flags: str) -> set[str]:
    """The driver's calls that a binary has in its table of symbols."""
    return set(re.findall(r"\b(cu[A-Z]\w+)$", _run("nm", *flags, str(binary)), re.MULTILINE))


def _run(*command: str, cwd: Path | None = None, **environment: str) -> str:
    run = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode:
        print(run.stdout, file=sys.stderr)
        run.check_returncode()
    return run.stdout


def _joined(*paths: Path | str | None) -> str:
    return os.pathsep.join(str(path) for path in paths if path)
