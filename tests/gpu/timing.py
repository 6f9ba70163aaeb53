"""Times the CUDA parts on the device that is there and prints a table for BENCHMARKS.md.

``python -m tests.gpu.timing [FILE]`` writes it to a file too. What is timed stands behind a gate of
device copies that run meanwhile, so that neither Python nor the driver's calls are in the times.
"""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.vision.letterbox import Letterbox
from engines.cuda.context import CudaDevice, open_device
from engines.cuda.letterbox import DeviceLetterbox
from engines.cuda.memory import Buffer, new_stream
from engines.errors import OutriderError
from tests.gpu.frames import launch, noise, spec

FRAMES = ((1280, 720), (1920, 1080), (3840, 2160))
INPUT = (640, 384)
"""The shipped model's."""

SECTOR = 32
"""Bytes that a device reads at least (CUDA programming guide, device memory accesses)."""

REPEATS = 15

GATE_BYTES = 64 << 20

LAUNCHES = 100
"""The queue of a stream holds about a thousand, and the gate must outlast their calls."""


class Clock:
    """Times work on streams by events, all of it queued before any of it begins."""

    def __init__(self) -> None:
        from pycuda import driver

        self._driver: Any = driver
        self._stream = new_stream()
        self._from, self._to = (driver.mem_alloc(GATE_BYTES) for _ in range(2))
        self._copies = 4

    def ms(self, *work: tuple[Any, Callable[[], None]]) -> float:
        """From the opening of the gate to the end of the last (stream, what to queue on it)."""
        times: list[float] = []
        while len(times) < REPEATS:
            opened, ends = self._driver.Event(), [self._driver.Event() for _ in work]
            for _ in range(self._copies):
                self._driver.memcpy_dtod_async(self._to, self._from, GATE_BYTES, self._stream)
            opened.record(self._stream)
            for (stream, queue), end in zip(work, ends, strict=True):
                stream.wait_for_event(opened)
                queue()
                end.record(stream)
            early = opened.query()  # the gate opened before all was queued: once more, longer
            for end in ends:
                end.synchronize()
            if early:
                self._copies *= 2
                if self._copies > 4096:
                    raise OutriderError("queueing blocks on this device: nothing can be timed")
            else:
                times.append(max(float(end.time_since(opened)) for end in ends))
        return statistics.median(times)

    def copy_gbs(self) -> float:
        """What the device's memory moves in a copy, read and written bytes counted, GB/s."""

        def queue() -> None:
            for _ in range(8):
                self._driver.memcpy_dtod_async(self._to, self._from, GATE_BYTES, stream)

        stream = new_stream()
        return 16 * GATE_BYTES / self.ms((stream, queue)) / 1e6

    def free(self) -> None:
        self._from.free()
        self._to.free()


def sampled(size: int, made: int) -> NDArray[np.int64]:
    """The rows or columns of ``size`` that a resize to ``made`` looks at."""
    at = np.floor((np.arange(made) + 0.5) * size / made - 0.5).astype(np.int64)
    seen: NDArray[np.int64] = np.unique(np.clip(np.concatenate([at, at + 1]), 0, size - 1))
    return seen


def floor_bytes(box: Letterbox) -> int:
    """What no kernel can move less of: the sectors of the frame that count, and the output."""
    columns = sampled(box.frame_wh[0], box.resized_wh[0])[:, None] * 3 + np.arange(3)
    rows = sampled(box.frame_wh[1], box.resized_wh[1])
    sectors = np.unique(columns // SECTOR).size
    return int(rows.size * sectors * SECTOR + 3 * box.input_wh[0] * box.input_wh[1])


def wall_ms(work: Callable[[], object]) -> float:
    """The median time that a blocking call takes on the host."""
    times = []
    for _ in range(REPEATS + 3):
        begin = time.perf_counter_ns()
        work()
        times.append((time.perf_counter_ns() - begin) / 1e6)
    return statistics.median(times[3:])  # the first ones fault their pages in


class Slot:
    """One frame size's memory on both sides and what is done with it."""

    def __init__(self, letterbox: DeviceLetterbox, frame_wh: tuple[int, int]) -> None:
        from pycuda import driver

        self._letterbox = letterbox
        self.box = Letterbox.fit(frame_wh, spec(*INPUT))
        self.rows = noise(*frame_wh)
        self.staging = Buffer(self.rows.shape, "uint8", mapped=False)
        self.made = Buffer((1, INPUT[1], INPUT[0], 3), "uint8", mapped=False)
        self.kernels_on, self.uploads_on = new_stream(), new_stream()
        # So many frames that none is in the cache when its turn comes again, as with a camera.
        cache = driver.Context.get_device().get_attribute(driver.device_attribute.L2_CACHE_SIZE)
        count = max(2, 3 * cache // self.rows.nbytes)
        self._frames = [driver.mem_alloc(self.rows.nbytes) for _ in range(count)]
        for at in self._frames:
            driver.memcpy_htod(at, self.rows)

    def kernels(self, count: int) -> tuple[Any, Callable[[], None]]:
        """``count`` of them on their stream, each with the next frame."""

        def queue() -> None:
            for i in range(count):
                at, pitch = int(self._frames[i % len(self._frames)]), self.rows.shape[1]
                out = self.made.address
                launch(self._letterbox, at, pitch, out, self.box, self.kernels_on)

        return self.kernels_on, queue

    def upload(self) -> tuple[Any, Callable[[], None]]:
        """The upload of a whole frame from page-locked memory, on the other stream."""
        return self.uploads_on, lambda: self.staging.upload(self.uploads_on)

    def upload_input(self) -> tuple[Any, Callable[[], None]]:
        """The upload of what the host's letterbox made."""
        return self.uploads_on, lambda: self.made.upload(self.uploads_on)

    def overlap(self, clock: Clock, kernel_ms: float, upload_ms: float) -> float:
        """The part of an upload that hides beside kernels of about its length, or they beside it.

        1 where the shorter of the two costs nothing, 0 where one waits for the other.
        """
        work = self.kernels(max(1, min(3 * LAUNCHES, round(upload_ms / kernel_ms))))
        alone_ms, both_ms = clock.ms(work), clock.ms(self.upload(), work)
        return (alone_ms + upload_ms - both_ms) / min(alone_ms, upload_ms)

    def free(self) -> None:
        for held in (self.staging, self.made, *self._frames):
            held.free()


def frame_row(clock: Clock, slot: Slot, gbs: float) -> str:
    """One line of the table, for frames of one size."""
    from pycuda import driver

    (width, height), size = slot.box.frame_wh, slot.rows.nbytes
    frame = slot.rows.reshape(height, width, 3)
    kernel_ms = clock.ms(slot.kernels(LAUNCHES)) / LAUNCHES
    upload_ms = clock.ms(slot.upload())
    pageable_ms = wall_ms(lambda: driver.memcpy_htod(slot.staging.address, slot.rows))
    overlap = slot.overlap(clock, kernel_ms, upload_ms)
    host_ms = wall_ms(lambda: slot.box.apply(frame, slot.made.host))
    input_ms = clock.ms(slot.upload_input())
    copy_ms = wall_ms(lambda: np.copyto(slot.staging.host, slot.rows))
    floor_ms = floor_bytes(slot.box) / gbs / 1e6
    cells = (
        f"{width}x{height}",
        f"{1e3 * kernel_ms:.1f} µs",
        f"{1e3 * floor_ms:.1f} µs ({100 * floor_ms / kernel_ms:.0f} %)",
        f"{upload_ms:.2f} ms, {size / upload_ms / 1e6:.1f} GB/s",
        f"{pageable_ms:.2f} ms, {size / pageable_ms / 1e6:.1f} GB/s",
        f"{100 * overlap:.0f} %",
        f"{host_ms + input_ms:.2f} ms ({host_ms:.2f} + {input_ms:.2f})",
        f"{copy_ms + upload_ms + kernel_ms:.2f} ms "
        f"({copy_ms:.2f} + {upload_ms:.2f} + {kernel_ms:.2f})",
    )
    return "| " + " | ".join(cells) + " |"


HEADER = (
    *("frame", "kernel", "its memory floor", "upload, page-locked", "upload, pageable"),
    *(
        "upload beside kernels",
        "by the host: letterbox + upload",
        "by the device: copy + upload + kernel",
    ),
)


def table(device: CudaDevice, frames: Sequence[tuple[int, int]] = FRAMES) -> str:
    """The table with its heading, markdown; the device's context has to be current."""
    facts = device.facts("")
    letterbox, clock = DeviceLetterbox(), Clock()
    gbs = clock.copy_gbs()
    rows = []
    for frame_wh in frames:
        slot = Slot(letterbox, frame_wh)
        rows.append(frame_row(clock, slot, gbs))
        slot.free()
    letterbox.free()
    clock.free()
    l4t = f", L4T {facts.l4t}" if facts.l4t else ""
    name = (
        f"{facts.gpu} (sm_{facts.compute_capability.replace('.', '')}, {facts.sm_count} SMs, "
        f"driver {facts.driver}{l4t}, {facts.system})"
    )
    if hasattr(ctypes.CDLL("libcuda.so.1"), "host_cuda_open"):
        name = "The tests' host driver, no GPU: these times mean nothing"
    return "\n".join(
        [
            f"{name}, {date.today().isoformat()}: frames into {INPUT[0]}x{INPUT[1]}, medians of "
            f"{REPEATS}; a copy inside the device's memory moves {gbs:.0f} GB/s.",
            "",
            "| " + " | ".join(HEADER) + " |",
            "|---" * len(HEADER) + "|",
            *rows,
            "",
            "The kernel finds its frames in no cache. Its floor is the time to move the sectors of "
            "the frame that bilinear sampling touches, and the output, at the speed of that copy. "
            "Upload beside kernels: 100 % hides the shorter of the two whole, 0 % is one after the "
            "other.",
        ]
    )


def main() -> int:
    """Print the table, and write it where asked; the exit code."""
    try:
        device = open_device()
        with device.current():
            text = table(device)
        device.close()
    except OutriderError as exc:
        print(f"no timing: {exc}", file=sys.stderr)
        return exc.exit_code
    print(text)
    for path in sys.argv[1:]:
        Path(path).write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
