"""OpenCV before PyAV: a window must open, and show what PyAV decoded, with both loaded."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.edge.media_files import write_video

ROOT = Path(__file__).resolve().parents[4]
DEADLINE_S = 120

SHOW = """
import subprocess, sys, threading
import numpy as np
import pytest
from edge.sources import open_source
source = open_source(sys.argv[1], policy="auto", stop=threading.Event())
frame = source.read()
from edge.sources.video.media import cv2
assert "av" in sys.modules
cv2.imshow("frame", frame.image)
cv2.moveWindow("frame", 0, 0)
wanted = frame.image[24, 32, ::-1].astype(int)
for _ in range(100):
    cv2.waitKey(20)
    command = ["import", "-window", "root", "-depth", "8", "rgb:-"]
    dump = subprocess.run(command, capture_output=True, check=True).stdout
    pixels = np.frombuffer(dump, np.uint8).reshape(-1, 3).astype(int)
    if (abs(pixels - wanted).max(1) <= 2).sum() >= 100:
        print("seen", flush=True)
        break
"""


@pytest.mark.timing  # as the test of the window sink
def test_a_window_shows_a_decoded_frame_with_both_libraries_loaded(
    tmp_path: Path, display: str
) -> None:
    colour = np.full((48, 64, 3), (200, 120, 40), np.uint8)
    path = write_video(tmp_path / "a.mp4", count=2, image=colour)
    environ = {**os.environ, "DISPLAY": display, "QT_QPA_PLATFORM": "xcb"}
    done = subprocess.run(
        [sys.executable, "-c", SHOW, str(path)],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert "seen" in done.stdout, done.stderr


PROGRAM = ROOT / "edge" / "sinks" / "stream" / "sender.py"
"""A process of its own, which opens no window and is the smaller without OpenCV."""


def test_pyav_is_imported_nowhere_before_opencv() -> None:
    for path in {*ROOT.glob("edge/**/*.py"), *ROOT.glob("export/**/*.py")} - {PROGRAM}:
        names = [
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        ]
        if "av" in names:
            assert "cv2" in names[: names.index("av")], f"{path}: take av from media"
