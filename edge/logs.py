"""Sets up logging on stderr or in systemd's journal, plain and without credentials; logs nothing.

A terminal or a file gets one line a record, the journal records with fields.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from edge.progress import above
from edge.service.journal import JournalHandler, stderr_is_journal
from edge.service.repeats import CountedRepeats
from engines.redact import plain, plain_lines, redact

OWN_ROOMS = ("edge", "engines", "export")
"""Loggers whose information is for the user; of other libraries only warnings are shown."""


class Text(logging.Formatter):
    """Formats a record as its message alone, credentials removed.

    ``tracebacks`` appends the traceback of a logged exception.
    """

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """The message, with the traceback where it is wanted."""
        return plain_lines(redact("\n".join(self._lines(record))))

    def _lines(self, record: logging.LogRecord) -> list[str]:
        lines = record.getMessage().split("\n")
        if self._tracebacks and record.exc_info and record.exc_info[1] is not None:
            lines += "".join(traceback.format_exception(record.exc_info[1])).splitlines()
        return lines


class OneLine(Text):
    """Formats a record as ``HH:MM:SS level name: message`` on one line, credentials removed."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, the lines of its message joined by `` | ``."""
        message = plain(redact(" | ".join(line.strip() for line in self._lines(record))))
        when = self.formatTime(record, self.datefmt)
        return f"{when} {record.levelname.lower()} {record.name}: {message}"


if TYPE_CHECKING:
    _ToStream = logging.StreamHandler[TextIO]
else:
    _ToStream = logging.StreamHandler  # takes no parameter before Python 3.11


class AboveProgress(_ToStream):
    """Writes records as lines, above that of progress where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; never raises."""
        with above():
            super().emit(record)


def set_up_logs(
    *,
    verbose: bool,
    quiet: bool = False,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send all logging to the journal or ``stream`` (stderr), replacing what was set up before.

    Args:
        verbose: show debug records of the project and the tracebacks of logged errors.
        quiet: show warnings and errors alone; ``verbose`` goes before it.
        stream: for tests; never the journal.
        environ: JOURNAL_STREAM says whether stderr is the journal.
    """
    handler: logging.Handler = AboveProgress(sys.stderr if stream is None else stream)
    handler.setFormatter(OneLine(tracebacks=verbose))
    if stream is None and stderr_is_journal(environ):
        journal = JournalHandler(fallback=handler)
        journal.setFormatter(Text(tracebacks=verbose))
        handler = CountedRepeats(journal)
    root = logging.getLogger()
    for old in root.handlers:
        if isinstance(old, CountedRepeats):
            old.close()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    for room in OWN_ROOMS:
        logging.getLogger(room).setLevel(level)
    logging.captureWarnings(True)
