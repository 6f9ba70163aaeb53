"""What tests build once a machine: kept in the user's cache under the hash of what decides it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from engines.files import locked, user_folder

PLACE = user_folder("CACHE") / "tests"
"""Read at import: a fixture gives the tests a cache of their own soon after."""


def kept(
    name: str, decides: Sequence[Path | str], make: Callable[[Path], None], *, place: Path = PLACE
) -> Path:
    """The folder that ``make`` fills, whole or not at all, unless an earlier run has filled it.

    ``decides``: files and words that decide what ``make`` makes; another content, another folder.
    Of two processes the second waits for the first. Where ``place`` cannot be written, the
    folder lies below the system's temporary folder.
    """
    content = hashlib.sha256()
    for part in decides:
        content.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        content.update(b"\0")
    try:
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.lock").touch()
    except OSError:
        place = Path(tempfile.gettempdir()) / "outrider-tests"
        place.mkdir(exist_ok=True)
        (place / f"{name}.lock").touch()
    made = place / f"{name}-{content.hexdigest()[:16]}"
    with locked(place / f"{name}.lock"):
        if not made.is_dir():
            for left in place.glob(f".building-{name}-????????"):  # by one that was killed
                shutil.rmtree(left, ignore_errors=True)
            unfinished = Path(tempfile.mkdtemp(prefix=f".building-{name}-", dir=place))
            try:
                make(unfinished)
                unfinished.rename(made)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return made
