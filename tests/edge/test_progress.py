"""The line of progress on a real terminal: whole log lines above it, and nobody waits for it."""

from __future__ import annotations

import io
import logging
import sys
import termios
from collections.abc import Callable

import pytest

from edge.logs import AboveProgress
from edge.progress import LINES, Line, counted, on_terminal, told
from tests.edge.pty_door import a_terminal, screen


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv(LINES, raising=False)


SHOWN = {
    100: ["30/40 frames", "25.0 fps"],
    60: ["30/40 frames", "25.0 fps"],
    30: ["30/40 frames"],  # of 27 columns the bar takes 8
    20: ["30/40"],
}


def test_a_bar_fits_the_terminal_whatever_its_width_becomes() -> None:
    with a_terminal() as terminal:
        line = Line()
        for columns in (60, 30, 100, 20):
            terminal.resize(columns)
            line.show("30/40 frames, 25.0 fps", done=30, total=40)
            drawn = terminal.text().split("\r")[-1].rstrip()
            assert drawn.startswith(" 75%|")
            assert len(drawn) <= columns - 3
            assert drawn.rpartition("| ")[2].split(", ")[:2] == SHOWN[columns]
        line.close()
        assert screen(terminal.text()) == [""]


@pytest.mark.parametrize(
    ("columns", "words", "shown"),
    [
        (25, "41/40 frames, 25.0 fps", "41/40 frames, 25.0 fps"),  # 22 and 3 to spare
        (24, "41/40 frames, 25.0 fps", "41/40 frames"),
        (20, "reconnecting, last frame 7 s ago, dropped 0", "reconnecting"),
        (20, "last frame 12 min 3 s ago, dropped 0", "last frame 12 min"),  # 17
        (20, "a" * 30, "a" * 17),
    ],
)
def test_words_alone_are_cut_at_a_field_and_a_wrong_total_gives_no_bar(
    columns: int, words: str, shown: str
) -> None:
    with a_terminal() as terminal:
        terminal.resize(columns)
        line = Line()
        line.show(words, done=41, total=40)
        assert terminal.text().split("\r")[-1].rstrip() == shown
        line.close()


def test_a_bar_that_is_kept_is_followed_by_a_new_line_and_by_no_trace_of_ctrl_c() -> None:
    with a_terminal() as terminal:
        line = Line()
        line.show("40/40 frames", done=40, total=40)
        terminal.stderr.write("^C")  # as a terminal echoes it
        line.close(keep=True)
        kept, after = screen(terminal.text())
        assert kept.startswith("100%|")
        assert kept.endswith("| 40/40 frames")
        assert after == ""


def test_log_lines_stand_whole_above_the_bar() -> None:
    with a_terminal() as terminal:
        record = logging.LogRecord("edge", logging.INFO, "", 0, "source live: %s", ("cam",), None)
        handler = AboveProgress(terminal.stderr)
        line = Line()
        for done in (1, 2):
            line.show(f"{done}/4 frames", done=done, total=4)
            handler.handle(record)
        *logged, drawn = screen(terminal.text())
        assert logged == ["source live: cam"] * 2
        assert drawn.startswith(" 50%|")
        line.close()


def test_a_terminal_that_takes_nothing_holds_up_nobody() -> None:
    with a_terminal() as terminal:
        line = Line()
        line.show("1/4 frames", done=1, total=4)
        termios.tcflow(terminal.stderr.fileno(), termios.TCOOFF)  # as Ctrl-S
        line.show("2/4 frames", done=2, total=4)
        line.close(keep=True)
        termios.tcflow(terminal.stderr.fileno(), termios.TCOON)
        assert "2/4" not in terminal.text()


def pipe(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)


@pytest.mark.parametrize("replace", [pipe, nothing])
def test_without_a_terminal_nothing_is_drawn(
    replace: Callable[[pytest.MonkeyPatch], io.StringIO | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = replace(monkeypatch)
    assert not on_terminal()
    assert list(counted("ab", "looking", total=2)) == ["a", "b"]
    assert not (stream.getvalue() if stream else "")


def test_a_terminal_that_can_move_nothing_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_terminal():
        monkeypatch.setenv("TERM", "dumb")
        assert not on_terminal()


def test_counted_things_are_shown_and_wiped_away() -> None:
    with a_terminal() as terminal:
        for item in counted("ab", "looking", total=2):
            assert item in "ab"
            drawn = terminal.text()
            assert ("looking 0/2 images" in drawn) == (item == "a")  # b comes within the period
        assert screen(terminal.text()) == [""]


def test_an_error_among_counted_things_leaves_no_line() -> None:
    def fail() -> None:
        for item in counted("ab", "looking", total=2):
            raise ValueError(item)

    with a_terminal() as terminal:
        with pytest.raises(ValueError, match="a"):
            fail()
        assert screen(terminal.text()) == [""]


def test_a_process_for_another_tells_its_progress_in_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = pipe(monkeypatch)
    monkeypatch.setenv(LINES, "1")
    assert list(counted("ab", "looking", total=2)) == ["a", "b"]
    assert stream.getvalue() == "progress 0/2 looking 0/2 images\n"
    assert told(stream.getvalue()) == ("looking 0/2 images", 0, 2)
    assert told("progress is slow") is None
