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
    try:
        folder_there, is_folder, there = folder.is_dir(), path.is_dir(), path.exists()
    except OSError as exc:  # a name too long, a closed folder above
        raise SinkError(f"{path}: cannot be written: {exc.strerror}; choose another name") from exc
    if not folder_there:
        raise SinkError(f"{path}: there is no folder {folder}; make it first: mkdir -p {folder}")
    if is_folder:
        raise SinkError(f"{path}: is a folder, wanted the name of a file")
    if not os.access(path if there else folder, os.W_OK):
        raise SinkError(f"{path}: no permission to write there; choose another place")
