"""What ``make test-gpu`` runs: the tests of real hardware, then the table of its times.

Where there is a device and no PyCUDA, that is built into this environment first, in the version
that the tests on the host driver use.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from engines.cuda.context import device_names
from tests.cuda_host.build import NEEDS_CUDA_TOOLKIT, REQUIREMENTS, toolkit

ROOT = Path(__file__).resolve().parents[2]


def install_pycuda() -> str | None:
    """Build and install PyCUDA where it is missing; why that failed, None where it is there."""
    if importlib.util.find_spec("pycuda") is not None:
        return None
    cuda = toolkit()
    if cuda is None:
        return f"PyCUDA {NEEDS_CUDA_TOOLKIT}"
    print(f"Building PyCUDA with the toolkit in {cuda} (once, a minute or two) …", flush=True)
    environ = os.environ | {
        "CUDA_ROOT": str(cuda),
        "PATH": os.pathsep.join([str(cuda / "bin"), os.environ.get("PATH", "")]),
        # Containers mount the driver's library without the name that a linker looks for.
        "LIBRARY_PATH": os.pathsep.join(
            [str(cuda / "lib64" / "stubs"), os.environ.get("LIBRARY_PATH", "")]
        ),
    }
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "-r", str(REQUIREMENTS)]
    built = subprocess.run(command, env=environ, check=False).returncode == 0
    return None if built else "PyCUDA could not be built; pip says why above"


def main() -> int:
    """Tests, then times; the exit code of what failed first."""
    if device_names():
        failed = install_pycuda()
        if failed:
            print(f"error: {failed}", file=sys.stderr)
            return 1
    environ = os.environ | {"OUTRIDER_TEST_GPU": "1"}
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/gpu"], cwd=ROOT, env=environ, check=False
    )
    if tests.returncode or not device_names():
        return tests.returncode
    command = [sys.executable, "-m", "tests.gpu.timing", *map(os.path.abspath, sys.argv[1:])]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
