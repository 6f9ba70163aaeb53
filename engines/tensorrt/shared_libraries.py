"""TensorRT's shared libraries, as files and as loaded: what its Python modules do not tell."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from pathlib import Path

_HEADER = 64
"""Bytes of the header of a 64-bit ELF file; its fields are from elf(5)."""


def truncated(folders: Iterable[Path]) -> str:
    """The first library that ends before its last table and by how much, '' where none does.

    Loading one ends the process by SIGBUS.
    """
    for folder in folders:
        for path in sorted(folder.glob("*.so*")):
            with path.open("rb") as file:
                head = file.read(_HEADER)
            table, entry, entries = (
                int.from_bytes(head[at : at + size], "little")
                for at, size in ((40, 8), (58, 2), (60, 2))  # e_shoff, e_shentsize, e_shnum
            )
            size, whole = path.stat().st_size, max(table + entry * entries, _HEADER)
            if size < whole:
                return f"{path} has {size} bytes, wanted at least {whole}"
    return ""


def loaded_release_of_rtx() -> str:
    """The release of RTX's library in this process, '' where it goes by another name.

    The bindings of one release load and build with the library of another without a word, and a
    plan is of the library's.
    """
    try:
        library = ctypes.CDLL("libtensorrt_rtx.so.1")
        number, build = library.getInferLibVersion(), library.getInferLibBuildVersion()
    except (OSError, AttributeError):
        return ""
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}.{build}"
