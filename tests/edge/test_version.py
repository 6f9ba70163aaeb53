"""The version that runs, installed or in place."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

from edge.version import VERSION
from tests.conftest import ROOT


def test_it_is_the_installed_ones() -> None:
    assert version("outrider") == VERSION


def test_there_is_none_where_nothing_is_installed() -> None:
    told = "import edge.version; print(edge.version.VERSION)"
    alone = [sys.executable, "-S", "-c", told]  # without site-packages
    ended = subprocess.run(alone, cwd=ROOT, env={}, capture_output=True, text=True, check=True)
    assert ended.stdout == "None\n"
