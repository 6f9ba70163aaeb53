from __future__ import annotations

import logging
import os
import uuid
from pathlib import Path

import pytest

from edge.service.notify import Notifier
from tests.edge.service.notifications import Receiver


def notifier(address: str) -> Notifier:
    return Notifier.from_environ({"NOTIFY_SOCKET": address})


def test_without_a_socket_it_is_inactive_and_does_nothing() -> None:
    silent = Notifier.from_environ({"PATH": "/bin", "WATCHDOG_USEC": "1000000"})
    assert (silent.active, silent.watchdog_s) == (False, None)
    silent.ready("live")
    silent.watchdog()


def test_the_variables_leave_the_environment_so_that_no_child_inherits_them() -> None:
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "7", "HOME": "/"}
    assert Notifier.from_environ(environ).active
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("usec", "pid", "watchdog_s"),
    [
        ("30000000", "own", 30.0),
        ("500000", None, 0.5),
        ("30000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        ("-1", None, None),
        (None, "own", None),
    ],
)
def test_the_watchdog_is_that_of_this_process(
    usec: str | None, pid: str | None, watchdog_s: float | None
) -> None:
    # Not in the table: processes that share the tests out must collect the same names.
    pid = str(os.getpid()) if pid == "own" else pid
    given = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    environ = {name: value for name, value in given.items() if value is not None}
    assert Notifier.from_environ(environ).watchdog_s == watchdog_s


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_every_message_arrives_as_one_datagram_from_this_process(kind: str, tmp_path: Path) -> None:
    name = f"@outrider-{uuid.uuid4()}"
    with Receiver(tmp_path / "notify" if kind == "path" else name) as systemd:
        told = notifier(systemd.address)
        assert told.active
        told.ready("live, 30 fps")
        assert systemd.message() == {"READY": "1", "STATUS": "live, 30 fps"}
        assert systemd.pid == os.getpid()
        told.status("stalled")
        told.watchdog()
        told.reloading(123_456)
        told.extend(1.5)
        told.stopping("ended: frames")
        assert [systemd.message() for _ in range(5)] == [
            {"STATUS": "stalled"},
            {"WATCHDOG": "1"},
            {"RELOADING": "1", "MONOTONIC_USEC": "123456"},
            {"EXTEND_TIMEOUT_USEC": "1500000"},
            {"STOPPING": "1", "STATUS": "ended: frames"},
        ]


def test_a_status_is_one_line_without_credentials(tmp_path: Path) -> None:
    with Receiver(tmp_path / "notify") as systemd:
        notifier(systemd.address).status("rtsp://me:secret@cam/1:\nREADY=1")
        assert systemd.message() == {"STATUS": "rtsp://***@cam/1: | READY=1"}


def test_what_nobody_reads_is_dropped_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver(tmp_path / "notify") as systemd:
        told = notifier(systemd.address)
        for _ in range(2000):  # the queue of a socket is some 10 to 512 (net.unix.max_dgram_qlen)
            told.watchdog()
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert "its queue is full" in caplog.text
        assert 0 < systemd.waiting() < 2000
        told.watchdog()  # read again: delivered again, and the next fault is told again
        assert systemd.message() == {"WATCHDOG": "1"}
    told.watchdog()
    told.watchdog()
    assert len(caplog.records) == 2


@pytest.mark.parametrize("address", ["/nowhere/at/all", "@outrider-nobody", "/" + "x" * 200, "/\0"])
def test_a_socket_that_is_not_there_is_told_once(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = notifier(address)
    told.ready("live")
    told.watchdog()
    assert len(caplog.records) == 1


@pytest.mark.parametrize("address", ["vsock:2:1234", "relative", "@", "/"])
def test_an_address_of_another_kind_is_told_and_left(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not notifier(address).active
    assert "NOTIFY_SOCKET" in caplog.text


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    with Receiver(tmp_path / "notify") as systemd:
        told = notifier(systemd.address)
        before = len(os.listdir("/proc/self/fd"))
        told.watchdog()
        assert len(os.listdir("/proc/self/fd")) == before
