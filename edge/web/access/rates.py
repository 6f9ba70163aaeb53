"""How often each of those who come may do something; it forgets who is quiet, and never grows."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

_MOST = 512
"""Addresses that are kept, in some 100 kB."""


class Rates:
    """``burst`` at once and ``per_s`` from then on, for each address.

    All of an IPv6 /64 are one: whoever has one address of it has all.
    """

    def __init__(
        self, *, burst: int, per_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By address, how many are left, and when that was so; who came last stands last."""

    def wait_s(self, address: str) -> float:
        """How long until one more is free: 0 where one is."""
        return max(0.0, (1 - self._now(_whole(address))) / self._per_s)

    def take(self, address: str) -> None:
        """Count one."""
        key = _whole(address)
        self._left[key] = (self._now(key) - 1, self._clock())
        self._left.move_to_end(key)
        if len(self._left) > _MOST:
            self._left.popitem(last=False)

    def _now(self, key: str) -> float:
        left, at = self._left.get(key, (float(self._burst), 0.0))
        return min(float(self._burst), left + (self._clock() - at) * self._per_s)


def _whole(address: str) -> str:
    if ":" not in address:
        return address
    found = ipaddress.IPv6Address(address.partition("%")[0])
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
