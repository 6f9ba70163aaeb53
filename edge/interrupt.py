"""Ends a command at SIGINT, SIGTERM and SIGHUP: in order where it comes to that, else by force.

Python raises a signal only between two of its own steps: a graph of somebody else's may never come
back to one. Inside an import nothing may be raised: a library takes it for a fault of its own, or
ends by a segmentation fault. A run answers signals itself (``edge.run.signals``). It imports the
standard library alone, to listen before all else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

ORDERLY_S = 1.2
"""How long an orderly end may take: what was started is to be gone within 2 s of the signal."""
POLL_S = 0.05
WORDS = "interrupted, did not finish"


class Interrupt:
    """Raises ``KeyboardInterrupt`` on the main thread at the first signal; made once a process.

    Inside an import, and before ``begin``, the process ends at once: nothing is half made there.
    What is ignored from the start, as a hang-up below nohup, stays ignored. While others answer
    the signals (a step that must be whole) nothing is forced. ``forced`` False: nothing ever is.
    """

    def __init__(self, name: str, *, forced: bool = True) -> None:
        self.number = 0
        """The signal that came, 0 before."""
        self._name, self._forced = name, forced
        self._begun = self._over = False
        self._main = threading.get_ident()
        asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        self._taken = [s for s in asked if signal.getsignal(s) is not signal.SIG_IGN]
        # Written by the system's own handler, on whatever thread and whatever Python is busy with.
        self._heard, told = os.pipe()
        os.set_blocking(told, False)
        for number in self._taken:
            signal.signal(number, self._ask)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=self._leave)
        threading.Thread(target=self._watch, name="interrupt", daemon=True).start()

    @property
    def code(self) -> int:
        """The exit code of a command that a signal has ended, as in shells."""
        return 128 + (self.number or signal.SIGINT)

    def begin(self) -> None:
        """From now on it is raised."""
        self._begun = True

    def done(self) -> None:
        """The command has ended and its code stands, whatever signal comes while Python ends."""
        self._over = True
        for number in self._taken:  # Python gives a handler back to the default before its end
            signal.signal(number, signal.SIG_IGN)

    def _leave(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in self._taken:
            signal.signal(number, signal.SIG_DFL)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            return  # one that follows must not stop the clearing up
        self.number = number
        if not self._begun or _importing(frame):
            self._end(number)
        raise KeyboardInterrupt

    def _watch(self) -> None:
        """Body of the thread: see that the main thread hears, and end it where it does not."""
        while (number := os.read(self._heard, 1)[0]) not in self._taken:
            pass  # of other handlers
        signal.pthread_kill(self._main, number)  # another thread may have it, and this one sleep
        since = time.monotonic()
        while self._forced and time.monotonic() - since < ORDERLY_S:
            time.sleep(POLL_S)
            if not self._over and signal.getsignal(number) != self._ask:
                since = time.monotonic()
        if self._forced:
            self._end(number)

    def _end(self, number: int) -> NoReturn:
        """End the process now; what it was making for a while goes, too."""
        with contextlib.suppress(OSError):
            os.write(2, f"{self._name}: {WORDS}\n".encode())
        if (files := sys.modules.get("engines.files")) is not None:
            files.abandon()
        os._exit(128 + number)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None and "importlib._bootstrap" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None
