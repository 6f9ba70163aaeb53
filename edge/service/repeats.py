"""Tells a fault that repeats once and then counts it; what is no warning passes untouched.

A repeat has the same logger, level, source, state and words, numbers apart, and comes within
``QUIET_S`` of the last. How often it came is told every ``AGAIN_S``, and when it ends: after
``QUIET_S`` without it, at once when its source comes to another state, and at exit.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

QUIET_S = 60.0
"""More than any back-off between two attempts."""
AGAIN_S = 600.0


@dataclass(frozen=True, slots=True)
class _Key:
    logger: str
    level: int
    text: str
    source: object
    state: object


@dataclass(slots=True)
class _Fault:
    """``since`` is the wall clock's s, ``seen`` and ``told`` are the given clock's."""

    since: float
    seen: float
    told: float
    count: int = 1
    untold: logging.LogRecord | None = None


class CountedRepeats(logging.Handler):
    """Passes records on to ``inner``, repeats of warnings and errors as a number now and then."""

    def __init__(
        self, inner: logging.Handler, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._inner = inner
        self._clock = clock
        self._faults: dict[_Key, _Fault] = {}
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on, or count it; never raises."""
        try:
            source = getattr(record, "OUTRIDER_SOURCE", None)
            state = getattr(record, "OUTRIDER_STATE", None)
            if state is not None:
                self._end(lambda key, _: key.source == source and key.state != state)
            self.tell_due()
            if record.levelno >= logging.WARNING:
                text = re.sub(r"\d+", "0", record.getMessage())
                if self._repeats(_Key(record.name, record.levelno, text, source, state), record):
                    return
            self._inner.handle(record)
        except Exception:
            self.handleError(record)

    def tell_due(self) -> None:
        """Tell the number of what has ended, and of what was told long ago."""
        self.acquire()
        try:
            now = self._clock()
            self._end(lambda _, fault: now - fault.seen >= QUIET_S)
            for fault in self._faults.values():
                if now - fault.told >= AGAIN_S:
                    fault.told = now
                    self._tell(fault)
            self._wait()
        finally:
            self.release()

    def close(self) -> None:
        """Tell every number that is not told yet."""
        self.acquire()
        try:
            self._end(lambda *_: True)
            if self._timer is not None:
                self._timer.cancel()
        finally:
            self.release()
        super().close()

    def _repeats(self, key: _Key, record: logging.LogRecord) -> bool:
        now = self._clock()
        fault = self._faults.get(key)
        if fault is None:
            self._faults[key] = _Fault(record.created, seen=now, told=now)
            return False
        # Without the exception, whose frames may hold pictures.
        whole = {"msg": record.getMessage(), "args": None, "exc_info": None}
        fault.seen, fault.count = now, fault.count + 1
        fault.untold = logging.makeLogRecord({**record.__dict__, **whole})
        self._wait()
        return True

    def _end(self, ended: Callable[[_Key, _Fault], bool]) -> None:
        for key in [key for key, fault in self._faults.items() if ended(key, fault)]:
            self._tell(self._faults.pop(key))

    def _tell(self, fault: _Fault) -> None:
        if fault.untold is not None:
            since = time.strftime("%H:%M", time.localtime(fault.since))
            fault.untold.msg = f"{fault.untold.msg} ({fault.count} times since {since})"
            self._inner.handle(fault.untold)
            fault.untold = None

    def _wait(self) -> None:
        """See that numbers are told in time where no record comes any more."""
        waiting = self._timer is not None and self._timer.is_alive()
        if waiting and threading.current_thread() is not self._timer:
            return
        due = [min(f.seen + QUIET_S, f.told + AGAIN_S) for f in self._faults.values() if f.untold]
        if due:
            self._timer = threading.Timer(max(0.0, min(due) - self._clock()), self.tell_due)
            self._timer.name, self._timer.daemon = "log repeats", True
            self._timer.start()
