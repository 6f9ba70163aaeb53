"""Standard output that is full, closed or left by its reader: an error of one line, or none."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.edge.door import DEADLINE_S

DOCTOR = f"{sys.executable} -c 'from edge.start import main; main()' doctor --json"
EVALUATE = (
    f"{sys.executable} -c 'from export.cli import main; main()' evaluate none.onnx "
    "--data synthetic --json -"
)
BENCH = f"{sys.executable} -c 'from edge.start import main; main()' bench --json -"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (f"{DOCTOR} >/dev/full", 5, "edge: standard output: cannot be written: No space left on"),
        (f"{DOCTOR} >&-", 5, "edge: standard output: it was closed before the start"),
        (f"{BENCH} >&-", 2, "edge: --json -: standard output is closed; name a file"),
        (f"{EVALUATE} >&-", 2, "edge-export: --json -: standard output is closed; name a file"),
        (f"set -o pipefail; {DOCTOR} | true", 1, ""),  # head: nobody wants to hear of it
    ],
)
def test_what_cannot_be_printed_is_told_in_one_line(command: str, code: int, said: str) -> None:
    done = subprocess.run(
        ["bash", "-c", command], stderr=subprocess.PIPE, text=True, check=False, timeout=DEADLINE_S
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == bool(said)
