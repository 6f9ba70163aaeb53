"""``python -m tests.aarch64.pictures VIDEO FOLDER``: a video's first frames as seen here.

FOLDER/frames has them decoded, FOLDER/inputs as the shipped network's letterbox makes them.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import cv2
import numpy as np

from edge.settings.settings import SHIPPED_MODEL
from edge.sources import open_source
from edge.vision.letterbox import Letterbox
from engines.model_file import read_spec

COUNT = 5


def write_pictures(video: str, folder: Path) -> None:
    """Write them without loss as 0.png to 4.png."""
    (folder / "frames").mkdir(parents=True)
    (folder / "inputs").mkdir()
    spec = read_spec(SHIPPED_MODEL).input
    source = open_source(video, policy="wait", stop=threading.Event())
    try:
        for i in range(COUNT):
            frame = source.read()
            assert frame is not None, f"{video} has {i} frames, wanted {COUNT}"
            height, width = frame.image.shape[:2]
            made = np.empty((spec.height, spec.width, 3), np.uint8)
            Letterbox.fit((width, height), spec).apply(frame.image, made)
            cv2.imwrite(str(folder / "frames" / f"{i}.png"), frame.image)
            cv2.imwrite(str(folder / "inputs" / f"{i}.png"), made)
    finally:
        source.close()


if __name__ == "__main__":
    write_pictures(sys.argv[1], Path(sys.argv[2]))
