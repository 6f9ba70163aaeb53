"""Checks where a file sink will write to, before the first frame; it writes nothing itself."""

from __future__ import annotations

import os
from pathlib import Path

from engines.errors import SinkError


def check_place(path: Path) -> None:
    """Refuse a file that could not be created later.

    Folders are never made: one that is missing is more often a typing mistake than a wish.

    Raises:
        SinkError: the folder is missing or not writable, or the path is not that of a file.
    """
    folder = path.parent
    if not folder.is_dir():
        raise SinkError(f"{path}: there is no folder {folder}; make it first: mkdir -p {folder}")
    if path.is_dir():
        raise SinkError(f"{path}: is a folder, wanted the name of a file")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise SinkError(f"{path}: no permission to write there; choose another place")
