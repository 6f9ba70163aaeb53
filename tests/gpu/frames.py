"""Frames for the tests of real hardware, and a letterbox on the device for one of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.vision.letterbox import Letterbox
from engines.cuda.letterbox import DeviceLetterbox
from engines.spec import InputSpec, Resize

Array = NDArray[np.uint8]

GUARD = 256
"""Bytes before and behind an output that the kernel may not touch; keeps its alignment."""

RESIZES: tuple[Resize, ...] = ("letterbox_center", "letterbox_topleft", "stretch")


def spec(width: int, height: int, resize: Resize = "letterbox_center", pad: int = 114) -> InputSpec:
    return InputSpec("image", height, width, resize=resize, pad_value=pad)


def noise(width: int, height: int, *, pitch: int = 0, seed: int = 0) -> Array:
    """Rows (height, pitch) of random bytes, the first 3 * width of each of them a frame's."""
    size = (height, pitch or 3 * width)
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def by_opencv(rows: Array, box: Letterbox) -> Array:
    """What the host's letterbox makes of a frame in ``rows``: (1, H, W, 3)."""
    width, height = box.frame_wh
    frame = np.ascontiguousarray(rows[:, : 3 * width]).reshape(height, width, 3)
    out = np.empty((1, box.input_wh[1], box.input_wh[0], 3), np.uint8)
    box.apply(frame, out)
    return out


def launch(
    letterbox: DeviceLetterbox, frame: int, pitch: int, out: int, box: Letterbox, stream: Any
) -> None:
    """Queue the kernel as the app does: addresses and the letterbox's plain numbers."""
    letterbox.launch(
        *(frame, box.frame_wh, pitch, out, box.input_wh),
        size_wh=box.resized_wh,
        pad_xy=(box.pad_x, box.pad_y),
        pad_value=box.pad_value,
        stream=stream,
    )


def by_device(letterbox: DeviceLetterbox, rows: Array, box: Letterbox, stream: Any) -> Array:
    """What the kernel makes of a frame in ``rows``: (1, H, W, 3).

    The frame's memory ends with its last pixel, so a read behind it is one outside the allocation.
    """
    from pycuda import driver

    size = 3 * box.input_wh[0] * box.input_wh[1]
    used = rows.reshape(-1)[: rows.size - (rows.shape[1] - 3 * box.frame_wh[0])]
    frame, out = driver.mem_alloc(used.nbytes), driver.mem_alloc(size + 2 * GUARD)
    whole = np.full(size + 2 * GUARD, 0xA5, np.uint8)
    driver.memcpy_htod(frame, used)
    driver.memcpy_htod(out, whole)
    launch(letterbox, int(frame), rows.shape[1], int(out) + GUARD, box, stream)
    stream.synchronize()
    driver.memcpy_dtoh(whole, out)
    frame.free()
    out.free()
    assert (whole[:GUARD] == 0xA5).all(), "written before the output"
    assert (whole[GUARD + size :] == 0xA5).all(), "written behind the output"
    return whole[GUARD : GUARD + size].reshape(1, box.input_wh[1], box.input_wh[0], 3)


def levels(one: Array, other: Array) -> int:
    """The largest difference of two pictures."""
    return int(np.abs(one.astype(np.int16) - other).max())
