"""Tells systemd how the service is doing (sd_notify); it decides nothing, never waits or raises."""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading
from collections.abc import MutableMapping

from engines.redact import redact

log = logging.getLogger(__name__)

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd puts into the environment of a service of Type=notify; sd_notify(3)."""


class Notifier:
    """The line to systemd; without one (``active`` is False) every method does nothing.

    Any thread may call it. A message that cannot be delivered is dropped, and the first of a row
    of them is logged.
    """

    def __init__(self, address: str | None, *, watchdog_s: float | None = None) -> None:
        """``address`` as NOTIFY_SOCKET has it: a path, or an abstract name that begins with @."""
        self._address = address
        self.watchdog_s = watchdog_s
        """The service is killed when ``watchdog`` is not called within so many s; None: never."""
        self._lock = threading.Lock()
        self._failing = False

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> Notifier:
        """Take the line out of ``environ``, so that no child speaks for this process."""
        address, usec, pid = (environ.pop(name, "") for name in VARIABLES)
        if not address:
            return cls(None)
        if address[0] not in "/@" or len(address) < 2:
            log.warning(
                "NOTIFY_SOCKET is %r, which is no path and no abstract name (@…): the state of "
                "this service is told to nobody",
                address,
            )
            return cls(None)
        watched = usec.isdecimal() and int(usec) > 0 and pid in ("", str(os.getpid()))
        return cls(address, watchdog_s=int(usec) / 1e6 if watched else None)

    @property
    def active(self) -> bool:
        """Whether somebody asked to be told."""
        return self._address is not None

    def ready(self, status: str | None = None) -> None:
        """The service does its work; without ``status`` the last one stays, after a reload."""
        self.send("READY=1", *([] if status is None else [_status(status)]))

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self.send(_status(text))

    def watchdog(self) -> None:
        """Every stage made progress since the last call."""
        self.send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        """The service ends in order; ``status`` says why and is shown until the next start."""
        self.send("STOPPING=1", _status(status))

    def reloading(self, monotonic_us: int) -> None:
        """Settings are read again; ``monotonic_us`` is CLOCK_MONOTONIC at the request, in µs."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={monotonic_us}")

    def extend(self, seconds: float) -> None:
        """Start, reload or stop may take so many seconds more, from now."""
        self.send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def send(self, *lines: str) -> None:
        """Send ``KEY=value`` lines as one datagram."""
        if self._address is None:
            return
        # A socket for each message, as libsystemd does: nothing to share between threads or
        # to renew when systemd re-executes itself.
        to = self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address
        ours = struct.pack("3i", os.getpid(), os.getuid(), os.getgid())  # struct ucred
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.setblocking(False)
                line.sendmsg(
                    ["\n".join(lines).encode()],
                    [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, ours)],
                    socket.MSG_NOSIGNAL,
                    to,
                )
        except (OSError, ValueError) as exc:  # ValueError: the path holds a NUL
            self._note(exc)
        else:
            self._note(None)

    def _note(self, error: Exception | None) -> None:
        with self._lock:
            first, self._failing = error is not None and not self._failing, error is not None
        if first:
            full = isinstance(error, BlockingIOError)
            log.warning(
                "systemd cannot be told the state of this service at NOTIFY_SOCKET=%s: %s; it may "
                "take the service for dead",
                self._address,
                "nobody reads there, its queue is full" if full else error,
            )


def _status(text: str) -> str:
    """A line break would begin another assignment; ``systemctl status`` is for all to read."""
    return "STATUS=" + redact(" | ".join(text.splitlines()))
