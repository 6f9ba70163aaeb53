"""Writes logs to systemd's journal in its native protocol; it decides not what is logged.

https://systemd.io/JOURNAL_NATIVE_PROTOCOL/: fields of one record in one datagram. So a record keeps
its priority, its place in the code and the state of the source it is about.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import struct
from collections.abc import Mapping

from engines.redact import plain, redact

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "outrider"
LONGEST = 32_768
"""Bytes of a field; what is longer is cut. All fields fit a datagram (212,992 bytes on Linux)."""
PATIENCE_S = 0.1
"""How long a record may wait for a journal that does not keep up."""

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7


def stderr_is_journal(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether stderr goes to the journal: JOURNAL_STREAM names its device and inode."""
    with contextlib.suppress(OSError):
        status = os.fstat(2)
        return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    return False


class JournalHandler(logging.Handler):
    """Sends each record to the journal.

    ``extra={"OUTRIDER_STATE": ..., "OUTRIDER_SOURCE": ...}`` of a log call become fields. A record
    that a busy journal does not take in time is dropped, as stderr would wait for the same reader;
    how many were is told with the next that arrives. Where there is no journal, ``fallback`` gets
    the record.
    """

    def __init__(self, fallback: logging.Handler, *, address: str = SOCKET) -> None:
        super().__init__()
        self._fallback = fallback
        self._address = address
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; never raises."""
        try:
            fields = fields_of(record, self.format(record))
            if self._dropped:
                fields["MESSAGE"] += f" ({self._dropped} records before it are lost: journal busy)"
            self._send(b"".join(_encoded(name, value) for name, value in fields.items()))
            self._dropped = 0
        except OSError as exc:
            if isinstance(exc, TimeoutError) or exc.errno in (errno.EAGAIN, errno.ENOBUFS):
                self._dropped += 1
            else:
                self._fallback.handle(record)
        except Exception:
            self.handleError(record)

    def _send(self, datagram: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            line.settimeout(PATIENCE_S)
            line.sendto(datagram, self._address)


def fields_of(record: logging.LogRecord, message: str) -> dict[str, str]:
    """The fields of a record whose text is ``message``, credentials removed from all."""
    fields = {
        "MESSAGE": message,
        "PRIORITY": str(next((p for level, p in _PRIORITIES if record.levelno >= level), _DEBUG)),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        "CODE_FUNC": record.funcName or "",
    }
    for name in ("OUTRIDER_STATE", "OUTRIDER_SOURCE"):
        if (value := getattr(record, name, None)) is not None:
            fields[name] = plain(redact(str(value)))
    return fields


def _encoded(name: str, value: str) -> bytes:
    """``NAME=value`` for one line, else the name, the length as 64 bits and the value."""
    data = value.encode("utf-8", "backslashreplace")
    if len(data) > LONGEST:
        note = f" ... (cut, {len(data)} bytes in all)".encode()
        data = data[: LONGEST - len(note)].decode("utf-8", "ignore").encode() + note
    if b"\n" in data:
        return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"
