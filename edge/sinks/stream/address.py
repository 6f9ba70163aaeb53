"""Reads where a stream goes; it connects to nobody."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from edge.sources.password import with_password
from engines.errors import SettingsError, SinkError, SourceError
from engines.redact import redact


@dataclass(frozen=True, slots=True)
class Address:
    """A server that takes streams: ``name`` for people, ``form`` FFmpeg's word for the protocol.

    ``url`` may hold credentials.
    """

    name: str
    form: str
    url: str

    def with_password(
        self, file: str | None, *, environ: Mapping[str, str] = os.environ
    ) -> Address:
        """The same with the first line of ``file`` as the password of its user.

        Raises:
            SinkError: the address has no user, or the file no password for nobody else to read.
        """
        if file is None:
            return self
        try:
            url = with_password(self.url, file, key="[output] password_file", environ=environ)
        except SourceError as exc:
            raise SinkError(str(exc)) from exc
        return replace(self, url=url)


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
        host = parts.hostname if parts.port != 0 else None  # asked for: a wrong one is an error
    except ValueError:
        host = None
    if not host or not re.fullmatch(wanted, parts.scheme) or re.search(r"\s", url):
        usual = "whip:https://HOST:8889/PATH/whip" if form == "whip" else f"{form}://HOST:8554/PATH"
        shown = re.sub(
            r"(?<=:).*@", "***@", name
        )  # what is no URL may hold a password all the same
        raise SettingsError(
            f"sink {shown!r}: not the address of a server that takes streams, wanted {usual}"
        )
    return Address(name, "whip" if form == "whip" else "rtsp", url)
