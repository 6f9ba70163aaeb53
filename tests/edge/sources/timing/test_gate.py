"""The gate releases once, never under a reader, and whoever leaves last does it."""

from __future__ import annotations

import threading

from edge.sources.timing.gate import ReadGate


def test_closing_releases_once_and_later_reads_are_turned_away() -> None:
    released: list[str] = []
    gate = ReadGate(lambda: released.append("x"))
    with gate.reading() as is_open:
        assert is_open
    gate.close()
    gate.close()
    with gate.reading() as is_open:
        assert not is_open
    assert released == ["x"]


def test_a_close_during_a_read_returns_at_once_and_the_reader_releases() -> None:
    released: list[str] = []
    gate = ReadGate(lambda: released.append(threading.current_thread().name))
    inside, leave = threading.Event(), threading.Event()

    def read() -> None:
        with gate.reading():
            inside.set()
            leave.wait(10)

    reader = threading.Thread(target=read, name="reader")
    reader.start()
    inside.wait(10)
    gate.close()
    assert released == []
    leave.set()
    reader.join(10)
    assert released == ["reader"]


def test_a_read_that_raises_still_releases() -> None:
    released: list[str] = []
    gate = ReadGate(lambda: released.append("x"))
    try:
        with gate.reading():
            gate.close()
            raise ValueError
    except ValueError:
        pass
    assert released == ["x"]
