"""Sets up logging: one line a record on stderr, without credentials; it logs nothing itself."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TextIO

from engines.redact import redact

OWN_ROOMS = ("edge", "engines", "export")
"""Loggers whose information is for the user; of other libraries only warnings are shown."""


class OneLine(logging.Formatter):
    """Formats a record as ``HH:MM:SS level name: message`` on one line, credentials removed.

    ``tracebacks`` appends the traceback of a logged exception, its lines joined by `` | ``.
    """

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        lines = record.getMessage().splitlines()
        if self._tracebacks and record.exc_info and record.exc_info[1] is not None:
            lines += "".join(traceback.format_exception(record.exc_info[1])).splitlines()
        message = redact(" | ".join(line.strip() for line in lines))
        when = self.formatTime(record, self.datefmt)
        return f"{when} {record.levelname.lower()} {record.name}: {message}"


def set_up_logs(*, verbose: bool, stream: TextIO | None = None) -> None:
    """Send all logging to ``stream`` (stderr), replacing what was set up before.

    Args:
        verbose: show debug records of the project and the tracebacks of logged errors.
        stream: for tests.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(OneLine(tracebacks=verbose))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for room in OWN_ROOMS:
        logging.getLogger(room).setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.captureWarnings(True)
