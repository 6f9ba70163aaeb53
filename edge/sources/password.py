"""The password of a stream, in a file of its own: read at every opening and never kept.

So a rotated one is used at the next opening, and anybody may read the settings.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from engines.errors import SourceError

DIRECTORY = "CREDENTIALS_DIRECTORY"
"""Where systemd puts what LoadCredential= names, for the service alone; systemd.exec(5)."""
VARIABLE = "${" + DIRECTORY + "}"
LONGEST = 4096
"""Bytes of a password; a longer line is of another kind of file."""


def with_password(url: str, file: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """The URL with the first line of ``file`` as its user's password, percent-encoded.

    Print it only through ``redact``. Errors name the file only where it is there: a missing one may
    be the password itself, written in the wrong place.

    Args:
        url: ``SCHEME://USER@HOST/...``.
        file: a path, in which ``${CREDENTIALS_DIRECTORY}`` is replaced and nothing else.
        environ: holds CREDENTIALS_DIRECTORY in a service that has credentials.

    Raises:
        SourceError: the URL has no place for a password, or the file is missing, has none, or can
            be read by others.
    """
    match = re.match(r"(?i)((?:rtsps?|https?)://)([^/?#]*)@", url)
    if match is None or not match[2]:
        raise SourceError(
            "[source] password_file: the source has no user whose password it could be; wanted "
            'uri = "rtsp://USER@HOST/..." or "http://USER@HOST/..."'
        )
    if ":" in match[2]:
        raise SourceError(
            "[source] password_file: the source has a password already; wanted it in one place: "
            "take it out of the uri"
        )
    return (
        f"{match[1]}{match[2]}:{quote(_first_line(file, environ), safe='')}{url[match.end() - 1 :]}"
    )


def _first_line(file: str, environ: Mapping[str, str]) -> bytes:
    directory = environ.get(DIRECTORY)
    if VARIABLE in file and not directory:
        raise SourceError(
            f"[source] password_file: {DIRECTORY} is not set, wanted the folder that systemd gives "
            "a service; put LoadCredential=NAME:/path/of/the/file under [Service] of its unit, or "
            "set the variable to try it by hand"
        )
    path = file.replace(VARIABLE, directory or "")
    try:
        with open(path, "rb", opener=_without_waiting) as opened:
            status = os.fstat(opened.fileno())
            line = opened.readline(LONGEST + 1).rstrip(b"\r\n")
    except OSError as exc:
        shown = file if VARIABLE in file else "the file"
        raise SourceError(
            f"[source] password_file: {shown} cannot be read: {exc.strerror}; wanted a file whose "
            "first line is the password, and that this user may read"
        ) from exc
    except ValueError as exc:  # a NUL in the name
        raise SourceError("[source] password_file: got a name that no file can have") from exc
    # Files that systemd provides may show group bits: those are the mask of an access list.
    provided = directory and Path(os.path.realpath(path)).is_relative_to(
        os.path.realpath(directory)
    )
    others = stat.S_IROTH if provided else stat.S_IROTH | stat.S_IRGRP
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"[source] password_file: {file} is not a file; wanted one")
    if status.st_mode & others:
        raise SourceError(
            f"[source] password_file: {file} can be read by others (mode "
            f"{stat.S_IMODE(status.st_mode):04o}); wanted its owner alone: chmod 600 {file}"
        )
    if not line or len(line) > LONGEST:
        raise SourceError(
            f"[source] password_file: the first line of {file} is "
            f"{'longer than ' + str(LONGEST) + ' bytes' if line else 'empty'}; wanted the password"
        )
    return line


def _without_waiting(path: str, flags: int) -> int:
    """Open a pipe that nobody writes at once, to refuse it."""
    return os.open(path, flags | os.O_NONBLOCK)
