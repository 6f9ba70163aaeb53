"""A screen for the tests of windows."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

TOOLS = ("Xvfb", "xdotool", "import")
DEADLINE_S = 60


@pytest.fixture(scope="session")
def display(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of an X server that only these tests use, for one window at a time."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        text = f"needs {', '.join(missing)} (apt install xvfb xdotool imagemagick)"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "640x480x24", "-noreset"]
    with (tmp_path_factory.mktemp("x") / "log").open("wb") as log:
        server = subprocess.Popen(command, pass_fds=[writer], stderr=log)
    os.close(writer)
    with os.fdopen(reader) as numbers:
        number = numbers.readline().strip()  # blocks until the server listens
    yield f":{number}"
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:  # one that does not hear of it any more
        server.kill()
        server.wait(DEADLINE_S)
