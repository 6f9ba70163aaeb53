"""The journal's native protocol, on a real datagram socket."""

from __future__ import annotations

import io
import logging
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.logs import OneLine, Text
from edge.service.journal import LONGEST, JournalHandler, stderr_is_journal


class Journal:
    """The end of the socket that journald holds."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def records(self) -> list[dict[str, str]]:
        """All that lie there, parsed as the protocol says."""
        found = []
        while True:
            try:
                found.append(_parsed(self._socket.recv(300_000)))
            except BlockingIOError:
                return found


def _parsed(datagram: bytes) -> dict[str, str]:
    fields = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", datagram[:8])
            value, end, datagram = (
                datagram[8:][:size],
                datagram[8 + size :][:1],
                datagram[9 + size :],
            )
            assert end == b"\n"
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    found = Journal(tmp_path / "socket")
    yield found
    found.close()


class Logger:
    """A logger whose only handler writes to a journal, and the stderr beside it."""

    def __init__(self, address: str, *, tracebacks: bool = False) -> None:
        self.stderr = io.StringIO()
        fallback = logging.StreamHandler(self.stderr)
        fallback.setFormatter(OneLine(tracebacks=tracebacks))
        handler = JournalHandler(fallback, address=address)
        handler.setFormatter(Text(tracebacks=tracebacks))
        self.log = logging.Logger("edge.sources.live")
        self.log.addHandler(handler)


def test_a_record_has_its_priority_its_place_and_the_state_of_its_source(journal: Journal) -> None:
    logger = Logger(journal.path)
    extra = {"OUTRIDER_STATE": "stalled", "OUTRIDER_SOURCE": "rtsp://me:S3CR3T@cam/1"}
    logger.log.warning("%s: no frame for %.1f s", "rtsp://me:S3CR3T@cam/1", 2.5, extra=extra)
    (record,) = journal.records()
    assert int(record.pop("CODE_LINE")) > 0
    assert record == {
        "MESSAGE": "rtsp://***@cam/1: no frame for 2.5 s",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "outrider",
        "LOGGER": "edge.sources.live",
        "CODE_FILE": __file__,
        "CODE_FUNC": "test_a_record_has_its_priority_its_place_and_the_state_of_its_source",
        "OUTRIDER_STATE": "stalled",
        "OUTRIDER_SOURCE": "rtsp://***@cam/1",
    }
    assert logger.stderr.getvalue() == ""


@pytest.mark.parametrize(
    ("level", "priority"),
    [("critical", "2"), ("error", "3"), ("warning", "4"), ("info", "6"), ("debug", "7")],
)
def test_levels_are_the_priorities_of_syslog(level: str, priority: str, journal: Journal) -> None:
    getattr(Logger(journal.path).log, level)("x")
    assert [record["PRIORITY"] for record in journal.records()] == [priority]


@pytest.mark.parametrize("text", ["", "one", "two\nlines", "MESSAGE=no\nPRIORITY=0", "ü✓"])
def test_a_text_arrives_as_it_is_and_is_never_another_field(text: str, journal: Journal) -> None:
    Logger(journal.path).log.info("%s", text)
    (record,) = journal.records()
    assert (record["MESSAGE"], record["PRIORITY"]) == (text, "6")


def test_a_traceback_comes_when_it_is_wanted_without_credentials(journal: Journal) -> None:
    for tracebacks in (False, True):
        try:
            raise OSError("rtsp://me:S3CR3T@cam/1")
        except OSError:
            Logger(journal.path, tracebacks=tracebacks).log.exception("broke")
    short, long = (record["MESSAGE"] for record in journal.records())
    assert short == "broke"
    assert long.startswith("broke\nTraceback (most recent call last):\n  File")
    assert long.endswith("OSError: rtsp://***@cam/1")


def test_what_fits_no_datagram_is_cut_with_a_note(journal: Journal) -> None:
    extra = {"OUTRIDER_SOURCE": "y " * 250_000}
    Logger(journal.path).log.info("%s", "üü " * 80_000 + "üü", extra=extra)
    (record,) = journal.records()
    assert record["MESSAGE"].endswith(" ... (cut, 400004 bytes in all)")
    assert record["OUTRIDER_SOURCE"].endswith(" ... (cut, 500000 bytes in all)")
    assert LONGEST - 1 <= len(record["MESSAGE"].encode()) <= LONGEST


def test_without_a_journal_records_go_to_stderr_as_on_a_terminal(tmp_path: Path) -> None:
    logger = Logger(str(tmp_path / "nobody"))
    logger.log.error("lost %s", "rtsp://me:S3CR3T@cam/1")
    assert logger.stderr.getvalue().endswith(" error edge.sources.live: lost rtsp://***@cam/1\n")


def test_a_journal_that_reads_nothing_loses_records_and_is_told_how_many(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.service.journal.PATIENCE_S", 1e-6)
    logger = Logger(journal.path)
    for number in range(1000):  # the queue of a socket is some 10 to 512 (net.unix.max_dgram_qlen)
        logger.log.warning("number %d", number)
    arrived = len(journal.records())
    assert 0 < arrived < 1000
    logger.log.warning("read again")
    logger.log.warning("and again")
    assert [record["MESSAGE"] for record in journal.records()] == [
        f"read again ({1000 - arrived} records before it are lost: journal busy)",
        "and again",
    ]
    assert logger.stderr.getvalue() == ""


PROGRAM = """
import logging, os, sys
from edge.service import journal
journal.SOCKET = None
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino + int(sys.argv[1])}"
print(journal.stderr_is_journal())
from edge.logs import set_up_logs
set_up_logs(verbose=False)
print(type(logging.getLogger().handlers[0]).__name__)
"""


@pytest.mark.parametrize(
    ("off", "said"), [(0, ["True", "CountedRepeats"]), (1, ["False", "AboveProgress"])]
)
def test_logs_go_to_the_journal_where_stderr_is_the_journal(off: int, said: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(off)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == said


@pytest.mark.parametrize("environ", [{}, {"JOURNAL_STREAM": ""}, {"JOURNAL_STREAM": "8:soon"}])
def test_a_stderr_that_nobody_names_is_not_the_journal(environ: dict[str, Any]) -> None:
    assert not stderr_is_journal(environ)
