"""Fixtures shared by all tests; tests that need the data beside the project skip without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared_root() -> Path | None:
    """The folder with data and foreign models, or None where this machine lacks it."""
    path = Path(os.environ.get("OUTRIDER_SHARED", ROOT.parent / "shared"))
    return path if path.is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data folder; the test skips, saying so, where it is absent."""
    path = shared_root()
    if path is None:
        pytest.skip("needs ../shared or OUTRIDER_SHARED")
    return path
