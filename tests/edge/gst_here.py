"""GStreamer for the tests that run pipelines: they skip, saying so, where it cannot be had."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from edge.sources.gst.library import import_gst
from engines.errors import SourceError


def needs_gst() -> Any:
    """GStreamer's bindings. Where apt has them for this Python, CI fails without them."""
    try:
        return import_gst()
    except SourceError as exc:
        system = Path("/usr/bin/python3").resolve().name
        if os.environ.get("CI") and system == f"python{sys.version_info[0]}.{sys.version_info[1]}":
            raise
        pytest.skip(str(exc))
