"""Fixtures of the installers' tests, and a boot for services that are tried in it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.booted import Boot, booted, lacking
from tests.systemd.services import prepare
from tests.tiny_models import tiny_street

SYSTEMS = Path("/usr/bin/python3")


@pytest.fixture(scope="session")
def systems_python() -> Path:
    """The system's Python, one that a service can see and an installation can use."""
    asked = "import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))"
    if (
        not SYSTEMS.exists()
        or subprocess.run([SYSTEMS, "-c", asked], capture_output=True, check=False).returncode
    ):
        lacking("/usr/bin/python3 of 3.10 to 3.13 with python3-venv")
    return SYSTEMS.resolve()


@pytest.fixture(scope="module")
def boot(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boot]:
    """A boot with the app, a tiny model and faulty.py; units on short deadlines."""
    model = tmp_path_factory.mktemp("model") / "tiny.onnx"
    tiny_street(model)
    with booted(shared) as one:
        prepare(one, model)
        yield one
