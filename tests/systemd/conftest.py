"""Fixtures of the installers' tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.systemd.booted import lacking

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
