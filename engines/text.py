"""Reads a text file that a person made, whole; refuses what is none or might never end.

As editors write it: UTF-8, with or without a byte order mark, lines ending as on any system.
"""

from __future__ import annotations

import codecs
import os
import stat
from pathlib import Path

MOST_BYTES = 1 << 20
"""Far more than any settings or names."""


class NotTextError(Exception):
    """What a file is instead of text: words that follow its name."""


def read_text(path: Path, *, most_bytes: int = MOST_BYTES) -> str:
    """The text of a file, lines ending in a newline alone.

    Raises:
        OSError: it cannot be opened or read.
        NotTextError: a pipe or a device, larger than ``most_bytes``, or not UTF-8.
    """
    # A pipe that nobody writes would be waited for.
    with open(path, "rb", opener=lambda name, how: os.open(name, how | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise NotTextError("not a regular file")
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise NotTextError(f"more than {most_bytes / 1e6:.0f} MB")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise NotTextError("text in UTF-16, wanted UTF-8: save it as UTF-8")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as exc:
        line = data[: exc.start].count(b"\n") + 1
        raise NotTextError(f"not UTF-8 text in line {line}: save it as UTF-8") from exc
