"""Page-locked transfers of whole frames, and an upload beside running kernels."""

from __future__ import annotations

import numpy as np
import pytest

from engines.cuda.letterbox import DeviceLetterbox
from engines.cuda.memory import Buffer, new_stream
from tests.gpu.frames import noise
from tests.gpu.timing import LAUNCHES, Clock, Slot


def test_what_goes_up_from_page_locked_memory_comes_down_again(letterbox: DeviceLetterbox) -> None:
    """4K frames on two streams at once; the host's side is overwritten before they come back."""
    buffers = [Buffer((2160, 3 * 3840), "uint8", mapped=False) for _ in range(2)]
    streams = [new_stream() for _ in buffers]
    frames = [noise(3840, 2160, seed=seed) for seed in range(2)]
    for buffer, stream, frame in zip(buffers, streams, frames, strict=True):
        buffer.host[:] = frame
        buffer.upload(stream)
    for buffer, stream in zip(buffers, streams, strict=True):
        stream.synchronize()
        buffer.host.fill(0)
        buffer.download(stream)
    for buffer, stream, frame in zip(buffers, streams, frames, strict=True):
        stream.synchronize()
        np.testing.assert_array_equal(buffer.host, frame)
        buffer.free()


@pytest.mark.hardware
def test_an_upload_hides_beside_kernels_of_another_stream(letterbox: DeviceLetterbox) -> None:
    clock, slot = Clock(), Slot(letterbox, (3840, 2160))
    kernel_ms = clock.ms(slot.kernels(LAUNCHES)) / LAUNCHES
    overlap = slot.overlap(clock, kernel_ms, clock.ms(slot.upload()))
    slot.free()
    clock.free()
    # 0 is one after the other. Both share the memory's speed, so the whole is not to be had.
    assert overlap > 0.3
