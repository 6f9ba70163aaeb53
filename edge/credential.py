"""Reads a secret from a file of its own, and refuses one that others can read; it keeps nothing."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from engines.errors import SettingsError

DIRECTORY = "CREDENTIALS_DIRECTORY"
"""Where systemd puts what LoadCredential= names, for the service alone; systemd.exec(5)."""
VARIABLE = "${" + DIRECTORY + "}"
LONGEST = 4096
"""Bytes of a secret; a longer line is of another kind of file."""


def first_line(
    file: str,
    *,
    key: str,
    what: str,
    shortest: int = 1,
    environ: Mapping[str, str] = os.environ,
) -> bytes:
    """The first line of ``file``, which only its owner may read.

    Errors name the file only where it is there or its name is too short for the secret: that may
    have been written in the place of its file.

    Args:
        file: a path, in which ``${CREDENTIALS_DIRECTORY}`` is replaced and nothing else.
        key: the setting, for errors: "[source] password_file".
        what: what the line is, for errors: "the password".
        shortest: characters that the secret has at least.
        environ: holds CREDENTIALS_DIRECTORY in a service that has credentials.

    Raises:
        SettingsError: the file is missing, has none, or can be read by others.
    """
    path = path_of(file, key=key, environ=environ)
    try:
        with open(path, "rb", opener=_without_waiting) as opened:
            status = os.fstat(opened.fileno())
            line = opened.readline(LONGEST + 1).removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")
    except OSError as exc:
        shown = file if VARIABLE in file or len(Path(file).name) < shortest else "the file"
        raise SettingsError(
            f"{key}: {shown} cannot be read: {exc.strerror}; wanted a file whose first line is "
            f"{what}, and that this user may read"
        ) from exc
    except ValueError as exc:  # a NUL in the name
        raise SettingsError(f"{key}: got a name that no file can have") from exc
    # Files that systemd provides may show group bits: those are the mask of an access list.
    directory = environ.get(DIRECTORY)
    provided = directory and Path(os.path.realpath(path)).is_relative_to(
        os.path.realpath(directory)
    )
    others = stat.S_IROTH if provided else stat.S_IROTH | stat.S_IRGRP
    if not stat.S_ISREG(status.st_mode):
        raise SettingsError(f"{key}: {file} is not a file; wanted one")
    if status.st_mode & others:
        raise SettingsError(
            f"{key}: {file} can be read by others (mode "
            f"{stat.S_IMODE(status.st_mode):04o}); wanted its owner alone: chmod 600 {file}"
        )
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SettingsError(f"{key}: {file} is text in UTF-16, wanted UTF-8: save it as UTF-8")
    if not line or len(line) > LONGEST:
        raise SettingsError(
            f"{key}: the first line of {file} is "
            f"{'longer than ' + str(LONGEST) + ' bytes' if line else 'empty'}; wanted {what}"
        )
    return line


def first_text(file: str, *, key: str, what: str, environ: Mapping[str, str] = os.environ) -> str:
    """As ``first_line``, of a file in UTF-8.

    Raises:
        SettingsError: the file is missing, has none, is no text, or can be read by others.
    """
    try:
        return first_line(file, key=key, what=what, environ=environ).decode()
    except UnicodeDecodeError as exc:
        raise SettingsError(f"{key}: {file} is not UTF-8; wanted {what} on its first line") from exc


def path_of(file: str, *, key: str, environ: Mapping[str, str] = os.environ) -> str:
    """The path with the folder of credentials in its place.

    Raises:
        SettingsError: this process has no credentials.
    """
    directory = environ.get(DIRECTORY)
    if VARIABLE in file and not directory:
        raise SettingsError(
            f"{key}: {DIRECTORY} is not set, wanted the folder that systemd gives "
            "a service; put LoadCredential=NAME:/path/of/the/file under [Service] of its unit, or "
            "set the variable to try it by hand"
        )
    return file.replace(VARIABLE, directory or "")


def _without_waiting(path: str, flags: int) -> int:
    """Open a pipe that nobody writes at once, to refuse it."""
    return os.open(path, flags | os.O_NONBLOCK)
