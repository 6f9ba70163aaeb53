"""The end of NOTIFY_SOCKET that systemd holds: a real datagram socket that checks who writes."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

PATIENCE_S = 20.0


class Receiver:
    """Receives what a service tells; ``address`` is what its NOTIFY_SOCKET has to be."""

    def __init__(self, address: Path | str) -> None:
        self.address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(self.address.replace("@", "\0", 1))
        self._socket.settimeout(PATIENCE_S)
        self.pid = 0
        """Who sent the last message."""

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def message(self) -> dict[str, str]:
        """The next message, waited for."""
        text, ancillary, _, _ = self._socket.recvmsg(8192, socket.CMSG_SPACE(12))
        ((_, kind, sender),) = ancillary
        assert kind == socket.SCM_CREDENTIALS
        self.pid, _, _ = struct.unpack("3i", sender)
        return dict(line.split("=", 1) for line in text.decode().split("\n"))

    def until(self, key: str) -> list[dict[str, str]]:
        """All messages up to the first that holds ``key``."""
        messages = [self.message()]
        while key not in messages[-1]:
            messages.append(self.message())
        return messages

    def waiting(self) -> int:
        """How many messages lie unread; they are read by this."""
        count = 0
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(8192)
                count += 1
        except BlockingIOError:
            return count
        finally:
            self._socket.settimeout(PATIENCE_S)
