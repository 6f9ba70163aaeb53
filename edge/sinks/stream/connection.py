"""One connection to a server that takes streams, held by a program of its own; tried once."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from typing import TYPE_CHECKING

from edge.sinks.stream.address import Address
from edge.sinks.stream.sender import CONNECTED, PACKET, Order
from engines.errors import SinkError
from engines.redact import redact

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

TIMEOUT_S = 5.0
"""For connecting, and for the server to take what was sent."""
GOODBYE_S = 0.2


class Connection:
    """It is there when ``send`` returns for the first time, which begins with a key frame.

    Raises:
        SinkError: the program cannot be started.
    """

    def __init__(self, address: Address) -> None:
        self._name = address.name
        rtsp = {"rtsp_transport": "tcp", "timeout": str(round(TIMEOUT_S * 1e6))}
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "edge.sinks.stream.sender"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the run, which ends this one
                bufsize=0,
            )
        except OSError as exc:
            raise SinkError(f"{address.name}: no program can be started: {exc.strerror}") from exc
        assert self._child.stdin is not None
        os.set_blocking(self._child.stdin.fileno(), False)
        self._first = Order(
            address.form, address.url, rtsp if address.form == "rtsp" else {}
        ).line()

    def send(self, packets: list[Packet[VideoStream]], extradata: bytes = b"") -> None:
        """Send them; waits while the server is slow. ``extradata`` is wanted by the first call.

        Raises:
            SinkError: there is no connection, or none any more.
        """
        first, self._first = self._first, b""
        for packet in packets:
            data = extradata + bytes(packet) if first else bytes(packet)
            pts = packet.pts or 0
            self._write(first + PACKET.pack(len(data), pts, packet.is_keyframe) + data)
            if first:
                self._wait()
                first = b""

    def _write(self, data: bytes) -> None:
        assert self._child.stdin is not None
        pipe, rest = self._child.stdin.fileno(), memoryview(data)
        while rest:
            if not select.select([], [pipe], [], TIMEOUT_S)[1]:
                raise SinkError(f"{self._name}: the server took nothing for {TIMEOUT_S:g} s")
            try:
                rest = rest[os.write(pipe, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as exc:
                raise self._ended() from exc

    def _wait(self) -> None:
        """For the server's consent."""
        assert self._child.stdout is not None
        if not select.select([self._child.stdout], [], [], TIMEOUT_S)[0]:
            raise SinkError(
                f"{self._name}: cannot connect: no answer for {TIMEOUT_S:g} s; check the address "
                "and the network"
            )
        line = self._child.stdout.readline().decode().strip()
        if line != CONNECTED:
            raise SinkError(redact(f"{self._name}: cannot connect: {line or 'it was ended'}"))

    def _ended(self) -> SinkError:
        assert self._child.stdout is not None
        line = self._child.stdout.readline().decode().partition(";")[0].strip()
        return SinkError(redact(f"{self._name}: the connection is lost: {line or 'it was ended'}"))

    def abort(self) -> None:
        """Have every call that waits fail at once; from any thread."""
        self._child.kill()

    def close(self) -> None:
        """Say goodbye, if that is quick."""
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self._child.wait(GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
