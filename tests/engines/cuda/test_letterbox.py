"""The letterbox kernel, built for the host from the very file that nvcc gets, against OpenCV."""

from __future__ import annotations

import platform
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.vision.letterbox import Letterbox
from engines.cuda.letterbox import ARGUMENTS, BLOCK, LARGEST, SOURCE, check_geometry, launch_grid
from engines.spec import InputSpec, Resize
from tests.cuda_host.build import HostCuda
from tests.cuda_host.host_kernel import HostKernel, build_host_kernel

Array = NDArray[np.uint8]
Kernel = Callable[[Array, Letterbox], Array]

GUARD = 64
"""Bytes before and behind the output that no launch may touch."""

RESIZES: tuple[Resize, ...] = ("letterbox_center", "letterbox_topleft", "stretch")


@pytest.fixture(scope="module")
def host_kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_host_kernel(tmp_path_factory.mktemp("kernel"))


@pytest.fixture(scope="module")
def kernel(host_kernel: Path) -> Kernel:
    """Letterbox (H, W, 3) pixels, which may be a view with a longer pitch, into (1, H, W, 3)."""
    launch = HostKernel(host_kernel)

    def run(frame: Array, box: Letterbox) -> Array:
        out_w, out_h = box.input_wh
        size = 3 * out_w * out_h
        memory = np.full(size + 2 * GUARD, 0xA5, np.uint8)
        pitch, pad_xy = frame.strides[0], (box.pad_x, box.pad_y)
        check_geometry(box.frame_wh, pitch, box.input_wh, box.resized_wh, pad_xy, box.pad_value)
        packed = struct.pack(
            ARGUMENTS,
            *(frame.ctypes.data, memory.ctypes.data + GUARD, *box.frame_wh, pitch),
            *(*box.input_wh, *box.resized_wh, *pad_xy, box.pad_value),
        )
        assert launch(packed, (*launch_grid(box.input_wh), 1), BLOCK) == 0
        assert (memory[:GUARD] == 0xA5).all()
        assert (memory[GUARD + size :] == 0xA5).all()
        return memory[GUARD : GUARD + size].reshape(1, out_h, out_w, 3)

    return run


def noise(width: int, height: int, *, extra: int = 0, seed: int = 0) -> Array:
    """A frame of random bytes whose rows end ``extra`` bytes before the next begins."""
    rows = np.random.default_rng(seed).integers(0, 256, (height, 3 * width + extra), np.uint8)
    return np.lib.stride_tricks.as_strided(
        rows, (height, width, 3), (rows.strides[0], 3, 1), writeable=False
    )


def by_opencv(frame: Array, box: Letterbox) -> Array:
    out = np.full((1, box.input_wh[1], box.input_wh[0], 3), 77, np.uint8)
    box.apply(np.ascontiguousarray(frame), out)
    return out


def spec(width: int, height: int, resize: Resize = "letterbox_center", pad: int = 114) -> InputSpec:
    return InputSpec("image", height, width, resize=resize, pad_value=pad)


def levels(kernel: Kernel, frame: Array, box: Letterbox) -> int:
    """The largest difference between the kernel's output and OpenCV's."""
    difference = kernel(frame, box).astype(np.int16) - by_opencv(frame, box)
    return int(np.abs(difference).max())


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("input_wh", [(640, 384), (416, 416), (320, 736)])
@pytest.mark.parametrize(
    "frame_wh", [(3840, 2160), (1920, 1080), (1280, 720), (960, 540), (640, 480), (360, 640)]
)
def test_camera_frames_come_out_as_opencv_makes_them(
    kernel: Kernel, frame_wh: tuple[int, int], input_wh: tuple[int, int], resize: Resize
) -> None:
    box = Letterbox.fit(frame_wh, spec(*input_wh, resize))
    assert levels(kernel, noise(*frame_wh), box) <= 1


@settings(deadline=None, max_examples=200)  # a busy machine is no failure
@given(
    frame_wh=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    input_wh=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    resize=st.sampled_from(RESIZES),
    extra=st.integers(0, 70),
    pad=st.integers(0, 255),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_size_scale_and_pitch_agrees_with_opencv(
    kernel: Kernel,
    frame_wh: tuple[int, int],
    input_wh: tuple[int, int],
    resize: Resize,
    extra: int,
    pad: int,
    seed: int,
) -> None:
    box = Letterbox.fit(frame_wh, spec(*input_wh, resize, pad))
    assert levels(kernel, noise(*frame_wh, extra=extra, seed=seed), box) <= 1


@settings(deadline=None, max_examples=30)
@given(
    frame_wh=st.tuples(st.integers(1, 4096), st.integers(1, 300)),
    input_wh=st.tuples(st.integers(1, 1400), st.integers(1, 40)),
    seed=st.integers(0, 2**32 - 1),
)
def test_wide_frames_agree_with_opencv(
    kernel: Kernel, frame_wh: tuple[int, int], input_wh: tuple[int, int], seed: int
) -> None:
    box = Letterbox.fit(frame_wh, spec(*input_wh, "stretch"))
    assert levels(kernel, noise(*frame_wh, seed=seed), box) <= 1


@pytest.mark.parametrize("frame_wh", [(1, 1), (1, 7), (7, 1), (5000, 1), (1, 5000), (5000, 2)])
@pytest.mark.parametrize("resize", RESIZES)
def test_a_frame_of_one_pixel_a_side_reaches_the_input(
    kernel: Kernel, frame_wh: tuple[int, int], resize: Resize
) -> None:
    box = Letterbox.fit(frame_wh, spec(64, 48, resize))
    assert levels(kernel, noise(*frame_wh), box) <= 1


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 1), (3, 3), (5, 1), (7, 5), (13, 11)])
def test_an_output_that_no_word_fills_is_written_to_its_last_byte(
    kernel: Kernel, width: int, height: int
) -> None:
    # 1x1: 3 bytes; 3x3: 27 = 6 words and 3 bytes; 7x5: 105 = 26 words and 1 byte.
    box = Letterbox.fit((40, 30), spec(width, height))
    assert levels(kernel, noise(40, 30), box) <= 1


def test_a_frame_of_the_inputs_size_passes_through(kernel: Kernel) -> None:
    frame = noise(96, 64, extra=5)
    out = kernel(frame, Letterbox.fit((96, 64), spec(96, 64)))
    np.testing.assert_array_equal(out[0], frame)


def test_twice_the_size_is_the_rounded_mean_of_four(kernel: Kernel) -> None:
    # Pixels 0, 1, 3, 7 of one channel: (0 + 1 + 3 + 7 + 2) // 4 = 3.
    frame = np.array([[[0] * 3, [1] * 3], [[3] * 3, [7] * 3]], np.uint8)
    out = kernel(frame, Letterbox.fit((2, 2), spec(1, 1)))
    assert out.ravel().tolist() == [3, 3, 3]


def test_the_half_pixel_convention_is_kept(kernel: Kernel) -> None:
    # Pixels 0 and 200 at twice the size: x = (i + 0.5) / 2 − 0.5 = −0.25, 0.25, 0.75, 1.25.
    frame = np.array([[[0] * 3, [200] * 3]], np.uint8)
    out = kernel(frame, Letterbox.fit((2, 1), spec(4, 1, "stretch")))
    assert out[0, 0, :, 0].tolist() == [0, 50, 150, 200]


def test_the_padding_is_painted_on_all_four_sides(kernel: Kernel) -> None:
    white = np.full((10, 10, 3), 255, np.uint8)
    box = replace(
        Letterbox.fit((10, 10), spec(9, 7, pad=3)),
        scale_x=0.5, scale_y=0.3, pad_x=1, pad_y=2,
    )  # 5x3 px at 1, 2 of 9x7  # fmt: skip
    out = kernel(white, box)
    inside = np.zeros((7, 9), bool)
    inside[2:5, 1:6] = True
    assert (out[0][inside] == 255).all()
    assert (out[0][~inside] == 3).all()


def test_nothing_behind_the_last_row_is_read(kernel: Kernel) -> None:
    """The bytes between rows and behind the frame change nothing."""
    box = Letterbox.fit((33, 21), spec(64, 64))

    def filled(filler: int) -> Array:
        rows = np.full((22, 33 * 3 + 9), filler, np.uint8)
        rows[:21, :99] = noise(33, 21).reshape(21, 99)
        frame = np.lib.stride_tricks.as_strided(rows, (21, 33, 3), (rows.strides[0], 3, 1))
        return kernel(frame, box)

    np.testing.assert_array_equal(filled(0), filled(255))


def test_it_is_bit_for_bit_that_of_opencv_on_x86(kernel: Kernel) -> None:
    """Within 1 level is the promise; where OpenCV runs its own arithmetic, it is the same bits.

    On Arm OpenCV may hand the resize to a library of the vendor's, which rounds otherwise.
    """
    if platform.machine() != "x86_64":
        pytest.skip(f"OpenCV's own arithmetic is not certain on {platform.machine()}")
    differing = 0
    for seed, frame_wh in enumerate([(1920, 1080), (1279, 717), (333, 517), (200, 100), (97, 31)]):
        frame = noise(*frame_wh, seed=seed)
        box = Letterbox.fit(frame_wh, spec(640, 384))
        differing += int((kernel(frame, box) != by_opencv(frame, box)).sum())
    assert differing == 0


GOOD = ((640, 480), 1920, (64, 64), (64, 48), (0, 8), 114)


@pytest.mark.parametrize(
    ("place", "bad", "message"),
    [
        (0, (0, 480), "frame of 0x480"),
        (0, (LARGEST + 1, 1), "frame of 16385x1"),
        (1, 1919, "pitch of 1919 bytes, wanted at least 1920"),
        (2, (64, 0), "output of 64x0"),
        (3, (65, 48), "image of 65x48 at 0, 8 leaves the output of 64x64"),
        (3, (0, 48), "image of 0x48"),
        (4, (0, 17), "image of 64x48 at 0, 17 leaves"),
        (4, (-1, 8), "image of 64x48 at -1, 8 leaves"),
        (5, 256, "padding of 256"),
    ],
)
def test_a_geometry_that_leaves_a_buffer_is_refused(place: int, bad: object, message: str) -> None:
    check_geometry(*GOOD)
    arguments: list[object] = list(GOOD)
    arguments[place] = bad
    with pytest.raises(ValueError, match=message):
        check_geometry(*arguments)  # type: ignore[arg-type]


def test_the_packed_arguments_are_the_kernels_struct(host_kernel: Path) -> None:
    assert struct.calcsize(ARGUMENTS) == 56  # 2 addresses of 8 bytes, 10 integers of 4
    launch = HostKernel(host_kernel)
    # A grid of no blocks: whether the sizes fit, and nothing more.
    assert launch(bytes(56), (0, 1, 1), BLOCK) == 0
    assert launch(bytes(52), (0, 1, 1), BLOCK) == -1


CHILD = """
import logging
import sys
from pathlib import Path
from pycuda import driver
from edge.vision.letterbox import Letterbox
from engines.cuda.context import open_device
from engines.cuda.letterbox import SOURCE, DeviceLetterbox
from engines.cuda.memory import new_stream
from engines.errors import EngineError
from tests.gpu.frames import by_device, by_opencv, levels, noise, spec

logging.basicConfig(level=logging.INFO, format="%(message)s")
device = open_device()
with device.current():
    if "refused" in sys.argv:
        load = driver.module_from_buffer
        def refuse_once(code):
            driver.module_from_buffer = load
            raise driver.LogicError("cuModuleLoadDataEx failed: no kernel image is available")
        driver.module_from_buffer = refuse_once
    try:
        letterbox = DeviceLetterbox(source=Path(sys.argv[1]))
        box, rows = Letterbox.fit((333, 97), spec(64, 48)), noise(333, 97, pitch=1024)
        assert levels(by_device(letterbox, rows, box, new_stream()), by_opencv(rows, box)) <= 1
        letterbox.free()
        letterbox.free()
        print("done")
    except EngineError as exc:
        print(exc)
device.close()
"""


def run_child(
    host_cuda: HostCuda, host_kernel: Path, *words: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD, *words],
        env=host_cuda.environment(kernels=host_kernel) | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_shipped_code_is_loaded_without_a_compiler(
    host_cuda: HostCuda, host_kernel: Path, tmp_path: Path
) -> None:
    run = run_child(host_cuda, host_kernel, str(SOURCE), CUDA_HOME=str(tmp_path))
    assert (run.returncode, run.stdout, run.stderr) == (0, "done\n", "")


def test_code_that_the_device_refuses_is_compiled_instead(
    host_cuda: HostCuda, host_kernel: Path, tmp_path: Path
) -> None:
    run = run_child(host_cuda, host_kernel, str(SOURCE), "refused", XDG_CACHE_HOME=str(tmp_path))
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr
    assert "letterbox.fatbin: this device (8.7) refuses it (cuModuleLoadDataEx" in run.stderr
    assert "letterbox.cu: compiled for sm_87 by nvcc" in run.stderr


def test_a_source_without_shipped_code_is_compiled(
    host_cuda: HostCuda, host_kernel: Path, tmp_path: Path
) -> None:
    source = tmp_path / "letterbox.cu"
    source.write_bytes(SOURCE.read_bytes())
    for words in (("compiled", "nvcc"), ()):  # and found in the cache by the second start
        run = run_child(host_cuda, host_kernel, str(source), XDG_CACHE_HOME=str(tmp_path))
        assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr
        assert all(word in run.stderr for word in words)
        assert bool(run.stderr) == bool(words)
    run = run_child(host_cuda, host_kernel, str(source), CUDA_HOME=str(tmp_path))
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("letterbox.cu: no code for this device (sm_87) ships with it")
