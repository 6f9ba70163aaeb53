"""The command line as a user meets it: ``edge`` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

EDGE = [sys.executable, "-c", "from edge.start import main; main()"]
DEADLINE_S = 300
"""For one command on a machine that is busy with something else."""


def edge(
    *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``edge`` to its end without a display; ``env`` is added to this process's."""
    return subprocess.run(
        [*EDGE, *map(str, arguments)],
        env=os.environ | {"DISPLAY": ""} | dict(env or {}),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
