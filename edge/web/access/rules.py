"""Who the settings let in, checked before anything is opened; it serves nothing."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.credential import first_line, path_of
from edge.web.address import Address, read_address
from engines.errors import SettingsError

if TYPE_CHECKING:
    from edge.settings.settings import WebSettings

SHORTEST = 16
"""Characters of a token: of random letters and digits, too many to be tried out."""
MAKE_TOKEN = "(umask 077; head -c 24 /dev/urandom | base64 > web-token)"
"""What makes a good one in a file of its own."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a page asks of those who come; ``token`` is the hash of the one that opens it."""

    token: bytes | None
    tls: ssl.SSLContext | None
    hosts: frozenset[str]

    def is_token(self, given: str) -> bool:
        """Whether that is the token; how long the answer takes tells nothing of it."""
        return self.token is not None and hmac.compare_digest(
            _hash(given.encode(errors="replace")), self.token
        )

    @property
    def certificates(self) -> bool:
        """Whether only those come in who have a certificate."""
        return self.tls is not None and self.tls.verify_mode is ssl.CERT_REQUIRED

    def words(self, address: Address) -> str:
        """Who is let in, in one line."""
        asked = ["the token"] * (self.token is not None) + ["a certificate"] * self.certificates
        if not asked:
            return "open to everybody on this machine"
        who = f"open to those who have {' and '.join(asked)}"
        if self.tls is None and not address.loopback:
            return f"{who}; without TLS whoever is on the network can read it and all that is shown"
        return who


def check_access(
    sinks: Sequence[str], web: WebSettings, *, environ: Mapping[str, str] = os.environ
) -> list[tuple[str, str]]:
    """Each page among ``sinks`` with a line that says who it is open to.

    Raises:
        SettingsError: one would be open to everybody, or what the settings name is not there.
    """
    pages = [(text, read_address(text)) for text in sinks if text.partition(":")[0] == "web"]
    return [(text, open_access(at, web, environ=environ).words(at)) for text, at in pages]


def open_access(
    address: Address, web: WebSettings, *, environ: Mapping[str, str] = os.environ
) -> Access:
    """Read the token and the certificates of the page at ``address``.

    Raises:
        SettingsError: they are not there or not usable, or the page would be open to everybody.
    """
    for name in web.hosts:
        if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", name):
            raise SettingsError(
                f'[web] hosts: got "{name}", wanted names alone, such as "car.local", without '
                "scheme and port"
            )
    token = None if web.token_file is None else _token(web.token_file, environ)
    access = Access(token, _tls(web, environ), _own_names() | {n.lower() for n in web.hosts})
    if not address.loopback and token is None and not access.certificates:
        raise SettingsError(
            f"--sink web:{address}: would be open to everybody on the network; "
            f"wanted a token: {MAKE_TOKEN}, then --web-token web-token; or certificates of those "
            "who look: [web] tls_cert, tls_key and client_ca"
        )
    return access


def _token(file: str, environ: Mapping[str, str]) -> bytes:
    line = first_line(
        file, key="[web] token_file", what="the token", shortest=SHORTEST, environ=environ
    )
    if len(line) < SHORTEST or not re.fullmatch(rb"[\x21-\x7e]+", line):
        got = f"{len(line)} characters" if len(line) < SHORTEST else "others among them"
        raise SettingsError(
            f"[web] token_file: the first line of {file} is no token: got {got}, wanted {SHORTEST} "
            f"or more letters, digits and signs without spaces: {MAKE_TOKEN}"
        )
    return _hash(line)


def _tls(web: WebSettings, environ: Mapping[str, str]) -> ssl.SSLContext | None:
    if web.tls_cert is None or web.tls_key is None:
        given = [k for k in ("tls_cert", "tls_key", "client_ca") if getattr(web, k) is not None]
        if given:
            raise SettingsError(
                f"[web] {given[0]}: got {' and '.join(given)} alone, wanted tls_cert and tls_key, "
                "the certificate of this machine and its key, each in PEM"
            )
        return None
    first_line(str(web.tls_key), key="[web] tls_key", what="a key in PEM", environ=environ)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert, key = (
        _path(web.tls_cert, "tls_cert", environ),
        _path(web.tls_key, "tls_key", environ),
    )
    try:
        context.load_cert_chain(cert, key, password="")  # or OpenSSL asks for it on the terminal
    except OSError as exc:  # an SSLError, too
        raise SettingsError(
            f"[web] tls_cert, tls_key: {web.tls_cert} and {web.tls_key} cannot be used: "
            f"{_why(exc)}; wanted a certificate and its key in PEM, without a password"
        ) from exc
    if web.client_ca is not None:
        try:
            context.load_verify_locations(_path(web.client_ca, "client_ca", environ))
        except OSError as exc:
            raise SettingsError(
                f"[web] client_ca: {web.client_ca} cannot be used: {_why(exc)}; wanted the "
                "certificate in PEM that those of the viewers are signed with"
            ) from exc
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _path(file: Path, name: str, environ: Mapping[str, str]) -> str:
    return path_of(str(file), key=f"[web] {name}", environ=environ)


def _why(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return str(reason or error).replace("_", " ").lower()


def _own_names() -> frozenset[str]:
    """The names of this machine that need no looking up."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return frozenset({"localhost", name, short, f"{short}.local"})


def _hash(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
