"""Reads the address in ``web[:ADDRESS:PORT]`` and listens there; it serves nothing."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

from engines.errors import SettingsError, SinkError

HOST, PORT = "127.0.0.1", 8090
_UNSENT = 32 * 1024
"""Bytes that the kernel keeps for a viewer beside what is under way to it: more would be pictures
that grow old on a slow link."""
_PATIENCE_MS = 10_000
"""A viewer who takes nothing for so long has left without saying so."""
_BACKLOG = 64


@dataclass(frozen=True, slots=True)
class Address:
    """Where the page is; ``port`` 0 is any free one."""

    host: str = HOST
    port: int = PORT

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self.host).is_loopback

    def reachable(self) -> Address:
        """Itself, or of all addresses of the machine the one that its way out has."""
        here = ipaddress.ip_address(self.host)
        if not here.is_unspecified:
            return self
        family, elsewhere = (
            (socket.AF_INET, "192.0.2.1") if here.version == 4 else (socket.AF_INET6, "2001:db8::1")
        )
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as way:
                way.connect((elsewhere, 9))  # sends nothing; the address is nobody's, RFC 5737
                return Address(way.getsockname()[0], self.port)
        except OSError:  # no network
            return self

    def __str__(self) -> str:
        """ADDRESS:PORT, as URLs and ``--sink web:`` have it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def url(self, scheme: str = "http") -> str:
        """As a browser wants it."""
        return f"{scheme}://{self}/"


def read_address(text: str) -> Address:
    """The address of a sink 'web', 'web:ADDRESS:PORT' or 'web:[IPV6]:PORT'.

    Raises:
        SettingsError: it is none.
    """
    if text == "web":
        return Address()
    match = re.fullmatch(r"web:(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+|localhost)):(\d{1,5})", text)
    host = (match[1] or match[2]) if match else ""
    try:
        found = Address(str(ipaddress.ip_address(HOST if host == "localhost" else host)))
    except ValueError:
        found = None
    if match is None or found is None or int(match[3]) > 65535:
        raise SettingsError(
            f'--sink: got "{text}", wanted web or web:ADDRESS:PORT, such as web:0.0.0.0:{PORT} '
            f"or web:[::1]:{PORT}, of an IP address of this machine"
        )
    return Address(found.host, int(match[3]))


def listen(address: Address) -> socket.socket:
    """A socket that listens there.

    Raises:
        SinkError: another program does, or the machine has no such address.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What is accepted has these, too.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _PATIENCE_MS)
        listening.bind((address.host, address.port))
        listening.listen(_BACKLOG)
    except OSError as exc:
        listening.close()
        other = Address(address.host, address.port + 1 if address.port < 65535 else PORT)
        raise SinkError(
            f"web: nothing can be served at {address}: {exc.strerror}; wanted an address of this "
            f"machine and a port where nothing listens: --sink web:{other}"
        ) from exc
    return listening
