"""The letterbox kernel on the device, against OpenCV on the host."""

from __future__ import annotations

import numpy as np
import pytest

from edge.vision.letterbox import Letterbox
from engines.cuda.letterbox import DeviceLetterbox
from engines.cuda.memory import Buffer, new_stream
from engines.spec import Resize
from tests.gpu.frames import RESIZES, by_device, by_opencv, launch, levels, noise, spec


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("input_wh", [(640, 384), (416, 416), (320, 736)])
@pytest.mark.parametrize(
    "frame_wh", [(3840, 2160), (4096, 2160), (1920, 1080), (1280, 720), (640, 480), (360, 640)]
)
def test_camera_frames_come_out_as_opencv_makes_them(
    letterbox: DeviceLetterbox,
    frame_wh: tuple[int, int],
    input_wh: tuple[int, int],
    resize: Resize,
) -> None:
    box = Letterbox.fit(frame_wh, spec(*input_wh, resize))
    rows = noise(*frame_wh)
    assert levels(by_device(letterbox, rows, box, new_stream()), by_opencv(rows, box)) <= 1


@pytest.mark.parametrize("seed", range(40))
def test_any_size_scale_and_pitch_agrees_with_opencv(letterbox: DeviceLetterbox, seed: int) -> None:
    random = np.random.default_rng(seed)
    # Sides up to 4K, as many small as large ones.
    width, height = (int(2 ** random.uniform(0, top)) for top in (12, 11))
    out_w, out_h = (int(2 ** random.uniform(0, top)) for top in (10.5, 9.5))
    geometry = spec(out_w, out_h, RESIZES[seed % 3], pad=int(random.integers(0, 256)))
    box = Letterbox.fit((width, height), geometry)
    rows = noise(width, height, pitch=3 * width + int(random.integers(0, 600)), seed=seed)
    assert levels(by_device(letterbox, rows, box, new_stream()), by_opencv(rows, box)) <= 1


@pytest.mark.parametrize("frame_wh", [(1, 1), (1, 7), (7, 1), (4096, 1), (1, 2160), (2, 2)])
@pytest.mark.parametrize("input_wh", [(1, 1), (3, 3), (7, 5), (64, 48)])
def test_one_pixel_a_side_and_outputs_that_no_word_fills(
    letterbox: DeviceLetterbox, frame_wh: tuple[int, int], input_wh: tuple[int, int]
) -> None:
    for resize in RESIZES:
        box = Letterbox.fit(frame_wh, spec(*input_wh, resize))
        rows = noise(*frame_wh)
        assert levels(by_device(letterbox, rows, box, new_stream()), by_opencv(rows, box)) <= 1


def test_an_output_that_is_not_aligned_is_refused(letterbox: DeviceLetterbox) -> None:
    box = Letterbox.fit((8, 8), spec(8, 8))
    with pytest.raises(ValueError, match="wanted a multiple of 4"):
        launch(letterbox, 4096, 24, 8194, box, None)


def test_upload_kernel_and_download_follow_each_other_on_one_stream(
    letterbox: DeviceLetterbox,
) -> None:
    """Nothing but the stream's own order stands between them."""
    box = Letterbox.fit((1920, 1080), spec(640, 384))
    frame = Buffer((1080, 1920 * 3), "uint8", mapped=False)
    out = Buffer((1, 384, 640, 3), "uint8", mapped=False)
    stream = new_stream()
    for seed in range(5):
        rows = noise(1920, 1080, seed=seed)
        frame.host[:] = rows
        frame.upload(stream)
        launch(letterbox, frame.address, 1920 * 3, out.address, box, stream)
        out.download(stream)
        stream.synchronize()
        assert levels(out.host, by_opencv(rows, box)) <= 1
    frame.free()
    out.free()


def test_two_streams_do_not_mix_their_frames(letterbox: DeviceLetterbox) -> None:
    """Two slots in flight, each with a frame of another size, twenty frames each."""
    sizes = [(1920, 1080), (1279, 717)]
    boxes = [Letterbox.fit(size, spec(640, 384)) for size in sizes]
    frames = [Buffer((h, 3 * w), "uint8", mapped=False) for w, h in sizes]
    outs = [Buffer((1, 384, 640, 3), "uint8", mapped=False) for _ in sizes]
    streams = [new_stream() for _ in sizes]

    def submit(slot: int, seed: int) -> None:
        frames[slot].host[:] = noise(*sizes[slot], seed=seed)
        frames[slot].upload(streams[slot])
        pitch = 3 * sizes[slot][0]
        launch(
            letterbox, frames[slot].address, pitch, outs[slot].address, boxes[slot], streams[slot]
        )
        outs[slot].download(streams[slot])

    for seed in range(21):
        for slot in (0, 1):
            if seed:  # this slot's last frame, while the other slot's is in flight
                streams[slot].synchronize()
                wanted = by_opencv(noise(*sizes[slot], seed=seed - 1), boxes[slot])
                assert levels(outs[slot].host, wanted) <= 1
            submit(slot, seed)
    for slot in (0, 1):
        streams[slot].synchronize()
        frames[slot].free()
        outs[slot].free()


def test_a_frame_in_mapped_memory_needs_no_upload(letterbox: DeviceLetterbox) -> None:
    box = Letterbox.fit((1280, 720), spec(640, 384))
    frame = Buffer((720, 1280 * 3), "uint8", mapped=True)
    out = Buffer((1, 384, 640, 3), "uint8", mapped=True)
    frame.host[:] = rows = noise(1280, 720)
    stream = new_stream()
    launch(letterbox, frame.address, 1280 * 3, out.address, box, stream)
    stream.synchronize()
    assert levels(out.host, by_opencv(rows, box)) <= 1
    frame.free()
    out.free()


def test_launches_take_no_device_memory(letterbox: DeviceLetterbox) -> None:
    from pycuda import driver

    box = Letterbox.fit((640, 480), spec(64, 48))
    frame, out = driver.mem_alloc(480 * 640 * 3), driver.mem_alloc(64 * 48 * 3)
    driver.memcpy_htod(frame, noise(640, 480))
    stream = new_stream()
    launch(letterbox, int(frame), 640 * 3, int(out), box, stream)
    stream.synchronize()
    before, _ = driver.mem_get_info()
    for _ in range(2000):
        launch(letterbox, int(frame), 640 * 3, int(out), box, stream)
    stream.synchronize()
    after, _ = driver.mem_get_info()
    # Other programs on the device come and go; an output kept by each launch would be 18 MB.
    assert before - after < 2000 * 64 * 48 * 3 / 2
    frame.free()
    out.free()
