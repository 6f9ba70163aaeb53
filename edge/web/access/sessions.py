"""Who has logged in: random names that browsers keep, a bounded number of them, each for a time."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

LASTS_S = 12 * 3600.0
"""A day's drive."""
_MOST = 64
"""Of more the oldest ends."""


class Sessions:
    """Kept in memory, as hashes: they end with the run."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: OrderedDict[bytes, float] = OrderedDict()

    def begin(self) -> str:
        """The name of a new one."""
        name = secrets.token_urlsafe(32)
        self._ends[_hash(name)] = self._clock() + LASTS_S
        if len(self._ends) > _MOST:
            self._ends.popitem(last=False)
        return name

    def known(self, name: str) -> bool:
        """Whether one of that name goes on."""
        return self._clock() < self._ends.get(_hash(name), 0.0)

    def end(self, name: str) -> None:
        """End it, if it is one."""
        self._ends.pop(_hash(name), None)


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors="replace")).digest()
