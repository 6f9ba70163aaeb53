"""Which version of Outrider this is; it asks once."""

from __future__ import annotations

from importlib import metadata


def _installed() -> str | None:
    try:
        return metadata.version("outrider")
    except metadata.PackageNotFoundError:
        return None


VERSION = _installed()
"""None where it is not installed and runs in place."""
