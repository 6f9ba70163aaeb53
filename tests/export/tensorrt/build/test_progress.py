"""One bar over the builder's nested phases, and how it is asked to stop."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from export.tensorrt.build.progress import Progress, monitor
from tests.edge.pty_door import a_terminal, screen


def progress(said: list[str] | None = None, stop: threading.Event | None = None) -> Progress:
    lines: list[str] = [] if said is None else said
    return Progress(stop=stop or threading.Event(), say=lines.append)


def test_a_phase_fills_the_step_of_the_one_around_it() -> None:
    p = progress()
    p.phase_start("whole", None, 4)
    p.step_complete("whole", 0)
    assert p.share == 0.25
    p.phase_start("part", "whole", 2)  # the second quarter, in two halves
    p.step_complete("part", 0)
    assert p.share == 0.375
    p.phase_start("piece", "part", 5)  # the second eighth of it, in fifths
    p.step_complete("piece", 0)
    assert p.share == pytest.approx(0.375 + 0.125 / 5)
    p.phase_finish("piece")
    p.phase_finish("part")
    assert p.share == 0.5
    p.phase_finish("whole")
    assert p.share == 1


def test_it_never_goes_back_and_never_beyond_the_end() -> None:
    p = progress()
    p.phase_start("whole", None, 2)
    p.step_complete("whole", 0)
    p.phase_start("late", "whole", 1)
    p.step_complete("late", 7)  # more steps than it told
    p.step_complete("late", 0)
    assert p.share == 1
    p.step_complete("whole", 0)
    assert p.share == 1


def test_a_second_whole_takes_what_is_left() -> None:
    p = progress()
    p.phase_start("first", None, 2)
    p.step_complete("first", 0)
    p.phase_start("second", None, 2)
    p.step_complete("second", 0)
    assert p.share == 0.75


def test_phases_that_nobody_announced_do_no_harm() -> None:
    p = progress()
    assert p.step_complete("unknown", 0)
    p.phase_finish("unknown")
    p.phase_start("empty", "unknown", 0)
    assert p.share == 0


def test_it_asks_the_builder_to_stop() -> None:
    stop = threading.Event()
    p = progress(stop=stop)
    p.phase_start("whole", None, 2)
    assert p.step_complete("whole", 0)
    stop.set()
    assert not p.step_complete("whole", 1)


def test_without_a_terminal_each_quarter_is_a_line() -> None:
    said: list[str] = []
    p = progress(said)
    p.phase_start("whole", None, 10)
    for step in range(10):
        p.step_complete("whole", step)
    p.close()
    assert said == [f"building     {n}%, whole" for n in (25, 50, 75, 100)]


def test_on_a_terminal_it_is_a_bar() -> None:
    said: list[str] = []
    with a_terminal() as terminal:
        p = progress(said)
        p.phase_start("whole", None, 2)
        p.step_complete("whole", 0)
        drawn = terminal.text()
        p.close()
        assert screen(drawn + terminal.text()) == [""]
    assert said == []
    assert drawn.startswith("\r  0%|")
    assert "| building, whole, " in drawn


def test_the_monitor_hands_every_call_on() -> None:
    class Interface:
        def __init__(self) -> None: ...

    p = progress()
    trt: Any = SimpleNamespace(module=SimpleNamespace(IProgressMonitor=Interface))
    m = monitor(trt, p)
    m.phase_start("whole", None, 2)
    assert m.step_complete("whole", 0) is True
    assert p.share == 0.5
    m.phase_finish("whole")
    assert p.share == 1


def test_without_stderr_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as Python has it where a shell said 2>&-
    said: list[str] = []
    p = progress(said)
    p.phase_start("whole", None, 1)
    p.phase_finish("whole")
    p.close()
    assert said == ["building     100%, whole"]
