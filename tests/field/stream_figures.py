"""What a stream costs, by a street, and how late it comes, by coded pictures: as a table."""

from __future__ import annotations

import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator

from edge.sinks import open_sink
from edge.sources import open_source
from edge.vision.types import Image
from tests.edge.sink_values import result
from tests.field.stream_server import StreamServer
from tests.field.timecode import coded

FPS, SECONDS = 25, 10
SIZES = ((960, 540), (1280, 720))


def as_markdown() -> Iterator[str]:
    """The table, line by line."""
    yield "| picture | CPU of the run | of the sender | main thread p50 / p99 | late p50 / p95 |"
    yield "|---|---|---|---|---|"
    for wh in SIZES:
        cpu_ms, sender_ms, writes, _ = _measured(_street(wh))
        *_, ages = _measured(lambda now_ns, wh=wh: coded(now_ns, wh))  # type: ignore[misc]
        yield (
            f"| {wh[0]}x{wh[1]} | {cpu_ms:.1f} ms a frame | {sender_ms:.1f} ms "
            f"| {_two(writes, 0.5, 0.99, 2)} ms | {_two(ages, 0.5, 0.95, 1)} ms |"
        )


def _two(values: list[float], low: float, high: float, digits: int) -> str:
    cuts = statistics.quantiles(values, n=100)
    return " / ".join(f"{cuts[round(p * 100) - 1]:.{digits}f}" for p in (low, high))


def _street(wh: tuple[int, int]) -> Callable[[int], Image]:
    """Two seconds of the street, again and again."""
    text = f"synthetic:{wh[0]}x{wh[1]}@{FPS}"
    source = open_source(text, policy="wait", stop=threading.Event())
    frames = [source.read() for _ in range(2 * FPS)]
    source.close()
    images = [frame.image for frame in frames if frame is not None]
    return lambda now_ns: images[now_ns * FPS // 10**9 % len(images)]


def _measured(
    picture: Callable[[int], Image],
) -> tuple[float, float, list[float], list[float]]:
    """CPU of this process and of the sender a frame, each write, each picture's age; all in ms."""
    server = StreamServer()
    server.serve()
    sink = open_sink(server.url(), fps=FPS)
    writes: list[float] = []
    sender = _cpu_s(resource.RUSAGE_CHILDREN)
    began = _cpu_s(resource.RUSAGE_SELF)
    due = time.monotonic()
    for number in range(FPS * SECONDS):
        time.sleep(max(0.0, due - time.monotonic()))
        now_ns = time.monotonic_ns()
        frame = result(number, t_capture_ns=now_ns)
        image = picture(now_ns)
        before = time.monotonic()
        sink.write(frame, image, frame_age_ms=0)
        writes.append((time.monotonic() - before) * 1e3)
        due += 1 / FPS
    cpu_s = _cpu_s(resource.RUSAGE_SELF) - began
    sink.close()
    sender_s = _cpu_s(resource.RUSAGE_CHILDREN) - sender
    came = [server.pictures.get() for _ in range(server.pictures.qsize())]
    server.kill()
    ages = [p["age_ms"] for p in came[FPS:] if p["age_ms"] is not None]
    scale = 1e3 / (FPS * SECONDS)
    return cpu_s * scale, sender_s * scale, writes, ages


def _cpu_s(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime
