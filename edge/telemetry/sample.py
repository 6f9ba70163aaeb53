"""What a machine tells at one moment, as plain values, and how its small files are read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engines.files import text_of

Kind = Literal["temperature", "clock", "power", "load", "memory", "throttles"]

UNITS: dict[Kind, str] = {
    "temperature": "°C",
    "clock": "MHz",
    "power": "W",
    "load": "%",
    "memory": "MB",
    "throttles": "",
}
"""Of each kind; memory in 10⁶ bytes, throttles are counted since the machine's start."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure, in the unit of its kind."""

    kind: Kind
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Throttle:
    """Whether a device is slowed down for this reason; only of what the machine can tell."""

    device: str
    reason: str
    active: bool


Fact = Reading | Throttle


@dataclass(frozen=True, slots=True)
class Sample:
    """All that was read at once; names are unique in their kind."""

    readings: tuple[Reading, ...] = ()
    throttles: tuple[Throttle, ...] = ()
    power_mode: str | None = None

    def as_json(self) -> dict[str, Any]:
        """``power_mode``, ``readings`` with their units, and what is ``throttling`` now."""
        return {
            "power_mode": self.power_mode,
            "readings": [
                {"name": r.name, "value": round(r.value, 3), "unit": UNITS[r.kind], "kind": r.kind}
                for r in self.readings
            ],
            "throttling": [
                {"device": t.device, "reason": t.reason} for t in self.throttles if t.active
            ],
        }


class Growth:
    """Tells whether a count has grown since it was looked at before."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}

    def of(self, name: str, count: float) -> bool:
        """False at the first look: what was before nobody saw."""
        before, self._before[name] = self._before.get(name, count), count
        return count > before


def number(path: Path) -> float | None:
    """The number in a file of sysfs; None where it is gone, gives no answer or no number."""
    try:
        value = float(text_of(path))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
