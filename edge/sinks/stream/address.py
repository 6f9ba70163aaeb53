"""Reads where a stream goes; it connects to nobody."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from engines.errors import SettingsError
from engines.redact import redact


@dataclass(frozen=True, slots=True)
class Address:
    """A server that takes streams: ``name`` for people, ``form`` FFmpeg's word for the protocol.

    ``url`` may hold credentials.
    """

    name: str
    form: str
    url: str
    port: int


def read_address(text: str) -> Address:
    """Read ``rtsp://HOST/PATH``, ``rtsps://HOST/PATH`` or ``whip:https://HOST/PATH``.

    Raises:
        SettingsError: it is no such address.
    """
    name = redact(text)
    form, _, rest = text.partition(":")
    url = rest if form == "whip" else text
    wanted = "https?" if form == "whip" else "rtsps?"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not re.fullmatch(wanted, parts.scheme) or re.search(r"\s", url):
        usual = "whip:https://HOST:8889/PATH/whip" if form == "whip" else f"{form}://HOST:8554/PATH"
        shown = re.sub(
            r"(?<=:).*@", "***@", name
        )  # what is no URL may hold a password all the same
        raise SettingsError(
            f"sink {shown!r}: not the address of a server that takes streams, wanted {usual}"
        )
    ports = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
    return Address(name, "whip" if form == "whip" else "rtsp", url, port or ports[parts.scheme])
