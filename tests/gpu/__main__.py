"""What ``make test-gpu`` runs: the tests of real hardware, then the table of its times.

Where PyCUDA is not installed, that of the tests on the host driver serves, built once with this
machine's toolkit: it is the same library, and which driver it loads is decided when it starts.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from engines.cuda.context import device_names
from tests.cuda_host.build import NEEDS_CUDA_TOOLKIT, build, toolkit

ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str] | None:
    """This process's environment with a PyCUDA in it; None where there is none and no toolkit.

    Raises:
        subprocess.CalledProcessError: PyCUDA could not be built; what was said is printed.
    """
    if importlib.util.find_spec("pycuda") is not None:
        return dict(os.environ)
    cuda = toolkit()
    if cuda is None:
        return None
    print(f"PyCUDA of {cuda}, built once (a minute or two) …", flush=True)
    site = build(cuda).site
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def main() -> int:
    """Tests, then times; the exit code of what failed first."""
    there = device_names()
    environ = environment() if there else dict(os.environ)
    if environ is None:
        print(f"error: there is {there[0]}, but PyCUDA {NEEDS_CUDA_TOOLKIT}", file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "pytest", "tests/gpu"]
    environ["OUTRIDER_TEST_GPU"] = environ.get("OUTRIDER_TEST_GPU", "1")
    tests = subprocess.run(command, cwd=ROOT, env=environ, check=False)
    if tests.returncode or not there:
        return tests.returncode
    command = [sys.executable, "-m", "tests.gpu.timing", *map(os.path.abspath, sys.argv[1:])]
    return subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
