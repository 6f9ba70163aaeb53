"""How long a live source waits: between attempts, and at most without a sign of life."""

from __future__ import annotations

import random

from edge.sources.options import SourceOptions
from engines.errors import SettingsError

FIRST_WAIT_S = 0.5
"""Between the first two attempts, doubled up to ``retry_s``: a camera that comes back is seen soon,
and one that is gone costs little."""
READ_GRACE_S = 0.5
"""A source's own read deadline comes first: its words say more."""


class Backoff:
    """Waits between attempts: twice as long each time, less up to half, so that none keep step."""

    def __init__(self, longest_s: float, rng: random.Random) -> None:
        self._rng = rng
        self._longest_s = longest_s
        self.reset()

    def reset(self) -> None:
        """Begin with the shortest again."""
        self._next_s = min(FIRST_WAIT_S, self._longest_s)

    def wait_s(self) -> float:
        """How long to wait now."""
        longest, self._next_s = self._next_s, min(2 * self._next_s, self._longest_s)
        return longest * self._rng.uniform(0.5, 1.0)


def check_deadlines(options: SourceOptions, watchdog_s: float | None) -> None:
    """Refuse attempts that last longer than the watchdog waits for one.

    Raises:
        SettingsError: names the settings.
    """
    # FFmpeg counts connecting and probing as two deadlines; a call that was given up ends then.
    attempt_s = max(2 * options.open_timeout_s, options.read_timeout_s + READ_GRACE_S)
    longest_s = attempt_s + options.retry_s
    if watchdog_s is not None and longest_s >= watchdog_s:
        raise SettingsError(
            "[source] open_timeout_s (twice) or read_timeout_s, and retry_s: together "
            f"{longest_s:g} s, wanted less than the service's watchdog of {watchdog_s:g} s, which "
            "would end the app while a camera is absent; lower them, or raise WatchdogSec "
            "(systemctl edit)"
        )
