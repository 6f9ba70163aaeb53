"""What reaches a terminal, whatever names stand in it: of all commands, of logs, of progress."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge.cli
import export.cli
from edge.cli import LazyGroup, invoke
from edge.logs import OneLine, Text, set_up_logs
from edge.progress import LINES, Line
from edge.say import answer, say
from engines.redact import plain, plain_lines

HOSTILE = "a\x1b[31m\x07\r\u202eb\u200b\x9bc\udcff"
"""ESC, a bell, a return to the line's begin, a turn of direction, no width, CSI, a broken byte."""
SHOWN = r"a\x1b[31m\x07\r\u202eb\u200b\x9bc\udcff"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


def test_what_commands_a_terminal_or_hides_is_spelt_out() -> None:
    assert plain(HOSTILE) == SHOWN
    assert plain("two\nlines\t") == r"two\nlines\t"
    assert plain_lines("two\nlines\u2028") == "two\nlines" + r"\u2028"
    assert plain("Straße … 720×576 · 車") == "Straße … 720×576 · 車"  # what is plain stays
    assert plain("") == ""


def test_of_a_name_without_end_the_ends_are_shown() -> None:
    assert plain("a" * 500) == "a" * 500
    shown = plain(f"b: {'a' * 5_000}\x1b{'c' * 200} d")  # the escape takes four characters
    assert shown == f"b: {'a' * 200}[… 4904 characters …]{'c' * 100} d"


def test_reports_and_errors_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"1 {HOSTILE}\n2")
    answer(f"3 {HOSTILE} rtsp://me:secret@cam/1")
    out, err = capsys.readouterr()
    assert err == f"1 {SHOWN}\n2\n"
    assert out == f"3 {SHOWN} rtsp://***@cam/1\n"


def test_logs_are_plain() -> None:
    stream = io.StringIO()
    set_up_logs(verbose=False, stream=stream)
    logging.getLogger("edge").warning("1 %s\n2", HOSTILE)
    assert stream.getvalue().endswith(f"warning edge: 1 {SHOWN} | 2\n")
    record = logging.makeLogRecord({"msg": f"1 {HOSTILE}\n2"})
    assert Text(tracebacks=False).format(record) == f"1 {SHOWN}\n2"
    assert OneLine(tracebacks=False).format(record).endswith(f"1 {SHOWN} | 2")


def test_progress_is_plain(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LINES, "1")
    Line().show(f"reading {HOSTILE}\n", done=1, total=2)
    assert capsys.readouterr().err == f"progress 1/2 reading {SHOWN}\\n\n"


COMMANDS = [
    pytest.param(group, program, name, id=f"{program} {name}")
    for group, program in ((edge.cli.commands, "edge"), (export.cli.commands, "edge-export"))
    for name in group.table
]


@pytest.mark.parametrize(("group", "program", "name"), COMMANDS)
@pytest.mark.parametrize("argument", ["{}.toml", "--{}=1"])
def test_no_command_shows_a_name_raw(
    group: LazyGroup,
    program: str,
    name: str,
    argument: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [program, name, argument.format(HOSTILE)])
    with pytest.raises(SystemExit) as ended:
        invoke(group, program)
    out, err = capsys.readouterr()
    assert ended.value.code in (2, 3, 4)
    assert err
    assert all(c.isprintable() for line in (out + err).split("\n") for c in line)
