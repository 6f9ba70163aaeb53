"""Resizes and pads a frame that lies in device memory into an engine's input, by letterbox.cu.

It holds no memory and no geometry: addresses and plain numbers come with each call, and the result
is that of ``cv2.resize`` with INTER_LINEAR. Other interpolations stay on the host.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from engines.cuda.compiler import compiled, prebuilt

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("letterbox.cu")

ARGUMENTS = "PP10i"
"""struct LetterboxArgs of letterbox.cu: two addresses, ten 32-bit integers."""

BLOCK = 256
"""Threads a block; letterbox.cu promises the compiler no more. A thread makes four bytes."""

LARGEST = 16384
"""Px a side that the kernel's 32-bit products hold."""


def launch_grid(out_wh: tuple[int, int]) -> tuple[int, int]:
    """Blocks that write a whole output of ``out_wh`` px."""
    words = (3 * out_wh[0] * out_wh[1] + 3) // 4
    return (words + BLOCK - 1) // BLOCK, 1


def check_geometry(
    frame_wh: tuple[int, int],
    pitch: int,
    out_wh: tuple[int, int],
    size_wh: tuple[int, int],
    pad_xy: tuple[int, int],
    pad_value: int,
) -> None:
    """Refuse what the kernel would answer with reads or writes outside its buffers.

    Raises:
        ValueError: a side below 1 or above ``LARGEST``, a pitch shorter than a row, an image that
            leaves the output, or a padding that is no byte.
    """
    for name, sides in (("frame", frame_wh), ("output", out_wh), ("image", size_wh)):
        if not all(1 <= side <= LARGEST for side in sides):
            raise ValueError(f"{name} of {sides[0]}x{sides[1]}, wanted 1 to {LARGEST} px a side")
    if not 3 * frame_wh[0] <= pitch < 2**31:
        raise ValueError(f"pitch of {pitch} bytes, wanted at least {3 * frame_wh[0]}")
    if any(
        pad < 0 or pad + size > out for pad, size, out in zip(pad_xy, size_wh, out_wh, strict=True)
    ):
        raise ValueError(
            f"image of {size_wh[0]}x{size_wh[1]} at {pad_xy[0]}, {pad_xy[1]} leaves the output of "
            f"{out_wh[0]}x{out_wh[1]}"
        )
    if not 0 <= pad_value <= 255:
        raise ValueError(f"padding of {pad_value}, wanted 0 to 255")


class DeviceLetterbox:
    """The kernel, loaded into the context that was current when it was made.

    Making it takes the prebuilt file where that fits this source and this device, else compiles by
    nvcc once for all later runs. A launch allocates nothing on the device and copies nothing.
    """

    def __init__(self, *, source: Path = SOURCE) -> None:
        """Load the kernel.

        Raises:
            EngineError: neither a prebuilt file that this device takes nor a compiler that works.
        """
        import pycuda.driver as cuda

        major, minor = cuda.Context.get_device().compute_capability()
        self._module: Any = None
        ready = prebuilt(source)
        if ready is not None:
            try:
                self._module = cuda.module_from_buffer(ready)
            except (cuda.LogicError, cuda.RuntimeError) as exc:
                # No code for this device, or made by a CUDA newer than the driver's.
                log.info(
                    "%s: this device (%d.%d) refuses it (%s); compiling %s instead",
                    *(source.with_suffix(".fatbin").name, major, minor, exc, source.name),
                )
        if self._module is None:
            self._module = cuda.module_from_buffer(compiled(source, (major, minor)))
        self._function: Any = self._module.get_function("letterbox")
        self._function.prepare(ARGUMENTS)
        self._checked: tuple[Any, ...] = ()
        self._grid = (0, 0)

    def launch(
        self,
        frame: int,
        frame_wh: tuple[int, int],
        pitch: int,
        out: int,
        out_wh: tuple[int, int],
        *,
        size_wh: tuple[int, int],
        pad_xy: tuple[int, int],
        pad_value: int,
        stream: Any,
    ) -> None:
        """Queue the kernel on ``stream``; every byte of the output is written.

        Args:
            frame: device address of (H, W, 3) uint8 BGR.
            frame_wh: the frame's size, px.
            pitch: bytes from one of the frame's rows to the next.
            out: device address of (1, H, W, 3) uint8, a multiple of 4.
            out_wh: the output's size, px.
            size_wh: size of the frame's image inside the output, px.
            pad_xy: where that image's upper left corner lies, output px.
            pad_value: what surrounds the image.
            stream: a ``pycuda.driver.Stream``, or None for the default one.

        Raises:
            ValueError: sizes that contradict each other, or an output that is not aligned.
        """
        geometry = (frame_wh, pitch, out_wh, size_wh, pad_xy, pad_value)
        if geometry != self._checked:
            check_geometry(*geometry)
            self._grid, self._checked = launch_grid(out_wh), geometry
        if out % 4:
            raise ValueError(f"output at {out:#x}, wanted a multiple of 4")
        self._function.prepared_async_call(
            *(self._grid, (BLOCK, 1, 1), stream, frame, out),
            *(*frame_wh, pitch, *out_wh, *size_wh, *pad_xy, pad_value),
        )

    def free(self) -> None:
        """Unload the kernel while its context still lives; safe to call twice."""
        self._function = self._module = None
