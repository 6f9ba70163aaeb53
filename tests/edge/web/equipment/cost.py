"""What viewers cost a run: CPU and drops with none, one and many, over raw sockets.

``python -m tests.edge.web.equipment.cost`` prints the table of BENCHMARKS.md.
"""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.edge.web.equipment.served import Served, served
from tests.edge.web.equipment.shown import HOST

_SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one core, in percent, with drops meanwhile and bytes that the viewers took."""

    viewers: str
    cpu: float
    dropped: int
    taken: int
    memory_mb: float

    def row(self) -> str:
        """For the table."""
        return (
            f"| {self.viewers} | {self.cpu:.1f} % | {self.dropped} | {self.taken / 1e6:.1f} MB | "
            f"{self.memory_mb:.0f} MB |"
        )


def measure(run: Served, viewers: int, *, reads: bool = True, seconds: float = 3) -> Cost:
    """Of so many viewers; those that do not read only stay."""
    drops = _dropped(run)
    with _looking(run.port, viewers, reads) as taken:
        time.sleep(_SETTLE_S)
        cpu, took, begin = _cpu_s(run), taken[0], time.monotonic()
        time.sleep(seconds)
        share = (_cpu_s(run) - cpu) / (time.monotonic() - begin)
        took, memory_mb = taken[0] - took, _memory_mb(run)
    words = f"{viewers}" if reads else f"{viewers} that never read"
    return Cost(words, 100 * share, _dropped(run) - drops, took, memory_mb)


@contextmanager
def _looking(port: int, viewers: int, reads: bool) -> Iterator[list[int]]:
    taken, stop = [0], threading.Event()
    chooser = selectors.DefaultSelector()
    sockets = [socket.create_connection((HOST, port), 30) for _ in range(viewers)]
    for one in sockets:
        one.sendall(f"GET /stream.mjpeg HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode())
        one.setblocking(False)
        chooser.register(one, selectors.EVENT_READ)

    def read() -> None:
        block = bytearray(1 << 20)
        while not stop.is_set():
            for key, _ in chooser.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                got = key.fileobj.recv_into(block)
                taken[0] += got
                if not got:
                    chooser.unregister(key.fileobj)

    thread = threading.Thread(target=read if reads else stop.wait)
    thread.start()
    try:
        yield taken
    finally:
        stop.set()
        thread.join(30)
        for one in sockets:
            one.close()


def _cpu_s(run: Served) -> float:
    """All threads, to the nanosecond: ticks would miss what sleeps between them."""
    tasks = Path(f"/proc/{run.process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _memory_mb(run: Served) -> float:
    lines = Path(f"/proc/{run.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def _dropped(run: Served) -> int:
    answer = run.get("api/status")
    while answer.status in (429, 503):  # after so many at once, for a while
        time.sleep(0.2)
        answer = run.get("api/status")
    counts = json.loads(answer.body)["now"]["counts"]
    return int(counts["dropped_overwritten"] + counts["dropped_stale"])


def main() -> None:
    """Print the table."""
    print("| viewers | of a core | drops | taken | memory |")
    print("|---|---|---|---|---|")
    with served("--source", "synthetic:960x540@10") as run:
        for viewers in (0, 1, 20):
            print(measure(run, viewers, seconds=8).row())
        print(measure(run, 200, reads=False, seconds=8).row())


if __name__ == "__main__":
    main()
