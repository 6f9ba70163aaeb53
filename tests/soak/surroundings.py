"""What is around the app on a vehicle and goes wrong: disk, wall clock, processor, and systemd.

Each is real; systemd alone is played, as far as an app can tell: its socket.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from glob import glob
from pathlib import Path

DISK_BYTES = 64 * 2**20
SMALLEST_BYTES = 2**16
FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"
WATCHDOG_S = 30.0


class SmallDisk:
    """A file system of ``DISK_BYTES``; where this user may mount none, a limit on the app's files.

    That limit looks to the app as a disk that takes no more ("File too large").
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounted = False

    def fill(self, pid: int) -> None:
        """Leave no room for process ``pid``."""
        if not self.mounted:
            # What is there may stay, and the log, which is smaller, may go on.
            most = max((file.stat().st_size for file in self.folder.iterdir()), default=0)
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (max(most, SMALLEST_BYTES), hard))
            return
        with (self.folder / "filling").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(2**16))
            except OSError as exc:
                if exc.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Make room again; a limit ended with its process."""
        (self.folder / "filling").unlink(missing_ok=True)

    def __enter__(self) -> SmallDisk:
        self.folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(self.folder)]
        if shutil.which("mount"):
            done = subprocess.run(command, capture_output=True, check=False)
            self.mounted = done.returncode == 0
        return self

    def __exit__(self, *_: object) -> None:
        if self.mounted:
            subprocess.run(["umount", str(self.folder)], check=True)


class WallClock:
    """The date as the app sees it, moved by libfaketime; CLOCK_MONOTONIC stays."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._library = next(iter(glob(FAKETIME)), None)
        self.set(0)

    def set(self, offset_s: int) -> None:
        """Put it ``offset_s`` away from the true time."""
        self._file.write_text(f"{offset_s:+d}\n")

    def env(self) -> dict[str, str]:
        """What a process needs to see it; empty where libfaketime is missing."""
        if self._library is None:
            return {}
        return {
            "LD_PRELOAD": self._library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def works(self) -> bool:
        """Whether a process sees a step of the date, and none of CLOCK_MONOTONIC."""
        if self._library is None:
            return False
        self.set(86_400)
        code = "import time; print(time.time(), time.monotonic())"
        words = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | self.env(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        self.set(0)
        wall_s, monotonic_s = map(float, words)
        return wall_s - time.time() > 80_000 and abs(monotonic_s - time.monotonic()) < 60


@contextlib.contextmanager
def overload() -> Iterator[None]:
    """Two busy processes for every core."""
    command = [sys.executable, "-c", "while True: pass"]
    burning = [subprocess.Popen(command) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


class Systemd:
    """The socket that a service of Type=notify talks to, and what was said there.

    Times are nanoseconds of CLOCK_MONOTONIC.
    """

    def __init__(self) -> None:
        self._address = f"@outrider-soak-{os.getpid()}"
        self._told: list[tuple[int, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._listen, name="systemd")

    def env(self) -> dict[str, str]:
        """What systemd gives a service."""
        return {
            "NOTIFY_SOCKET": self._address,
            "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6)),
        }

    def times(self, word: str, since_ns: int = 0) -> list[int]:
        """When ``word``, as READY=1, was said."""
        return [at for at, said in list(self._told) if said == word and at > since_ns]

    def __enter__(self) -> Systemd:
        self._socket.bind("\0" + self._address[1:])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(b"", "\0" + self._address[1:])
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while message := self._socket.recv(4096):
            now_ns = time.monotonic_ns()
            self._told += [(now_ns, word) for word in message.decode().splitlines()]
