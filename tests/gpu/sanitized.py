"""What compute-sanitizer watches: the kernel on frames of many sizes, on two streams.

``python -m tests.gpu.sanitized [overrun|unwritten]`` plants a fault, to see that it is noticed.
"""

from __future__ import annotations

import sys

import numpy as np

from edge.vision.letterbox import Letterbox
from engines.cuda.context import open_device
from engines.cuda.letterbox import DeviceLetterbox
from engines.cuda.memory import Buffer, new_stream
from tests.gpu.frames import RESIZES, by_device, by_opencv, launch, levels, noise, spec

SIZES = ((1, 1), (5, 1), (1, 5), (33, 21), (640, 480), (1279, 717), (1920, 1080))
INPUTS = ((1, 1), (3, 3), (7, 5), (64, 48), (640, 384))


def watch(letterbox: DeviceLetterbox) -> None:
    """Every size into every input, then two streams at once."""
    stream = new_stream()
    for seed, (width, height) in enumerate(SIZES):
        for input_wh in INPUTS:
            for resize in RESIZES:
                box = Letterbox.fit((width, height), spec(*input_wh, resize))
                rows = noise(width, height, pitch=3 * width + seed, seed=seed)
                assert levels(by_device(letterbox, rows, box, stream), by_opencv(rows, box)) <= 1
    box = Letterbox.fit((640, 480), spec(640, 384))
    pairs = [
        (
            Buffer((480, 1920), "uint8", mapped=False),
            Buffer((1, 384, 640, 3), "uint8", mapped=False),
        )
        for _ in range(2)
    ]
    streams = [new_stream(), new_stream()]
    for _ in range(4):
        for (frame, out), each in zip(pairs, streams, strict=True):
            each.synchronize()
            frame.upload(each)
            launch(letterbox, frame.address, 1920, out.address, box, each)
            out.download(each)
    for (frame, out), each in zip(pairs, streams, strict=True):
        each.synchronize()
        frame.free()
        out.free()


def plant(letterbox: DeviceLetterbox, fault: str) -> None:
    """Read behind a frame, or a frame that nobody wrote."""
    from pycuda import driver

    box, stream = Letterbox.fit((64, 64), spec(64, 64)), new_stream()
    short = 64 if fault == "overrun" else 0
    frame, out = driver.mem_alloc(64 * 64 * 3 - short), driver.mem_alloc(64 * 64 * 3)
    if fault == "overrun":
        driver.memcpy_htod(frame, np.zeros(64 * 64 * 3 - short, np.uint8))
    launch(letterbox, int(frame), 64 * 3, int(out), box, stream)
    stream.synchronize()


def main() -> None:
    """Run, and give everything back, so that a leak check has nothing to say."""
    device = open_device()
    with device.current():
        letterbox = DeviceLetterbox()
        if len(sys.argv) > 1:
            plant(letterbox, sys.argv[1])
        else:
            watch(letterbox)
        letterbox.free()
    device.close()


if __name__ == "__main__":
    main()
