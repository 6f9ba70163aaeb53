"""What a Jetson's own sysfs tells beside that of any Linux: GPU, power rails, power mode.

As JetPack 5 and later lay it out (Jetson Linux Developer Guide, Platform Power and Performance).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from edge.telemetry.sample import Fact, Growth, Reading, Throttle, number
from engines.files import text_of

_GPU = re.compile(r"\.(?:gpu|ga10b|gv11b)$|^gpu-gpc-0$")
"""Folders of devfreq: of Orin since JetPack 6, of Orin and Xavier before, of Thor."""
_EMC = "sys/kernel/debug/bpmp/debug/clk/emc/rate"
"""The memory's clock; for root alone where debugfs is."""
_EVENTS = {1: "under-voltage", 2: "average over-current", 3: "over-current"}
"""What the counters oc1 to oc3 of an Orin count."""
_CHANNELS = (1, 2, 3)
"""Of an INA3221; the seventh is their sum."""


class Jetson:
    """Reads below ``root``; what is not there yields nothing."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._growth = Growth()

    def read(self) -> Iterator[Fact]:
        """All there is now."""
        yield from self._gpu()
        if (hertz := number(self._root / _EMC)) is not None:
            yield Reading("clock", "EMC", hertz / 1e6)
        for chip in sorted((self._root / "sys/class/hwmon").glob("hwmon*")):
            driver = text_of(chip / "name").strip()
            if driver == "ina3221":
                yield from _rails(chip)
            elif driver == "soctherm_oc":
                yield from self._events(chip)

    def _gpu(self) -> Iterator[Fact]:
        for device in sorted((self._root / "sys/class/devfreq").glob("*")):
            if not _GPU.search(device.name):
                continue
            if (permille := number(device / "device/load")) is not None:
                yield Reading("load", "GPU", permille / 10)
            if (hertz := number(device / "cur_freq")) is not None:
                yield Reading("clock", "GPU", hertz / 1e6)

    def _events(self, chip: Path) -> Iterator[Fact]:
        for event, reason in _EVENTS.items():
            count = number(chip / f"oc{event}_event_cnt")
            if count is not None:
                yield Reading("throttles", f"SoC {reason}", count)
                yield Throttle("SoC", reason, self._growth.of(reason, count))


def _rails(chip: Path) -> Iterator[Fact]:
    """Power of the rails that the board has connected: mV times mA."""
    for channel in _CHANNELS:
        label = text_of(chip / f"in{channel}_label").strip()
        millivolts = number(chip / f"in{channel}_input")
        milliamps = number(chip / f"curr{channel}_input")
        if label and label != "NC" and millivolts is not None and milliamps is not None:
            yield Reading("power", label, millivolts * milliamps / 1e6)


def power_mode(root: Path) -> str | None:
    """The name of nvpmodel's mode ('MAXN', '15W'), its number where only that is told, or None."""
    found = re.search(r"pmode:(\d+)", text_of(root / "var/lib/nvpmodel/status"))
    if found is None:
        return None
    mode = int(found[1])
    named = re.search(
        rf"^\s*<\s*POWER_MODEL\s+ID=0*{mode}\s+NAME=(\S+)\s*>",
        text_of(root / "etc/nvpmodel.conf"),
        re.MULTILINE,
    )
    return named[1] if named else str(mode)
