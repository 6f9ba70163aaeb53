"""The password of a stream, in a file of its own: read at every opening and never kept.

So a rotated one is used at the next opening, and anybody may read the settings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote

from edge.credential import first_line
from engines.errors import SettingsError, SourceError


def with_password(
    url: str,
    file: str,
    *,
    key: str = "[source] password_file",
    environ: Mapping[str, str] = os.environ,
) -> str:
    """The URL with the first line of ``file`` as its user's password, percent-encoded.

    Print it only through ``redact``. Errors name the file only where it is there: a missing one may
    be the password itself, written in the wrong place.

    Args:
        url: ``SCHEME://USER@HOST/...``.
        file: a path, in which ``${CREDENTIALS_DIRECTORY}`` is replaced and nothing else.
        key: the setting, for errors.
        environ: holds CREDENTIALS_DIRECTORY in a service that has credentials.

    Raises:
        SourceError: the URL has no place for a password, or the file is missing, has none, or can
            be read by others.
    """
    match = re.match(r"(?i)((?:rtsps?|https?)://)([^/?#]*)@", url)
    if match is None or not match[2]:
        raise SourceError(
            f"{key}: the address has no user whose password it could be; wanted "
            '"rtsp://USER@HOST/..." or "http://USER@HOST/..."'
        )
    if ":" in match[2]:
        raise SourceError(
            f"{key}: the address has a password already; wanted it in one place: take it out of "
            "the address"
        )
    try:
        line = first_line(file, key=key, what="the password", environ=environ)
    except SettingsError as exc:  # at an opening it is the source's
        raise SourceError(str(exc)) from exc
    return f"{match[1]}{match[2]}:{quote(line, safe='')}{url[match.end() - 1 :]}"
