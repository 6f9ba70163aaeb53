"""The names of films and clips: by number first.

So a clock that jumps neither misorders nor overwrites. FAT knows no colons, and its times are too
coarse to order by.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timezone

_NAME = re.compile(r"film-(\d{8})-\d{8}T\d{6}Z\.(?:mp4|jsonl)")
_CLIP = re.compile(r"clip-(\d{8})-\d{8}T\d{6}Z-[a-z0-9-]+\.(?:mp4|jsonl)")
_WORD = 40
"""Letters of a reason that go into a name."""


def name_of(number: int, utc_ns: int) -> str:
    """The name of a film that begins at this time, in ns since 1970."""
    return f"film-{number:08d}-{_stamp(utc_ns)}.mp4"


def clip_name_of(number: int, utc_ns: int, reason: str) -> str:
    """The name of a clip of an event at this time; of the reason what every file system takes."""
    plain = unicodedata.normalize("NFKD", reason).encode("ascii", "ignore").decode().lower()
    word = re.sub("[^a-z0-9]+", "-", plain)[:_WORD].strip("-") or "event"
    return f"clip-{number:08d}-{_stamp(utc_ns)}-{word}.mp4"


def clip_number_of(name: str) -> int | None:
    """The number of a clip or of its lines; None of a file that is no recorder's own."""
    match = _CLIP.fullmatch(name)
    return None if match is None else int(match[1])


def _stamp(utc_ns: int) -> str:
    try:
        at = datetime.fromtimestamp(utc_ns // 1_000_000_000, timezone.utc)
    except (OverflowError, ValueError):
        at = datetime.fromtimestamp(0, timezone.utc)
    return f"{at:%Y%m%dT%H%M%SZ}"


def number_of(name: str) -> int | None:
    """The number of a film or of its lines; None of a file that is no recorder's own."""
    match = _NAME.fullmatch(name)
    return None if match is None else int(match[1])
