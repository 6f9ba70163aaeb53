"""Page-locked host arrays with their device memory, streams and timed marks; it runs nothing.

Everything here is made once, when an engine opens, with the device's context current, and freed by
name: what PyCUDA frees on its own, it frees when the context may be gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engines.base import Array

if TYPE_CHECKING:
    from pycuda import driver


_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING in cuda.h: the legacy default stream does not hold this one up."""


def new_stream() -> driver.Stream:
    """A stream of its own, which runs beside all others."""
    from pycuda import driver

    return driver.Stream(_NON_BLOCKING)


class Buffer:
    """One tensor: a page-locked host array and the device memory that it is copied to or from.

    ``mapped`` makes them the same memory, so nothing is copied: for GPUs that share the host's.
    """

    __slots__ = ("_allocation", "_driver", "_host", "address", "host", "mapped")

    def __init__(self, shape: tuple[int, ...], dtype: str, *, mapped: bool) -> None:
        from pycuda import driver

        self._driver = driver
        self.mapped = mapped
        flags = driver.host_alloc_flags.DEVICEMAP if mapped else 0
        self._host: Any = driver.pagelocked_empty(shape, dtype, mem_flags=flags)
        self._host.fill(0)
        self._allocation: Any = None
        try:
            if mapped:
                self.address = int(self._host.base.get_device_pointer())
            else:
                self._allocation = driver.mem_alloc(self._host.nbytes)
                self.address = int(self._allocation)
        except BaseException:
            self.free()
            raise
        self.host: Array = self._host.view()
        """What the app reads or writes."""

    def upload(self, stream: driver.Stream) -> None:
        """Copy host → device on ``stream``; nothing to do where they are the same."""
        if not self.mapped:
            self._driver.memcpy_htod_async(self.address, self._host, stream)

    def download(self, stream: driver.Stream) -> None:
        """Copy device → host on ``stream``; nothing to do where they are the same."""
        if not self.mapped:
            self._driver.memcpy_dtoh_async(self._host, self.address, stream)

    def free(self) -> None:
        """Give both back; every array of it is invalid from here. Safe to call twice."""
        host, self._host = self._host, None
        allocation, self._allocation = self._allocation, None
        if allocation is not None:
            allocation.free()
        if host is not None:
            host.base.free()


class Marks:
    """Points in a stream's work, made once; the time between two of them is the GPU's own.

    The last one is waited for, so it lets the thread sleep: spinning would take a core from the
    capture and the overlay.
    """

    __slots__ = ("_events",)

    def __init__(self) -> None:
        self._events: list[driver.Event] = []

    def make(self, count: int) -> None:
        """Create this many events."""
        from pycuda import driver

        blocking = driver.event_flags.BLOCKING_SYNC
        self._events = [driver.Event(f) for f in (*[0] * (count - 1), blocking)]

    def record(self, index: int, stream: driver.Stream) -> None:
        """Put mark ``index`` behind what was enqueued on ``stream`` so far."""
        self._events[index].record(stream)

    def wait(self) -> None:
        """Block, without holding the GIL, until the last mark is reached."""
        self._events[-1].synchronize()

    def between_ns(self, first: int, last: int) -> int:
        """GPU time from one mark to another, both reached; events resolve half a microsecond."""
        return int(self._events[last].time_since(self._events[first]) * 1e6)

    def free(self) -> None:
        """Destroy the events."""
        self._events = []
