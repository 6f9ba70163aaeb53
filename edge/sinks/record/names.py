"""The names of films: by number first, so that a clock that jumps neither misorders nor overwrites.

FAT knows no colons, and its times are too coarse to order by.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone

_NAME = re.compile(r"film-(\d{8})-\d{8}T\d{6}Z\.(?:mp4|jsonl)")


def name_of(number: int, utc_ns: int) -> str:
    """The name of a film that begins at this time, in ns since 1970."""
    try:
        begin = datetime.fromtimestamp(utc_ns // 1_000_000_000, timezone.utc)
    except (OverflowError, ValueError):
        begin = datetime.fromtimestamp(0, timezone.utc)
    return f"film-{number:08d}-{begin:%Y%m%dT%H%M%SZ}.mp4"


def number_of(name: str) -> int | None:
    """The number of a film or of its lines; None of a file that is no recorder's own."""
    match = _NAME.fullmatch(name)
    return None if match is None else int(match[1])
