"""Fifty recorders that are killed at random moments."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_killed_recorder_loses_its_last_part_at_most_and_the_rest_plays() -> None:
    command = [sys.executable, "-m", "tests.edge.sinks.record.kills"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "50 kills, at most" in done.stdout
