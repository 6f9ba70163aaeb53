"""Whether this machine and this Python can have the service; it changes nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import edge
from edge.units.needs import hidden
from engines.errors import SettingsError

EDGE = os.path.join(sys.prefix, "bin/edge")
"""This command, as root finds it."""
OLDEST = 249
"""systemd of Ubuntu 22.04 and so of JetPack 6; a test holds every directive against it."""


def check_machine() -> None:
    """Refuse machines whose units cannot be changed from here.

    Raises:
        SettingsError: there is none, it is too old, or this is not root.
    """
    version = systemd_version()
    if version is None or not Path("/run/systemd/system").is_dir():
        raise SettingsError(
            "no systemd runs here, and the service is one of systemd's; without it start "
            "'edge run SETTINGS' yourself, or prepare an image's files with --root DIR"
        )
    if version < OLDEST:
        raise SettingsError(
            f"systemd is {version} here, wanted {OLDEST} or later (Ubuntu 22.04, JetPack 6); "
            "install a newer system"
        )
    if os.geteuid() != 0:
        raise SettingsError(f"units are root's to change; sudo {EDGE} service ...")


def systemd_version() -> int | None:
    """The version of this machine's systemd, None where it has none."""
    program = shutil.which("systemctl")
    if program is None:
        return None
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    match = re.match(r"systemd (\d+)", told.stdout)
    return int(match[1]) if match else None


def check_interpreter() -> None:
    """Refuse to make a service of an app that a service does not see.

    Raises:
        SettingsError: names the part and the folder.
    """
    for path in (sys.prefix, os.path.realpath(sys.executable), edge.__file__):
        if top := hidden(path):
            raise SettingsError(
                f"{path}: this Outrider or its Python is below {top}, which a service does not "
                "see; install it into /opt/outrider with the system's Python first: make install"
            )
