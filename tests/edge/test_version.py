"""The version that runs, installed or in place."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from edge.version import VERSION
from tests.conftest import ROOT


def test_it_is_the_installed_ones() -> None:
    assert version("outrider") == VERSION


def test_there_is_none_where_nothing_is_installed(tmp_path: Path) -> None:
    """Away from site-packages, and from a checkout, where pip leaves an egg-info."""
    (tmp_path / "edge").symlink_to(ROOT / "edge")
    told = "import edge.version; print(edge.version.VERSION)"
    alone = [sys.executable, "-S", "-c", told]
    ended = subprocess.run(alone, cwd=tmp_path, env={}, capture_output=True, text=True, check=True)
    assert ended.stdout == "None\n"
