"""Media times that always rise, whatever a file's own times do; it knows nothing of containers."""

from __future__ import annotations

import logging

from edge.sources.timing.pacing import SECOND_NS, longest_step_ns

_log = logging.getLogger("edge")

_JITTER, _JITTER_NS = 3, SECOND_NS // 10
"""Periods, and time, by which times may fall as careless rounding does; more is a new recording."""

_SUDDEN = 4
"""A leap is longer than any step before it by so much: the steps of a time lapse are all long."""


class RisingTimes:
    """Keeps the times of one source, and joins where they do not rise.

    Where they fall back, another recording was strung to the first: it goes on one period after the
    last frame. Forward steps are true, a picture every seven hours too, unless ``may_leap`` says
    that the format's clock can be set anew (transport streams). ``wrap_ns`` is where that clock
    starts again from 0. The first of such joints is told.
    """

    def __init__(self, name: str, *, may_leap: bool = False, wrap_ns: int | None = None) -> None:
        self._name = name
        self._may_leap = may_leap
        self._wrap_ns = wrap_ns
        self._offset_ns = 0
        self._due_ns: int | None = None
        self._last_ns = 0
        self._longest_ns: int | None = None
        self._told = False

    def rising_ns(self, own_ns: int, fps: float) -> int:
        """The time of the next frame, later than that of the last one."""
        period_ns = max(1, round(SECOND_NS / fps))
        if self._due_ns is None:
            self._due_ns = self._last_ns = own_ns
            return own_ns
        step_ns = own_ns + self._offset_ns - self._due_ns
        if self._wrap_ns is not None:
            half_ns = self._wrap_ns // 2
            nearest_ns = (step_ns + half_ns) % self._wrap_ns - half_ns
            self._offset_ns += nearest_ns - step_ns
            step_ns = nearest_ns
        if step_ns <= -max(_JITTER * period_ns, _JITTER_NS) or self._leaps(step_ns, fps):
            self._tell(step_ns)
            self._offset_ns += self._last_ns + period_ns - self._due_ns - step_ns
        elif step_ns > 0:
            self._longest_ns = max(step_ns, self._longest_ns or 0)
        self._due_ns = own_ns + self._offset_ns
        later_ns = self._last_ns + max(1, period_ns // 2)
        self._last_ns = self._due_ns if self._due_ns > self._last_ns else later_ns
        return self._last_ns

    def _leaps(self, step_ns: int, fps: float) -> bool:
        if not self._may_leap or self._longest_ns is None:
            return False
        return step_ns > max(longest_step_ns(fps), _SUDDEN * self._longest_ns)

    def _tell(self, step_ns: int) -> None:
        if self._told:
            return
        self._told = True
        _log.warning(
            "%s: at %.2f s its times %s by %.2f s, as where recordings were joined: the frames "
            "after that follow without a gap (told once)",
            self._name,
            self._last_ns / SECOND_NS,
            "fall back" if step_ns < 0 else "leap",
            abs(step_ns) / SECOND_NS,
        )
